"""Adversarial training and input gradients: by hand, by differences, by PyTorch; engines, threads, resumed fits."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr
from fastreg.engines import reference as reference_engine
from fastreg.program.ops import Append, Dense

RNG = np.random.default_rng(0)
X = RNG.uniform(0, 1, size=(26, 5))
Y = RNG.integers(0, 3, size=26)
FGSM = fr.FGSM(0.05, weight=0.3, clip=(0.1, 0.9))


def trained(engine="native", epochs=3, fgsm=FGSM, layers=None, loss="softmax_cross_entropy", y=None, seed=0, **more):
    fit = {name: more.pop(name) for name in ("callbacks", "resume", "sample_weight", "validation_data") if name in more}
    layers = layers or [fr.Dense(8, "tanh"), fr.Dense(3)]
    more = {"optimizer": fr.SGD(0.2, momentum=0.9), "dtype": "float64"} | more
    trainer = fr.Trainer(fr.Sequential(layers), loss, engine=engine, adversarial=fgsm, seed=seed, **more)
    batch = fit.pop("batch_size", 8)
    trainer.history = trainer.fit(X, Y if y is None else y, epochs=epochs, batch_size=batch, **fit)
    return trainer


LAYERS = {
    "plain": lambda: [fr.Dense(8, "tanh"), fr.Dense(3)],
    "dropout": lambda: [fr.Dropout(rate=0.2), fr.Dense(8, "relu"), fr.Dropout(rate=0.3), fr.Dense(3)],
    "noise": lambda: [fr.GaussianNoise(0.1), fr.Dense(8, "gelu"), fr.GaussianNoise(0.1), fr.Dense(3)],
    "standardized": lambda: [fr.data.Standardizer().fit(X), fr.Dropout(rate=0.2), fr.Dense(3, l1=1e-3)],
    "activity": lambda: [fr.Dense(8, "relu", activity_l1=0.02), fr.Dropout(rate=0.3), fr.Dense(3, activity_l1=0.01)],
    "function": lambda: [fr.Function(np.sin, lambda dy, x, y: dy * np.cos(x)), fr.Dense(3, "tanh"), fr.Dense(3)],
}
LOSSES = {
    "softmax_cross_entropy": (fr.losses.SoftmaxCrossEntropy(0.1), Y),
    "sigmoid_cross_entropy": ("sigmoid_cross_entropy", np.eye(3)[Y]),
    "mse": ("mse", np.eye(3)[Y]),
    "custom": (fr.losses.Custom(lambda z, t: (np.log(np.cosh(z - t)).mean(axis=1), np.tanh(z - t) / 3)), np.eye(3)[Y]),
}


# --- The gradient at the inputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layers", LAYERS)
def test_input_gradients_are_differences_of_row_losses(layers, loss, engine):
    loss, y = LOSSES[loss]
    trainer = trained(engine, 1, None, LAYERS[layers](), loss, y)
    gradient, epsilon = trainer.input_gradient(X, y), 1e-6
    assert gradient.shape == X.shape and gradient.dtype == np.float64
    for column in range(X.shape[1]):
        step = epsilon * (np.arange(X.shape[1]) == column)
        slope = (trainer.row_losses(X + step, y) - trainer.row_losses(X - step, y)) / (2 * epsilon)
        np.testing.assert_allclose(gradient[:, column], slope, rtol=1e-6, atol=1e-8)


def test_input_gradients_against_torch():
    torch = pytest.importorskip("torch")
    trainer = trained(epochs=2, fgsm=None)
    x = torch.tensor(X, requires_grad=True)
    p = {name: torch.tensor(value) for name, value in state(trainer).items()}
    logits = torch.tanh(x @ p["0.weight"] + p["0.bias"]) @ p["1.weight"] + p["1.bias"]
    torch.nn.functional.cross_entropy(logits, torch.tensor(Y), reduction="sum").backward()
    np.testing.assert_allclose(trainer.input_gradient(X, Y), x.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_input_gradients_of_images_of_many_rows_and_of_some():
    images = RNG.integers(0, 255, size=(1100, 4, 3), dtype=np.uint8)
    labels = RNG.integers(0, 2, size=1100)
    trainer = fr.Trainer(fr.Sequential([fr.Flatten(), fr.Dropout(rate=0.5), fr.Dense(2)]))
    gradient = trainer.input_gradient(images, labels)
    assert gradient.shape == images.shape and gradient.dtype == np.float32
    rows = np.array([1099, 3, 3, 700])
    np.testing.assert_array_equal(trainer.input_gradient(images, labels, rows=rows), gradient[rows])


def test_input_gradients_that_are_not_finite():
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    trainer.evaluate(X, Y)
    trainer.model.parameters["0.weight"][...] = 3e38
    with pytest.raises(fr.DivergenceError, match="input_gradient: a loss is not finite"):
        trainer.input_gradient(X * 100, Y)


# --- Training ----------------------------------------------------------------------------------------------------


def by_torch(torch, weights, steps, clip=(0.1, 0.9)):
    """Full batches of plain gradient descent on weight J(x) + (1 - weight) J(x'), with l2 = 0.02."""
    start = trained(epochs=1, optimizer=fr.SGD(0.0))
    p = {name: torch.tensor(value, requires_grad=True) for name, value in state(start).items()}
    w = torch.tensor(weights / weights.sum())
    t, losses = torch.tensor(Y), []

    def loss(x):
        logits = torch.tanh(x @ p["0.weight"] + p["0.bias"]) @ p["1.weight"] + p["1.bias"]
        return (w * torch.nn.functional.cross_entropy(logits, t, reduction="none")).sum()

    for _ in range(steps):
        x = torch.tensor(X, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(x), x)
        moved = torch.clip(torch.tensor(X) + 0.05 * torch.sign(slope), *clip)
        data = 0.3 * loss(torch.tensor(X)) + 0.7 * loss(moved)
        penalty = 0.01 * (p["0.weight"].square().sum() + p["1.weight"].square().sum())
        for value, slope in zip(p.values(), torch.autograd.grad(data + penalty, list(p.values())), strict=True):
            value.data -= 0.3 * slope
        losses.append(data.item())
    return {name: value.detach().numpy() for name, value in p.items()}, losses


@pytest.mark.parametrize("weighted", [False, True])
def test_steps_against_torch(engine, weighted):
    torch = pytest.importorskip("torch")
    weights = RNG.uniform(0.1, 2, size=26) if weighted else np.ones(26)
    expected, losses = by_torch(torch, weights, 4)
    fit = {"batch_size": 26, "sample_weight": weights if weighted else None}
    model = fr.Sequential([fr.Dense(8, "tanh"), fr.Dense(3)])
    trainer = fr.Trainer(model, optimizer=fr.SGD(0.3), l2=0.02, dtype="float64", engine=engine, adversarial=FGSM)
    history = trainer.fit(X, Y, epochs=4, **fit)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-9)
    for name, value in state(trainer).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_linear_model_by_hand(loss, engine):
    """For a linear model the objective is that of the data together with the perturbed data."""
    loss, y = LOSSES[loss]
    trainer = trained(engine, 1, None, [fr.Dense(3)], loss, y)
    perturbed = FGSM.attack(trainer, X, y)
    assert perturbed.min() >= 0.1 and perturbed.max() <= 0.9
    expected = 0.3 * trainer.row_losses(X, y) + 0.7 * trainer.row_losses(perturbed, y)
    trainer.adversarial = FGSM
    np.testing.assert_allclose(trainer.row_losses(X, y), expected, rtol=1e-12)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_check(layers, loss):
    loss, y = LOSSES[loss]
    trainer = trained("native", 2, FGSM, LAYERS[layers](), loss, y, l2=0.01)
    assert fr.check_gradients(trainer, X[:9], y[:9], step=3, max_entries=20).ok


