"""What remains if training is cut short: by divergence, by bad values in a file, by Ctrl-C."""

import math
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from trainers import classifier, line, same, state

import fastreg as fr
from fastreg.engines import session as sessions
from fastreg.engines.base import Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.engines.session import uninterrupted
from fastreg.machine import _core


class Keep(fr.Callback):
    """Notes parameters behind every epoch."""

    def __init__(self):
        self.epochs = []

    def on_epoch_end(self, epoch, logs):
        self.epochs.append(self.model.state_dict())


def test_divergence_goes_back_to_the_last_finished_epoch(engine):
    """Every step multiplies the error by about -18, so the squared loss overflows in some later epoch."""
    X, y = np.full((4, 1), 3.0), np.ones(4)
    trainer, keep = line(engine, lr=0.95, dtype="float32"), Keep()
    with pytest.raises(fr.DivergenceError, match="diverged in epoch"):
        trainer.fit(X, y, epochs=100, batch_size=1, callbacks=[keep])
    assert 1 < len(keep.epochs) < 100
    assert same(state(trainer), keep.epochs[-1])
    assert trainer.epoch == len(keep.epochs) and trainer.step == trainer.updates == 4 * len(keep.epochs)
    with pytest.raises(ArithmeticError):
        trainer.fit(X, y)
    assert same(state(trainer), keep.epochs[-1])


def test_parameters_that_overflow_in_the_last_step_are_found(engine):
    """The loss is finite, but the step is not."""
    trainer = line(engine, lr=1e30, dtype="float32", optimizer=fr.SGD(1e30))
    before = state(trainer)
    with pytest.raises(fr.DivergenceError, match="parameters are not finite"):
        trainer.fit(np.full((1, 1), 1e9), np.ones(1))
    assert same(state(trainer), before)
    trainer.model.load_state_dict(before)
    assert math.isfinite(trainer.evaluate(np.ones((1, 1)), np.ones(1))["loss"])


def test_a_bad_row_of_a_memory_map_is_named(engine, blobs, tmp_path):
    X, y = blobs
    path = tmp_path / "x"
    mapped = np.memmap(path, np.float32, "w+", shape=X.shape)
    mapped[...] = X
    mapped[117, 2] = np.nan
    trainer = classifier(engine)
    trainer.fit(X, y, batch_size=32)
    before = state(trainer)
    with pytest.raises(ValueError, match=r"row 117 of the data .* start of the epoch"):
        trainer.fit(mapped, y, batch_size=32)
    assert same(state(trainer), before) and (trainer.step, trainer.epoch) == (5, 1)
    for call in (lambda: trainer.evaluate(mapped, y), lambda: trainer.predict(mapped)):
        with pytest.raises(ValueError, match="row 117"):
            call()
    mapped[117, 2] = 0
    trainer.fit(mapped, y, batch_size=32)


def test_a_value_beyond_the_working_dtype_is_refused_before_anything_is_drawn(engine):
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse", engine=engine)
    big, small = np.array([[1.0], [1e300]]), np.ones((2, 1))
    for X, y, validation, name in (
        (big, small, None, "X"),
        (small, big, None, "y"),
        (small, small, (big, small), r"validation_data\[0\]"),
        (small, small, (small, -big), r"validation_data\[1\]"),
    ):
        with pytest.raises(ValueError, match=f"{name}: row 1 .* float32"):
            trainer.fit(X, y, validation_data=validation)
        assert not trainer.model.built
    trainer.fit(small, small)
    with pytest.raises(ValueError, match=r"X: row 1 .* float32"):
        trainer.predict(big)


def test_a_bad_row_of_mapped_validation_data_undoes_the_epoch(engine, blobs, tmp_path):
    X, y = blobs
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    mapped[...] = X
    trainer = classifier(engine)
    trainer.fit(X, y, batch_size=32)
    before = state(trainer)
    mapped[11, 1] = np.inf
    with pytest.raises(ValueError, match="validation_data: row 11 "):
        trainer.fit(X, y, batch_size=32, validation_data=(mapped, y))
    assert same(state(trainer), before) and (trainer.step, trainer.updates, trainer.epoch) == (5, 5, 1)


def test_interrupt_in_a_callback_leaves_the_last_slice(engine, blobs):
    class Interrupt(fr.Callback):
        def on_batch_end(self, batch, logs):
            if batch == 2:
                raise KeyboardInterrupt

    X, y = blobs
    cut, short = classifier(engine), classifier(engine)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(X, y, epochs=3, batch_size=16, shuffle=False, callbacks=[Interrupt()])
    short.fit(X[:48], y[:48], batch_size=16, shuffle=False)
    assert same(state(cut), state(short)) and cut.step == cut.updates == 3 and cut.epoch == 0
    cut.fit(X, y)


