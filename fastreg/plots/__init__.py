"""Plots of trainings and of measurements. matplotlib is imported for the first one, and no window ever opens."""

from fastreg.plots.history import plot_history
from fastreg.plots.measurements import plot_benchmark, plot_comparison, plot_profile

__all__ = ["plot_benchmark", "plot_comparison", "plot_history", "plot_profile"]
