"""How the outputs of a row count in its loss: weights, positive weights, units, missing targets; losses of numbers. The
judges are PyTorch, scikit-learn, NumPy's nanmean and differences, in both engines and dtypes."""

import json

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr
from fastreg.common.description import from_config
from fastreg.engines.base import Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.engines.memory import padded
from fastreg.model.graph import Network, chain
from fastreg.model.lowering import Head, lower
from fastreg.program.riders import Terms
from fastreg.program.rules import Rule

L = fr.losses
NUMBERS = [L.MSE, L.MAE, L.Huber, L.LogCosh, L.Quantile]
DTYPES = ["float32", "float64"]
CLOSE = {"float32": 2e-5, "float64": 1e-12}


def outputs(loss, engine="native", units=5, dtype="float64", **settings) -> fr.Trainer:
    """The outputs are the inputs."""
    trainer = fr.Trainer(fr.Sequential([fr.Dense(units)]), loss, engine=engine, dtype=dtype, **settings)
    trainer.model.build(units, dtype=dtype)
    trainer.model.load_state_dict({"0.weight": np.eye(units), "0.bias": np.zeros(units)})
    return trainer


def network(loss, engine="native", units=3, **settings) -> fr.Trainer:
    model = fr.Sequential([fr.Dense(7, "tanh"), fr.Dropout(rate=0.2), fr.Dense(units)])
    return fr.Trainer(model, loss, engine=engine, **settings)


def with_holes(t, rng, share=0.3):
    """Some targets are missing, and all of row 3."""
    t = np.where(rng.random(t.shape) < share, np.nan, t)
    t[3] = np.nan
    return t


# --- Losses of numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 3, 16, 37])
def test_losses_of_numbers_are_torchs_and_scikit_learns(engine, dtype, columns, rng):
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("sklearn.metrics")
    y, t = rng.normal(scale=2, size=(2, 9, columns))
    t[0] = y[0]
    functions = torch.nn.functional
    a, b = torch.tensor(y), torch.tensor(t)
    for loss, expected in (
        (L.MSE(), functions.mse_loss(a, b).item()),
        (L.MAE(), functions.l1_loss(a, b).item()),
        (L.Huber(), functions.huber_loss(a, b).item()),
        (L.Huber(0.3), functions.huber_loss(a, b, delta=0.3).item()),
        (L.LogCosh(), np.log(np.cosh(y - t)).mean()),
        (L.Quantile(0.2), metrics.mean_pinball_loss(t, y, alpha=0.2)),
    ):
        found = outputs(loss, engine, columns, dtype).evaluate(y, t)
        assert list(found) == ["loss"]
        assert found["loss"] == pytest.approx(expected, rel=CLOSE[dtype]), loss


@pytest.mark.parametrize(("name", "delta"), [("mae", {}), ("huber", {}), ("huber", {"delta": 0.4})])
def test_functions_on_arrays_are_torchs(name, delta, rng):
    torch = pytest.importorskip("torch")
    y, t = rng.normal(size=(2, 9, 21))
    t[0] = y[0]
    a = torch.tensor(y, requires_grad=True)
    function = torch.nn.functional.l1_loss if name == "mae" else torch.nn.functional.huber_loss
    expected = function(a, torch.tensor(t), **delta)
    expected.backward()
    for module in (fr.kernels, fr.reference):
        value, gradient = getattr(module, name)(y, t, **delta)
        assert value == pytest.approx(expected.item(), rel=1e-13)
        np.testing.assert_allclose(gradient, a.grad.numpy(), rtol=1e-13)


def test_log_cosh_is_exact_near_zero_and_far_out(engine):
    d = np.array([[0.0, 1e-5, -1e-3, 30.0, -900.0]])
    losses = [outputs(L.LogCosh(), engine, 1).evaluate(d[:, j : j + 1], [0.0])["loss"] for j in range(5)]
    np.testing.assert_allclose(losses, [0, 5e-11, 5e-7, 30 - np.log(2), 900 - np.log(2)], rtol=1e-6)


