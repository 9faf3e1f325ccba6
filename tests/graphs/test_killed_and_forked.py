"""Trainings of graphs that are killed in the middle of an epoch and resumed, and processes that fork around them: the
same bits, and no hang."""

import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from graph_trainings import TRAININGS, answers, bits, new
from resumable import digest

import fastreg as fr

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
EPOCHS, SECONDS = 5, 60


def in_child(act) -> int:
    """Runs something in a forked child. Returns 0, 1 if it raised or gave False, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if act() is not False else 1
        finally:
            os._exit(code)
    return ended(child)


def ended(child: int) -> int:
    """The exit code of a child, which has a minute to end."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("a forked child hangs")


# --- kill -9 ----------------------------------------------------------------------------------------------------------


class Die(fr.Callback):
    """Kills its own process in the middle of an epoch."""

    def __init__(self, epoch, batch):
        self.when = epoch, batch

    def on_batch_end(self, batch, logs):
        if (self.trainer.epoch, batch) == self.when:
            os.kill(os.getpid(), signal.SIGKILL)


def trained(name, engine, path=None, resume=None, more=(), **settings) -> str:
    """The digest of a training with rules that have something to remember: rates that fall, and the best epoch."""
    trainer, fit = new(name, engine=engine, **settings)
    checkpoint = [fr.Checkpoint(path)] if path else []
    rules = [fr.ReduceOnPlateau("val_loss", patience=0, threshold=0.05), fr.EarlyStopping("val_loss", patience=2)]
    history = trainer.fit(epochs=EPOCHS, callbacks=[*more, *rules, *checkpoint], resume=resume, **fit)
    return digest(trainer, history)


CASES = [*(("native", name) for name in TRAININGS), *(("reference", name) for name in ("ties", "norms", "categories"))]


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_killed_in_two_epochs_and_resumed(engine, name, tmp_path):
    """Whoever resumes works with another number of threads."""
    path = tmp_path / "run.safetensors"
    for epoch, batch, threads in ((1, 2, 2), (2, 1, 3)):
        resume = path if epoch > 1 else None
        die = [Die(epoch, batch)]
        assert in_child(lambda: trained(name, engine, path, resume, die, threads=threads)) == -signal.SIGKILL  # noqa: B023
    assert trained(name, engine, path, path, threads=1) == trained(name, engine)


