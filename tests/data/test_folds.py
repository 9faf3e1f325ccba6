"""Folds: a partition of the rows, with the classes in proportion, or with groups held back together."""

import numpy as np
import pytest

import fastreg as fr

RNG = np.random.default_rng(3)
X = np.zeros((103, 2))
LABELS = RNG.choice(["a", "b", "c"], 103, p=[0.7, 0.2, 0.1])


def check_partition(folds, n=103):
    held = np.concatenate([rows for _, rows in folds])
    assert sorted(held.tolist()) == list(range(n))
    for training, rows in folds:
        assert sorted([*training, *rows]) == list(range(n))
        assert np.all(np.diff(training) > 0) and np.all(np.diff(rows) > 0)


def test_each_row_is_held_back_once():
    folds = fr.data.folds(X, k=4)
    check_partition(folds)
    assert sorted(len(rows) for _, rows in folds) == [25, 26, 26, 26]


def test_classes_keep_their_proportions():
    """In each fold a class has its share, rounded up or down, as scikit-learn's StratifiedKFold promises."""
    folds = fr.data.folds(X, LABELS, 5)
    check_partition(folds)
    assert {len(rows) for _, rows in folds} == {20, 21}
    for label in "abc":
        total = np.count_nonzero(label == LABELS)
        for _, rows in folds:
            assert np.count_nonzero(LABELS[rows] == label) in (total // 5, total // 5 + 1)
    plain = fr.data.folds(X, LABELS, 5, stratify=False)
    assert any(not np.array_equal(a, b) for (_, a), (_, b) in zip(plain, folds, strict=True))


def test_groups_are_held_back_together():
    groups = RNG.integers(0, 17, 103)
    folds = fr.data.folds(X, LABELS, 4, groups=groups)
    check_partition(folds)
    for training, rows in folds:
        assert not set(groups[training]) & set(groups[rows])


def test_the_seed_decides():
    first, again, other = (fr.data.folds(X, LABELS, 3, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, other, strict=True))


BAD = {
    "one fold": (lambda: fr.data.folds(X, k=1), r"k: got 1, expected an integer from 2 to 103"),
    "too many": (lambda: fr.data.folds(X[:3], k=4), r"k: got 4, expected an integer from 2 to 3"),
    "too few groups": (lambda: fr.data.folds(X, k=4, groups=np.arange(103) % 3), r"k: got 4 folds of 3 groups"),
    "no labels": (lambda: fr.data.folds(X, np.zeros(103), 3, stratify=True), r"y: got no class labels"),
    "both": (
        lambda: fr.data.folds(X, LABELS, 3, stratify=True, groups=LABELS),
        r"groups: got groups with stratify=True, expected one of the two",
    ),
    "lengths": (lambda: fr.data.folds(X, LABELS[:9], 3), r"y: got 9 rows, expected 103, as many as X has"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()