def test_what_they_tend_to(rng):
    """With one constant input: median and quantile of the targets."""
    t = rng.exponential(size=401)
    for loss, expected in ((L.MAE(), np.median(t)), (L.Quantile(0.9), np.quantile(t, 0.9))):
        trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss, fr.SGD(fr.schedules.Exponential(1.0, 0.98)))
        trainer.fit(np.ones((401, 1)), t, epochs=400, batch_size=401)
        assert trainer.predict(np.ones((1, 1)))[0, 0] == pytest.approx(expected, abs=0.03)


# --- Gradients and engines ---------------------------------------------------------------------------------------

ALL = [
    *(kind(output_weights=(0.5, 2, 0), missing_targets=True) for kind in NUMBERS),
    L.Huber(0.2),
    L.SigmoidCrossEntropy(missing_targets=True),
    L.SigmoidCrossEntropy(pos_weight=3),
    L.SigmoidCrossEntropy(0.1, pos_weight=(1, 0.2, 7), output_weights=(1, 2, 3), missing_targets=True),
    L.SoftmaxCrossEntropy(0.1, missing_targets=True),
    L.Poisson(output_weights=(0.5, 2, 0), missing_targets=True),
    L.SigmoidFocal(),
    L.SigmoidFocal(0.5, 0.25, 0.1, pos_weight=(1, 0.2, 7), output_weights=(1, 2, 3), missing_targets=True),
    L.SoftmaxFocal(missing_targets=True),
    L.SoftmaxFocal(0.7, (1, 0.5, 3), 0.1),
    L.Hinge(),
    L.Hinge(True, 0.1, pos_weight=(1, 0.2, 7), output_weights=(1, 2, 3), missing_targets=True),
    L.CategoricalHinge(),
    L.CategoricalHinge(True, missing_targets=True),
]
OF_CLASSES = ("softmax", "class_scores")


def labels(loss, count):
    """Some are missing, if the loss takes that."""
    each = np.arange(count)
    return np.where(each % 5, each % 3, -1) if loss.missing_targets else each * each % 3


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradients_and_engines(engine, loss, rng):
    X, t = rng.normal(size=(30, 5)), rng.random((30, 3))
    if loss.missing_targets:
        t = with_holes(t, rng)
    if loss.transform in OF_CLASSES:
        t = labels(loss, 30)
    weight = rng.uniform(0.5, 2, 30)
    trainer = network(loss, engine, l2=0.01)
    trainer.fit(X, t, epochs=2, sample_weight=weight)
    assert fr.check_gradients(trainer, X, t, weight, step=3).ok
    for dtype in DTYPES:
        assert fr.compare_engines(trainer.copy(dtype=dtype), X, t, weight).ok
    attacked = network(loss, engine, adversarial=fr.FGSM(0.1))
    attacked.fit(X, t)
    assert fr.check_gradients(attacked, X, t, weight, step=3).ok


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_the_bits_do_not_depend_on_threads_and_a_resumed_fit_has_them(loss, rng, tmp_path):
    X, t = rng.normal(size=(150, 5)), rng.random((150, 3))
    if loss.missing_targets:
        t = with_holes(t, rng)
    if loss.transform in OF_CLASSES:
        t = labels(loss, 150)
    path = tmp_path / "run.safetensors"
    found = []
    for threads in (1, 2, 3):
        trainer = network(loss, threads=threads)
        trainer.fit(X, t, epochs=2, batch_size=40, callbacks=[fr.Checkpoint(path)])
        if threads == 3:
            trainer = network(loss)
            trainer.fit(X, t, epochs=3, batch_size=40, resume=path, callbacks=[fr.Checkpoint(path)])
        else:
            trainer.fit(X, t, epochs=1, batch_size=40)
        found.append(state(trainer))
    assert same(found[0], found[1]) and same(found[0], found[2])
    assert fr.load(path).loss == loss


