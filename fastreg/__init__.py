"""fastreg: fast training of regularized neural networks on CPUs."""

try:
    from fastreg.machine.startup import begin_command, is_command, load_machine

    if is_command():  # Ctrl-C ends it quietly from here on
        begin_command()
except KeyboardInterrupt:
    from fastreg.machine.startup import is_command, leave

    if is_command():
        leave()
    raise

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # types are checked as if it were true; the module that has it takes milliseconds to load
if TYPE_CHECKING:
    from fastreg import checks, data, estimators, kernels, losses, metrics, plots, reference
    from fastreg.callbacks import (
        Callback,
        Checkpoint,
        CSVLogger,
        EarlyStopping,
        History,
        LayerStatistics,
        LRScheduler,
        Progress,
        ReduceOnPlateau,
        TensorBoard,
        TerminateOnNaN,
        stopping,
    )
    from fastreg.checks import check_gradients, compare_engines
    from fastreg.checks.profile import profile
    from fastreg.exchange import from_torch, load_torch_state, to_onnx, to_torch, torch_state
    from fastreg.layers import (
        Activation,
        Add,
        AvgPool2D,
        BatchNorm,
        Concatenate,
        Conv2D,
        Dense,
        Dropout,
        Embedding,
        Flatten,
        Function,
        GaussianNoise,
        GlobalAvgPool2D,
        Input,
        LayerNorm,
        MaxPool2D,
        Residual,
        initializers,
    )
    from fastreg.losses.adversarial import FGSM
    from fastreg.losses.penalties import L1, L2, ElasticNet
    from fastreg.machine.release import __version__
    from fastreg.machine.threads import get_num_threads, set_num_threads, simd
    from fastreg.machine.versions import show_versions
    from fastreg.model import files
    from fastreg.model.files import FileFormatError, load
    from fastreg.model.model import Model
    from fastreg.model.sequential import Sequential
    from fastreg.optimizers import SGD, Adam, AdamW, Lion, NAdam, RMSprop, schedules
    from fastreg.optimizers.averaging import EMA, SWA
    from fastreg.training.ensembles import Bagging
    from fastreg.training.epochs import DivergenceError
    from fastreg.training.many import cross_validate, fit_seeds, grid_search, random_search
    from fastreg.training.trainer import Trainer

# Each name is loaded at its first use, so that `import fastreg` takes only a few milliseconds. name -> its module
_HOMES = {
    **dict.fromkeys(("Callback", "Checkpoint", "CSVLogger", "EarlyStopping", "History"), "callbacks"),
    **dict.fromkeys(("LayerStatistics", "LRScheduler", "Progress"), "callbacks"),
    **dict.fromkeys(("ReduceOnPlateau", "TensorBoard", "TerminateOnNaN"), "callbacks"),
    **dict.fromkeys(("check_gradients", "compare_engines", "profile"), "checks"),
    **dict.fromkeys(("from_torch", "load_torch_state", "to_onnx", "to_torch", "torch_state"), "exchange"),
    **dict.fromkeys(("FileFormatError", "load"), "model.files"),
    **dict.fromkeys(("Dense", "Dropout", "Flatten", "Function", "GaussianNoise"), "layers"),
    **dict.fromkeys(("Add", "Concatenate", "Embedding", "Input", "Residual"), "layers"),
    **dict.fromkeys(("AvgPool2D", "Conv2D", "GlobalAvgPool2D", "MaxPool2D"), "layers"),
    **dict.fromkeys(("Activation", "BatchNorm", "LayerNorm"), "layers"),
    **dict.fromkeys(("FGSM",), "losses.adversarial"),
    **dict.fromkeys(("EMA", "SWA"), "optimizers.averaging"),
    **dict.fromkeys(("L1", "L2", "ElasticNet"), "losses.penalties"),
    **dict.fromkeys(("__version__",), "machine.release"),
    **dict.fromkeys(("get_num_threads", "set_num_threads", "simd"), "machine.threads"),
    **dict.fromkeys(("show_versions",), "machine.versions"),
    **dict.fromkeys(("Model",), "model.model"),
    **dict.fromkeys(("Sequential",), "model.sequential"),
    **dict.fromkeys(("SGD", "Adam", "AdamW", "Lion", "NAdam", "RMSprop"), "optimizers"),
    **dict.fromkeys(("Bagging",), "training.ensembles"),
    **dict.fromkeys(("DivergenceError",), "training.epochs"),
    **dict.fromkeys(("cross_validate", "fit_seeds", "grid_search", "random_search"), "training.many"),
    **dict.fromkeys(("Trainer",), "training.trainer"),
}

