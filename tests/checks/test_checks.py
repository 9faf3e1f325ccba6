"""check_gradients and compare_engines pass any correct trainer, and find what is wrong."""

import itertools

import numpy as np
import pytest

import fastreg as fr
from fastreg.engines import reference as reference_engine
from fastreg.program.ops import ClipNorm, DenseDx, Gather, Loss, MaxNorm, Penalize, Update


def cube():
    return fr.Function(lambda x: x**3, lambda dy, x, y: 3 * x**2 * dy)


def everything() -> list:
    return [
        fr.GaussianNoise(0.2),
        fr.Dropout(keep_prob=0.9),
        fr.Dense(19, "tanh", max_norm=0.5, l1=fr.L1(0.02, proximal=False)),
        fr.GaussianNoise(0.1),
        cube(),
        fr.Dropout(rate=0.3),
        fr.Dense(8, "gelu", lr_scale=0.5),
        fr.GaussianNoise(0.1),
        fr.GaussianNoise(0.1),
        fr.Dense(3),
    ]


MODELS = {
    "everything": everything,
    "frozen below": lambda: [fr.Dense(5, "relu", trainable=False), fr.Dense(9, "tanh"), fr.Dense(3)],
    "frozen above": lambda: [fr.Dense(5, "tanh"), fr.GaussianNoise(0.1), fr.Dense(3, trainable=False)],
}
OPTIMIZERS = {
    "sgd": fr.SGD(0.1, weight_decay=0.01),
    "nesterov": fr.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": fr.RMSprop(0.01),
    "rmsprop, momentum": fr.RMSprop(0.01, momentum=0.9),
    "adamw": fr.AdamW(0.01),
}
STEPS = {
    "fused": {},
    "clip_value": {"clip_value": 1e-3},
    "clip_norm": {"clip_norm": 1e-2},
    "accumulate": {"accumulate": 3},
    "all": {"clip_value": 1e-3, "clip_norm": 1e-2, "accumulate": 2},
}


@pytest.fixture
def data(rng):
    return rng.normal(size=(40, 7)), rng.integers(0, 3, 40), rng.integers(0, 3, 40)


def trainer_of(layers, **settings) -> fr.Trainer:
    trainer = fr.Trainer(fr.Sequential(layers), l1=0.01, l2=fr.L2(0.1, m="batch"), **settings)
    trainer.model.build(7, dtype=trainer.dtype)
    return trainer


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_gradients_are_right(model, steps, engine, data):
    """Clipping and accumulation belong to the step, not to the gradient."""
    X, y, weights = data
    trainer = trainer_of(MODELS[model](), engine=engine, **STEPS[steps])
    before = trainer.model.state_dict()
    check = fr.check_gradients(trainer, X, y, weights, step=3)
    assert check.ok and check.verdict == "good", str(check)
    trained = [layer.name for layer in trainer.model.layers if getattr(layer, "trainable", False)]
    assert list(check.per_parameter) == [f"{name}.{part}" for name in trained for part in ("weight", "bias")]
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_gradients_that_are_wrong(data):
    X, y, _ = data
    wrong = fr.Function(lambda x: x**3, lambda dy, x, y: 2 * x**2 * dy)
    check = fr.check_gradients(trainer_of([fr.Dense(9, "tanh"), wrong, fr.Dense(3)]), X, y)
    assert not check.ok and check.verdict == "wrong" and check.worst.startswith("0.")
    assert check.per_parameter["2.weight"] < 1e-7
    assert "<- worst" in str(check)


@pytest.mark.parametrize("live", [fr.GaussianNoise(0.1), fr.Dropout(keep_prob=0.9)])
def test_what_is_drawn_must_be_held_fixed(live, data):
    X, y, _ = data
    trainer = trainer_of([fr.Dense(9), live, fr.Dense(3)])
    with pytest.raises(ValueError, match="step: got None, but dropout or noise is live in 1; "):
        fr.check_gradients(trainer, X, y)
    assert fr.check_gradients(trainer, X, y, step=0, max_entries=5).entries == {
        "0.weight": 5, "0.bias": 5, "2.weight": 5, "2.bias": 3
    }  # fmt: skip
    still = trainer_of([fr.Dense(9), fr.GaussianNoise(0.0), fr.Dropout(keep_prob=1.0), fr.Dense(3)])
    assert fr.check_gradients(still, X, y).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("model", MODELS)