def test_ctrl_c_waits_for_the_slice(engine, blobs):
    """The signal comes in the middle of a slice. The slice ends and counts before the exception is raised."""
    X, y = blobs
    trainer = classifier(engine)
    trainer.fit(X, y, batch_size=32)
    with trainer._session("train", 32, 150, True) as session:
        run = session.engine.run

    def signalled(feed, tally, first, stop, seconds, look):
        signal.raise_signal(signal.SIGINT)
        return run(feed, tally, first, min(first + 2, stop), seconds)

    session.engine.run = signalled
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, y, batch_size=32)
    assert (trainer.step, trainer.updates, trainer.epoch) == (7, 7, 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    session.engine.run = run
    trainer.fit(X, y, batch_size=32)


@contextmanager
def ctrl_c_soon():
    """Sends SIGINT to the main thread in 0.3 s, and expects it to come through."""
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


class Interrupt(fr.Callback):
    """Ctrl-C some time behind the first slice. `step` is the trainer's there, `done` the batches of the last slice."""

    def __init__(self, seconds):
        self.seconds, self.step, self.timer = seconds, None, None

    def on_slice_end(self, batches, logs):
        self.done = batches
        if self.timer is None:
            self.step = self.trainer.step
            self.timer = threading.Timer(self.seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
            self.timer.start()


def test_ctrl_c_does_not_wait_for_the_epoch(blobs):
    """The fit would take minutes."""
    X, y = np.resize(blobs[0], (300_000, 4)), np.resize(blobs[1], 300_000)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(512, activation="relu"), fr.Dense(3)]))
    trainer.fit(X[:64], y[:64])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, y, epochs=1000, batch_size=32, callbacks=[Interrupt(0.3)])
    assert trainer.step > 1 and trainer.epoch < 1000 and np.isfinite(trainer.predict(X[:10])).all()


@pytest.mark.parametrize("seconds", [0.01, 0.06, 0.09])
def test_ctrl_c_in_an_ordinary_batch_loses_nothing(engine, seconds, rng, monkeypatch):
    """Batches of a few milliseconds, and the signal so far into a slice: the slice is finished, and those before it
    count, also in an epoch that is far from its end."""
    monkeypatch.setattr(sessions, "SLICE_SECONDS", 5.0)  # a busy machine may let a batch wait; slices stay short

    X, y = rng.normal(size=(64, 784)).astype(np.float32), np.arange(64) % 10
    rows = np.zeros(500_000, np.int64)
    layers = [fr.Dense(512, activation="relu"), fr.Dense(512, activation="relu"), fr.Dense(10)]
    trainer, interrupt = fr.Trainer(fr.Sequential(layers), engine=engine, threads=1), Interrupt(seconds)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, y, batch_size=64, rows=rows, callbacks=[interrupt])
    interrupt.timer.join()
    assert trainer.step == trainer.updates >= interrupt.done > 0 == trainer.epoch


def test_ctrl_c_waits_for_a_slice_but_not_for_a_long_batch(monkeypatch):
    """The time from which on a look in the middle of a batch lets Ctrl-C through: 0.15 s to 0.2 s into the slice, or at
    once behind that."""
    now = [0.0]
    monkeypatch.setattr(sessions, "perf_counter", lambda: now[0])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for sent, expected in ((0.0, 0.15), (0.04, 0.15), (0.07, 0.17), (0.15, 0.2), (0.3, 0.3), (5.0, 5.0)):
            now[0] = 0.0

            def slice_(look, sent=sent, expected=expected):
                now[0] = sent
                signal.raise_signal(signal.SIGINT)
                now[0] = max(sent, expected - 0.001)
                if sent < expected:
                    look()
                signal.raise_signal(signal.SIGINT)  # once more changes nothing
                now[0] = expected + 1e-9
                look()
                raise AssertionError(f"{sent}: still waiting")

            with pytest.raises(KeyboardInterrupt):
                uninterrupted(slice_)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_long_batch(threads, rng):
    """Each batch takes seconds. All of it is undone, and training can continue."""
    X, y = rng.normal(size=(30_000, 64)).astype(np.float32), np.arange(30_000) % 10
    layers = [fr.Dense(2048, activation="relu"), fr.Dense(2048, activation="relu"), fr.Dense(10)]
    trainer = fr.Trainer(fr.Sequential(layers), optimizer=fr.SGD(0.01, momentum=0.9), threads=threads)
    trainer.fit(X[:64], y[:64])
    before = state(trainer)
    with ctrl_c_soon():
        trainer.fit(X, y, epochs=100, batch_size=len(X))
    assert same(state(trainer), before) and (trainer.step, trainer.updates, trainer.epoch) == (1, 1, 1)
    with ctrl_c_soon():
        trainer.gradients(X, y)
    other = trainer.copy()
    for one in (trainer, other):
        one.fit(X[:640], y[:640])
    assert same(state(trainer), state(other))


