"""Metrics have scikit-learn's values: with weights, ties, absent classes, and where they are not defined."""

import warnings

import numpy as np
import pytest

import fastreg as fr

S = pytest.importorskip("sklearn.metrics")
N = 60


def data(case, seed=0):
    """(y_true, y_pred, what scikit-learn takes as classes or scores)."""
    rng = np.random.default_rng(seed)
    if case == "binary":
        y, p = rng.integers(0, 2, N), rng.integers(0, 9, N) / 8  # with ties, and many of 1/2
        return y, p[:, None], (p > 0.5).astype(int), p
    if case == "two":
        y, p = rng.integers(0, 2, N), rng.integers(0, 9, N) / 8
        return y, np.column_stack([1 - p, p]), (p > 0.5).astype(int), p
    if case == "labels":
        y, p = rng.integers(0, 2, (N, 3)), rng.integers(0, 9, (N, 3)) / 8
        return y, p, (p > 0.5).astype(int), p
    classes = 4
    y, p = rng.integers(0, classes - (case == "absent"), N), rng.dirichlet(np.ones(classes), N).round(1)
    p = (p + 0.01) / (p + 0.01).sum(axis=1, keepdims=True)
    if case == "absent":  # neither in y nor predicted
        p[:, -1] /= 9
        p /= p.sum(axis=1, keepdims=True)
    return y, p, p.argmax(axis=1), p


def weights(kind, seed=1):
    rng = np.random.default_rng(seed)
    return {"none": None, "weights": rng.uniform(0, 3, N), "zeros": rng.integers(0, 3, N).astype(float)}[kind]


def quiet(function, *arguments, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **more)


@pytest.mark.parametrize("weighting", ["none", "weights", "zeros"])
@pytest.mark.parametrize("case", ["binary", "two", "several", "absent", "labels"])
def test_classes(case, weighting):
    y, p, chosen, scores = data(case)
    w = weights(weighting)
    binary = case in ("binary", "two")

    def same(ours, theirs):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)

    for ours, theirs in (
        (fr.metrics.f1, S.f1_score),
        (fr.metrics.precision, S.precision_score),
        (fr.metrics.recall, S.recall_score),
    ):
        default = quiet(theirs, y, chosen, average="binary" if binary else "macro", sample_weight=w)
        same(quiet(ours, y, p, w), default)
        same(quiet(fr.metrics.BY_NAME[ours.__name__], y, p, w), default)
        for average in ("macro", "micro", "weighted"):
            expected = quiet(theirs, y, chosen, average=average, sample_weight=w)
            same(quiet(getattr(fr.metrics, f"{ours.__name__}_{average}"), y, p, w), expected)
            same(quiet(ours, y, p, w, average=average), expected)
            if not binary and case != "labels":
                same(quiet(ours, y, chosen, w, average=average), expected)
    if case == "labels":
        same(fr.metrics.accuracy(y, p, w), np.average((chosen == y).mean(axis=1), weights=w))
        same(
            fr.metrics.log_loss(y, p, w),
            np.mean([S.log_loss(t, q, sample_weight=w) for t, q in zip(y.T, p.T, strict=True)]),
        )
    else:
        same(fr.metrics.accuracy(y, p, w), S.accuracy_score(y, chosen, sample_weight=w))
        same(fr.metrics.balanced_accuracy(y, p, w), quiet(S.balanced_accuracy_score, y, chosen, sample_weight=w))
        same(fr.metrics.log_loss(y, p, w), S.log_loss(y, scores, sample_weight=w, labels=range(2 if binary else 4)))
    more = {} if binary or case == "labels" else {"multi_class": "ovr", "labels": range(4)}
    same(quiet(fr.metrics.roc_auc, y, p, w), quiet(S.roc_auc_score, y, scores, sample_weight=w, **more))
    rows = np.eye(4)[y] if more else y
    same(quiet(fr.metrics.average_precision, y, p, w), quiet(S.average_precision_score, rows, scores, sample_weight=w))
    if more:
        for k in (1, 2, 3):
            expected = S.top_k_accuracy_score(y, scores, k=k, sample_weight=w, labels=range(4))
            same(fr.metrics.top_k_accuracy(y, p, w, k=k), expected)
            same(getattr(fr.metrics, f"top_{k}_accuracy")(y, p, w), expected)