# --- Weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positive", [3.0, (0.5, 2, 1, 0, 9)])
def test_pos_weight_is_torchs(engine, dtype, positive, rng):
    torch = pytest.importorskip("torch")
    z, t = rng.normal(scale=3, size=(20, 5)), rng.random((20, 5)).round(1)
    logits = torch.tensor(z, requires_grad=True)
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(np.broadcast_to(positive, 5).copy()))(
        logits, torch.tensor(t)
    )
    expected.backward()
    trainer = outputs(L.SigmoidCrossEntropy(pos_weight=positive), engine, dtype=dtype)
    assert trainer.evaluate(z, t)["loss"] == pytest.approx(expected.item(), rel=CLOSE[dtype])
    np.testing.assert_allclose(trainer.input_gradient(z, t) / 20, logits.grad.numpy(), rtol=1e-4, atol=CLOSE[dtype])


@pytest.mark.parametrize("kind", [*NUMBERS, L.SigmoidCrossEntropy])
def test_output_weights(engine, kind, rng):
    z, t, weights = rng.normal(size=(20, 5)), rng.random((20, 5)), np.array([0, 1, 2.5, 1, 0.1])
    one = [outputs(kind(), engine, 1).row_losses(z[:, j : j + 1], t[:, j : j + 1]) for j in range(5)]
    found = outputs(kind(output_weights=weights), engine).row_losses(z, t)
    np.testing.assert_allclose(found, weights @ one / 5, rtol=1e-12)
    plain, ones = (outputs(kind(**how), engine) for how in ({}, {"output_weights": [1] * 5}))
    np.testing.assert_array_equal(plain.row_losses(z, t), ones.row_losses(z, t))


@pytest.mark.parametrize("kind", ["mse", "huber", "sigmoid_cross_entropy"])
def test_units_are_in_the_value_and_not_in_the_gradient(engine, kind, rng):
    """The trainer of a scaled target reports its loss in the units of the target."""
    x, t = padded((6, 4), "float64"), rng.random((6, 2))
    x[...] = rng.normal(size=(6, 4))
    found = {}
    for units in (None, (10.0, 0.5)):
        layers = [fr.Dense(2, name="0")]
        terms = Terms(weights=(1.0, 3.0), units=units, shape=1.0)
        program = lower(
            Network(layers, chain(1), ((4,),)),
            losses={"output": Head(kind, terms=terms)},
            rules=dict.fromkeys(("0.weight", "0.bias"), Rule("gradient")),
        )
        params = {"0.weight": padded((4, 2), "float64"), "0.bias": padded((2,), "float64")}
        params["0.weight"][...] = np.arange(8).reshape(4, 2) / 8
        made = make_engine(engine, program, params, {}, 6, "float64", 1)
        tally = Tally()
        made.run(Feed(np.array(x), 6, t, rates=np.zeros(1)), tally, 0, 1)
        found[units] = tally.loss, {name: np.array(g) for name, g in made.gradients.items()}
    assert same(found[None][1], found[10.0, 0.5][1])
    y = x @ params["0.weight"]
    d = y - t
    each = {
        "mse": d**2,
        "huber": np.where(abs(d) < 1, d**2 / 2, abs(d) - 0.5),
        "sigmoid_cross_entropy": np.log1p(np.exp(y)) - t * y,
    }[kind]
    assert found[None][0] == pytest.approx((each * [1, 3]).mean(axis=1).sum())
    assert found[10.0, 0.5][0] == pytest.approx((each * [1, 3] * [10, 0.5]).mean(axis=1).sum())


# --- Class weights of several labels -----------------------------------------------------------------------------


def test_balanced_labels_are_scikit_learns_weights_of_each_column(engine, rng):
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_sample_weight
    torch = pytest.importorskip("torch")
    X, t = rng.normal(size=(40, 3)), (rng.random((40, 3)) < [0.1, 0.5, 0.8]).astype(int)
    weights = np.stack([compute("balanced", t[:, j]) for j in range(3)], axis=1)
    trainer = outputs("sigmoid_cross_entropy", engine, 3, optimizer=fr.SGD(1.0))
    w = torch.eye(3, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(X) @ w, torch.tensor(t, dtype=w.dtype), torch.tensor(weights)
    )
    loss.backward()
    history = trainer.fit(X, t, batch_size=40, class_weight="balanced", validation_data=(X, t))
    assert history["loss"][0] == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(np.eye(3) - trainer.model.state_dict()["0.weight"], w.grad.numpy(), rtol=1e-11)
    assert history["val_loss"][0] == trainer.evaluate(X, t)["loss"]  # without them
    assert trainer.loss == L.SigmoidCrossEntropy()


