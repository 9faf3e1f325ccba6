"""Metrics of numbers. With several outputs, errors are means over all targets, all others are means over the outputs.

The two differ only where targets are missing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastreg.common.understood import understood
from fastreg.metrics.answers import VALUES, Answers, answers, mean


@understood
def mae(y_true, y_pred, sample_weight=None) -> float:
    """The mean absolute error: the mean of |y_true - y_pred|.

    Parameters
    ----------
    y_true, y_pred
        Targets and predictions: numbers (n,) or (n, outputs). A target that is NaN is left out.
    sample_weight
        (n,) weights of at least 0, or None.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.mae([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    1.0
    """
    return mae_of(answers(y_true, y_pred, sample_weight, kind=VALUES))


def mae_of(a: Answers) -> float:
    """`mae` of prepared answers."""
    return _over_all(a, lambda t, p: np.abs(t - p))


@understood
def mse(y_true, y_pred, sample_weight=None) -> float:
    """The mean squared error: the mean of (y_true - y_pred)^2.

    `y_true`, `y_pred` and `sample_weight` are as in `mae`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    return mse_of(answers(y_true, y_pred, sample_weight, kind=VALUES))


def mse_of(a: Answers) -> float:
    """`mse` of prepared answers."""
    return _over_all(a, lambda t, p: (t - p) ** 2)


@understood
def rmse(y_true, y_pred, sample_weight=None) -> float:
    """The root of the mean squared error, in the units of y. With several outputs, the mean of their roots.

    `y_true`, `y_pred` and `sample_weight` are as in `mae`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.rmse([1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 3.0, 4.0])
    1.0
    """
    return rmse_of(answers(y_true, y_pred, sample_weight, kind=VALUES))


def rmse_of(a: Answers) -> float:
    """`rmse` of prepared answers."""
    return _over_outputs(a, lambda t, p, w: mean((t - p) ** 2, w) ** 0.5)


@understood
def mape(y_true, y_pred, sample_weight=None) -> float:
    """The mean of |y_true - y_pred| / |y_true|: 0.1 is 10 percent. Where y_true is 0, the result is huge.

    `y_true`, `y_pred` and `sample_weight` are as in `mae`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.mape([1.0, 2.0], [1.5, 2.0])
    0.25
    """
    return mape_of(answers(y_true, y_pred, sample_weight, kind=VALUES))


def mape_of(a: Answers) -> float:
    """`mape` of prepared answers."""
    return _over_all(a, lambda t, p: np.abs(t - p) / np.maximum(np.abs(t), np.finfo(float).eps))


@understood
def r2(y_true, y_pred, sample_weight=None) -> float:
    """R^2 = 1 - sum (y_true - y_pred)^2 / sum (y_true - mean)^2: 1 for the exact answer, 0 for always the mean.

    If the targets are all equal, it is 1 for the exact answer and 0 for any other. NaN, with a warning, for fewer than
    two targets.

    `y_true`, `y_pred` and `sample_weight` are as in `mae`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    return r2_of(answers(y_true, y_pred, sample_weight, kind=VALUES))


def r2_of(a: Answers) -> float:
    """`r2` of prepared answers."""
    return _over_outputs(a, lambda t, p, w: _r2(a, t, p, w))


def _r2(a: Answers, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    if len(truth) < 2:
        return a.undefined("r2", "there are fewer than two targets", float("nan"))
    rest = np.dot(weights, (truth - predicted) ** 2)
    whole = np.dot(weights, (truth - mean(truth, weights)) ** 2)
    if whole == 0:
        return float(rest == 0)
    return float(1 - rest / whole)


@understood
def max_error(y_true, y_pred, sample_weight=None) -> float:
    """The largest |y_true - y_pred| of all rows and outputs. Weights do not count, except that 0 leaves a row out.

    `y_true`, `y_pred` and `sample_weight` are as in `mae`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.max_error([1.0, 2.0], [1.0, 5.0])
    3.0
    """
    return max_error_of(answers(y_true, y_pred, sample_weight, kind=VALUES))


def max_error_of(a: Answers) -> float:
    """`max_error` of prepared answers."""
    return max((float(np.abs(t - p)[w > 0].max()) for t, p, _, w in a.columns() if (w > 0).any()), default=float("nan"))


@understood
def median_absolute_error(y_true, y_pred, sample_weight=None) -> float:
    """The median of |y_true - y_pred|: half of the weight lies on either side.

    `y_true`, `y_pred` and `sample_weight` are as in `mae`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.metrics.median_absolute_error([1.0, 2.0, 3.0], [1.0, 4.0, 99.0])
    2.0
    """
    return median_absolute_error_of(answers(y_true, y_pred, sample_weight, kind=VALUES))


def median_absolute_error_of(a: Answers) -> float:
    """`median_absolute_error` of prepared answers."""
    return _over_outputs(a, lambda t, p, w: _median(np.abs(t - p), w))


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    values, weights = values[weights > 0], weights[weights > 0]
    if not len(values):
        return float("nan")
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weights[order])
    half = reached[-1] / 2
    index = int(np.searchsorted(reached, half))
    after = min(index + 1, len(values) - 1)
    exact = abs(reached[index] - half) <= np.finfo(float).eps  # half of the weight ends here: the mean of both sides
    return float((values[index] + values[after]) / 2 if exact else values[index])


def _over_all(a: Answers, error: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """The mean of an error over all targets that there are."""
    with np.errstate(over="ignore", invalid="ignore"):  # predictions that overflow show in the result
        parts = [(error(truth, predicted), weights) for truth, predicted, _, weights in a.columns()]
    if not parts:
        return float("nan")
    errors, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mean(errors, weights)


def _over_outputs(a: Answers, measure: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> float:
    """The mean over outputs of a measure of (truth, prediction, weights)."""
    with np.errstate(over="ignore", invalid="ignore"):  # predictions that overflow show in the result
        values = [measure(truth, predicted, weights) for truth, predicted, _, weights in a.columns()]
    return float(np.mean(values)) if values else float("nan")
