"""Bagging: bootstrap sets, the same bits in parallel and one by one, predictions, out-of-bag scores, the formula."""

import multiprocessing
import signal
import threading
import time

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr
from fastreg.program import random
from fastreg.training import ensembles

RNG = np.random.default_rng(11)
X = RNG.normal(size=(150, 5)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] * X[:, 2] + 0.5 * RNG.normal(size=150) > 0).astype(int)
VALUES = np.stack([np.sin(X[:, 0]) + 0.3 * RNG.normal(size=150), X[:, 1]], axis=1)
YES = (VALUES > 0).astype(float)
NEW = RNG.normal(size=(80, 5)).astype(np.float32)
TARGETS = {"softmax_cross_entropy": LABELS, "sigmoid_cross_entropy": YES, "mse": VALUES}
FIT = {"epochs": 4, "batch_size": 32}


def builder(engine="native", loss="softmax_cross_entropy", **settings):
    def build(seed):
        layers = [fr.Dense(12, "relu"), fr.Dropout(keep_prob=0.8), fr.Dense(2)]
        optimizer = fr.SGD(0.1, momentum=0.9)
        return fr.Trainer(fr.Sequential(layers), loss=loss, optimizer=optimizer, engine=engine, seed=seed, **settings)

    return build


def fitted(engine="native", loss="softmax_cross_entropy", k=5, **settings) -> fr.Bagging:
    bagging = fr.Bagging(builder(engine, loss), k, **settings)
    bagging.fit(X, TARGETS[loss], **FIT)
    return bagging


def bits(bagging) -> list[bytes]:
    return [b"".join(a.tobytes() for a in state(member).values()) for member in bagging.members]


# --- Bootstrap sets ---------------------------------------------------------------------------------------------------


def test_integers_are_uniform_and_each_is_its_own():
    """Chi-squared over 50 values, with 2,000 of each expected. The first draws do not depend on how many follow."""
    draws = random.integers(100_000, 50, seed=4, stream=9)
    assert draws.dtype == np.int64 and draws.min() == 0 and draws.max() == 49
    counts = np.bincount(draws, minlength=50)
    assert 20 < np.sum((counts - 2000) ** 2 / 2000) < 86  # 49 degrees of freedom: 0.0001 and 0.999
    np.testing.assert_array_equal(random.integers(1000, 50, 4, 9), draws[:1000])
    assert not np.array_equal(random.integers(1000, 50, 4, 10), draws[:1000])
    assert random.integers(5, 1, 0, 0).tolist() == [0] * 5


def test_sets_are_drawn_with_replacement():
    """Of n samples a set holds 1 - (1 - 1/n)^n, about 1 - 1/e; any two sets are different."""
    bagging = fitted(k=40)
    shares = [len(np.unique(rows)) / 150 for rows in bagging.rows]
    assert all(len(rows) == 150 for rows in bagging.rows)
    np.testing.assert_allclose(np.mean(shares), 1 - (1 - 1 / 150) ** 150, atol=0.02)
    assert len({rows.tobytes() for rows in bagging.rows}) == 40


def test_members_are_fits_of_copies_of_their_sets(engine):
    """The same bits as a trainer of the same seed on a copy of the samples."""
    seeds = []

    def build(seed):
        seeds.append(seed)
        return builder(engine)(seed)

    bagging = fr.Bagging(build, 3, seed=2)
    histories = bagging.fit(X, LABELS, **FIT)
    assert len(set(seeds)) == 3 and len(histories) == 3
    for seed, rows, member, history in zip(seeds, bagging.rows, bagging.members, histories, strict=True):
        alone = builder(engine)(seed)
        assert alone.fit(X[rows], LABELS[rows], **FIT)["loss"] == history["loss"]
        assert same(state(alone), state(member))


def test_a_larger_ensemble_begins_as_a_smaller_one():
    small, large, other = fitted(k=2), fitted(k=4), fitted(k=2, seed=1)
    assert bits(large)[:2] == bits(small)
    assert bits(other) != bits(small)


