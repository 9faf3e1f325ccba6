"""Metrics of classes and of yes-or-no outputs, from the predicted class of each row."""

from __future__ import annotations

import numpy as np

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.metrics.answers import CLASSES, LABELS, Answers, answers, mean

AVERAGES = ("auto", "binary", "macro", "micro", "weighted")


@understood
def accuracy(y_true, y_pred, sample_weight=None) -> float:
    """The share of correct predictions. For several yes-or-no outputs: of all outputs, not of whole rows.

    Parameters
    ----------
    y_true
        The targets: classes (n,), or for several yes-or-no outputs numbers (n, outputs). Rows of probabilities count as
        their largest class. NaN is no target, and is left out.
    y_pred
        What predict gives: probabilities (n, classes), or (n,) or (n, 1) for one yes-or-no output. Classes (n,) of
        integers or text are taken, too.
    sample_weight
        (n,) weights of at least 0, or None.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> fr.metrics.accuracy([0, 1, 1, 2], [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0, 0, 1]])
    0.75
    """
    return accuracy_of(answers(y_true, y_pred, sample_weight))


def accuracy_of(a: Answers) -> float:
    """`accuracy` of prepared answers."""
    if a.kind == CLASSES:
        return mean(a.truth == a.chosen, a.weight())
    parts = [(truth == chosen, weights) for truth, chosen, _, weights in a.columns()]
    hits, weights = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else (np.zeros(0),) * 2
    return mean(hits, weights)


