"""The names of the metrics, what other libraries call them, and what a trainer keeps of its argument `metrics`."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastreg.common import checking
from fastreg.common.description import Description
from fastreg.metrics import classes, ranking, values
from fastreg.metrics.answers import CLASSES, LABELS, VALUES, Answers, answers

TAKEN = ("loss", "penalty", "seconds", "lr", "epoch")  # other columns of a history
TOP = re.compile(r"top_?([0-9]+)_?accuracy")


@dataclass(frozen=True)
class Measure:
    """A metric that the library knows. It can be called as (y_true, y_pred, sample_weight=None).

    name       its name
    compute    gives its value from prepared answers
    kinds      the kinds of answers that it takes
    largest    whether large values are good
    ranks      whether it takes probabilities alone: neither classes nor outputs without a scale
    """

    name: str
    compute: Callable[[Answers], float]
    kinds: tuple[str, ...]
    largest: bool = True
    ranks: bool = False

    def __call__(self, y_true=None, y_pred=None, sample_weight=None, **options) -> float:
        if y_pred is None or options:
            got = f"the argument {next(iter(options))!r}" if options else "no predictions"
            told = f"a trainer takes it by name: metrics=[{self.name!r}]"
            raise TypeError(f"{self.name}: got {got}, expected y_true and y_pred; {told}")
        return self.compute(answers(y_true, y_pred, sample_weight, kind=VALUES if self.kinds == (VALUES,) else None))


def _table() -> dict[str, Measure]:
    both, numbers = (CLASSES, LABELS), (VALUES,)
    rows = [
        Measure("accuracy", classes.accuracy_of, both),
        Measure("balanced_accuracy", classes.balanced_accuracy_of, (CLASSES,)),
    ]
    for name, compute in (("f1", classes.f1_of), ("precision", classes.precision_of), ("recall", classes.recall_of)):
        rows.append(Measure(name, compute, both))
        rows += [
            Measure(f"{name}_{average}", partial(compute, average=average), both)
            for average in ("macro", "micro", "weighted")
        ]
    rows += [
        Measure("roc_auc", ranking.roc_auc_of, both, ranks=True),
        Measure("average_precision", ranking.average_precision_of, both, ranks=True),
        Measure("log_loss", ranking.log_loss_of, both, largest=False, ranks=True),
        Measure("r2", values.r2_of, numbers),
    ]
    for error in ("mae", "mse", "rmse", "mape", "max_error", "median_absolute_error"):
        rows.append(Measure(error, getattr(values, f"{error}_of"), numbers, largest=False))
    return {row.name: row for row in rows}


BY_NAME = _table()
FUNCTIONS = {  # the public functions, which stand for the measures of their names
    function: function.__name__
    for function in (
        *(classes.accuracy, classes.balanced_accuracy, classes.f1, classes.precision, classes.recall),
        *(ranking.roc_auc, ranking.average_precision, ranking.log_loss),
        *(values.mae, values.mse, values.rmse, values.mape, values.r2, values.max_error, values.median_absolute_error),
    )
}

# What Keras, scikit-learn and PyTorch call them. Case and underscores do not count.
ALIASES = {
    "acc": "accuracy",
    "accuracy_score": "accuracy",
    "binary_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "balanced_accuracy_score": "balanced_accuracy",
    "f1_score": "f1",
    "f1_binary": "f1",
    "precision_score": "precision",
    "recall_score": "recall",
    "sensitivity": "recall",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "roc_auc_score": "roc_auc",
    "roc_auc_ovr": "roc_auc",
    "average_precision_score": "average_precision",
    "ap": "average_precision",
    "logloss": "log_loss",
    "cross_entropy": "log_loss",
    "binary_crossentropy": "log_loss",
    "categorical_crossentropy": "log_loss",
    "sparse_categorical_crossentropy": "log_loss",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "mean_absolute_percentage_error": "mape",
    "r2_score": "r2",
    "median_ae": "median_absolute_error",
    "sparse_top_k_categorical_accuracy": "top_5_accuracy",
    "top_k_categorical_accuracy": "top_5_accuracy",
}
_PLAIN = {checking.plain(name): name for name in BY_NAME} | {checking.plain(n): name for n, name in ALIASES.items()}


def find(name: str) -> Measure | None:
    """The measure of a name, of this library's or of another's; None if there is none."""
    known = _PLAIN.get(checking.plain(name.strip()), name)
    if known in BY_NAME:
        return BY_NAME[known]
    match = TOP.fullmatch(known.strip().lower())
    if match and 0 < int(match[1]) < 1 << 31:
        k = int(match[1])
        return Measure(f"top_{k}_accuracy", partial(classes.top_k_accuracy_of, k=k), (CLASSES,))
    return None


@dataclass(frozen=True, repr=False)
class Metric(Description, saved=False):
    """A metric of a trainer: a measure under a name of the user's, or a function of (y_true, y_pred).

    name       its name in results and in the history
    function   a name of `BY_NAME` or of `ALIASES`, or the function
    """

    name: str
    function: str | Callable[..., Any]

    @property
    def measure(self) -> Measure | None:
        """What the library knows of it; None for a function of the user's."""
        return find(self.function) if isinstance(self.function, str) else None

    def fits(self, kind: str, probabilities: bool) -> bool:
        """Whether it takes answers of this kind, with predictions that are probabilities or not. Functions of the
        user's take all."""
        measure = self.measure
        return measure is None or (kind in measure.kinds and (probabilities or not measure.ranks))

    def value(self, y_true, y_pred, sample_weight, prepared: Callable[[], Answers]) -> float:
        """Its value. `prepared` gives the same answers as measures take them."""
        measure = self.measure
        if measure is not None:
            return float(measure.compute(prepared()))
        assert callable(self.function)
        weighted = {"sample_weight": sample_weight} if _takes_weights(self.function) else {}
        try:
            result = self.function(y_true, y_pred, **weighted)
        except (ValueError, TypeError) as error:
            text = f"metrics: the function of {self.name!r} failed: {' '.join(str(error).split())}"
            if y_true.ndim == 1:
                text += f"; y_pred has a column for each class: {y_pred.shape}"
            raise type(error)(text) from error
        if isinstance(result, np.ndarray) and result.size == 1:
            result = result.item()
        try:
            return float(result)
        except (TypeError, ValueError):
            got = checking.shown(result)
            raise TypeError(f"metrics: got {got} from {self.name!r}, expected a number from the function") from None

    def __repr__(self) -> str:
        function = self.function if isinstance(self.function, str) else _name_of(self.function)
        return f"({self.name!r}, {function})"