def test_weights_of_labels_are_positive_weights(engine, rng):
    X, t = rng.normal(size=(40, 5)), (rng.random((40, 3)) < 0.3).astype(float)
    weighted = network("sigmoid_cross_entropy", engine)
    weighted.fit(X, t, batch_size=16, class_weight={0: 4.0, 2: 0.5})
    expected = network(L.SigmoidCrossEntropy(pos_weight=(4, 1, 0.5), output_weights=(1, 1, 1)), engine)
    expected.fit(X, t, batch_size=16)
    assert same(state(weighted), state(expected))
    for wrong, message in (
        ({3: 1.0}, r"class_weight: got the label 3, expected integers from 0 to 2"),
        ("balance", r"class_weight: got 'balance', expected one of balanced"),
    ):
        with pytest.raises(ValueError, match=message):
            weighted.fit(X, t, class_weight=wrong)
    with pytest.raises(ValueError, match="class_weight: got 'balanced' for targets between 0 and 1"):
        weighted.fit(X, t / 2, class_weight="balanced")


def test_balanced_labels_skip_missing_ones_and_chosen_rows(rng):
    X, t = rng.normal(size=(60, 5)), (rng.random((60, 3)) < 0.3).astype(float)
    rows = np.arange(40)
    missing = t.copy()
    missing[40:] = 1
    missing[::4, 1] = np.nan
    ones = (missing[:40] == 1).sum(axis=0)
    there = np.array([40, 30, 40])
    no, yes = there / (2 * (there - ones)), there / (2 * ones)
    weighted = network("sigmoid_cross_entropy", missing_targets=True)
    weighted.fit(X, missing, rows=rows, class_weight="balanced")
    loss = L.SigmoidCrossEntropy(output_weights=no, pos_weight=yes / no, missing_targets=True)
    expected = network(loss)
    expected.fit(X, missing, rows=rows)
    assert same(state(weighted), state(expected))


@pytest.mark.parametrize("columns", [False, True])
def test_class_weights_of_rows_skip_missing_labels(columns, rng):
    """Without the rows that have no label the weights and the training are the same."""
    X, y = rng.normal(size=(60, 5)), (rng.random(60) < 0.3).astype(float)
    there = rng.random(60) < 0.7
    holes = np.where(there, y, np.nan)
    loss, units = ("sigmoid_cross_entropy", 1) if columns else ("softmax_cross_entropy", 2)
    full, kept = network(loss, units=units, missing_targets=True), network(loss, units=units)
    how = {"class_weight": "balanced", "batch_size": 60, "shuffle": False}
    one = full.fit(X, holes, **how)
    two = kept.fit(X[there], y[there], **how)
    assert one["loss"] == pytest.approx(two["loss"], rel=0.2)  # their masks differ
    assert full.evaluate(X, holes) == pytest.approx(full.evaluate(X[there], y[there]), rel=1e-6)


# --- Missing targets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 5, 16, 33])
@pytest.mark.parametrize("kind", [*NUMBERS, L.SigmoidCrossEntropy])
def test_the_loss_is_the_mean_over_the_targets_that_are_there(engine, kind, columns, dtype, rng):
    z, t = rng.normal(size=(50, columns)), with_holes(rng.random((50, columns)), rng)
    full = [outputs(kind(), engine, 1, dtype).row_losses(z[:, [j]], np.nan_to_num(t[:, [j]])) for j in range(columns)]
    each = np.where(np.isnan(t), np.nan, np.transpose(full))
    trainer = outputs(kind(missing_targets=True), engine, columns, dtype)
    result = trainer.evaluate(z, t)
    assert result["loss"] == pytest.approx(np.nanmean(each), rel=CLOSE[dtype])
    assert trainer.objective(z, t) == pytest.approx(np.nanmean(each), rel=CLOSE[dtype])
    weight = rng.uniform(0, 2, 50)
    expected = np.nansum(each * weight[:, None]) / (weight[:, None] * ~np.isnan(t)).sum()
    assert trainer.evaluate(z, t, sample_weight=weight)["loss"] == pytest.approx(expected, rel=CLOSE[dtype])
    if kind is L.SigmoidCrossEntropy:
        right = np.where(np.isnan(t), np.nan, (z > 0) == (t > 0.5))
        assert result["accuracy"] == pytest.approx(np.nanmean(right), rel=1e-6)