@pytest.mark.parametrize("weighting", ["none", "weights", "zeros"])
@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_values(outputs, weighting):
    rng = np.random.default_rng(2)
    shape = (N,) if outputs is None else (N, outputs)
    y, w = rng.normal(size=shape) + 3, weights(weighting)
    p = y + rng.normal(size=shape).round(1)
    pairs = {
        "mae": S.mean_absolute_error,
        "mse": S.mean_squared_error,
        "rmse": S.root_mean_squared_error,
        "mape": S.mean_absolute_percentage_error,
        "r2": S.r2_score,
        "median_absolute_error": S.median_absolute_error,
    }
    for name, theirs in pairs.items():
        ours = getattr(fr.metrics, name)
        np.testing.assert_allclose(ours(y, p, w), theirs(y, p, sample_weight=w), rtol=1e-12, err_msg=name)
        if outputs == 1:  # the two shapes mix
            np.testing.assert_allclose(ours(y[:, 0], p, w), ours(y, p, w))
    if outputs != 3 and w is None:
        assert fr.metrics.max_error(y, p) == S.max_error(y, p)


@pytest.mark.parametrize("y", [[3.0, 3.0, 3.0], [1.0, 2.0, 4.0]])
@pytest.mark.parametrize("p", [[3.0, 3.0, 3.0], [1.0, 2.0, 3.0]])
def test_r2_of_constant_targets(y, p):
    assert fr.metrics.r2(y, p) == pytest.approx(S.r2_score(y, p))


def _top_9(y, p):
    return S.top_k_accuracy_score(y, p, k=9, labels=range(3))


UNDEFINED = {
    "no positive prediction": ("precision", [0, 1], [0, 0], lambda y, p: S.precision_score(y, p)),
    "no positive row": ("recall", [0, 0], [0, 1], lambda y, p: S.recall_score(y, p)),
    "neither": ("f1", [0, 0], [0, 0], lambda y, p: S.f1_score(y, p)),
    "one class": ("roc_auc", [0, 0], [0.2, 0.4], S.roc_auc_score),
    "no positive": ("average_precision", [0, 0], [0.2, 0.4], S.average_precision_score),
    "one row": ("r2", [1.0], [1.0], S.r2_score),
    "k too large": ("top_9_accuracy", [0, 1], [[0.3, 0.6, 0.1]] * 2, _top_9),
}  # fmt: skip


@pytest.mark.parametrize("case", UNDEFINED)
def test_where_a_value_is_not_defined_it_is_scikit_learns_with_a_warning(case):
    name, y, p, theirs = UNDEFINED[case]
    expected = quiet(theirs, y, np.array(p))
    with pytest.warns(RuntimeWarning, match=name):
        found = getattr(fr.metrics, name)(y, p)
    np.testing.assert_equal(found, float(expected))


def test_targets_in_other_forms():
    y, p, chosen, _ = data("several")
    expected = S.f1_score(y, chosen, average="macro")
    names = np.array(["ant", "bee", "cat", "dog"])
    for form in (y, y[:, None], y.astype(float), np.eye(4)[y], names[y], 0.9 * np.eye(4)[y] + 0.025):
        assert fr.metrics.f1(form, p) == pytest.approx(expected)
    assert fr.metrics.f1(names[y], names[chosen]) == pytest.approx(expected)
    t, q = y == 1, p[:, 1]
    for form in (t, np.where(t, "yes", "no"), np.where(t, 1, -1)):
        assert fr.metrics.roc_auc(form, q) == pytest.approx(S.roc_auc_score(t, q))


