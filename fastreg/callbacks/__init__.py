"""Callbacks: objects that watch and steer a fit."""

from fastreg.callbacks.base import Callback, Plan, TerminateOnNaN
from fastreg.callbacks.checkpoint import Checkpoint
from fastreg.callbacks.csvlogger import CSVLogger
from fastreg.callbacks.history import History
from fastreg.callbacks.progress import Progress
from fastreg.callbacks.rates import LRScheduler, ReduceOnPlateau
from fastreg.callbacks.statistics import LayerStatistics
from fastreg.callbacks.stopping import EarlyStopping
from fastreg.callbacks.tensorboard import TensorBoard
from fastreg.common.names import missing as _missing

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "LRScheduler",
    "LayerStatistics",
    "Plan",
    "Progress",
    "ReduceOnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]

__getattr__ = _missing(__name__, __all__)