@pytest.mark.parametrize("kind", [*NUMBERS, L.SigmoidCrossEntropy, L.SoftmaxCrossEntropy])
@pytest.mark.parametrize("dtype", DTYPES)
def test_where_none_is_missing_the_bits_are_those_without_the_option(engine, kind, dtype, rng):
    X, t = rng.normal(size=(60, 5)), rng.random((60, 3))
    t = t if kind is not L.SoftmaxCrossEntropy else t / t.sum(axis=1, keepdims=True)
    found = []
    for loss in (kind(), kind(missing_targets=True)):
        trainer = network(loss, engine, dtype=dtype)
        history = trainer.fit(X, t, epochs=2, batch_size=16)
        found.append((state(trainer), history["loss"]))
    assert same(found[0][0], found[1][0]) and found[0][1] == found[1][1]


@pytest.mark.parametrize("kind", ["labels", "floats", "one-hot", "shares"])
def test_rows_without_a_label_do_not_count(engine, kind, rng):
    X, there = rng.normal(size=(50, 5)), rng.random(50) < 0.6
    y = rng.integers(0, 3, 50)
    t = {"labels": y, "floats": y.astype(float), "one-hot": np.eye(3)[y], "shares": rng.dirichlet(np.ones(3), 50)}[kind]
    holes = t.copy()
    holes[~there] = -1 if kind == "labels" else np.nan
    trainer = network("softmax_cross_entropy", engine, missing_targets=True, optimizer=fr.Adam(0.01))
    trainer.fit(X, holes, epochs=3, batch_size=16)
    assert trainer.evaluate(X, holes) == pytest.approx(trainer.evaluate(X[there], t[there]), rel=1e-6)
    gradients = trainer.gradients(X, holes), trainer.gradients(X[there], t[there])
    for name in gradients[0]:
        np.testing.assert_allclose(gradients[0][name], gradients[1][name], rtol=1e-4, atol=1e-7)
    assert not trainer.input_gradient(X, holes)[~there].any()
    assert not trainer.row_losses(X, holes)[~there].any()


def test_nothing_is_learned_from_what_is_missing(engine, rng):
    """Two outputs of which one never has a target: its weights stay."""
    X, t = rng.normal(size=(50, 5)), rng.normal(size=(50, 2))
    t[:, 1] = np.nan
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), "mse(missing_targets=True)", fr.SGD(0.1), engine=engine)
    trainer.model.build(5, seed=1)
    before = trainer.model.state_dict()["0.weight"]
    history = trainer.fit(X, t, epochs=100, batch_size=50)
    after = trainer.model.state_dict()["0.weight"]
    np.testing.assert_array_equal(before[:, 1], after[:, 1])
    one = np.linalg.lstsq(np.c_[X, np.ones(50)], t[:, 0], rcond=None)[0]
    assert history["loss"][-1] < 1.01 * np.mean((np.c_[X, np.ones(50)] @ one - t[:, 0]) ** 2)


def test_missing_targets_in_a_memory_map(engine, rng, tmp_path):
    X, t = rng.normal(size=(50, 5)), with_holes(rng.normal(size=(50, 3)), rng)
    mapped = np.memmap(tmp_path / "t", "float64", "w+", shape=t.shape)
    mapped[...] = t
    trainers = [network(L.MSE(missing_targets=True), engine) for _ in range(2)]
    for trainer, targets in zip(trainers, (t, mapped), strict=True):
        trainer.fit(X, targets, batch_size=16)
    assert same(*map(state, trainers))
    mapped[7, 1] = np.inf
    with pytest.raises(ValueError, match="row 7 of the data holds a value that is not finite"):
        trainers[1].fit(X, mapped)
    with pytest.raises(ValueError, match=r"row \d+ of the data holds a value that is not finite"):
        network("mse", engine).fit(X, mapped)