def test_numpy_random_state_is_neither_read_nor_changed():
    np.random.seed(1)
    first, before = bits(fitted(k=2)), np.random.get_state()[1].copy()
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(2)
    assert bits(fitted(k=2)) == first


# --- Threads ----------------------------------------------------------------------------------------------------------


def test_same_bits_side_by_side_and_one_by_one(engine):
    expected = bits(fitted(engine, parallel=False, threads=1))
    for parallel in (True, False, None):
        for n in (1, 2, 3, 7):
            assert bits(fitted(engine, parallel=parallel, threads=n)) == expected


def test_members_side_by_side_have_one_thread_each_and_keep_their_own_setting():
    seen = []

    class Look(fr.Callback):
        def on_epoch_begin(self, epoch):
            seen.append((self.trainer.threads, threading.current_thread() is threading.main_thread()))

    bagging = fr.Bagging(builder(threads=2), 3, parallel=True, threads=2)
    bagging.fit(X, LABELS, callbacks=lambda i: [Look()])
    assert seen == [(1, False)] * 3
    assert [member.threads for member in bagging.members] == [2, 2, 2]


def together(trainer, k, n, rows=60_000, batch_size=128):
    data = np.broadcast_to(np.float32(1), (rows, 784))
    return fr.Bagging(lambda seed: None, k)._together(trainer, data, batch_size, n)


def test_the_amount_of_work_decides_what_runs_side_by_side():
    """Full rounds train in parallel. So do the remaining members if threads cannot share one member's work well."""

    def wide(**settings):
        return fr.Trainer(fr.Sequential([fr.Dense(1000, "relu"), fr.Dense(10)]), **settings)

    def narrow():
        return fr.Trainer(fr.Sequential([fr.Dense(4, "relu"), fr.Dense(2)]))

    assert [together(wide(), k, 2) for k in (1, 2, 5)] == [0, 2, 4]
    assert together(wide(), 7, 4) == 4  # the last three take three times almost a quarter,
    assert together(narrow(), 7, 4) == 7  # or, where a second thread brings nothing, once the whole
    assert together(wide(), 5, 1) == 0
    assert together(narrow(), 5, 2, rows=100) == 0  # next to no work
    assert together(wide(engine="reference"), 5, 2) == 0  # Python runs one at a time
    calls = fr.Sequential([fr.Dense(1000), fr.Function(np.sin, lambda dy, x, y: dy * np.cos(x)), fr.Dense(10)])
    assert together(fr.Trainer(calls), 5, 2) == 0


def _child(queue):
    queue.put(bits(fitted(parallel=True, threads=2)))


def test_after_fork():
    """The child of a process that has trained members in parallel can do so, too."""
    expected = bits(fitted(parallel=True, threads=2))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == expected
    finally:
        child.join(60)
    assert child.exitcode == 0


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", TARGETS)
def test_mean(engine, loss):
    bagging = fitted(engine, loss)
    expected = np.mean([member.predict(NEW) for member in bagging.members], axis=0)
    got = bagging.predict(NEW)
    assert got.shape == (80, 2) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_vote(engine):
    """As np.bincount(...).argmax() counts: if votes are equal, the first class wins."""
    bagging = fitted(engine, k=4, combine="vote")
    votes = np.array([member.predict(NEW).argmax(axis=1) for member in bagging.members])
    counts = np.array([np.bincount(column, minlength=2) for column in votes.T])
    np.testing.assert_array_equal(bagging.predict(NEW), counts / 4)
    np.testing.assert_array_equal(bagging.predict(NEW).argmax(axis=1), [c.argmax() for c in counts])
    many = fitted(engine, "sigmoid_cross_entropy", k=4, combine="vote")
    expected = np.mean([member.predict(NEW) > 0.5 for member in many.members], axis=0)
    np.testing.assert_array_equal(many.predict(NEW), expected)


