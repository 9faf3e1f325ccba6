"""Metrics of probabilities: how well they order the rows, and how far they are from the truth."""

from __future__ import annotations

import numpy as np

from fastreg.common.understood import understood
from fastreg.metrics.answers import CLASSES, Answers, answers, mean


@understood
def roc_auc(y_true, y_pred, sample_weight=None) -> float:
    """The area under the ROC curve: how likely a positive row has a larger probability than a negative one.

    For more than two classes, the mean over the classes of each against all others. For several yes-or-no outputs, the
    mean over them. NaN, with a warning, if a class has no rows, or all of them.

    `y_true`, `y_pred` and `sample_weight` are as in `fastreg.metrics.accuracy`, with predictions that are
    probabilities.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return roc_auc_of(answers(y_true, y_pred, sample_weight))


def roc_auc_of(a: Answers) -> float:
    """`roc_auc` of prepared answers."""
    return _over_classes("roc_auc", a, _roc_auc)


@understood
def average_precision(y_true, y_pred, sample_weight=None) -> float:
    """The mean of the precisions at all thresholds, weighted by the increase of recall.

    For more than two classes, the mean over the classes of each against all others. For several yes-or-no outputs, the
    mean over them. 0, with a warning, for a class that has no rows.

    `y_true`, `y_pred` and `sample_weight` are as in `fastreg.metrics.accuracy`, with predictions that are
    probabilities.

    Examples
    --------
    >>> import fastreg as fr
    >>> round(fr.metrics.average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return average_precision_of(answers(y_true, y_pred, sample_weight))


def average_precision_of(a: Answers) -> float:
    """`average_precision` of prepared answers."""
    return _over_classes("average_precision", a, _average_precision)


@understood
def log_loss(y_true, y_pred, sample_weight=None) -> float:
    """The mean of -log of the probability of the true class. Probabilities are cut to [e, 1 - e] first.

    e is the distance from 1 to the next number of the predictions' dtype. For several yes-or-no outputs, the mean over
    them. Targets that are rows of probabilities t give -sum(t log p).

    `y_true`, `y_pred` and `sample_weight` are as in `fastreg.metrics.accuracy`, with predictions that are
    probabilities.

    Examples
    --------
    >>> import fastreg as fr
    >>> round(fr.metrics.log_loss([0, 1], [[0.5, 0.5], [0.25, 0.75]]), 4)
    0.4904
    """
    return log_loss_of(answers(y_true, y_pred, sample_weight))


def log_loss_of(a: Answers) -> float:
    """`log_loss` of prepared answers."""
    scores = _scores(a)
    e = np.finfo(scores.dtype).eps if scores.dtype.kind == "f" else np.finfo(float).eps
    cut = np.clip(scores, e, 1 - e).astype(np.float64)
    if a.kind == CLASSES:
        if a.shares is None:
            losses = -np.log(cut[np.arange(len(cut)), a.truth])
        else:
            losses = -(a.shares * np.log(cut)).sum(axis=1)
        return mean(losses, a.weight())
    assert a.shares is not None
    losses = -(a.shares * np.log(cut) + (1 - a.shares) * np.log1p(-cut))
    weights = a.weight()
    weights = np.broadcast_to(weights[:, np.newaxis] if weights.ndim == 1 else weights, losses.shape)
    rows = np.ones(losses.shape, bool) if a.present is None else a.present
    return mean(losses[rows], weights[rows])


def _scores(a: Answers) -> np.ndarray:
    if a.scores is None:
        raise ValueError("y_pred: got classes, expected probabilities")
    return a.scores


def _over_classes(name: str, a: Answers, measure) -> float:
    """The measure of the second of two classes, or its mean over all classes or outputs."""
    scores = _scores(a)
    if a.kind == CLASSES:
        weights = a.weight()
        classes = (1,) if a.classes == 2 else range(a.classes)
        parts = [(a.truth == index, scores[:, index], weights) for index in classes]
    else:
        parts = [(truth, score, weights) for truth, _, score, weights in a.columns()]
    values = [measure(name, a, *part) for part in parts if len(part[0])]
    return float(np.mean(values)) if values else float("nan")


def _steps(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weight of the positive and of the negative rows with at least each different score, from the largest on."""
    counted = weights > 0
    positive, scores, weights = positive[counted], scores[counted], weights[counted]
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], (weights * positive)[order]
    misses = (weights * ~positive)[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.zeros(0, int)
    return np.cumsum(hits)[last], np.cumsum(misses)[last]


def _roc_auc(name: str, a: Answers, positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    if np.isnan(scores).any():
        return float("nan")
    hits, misses = _steps(positive, scores, weights)
    if not len(hits) or hits[-1] == 0 or misses[-1] == 0:
        return a.undefined(name, "a class has no rows, or all of them", float("nan"))
    x, y = np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def _average_precision(name: str, a: Answers, positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    if np.isnan(scores).any():
        return float("nan")
    hits, misses = _steps(positive, scores, weights)
    if not len(hits) or hits[-1] == 0:
        return a.undefined(name, "a class has no rows", 0.0)
    return float(np.sum(np.diff(np.append(0, hits / hits[-1])) * hits / (hits + misses)))
