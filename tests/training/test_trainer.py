"""The trainer: steps worked by hand, counters, weights, seeds, data of any layout, and continued fits."""

import copy
import pickle

import numpy as np
import pytest
from trainers import classifier, line, same, state

import fastreg as fr

# --- One step, worked by hand ------------------------------------------------------------------------------------


def test_a_step_worked_by_hand(engine):
    """x = 1, 2 and t = 3, 3: errors -1.5 and -0.5, so dw = 2/2 (-1.5 - 1) = -2.5 and db = -2."""
    trainer = line(engine)
    X, y = np.array([[1.0], [2.0]]), np.array([3.0, 3.0])
    gradients = trainer.gradients(X, y)
    assert gradients["0.weight"].item() == pytest.approx(-2.5) and gradients["0.bias"].item() == pytest.approx(-2.0)
    history = trainer.fit(X, y, batch_size=2)
    assert trainer.model.parameters["0.weight"].item() == pytest.approx(1.25)
    assert trainer.model.parameters["0.bias"].item() == pytest.approx(0.7)
    assert history["loss"] == [pytest.approx((2.25 + 0.25) / 2)]
    assert history["penalty"] == [0.0] and "accuracy" not in history


def test_a_step_with_penalties_worked_by_hand(engine):
    """l2 = 0.2 adds 0.2 w to dw. l1 = 0.5 moves w by 0.05 towards zero after the step. Neither changes the bias."""
    trainer = line(engine, l1=0.5, l2=0.2)
    X, y = np.array([[1.0], [2.0]]), np.array([3.0, 3.0])
    assert trainer.gradients(X, y)["0.weight"].item() == pytest.approx(-2.5 + 0.2 + 0.5)
    history = trainer.fit(X, y, batch_size=2)
    assert trainer.model.parameters["0.weight"].item() == pytest.approx(1 + 0.1 * 2.3 - 0.05)
    assert trainer.model.parameters["0.bias"].item() == pytest.approx(0.7)
    assert history["penalty"] == [pytest.approx(0.2 / 2 + 0.5)]
    assert history["loss"] == [pytest.approx(1.25)]


def test_weight_decay_is_decoupled_and_spares_the_bias(engine):
    trainer = line(engine, optimizer=fr.SGD(0.1, weight_decay=0.3))
    trainer.fit(np.array([[1.0], [2.0]]), np.array([3.0, 3.0]), batch_size=2)
    assert trainer.model.parameters["0.weight"].item() == pytest.approx(1 - 0.03 + 0.25)
    assert trainer.model.parameters["0.bias"].item() == pytest.approx(0.7)


# --- Losses, metrics, objective -----------------------------------------------------------------------------------


def test_epoch_loss_is_the_mean_over_samples(engine, blobs):
    """With lr = 0 nothing moves, so the loss of an epoch is that of the data, for any batch size."""
    X, y = blobs
    weights = np.linspace(0.1, 2, len(X))
    model = fr.Sequential([fr.Dense(3)])
    trainer = fr.Trainer(model, optimizer=fr.SGD(0.0), engine=engine, dtype="float64")
    history = trainer.fit(X, y, epochs=2, batch_size=64, sample_weight=weights, validation_data=(X, y, weights))
    z = X.astype(np.float64) @ model.parameters["0.weight"]
    rows = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    loss = (weights * rows).sum() / weights.sum()
    accuracy = weights[z.argmax(axis=1) == y].sum() / weights.sum()
    for name, value in (("loss", loss), ("accuracy", accuracy)):
        assert history[name] == pytest.approx([value, value]) and history[f"val_{name}"] == pytest.approx([value] * 2)
    assert trainer.evaluate(X, y, weights) == pytest.approx({"loss": loss, "accuracy": accuracy})
    np.testing.assert_allclose(trainer.row_losses(X, y, weights), rows)
    assert trainer.objective(X, y, weights) == pytest.approx(loss)


