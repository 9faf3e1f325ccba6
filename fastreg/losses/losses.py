"""Losses. Each says what is minimized, which targets it takes and what predictions are. All start from logits.

The loss of a batch is sum(w_i l_i) / sum(w_i) over its rows, with sample weights w_i.

A new one: see docs/architecture.md (C, NumPy and both engines).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastreg.common import calls, checking, specs
from fastreg.common.description import Description, from_config

if TYPE_CHECKING:
    from fastreg.program.ops import RowLoss

TRANSFORMS = ("linear", "sigmoid", "softmax")


class Loss(Description):
    """Base of the losses.

    name            its name in programs
    transform       from logits to predictions: "softmax", "sigmoid" or "linear"
    counts_hits     whether predictions can be correct or wrong, so that there is an accuracy
    forbids         activations of the last layer that would apply the transform twice
    label_smoothing the share of a target that is spread evenly over all classes

    Examples
    --------
    >>> import fastreg as fr
    >>> isinstance(fr.losses.mse, fr.losses.Loss)
    True
    """

    name: str
    transform: str
    counts_hits = True
    forbids: tuple[str, ...] = ()
    label_smoothing = 0.0

    @property
    def in_program(self) -> str | RowLoss:
        """What `lower` takes: a name that the engines know, or the loss itself, for them to call."""
        return self.name

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        """`y`, checked, in the form that the engines read. It is copied only if its form must change."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class SoftmaxCrossEntropy(Loss):
    """l = -log softmax(z)[label]: one of several classes.

    Targets are integer labels (n,) from 0 to outputs - 1, or one-hot rows (n, outputs). Predictions are probabilities.

    Parameters
    ----------
    label_smoothing
        e from 0 to 1: the loss uses the targets (1 - e) onehot + e / outputs, so that growing logits without end does
        not pay (Szegedy et al., Rethinking the Inception Architecture, 2016, sec. 7; the formula of
        torch.nn.functional.cross_entropy). It is part of the loss in evaluation too, as in PyTorch and Keras. Accuracy
        does not change.

    Raises
    ------
    ValueError, TypeError
        `label_smoothing` is not a number from 0 to 1.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.SoftmaxCrossEntropy(label_smoothing=0.1)
    SoftmaxCrossEntropy(label_smoothing=0.1)
    """

    label_smoothing: float = 0.0

    name = "softmax_cross_entropy"
    transform = "softmax"
    forbids = ("sigmoid",)

    def __post_init__(self):
        self._set(label_smoothing=checking.number("label_smoothing", self.label_smoothing, 0, 1))

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        return _labels(argument, y, rows, outputs, working)


@dataclass(frozen=True, repr=False)
class SigmoidCrossEntropy(Loss):
    """l = mean over outputs of -t log p - (1 - t) log(1 - p) with p = sigmoid(z): one or more yes-or-no questions.

    Targets lie in [0, 1] and have the shape (n, outputs), or (n,) for one output. Predictions are probabilities.

    Parameters
    ----------
    label_smoothing
        e from 0 to 1: the loss uses the targets (1 - e) t + e / 2, in evaluation too. See `SoftmaxCrossEntropy`.

    Raises
    ------
    ValueError, TypeError
        `label_smoothing` is not a number from 0 to 1.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.SigmoidCrossEntropy(label_smoothing=0.1)
    SigmoidCrossEntropy(label_smoothing=0.1)
    """

    label_smoothing: float = 0.0

    name = "sigmoid_cross_entropy"
    transform = "sigmoid"
    forbids = ("sigmoid",)

    def __post_init__(self):
        self._set(label_smoothing=checking.number("label_smoothing", self.label_smoothing, 0, 1))

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        y = _values(argument, y, rows, outputs, working)
        low, high = y.min(), y.max()
        if low < 0 or high > 1:
            raise ValueError(f"{argument}: got values from {low} to {high}, expected 0 to 1")
        return y


@dataclass(frozen=True, repr=False)
class MSE(Loss):
    """l = mean over outputs of (y - t)^2.

    Targets are numbers of the shape (n, outputs), or (n,) for one output. Predictions are the outputs themselves.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.MSE()
    MSE()
    """

    name = "mse"
    transform = "linear"
    counts_hits = False

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        return _values(argument, y, rows, outputs, working)


