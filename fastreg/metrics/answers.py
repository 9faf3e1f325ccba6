"""Targets and predictions in one form, whatever form they came in. All metrics are computed from it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from fastreg.common import checking

CLASSES, LABELS, VALUES = "classes", "labels", "values"
NEAR_ONE = 1e-3  # how far from 1 the sum of the probabilities of a row may be


@dataclass(frozen=True)
class Answers:
    """The targets and predictions of the same rows. Rows without a target are left out.

    kind      CLASSES: one of several classes, two for a single yes-or-no output. LABELS: several yes-or-no outputs.
              VALUES: numbers
    truth     CLASSES: int64 (n,). LABELS: bool (n, k). VALUES: float64 (n, k)
    chosen    the predictions in the same form
    scores    the predictions as they came, (n, k), to rank them; None if they came as classes
    classes   the number of classes, or of outputs
    shares    CLASSES: the targets as rows of probabilities (n, k), if they came so. LABELS: the targets as they came
    weights   float64 (n,) or (n, k), or None
    present   LABELS and VALUES: where there is a target, (n, k); None for everywhere
    quiet     whether a value that is not defined is given without a warning
    """

    kind: str
    truth: np.ndarray
    chosen: np.ndarray
    scores: np.ndarray | None
    classes: int
    shares: np.ndarray | None = None
    weights: np.ndarray | None = None
    present: np.ndarray | None = None
    quiet: bool = False

    def undefined(self, name: str, why: str, value: float) -> float:
        """The value that is given where a metric is not defined."""
        if not self.quiet:
            warnings.warn(f"{name} is not defined, since {why}; it is {value:g} here", RuntimeWarning, stacklevel=4)
        return value

    def weight(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The weight of each row (n,), 1 if there are none."""
        weights = np.ones(len(self.truth)) if self.weights is None else self.weights
        return weights if rows is None else weights[rows]

    def columns(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """(truth, chosen, scores, weights) of each output, without the rows that have no target for it."""
        scores = self.chosen if self.scores is None else self.scores
        found = []
        for column in range(self.truth.shape[1]):
            rows = slice(None) if self.present is None else self.present[:, column]
            weights = self.weight() if self.weights is None or self.weights.ndim == 1 else self.weights[:, column]
            parts = (self.truth[:, column], self.chosen[:, column], scores[:, column], weights)
            truth, chosen, score, weight = (part[rows] for part in parts)
            if len(truth):
                found.append((truth, chosen, score, weight))
        return found


def mean(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean; NaN without a weight above 0."""
    total = float(weights.sum())
    return float(np.dot(values.astype(np.float64), weights) / total) if total > 0 else float("nan")


def answers(y_true, y_pred, sample_weight=None, *, kind: str | None = None, quiet: bool = False) -> Answers:
    """Targets and predictions in the form that metrics take.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `fastreg.metrics`.
    kind
        VALUES, CLASSES or LABELS. None to tell classes and labels apart by what the arrays hold.
    quiet
        Whether a value that is not defined is given without a warning.
    """
    truth, predicted = checking.as_array("y_true", y_true), checking.as_array("y_pred", y_pred)
    if not truth.ndim or not predicted.ndim or len(truth) != len(predicted) or not len(truth):
        expected = "as many rows as y_true has, at least one"
        raise ValueError(f"y_pred: got shape {predicted.shape} for y_true of shape {truth.shape}, expected {expected}")
    weights = None if sample_weight is None else _weights(sample_weight, len(truth))
    if kind == VALUES:
        return _values(truth, predicted, weights, quiet)
    if predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted[:, 0]
    if truth.ndim == 2 and truth.shape[1] == 1:
        truth = truth[:, 0]
    for name, array in (("y_true", truth), ("y_pred", predicted)):
        if array.ndim > 2:
            raise ValueError(f"{name}: got shape {array.shape}, expected (n,) or (n, outputs)")
    if predicted.ndim == 1:
        if truth.ndim == 2:
            raise ValueError(f"y_pred: got shape {predicted.shape}, expected {truth.shape}, as y_true has")
        return _one_column(truth, predicted, weights, quiet)
    if truth.ndim == 1:
        return _classes(truth, predicted, weights, quiet)
    if truth.shape != predicted.shape:
        raise ValueError(f"y_true: got shape {truth.shape}, expected ({len(truth)},) or {predicted.shape}")
    if kind is None:
        kind = CLASSES if _sums_to_one(truth) and _sums_to_one(predicted) else LABELS
    return (_shares if kind == CLASSES else _labels)(truth, predicted, weights, quiet)


def _weights(value, rows: int) -> np.ndarray:
    weights = checking.array("sample_weight", value, "float64").astype(np.float64)
    if weights.ndim not in (1, 2) or len(weights) != rows:
        raise ValueError(f"sample_weight: got shape {weights.shape}, expected ({rows},), one for each row")
    if not (weights >= 0).all():  # also of NaN
        raise ValueError("sample_weight: got a negative or missing weight, expected numbers of at least 0")
    return weights


def _values(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None, quiet: bool) -> Answers:
    columns = []
    for name, array in (("y_true", truth), ("y_pred", predicted)):
        column = array[:, np.newaxis] if array.ndim == 1 else array
        if column.dtype.kind not in "buif" or column.ndim != 2:
            raise TypeError(f"{name}: got {array.dtype} of shape {array.shape}, expected numbers (n,) or (n, outputs)")
        columns.append(column.astype(np.float64))
    target, value = columns
    if target.shape != value.shape:
        raise ValueError(f"y_pred: got shape {predicted.shape}, expected {truth.shape}, as y_true has")
    present = _present(target)
    return Answers(VALUES, target, value, value, target.shape[1], None, weights, present, quiet)


def _present(target: np.ndarray) -> np.ndarray | None:
    missing = np.isnan(target) if target.dtype.kind == "f" else None
    return ~missing if missing is not None and missing.any() else None


def _labels(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None, quiet: bool) -> Answers:
    for name, array in (("y_true", truth), ("y_pred", predicted)):
        if array.dtype.kind not in "buif":
            raise TypeError(f"{name}: got {array.dtype} of shape {array.shape}, expected numbers from 0 to 1")
    given = truth.astype(np.float64)
    chosen, scores = predicted > 0.5, predicted if predicted.dtype.kind == "f" else None
    return Answers(LABELS, given > 0.5, chosen, scores, truth.shape[1], given, weights, _present(given), quiet)


def _shares(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None, quiet: bool) -> Answers:
    """Targets that are rows of probabilities, one-hot or not. The class of a row is that of the largest."""
    kept = ~np.isnan(truth).any(axis=1) if truth.dtype.kind == "f" else np.ones(len(truth), bool)
    truth, predicted, weights = _kept(kept, truth, predicted, weights)
    chosen = predicted.argmax(axis=1)
    return Answers(CLASSES, truth.argmax(axis=1), chosen, predicted, truth.shape[1], truth, weights, None, quiet)


def _classes(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None, quiet: bool) -> Answers:
    """Targets that are classes, predictions with a column for each class."""
    truth, predicted, weights = _known(truth, predicted, weights)
    count = predicted.shape[1]
    if predicted.dtype.kind not in "buif":
        raise TypeError(f"y_pred: got {predicted.dtype} of shape {predicted.shape}, expected numbers")
    codes = _whole(truth)
    if codes is None or (len(codes) and (codes.min() < 0 or codes.max() >= count)):
        names, codes = np.unique(truth, return_inverse=True)
        if len(names) != count:
            got = f"{len(names)} different classes for {count} columns of y_pred"
            raise ValueError(f"y_true: got {got}, expected labels from 0 to {count - 1}, or a class for each column")
    return Answers(CLASSES, codes, predicted.argmax(axis=1), predicted, count, None, weights, None, quiet)


def _one_column(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None, quiet: bool) -> Answers:
    """Predictions that are the probability of the second class, or classes themselves."""
    truth, predicted, weights = _known(truth, predicted, weights)
    if predicted.dtype.kind == "f":
        if truth.dtype.kind in "buif" and ((truth >= 0) & (truth <= 1)).all():
            codes = (truth > 0.5).astype(np.int64)
        else:
            names, codes = np.unique(truth, return_inverse=True)
            if len(names) > 2:
                got = f"{len(names)} different classes for one column of probabilities"
                raise ValueError(f"y_true: got {got}, expected two classes")
        scores = np.column_stack([1 - predicted, predicted])
        chosen = (predicted > 0.5).astype(np.int64)
        return Answers(CLASSES, codes, chosen, scores, 2, None, weights, None, quiet)
    both = [_whole(truth), _whole(predicted)]
    if all(codes is not None and ((codes == 0) | (codes == 1)).all() for codes in both):
        return Answers(CLASSES, both[0], both[1], None, 2, None, weights, None, quiet)  # type: ignore[arg-type]
    names, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    codes = codes.reshape(2, -1)
    return Answers(CLASSES, codes[0], codes[1], None, max(len(names), 2), None, weights, None, quiet)


def _known(truth, predicted, weights):
    """Only the rows whose target is known."""
    if truth.dtype.kind == "f" and np.isnan(truth).any():
        return _kept(~np.isnan(truth), truth, predicted, weights)
    if truth.dtype.kind == "O":  # None and NaN among texts
        return _kept(np.array([value is not None and value == value for value in truth]), truth, predicted, weights)
    return truth, predicted, weights


def _kept(rows, truth, predicted, weights):
    if rows.all():
        return truth, predicted, weights
    return truth[rows], predicted[rows], None if weights is None else weights[rows]


def _whole(values: np.ndarray) -> np.ndarray | None:
    """Labels as int64, if all of them are whole numbers."""
    if values.dtype.kind in "bui":
        return values.astype(np.int64)
    if values.dtype.kind == "f" and (values == np.floor(values)).all():
        return values.astype(np.int64)
    return None


def _sums_to_one(rows: np.ndarray) -> bool:
    if rows.dtype.kind not in "buif":
        return False
    known = rows[~np.isnan(rows).any(axis=1)] if rows.dtype.kind == "f" else rows
    sums = known.sum(axis=1, dtype=np.float64)
    return bool((np.abs(sums - 1) <= NEAR_ONE).all() and (known >= 0).all())
