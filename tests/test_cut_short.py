"""What remains when training is cut short: by divergence, by bad values in a file, by Ctrl-C."""

import math
import os
import signal
import threading
import time

import numpy as np
import pytest
from trainers import classifier, line, same, state

import fastreg as fr
from fastreg.session import Uninterrupted


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
    """The loss is finite and the step is not."""
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


def test_a_value_beyond_the_working_dtype_is_a_bad_row(engine):
    trainer = line(engine, dtype="float32")
    with pytest.raises(ValueError, match="row 1 "):
        trainer.fit(np.array([[1.0], [1e300]]), np.ones(2))


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
    """The signal comes in the middle of a slice; the slice is finished and counted before the exception rises."""
    X, y = blobs
    trainer = classifier(engine)
    session = trainer.fit(X, y, batch_size=32) and trainer.session("train", 32, 150, True)
    run = session.engine.run

    def signalled(feed, tally, first, stop, seconds):
        signal.raise_signal(signal.SIGINT)
        return run(feed, tally, first, min(first + 2, stop), seconds)

    session.engine.run = signalled
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, y, batch_size=32)
    assert (trainer.step, trainer.updates, trainer.epoch) == (7, 7, 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    session.engine.run = run
    trainer.fit(X, y, batch_size=32)


def test_ctrl_c_acts_within_a_fifth_of_a_second(blobs):
    """An epoch of a minute or so; the limit leaves room for a busy machine."""
    X, y = np.resize(blobs[0], (300_000, 4)), np.resize(blobs[1], 300_000)
    trainer, sent = fr.Trainer(fr.Sequential([fr.Dense(512, activation="relu"), fr.Dense(3)])), []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    trainer.fit(X[:64], y[:64])
    timer = threading.Timer(0.3, interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(X, y, epochs=1000, batch_size=32)
        assert time.perf_counter() - sent[0] < 0.5
    finally:
        timer.cancel()
    assert trainer.step > 1 and np.isfinite(trainer.predict(X[:10])).all()


def test_uninterrupted_leaves_other_handlers_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Uninterrupted():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
