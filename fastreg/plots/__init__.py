"""Plots of trainings and of measurements. matplotlib is imported for the first one, and no window ever opens."""

from fastreg.plots.history import plot_history

__all__ = ["plot_history"]