def test_missing_targets_are_left_out():
    y, p, _, _ = data("several")
    holes = np.where(np.arange(N) % 5 == 0, np.nan, y)
    for name in ("f1", "accuracy", "roc_auc", "log_loss", "balanced_accuracy"):
        measure = fr.metrics.BY_NAME[name]
        w = weights("weights")
        kept = ~np.isnan(holes)
        assert measure(holes, p, w) == pytest.approx(measure(y[kept], p[kept], w[kept]))
    rng = np.random.default_rng(0)
    t, q = rng.normal(size=(N, 2)), rng.normal(size=(N, 2))
    t[::3, 0] = t[1::2, 1] = np.nan
    assert fr.metrics.mse(t, q) == pytest.approx(np.nanmean((t - q) ** 2))  # as the loss
    assert fr.metrics.mae(t, q) == pytest.approx(np.nanmean(np.abs(t - q)))
    for name in ("rmse", "r2", "median_absolute_error"):
        measure = fr.metrics.BY_NAME[name]
        columns = [measure(a[~np.isnan(a)], b[~np.isnan(a)]) for a, b in zip(t.T, q.T, strict=True)]
        assert measure(t, q) == pytest.approx(np.mean(columns))
    labels = np.where(np.isnan(t), np.nan, t > 0)
    expected = np.mean([S.roc_auc_score(a[~np.isnan(a)], b[~np.isnan(a)]) for a, b in zip(labels.T, q.T, strict=True)])
    assert fr.metrics.roc_auc(labels, q) == pytest.approx(expected)


REFUSED = {
    "rows": (lambda: fr.metrics.mae([1.0, 2.0], [1.0]), r"y_pred: got shape \(1,\) for y_true of shape \(2,\)"),
    "none": (lambda: fr.metrics.mae([], []), r"at least one"),
    "outputs": (lambda: fr.metrics.mae(np.ones((3, 2)), np.ones(3)), r"y_pred: got shape \(3,\), expected \(3, 2\)"),
    "text": (lambda: fr.metrics.mae(["a"], ["b"]), r"y_true: got <U1 of shape \(1,\), expected numbers"),
    "weights": (lambda: fr.metrics.mae([1.0], [1.0], [1, 2]), r"sample_weight: got shape \(2,\), expected \(1,\)"),
    "negative": (lambda: fr.metrics.mae([1.0], [1.0], [-1]), r"sample_weight: got a negative"),
    "classes": (lambda: fr.metrics.f1([5, 1], [[0.5, 0.5, 0]] * 2), r"y_true: got 2 different classes for 3 columns"),
    "scores": (lambda: fr.metrics.roc_auc([0, 1], [0, 1]), r"y_pred: got classes, expected probabilities"),
    "average": (lambda: fr.metrics.f1([0, 1], [0, 1], average="mean"), r"average: got 'mean', expected one of auto"),
    "binary": (lambda: fr.metrics.f1([0, 1, 2], [0, 1, 2], average="binary"), r"average: got 'binary' for 3 classes"),
    "labels": (
        lambda: fr.metrics.balanced_accuracy([[0, 1], [1, 1]], [[0.5, 1], [1, 1]]),
        r"balanced_accuracy: got 2 yes-or-no outputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_every_metric_that_scikit_learn_names_alike_has_its_direction():
    for name, scorer in {"f1": "f1", "r2": "r2", "roc_auc": "roc_auc", "accuracy": "accuracy"}.items():
        assert fr.metrics.BY_NAME[name].largest and S.get_scorer(scorer)._sign == 1
    for name in ("mae", "mse", "rmse", "mape", "max_error", "median_absolute_error", "log_loss"):
        assert not fr.metrics.BY_NAME[name].largest


def test_texts_with_holes():
    y, p, _, _ = data("several")
    names = np.array(["ant", "bee", "cat", "dog"], object)[y]
    names[::7], names[1::7] = None, float("nan")
    kept = np.array([isinstance(name, str) for name in names])
    assert fr.metrics.f1(names, p) == fr.metrics.f1(y[kept], p[kept])
