"""few-labels: who sees which labels, with which weights, and claims that fail where the rest does not help."""

from types import SimpleNamespace

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments import few_labels
from fastreg.experiments.harness import Lab

WAYS = ("alone", "painting", "pseudo", "both")


class Watched(Lab):
    """Keeps what each training is given, and what the net predicts before it. Each is one epoch on 300 images."""

    def __init__(self, engine="native"):
        super().__init__(quick=True, engine=engine, threads=1)
        self.seen = []

    def images(self, *counts):
        (X, y), test = super().images()
        return (X[:300], y[:300]), test

    def fit(self, trainer, X, y, *, epochs, sample_weight=None, rows=None, **more):
        before = few_labels.digits(trainer, X) if trainer.epoch else None
        weights = None if sample_weight is None else np.array(sample_weight["digit"], float)
        self.seen.append(
            SimpleNamespace(labels=y["digit"].copy(), heads=set(y), rows=rows, weights=weights, before=before)
        )
        return super().fit(trainer, X, y, epochs=1, sample_weight=sample_weight, rows=rows, **more)


@pytest.fixture(scope="module")
def watched():
    """The trainings in order, the true labels, the rows whose label is known, and the others."""
    pytest.importorskip("sklearn")
    lab = Watched()
    lab.found = few_labels.measure(lab)
    (_, y), _ = lab.images()
    known = np.sort(few_labels.some_of_each(y, 3, np.random.default_rng(0)))
    assert len(lab.seen) == 1 + 5 + 2 + 5
    return lab, y, known, np.setdiff1d(np.arange(300), known)


def test_as_many_labels_of_each_class_and_no_row_twice():
    y = np.random.default_rng(1).integers(0, 10, 400)
    rows = few_labels.some_of_each(y, 7, np.random.default_rng(2))
    assert np.bincount(y[rows]).tolist() == [7] * 10 and len(set(rows)) == 70


def test_labels_alone_has_no_other_rows(watched):
    lab, y, known, rest = watched
    alone = lab.seen[0]
    assert sorted(alone.rows) == known.tolist() and alone.heads == {"digit"}
    assert np.array_equal(alone.labels[known], y[known]) and not alone.labels[rest].any()


def test_painting_begins_without_a_label_and_goes_on_with_the_known_ones(watched):
    lab, y, known, rest = watched
    first, second = lab.seen[6:8]
    assert first.heads == second.heads == {"digit", "image"}
    assert not first.weights.any() and first.rows is None
    assert np.flatnonzero(second.weights).tolist() == known.tolist() and set(second.rows) == set(range(300))
    assert np.array_equal(second.labels[known], y[known]) and not second.labels[rest].any()


@pytest.mark.parametrize(("first", "heads"), [(1, {"digit"}), (8, {"digit", "image"})])
def test_pseudo_labels_are_what_the_net_is_sure_of(watched, first, heads):
    lab, y, known, rest = watched
    for number, one in enumerate(lab.seen[first : first + 5], 1):
        assert one.heads == heads and np.array_equal(one.labels[known], y[known]) and np.all(one.weights[known] == 1)
        assert np.array_equal(one.labels[rest], one.before[rest].argmax(axis=1))
        assert one.weights[rest] == pytest.approx((one.before[rest].max(axis=1) > 0.9) * number / 5)


def test_both_engines_find_the_same(watched):
    other = few_labels.measure(Watched("reference"))["accuracy"]
    assert other == pytest.approx(watched[0].found["accuracy"], abs=0.02)  # 597 images, of which few may tip


def test_both_together_help_more_than_a_little():
    pytest.importorskip("sklearn")
    runs = quick("few-labels").runs
    assert runs.mean("gain", "both") > 0.02 and runs.mean("accuracy", "both") > 0.75


def test_the_claims_can_fail():
    for gain, held in ((0.0, False), (-0.1, False), (0.02, True)):
        numbers = {"accuracy": dict.fromkeys(WAYS, 0.8), "gain": dict.fromkeys(WAYS, gain)}
        assert claims_of("few-labels", numbers) == [held] * 3