@understood
def balanced_accuracy(y_true, y_pred, sample_weight=None) -> float:
    """The mean over classes of the share of their rows that is predicted correctly. Classes without rows do not count.

    `y_true`, `y_pred` and `sample_weight` are as in `accuracy`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    return balanced_accuracy_of(answers(y_true, y_pred, sample_weight))


def balanced_accuracy_of(a: Answers) -> float:
    """`balanced_accuracy` of prepared answers."""
    _one_of_several("balanced_accuracy", a)
    hits, _, true = _counts(a)
    if not (true > 0).any():
        return a.undefined("balanced_accuracy", "no row has a weight", float("nan"))
    return float(np.mean(hits[true > 0] / true[true > 0]))


@understood
def precision(y_true, y_pred, sample_weight=None, *, average: str = "auto") -> float:
    """The share of the rows predicted positive that are positive. 0, with a warning, if none is predicted so.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `accuracy`.
    average
        "binary": of the second of two classes. "macro": the mean over the classes that occur. "weighted": that mean,
        weighted by how often a class occurs. "micro": of all classes counted together. "auto": "binary" for two
        classes, "macro" for more.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.precision([0, 1, 1, 1], [1, 1, 1, 0]) == 2 / 3
    True
    """
    return precision_of(answers(y_true, y_pred, sample_weight), checking.choice("average", average, AVERAGES))


@understood
def recall(y_true, y_pred, sample_weight=None, *, average: str = "auto") -> float:
    """The share of the positive rows that are predicted positive. 0, with a warning, if no row is positive.

    `y_true`, `y_pred` and `sample_weight` are as in `accuracy`; `average` is as in `precision`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.recall([0, 1, 1, 1], [1, 1, 1, 0]) == 2 / 3
    True
    """
    return recall_of(answers(y_true, y_pred, sample_weight), checking.choice("average", average, AVERAGES))


@understood
def f1(y_true, y_pred, sample_weight=None, *, average: str = "auto") -> float:
    """The harmonic mean of precision and recall: 2 hits / (predicted positive + positive). For 0 / 0 it is 0.

    `y_true`, `y_pred` and `sample_weight` are as in `accuracy`; `average` is as in `precision`. As names of metrics the
    averages are "f1", "f1_macro", "f1_micro" and "f1_weighted", and so for precision and recall.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.f1([0, 0, 1, 1], [0, 1, 1, 1])
    0.8
    """
    return f1_of(answers(y_true, y_pred, sample_weight), checking.choice("average", average, AVERAGES))


def precision_of(a: Answers, average: str = "auto") -> float:
    """`precision` of prepared answers."""
    return _averaged("precision", a, average, lambda hits, predicted, true: (hits, predicted))


def recall_of(a: Answers, average: str = "auto") -> float:
    """`recall` of prepared answers."""
    return _averaged("recall", a, average, lambda hits, predicted, true: (hits, true))


def f1_of(a: Answers, average: str = "auto") -> float:
    """`f1` of prepared answers."""
    return _averaged("f1", a, average, lambda hits, predicted, true: (2 * hits, predicted + true))


@understood
def top_k_accuracy(y_true, y_pred, sample_weight=None, *, k: int = 2) -> float:
    """The share of rows whose class is among the k largest predictions. The later of equal ones counts as larger.

    As the name of a metric: "top_5_accuracy" and the like.

    Parameters
    ----------
    y_true, y_pred, sample_weight
        As in `accuracy`, with predictions (n, classes).
    k
        At least 1. From the number of classes on, all predictions are correct, with a warning.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.top_k_accuracy([0, 1, 2], [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], k=2) == 2 / 3
    True
    """
    return top_k_accuracy_of(answers(y_true, y_pred, sample_weight), checking.integer("k", k))


def top_k_accuracy_of(a: Answers, k: int) -> float:
    """`top_k_accuracy` of prepared answers."""
    _one_of_several(f"top_{k}_accuracy", a)
    if a.scores is None:
        raise ValueError("y_pred: got classes, expected probabilities (n, classes)")
    if k >= a.classes:
        return a.undefined(f"top_{k}_accuracy", f"there are only {a.classes} classes", 1.0)
    order = np.argsort(a.scores, axis=1, kind="stable")[:, ::-1]
    return mean((order[:, :k] == a.truth[:, np.newaxis]).any(axis=1), a.weight())


def _one_of_several(name: str, a: Answers) -> None:
    if a.kind == LABELS:
        raise ValueError(f"{name}: got {a.classes} yes-or-no outputs, expected one of several classes per row")


def _counts(a: Answers) -> tuple[np.ndarray, ...]:
    """For each class that occurs, or for each output: the weight of hits, of rows predicted so and of rows that are
    so."""
    if a.kind == CLASSES:
        weights, size = a.weight(), a.classes
        hit = a.truth == a.chosen
        pairs = ((a.truth[hit], weights[hit]), (a.chosen, weights), (a.truth, weights))
        hits, predicted, true = (np.bincount(codes, weights, size).astype(np.float64) for codes, weights in pairs)
        return hits, predicted, true
    sums = [[(weights * part).sum() for part in (t & c, c, t)] for t, c, _, weights in a.columns()]
    return tuple(np.array(sums, np.float64).T) if sums else (np.zeros(0),) * 3


def _averaged(name: str, a: Answers, average: str, ratio) -> float:
    counts: tuple[np.ndarray, ...] = _counts(a)
    if average == "auto":
        average = "binary" if a.kind == CLASSES and a.classes == 2 else "macro"
    if average == "binary":
        if a.kind == LABELS or a.classes > 2:
            raise ValueError(f"average: got 'binary' for {a.classes} {a.kind}, expected 'macro', 'micro' or 'weighted'")
        counts = tuple(part[1:2] for part in counts)
    elif average == "micro":
        counts = tuple(part.sum(keepdims=True) for part in counts)
    elif a.kind == CLASSES:
        occurs = (np.bincount(a.truth, minlength=a.classes) + np.bincount(a.chosen, minlength=a.classes)) > 0
        counts = tuple(part[occurs] for part in counts)
    above, below = ratio(*counts)
    if not len(below):
        return a.undefined(name, "there are no targets", float("nan"))
    values = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    if average == "weighted":
        total = counts[2].sum()
        result = float(np.dot(values, counts[2]) / total) if total > 0 else 0.0
    else:
        result = float(values.mean())
    if (below == 0).any():
        missing = {"precision": "is predicted", "recall": "is", "f1": "is or is predicted"}[name]
        what = "positive" if len(below) == 1 else f"of {np.count_nonzero(below == 0)} of {len(below)} classes"
        return a.undefined(name, f"no row {missing} {what}", result)
    return result
