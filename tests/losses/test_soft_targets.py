"""Rows of probabilities under softmax: PyTorch's values and gradients, in both engines; what counts as such a row."""

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr

SOFTMAX = fr.losses.SoftmaxCrossEntropy


def classifier(engine="native", loss="softmax_cross_entropy", units=3, **settings) -> fr.Trainer:
    model = fr.Sequential([fr.Dense(7, "tanh"), fr.Dropout(rate=0.2), fr.Dense(units)])
    return fr.Trainer(model, loss, engine=engine, **settings)


def as_outputs(engine, loss="softmax_cross_entropy", units=3, dtype="float64") -> fr.Trainer:
    """The logits are the inputs."""
    trainer = fr.Trainer(fr.Sequential([fr.Dense(units)]), loss, engine=engine, dtype=dtype)
    trainer.model.build(units, dtype=dtype)
    trainer.model.load_state_dict({"0.weight": np.eye(units), "0.bias": np.zeros(units)})
    return trainer


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("columns", [1, 2, 10, 16, 37])
def test_values_and_gradients_are_torchs(smoothing, columns, rng):
    torch = pytest.importorskip("torch")
    z = rng.normal(scale=3, size=(9, columns))
    t = rng.dirichlet(np.full(columns, 0.3), 9) * rng.uniform(0.5, 2, (9, 1))  # the sum need not be 1 here
    logits = torch.tensor(z, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(t), label_smoothing=smoothing)
    expected.backward()
    for module in (fr.kernels, fr.reference):
        value, gradient = module.softmax_cross_entropy(z, t, label_smoothing=smoothing)
        assert value == pytest.approx(expected.item(), rel=1e-12, abs=1e-15)
        np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trainer_gives_torchs_loss_and_takes_the_largest_share_for_the_label(engine, dtype, rng):
    torch = pytest.importorskip("torch")
    z, t = rng.normal(size=(60, 4)), rng.dirichlet(np.ones(4), 60)
    weight = rng.uniform(0, 2, 60)
    trainer = as_outputs(engine, SOFTMAX(0.1), 4, dtype)
    each = torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(t), label_smoothing=0.1, reduction="none")
    result = trainer.evaluate(z, t, sample_weight=weight)
    assert result["loss"] == pytest.approx(np.average(each.numpy(), weights=weight), rel=1e-6)
    right = z.argmax(axis=1) == t.argmax(axis=1)
    assert result["accuracy"] == pytest.approx(np.average(right, weights=weight), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradients_and_engines(engine, smoothing, rng):
    X, t = rng.normal(size=(30, 5)), rng.dirichlet(np.ones(3), 30)
    trainer = classifier(engine, SOFTMAX(smoothing), l2=0.01)
    trainer.fit(X, t, epochs=2)
    assert fr.check_gradients(trainer, X, t, rng.uniform(0.5, 2, 30), step=3).ok
    assert fr.compare_engines(trainer, X, t).ok


def test_gradients_of_an_attack(engine, rng):
    X, t = rng.normal(size=(20, 5)), rng.dirichlet(np.ones(3), 20)
    trainer = classifier(engine, adversarial=fr.FGSM(0.1))
    trainer.fit(X, t)
    assert fr.check_gradients(trainer, X, t, step=2).ok


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8, bool])
def test_one_hot_rows_are_labels(dtype, rng):
    X, y = rng.normal(size=(50, 5)), rng.integers(0, 3, 50)
    trainers = [classifier(), classifier()]
    for trainer, labels in zip(trainers, (y, np.eye(3)[y].astype(dtype)), strict=True):
        trainer.fit(X, labels, epochs=2, batch_size=16)
    assert same(*map(state, trainers))


def test_labels_as_floats_or_in_a_column_are_labels(rng):
    X, y = rng.normal(size=(50, 5)), rng.integers(0, 3, 50)
    plain = classifier()
    plain.fit(X, y)
    for labels in (y.astype(float), y[:, np.newaxis], y[:, np.newaxis].astype(np.float32)):
        trainer = classifier()
        trainer.fit(X, labels)
        assert same(state(trainer), state(plain))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_do_not_depend_on_threads_or_on_how_the_rows_lie(dtype, rng, tmp_path):
    X, t = rng.normal(size=(150, 5)), rng.dirichlet(np.ones(33), 150).astype(dtype)
    wide = np.zeros((150, 70), dtype)
    wide[:, ::2][:, :33] = t
    mapped = np.memmap(tmp_path / "t", dtype, "w+", shape=t.shape)
    mapped[...] = t
    found = []
    for threads, rows in ((1, t), (2, t), (3, wide[:, ::2][:, :33]), (2, mapped), (1, t.T.copy().T)):
        trainer = classifier(units=33, dtype=dtype, threads=threads)
        trainer.fit(X, rows, epochs=2, batch_size=40, validation_data=(X[:9], rows[:9]))
        found.append(state(trainer))
    assert all(same(found[0], other) for other in found[1:])