@pytest.mark.parametrize("name", ["heads", "convolutions"])
def test_killed_at_any_moment(name, tmp_path):
    """From outside, also while a checkpoint is written. A training that ends before its kill is begun anew, with less
    time until the next kill.
    """
    path, dice, kills, longest = tmp_path / "run.safetensors", random.Random(name), 0, 0.05
    while kills < 8:
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if trained(name, "native", path, path if path.exists() else None) else 1)
            finally:
                os._exit(1)
        time.sleep(dice.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        code = ended(child)
        assert code in (0, -signal.SIGKILL)
        if code:
            kills += 1
        else:
            path.unlink()
            longest /= 2
    last = trained(name, "native", path, path if path.exists() else None)
    assert not list(tmp_path.glob(".*.tmp"))
    assert last == trained(name, "native", path, path) == trained(name, "native")


# --- fork -------------------------------------------------------------------------------------------------------------


def end(name, epochs=2) -> dict[str, bytes]:
    """What a training on two threads leaves behind, and what its model says then."""
    trainer, fit = new(name, threads=2)
    trainer.fit(epochs=epochs, **fit)
    return bits(trainer) | answers(trainer, fit["X"])


@pytest.mark.parametrize("name", TRAININGS)
def test_a_child_trains_goes_on_and_predicts(name):
    """A child forked after a fit trains and predicts as its parent does, with its model and with another."""
    trainer, fit = new(name, threads=2)
    trainer.fit(epochs=2, **fit)
    expected, said = bits(trainer), answers(trainer, fit["X"])
    longer = end(name, 3)

    def act():
        right = answers(trainer, fit["X"]) == said and end(name) == expected | said
        trainer.fit(epochs=1, **fit)
        return right and bits(trainer) | answers(trainer, fit["X"]) == longer

    assert in_child(act) == 0
    assert bits(trainer) == expected
    assert in_child(lambda: in_child(act) == 0) == 0  # a grandchild
    trainer.fit(epochs=1, **fit)
    assert bits(trainer) | answers(trainer, fit["X"]) == longer


@pytest.mark.parametrize("name", ["norms", "convolutions", "stored"])
def test_a_child_that_is_forked_within_a_fit_ends_it_too(name):
    class Fork(fr.Callback):
        child = None

        def on_batch_end(self, batch, logs):
            if (self.trainer.epoch, batch) == (1, 1):
                self.child = os.fork()

    parent, fork, right = os.getpid(), Fork(), False
    try:
        trainer, fit = new(name, threads=2)
        trainer.fit(epochs=2, callbacks=[fork], **fit)
        right = bits(trainer) | answers(trainer, fit["X"]) == end(name)
    finally:
        if os.getpid() != parent:
            os._exit(0 if right else 1)
    assert right and ended(fork.child) == 0


@pytest.mark.parametrize("name", ["convolutions", "heads"])
def test_a_child_that_is_forked_while_another_thread_trains(name):
    expected, going = end(name), threading.Event()

    def work():
        trainer, fit = new(name, threads=2)
        going.set()
        trainer.fit(epochs=20, **fit)

    busy = threading.Thread(target=work)
    busy.start()
    going.wait(SECONDS)
    codes = [in_child(lambda: end(name) == expected) for _ in range(3)]
    busy.join()
    assert codes == [0, 0, 0]


# --- Forks inside a function in Python, in the middle of a batch ------------------------------------------------------


class Forks:
    """Forks in the call with this number. `child` is its process in the parent, 0 in the child."""

    def __init__(self, at):
        self.left, self.child = at, None

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            self.child = os.fork()


def with_functions(forks, where, threads, engine="native"):
    """A trainer of two hidden layers, one of which is written in Python, as is the loss."""

    def called(name, value):
        if name == where:
            forks()
        return value

    layer = fr.Function(lambda x: called("forward", np.abs(x)), lambda dy, x, y: called("backward", dy * np.sign(x)))
    loss = fr.losses.Custom(lambda y, t: called("loss", (np.square(y - t).mean(axis=1), 2 * (y - t) / y.shape[1])))
    layers = [fr.Dense(200, "relu"), layer, fr.Dense(150, "relu"), fr.Dense(1)]
    return fr.Trainer(fr.Sequential(layers), loss, fr.SGD(0.01), threads=threads, engine=engine)


FORKED = np.random.default_rng(5).normal(size=(300, 30)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("where", ["forward", "backward", "loss"])
def test_a_fork_inside_a_function_is_noticed(where, threads):
    """The child gets an error, and then is as good as any other; the parent goes on as if nothing had been."""
    X, y = FORKED, FORKED[:, 0]
    plain = with_functions(Forks(0), where, threads)
    plain.fit(X, y, epochs=2, batch_size=50)
    forks = Forks(9)  # in the second epoch
    trainer = with_functions(forks, where, threads)
    told = ""
    try:
        trainer.fit(X, y, epochs=2, batch_size=50)
    except RuntimeError as error:
        told = str(error)
    if forks.child == 0:
        code = 1
        try:
            if threads > 1:
                assert "has forked this process" in told and (trainer.epoch, trainer.updates) == (1, 6)
                trainer.fit(X, y, batch_size=50)
            assert bits(trainer) == bits(plain)
            trainer.predict(X)
            code = 0
        finally:
            os._exit(code)
    assert told == "" and bits(trainer) == bits(plain)
    assert ended(forks.child) == 0


def test_a_child_that_leaves_inside_a_function_is_gone():
    """sys.exit in the child comes through as it is, in training and in prediction."""
    for act in (lambda trainer: trainer.fit(FORKED, FORKED[:, 0]), lambda trainer: trainer.predict(FORKED)):
        forks = Forks(0)
        trainer = with_functions(forks, "forward", 3)
        trainer.model.build(30)
        forks.left, left = 1, None

        def leave(function=trainer.model.layers[1].forward, forks=forks):
            def forward(x):
                value = function(x)
                if forks.child == 0:
                    raise SystemExit(7)
                return value

            return forward

        trainer.model.layers[1].forward = leave()
        try:
            act(trainer)
        except SystemExit as error:
            left = error.code
        if forks.child == 0:
            os._exit(7 if left == 7 else 1)
        assert left is None and ended(forks.child) == 7