def test_gradient_check_where_signs_jump(engine):
    """L1 makes columns of W exactly zero, and so components of dJ/dx. After a small move they have a sign."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(128, 20)), rng.integers(0, 2, 128)
    model = fr.Sequential([fr.Dense(16, "relu", l1=0.02), fr.Dense(2)])
    more = {"optimizer": "sgd(lr=0.1)", "seed": 4, "dtype": "float64", "engine": engine}
    trainer = fr.Trainer(model, adversarial=fr.FGSM(0.2), **more)
    trainer.fit(x, y, epochs=30)
    assert (trainer.input_gradient(x, y) == 0).any()
    check = fr.check_gradients(trainer, x, y, max_entries=40)
    assert check.verdict == "good", str(check)


def test_gradient_check_finds_wrong_perturbed_rows(monkeypatch):
    """The differences make their own perturbed rows."""
    right = reference_engine.RUN[Append]

    def unmoved(engine, op, batch):
        right(engine, replace(op, attack=op.attack and replace(op.attack, epsilon=0.0)), batch)

    monkeypatch.setitem(reference_engine.RUN, Append, unmoved)
    trainer = trained("reference", 2, FGSM, [fr.Dense(5, "tanh"), fr.Dense(3)], "softmax_cross_entropy", Y)
    assert fr.check_gradients(trainer, X[:9], Y[:9], step=3).verdict == "wrong"


@pytest.mark.parametrize("more", [{}, {"clip_norm": 0.1}, {"accumulate": 2}], ids=["fused", "clipped", "accumulated"])
@pytest.mark.parametrize("layers", LAYERS)
def test_engines_agree(layers, more):
    """In single precision a sign may differ. In double precision no gradient is that near 0."""
    weights = RNG.uniform(0, 2, size=26)
    native, reference = (
        trained(engine, 3, FGSM, LAYERS[layers](), sample_weight=weights, **more) for engine in ("native", "reference")
    )
    for name, value in state(native).items():
        np.testing.assert_allclose(value, state(reference)[name], rtol=1e-9, atol=1e-11)
    for name in ("loss", "accuracy", "penalty"):
        np.testing.assert_allclose(native.history[name], reference.history[name], rtol=1e-9)
    for dtype in ("float32", "float64"):
        assert fr.compare_engines(native.copy(dtype), X, Y).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_for_any_number_of_threads(dtype):
    one, *others = (
        trained("native", 3, FGSM, LAYERS["dropout"](), threads=threads, dtype=dtype) for threads in (1, 2, 3, 5)
    )
    assert all(same(state(one), state(other)) for other in others)


@pytest.mark.parametrize("layers", ["plain", "dropout", "noise", "standardized", "function"])
def test_the_rows_of_the_batch_need_only_one_pass(layers, engine, monkeypatch):
    """What the attack has computed of them has the bits of a second pass, which other settings need."""
    weights = np.random.default_rng(5).uniform(0, 2, size=26)

    def run() -> tuple[fr.Trainer, set[str]]:
        trainer = trained(engine, 3, layers=LAYERS[layers](), sample_weight=weights)
        return trainer, {op.span for op in trainer.program("train").ops if isinstance(op, Dense)}

    kept, spans = run()
    assert spans == {"own", "copies"}
    monkeypatch.setattr(import_module("fastreg.model.lowering.lower"), "_keeps", lambda forward, attack: False)
    twice, spans = run()
    assert spans == {"own", "both"}
    assert same(state(kept), state(twice)) and kept.history["loss"] == twice.history["loss"]


def test_no_step_and_all_weight_on_the_rows_change_nothing_but_rounding(engine):
    plain = trained(engine, fgsm=None)
    for fgsm in (fr.FGSM(0.0), fr.FGSM(0.3, weight=1), fr.FGSM(0.0, weight=0.0)):
        for name, value in state(trained(engine, fgsm=fgsm)).items():
            np.testing.assert_allclose(value, state(plain)[name], rtol=1e-10, atol=1e-12)


def test_epsilon_and_clip_are_in_the_units_of_the_raw_data(engine):
    """epsilon and clip are in the units of the data: the same as a model on standardized columns, each with its own."""
    scaler = fr.data.Standardizer().fit(X)
    trainer = trained(engine, 2, fr.FGSM(0.1, clip=(0.2, 0.7)), [scaler, fr.Dense(3)])
    perturbed = trainer.adversarial.attack(trainer, X, Y)
    trainer.adversarial = None
    expected = (trainer.row_losses(X, Y) + trainer.row_losses(perturbed, Y)) / 2
    trainer.adversarial = fr.FGSM(0.1, clip=(0.2, 0.7))
    np.testing.assert_allclose(trainer.row_losses(X, Y), expected, rtol=1e-12)


def test_validation_is_not_attacked():
    trainer = trained(epochs=1, validation_data=(X, Y))
    assert trainer.history["val_loss"] == [trainer.evaluate(X, Y)["loss"]]
    trainer.adversarial, before = None, trainer.evaluate(X, Y)
    assert trainer.evaluate(X, Y) == before


def test_adversarial_training_makes_a_model_robust():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, size=400)
    x = rng.normal(size=(400, 20)) * 0.3 + np.where(y, 0.05, -0.05)[:, None]
    x[:, 0] = np.where(y, 1, -1) + rng.normal(size=400) * 0.3  # robust; the other columns are not
    attack, accuracy = fr.FGSM(0.2), {}
    for fgsm in (None, attack):
        model = fr.Sequential([fr.Dense(32, "relu"), fr.Dense(2)])
        trainer = fr.Trainer(model, optimizer=fr.SGD(0.1, momentum=0.9), adversarial=fgsm)
        trainer.fit(x, y, epochs=30, batch_size=50)
        accuracy[fgsm] = trainer.evaluate(attack.attack(trainer, x, y), y)["accuracy"]
    assert 1 - accuracy[attack] < (1 - accuracy[None]) / 2


def test_a_resumed_fit_goes_on_to_the_same_bits(tmp_path, engine):
    path = tmp_path / "run.safetensors"
    whole = trained(engine, 4, layers=LAYERS["dropout"]())
    trained(engine, 2, layers=LAYERS["dropout"](), callbacks=[fr.Checkpoint(path)])
    assert same(state(trained(engine, 4, layers=LAYERS["dropout"](), resume=path)), state(whole))
    with pytest.raises(ValueError, match=r"resume: adversarial: got None.*, expected FGSM\(epsilon=0\.05"):
        trained(engine, 4, fgsm=None, layers=LAYERS["dropout"](), resume=path)


def test_profile_counts_both_halves():
    """The products of the rows and of their copies, and the gradients of both."""
    profile = fr.profile(trained(), X, Y, repeats=1, seconds=1e-4)
    first, second = [op for op in profile.ops if op.op == "Dense" and op.on == "0.y"]
    assert second.flops == first.flops == 2 * 26 * 5 * 8
    (both,) = [op for op in profile.ops if op.op == "DenseDw" and op.on == "0.weight"]
    assert both.flops == 2 * first.flops


BAD = {
    "epsilon": (lambda: fr.FGSM(-1), r"epsilon: got -1, expected a finite number of at least 0"),
    "weight": (lambda: fr.FGSM(1, 2), r"weight: got 2, expected a finite number from 0 to 1"),
    "clip": (lambda: fr.FGSM(1, clip=3), r"clip: got 3, expected \(low, high\) or None"),
    "clip order": (lambda: fr.FGSM(1, clip=(1, 0)), r"clip: got \(1, 0\), expected \(low, high\) with low below high"),
    "clip NaN": (lambda: fr.FGSM(1, clip=(0, np.nan)), r"clip: got nan, expected a finite number"),
    "clip infinite": (lambda: fr.FGSM(1, clip=(0, np.inf)), r"clip: got inf, expected a finite number$"),
    "epsilon in float32": (
        lambda: trained(fgsm=fr.FGSM(1e39), dtype="float32"),
        r"adversarial: got FGSM\(1e\+39\), expected numbers finite in float32",
    ),
    "clip in float32": (
        lambda: trained(fgsm=fr.FGSM(1, clip=(-1e39, 0)), dtype="float32"),
        r"adversarial: got FGSM\(.*\), expected numbers finite in float32",
    ),
    "attack in float32": (
        lambda: fr.FGSM(1e39).attack(trained(dtype="float32"), X, Y),
        r"attack: got FGSM\(1e\+39\), expected numbers finite in float32",
    ),
    "trainer": (lambda: trained(fgsm=0.1), r"adversarial: got 0\.1, expected a fastreg\.FGSM or None"),
    "labels": (lambda: trained().input_gradient(X, Y[:3]), r"y: got shape \(3,\), expected 26 rows"),
    "rows": (lambda: trained().input_gradient(X, Y, rows=[26]), r"rows: got indices from 26 to 26"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    make, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        make()
    assert "\n" not in str(error.value)