@pytest.mark.slow
def test_a_long_batch_is_finished_under_a_handler_of_the_users_own(rng):
    """It may want to end the fit in another way, and nothing is lost."""
    X, y = rng.normal(size=(4000, 64)).astype(np.float32), np.arange(4000) % 10
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2048), fr.Dense(1024), fr.Dense(10)]))
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))

    class Start(fr.Callback):
        def on_epoch_begin(self, epoch):  # the start of a fit resets stop_training
            if epoch == 0:
                timer.start()

    before = signal.signal(signal.SIGINT, lambda *_: setattr(trainer, "stop_training", True))
    try:
        trainer.fit(X, y, epochs=1000, batch_size=len(X), callbacks=[Start()])
    finally:
        signal.signal(signal.SIGINT, before)
        timer.cancel()
    assert 0 < trainer.epoch < 1000 and trainer.step == trainer.epoch


def test_uninterrupted_leaves_other_handlers_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert uninterrupted(lambda look: signal.getsignal(signal.SIGINT)) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


class Other(BaseException):
    """What the handler of another signal raises."""


@pytest.fixture
def other_signal():
    """A function that sends a signal whose handler raises. Python has no time to run the handler before it returns."""

    def raises(*_):
        raise Other

    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGUSR1, raises)
    yield partial(os.kill, os.getpid(), signal.SIGUSR1)
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGUSR1")
def test_another_signal_as_a_slice_ends_does_not_leave_ctrl_c_held_back(other_signal):
    """Its handler runs first when the handler of Ctrl-C is put back, and raises there."""
    held, put = _core.Held(time.perf_counter), partial(signal.signal, signal.SIGINT)
    with pytest.raises(Other):
        _core.held_back(other_signal, held, put, signal.default_int_handler)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGUSR1")
def test_another_signal_as_a_fit_ends_leaves_no_claim(other_signal):
    claim = sessions.Claim()
    with pytest.raises(Other):
        claim.during("fit", other_signal)
    claim.check_free("fit")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGUSR1")
def test_another_signal_does_not_take_the_place_of_ctrl_c(other_signal):
    def both(look):
        signal.raise_signal(signal.SIGINT)
        other_signal()

    with pytest.raises(KeyboardInterrupt) as caught:
        uninterrupted(both)
    assert isinstance(caught.value.__context__, Other)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("seconds", [0.02, 0.06, 0.09])
@pytest.mark.slow
def test_ctrl_c_among_short_batches_keeps_what_was_learned(engine, seconds):
    """In the middle of the first epoch: the parameters are those of a finished slice, not of the epoch's start."""
    X, y = np.random.default_rng(0).normal(size=(200_000, 20)), np.arange(200_000) % 3
    trainer = fr.Trainer(fr.Sequential([fr.Dense(32, "relu"), fr.Dense(3)]), engine=engine)
    trainer.fit(X[:1], y[:1], batch_size=1)
    before, interrupt = trainer.model.state_dict()["0.weight"], Interrupt(seconds)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, y, epochs=1000, batch_size=1, callbacks=[interrupt])
    interrupt.timer.join()
    assert trainer.step >= interrupt.step and (trainer.model.state_dict()["0.weight"] != before).any()


def looks_during(rows: int, units: int) -> int:
    """How often the engine asks whether to end: in 0.3 s of batches of this many rows, or in one longer batch."""
    trainer = fr.Trainer(fr.Sequential([fr.Dense(units, "relu"), fr.Dense(units, "relu"), fr.Dense(3)]))
    trainer.model.build(units)
    program, parameters = trainer.program("train", rows), trainer.model.parameters
    engine = make_engine("native", program, dict(parameters), dict.fromkeys(program.rules, ()), rows, "float32", 1)
    X, batches, looks = np.zeros((rows, units), np.float32), 10**6 // rows, []
    order = np.resize(np.arange(rows), rows * batches)
    feed = Feed(X, rows, np.zeros(rows, np.int64), order=order, rates=np.zeros(batches))
    assert engine.run(feed, Tally(), 0, batches, 0.3, lambda: looks.append(1)) < batches
    return len(looks)


@pytest.mark.slow
def test_short_batches_are_not_given_up():
    """On a busy machine a short batch may seem long, since another process runs meanwhile. In the first look at a batch
    nobody is asked, so that what was learned before it is not lost."""
    assert looks_during(1, 64) == 0
    assert looks_during(20_000, 500) > 0
