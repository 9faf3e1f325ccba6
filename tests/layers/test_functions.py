"""Layers and losses in Python: the same numbers as the built-in ones, and what happens if they fail."""

import copy
import pickle

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr

TANH = fr.Function(np.tanh, lambda dy, x, y: dy * (1 - y * y))
PIECES = {"native": fr.kernels, "reference": fr.reference}


def network(*, loss="softmax_cross_entropy", engine="native", layer=TANH, **settings) -> fr.Trainer:
    layers = [fr.Dense(6), layer, fr.Dropout(rate=0.2), fr.Dense(3)]
    settings.setdefault("optimizer", fr.Adam(0.01))
    return fr.Trainer(fr.Sequential(layers), loss=loss, engine=engine, **settings)


# --- Losses ----------------------------------------------------------------------------------------------------


def squared(outputs, targets):
    d = outputs - targets
    return (d * d)[:, 0], 2 * d


def row_by_row(engine, built_in):
    """The built-in loss as a custom one, of the function on arrays that the library offers."""

    def function(outputs, targets):
        one = getattr(PIECES[engine], built_in)
        rows = [one(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(outputs))]
        return np.array([loss for loss, _ in rows], outputs.dtype), np.concatenate([gradient for _, gradient in rows])

    if built_in == "softmax_cross_entropy":
        return fr.losses.Custom(function, targets="labels", transform="softmax")
    return fr.losses.Custom(function, transform="sigmoid" if built_in == "sigmoid_cross_entropy" else "linear")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("built_in", "units"), [("mse", 1), ("mse", 5), ("softmax_cross_entropy", 3), ("sigmoid_cross_entropy", 3)]
)
def test_a_custom_loss_has_the_bits_of_the_built_in_one(engine, built_in, units, dtype, threads, blobs):
    X, labels = blobs
    values = np.stack([X[:, 0] * X[:, i % 4] for i in range(units)], axis=1)
    y = {"mse": values, "softmax_cross_entropy": labels, "sigmoid_cross_entropy": values > 0}[built_in]
    custom = fr.losses.Custom(squared) if units == 1 else row_by_row(engine, built_in)
    results = []
    for loss in (built_in, custom):
        model = fr.Sequential([fr.Dense(7, "tanh"), fr.Dropout(rate=0.2), fr.Dense(units)])
        trainer = fr.Trainer(model, loss, fr.Adam(0.01), engine=engine, dtype=dtype, threads=threads, l2=1e-3)
        weights = np.linspace(0.5, 1.5, len(X))
        history = trainer.fit(X, y, epochs=5, batch_size=40, sample_weight=weights, validation_data=(X, y))
        assert trainer.updates == 20
        results.append((state(trainer), history["loss"], history["val_loss"], trainer.predict(X).tolist()))
    assert same(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]


def test_a_custom_loss_trains_and_its_gradients_are_checked(engine, rng):
    def huber(y, t):
        d = y - t
        small = np.abs(d) < 1
        rows = np.where(small, d * d / 2, np.abs(d) - 0.5)
        return rows.mean(axis=1), np.where(small, d, np.sign(d)) / y.shape[1]

    X = rng.normal(size=(200, 3))
    y = np.column_stack([X @ [1.0, 2.0, -1.0], X @ [0.0, 1.0, 1.0]])
    loss = fr.losses.Custom(huber, name="huber")
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), loss, fr.SGD(0.5), engine=engine)
    history = trainer.fit(X, y, epochs=60, batch_size=20)
    assert history["loss"][-1] < 1e-6 < history["loss"][0] and "accuracy" not in history
    assert fr.check_gradients(trainer, X[:30], y[:30] + rng.normal(scale=2, size=(30, 2)), epsilon=1e-6).ok
    assert "huber" in repr(loss)
    assert fr.losses.Custom(huber).name == "huber" and fr.losses.Custom(lambda y, t: None).name == "custom"
    np.testing.assert_allclose(trainer.row_losses(X, y + 3), 2.5, atol=1e-3)


def test_labels_reach_a_custom_loss_as_integers(engine, blobs):
    X, y = blobs
    seen = []

    def function(outputs, labels):
        seen.append(labels.copy())
        return np.zeros(len(outputs)), np.zeros(outputs.shape)

    loss = fr.losses.Custom(function, targets="labels")
    trainer = network(loss=loss, engine=engine)
    trainer.fit(X, y, batch_size=64, shuffle=False)
    assert all(labels.dtype == np.int64 for labels in seen)
    np.testing.assert_array_equal(np.concatenate(seen), y)
    with pytest.raises(ValueError, match="y: got labels from 1 to 3, expected 0 to 2"):
        trainer.fit(X, y + 1)