def test_scores_are_those_of_scikit_learn(engine):
    metrics = pytest.importorskip("sklearn.metrics")
    bagging = fitted(engine)
    expected = metrics.accuracy_score(LABELS, bagging.predict(X).argmax(axis=1))
    np.testing.assert_allclose(bagging.score(X, LABELS), expected)
    np.testing.assert_allclose(bagging.score(X, np.eye(2)[LABELS]), expected)
    values = fitted(engine, "mse")
    np.testing.assert_allclose(values.score(X, VALUES), metrics.r2_score(VALUES, values.predict(X)), rtol=1e-5)
    constant = VALUES * [1, 0]
    np.testing.assert_allclose(values.score(X, constant), metrics.r2_score(constant, values.predict(X)), rtol=1e-5)
    yes = fitted(engine, "sigmoid_cross_entropy")
    np.testing.assert_allclose(yes.score(X, YES), np.mean((yes.predict(X) > 0.5) == YES))


@pytest.mark.parametrize("combine", ["mean", "vote"])
@pytest.mark.parametrize("loss", TARGETS)
def test_out_of_bag(engine, loss, combine):
    """Sample by sample, from the members whose set lacks it. With four members, some samples are in all sets."""
    if loss == "mse" and combine == "vote":
        return
    bagging = fitted(engine, loss, k=4, combine=combine)
    expected = np.full((150, 2), np.nan)
    for i in range(150):
        answers = []
        for member, rows in zip(bagging.members, bagging.rows, strict=True):
            if i not in rows:
                p = member.predict(X[i : i + 1])[0]
                vote = np.eye(2)[p.argmax()] if loss.startswith("softmax") else p > 0.5
                answers.append(p if combine == "mean" else vote)
        if answers:
            expected[i] = np.mean(answers, axis=0)
    known = ~np.isnan(expected[:, 0])
    assert 0 < known.sum() < 150
    got, y = bagging.oob_predict(X), TARGETS[loss]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    if loss == "mse":
        rest, whole = (np.sum((y - p) ** 2, axis=0, where=known[:, None]) for p in (expected, y[known].mean(axis=0)))
        score = np.mean(1 - rest / whole)
    elif loss == "sigmoid_cross_entropy":
        score = np.mean((expected[known] > 0.5) == y[known])
    else:
        score = np.mean(expected[known].argmax(axis=1) == y[known])
    np.testing.assert_allclose(bagging.oob_score(X, y), score, rtol=1e-5)


def test_out_of_bag_tells_what_training_does_not():
    """Noise learned by heart: correct on the training set, a coin toss out of bag."""
    noise = RNG.integers(0, 2, 150)

    def build(seed):
        return fr.Trainer(fr.Sequential([fr.Dense(100, "relu"), fr.Dense(2)]), optimizer=fr.Adam(0.02), seed=seed)

    bagging = fr.Bagging(build, 9)
    bagging.fit(X, noise, epochs=60, batch_size=16)
    assert bagging.score(X, noise) > 0.9
    assert bagging.oob_score(X, noise) < 0.7


# --- The formula ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", TARGETS)
def test_variance_is_that_of_the_formula(engine, loss):
    """v and c from all pairs of members, one by one, and the mean squared errors from the means."""
    bagging, y = fitted(engine, loss), TARGETS[loss]
    target = np.eye(2)[y] if y.ndim == 1 else y
    errors = [member.predict(X).astype(float) - target for member in bagging.members]
    found = bagging.variance(X, y)
    np.testing.assert_allclose(found.v, np.mean([np.mean(e**2) for e in errors]), rtol=1e-6)
    pairs = [np.mean(errors[i] * errors[j]) for i in range(5) for j in range(5) if i != j]
    np.testing.assert_allclose(found.c, np.mean(pairs), rtol=1e-6)
    for j in range(1, 6):
        np.testing.assert_allclose(found.predicted[j - 1], found.v / j + found.c * (j - 1) / j, rtol=1e-12)
        np.testing.assert_allclose(found.measured[j - 1], np.mean(np.mean(errors[:j], axis=0) ** 2), rtol=1e-6)
    np.testing.assert_allclose(found.measured[-1], found.predicted[-1], rtol=1e-12)
    np.testing.assert_allclose(found.measured[-1], np.mean((bagging.predict(X) - target) ** 2), rtol=1e-5)
    assert len(str(found).splitlines()) == 3 + 5 and str(found).startswith("v = ")