def test_what_is_refused(rng):
    X, t = rng.normal(size=(12, 5)), with_holes(rng.random((12, 3)), rng)
    infinite = t.copy()
    infinite[5, 1] = np.inf
    gone = np.full((12, 3), np.nan)
    taking = L.MSE(missing_targets=True)
    for loss, targets, message in (
        ("mse", t, r"y: row \d+ holds a value that is not finite.*; missing_targets=True takes NaN as no target"),
        ("sigmoid_cross_entropy", t, r"missing_targets=True takes NaN as no target"),
        (taking, infinite, r"y: row 5 holds a value that is not finite.*inf in column 1, expected finite numbers$"),
        (taking, gone, r"y: got no target, expected at least one that is not NaN"),
        (L.SigmoidCrossEntropy(missing_targets=True), t * 3, r"y: got values from .*, expected 0 to 1"),
        (L.MSE(output_weights=(1, 2)), t, r"output_weights: got 2 numbers, expected 3, one for each output"),
        (L.SigmoidCrossEntropy(pos_weight=(1, 2)), t, r"pos_weight: got 2 numbers, expected 3"),
    ):
        trainer = network(loss)
        with pytest.raises(ValueError, match=message):
            trainer.fit(X, targets)
    zero = np.where(np.isnan(t).all(axis=1), 1.0, 0.0)
    with pytest.raises(ValueError, match="y: got no target in a row with a weight"):
        network(taking).fit(X, t, sample_weight=zero)
    custom = L.Custom(lambda y, t: (y, y))
    with pytest.raises(ValueError, match=r"expected finite numbers$"):
        network(custom).fit(X, t)
    for make, error, message in (
        (lambda: network(custom, missing_targets=True), ValueError, "missing_targets: got True under 'custom', which"),
        (lambda: network("mse", missing_targets=1), TypeError, "missing_targets: got 1, expected True or False"),
        (
            lambda: L.MSE(output_weights=(0, 0)),
            ValueError,
            "output_weights: got .*, expected at least one weight above 0",
        ),
        (
            lambda: L.MSE(output_weights=(1, -1)),
            ValueError,
            r"output_weights\[1\]: got -1, expected a finite number of",
        ),
        (lambda: L.MSE(output_weights=2), TypeError, "output_weights: got 2, expected one number for each output"),
        (lambda: L.SigmoidCrossEntropy(pos_weight=-1), ValueError, "pos_weight: got -1, expected a finite number of"),
        (lambda: L.SigmoidCrossEntropy(pos_weight={1: 2}), TypeError, r"pos_weight: got \{1: 2\}, expected a sequence"),
        (lambda: L.Huber(0), ValueError, "delta: got 0, expected a finite number above 0"),
        (lambda: L.Quantile(1), ValueError, "q: got 1, expected a finite number"),
    ):
        with pytest.raises(error, match=message):
            make()


def test_the_option_of_the_trainer_is_that_of_the_loss():
    trainer = network("mse", missing_targets=True)
    assert trainer.loss == L.MSE(missing_targets=True) and trainer.missing_targets and trainer.copy().missing_targets
    trainer.missing_targets = False
    assert trainer.loss == L.MSE()


# --- Files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_options_survive_files_and_text(loss):
    assert from_config(json.loads(json.dumps(loss.config()))) == loss
    assert L.get(repr(loss)) == loss


def test_a_loss_without_new_options_is_written_as_before():
    assert L.MSE().config() == {"type": "MSE"}
    assert L.SoftmaxCrossEntropy(0.1).config() == {"type": "SoftmaxCrossEntropy", "label_smoothing": 0.1}
    assert L.SigmoidCrossEntropy().config() == {"type": "SigmoidCrossEntropy", "label_smoothing": 0.0}