def test_metrics_can_be_left_out(blobs):
    X, y = blobs
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), metrics=())
    assert set(trainer.evaluate(X, y)) == {"loss"}
    assert set(trainer.fit(X, y, validation_data=(X, y))) == {"loss", "penalty", "seconds", "lr", "val_loss"}


def test_binary_accuracy_and_targets_of_one_output(engine):
    X = np.array([[-2.0], [-1.0], [1.0], [3.0]])
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="sigmoid_cross_entropy", engine=engine, dtype="float64")
    trainer.model.build(1, dtype="float64")
    trainer.model.load_state_dict({"0.weight": [[1.0]], "0.bias": [0.0]})
    y = np.array([0, 1, 1, 1])
    p = 1 / (1 + np.exp(-X[:, 0]))
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    for targets in (y, y[:, None], y.astype(bool), y.astype(float).tolist()):
        assert trainer.evaluate(X, targets) == pytest.approx({"loss": expected, "accuracy": 0.75})
    np.testing.assert_allclose(trainer.predict(X)[:, 0], p)


def test_labels_may_be_integers_or_one_hot(blobs):
    X, y = blobs
    results = []
    for targets in (y, y.astype(np.uint8), np.eye(3)[y], np.eye(3, dtype=bool)[y], y.tolist()):
        trainer = classifier()
        trainer.fit(X, targets, epochs=2)
        results.append(state(trainer))
    assert all(same(results[0], other) for other in results[1:])


def test_predictions_are_the_losss(blobs):
    X, y = blobs
    trainer = classifier()
    trainer.fit(X, y)
    np.testing.assert_allclose(trainer.predict(X).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(trainer.predict(X), trainer.model.predict(X))
    assert trainer.model.output_transform == "softmax"


# --- Gradients ----------------------------------------------------------------------------------------------------


def test_gradients_of_a_step_are_what_fit_follows(engine, blobs):
    """Plain SGD on one batch moves by -lr times the gradient with the masks of that step."""
    X, y = blobs
    trainer = classifier(engine, optimizer=fr.SGD(0.5), l2=0.01, dtype="float64")
    weights = np.linspace(0.5, 1.5, len(X))
    for step in range(3):
        expected = trainer.gradients(X, y, weights, step=step)
        before = state(trainer)
        trainer.fit(X, y, batch_size=len(X), shuffle=False, sample_weight=weights)
        after = state(trainer)
        for name, g in expected.items():
            np.testing.assert_allclose(after[name], before[name] - 0.5 * g, rtol=1e-12, atol=1e-14)
    assert not same(trainer.gradients(X, y), trainer.gradients(X, y, step=7))


def test_gradients_change_nothing_and_are_copies(engine, blobs):
    X, y = blobs
    trainer = classifier(engine)
    first = trainer.gradients(X, y, step=2)
    before = state(trainer)
    assert list(first) == list(trainer.model.parameters)
    second = trainer.gradients(X, y, step=2)
    assert same(first, second) and not any(np.shares_memory(first[name], second[name]) for name in first)
    assert same(before, state(trainer)) and trainer.step == 0


# --- Sample weights -----------------------------------------------------------------------------------------------


def test_weight_two_is_a_row_twice_and_zero_is_none(engine, blobs):
    X, y = blobs
    X, y = X[:20], y[:20]
    weights = np.ones(20)
    weights[[3, 7]], weights[[1, 12, 19]] = 2, 0
    rows = np.repeat(np.arange(20), weights.astype(int))
    results = []
    for data in ((X, y, weights), (X[rows], y[rows], None)):
        trainer = fr.Trainer(
            fr.Sequential([fr.Dense(6, "tanh"), fr.Dense(3)]), engine=engine, dtype="float64", optimizer=fr.Adam(0.01)
        )
        gradients = trainer.gradients(*data)
        history = trainer.fit(data[0], data[1], sample_weight=data[2], epochs=20, batch_size=32)
        results.append((gradients, state(trainer), history["loss"]))
    for a, b in zip(*results, strict=True):
        values = (a.values(), b.values()) if isinstance(a, dict) else ([a], [b])
        for p, q in zip(*values, strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-12)


def test_a_batch_of_zero_weight_takes_no_step(engine):
    X, y = np.array([[1.0], [2.0], [5.0], [6.0]]), np.array([3.0, 3.0, 1.0, 2.0])
    trainer = line(engine, l2=0.3)
    history = trainer.fit(X, y, batch_size=2, shuffle=False, sample_weight=[0, 0, 1, 1])
    other = line(engine, l2=0.3)
    expected = other.fit(X[2:], y[2:], batch_size=2, shuffle=False)
    assert same(state(trainer), state(other)) and history["loss"] == expected["loss"]
    assert (trainer.step, trainer.updates) == (2, 1)


# --- Going on and starting over -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [fr.SGD(0.1), fr.SGD(0.1, momentum=0.9, nesterov=True), fr.Adam(0.01)])
def test_fit_goes_on_where_it_was(engine, blobs, optimizer):
    X, y = blobs
    whole, parts = (classifier(engine, optimizer=optimizer, l1=1e-3) for _ in range(2))
    history = whole.fit(X, y, epochs=4, batch_size=32)
    first = parts.fit(X, y, epochs=1, batch_size=32)
    rest = parts.fit(X, y, epochs=3, batch_size=32)
    assert same(state(whole), state(parts))
    assert history["loss"] == first["loss"] + rest["loss"]
    assert rest.epochs == [1, 2, 3] and (parts.step, parts.epoch, parts.updates) == (20, 4, 20)


def test_reset_starts_over(engine, blobs):
    X, y = blobs
    trainer = classifier(engine, optimizer=fr.Adam(0.01))
    trainer.model.build(4)
    start = state(trainer)
    trainer.fit(X, y, epochs=2)
    first = state(trainer)
    trainer.reset()
    assert (trainer.step, trainer.epoch, trainer.updates) == (0, 0, 0)
    assert same(state(trainer), first)
    trainer.model.load_state_dict(start)
    trainer.fit(X, y, epochs=2)
    assert same(state(trainer), first)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy, fr.Trainer.copy])