def test_one_trainer_takes_both_kinds_in_turn(engine, rng):
    """The program is the same, so nothing of the one may stick to the other."""
    X, y, t = rng.normal(size=(40, 5)), rng.integers(0, 3, 40), rng.dirichlet(np.ones(3), 40)
    turns, apart = classifier(engine), classifier(engine)
    for targets, held in ((y, t), (t, y), (y, y)):
        history = turns.fit(X, targets, validation_data=(X, held), batch_size=16)
        assert history["val_loss"] == [turns.evaluate(X, held)["loss"]]
        apart = apart.copy()  # has no program yet
        apart.fit(X, targets, batch_size=16)
    assert same(state(turns), state(apart))


def test_mixup_by_hand_and_a_teacher(rng):
    X, y = rng.normal(size=(400, 4)), rng.integers(0, 3, 400)
    X[np.arange(400), y] += 4
    Y, lam = np.eye(3)[y], rng.beta(0.2, 0.2, 400)[:, np.newaxis]
    teacher = classifier(optimizer=fr.Adam(0.01))
    teacher.fit(lam * X + (1 - lam) * X[::-1], lam * Y + (1 - lam) * Y[::-1], epochs=40, batch_size=32)
    assert teacher.evaluate(X, y)["accuracy"] > 0.9
    student = classifier(optimizer=fr.Adam(0.01))
    student.fit(X, teacher.predict(X), epochs=60, batch_size=32)  # float32 rows, whose sum is 1 up to rounding
    assert np.abs(student.predict(X) - teacher.predict(X)).mean() < 0.05


def test_a_resumed_fit_has_the_same_bits(tmp_path, rng):
    X, t = rng.normal(size=(40, 5)), rng.dirichlet(np.ones(3), 40)
    path = tmp_path / "run.safetensors"
    whole, first, second = classifier(), classifier(), classifier()
    whole.fit(X, t, epochs=4, batch_size=16)
    first.fit(X, t, epochs=2, batch_size=16, callbacks=[fr.Checkpoint(path)])
    second.fit(X, t, epochs=4, batch_size=16, resume=path, callbacks=[fr.Checkpoint(path)])
    assert same(state(second), state(whole))


def test_rows_that_are_no_probabilities(rng):
    t = rng.dirichlet(np.ones(3), 20)
    X = rng.normal(size=(20, 5))

    def changed(row, values):
        rows = t.copy()
        rows[row] = values
        return rows

    classifier().fit(X, np.round(t, 2))  # few digits are exact enough
    several = np.eye(3)[np.arange(20) % 3]
    several[4] = 1, 1, 0
    for rows, message in (
        (
            changed(7, [0.5, 0.5, 0.1]),
            r"y: row 7 sums to 1\.1, expected probabilities that sum to 1; y / y\.sum\(axis=1",
        ),
        (changed(9, [1.2, -0.2, 0]), r"y: row 9 holds -0\.2, expected one-hot rows or probabilities of at least 0"),
        (changed(3, 0), r"y: row 3 has no 1, expected one-hot rows or prob"),
        (several, r"y: row 4 has 2 ones, expected .*; several labels per row need loss='sigmoid_cross_entropy'"),
        (changed(2, np.nan), r"y: row 2 holds a value that is not finite.*; missing_targets=True takes NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            classifier().fit(X, rows)
    with pytest.raises(ValueError, match="class_weight: got rows of probabilities"):
        classifier().fit(X, t, class_weight="balanced")


@pytest.mark.parametrize(
    ("loss", "units", "y", "message"),
    [
        (
            "softmax_cross_entropy",
            1,
            [0, 1, 1],
            r"0 to 1, expected 0 to 0: .*loss='sigmoid_cross_entropy', or two units",
        ),
        ("softmax_cross_entropy", 2, [1, 2, 1], r"labels from 1 to 2, .*; labels start at 0: y - 1 makes them"),
        ("softmax_cross_entropy", 2, [-1, 1, 1], r"; \(y \+ 1\) // 2 makes 0 and 1 of -1 and 1"),
        ("softmax_cross_entropy", 2, [0, 4, 1], r"; for labels up to 4 the last layer needs 5 units"),
        (
            "softmax_cross_entropy",
            2,
            [0, 0.5, 1],
            r"y: got 0\.5 in row 1, expected labels: .*; to predict numbers, use",
        ),
        ("softmax_cross_entropy", 2, np.eye(3), r"; for 3 classes the last layer needs 3 units"),
        ("sigmoid_cross_entropy", 1, [-1, 1, 1], r"values from -1 to 1, expected 0 to 1; \(y \+ 1\) / 2 makes 0 and 1"),
        ("sigmoid_cross_entropy", 1, [1, 2, 1], r"; y - 1 makes 0 and 1 of 1 and 2"),
        (
            "sigmoid_cross_entropy",
            3,
            [0, 1, 2],
            r"shape \(3,\), .*one class per row needs loss='softmax_cross_entropy'",
        ),
        ("mse", 1, np.eye(3), r"; for 3 targets per row the last layer needs 3 units"),
    ],
)
def test_what_to_do_about_wrong_labels(loss, units, y, message):
    with pytest.raises(ValueError, match=message):
        fr.Trainer(fr.Sequential([fr.Dense(units)]), loss).fit(np.ones((3, 2)), np.asarray(y))
