"""What is replaced is replaced as a whole: at whatever line an exception comes, from a handler of a signal say,
parameters, state and counters are those of one moment."""

import signal
import weakref
from contextlib import suppress

import numpy as np
import pytest
from interrupted import Interrupt, at_every_line, interrupted
from trainers import classifier, same, state

import fastreg as fr
from fastreg.engines import arena

COUNTERS = ("epoch", "batches", "updates")


@pytest.fixture(autouse=True)
def own_handler():
    """What is interrupted while it holds Ctrl-C back may never let it go."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def moment(trainer) -> tuple:
    """Parameters, state and counters, but the number of the epoch, which counts only after the validation."""
    slots = {name: slot.tobytes() for name, slot in sorted(trainer.optimizer_state.items())}
    parameters = {name: values.tobytes() for name, values in sorted(trainer.model.parameters.items())}
    return str(parameters), str(slots), trainer.batches, trainer.updates


# --- A model ----------------------------------------------------------------------------------------------------------


def small(seed=3):
    model = fr.Sequential([fr.Dense(3, "relu"), fr.BatchNorm(), fr.Dense(2, bias_init="normal(0.1)")])
    model.build(4, seed=seed)
    return model


def test_an_interrupted_first_build_leaves_no_model():
    """It leaves none, or the whole one: never one of zeros."""
    expected = state_of(small())

    def check(model):
        if model.built:
            assert same(state_of(model), expected) and model.dtype == "float32" and model.input_shape == (4,)
        else:
            assert model.input_shape is None
        model.build(4, seed=3)
        assert same(state_of(model), expected)

    def new():
        return fr.Sequential([fr.Dense(3, "relu"), fr.BatchNorm(), fr.Dense(2, bias_init="normal(0.1)")])

    assert at_every_line(new, lambda model: model.build(4, seed=3), check, step=3) > 50


def state_of(model):
    return model.state_dict()


def test_a_build_without_memory_leaves_no_model(monkeypatch, blobs):
    X, y = blobs
    trainer = classifier()
    for name in ("padded", "padded_width"):
        with monkeypatch.context() as patch:
            patch.setattr(arena, name, out_of_memory)
            with pytest.raises(MemoryError):
                trainer.fit(X, y)
        assert not trainer.model.built and trainer.batches == 0
    assert trainer.fit(X, y).epochs == [0] and any(values.any() for values in state(trainer).values())


def out_of_memory(*_):
    raise MemoryError


def test_an_interrupted_second_build_changes_nothing_or_all():
    before, after = state_of(small()), state_of(small(5))

    def trained():
        model = small()
        model.loss = "mse"
        return model

    def check(model):
        assert model.input_shape == (4,)
        if model.loss is None:
            assert same(state_of(model), after) and model.output_transform == "linear"
        else:
            assert same(state_of(model), before)

    assert at_every_line(trained, lambda model: model.build(4, seed=5), check, step=5) > 30


def test_values_are_taken_together():
    before, after = state_of(small()), state_of(small(5))

    def check(model):
        assert same(state_of(model), before) or same(state_of(model), after)

    assert at_every_line(small, lambda model: model.load_state_dict(after), check) > 20


def test_a_loss_is_kept_with_what_follows_from_it():
    def check(model):
        expected = {"mse": ("linear", None), "sigmoid_cross_entropy": ("sigmoid", None)}[model.loss.name]
        assert (model.output_transform, model.loss_weights) == expected

    def of_mse():
        model = small()
        model.loss = "mse"
        return model

    assert at_every_line(of_mse, lambda model: setattr(model, "loss", "sigmoid_cross_entropy"), check) > 5


# --- A trainer --------------------------------------------------------------------------------------------------------


def training(**settings):
    settings.setdefault("averaging", fr.EMA(0.9))
    trainer = classifier(seed=1, **settings)
    trainer.model.build(4, seed=1)
    return trainer


def moments_of(blobs, epochs=3, **settings):
    """The moments between the epochs of an uninterrupted fit."""
    X, y = blobs
    trainer, found = training(**settings), set()
    for _ in range(epochs + 1):
        trainer.fit(X, y, batch_size=50, validation_data=(X, y))
        found.add(moment(trainer))
    return found


@pytest.mark.parametrize("kind", [Interrupt, KeyboardInterrupt, ValueError])
def test_an_interrupted_fit_is_between_two_epochs(blobs, kind):
    """An epoch of three batches is one slice here."""
    X, y = blobs
    good = moments_of(blobs)

    def make():
        trainer = training()
        trainer.fit(X, y, batch_size=50, validation_data=(X, y))
        return trainer

    def fit(trainer):
        trainer.fit(X, y, batch_size=50, validation_data=(X, y), epochs=2, callbacks=[fr.EarlyStopping(patience=9)])

    def check(trainer):
        assert moment(trainer) in good or trainer.best is not None  # the best weights may be back already
        assert trainer.history.epochs == list(range(trainer.epoch))
        trainer.fit(X, y, batch_size=50)  # no claim is left behind

    assert at_every_line(make, fit, check, step=71, kind=kind) > 10


def test_an_interrupted_reset_changes_nothing_or_all(blobs):
    X, y = blobs

    def make():
        trainer = training()
        trainer.fit(X, y, epochs=2)
        return trainer

    def check(trainer):
        counts = [getattr(trainer, name) for name in COUNTERS]
        fresh = counts == [0, 0, 0] and not len(trainer.history.epochs)
        assert fresh or (counts == [2, 4, 4] and trainer.history.epochs == [0, 1])
        assert fresh != any(slot.any() for slot in trainer.optimizer_state.values())

    assert at_every_line(make, lambda trainer: trainer.reset(), check) > 3


def test_an_interrupted_resume_is_the_checkpoint_or_what_was_before(blobs, tmp_path):
    X, y = blobs
    path, fit = tmp_path / "run.safetensors", {"batch_size": 50, "validation_data": (X, y)}
    saved = training()
    saved.fit(X, y, epochs=2, callbacks=[fr.Checkpoint(path), fr.ReduceOnPlateau()], **fit)
    good = moments_of(blobs, 3) | {moment(saved), moment(make_trained(blobs))}

    def resume(trainer):
        callbacks = [fr.Checkpoint(tmp_path / "other.safetensors"), fr.ReduceOnPlateau()]
        trainer.fit(X, y, epochs=3, callbacks=callbacks, resume=path, **fit)

    def check(trainer):
        assert moment(trainer) in good

    assert at_every_line(lambda: make_trained(blobs), resume, check, step=397) > 20


def make_trained(blobs):
    X, y = blobs
    trainer = training()
    trainer.model.build(4, seed=9)
    trainer.fit(X[:100], y[:100], batch_size=50)
    return trainer


def test_an_interrupted_refit_is_what_was_before_or_has_begun(blobs):
    X, y = blobs

    def make():
        trainer = training(averaging=None)
        trainer.fit(X, y, epochs=3, batch_size=50, validation_data=(X, y), callbacks=[fr.EarlyStopping(patience=1)])
        return trainer

    before, history = moment(make()), make().history.epochs

    def check(trainer):
        assert moment(trainer) == before or trainer.batches in (2, 4, 6, 8, 9)
        if moment(trainer) == before:
            assert trainer.history.epochs == history

    assert at_every_line(make, lambda trainer: trainer.refit(X[:100], y[:100]), check, step=101) > 20


# --- Functions of the user's, and other handlers ----------------------------------------------------------------------


class Refuses:
    """A function that raises when it gets this number of rows."""

    def __init__(self, kind):
        self.kind, self.rows = kind, None

    def check(self, rows):
        if rows == self.rows:
            raise self.kind("on purpose")

    def loss(self, outputs, targets):
        self.check(len(outputs))
        return ((outputs - targets) ** 2).mean(axis=1), 2 * (outputs - targets) / outputs.shape[1]

    def forward(self, x):
        self.check(len(x))
        return x

    def metric(self, y_true, y_pred):
        self.check(len(y_true))
        return 0.0


@pytest.mark.parametrize("where", ["loss", "layer", "metric"])
@pytest.mark.parametrize("kind", [ValueError, SystemExit, MemoryError, Interrupt])
@pytest.mark.parametrize("rows", [33, 16])
def test_what_a_function_raises_goes_back_to_the_start_of_the_epoch(engine, where, kind, rows):
    """In training (16 rows) and in validation (33 rows) alike."""
    if (where, rows) == ("metric", 16):
        return
    X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    refuses = Refuses(kind)
    layers = [fr.Dense(4), fr.Function(refuses.forward, lambda dy, x, y: dy), fr.Dense(1)]
    loss = fr.losses.Custom(refuses.loss) if where == "loss" else "mse"
    metrics = [refuses.metric] if where == "metric" else ()
    settings = {"optimizer": fr.SGD(0.01, momentum=0.9), "averaging": fr.EMA(0.9)}
    trainer = fr.Trainer(fr.Sequential(layers), loss, engine=engine, metrics=metrics, **settings)
    fit = {"batch_size": 16, "validation_data": (X[:33], X[:33, 0])}
    if where != "layer":
        trainer.model.layers = [fr.Dense(4), fr.Function(lambda x: x, lambda dy, x, y: dy), fr.Dense(1)]
    trainer.fit(X, X[:, 0], epochs=2, **fit)
    before, epochs = moment(trainer), trainer.epoch
    refuses.rows = rows
    with pytest.raises(kind):
        trainer.fit(X, X[:, 0], **fit)
    assert moment(trainer) == before and trainer.epoch == epochs and len(trainer.history.epochs) == epochs
    refuses.rows = None
    trainer.fit(X, X[:, 0], **fit)


def test_ctrl_c_in_the_validation_keeps_the_steps_of_the_epoch(engine, blobs):
    """As between two slices: they are whole, only the epoch does not count."""
    X, y = blobs

    def metric(y_true, y_pred):
        raise KeyboardInterrupt

    trainer, other = (classifier(engine, metrics=metrics) for metrics in ([metric], ()))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, y, validation_data=(X, y))
    other.fit(X, y)
    assert same(state(trainer), state(other)) and trainer.batches == other.batches and trainer.epoch == 0


def test_ctrl_c_after_a_step_into_nothing_goes_back(engine):
    """The step has made parameters that are not finite, which only the end of the epoch would have found."""

    class Interrupts(fr.Callback):
        def on_batch_end(self, batch, logs):
            raise KeyboardInterrupt

    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), "mse", fr.SGD(1e30), engine=engine)
    trainer.model.build(1)
    before = state(trainer)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(np.full((4, 1), 1e9), np.ones(4), batch_size=1, callbacks=[Interrupts()])
    assert same(state(trainer), before) and trainer.batches == 0


# --- Nobody holds a trainer -------------------------------------------------------------------------------------------


class Own(fr.Callback):
    def on_epoch_end(self, epoch, logs):
        logs["own"] = 1.0


def uses(trainer, X, y):
    """What people do with a trainer and callbacks, with a name for each."""
    held_back = {"validation_data": (X, y)}
    yield "fit", lambda: trainer.fit(X, y, callbacks=[Own(), fr.EarlyStopping(), fr.ReduceOnPlateau()], **held_back)
    yield "refit", lambda: trainer.refit(X, y, callbacks=[Own()])
    yield "questions", lambda: (trainer.predict(X), trainer.evaluate(X, y), trainer.gradients(X, y), repr(trainer))
    yield "refused", lambda: trainer.fit(X, y, callbacks=[Own(), fr.EarlyStopping("unheard_of")])
    yield "diverged", lambda: trainer.fit(X * 1e30, y, callbacks=[Own()])
    yield "interrupted", lambda: interrupted(lambda: trainer.fit(X, y, callbacks=[Own()], **held_back), 300)
    yield "copied", lambda: trainer.copy().fit(X, y, callbacks=[Own()])


def test_a_trainer_is_freed_when_its_last_reference_goes(engine, blobs):
    """By counting alone, with Python's search for cycles off."""
    import gc

    X, y = blobs
    gc.collect()
    gc.disable()
    try:
        for name, _ in uses(None, X, y):
            trainer = classifier(engine)
            trainer.fit(X, y, validation_data=(X, y), callbacks=[fr.EarlyStopping()])
            with suppress(ValueError, ArithmeticError):
                dict(uses(trainer, X, y))[name]()
            watched = [weakref.ref(trainer), weakref.ref(trainer.model), weakref.ref(trainer.model._arena.flat.base)]
            del trainer
            assert [ref() for ref in watched] == [None] * 3, name
    finally:
        gc.enable()


def test_a_callback_keeps_its_trainer_and_the_plan(blobs):
    """People look at both after the fit."""
    X, y = blobs
    trainer, own = classifier(), Own()
    trainer.fit(X, y, epochs=2, callbacks=[own])
    assert own.trainer is trainer and own.plan.last_epoch == 2 and own.plan.callbacks == ()