def test_averaging_helps_where_errors_differ():
    """Each member overfits the noise of its own set: the error of the mean falls towards c, as the formula says."""
    x = RNG.uniform(-2, 2, size=(400, 1))
    y = np.sin(2 * x[:, 0]) + 0.5 * RNG.normal(size=400)

    def build(seed):
        model = fr.Sequential([fr.Dense(60, "relu"), fr.Dense(60, "relu"), fr.Dense(1)])
        return fr.Trainer(model, loss="mse", optimizer=fr.Adam(0.01), seed=seed)

    bagging = fr.Bagging(build, 8)
    bagging.fit(x[:60], y[:60], epochs=150, batch_size=15)
    new = bagging.variance(x[60:], np.sin(2 * x[60:, 0]))
    assert 0 < new.c < 0.8 * new.v
    np.testing.assert_allclose(new.measured, new.predicted, rtol=0.3)
    assert new.measured[-1] < 0.8 * new.v


# --- What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [True, False])
def test_a_member_that_fails_leaves_the_ensemble_as_it_was(parallel):
    """All members end within a slice, with the error of the one that failed."""

    class Fail(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            raise ZeroDivisionError("planted")

    bagging = fitted(k=2, parallel=parallel, threads=2)
    before, rows = bits(bagging), bagging.rows
    with pytest.raises(ZeroDivisionError, match="planted"):
        bagging.fit(X, LABELS, epochs=10**8 if parallel else 1, callbacks=lambda i: [Fail()] if i else [])
    assert bits(bagging) == before and bagging.rows is rows
    with pytest.raises(fr.DivergenceError):
        bagging.fit(X * 1e30, LABELS, epochs=9)
    assert bits(bagging) == before
    assert np.isfinite(bagging.predict(NEW)).all()


def test_ctrl_c_ends_all_members():
    bagging = fitted(k=2, parallel=True, threads=2)
    before = bits(bagging)
    pressed = threading.Timer(0.3, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
    with pytest.raises(KeyboardInterrupt):
        pressed.start()
        bagging.fit(X, LABELS, epochs=10**8)
    assert bits(bagging) == before
    deadline = time.monotonic() + 60
    while any(thread.name.startswith("fastreg-bagging") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_callbacks_weights_and_validation_reach_the_members():
    weights = RNG.uniform(0.5, 2, 150)
    seen = []

    def callbacks(i):
        seen.append(i)
        return [fr.EarlyStopping(patience=1)]

    bagging = fr.Bagging(builder(), 3)
    settings = {"epochs": 50, "batch_size": 32, "shuffle": False, "sample_weight": weights, "class_weight": "balanced"}
    histories = bagging.fit(X, LABELS, **settings, validation_data=(X[:50], LABELS[:50]), callbacks=callbacks)
    assert sorted(seen) == [0, 1, 2]
    assert all("val_loss" in history for history in histories)
    for member, rows, history in zip(bagging.members, bagging.rows, histories, strict=True):
        alone = builder()(member.seed)
        expected = alone.fit(
            X[rows], LABELS[rows], **(settings | {"sample_weight": weights[rows]}),
            validation_data=(X[:50], LABELS[:50]), callbacks=[fr.EarlyStopping(patience=1)],
        )  # fmt: skip
        assert expected["val_loss"] == history["val_loss"] and same(state(alone), state(member))


SHARED = fr.Sequential([fr.Dense(2)])
ONE_RULE = fr.EarlyStopping("loss")
BAD = {
    "builder": (lambda: fr.Bagging(3, 2), r"builder: got 3, expected a function of a seed that gives a Trainer"),
    "k 0": (lambda: fr.Bagging(builder(), 0), r"k: got 0, expected an integer from 1 to 65535"),
    "k float": (lambda: fr.Bagging(builder(), 2.0), r"k: got 2\.0, expected an integer"),
    "combine": (lambda: fr.Bagging(builder(), 2, combine="max"), r"combine: got 'max', expected one of mean, vote"),
    "seed": (lambda: fr.Bagging(builder(), 2, seed=-1), r"seed: got -1, expected an integer from 0"),
    "threads": (lambda: fr.Bagging(builder(), 2, threads=0), r"threads: got 0, expected an integer from 1"),
    "parallel": (lambda: fr.Bagging(builder(), 2, parallel=1), r"parallel: got 1, expected True or False"),
    "no trainer": (lambda: fr.Bagging(lambda seed: SHARED, 2).fit(X, LABELS), r"builder: got a Sequential as its res"),
    "one model": (
        lambda: fr.Bagging(lambda seed: fr.Trainer(SHARED), 2).fit(X, LABELS),
        r"builder: got the same model twice",
    ),
    "other outputs": (
        lambda: fr.Bagging(lambda seed: fr.Trainer(fr.Sequential([fr.Dense(2 + seed % 97)])), 9).fit(X, LABELS),
        r"builder: got models that differ in outputs",
    ),
    "vote on values": (lambda: fitted(loss="mse", combine="vote"), r"combine: got 'vote' under 'mse', expected 'mean'"),
    "callbacks": (
        lambda: fr.Bagging(builder(), 2).fit(X, LABELS, callbacks=[fr.EarlyStopping()]),
        r"callbacks: got \[.*\], expected a function of a member's number",
    ),
    "callbacks of nothing": (
        lambda: fr.Bagging(builder(), 2).fit(X, LABELS, callbacks=lambda: []),
        r"callbacks: got <function .*>, expected a function of a member's number",
    ),
    "no callbacks": (
        lambda: fr.Bagging(builder(), 2).fit(X, LABELS, callbacks=lambda i: None),
        r"callbacks: got None, expected a list of callbacks",
    ),
    "a callback of all": (
        lambda: fr.Bagging(builder(), 2).fit(X, LABELS, callbacks=lambda i: [ONE_RULE]),
        r"callbacks: got EarlyStopping\(.*\) twice, expected new ones per member",
    ),
    "batch_size": (lambda: fr.Bagging(builder(), 2).fit(X, LABELS, batch_size=0), r"batch_size: got 0, expected"),
    "epochs": (lambda: fr.Bagging(builder(), 2).fit(X, LABELS, epochs=0), r"epochs: got 0, expected"),
    "X": (lambda: fr.Bagging(builder(), 2).fit(X[:, 0], LABELS), r"X: got shape \(150,\), expected \(rows, \.\.\.\)"),
    "y": (lambda: fr.Bagging(builder(), 2).fit(X, LABELS + 9), r"y: got labels from 9 to 10, expected 0 to 1"),
    "not fitted": (lambda: fr.Bagging(builder(), 2).predict(X), r"members: got none; call fit first"),
    "variance of one": (lambda: fitted(k=1).variance(X, LABELS), r"k: got 1, expected at least 2 members"),
    "other data": (lambda: fitted(k=2).oob_score(X[:50], LABELS[:50]), r"X: got 50 rows, expected the 150 of the fit"),
    "too few targets": (lambda: fitted(k=2).score(X, LABELS[:9]), r"y: got shape \(9,\), expected 150 rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_refuses_the_callbacks_of_the_last_member_before_the_first_is_trained():
    class Never(fr.Callback):
        def on_train_begin(self):
            pytest.fail("a member is trained")

    bagging = fr.Bagging(builder(), 3, parallel=False)
    with pytest.raises(ValueError, match=r"callbacks: got 'early_stoping', .*the nearest is 'early_stopping'"):
        bagging.fit(X, LABELS, callbacks=lambda i: [Never()] if i < 2 else ["early_stoping"])


def test_out_of_bag_needs_samples_that_some_member_has_not_seen(monkeypatch):
    monkeypatch.setattr(ensembles.random, "integers", lambda count, high, seed, stream: np.arange(count) % high)
    bagging = fitted(k=1)
    assert np.isnan(bagging.oob_predict(X)).all()
    with pytest.raises(ValueError, match="k: got 1; every member has seen every sample, expected more members"):
        bagging.oob_score(X, LABELS)