# Public modules inside a package: name -> where. They can also be imported as `fastreg.NAME`.
_ROOMED = {
    "files": "model.files",
    "initializers": "layers.initializers",
    "schedules": "optimizers.schedules",
    "specs": "common.specs",
    "stopping": "callbacks.stopping",
    "summary": "model.summary",
    "penalties": "losses.penalties",
    "threads": "machine.threads",
}
_MODULES = {
    name: name
    for name in (
        "callbacks",
        "checks",
        "data",
        "estimators",
        "kernels",
        "layers",
        "losses",
        "metrics",
        "optimizers",
        "plots",
    )
} | {"reference": "reference", **_ROOMED}

__all__ = [
    "EMA",
    "FGSM",
    "L1",
    "L2",
    "SGD",
    "SWA",
    "Activation",
    "Adam",
    "AdamW",
    "Add",
    "AvgPool2D",
    "Bagging",
    "BatchNorm",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "Embedding",
    "FileFormatError",
    "Flatten",
    "Function",
    "GaussianNoise",
    "GlobalAvgPool2D",
    "History",
    "Input",
    "LRScheduler",
    "LayerNorm",
    "LayerStatistics",
    "Lion",
    "MaxPool2D",
    "Model",
    "NAdam",
    "Progress",
    "RMSprop",
    "ReduceOnPlateau",
    "Residual",
    "Sequential",
    "TensorBoard",
    "TerminateOnNaN",
    "Trainer",
    "__version__",
    "check_gradients",
    "checks",
    "compare_engines",
    "cross_validate",
    "data",
    "estimators",
    "files",
    "fit_seeds",
    "from_torch",
    "get_num_threads",
    "grid_search",
    "initializers",
    "kernels",
    "load",
    "load_torch_state",
    "losses",
    "metrics",
    "plots",
    "profile",
    "random_search",
    "reference",
    "schedules",
    "set_num_threads",
    "show_versions",
    "simd",
    "stopping",
    "to_onnx",
    "to_torch",
    "torch_state",
]


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f"fastreg.{_MODULES[name]}")
    if name not in _HOMES:
        names = import_module("fastreg.common.names")
        names.missing("fastreg", __all__)(name)
    found = getattr(import_module(f"fastreg.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, "callbacks", "layers", "optimizers"})


class _Roomed:
    """Imports a module of `_ROOMED` under its public name: the same module, never a second one."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> ModuleSpec | None:
        """The hook of `sys.meta_path`. What other libraries call their modules is answered with what to do."""
        package, _, module = name.partition(".")
        if package != "fastreg":
            return None
        if module in _ROOMED:
            return ModuleSpec(name, _Roomed())  # type: ignore[arg-type]
        names = sys.modules.get("fastreg.common.names")
        if names is not None and names.has_advice("fastreg", module):
            raise ModuleNotFoundError(f"No module named {name!r}{names.advice('fastreg', module)}", name=name)
        return None

    def create_module(self, spec: ModuleSpec):
        """The module in its package."""
        module = __getattr__(spec.name.removeprefix("fastreg."))
        self.spec = module.__spec__
        return module

    def exec_module(self, module) -> None:
        """Runs nothing. The import has set the spec of the public name, so this restores the module's own."""
        module.__spec__ = self.spec


sys.meta_path.append(_Roomed)

# Loads threads, the SIMD target and the tuning at once, so that a wrong variable ends the import. The command
# loads them later, when it can report an error or Ctrl-C in one line.
if not is_command():
    load_machine()