def test_engines_agree(model, steps, optimizer, dtype, data):
    X, y, weights = data
    trainer = trainer_of(MODELS[model](), optimizer=OPTIMIZERS[optimizer], dtype=dtype, **STEPS[steps])
    before = trainer.model.state_dict()
    comparison = fr.compare_engines(trainer, X, y, weights, step=5)
    assert comparison.ok, str(comparison)
    compared = {op.op for op in comparison.ops}
    assert "DenseDw" in compared
    assert (steps == "fused" or steps == "clip_value") == ("Update" not in compared)
    assert ("norm" in steps or steps == "all") == ({"Penalize", "ClipNorm"} <= compared)
    assert (model == "everything") == ({"Call", "MaxNorm", "Elementwise"} <= compared)
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("op", [Penalize, ClipNorm, Update, MaxNorm])
def test_engines_that_differ(op, data, monkeypatch):
    """One op of the reference left out: the comparison names it, and no other."""
    X, y, _ = data
    monkeypatch.setitem(reference_engine.RUN, op, lambda *_: None)
    trainer = trainer_of(everything(), clip_norm=1e-2)
    comparison = fr.compare_engines(trainer, X, y)
    assert {row.op for row in comparison.ops if not row.ok} == {op.__name__}
    assert comparison.verdict.startswith("engines differ in ") and f", first in {op.__name__}" in comparison.verdict
    assert str(comparison).startswith(comparison.verdict)


def test_the_verdict_says_where(data, monkeypatch):
    """The reference computes dx of the layer "middle" twice as large: 1 of 11 ops, and that one first."""
    X, y, _ = data
    right = reference_engine.RUN[DenseDx]

    def twice(engine, op, *rest):
        right(engine, op, *rest)
        if op.weight == "middle.weight":
            engine.buffers[op.out] *= 2

    monkeypatch.setitem(reference_engine.RUN, DenseDx, twice)
    layers = [fr.Dense(9, "tanh"), fr.Dense(5, "relu", name="middle"), fr.Dense(3)]
    comparison = fr.compare_engines(trainer_of(layers), X, y)
    worst = next(op for op in comparison.ops if not op.ok)
    assert (
        (worst.op, worst.layer, worst.writes)
        == ("DenseDx", "middle", "d:0.y")
        == (*(comparison.worst.op, comparison.worst.layer, comparison.worst.writes),)
    )
    count = len(comparison.ops)
    assert comparison.verdict.startswith(
        f"engines differ in 1 of {count} ops, first in DenseDx of layer middle (d:0.y: "
    )
    assert "differs" in str(comparison) and repr(comparison) == f"<EngineComparison: {comparison.verdict}>"


def test_the_verdict_of_engines_that_agree(data):
    comparison = fr.compare_engines(trainer_of([fr.Dense(9, "tanh"), fr.Dense(3)]), *data[:2])
    worst = max(comparison.ops, key=lambda op: op.ulp / op.limit)
    share = f"{100 * worst.ulp / worst.limit:.0f} %"
    assert comparison.verdict == (
        f"engines agree in all {len(comparison.ops)} ops; the largest error is {share} of what rounding explains, "
        f"in {worst.op}{'' if worst.layer is None else f' of layer {worst.layer}'}"
    )


def test_missing_targets_are_no_difference(data, monkeypatch):
    """NaN in both engines is a target that is missing; in one of them it is an error."""
    X, _, _ = data
    Y = X[:, :3].copy()
    Y[3, 1] = np.nan
    trainer = trainer_of([fr.Dense(3)], loss=fr.losses.MSE(missing_targets=True))
    assert fr.compare_engines(trainer, X, Y).ok
    right = reference_engine.RUN[Gather]

    def filled(engine, op, *rest):
        right(engine, op, *rest)
        np.nan_to_num(engine.buffers[op.out], copy=False)

    monkeypatch.setitem(reference_engine.RUN, Gather, filled)
    assert fr.compare_engines(trainer, X, Y).verdict.startswith(
        "engines differ in 1 of 5 ops, first in Gather (targets: nan"
    )


def test_a_verdict_of_what_is_not_a_number(data, monkeypatch):
    right = reference_engine.RUN[Loss]

    def broken(engine, op, *rest):
        right(engine, op, *rest)
        engine.buffers[op.dz][0, 0] = np.nan

    monkeypatch.setitem(reference_engine.RUN, Loss, broken)
    comparison = fr.compare_engines(trainer_of([fr.Dense(3)]), *data[:2])
    assert not comparison.ok and comparison.worst.op == "Loss" and comparison.worst.of_limit == np.inf
    assert "first in Loss (d:0.y: nan ulp" in comparison.verdict


