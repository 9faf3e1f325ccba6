"""Losses: what is minimized, which targets it takes, and what a prediction of it is. All from logits.

The loss of a batch is sum(w_i l_i) / sum(w_i) over its rows, with sample weights w_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastreg import checking
from fastreg.description import Description


@dataclass(frozen=True, repr=False)
class Loss(Description):
    """Base of the losses.

    name            as the programs know it
    transform       of logits to predictions: "softmax", "sigmoid" or "linear"
    counts_hits     whether a prediction can be right or wrong, so that there is an accuracy
    forbids         activations of the last layer that would apply the transform twice
    """

    name: ClassVar[str]
    transform: ClassVar[str]
    counts_hits: ClassVar[bool] = True
    forbids: ClassVar[tuple[str, ...]] = ()

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        """`y`, checked, in the form in which the engines read it; copied only where its form has to change."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class SoftmaxCrossEntropy(Loss):
    """l = -log softmax(z)[label]: one of several classes.

    Targets are integer labels (n,) from 0 to outputs - 1, or one-hot rows (n, outputs). Predictions are probabilities.
    """

    name = "softmax_cross_entropy"
    transform = "softmax"
    forbids = ("sigmoid",)

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        y = _array(argument, y, rows, working)
        if y.shape == (rows, outputs) and outputs > 1:
            return _labels_of_one_hot(argument, y)
        if y.shape != (rows,):
            expected = f"integer labels of shape ({rows},) or one-hot rows of shape ({rows}, {outputs})"
            raise ValueError(f"{argument}: got shape {y.shape}, expected {expected}")
        if y.dtype.kind not in "iu":
            raise TypeError(f"{argument}: got labels of {y.dtype}, expected integers; y.astype(int) makes them")
        low, high = y.min(), y.max()
        if low < 0 or high >= outputs:
            raise ValueError(f"{argument}: got labels from {low} to {high}, expected 0 to {outputs - 1}: one an output")
        return np.ascontiguousarray(y, np.int64)


@dataclass(frozen=True, repr=False)
class SigmoidCrossEntropy(Loss):
    """l = mean over outputs of -t log p - (1 - t) log(1 - p) with p = sigmoid(z): yes or no, once or many times.

    Targets lie in [0, 1] and have the shape (n, outputs), or (n,) for one output. Predictions are probabilities.
    """

    name = "sigmoid_cross_entropy"
    transform = "sigmoid"
    forbids = ("sigmoid",)

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        y = _values(argument, y, rows, outputs, working)
        low, high = y.min(), y.max()
        if low < 0 or high > 1:
            raise ValueError(f"{argument}: got values from {low} to {high}, expected 0 to 1")
        return y


@dataclass(frozen=True, repr=False)
class MSE(Loss):
    """l = mean over outputs of (y - t)^2.

    Targets are numbers of the shape (n, outputs), or (n,) for one output. Predictions are the outputs as they are.
    """

    name = "mse"
    transform = "linear"
    counts_hits = False

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        return _values(argument, y, rows, outputs, working)


softmax_cross_entropy = SoftmaxCrossEntropy()
sigmoid_cross_entropy = SigmoidCrossEntropy()
mse = MSE()

BY_NAME = {loss.name: loss for loss in (softmax_cross_entropy, sigmoid_cross_entropy, mse)}


def get(value: str | Loss) -> Loss:
    """The loss given by its name or as it is."""
    return value if isinstance(value, Loss) else BY_NAME[checking.choice("loss", value, BY_NAME)]


def _array(argument: str, y, rows: int, working: str) -> np.ndarray:
    if y is None:
        raise TypeError(f"{argument}: got None, expected targets, one a row of the inputs")
    y = checking.array(argument, y, working)
    if not y.ndim or len(y) != rows:
        raise ValueError(f"{argument}: got shape {y.shape}, expected {rows} rows, as many as the inputs have")
    checking.finite(argument, y)
    return y


def _values(argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
    y = _array(argument, y, rows, working)
    if y.ndim == 1 and outputs == 1:
        return y[:, np.newaxis]
    if y.shape != (rows, outputs):
        advice = f" or ({rows},)" if outputs == 1 else ""
        raise ValueError(f"{argument}: got shape {y.shape}, expected ({rows}, {outputs}){advice}")
    return y


def _labels_of_one_hot(argument: str, y: np.ndarray) -> np.ndarray:
    """The column of the 1 in every row; in chunks, so that nothing as large as y is made."""
    labels = np.empty(len(y), np.int64)
    step = max(1, checking.CHUNK // y.shape[1])
    for start in range(0, len(y), step):
        part = y[start : start + step]
        good = ((part == 0) | (part == 1)).all(axis=1) & (np.count_nonzero(part, axis=1) == 1)
        if not good.all():
            row = start + int(np.argmin(good))
            raise ValueError(f"{argument}: row {row} is not one-hot, expected a single 1 a row")
        labels[start : start + step] = part.argmax(axis=1)
    return labels