def test_a_copy_goes_on_like_the_original_and_alone(engine, blobs, duplicate):
    X, y = blobs
    trainer = classifier(engine, optimizer=fr.Adam(0.01))
    trainer.fit(X, y, epochs=2)
    other = duplicate(trainer)
    other = pickle.loads(other) if isinstance(other, bytes) else other
    before = state(trainer)
    other.fit(X, y, epochs=2)
    assert same(state(trainer), before)
    trainer.fit(X, y, epochs=2)
    assert same(state(trainer), state(other))


def test_a_copy_in_another_dtype_and_engine(blobs):
    X, y = blobs
    trainer = classifier("native", optimizer=fr.SGD(0.1))
    trainer.fit(X, y)
    other = trainer.copy(dtype="float64", engine="reference")
    assert other.dtype == other.model.dtype == "float64" and other.engine == "reference"
    for name, value in other.gradients(X, y, step=3).items():
        np.testing.assert_allclose(trainer.gradients(X, y, step=3)[name], value, rtol=1e-4, atol=1e-6)


def test_a_second_fit_reuses_session_and_buffers(engine, blobs):
    X, y = blobs
    trainer = classifier(engine)

    def kept():
        with trainer._session("train", 32, 150, True) as train, trainer._session("evaluate", 512, 1, False) as evaluate:
            return train, evaluate

    trainer.fit(X, y, batch_size=32, validation_data=(X, y))
    before = kept()
    trainer.fit(X[:100], y[:100], batch_size=32, validation_data=(X[100:], y[100:]))
    assert all(session is one for session, one in zip(kept(), before, strict=True))


def test_a_model_that_is_built_again_gets_new_state(engine, blobs):
    X, y = blobs
    trainer = classifier(engine, optimizer=fr.Adam(0.01))
    trainer.fit(X, y)
    trainer.model.build(2)
    trainer.fit(X[:, :2], y)
    fresh = classifier(engine, optimizer=fr.Adam(0.01))
    fresh.epoch, fresh.step, fresh.updates = 1, 2, 2
    fresh.fit(X[:, :2], y)
    assert same(state(trainer), state(fresh))


