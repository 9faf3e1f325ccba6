"""fastreg: fast training of regularized neural networks on CPUs."""

from importlib import import_module

from fastreg import initializers, losses, schedules
from fastreg.callbacks import Callback, EarlyStopping, Progress, TerminateOnNaN
from fastreg.epochs import DivergenceError
from fastreg.history import History
from fastreg.layers import Dense, Dropout, Flatten, Function, GaussianNoise
from fastreg.model import Sequential
from fastreg.optimizers import SGD, Adam, AdamW, RMSprop
from fastreg.penalties import L1, L2
from fastreg.schedules import LRScheduler
from fastreg.threads import get_num_threads, set_num_threads, simd
from fastreg.trainer import Trainer
from fastreg.versions import __version__, show_versions

# Loaded at their first use, so that `import fastreg` stays quick: submodules, and names that live in one.
_MODULES = ("checks", "data", "files", "kernels", "plots", "reference")
_NAMES = {
    "CSVLogger": "fastreg.csvlogger",
    "Checkpoint": "fastreg.checkpoint",
    "FileFormatError": "fastreg.files",
    "ReduceOnPlateau": "fastreg.plateau",
    "check_gradients": "fastreg.checks",
    "compare_engines": "fastreg.checks",
    "load": "fastreg.files",
    "profile": "fastreg.checks",
}

__all__ = [
    "L1",
    "L2",
    "SGD",
    "Adam",
    "AdamW",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "Dense",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "FileFormatError",
    "Flatten",
    "Function",
    "GaussianNoise",
    "History",
    "LRScheduler",
    "Progress",
    "RMSprop",
    "ReduceOnPlateau",
    "Sequential",
    "TerminateOnNaN",
    "Trainer",
    "__version__",
    "check_gradients",
    "checks",
    "compare_engines",
    "data",
    "files",
    "get_num_threads",
    "initializers",
    "kernels",
    "load",
    "losses",
    "plots",
    "profile",
    "reference",
    "schedules",
    "set_num_threads",
    "show_versions",
    "simd",
]


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in _MODULES:
        return import_module(f"fastreg.{name}")
    raise AttributeError(f"module 'fastreg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
