"""srivastava: the net of the paper, the mean of the last epochs, the limit on the norms, and new images."""

import numpy as np
from quick import claims_of, quick

import fastreg as fr
from fastreg.experiments import srivastava
from fastreg.experiments.harness.results import Runs


def test_the_net_is_that_of_the_paper():
    layers = srivastava.network(1024, augment=False)
    dense = [layer for layer in layers if isinstance(layer, fr.Dense)]
    assert [layer.units for layer in dense] == [1024, 1024, 1024, 10]
    assert [layer.keep_prob for layer in layers if isinstance(layer, fr.Dropout)] == [0.8, 0.5, 0.5, 0.5]
    model = fr.Sequential(layers)
    model.build(784)
    count = 784 * 1024 + 2 * 1024 * 1024 + 1024 * 10 + 3 * 1024 + 10
    assert sum(value.size for value in model.parameters.values()) == count


def test_weights_are_held_at_the_limit():
    for run in quick("srivastava").runs.runs:
        assert 0.99 * srivastava.MAX_NORM < run["norm"] < srivastava.MAX_NORM * (1 + 1e-5)
        assert len(run["errors"]) == 30 and run["loss"][-1] < 0.5 * run["loss"][0]


def test_the_error_that_counts_is_not_the_best_one():
    errors = [9.0, 0.5, *range(1, 11)]
    assert srivastava.counted(Runs([{"errors": errors}]))[0] == np.mean(range(1, 11))


def test_new_images_are_like_the_old_ones():
    X = np.zeros((50, 28, 28), np.float32)
    X[:, 8:20, 12:16] = 1
    new = srivastava.distortions().apply(X)
    assert new.shape == X.shape and new.min() >= 0 and new.max() < 1 + 1e-5
    assert not np.allclose(new[0], new[1])
    assert 0.8 < new.sum() / X.sum() < 1.2
    run = quick("srivastava", "native", 1, "augment").runs[0]
    assert run["augment"] is True and np.mean(run["errors"][-10:]) < 30


def test_the_claims_can_fail():
    def held(error, minutes, norm, augment=False):
        run = {"errors": 20 * [error], "minutes": 20 * [minutes], "norm": norm, "augment": augment}
        return [claim.held for claim in srivastava.claims(Runs([run]))]

    assert held(1.1, 15, 1.0) == [True, True, True]
    assert held(1.2, 25, 1.1) == [False, False, False]
    assert held(0.7, 50, 1.0, augment=True) == [False, True, True]
    quick_run = {"errors": 20 * [11.0], "minutes": [1.0], "norm": 1.1, "augment": False}
    assert claims_of("srivastava", quick_run) == [False, False]