@dataclass(frozen=True, repr=False, init=False)
class Custom(Loss, saved=False):
    """A loss written in Python: the loss (M,) and the gradient (M, N) of each row.

    The engine weights and averages the rows: the loss of a batch is sum(w_i l_i) / sum(w_i). The result of `function`
    for a row must not depend on other rows. It has the same bits as a built-in loss if it computes each row by the same
    formula in the same order. For sums over several outputs, that is the order of `fastreg.kernels.mse` and similar
    functions on single rows. One thread calls it while the others wait.

    Parameters
    ----------
    function
        (outputs (M, N), targets) -> (losses (M,), gradients (M, N)), with gradients dl_i/d(outputs of row i). Arrays
        are in the working dtype and must not be written to. M is the number of rows of the batch, or in evaluation of
        those processed together.
    targets
        "values": numbers of shape (n, outputs), or (n,) for one output. The function gets them as (M, N).
        "labels": integers (n,) from 0 to outputs - 1, or one-hot rows. The function gets them as integers (M,).
    transform
        How predict transforms the outputs: "linear", "sigmoid" or "softmax".
    name
        The name in errors.

    Raises
    ------
    TypeError, ValueError
        An argument is not as described above. While running: the function returned something else.

    Notes
    -----
    A model file has only the `name` of this loss. The model predicts without it. To evaluate or to train on, give the
    function again, as `fastreg.load(path, custom={name: function})` or as the trainer's `loss=`. A checkpoint has only
    the name, too. A trainer with this function can resume it.

    If the function raises, the exception ends the fit unchanged. The parameters are those of the start of the epoch.
    `fastreg.check_gradients` tells whether the gradients are correct.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> def log_cosh(y, t):
    ...     return np.log(np.cosh(y - t)).mean(axis=1), np.tanh(y - t) / y.shape[1]
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> y = X @ [1.0, -2.0, 0.5] + 3
    >>> model = fr.Sequential([fr.Dense(1)])
    >>> trainer = fr.Trainer(model, loss=fr.losses.Custom(log_cosh), optimizer=fr.SGD(0.5))
    >>> history = trainer.fit(X, y, epochs=20, batch_size=20)
    >>> history["loss"][-1] < 1e-6
    True
    >>> fr.check_gradients(trainer, X[:20], y[:20] + 1).ok
    True
    """

    function: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    kind: Literal["values", "labels"]
    transform: str
    name: str
    counts_hits = False

    def __init__(self, function, targets: str = "values", transform: str = "linear", name: str = "custom"):
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"function: got {checking.shown(function)}, expected a function of outputs and targets")
        if not isinstance(name, str):
            raise TypeError(f"name: got {checking.shown(name)}, expected a string")
        self._set(
            function=function,
            kind=checking.choice("targets", targets, ("values", "labels")),
            transform=checking.choice("transform", transform, TRANSFORMS),
            name=name,
        )

    @property
    def in_program(self) -> Custom:
        return self

    @property
    def target_columns(self) -> int | None:
        """Columns of the targets in the program. None for as many as outputs."""
        return 1 if self.kind == "labels" else None

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        check = _labels if self.kind == "labels" else _values
        return check(argument, y, rows, outputs, working)

    def __call__(self, outputs: np.ndarray, targets: np.ndarray, row_loss: np.ndarray, gradient: np.ndarray) -> None:
        """Fills row_loss (M,) and gradient (M, N). The engines call this."""
        seen = targets[:, 0].astype(np.int64) if self.kind == "labels" else calls.read_only(targets)
        result = self.function(calls.read_only(outputs), seen)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"loss {self.name!r} returned {type(result).__name__}, expected (losses, gradients)")
        calls.fill(f"loss {self.name!r} (losses)", result[0], row_loss)
        calls.fill(f"loss {self.name!r} (gradients)", result[1], gradient)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function))
        return f"Custom({name}, targets={self.kind!r}, transform={self.transform!r}, name={self.name!r})"

    def config(self) -> dict[str, Any]:
        """All but the function, which no file can hold."""
        return {"type": "Custom", "targets": self.kind, "transform": self.transform, "name": self.name}


softmax_cross_entropy = SoftmaxCrossEntropy()
sigmoid_cross_entropy = SigmoidCrossEntropy()
mse = MSE()

