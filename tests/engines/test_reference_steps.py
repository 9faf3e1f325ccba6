"""The reference engine on what makes a step, against PyTorch, SciPy and sums done by hand: accumulation, clipping,
max-norm, noise, standardization and calls."""

from dataclasses import replace

import numpy as np
import pytest
from networks import CALLS, CLASSIFY, HALVES, SQUARES, Case, Network

from fastreg.engines.base import Tally
from fastreg.engines.reference import ReferenceEngine
from fastreg.layers import Dense, GaussianNoise, Standardize
from fastreg.machine import _core
from fastreg.program.ops import Update
from fastreg.program.riders import PURPOSE_NOISE, Penalty, stream
from fastreg.program.rules import Rule

SMALL = Network(6, [Dense(5, "tanh"), Dense(3)], "mse", Rule("sgd", Penalty(0.05, 0.1, proximal=False)))


def trained(network, rows=24, batch=8, **given):
    """The tally and the parameters after an epoch in the reference engine."""
    case = Case(network, "float64", rows, batch)
    engine, feed, tally = case.engine(ReferenceEngine), case.feed(**given), Tally()
    assert engine.run(feed, tally, 0, feed.batches) == feed.batches
    return tally, case.params, engine


def gradients_by_torch(torch, case, weights):
    """Of the data loss of all rows and the penalties of SMALL, at the parameters that a case starts with."""
    case.engine(ReferenceEngine)
    params = {name: torch.tensor(np.array(w), requires_grad=True) for name, w in case.params.items()}
    hidden = torch.tanh(torch.tensor(case.X) @ params["0.weight"] + params["0.bias"])
    error = hidden @ params["1.weight"] + params["1.bias"] - torch.tensor(case.y)
    loss = (torch.tensor(weights) * (error**2).mean(1)).sum() / weights.sum()
    for name in ("0.weight", "1.weight"):
        loss = loss + 0.05 * (params[name] ** 2).sum() + 0.05 * params[name].abs().sum()
    loss.backward()
    return params


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("limit", [1e-2, 0.3, 1e3])
def test_clipping_by_the_common_norm_is_that_of_torch(limit, accumulate):
    torch = pytest.importorskip("torch")
    case = Case(SMALL, "float64", 24, 24 // accumulate)
    weights = np.random.default_rng(5).random(24)
    params = gradients_by_torch(torch, case, weights)
    norm = torch.nn.utils.clip_grad_norm_(list(params.values()), limit).item()
    network = replace(SMALL, clip_norm=limit, accumulate=accumulate)
    tally, ours, engine = trained(network, batch=case.batch, weights=weights, rates=np.full(3, 0.5))
    assert engine.clip[0] == pytest.approx(min(1, limit / (norm + 1e-6)), rel=1e-12)
    for name, w in params.items():
        np.testing.assert_allclose(ours[name], (w - 0.5 * w.grad).detach().numpy(), rtol=1e-12, atol=1e-14)
    assert tally.updates == tally.batches == 1


@pytest.mark.parametrize("limit", [1e-3, 0.1])
def test_values_are_clipped_after_the_penalties(limit):
    torch = pytest.importorskip("torch")
    case = Case(SMALL, "float64", 24, 24)
    params = gradients_by_torch(torch, case, np.ones(24))
    torch.nn.utils.clip_grad_value_(list(params.values()), limit)
    _, ours, _ = trained(SMALL.but({"clip_value": limit}), batch=24, rates=np.full(1, 0.5))
    for name, w in params.items():
        np.testing.assert_allclose(ours[name], (w - 0.5 * w.grad).detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "rule", [SMALL.rule, Rule("adam", Penalty(l2=1.0, l2_per_row=True), beta1=0.9, beta2=0.99, eps=1e-6)]
)
@pytest.mark.parametrize("accumulate", [1, 2, 3, 4, 9])
def test_accumulated_batches_are_one_large_one(accumulate, rule):
    """Weighted, with a smaller last step, and with steps whose first or a later batch has no weight."""
    weights = np.random.default_rng(5).integers(0, 3, 50).astype(float)
    order = np.random.default_rng(6).permutation(50)
    weights[order[:4]] = weights[order[24:28]] = 0
    small, large = replace(SMALL, rule=rule, accumulate=accumulate), replace(SMALL, rule=rule)
    given = {"weights": weights, "order": order, "rates": np.full(13, 0.1)}
    tally, ours, _ = trained(small, 50, 4, **given)
    expected, theirs, _ = trained(large, 50, 4 * accumulate, **given)
    for name, w in theirs.items():
        np.testing.assert_allclose(ours[name], w, rtol=1e-10, atol=1e-12, err_msg=name)
    assert (tally.batches, tally.updates) == (expected.batches, expected.updates)
    assert tally.penalty == pytest.approx(expected.penalty, rel=1e-12)
    assert (tally.loss, tally.weight) == (pytest.approx(expected.loss, rel=1e-12), expected.weight)


def test_a_step_of_zero_weight_is_not_taken():
    weights = np.ones(50)
    weights[16:32] = 0  # the second step, both batches
    tally, ours, _ = trained(replace(SMALL, accumulate=2), 50, 8, weights=weights, order=None)
    kept = weights > 0
    case = Case(replace(SMALL, accumulate=2), "float64", 50, 8)
    engine, same = case.engine(ReferenceEngine), Tally()
    case.y = case.y[kept]
    engine.run(case.feed(case.X[kept], order=None), same, 0, 5)
    for name, w in case.params.items():
        np.testing.assert_array_equal(ours[name], w)
    assert (tally.updates, tally.penalty) == (3, same.penalty)


def test_steps_in_slices():
    """A slice may end within a step."""
    network = replace(CLASSIFY, accumulate=3, clip_norm=0.1)
    _, expected, _ = trained(network, 100, 8, rates=np.full(13, 0.1))
    case = Case(network, "float64", 100, 8)
    engine, feed, tally = case.engine(ReferenceEngine), case.feed(rates=np.full(13, 0.1)), Tally()
    for batch in range(13):
        assert engine.run(feed, tally, batch, batch + 1) == batch + 1
        assert tally.updates == (batch + 1) // 3 + (batch == 12)
    for name, w in expected.items():
        np.testing.assert_array_equal(case.params[name], w)


def test_the_penalty_counts_once_in_two_passes():
    for options in ({}, {"two_passes": True}, {"clip_norm": 1e3}, {"clip_norm": 0.01}):
        tally, _, _ = trained(replace(SMALL, **options), batch=24, rates=np.zeros(1))
        case = Case(SMALL, "float64", 24, 24)
        case.engine(ReferenceEngine)
        weights = [w for name, w in case.params.items() if "weight" in name]
        assert tally.penalty == pytest.approx(sum(0.05 * (w**2).sum() + 0.05 * abs(w).sum() for w in weights))


def test_columns_over_the_limit_are_scaled_to_it():
    _, free, _ = trained(SMALL, batch=24)
    _, held, _ = trained(SMALL.but({"max_norm": 0.9}), batch=24)
    for name in ("0.weight", "1.weight"):
        norms = np.linalg.norm(free[name], axis=0)
        assert (norms > 0.9).any() and (norms < 0.9).any()
        np.testing.assert_allclose(held[name], free[name] * np.minimum(1, 0.9 / norms), rtol=1e-14)
        np.testing.assert_array_equal(held[name][:, norms < 0.9], free[name][:, norms < 0.9])
    np.testing.assert_array_equal(held["0.bias"], free["0.bias"])


# --- on the way in -------------------------------------------------------------------------------------------------


def test_inputs_are_standardized_then_get_noise():
    mean, scale = np.arange(6.0), np.linspace(0.1, 2, 6)
    network = replace(SMALL, layers=[Standardize(mean, scale), GaussianNoise(0.5), *SMALL.layers])
    case = Case(network, "float64", 8, 8)
    engine, feed = case.engine(ReferenceEngine), case.feed(order=None)
    engine.run(feed, Tally(), 0, 1)
    draws = np.empty((8, 6))
    _core.fill_draws(draws, feed.seed, feed.step % 2**32, stream(PURPOSE_NOISE, 1))
    np.testing.assert_allclose(engine.buffers["inputs"], (case.X - mean) * scale + 0.5 * draws, rtol=1e-14)


@pytest.mark.slow
def test_normal_draws_know_nothing_of_each_other():
    """That they are normal is in ../kernels/test_normals.py."""
    draws = np.empty((1000, 1000))
    _core.fill_draws(draws, 1, 2, 3)
    for one, other in ((draws[1:], draws[:-1]), (draws[:, 1:], draws[:, :-1]), (draws[:, 4:], draws[:, :-4])):
        assert abs((one * other).mean()) < 4e-3  # neighbours
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        elsewhere = np.empty((1000, 1000))
        _core.fill_draws(elsewhere, *other)
        assert abs((draws * elsewhere).mean()) < 4e-3


# --- calls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [CALLS, [Dense(4, "tanh"), SQUARES], [HALVES, Dense(3), GaussianNoise(0.3)]])
def test_gradients_through_calls_and_noise_are_differences(layers):
    network = Network(5, layers, "mse", Rule("gradient"))
    case = Case(network, "float64", 9, 9)
    engine, feed = case.engine(ReferenceEngine), case.feed()

    def loss():
        tally = Tally()
        engine.run(feed, tally, 0, 1)
        return tally.loss / tally.weight

    loss()
    gradients = {name: g.copy() for name, g in engine.gradients.items()}
    assert gradients.keys() == case.params.keys()
    for name, w in case.params.items():
        for i in list(np.ndindex(w.shape))[::7]:
            kept = w[i]
            w[i] = kept + 1e-5
            above = loss()
            w[i] = kept - 1e-5
            slope = (above - loss()) / 2e-5
            w[i] = kept
            assert gradients[name][i] == pytest.approx(slope, rel=1e-6, abs=1e-8), (name, i)


def test_updates_are_two_passes_where_asked():
    case = Case(replace(SMALL, two_passes=True), "float64")
    assert sum(isinstance(op, Update) for op in case.engine(ReferenceEngine).program.ops) == 4
