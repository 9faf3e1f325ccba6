"""Plots of models, trainings and measurements. matplotlib is imported for the first one, and no window opens by itself.

What draws a model takes `ax=` and returns a display, as scikit-learn does: `display.ax_`, `display.figure_`,
`display.plot(ax=)`. A notebook shows the display.
"""

from fastreg.common.names import missing as _missing
from fastreg.plots.curves import HistoryDisplay, history, plot_history
from fastreg.plots.densities import WeightsDisplay, weights
from fastreg.plots.kernels import FiltersDisplay, filters
from fastreg.plots.measurements import plot_benchmark, plot_comparison, plot_profile
from fastreg.plots.mistakes import ErrorsDisplay, errors
from fastreg.plots.regions import BoundaryDisplay, boundary
from fastreg.plots.reliability import CalibrationDisplay, calibration

__all__ = [
    "BoundaryDisplay",
    "CalibrationDisplay",
    "ErrorsDisplay",
    "FiltersDisplay",
    "HistoryDisplay",
    "WeightsDisplay",
    "boundary",
    "calibration",
    "errors",
    "filters",
    "history",
    "plot_benchmark",
    "plot_comparison",
    "plot_history",
    "plot_profile",
    "weights",
]

__getattr__ = _missing(__name__, __all__)
