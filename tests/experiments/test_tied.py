"""tied: the tied net is x Wᵀ W by hand, and the claims follow the errors."""

import numpy as np
from quick import claims_of, quick

from fastreg.experiments import tied


def test_the_tied_net_paints_with_the_encoders_weight():
    model = tied.autoencoder(6, tied=True)
    model.build(6, seed=2)
    state, X = model.state_dict(), np.random.default_rng(0).random((5, 6), np.float32)
    h = np.maximum(X @ state["encoder.weight"] + state["encoder.bias"], 0)
    by_hand = h @ state["encoder.weight"].T + state["decoder.bias"]
    assert np.allclose(model.predict(X), by_hand, atol=1e-5)


def test_both_engines_find_the_same_for_one_seed():
    native, reference = quick("tied").runs[0], quick("tied", "reference", 1).runs[0]
    for way in ("tied", "free"):
        assert np.allclose(native[way]["test"], reference[way]["test"], rtol=0.02)


def test_both_learn_more_than_the_mean_image():
    for run in quick("tied").runs.runs:
        for way in ("tied", "free"):
            assert max(run[way]["test"]) < 0.02  # the mean image has 0.05
            assert all(test > train for train, test in zip(run[way]["train"], run[way]["test"], strict=True))


def test_the_gain_is_a_share():
    numbers = {
        "counts": (100, 1000),
        "tied": {"train": [0.1, 0.1], "test": [0.15, 0.2], "weights": [50, 50]},
        "free": {"train": [0.1, 0.1], "test": [0.2, 0.2], "weights": [100, 100]},
    }
    assert claims_of("tied", numbers) == [True, True, True]
    numbers["tied"]["test"] = [0.2, 0.15]
    assert claims_of("tied", numbers) == [True, False, False]
    numbers["tied"]["weights"] = [100, 100]
    assert claims_of("tied", numbers)[0] is False