def test_sums_that_cancel_are_no_difference():
    """A norm lets no change of scale through, so the gradient at the one unit before it is all but 0."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first = fr.Dense(1, "relu", bias_init=fr.initializers.uniform(1))
        layers = [first, fr.Dense(40, use_bias=False), fr.LayerNorm("mish", shift=False, scale=False), fr.Dense(3)]
        trainer = fr.Trainer(fr.Sequential(layers), seed=seed)
        comparison = fr.compare_engines(trainer, 1 + rng.random((8, 3)), rng.integers(0, 3, 8))
        assert comparison.ok, comparison.verdict


CHECKS = {"check_gradients": fr.check_gradients, "compare_engines": fr.compare_engines, "profile": fr.profile}
BAD = {
    "trainer None": ({"trainer": None}, r"trainer: got None, expected a fastreg\.Trainer"),
    "trainer class": ({"trainer": fr.Trainer}, r"trainer: got <class .*, expected a fastreg\.Trainer"),
    "trainer model": ({"trainer": fr.Sequential([fr.Dense(3)])}, r"trainer: got Sequential\(.*, expected a fastreg"),
    "X": ({"X": np.ones(3)}, r"X: got shape \(3,\), expected \(n, 7\)"),
    "y": ({"y": None}, r"y: got None, expected targets"),
    "weights": ({"sample_weight": -np.ones(40)}, r"sample_weight: got -1\.0 in row 0"),
}
BAD_OPTIONS = [
    *(("check_gradients", "epsilon", value) for value in (float("nan"), float("inf"), "a", 0, -1e-7, None)),
    *(("check_gradients", "max_entries", value) for value in (0, 1.5, "a")),
    *(("check_gradients", "step", value) for value in (-1, 0.5, "a")),
    *(("compare_engines", "step", value) for value in (-1, None, "a")),
    *(("profile", "repeats", value) for value in (0, None, 1.5)),
    *(("profile", "seconds", value) for value in (0, -1, float("nan"), "a")),
]


def test_slopes_that_cancel_are_no_difference():
    """1 - tanh(z)^2 at the ends of tanh, for a gradient that no product comes with: two layers read the value."""
    x = fr.Input(4)
    h = fr.Dense(6, "tanh", name="h")(x)
    model = fr.Model(x, fr.Dense(2)(fr.Add()([h, fr.Activation("tanh")(h)])))
    model.build(seed=0)
    model.parameters["h.weight"][...] = 0
    model.parameters["h.bias"][...] = np.linspace(5, 8, 6)
    X, y = np.ones((9, 4)), np.arange(9) % 2
    comparison = fr.compare_engines(fr.Trainer(model), X, y)
    assert any(op.op == "Elementwise" and op.writes == "d:h.y" for op in comparison.ops)
    assert comparison.ok, str(comparison)


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("check", CHECKS)
def test_wrong_arguments(check, case, data):
    changes, message = BAD[case]
    X, y, _ = data
    with pytest.raises((ValueError, TypeError), match=message) as error:
        CHECKS[check](**{"trainer": trainer_of([fr.Dense(3)]), "X": X, "y": y} | changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("check", "name", "value"), BAD_OPTIONS)
def test_wrong_options(check, name, value, data):
    X, y, _ = data
    with pytest.raises((ValueError, TypeError), match=f"{name}: got {value!r}, expected"):
        CHECKS[check](trainer_of([fr.Dense(3)]), X, y, **{name: value})


@pytest.mark.parametrize("check", CHECKS)
def test_a_trainer_without_parameters_stays_without(check, data):
    """The check draws the parameters that a fit would draw."""
    X, y, _ = data
    trainer = fr.Trainer(fr.Sequential([fr.Dense(4, "relu"), fr.Dense(3)]), seed=5)
    assert str(CHECKS[check](trainer, X, y))
    assert not trainer.model.built


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_to_train(check, data):
    with pytest.raises(ValueError, match="model: got one whose layers are all frozen"):
        CHECKS[check](trainer_of([fr.Dense(3, trainable=False)]), *data[:2])


def test_steps_too_long_to_be_timed(data):
    with pytest.raises(ValueError, match=r"trainer: got accumulate=1099511627776, expected at most \d+ here"):
        fr.profile(trainer_of([fr.Dense(3)], accumulate=2**40), *data[:2])


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "adam"])
def test_an_update_that_cancels_is_no_difference(optimizer):
    """Steps that bring a parameter to 0 or almost: the rest shows the rounding of the value before."""
    rng = np.random.default_rng(0)
    settings = {"optimizer": OPTIMIZERS.get(optimizer, optimizer), "dtype": "float64"}
    for scale, l1 in itertools.product((0.01, 0.03, 0.1, 1.0, 10.0), (0.0, 0.05, 1.0)):
        for steps in ({}, {"accumulate": 2}):
            model = fr.Sequential([fr.Dense(1)])
            model.build(3, dtype="float64")
            model.load_state_dict({name: scale * rng.normal(size=w.shape) for name, w in model.parameters.items()})
            trainer = fr.Trainer(model, "mse", l1=l1, **settings, **steps)
            comparison = fr.compare_engines(trainer, rng.normal(size=(7, 3)), rng.normal(size=7))
            assert comparison.ok, str(comparison)


def test_an_update_that_cancels_by_hand():
    """A bias b and SGD under the squared error: b <- b - 0.1 * 2 (b - t), so t = -4 b (1 - 1e-12) leaves 8e-13 b."""
    model = fr.Sequential([fr.Dense(1)])
    model.build(1, dtype="float64")
    model.load_state_dict({"0.weight": [[0.0]], "0.bias": [0.7]})
    trainer = fr.Trainer(model, "mse", dtype="float64", accumulate=2)
    comparison = fr.compare_engines(trainer, np.zeros((3, 1)), np.full(3, -4 * 0.7 * (1 - 1e-12)))
    assert comparison.ok, str(comparison)