BY_NAME = {kind.name: kind for kind in (SoftmaxCrossEntropy, SigmoidCrossEntropy, MSE)}


def get(value: str | Loss) -> Loss:
    """The loss of a name or of a spec such as "softmax_cross_entropy(label_smoothing=0.1)". Objects pass unchanged."""
    if isinstance(value, str):
        return specs.make("loss", value, BY_NAME)
    return value if isinstance(value, Loss) else BY_NAME[checking.choice("loss", value, BY_NAME)]()


def to_config(loss: Loss) -> dict[str, Any]:
    """The loss as a model file keeps it. One that JSON cannot hold is kept by its name and its transform."""
    try:
        config = loss.config()
        json.dumps(config, allow_nan=False)
    except (TypeError, ValueError):  # of a user's own class
        return Custom(calls.Absent(loss.name), transform=loss.transform, name=loss.name).config()
    return config


def of_config(config: Any, transform: str, custom: Mapping[str, Any]) -> Loss:
    """The loss that a model file keeps.

    A loss that is written in Python is looked up in `custom`, which has its function or a loss under its name. If it is
    not there, the loss has an `Absent` as its function, and `transform` if nothing else tells.
    """
    kind = config.get("type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"loss: got {checking.shown(config)}, expected the config of a loss")
    if kind != "Custom" and kind in Description._kinds:
        loss = from_config(config)
        if not isinstance(loss, Loss):
            raise ValueError(f"loss: got {kind}, expected a loss")
        return loss
    name = config.get("name", kind) if kind == "Custom" else kind
    found = custom.get(name, calls.Absent(name)) if isinstance(name, str) else None
    if isinstance(found, Loss):
        return found
    return Custom(found, config.get("targets", "values"), config.get("transform", transform), name)


def _array(argument: str, y, rows: int, working: str, advice: Mapping[str, str] = checking.NO_ADVICE) -> np.ndarray:
    if y is None:
        raise TypeError(f"{argument}: got None, expected targets, one per row of the inputs")
    y = checking.array(argument, y, working, advice)
    if not y.ndim or len(y) != rows:
        raise ValueError(f"{argument}: got shape {y.shape}, expected {rows} rows, as many as the inputs have")
    checking.finite(argument, y, working)
    return y


def _values(argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
    y = _array(argument, y, rows, working)
    if y.ndim == 1 and outputs == 1:
        return y[:, np.newaxis]
    if y.shape != (rows, outputs):
        advice = f" or ({rows},)" if outputs == 1 else ""
        raise ValueError(f"{argument}: got shape {y.shape}, expected ({rows}, {outputs}){advice}")
    return y


def _labels(argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
    y = _array(argument, y, rows, working, checking.FOR_LABELS)
    if y.shape == (rows, outputs) and outputs > 1:
        return _labels_of_one_hot(argument, y)
    if y.shape == (rows, 1):  # a column of labels, such as a frame's
        y = y[:, 0]
    if y.shape != (rows,):
        expected = f"integer labels of shape ({rows},) or one-hot rows of shape ({rows}, {outputs})"
        raise ValueError(f"{argument}: got shape {y.shape}, expected {expected}")
    if y.dtype.kind == "f" and (parts := y != np.floor(y)).any():
        row = int(np.argmax(parts))
        raise ValueError(f"{argument}: got {y[row]} in row {row}, expected integer labels from 0 to {outputs - 1}")
    low, high = y.min(), y.max()
    if low < 0 or high >= outputs:
        raise ValueError(f"{argument}: got labels from {low} to {high}, expected 0 to {outputs - 1}: one per output")
    return np.array(y, np.int64, order="C")  # a copy, so that labels cannot change after the checks


def _labels_of_one_hot(argument: str, y: np.ndarray) -> np.ndarray:
    """The column of the 1 in each row. It works in chunks, to need little memory."""
    labels = np.empty(len(y), np.int64)
    step = max(1, checking.CHUNK // y.shape[1])
    for start in range(0, len(y), step):
        part = y[start : start + step]
        good = ((part == 0) | (part == 1)).all(axis=1) & (np.count_nonzero(part, axis=1) == 1)
        if not good.all():
            row = start + int(np.argmin(good))
            raise ValueError(f"{argument}: row {row} is not one-hot, expected a single 1 per row")
        labels[start : start + step] = part.argmax(axis=1)
    return labels
