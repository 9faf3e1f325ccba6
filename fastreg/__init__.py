"""fastreg: fast training of regularized neural networks on CPUs."""

from importlib import import_module
from typing import TYPE_CHECKING

from fastreg.startup import begin_command, is_command

if TYPE_CHECKING:
    from fastreg import checks, data, files, initializers, kernels, losses, plots, reference, schedules, stopping
    from fastreg.adversarial import FGSM
    from fastreg.callbacks import Callback, Progress, TerminateOnNaN
    from fastreg.checkpoint import Checkpoint
    from fastreg.checks import check_gradients, compare_engines
    from fastreg.checks.profile import profile
    from fastreg.csvlogger import CSVLogger
    from fastreg.ensembles import Bagging
    from fastreg.epochs import DivergenceError
    from fastreg.files import FileFormatError, load
    from fastreg.history import History
    from fastreg.layers import Dense, Dropout, Flatten, Function, GaussianNoise
    from fastreg.model import Sequential
    from fastreg.optimizers import SGD, Adam, AdamW, RMSprop
    from fastreg.penalties import L1, L2, ElasticNet
    from fastreg.plateau import ReduceOnPlateau
    from fastreg.schedules import LRScheduler
    from fastreg.statistics import LayerStatistics
    from fastreg.stopping import EarlyStopping
    from fastreg.threads import get_num_threads, set_num_threads, simd
    from fastreg.trainer import Trainer
    from fastreg.versions import __version__, show_versions

# All is loaded at its first use, so that `import fastreg` costs a few milliseconds: name -> its module.
_HOMES = {
    **dict.fromkeys(("FGSM",), "adversarial"),
    **dict.fromkeys(("Callback", "Progress", "TerminateOnNaN"), "callbacks"),
    **dict.fromkeys(("Checkpoint",), "checkpoint"),
    **dict.fromkeys(("check_gradients", "compare_engines", "profile"), "checks"),
    **dict.fromkeys(("CSVLogger",), "csvlogger"),
    **dict.fromkeys(("Bagging",), "ensembles"),
    **dict.fromkeys(("DivergenceError",), "epochs"),
    **dict.fromkeys(("FileFormatError", "load"), "files"),
    **dict.fromkeys(("History",), "history"),
    **dict.fromkeys(("Dense", "Dropout", "Flatten", "Function", "GaussianNoise"), "layers"),
    **dict.fromkeys(("Sequential",), "model"),
    **dict.fromkeys(("SGD", "Adam", "AdamW", "RMSprop"), "optimizers"),
    **dict.fromkeys(("L1", "L2", "ElasticNet"), "penalties"),
    **dict.fromkeys(("ReduceOnPlateau",), "plateau"),
    **dict.fromkeys(("LRScheduler",), "schedules"),
    **dict.fromkeys(("EarlyStopping",), "stopping"),
    **dict.fromkeys(("get_num_threads", "set_num_threads", "simd"), "threads"),
    **dict.fromkeys(("LayerStatistics",), "statistics"),
    **dict.fromkeys(("Trainer",), "trainer"),
    **dict.fromkeys(("__version__", "show_versions"), "versions"),
}
_MODULES = (
    "checks",
    "data",
    "files",
    "initializers",
    "kernels",
    "losses",
    "plots",
    "reference",
    "schedules",
    "stopping",
)

__all__ = [
    "FGSM",
    "L1",
    "L2",
    "SGD",
    "Adam",
    "AdamW",
    "Bagging",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "Dense",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "FileFormatError",
    "Flatten",
    "Function",
    "GaussianNoise",
    "History",
    "LRScheduler",
    "LayerStatistics",
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
    "stopping",
]


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f"fastreg.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'fastreg' has no attribute {name!r}")
    found = getattr(import_module(f"fastreg.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)


# The threads and the SIMD target at once, so that a wrong FASTREG_SIMD ends the import. The command loads them where it
# has a line for what is wrong, or for Ctrl-C.
if is_command():
    begin_command()
else:
    import_module("fastreg.threads")