def metrics(value) -> tuple[str | Metric, ...]:
    """The argument `metrics` of a trainer, checked: names, and a `Metric` for each function or renamed metric."""
    if isinstance(value, Mapping):
        value = [(name, function) for name, function in value.items()]
    elif isinstance(value, (str, Metric, Measure)) or (callable(value) and not isinstance(value, type)):
        value = (value,)
    given = checking.iterate("metrics", value, "a tuple of names such as ('accuracy', 'f1') and of functions")
    found = tuple(_metric(item) for item in given)
    names = [named(metric).name for metric in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metrics: got {name!r} twice, expected different names; pairs (name, function) give them")
    return found


def named(metric: str | Metric) -> Metric:
    """A metric of a trainer as an object."""
    return Metric(metric, metric) if isinstance(metric, str) else metric


def _metric(item) -> str | Metric:
    if isinstance(item, Metric):
        return item
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        name, function = item
        if not isinstance(function, (str, Measure)) and not callable(function):
            raise TypeError(f"metrics: got {checking.shown(item)}, expected (name, function)")
        inner = _metric(function)
        return Metric(_checked_name(name), inner if isinstance(inner, str) else inner.function)
    if isinstance(item, Measure):
        return item.name
    if isinstance(item, str):
        _check_known(item)
        return item.strip()
    if not callable(item) or isinstance(item, type):
        expected = "a name, a function of (y_true, y_pred), or a pair (name, function)"
        raise TypeError(f"metrics: got {checking.shown(item)}, expected {expected}")
    try:
        if item in FUNCTIONS:
            return FUNCTIONS[item]
    except TypeError:  # it has no hash
        pass
    return Metric(_checked_name(_name_of(item)), item)


def _check_known(name: str) -> None:
    if find(name) is not None:
        return
    known = f"one of {told(BY_NAME)}, or a function of (y_true, y_pred)"
    text = f"metrics: got {checking.shown(name)}, expected {known}"
    plain = checking.plain(name.strip())
    positive = find(plain.removeprefix("neg")) if plain.startswith("neg") else None
    if positive is not None:
        text += f"; {positive.name!r} is this error, not negated: its direction is known by its name"
    elif plain in ("topkaccuracy", "topkaccuracyscore"):
        text += "; say which k: 'top_5_accuracy'"
    else:
        text += checking.nearest(name, [*BY_NAME, *ALIASES])
    raise ValueError(text)


def _checked_name(name: str) -> str:
    if not name or not name.isprintable() or name in TAKEN:
        raise ValueError(f"metrics: got the name {name!r}, expected another one: it is taken or cannot be printed")
    return name


def _name_of(function) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return "lambda" if name == "<lambda>" else name


def _takes_weights(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `sample_weight`."""
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # from a C function without a signature
        return False


@functools.cache  # every fit asks
def fitting(kind: str, probabilities: bool) -> tuple[str, ...]:
    """The names of the metrics that fit, as in `Metric.fits`, without those with a number in them."""
    return tuple(name for name in BY_NAME if Metric(name, name).fits(kind, probabilities))


def told(names: Iterable[str], kind: str = CLASSES) -> str:
    """Names of metrics for an error, with the averages in short."""
    short = [name for name in names if not name.endswith(("_macro", "_micro", "_weighted"))]
    short = [f"{name}[_macro|_micro|_weighted]" if f"{name}_macro" in BY_NAME else name for name in short]
    return ", ".join([*short, "top_5_accuracy (any number)"] if kind == CLASSES else short)


def evaluate(
    chosen: Iterable[Metric],
    kind: str,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    weights,
    quiet: bool,
    threshold: float | None = None,
) -> dict[str, float]:
    """The values of metrics on the predictions of a data set, which are what predict gives.

    `kind` is what the targets are. `quiet` is whether a value that is not defined is given without a warning.
    `threshold` is what a yes is above, where it is not 0.5.
    """

    missing = _rows_without_targets(y_true)
    if missing.any():
        y_true, y_pred = y_true[~missing], y_pred[~missing]
        weights = None if weights is None else weights[~missing]
    if not len(y_true):
        return {metric.name: math.nan for metric in chosen}

    @functools.cache
    def prepared() -> Answers:
        said = y_pred if threshold in (None, 0.5) else (y_pred > threshold).astype(np.int64)
        return answers(y_true, said, weights, kind=kind, quiet=quiet)

    return {metric.name: metric.value(y_true, y_pred, weights, prepared) for metric in chosen}


def _rows_without_targets(targets: np.ndarray) -> np.ndarray:
    """The rows that have no target at all: NaN, and as a class -1."""
    if targets.dtype.kind == "f":
        return np.isnan(targets).reshape(len(targets), -1).all(axis=1)
    return targets < 0 if targets.ndim == 1 and targets.dtype.kind == "i" else np.zeros(len(targets), bool)


# --- Which direction is good ---------------------------------------------------------------------------------------


def largest_is_best(name: str) -> bool | None:
    """Whether large values of a column of a history are good. None if its name does not say so.

    What comes before an underscore may be the name of a data set: "val_f1", "dev_loss".
    """
    for part in _endings(name):
        if part in ("loss", "penalty", "seconds", "lr", "error", "objective"):
            return False
        measure = find(part)
        if measure is not None:
            return measure.largest
        if part in ("accuracy", "acc", "auc", "score"):
            return True
    return None


def _endings(name: str) -> list[str]:
    parts = name.split("_")
    return ["_".join(parts[start:]) for start in range(len(parts))]


def same_meaning(name: str, columns: Iterable[str]) -> str | None:
    """The column that means what `name` says in the words of other libraries: "val_acc" means "val_accuracy"."""
    wanted, score = meaning_of(name), 0
    best: str | None = None
    if wanted is None:
        return None
    for column in columns:
        meaning = meaning_of(column)
        if meaning is not None and meaning[1] == wanted[1]:
            agree = 3 if meaning[0] == wanted[0] else 2 if meaning[0] and wanted[0] else 1
            if agree > score:
                best, score = column, agree
    return best


def meaning_of(name: str) -> tuple[str, str] | None:
    """The data set and the metric of a column's name: ("val", "accuracy")."""
    held_back = {"valid": "val", "validation": "val", "eval": "val", "train": "", "training": ""}
    for ending in _endings(name.strip().lower()):
        measure = find(ending)
        known = ending if ending in TAKEN else measure.name if measure is not None else None
        if known is None and ending in ("learning_rate", "rate"):
            known = "lr"
        if known is not None:
            before = name[: len(name) - len(ending)].rstrip("_").lower()
            return held_back.get(before, before), known
    return None