# --- Layers ----------------------------------------------------------------------------------------------------


def test_a_function_layer_is_the_built_in_one(engine, blobs):
    X, y = blobs
    flatten = fr.Flatten()  # keeps the indices, and so the draws
    built_in = fr.Sequential([fr.Dense(6, "tanh"), flatten, fr.Dropout(rate=0.2), fr.Dense(3)])
    ours = network(engine=engine, dtype="float64")
    other = fr.Trainer(built_in, optimizer=fr.Adam(0.01), engine=engine, dtype="float64")
    for trainer in (ours, other):
        trainer.fit(X, y, epochs=5, batch_size=32)
    for name, value in ours.model.parameters.items():
        np.testing.assert_allclose(value, other.model.parameters[name], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(ours.predict(X), other.predict(X), rtol=1e-9)
    assert ours.evaluate(X, y)["accuracy"] > 0.5


@pytest.mark.parametrize("place", range(4))
def test_gradients_through_a_function_layer_of_other_width(engine, place, blobs):
    """As the first, a middle and the last layer. It adds a column of products of the first two."""
    X, y = blobs

    def backward(dy, x, y):
        dx = dy[:, :-1].copy()
        dx[:, 0] += dy[:, -1] * x[:, 1]
        dx[:, 1] += dy[:, -1] * x[:, 0]
        return dx

    def forward(x):
        return np.column_stack([x, x[:, 0] * x[:, 1]])

    layers = [fr.Dense(4, "gelu"), fr.Dropout(rate=0.2), fr.Dense(2, "tanh")]
    width = {0: 5, 1: 5, 2: 5, 3: 3}[place]
    layers.insert(place, fr.Function(forward, backward, units=width, name="products"))
    model = fr.Sequential(layers)
    trainer = fr.Trainer(model, engine=engine, dtype="float64", l2=0.01)
    y = y if place == 3 else y % 2
    assert model.outputs == (3 if place == 3 else 2)
    history = trainer.fit(X, y, epochs=3)
    assert trainer.predict(X).shape == (150, model.outputs) and history["loss"][-1] < history["loss"][0]
    assert fr.check_gradients(trainer, X[:20], y[:20], step=4).ratio < 1e-6


def test_engines_agree_on_functions(blobs):
    X, y = blobs
    trainer = network(loss=row_by_row("native", "softmax_cross_entropy"))
    trainer.fit(X, y)
    assert fr.compare_engines(trainer, X, y).ok


# --- Mistakes --------------------------------------------------------------------------------------------------


class Fails:
    """Fails when it is called for the `after`-th time."""

    def __init__(self, after, error):
        self.after, self.error, self.calls = after, error, 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self.after:
            raise self.error
        return arguments[0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError("out of luck"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("batch_hooks", [False, True])
def test_an_exception_leaves_the_start_of_the_epoch(engine, where, error, threads, batch_hooks, blobs):
    """The third batch of the second epoch fails. Training continues as if that epoch had never begun."""

    class Hooks(fr.Callback):
        def on_batch_end(self, batch, logs):
            pass

    X, y = blobs
    fails = Fails(5 + 3, error)
    functions = {"forward": lambda x: x, "backward": lambda dy, x, y: dy} | {where: fails}
    trainer = network(engine=engine, threads=threads, layer=fr.Function(**functions))
    control = network(engine=engine, threads=threads, layer=fr.Function(lambda x: x, lambda dy, x, y: dy))
    callbacks = [Hooks()] if batch_hooks else []
    with pytest.raises(type(error)) as caught:
        trainer.fit(X, y, epochs=3, batch_size=32, callbacks=callbacks)
    assert caught.value is error and fails.calls == 8
    control.fit(X, y, epochs=1, batch_size=32)
    assert same(state(trainer), state(control))
    assert (trainer.step, trainer.epoch, trainer.updates) == (5, 1, 5)
    for other in (trainer, control):
        other.fit(X, y, epochs=2, batch_size=32)
    assert same(state(trainer), state(control))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "returned NoneType, expected real numbers of shape"),
        ("text", "returned str, expected real numbers"),
        (np.ones(3), r"returned an array of shape \(3,\), expected \(\d+, 6\)"),
        (np.ones((6, 6), complex), "returned an array of complex128, expected real numbers"),
    ],
)
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_layer_that_returns_something_else(engine, where, value, message, blobs):
    X, y = blobs
    functions = {"forward": lambda x: x, "backward": lambda dy, x, y: dy} | {where: lambda *_: value}
    trainer = network(engine=engine, layer=fr.Function(**functions, name="mine"))
    trainer.model.build(4)
    before = state(trainer)
    with pytest.raises((TypeError, ValueError), match=f"layer 'mine': {where} {message}"):
        trainer.fit(X, y)
    assert same(state(trainer), before) and trainer.step == 0


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda y, t: y, r"loss 'custom' returned ndarray, expected \(losses, gradients\)"),
        (lambda y, t: (y, y), r"loss 'custom' \(losses\) returned an array of shape \(\d+, 3\), expected \(\d+,\)"),
        (lambda y, t: (y[:, 0], t), r"loss 'custom' \(gradients\) returned an array of shape \(\d+,\), expected"),
    ],
)
def test_a_loss_that_returns_something_else(engine, result, message, blobs):
    X, y = blobs
    trainer = network(loss=fr.losses.Custom(result, targets="labels"), engine=engine)
    for method in ("fit", "evaluate", "gradients", "row_losses"):
        with pytest.raises((TypeError, ValueError), match=message):
            getattr(trainer, method)(X, y)