def test_checkpoints_name_the_options(tmp_path, rng):
    X, t = rng.normal(size=(12, 5)), rng.random((12, 3))
    path = tmp_path / "run.safetensors"
    network(L.MSE(output_weights=(1, 2, 3))).fit(X, t, callbacks=[fr.Checkpoint(path)])
    with pytest.raises(ValueError, match=r"loss: got MSE\(\), expected MSE\(output_weights=\(1\.0, 2\.0, 3\.0\)\)"):
        network("mse").fit(X, t, epochs=2, callbacks=[fr.Checkpoint(path)], resume=path)


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_of_whole_predictions_skip_what_is_missing(weighted, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    X, weight = rng.normal(size=(60, 5)), rng.uniform(0.1, 2, 60) if weighted else None
    t = with_holes(rng.normal(size=(60, 2)), rng)
    trainer = network("mse", units=2, missing_targets=True, metrics=("mae", "r2"))
    trainer.fit(X, t)
    result, y = trainer.evaluate(X, t, sample_weight=weight), trainer.predict(X)
    each = []
    for j in range(2):
        there = ~np.isnan(t[:, j])
        kept = weight[there] if weighted else None
        each.append(metrics.r2_score(t[there, j], y[there, j], sample_weight=kept))
    assert result["r2"] == pytest.approx(np.mean(each), rel=1e-5)
    there = ~np.isnan(t)  # errors are means over all targets, as the loss is
    kept = np.column_stack([weight, weight])[there] if weighted else None
    assert result["mae"] == pytest.approx(np.average(np.abs(t - y)[there], weights=kept), rel=1e-5)
    labels = np.where(rng.random(60) < 0.6, rng.integers(0, 3, 60), -1)
    there = labels >= 0
    trainer = network("softmax_cross_entropy", missing_targets=True, metrics=("accuracy", "balanced_accuracy"))
    trainer.fit(X, labels, validation_data=(X, labels))
    result = trainer.evaluate(X, labels, sample_weight=weight)
    kept = weight[there] if weighted else None
    expected = metrics.balanced_accuracy_score(
        labels[there], trainer.predict(X[there]).argmax(axis=1), sample_weight=kept
    )
    assert result["balanced_accuracy"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "mse"])
def test_ensembles_score_the_targets_that_are_there(loss, rng):
    X = rng.normal(size=(60, 5))
    full = rng.integers(0, 2, (60, 1)).astype(float)
    there = rng.random(60) < 0.6
    holes = np.where(there[:, np.newaxis], full, np.nan)
    units = 2 if loss.startswith("softmax") else 1

    def builder(seed):
        return network(loss, units=units, missing_targets=True, seed=seed)

    bagging = fr.Bagging(builder, 2)
    bagging.fit(X, holes)
    assert bagging.score(X, holes) == pytest.approx(bagging.score(X[there], full[there]))
    assert bagging.variance(X, holes).v == pytest.approx(bagging.variance(X[there], full[there]).v)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
@pytest.mark.parametrize("hole", [None, float("nan")])
def test_names_of_classes_may_be_missing(loss, hole, rng):
    X, y = rng.normal(size=(60, 5)), rng.choice(["cat", "dog"], 60).astype(object)
    there = rng.random(60) < 0.6
    holes = np.where(there, y, hole)
    trainer = network(loss, units=2 if loss.startswith("softmax") else 1, missing_targets=True)
    trainer.fit(X, holes, class_weight="balanced", validation_data=(X, holes))
    assert set(trainer.model.predict_labels(X)) <= {"cat", "dog"}
    assert trainer.evaluate(X, holes) == pytest.approx(trainer.evaluate(X[there], y[there]), rel=1e-6)
    plain = network(loss, units=2 if loss.startswith("softmax") else 1)
    with pytest.raises(ValueError, match=r"holds no label, .*missing_targets=True"):
        plain.fit(X, holes)


@pytest.mark.parametrize("parameters", ["y_true, y_pred", "target, output", "labels, logits"])
def test_a_loss_whose_parameters_are_in_the_order_of_keras_is_refused(parameters):
    first, second = parameters.split(", ")
    with pytest.raises(ValueError, match=rf"got the parameters \({parameters}\), expected \({second}, {first}\)"):
        fr.losses.Custom(eval(f"lambda {parameters}: None"))
    fr.losses.Custom(eval(f"lambda {second}, {first}: None"))
    fr.losses.Custom(lambda y, t: None)