# --- Order of the samples and seeds -------------------------------------------------------------------------------


def test_every_epoch_sees_every_row_once_in_its_own_order(engine):
    """With lr = 0 the loss of a batch of one row shows which row it was."""

    class Losses(fr.Callback):
        def on_train_begin(self):
            self.seen = []

        def on_batch_end(self, batch, logs):
            self.seen.append(logs["loss"])

    X, y = np.zeros((17, 1)), np.sqrt(np.arange(17.0))
    orders = {}
    for shuffle in (True, False):
        trainer, losses = line(engine, lr=0.0, b=0.0), Losses()
        trainer.fit(X, y, epochs=2, batch_size=1, shuffle=shuffle, callbacks=[losses])
        orders[shuffle] = np.rint(losses.seen).astype(int).reshape(2, 17).tolist()
    assert orders[False] == [list(range(17))] * 2
    first, second = orders[True]
    assert sorted(first) == sorted(second) == list(range(17)) and first != second and first != sorted(first)


def test_seed_and_threads(blobs):
    X, y = blobs
    runs = {}
    for seed, threads in ((0, 1), (0, 2), (0, 3), (1, 1)):
        trainer = classifier(seed=seed, threads=threads)
        trainer.fit(X, y, epochs=3, batch_size=32)
        runs[seed, threads] = state(trainer)
    assert same(runs[0, 1], runs[0, 2]) and same(runs[0, 1], runs[0, 3])
    assert not same(runs[0, 1], runs[1, 1])


# --- Data as they lie ---------------------------------------------------------------------------------------------


def test_data_of_any_layout_give_the_same_bits_and_stay_as_they_are(engine, blobs, tmp_path):
    X, y = blobs
    X = np.rint(X * 10)
    wide = np.zeros((150, 9), np.float32)
    wide[:, 1::2] = X
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    mapped[...] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    forms = {
        "as is": X,
        "frozen": frozen,
        "strided": wide[:, 1::2],
        "turned": np.asfortranarray(X),
        "backwards": X[::-1].copy()[::-1],
        "int16": X.astype(np.int16),
        "float64": X.astype(np.float64),
        "float16": X.astype(np.float16),
        "list": X.tolist(),
        "memory map": np.memmap(tmp_path / "x", np.float32, "r", shape=X.shape),
    }
    results = {}
    for name, form in forms.items():
        trainer = classifier(engine, optimizer=fr.SGD(1e-3))
        trainer.fit(form, y, epochs=2, batch_size=40)
        results[name] = state(trainer)
        np.testing.assert_array_equal(np.asarray(form), X)
    assert all(same(results["as is"], result) for result in results.values())


def test_a_schedule_counts_the_steps_of_the_optimizer_and_not_batches(engine, blobs):
    """150 rows in batches of 16 are ten batches. With three batches per step, these are four steps."""
    X, y = blobs
    trainer = classifier(engine, optimizer=fr.SGD(fr.schedules.Step(0.1, 4, 0.0, per="step")), accumulate=3)
    trainer.fit(X, y, batch_size=16)
    assert (trainer.batches, trainer.step, trainer.updates, trainer.epoch) == (10, 10, 4, 1)
    before = state(trainer)
    trainer.fit(X, y, batch_size=16)  # from step 4 on the rate is 0, though the schedule has seen ten batches before
    assert same(before, state(trainer)) and trainer.updates == 8


def test_the_older_name_of_the_batches(blobs):
    trainer = classifier("native")
    trainer.step = 7
    assert trainer.batches == trainer.step == 7
    trainer.fit(*blobs, batch_size=50)
    assert trainer.batches == trainer.step == 10
    with pytest.raises(ValueError, match="batches: got -1, expected an integer of at least 0"):
        trainer.batches = -1