def test_a_function_cannot_change_what_it_is_given(engine, blobs):
    def function(x):
        x *= 2
        return x

    X, y = blobs
    trainer = network(engine=engine, layer=fr.Function(function, lambda dy, x, y: dy))
    with pytest.raises(ValueError, match="read-only"):
        trainer.fit(X, y)


def test_a_loss_that_is_not_finite_is_divergence(engine, blobs):
    X, y = blobs
    nan = fr.losses.Custom(lambda y, t: (np.full(len(y), np.nan), y * 0), targets="labels")
    trainer = network(loss=nan, engine=engine)
    trainer.model.build(4)
    before = state(trainer)
    with pytest.raises(fr.DivergenceError):
        trainer.fit(X, y)
    assert same(state(trainer), before)


def test_functions_are_copied_and_saved_by_name(tmp_path, blobs):
    X, y = blobs
    loss = row_by_row("native", "softmax_cross_entropy")
    trainer = network(loss=loss)
    trainer.fit(X, y)
    for other in (trainer.copy(), copy.deepcopy(trainer), copy.copy(trainer)):
        np.testing.assert_array_equal(other.predict(X), trainer.predict(X))
        other.fit(X, y)
    path, expected = tmp_path / "model.safetensors", trainer.model.predict(X)
    trainer.model.save(path)
    layer = next(layer for layer in trainer.model.layers if isinstance(layer, fr.Function))
    with pytest.raises(ValueError, match=rf"custom=\{{'{layer.name}': fr.Function\(...\)\}}"):
        fr.load(path)
    again = fr.load(path, custom={layer.name: layer, loss.name: loss.function})
    np.testing.assert_array_equal(again.predict(X), expected)
    assert again.evaluate(X, y) == trainer.evaluate(X, y)
    wider = fr.Function(layer.forward, layer.backward, units=7)
    with pytest.raises(ValueError, match=rf"custom\['{layer.name}'\]: got Function\(.*units=None"):
        fr.load(path, custom={layer.name: wider})


def test_a_loss_in_python_does_not_cost_the_model_its_file(tmp_path, blobs):
    X, y = blobs
    model, loss = fr.Sequential([fr.Dense(3)]), row_by_row("native", "softmax_cross_entropy")
    fr.Trainer(model, loss=loss).fit(X, y)
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = fr.load(path)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    for ask in (lambda: again.evaluate(X, y), lambda: fr.Trainer(again)):
        with pytest.raises(ValueError, match=rf"loss: the file only names the loss '{loss.name}'") as error:
            ask()
        assert "\n" not in str(error.value)
    again.save(path)
    for given in (loss, loss.function):
        loaded = fr.load(path, custom={loss.name: given})
        assert loaded.loss == loss and loaded.evaluate(X, y) == model.evaluate(X, y)
    fr.Trainer(again, loss=loss).fit(X, y)
    assert again.loss == loss
    assert pickle.loads(pickle.dumps(again)).loss.name == loss.name


def test_a_checkpoint_of_functions(tmp_path, blobs):
    """Layers and the loss are stored by name, and come from the trainer that resumes."""
    X, y = blobs
    whole, parts, rest = (network(loss=row_by_row("native", "softmax_cross_entropy")) for _ in range(3))
    whole.fit(X, y, epochs=4)
    parts.fit(X, y, epochs=2, callbacks=[fr.Checkpoint(tmp_path / "run")])
    rest.fit(X, y, epochs=4, resume=tmp_path / "run")
    assert same(state(whole), state(rest))
    with pytest.raises(ValueError, match=r"resume: loss: got SoftmaxCrossEntropy\(.*\), expected Custom\(function="):
        network().fit(X, y, epochs=4, resume=tmp_path / "run")
