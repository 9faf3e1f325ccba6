"""Several Python threads, and callbacks, on one model: correct numbers or a clear refusal."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from trainers import classifier, same, state

import fastreg as fr


@pytest.fixture
def trained(engine, blobs):
    trainer = classifier(engine)
    trainer.fit(*blobs)
    return trainer


def in_threads(call, arguments, times=40):
    """call(argument) for every argument, many times over, four at once."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(call, arguments * times))


def test_threads_may_share_a_model_and_a_trainer_that_rest(trained, blobs):
    X, y = blobs
    parts = [slice(start, start + 64) for start in range(0, 80, 10)]
    calls = [
        lambda part: trained.model.predict(X[part]),
        lambda part: trained.predict(X[part], batch_size=64),
        lambda part: np.array(list(trained.evaluate(X[part], y[part]).values())),
        lambda part: trained.gradients(X[part], y[part], step=3)["1.weight"],
        lambda part: trained.row_losses(X[part], y[part]),
    ]
    for call in calls:
        expected = [call(part) for part in parts]
        got = in_threads(call, parts)
        assert all(np.array_equal(value, expected[i % len(parts)]) for i, value in enumerate(got))


class Try(fr.Callback):
    """Calls something behind the first epoch and keeps what it raises."""

    def __init__(self, call):
        self.call, self.error = call, None

    def on_epoch_end(self, epoch, logs):
        try:
            self.call()
        except Exception as error:
            self.error = error


@pytest.mark.parametrize("name", ["fit", "build", "reset"])
def test_a_callback_may_not_train_build_or_reset_the_model(name, trained, blobs):
    X, y = blobs
    other = fr.Trainer(trained.model, engine=trained.engine)
    calls = {"fit": lambda: other.fit(X, y), "build": lambda: trained.model.build(4), "reset": trained.reset}
    attempt, twin = Try(calls[name]), trained.copy()
    trained.fit(X, y, callbacks=[attempt])
    twin.fit(X, y)
    assert isinstance(attempt.error, RuntimeError) and str(attempt.error).startswith(f"{name}: ")
    assert same(state(trained), state(twin))
    calls[name]()  # behind the fit it works


OTHERS = {
    "model": fr.Sequential([fr.Dense(3)]), "loss": "sigmoid_cross_entropy", "optimizer": fr.SGD(1.0), "l1": 0.1,
    "l2": 0.1, "penalty": fr.L2(0.1), "metrics": (), "clip_norm": 1e-3, "clip_value": 1e-3, "accumulate": 3,
    "adversarial": fr.FGSM(0.1), "augment": "flip()", "dtype": "float64", "seed": 7, "threads": 1,
    "engine": "reference",
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_callback_may_not_change_a_setting(name, trained, blobs):
    X, y = blobs
    attempt, twin = Try(lambda: setattr(trained, name, OTHERS[name])), trained.copy()
    history = trained.fit(X, y, epochs=3, batch_size=16, callbacks=[attempt], validation_data=(X, y))
    expected = twin.fit(X, y, epochs=3, batch_size=16, validation_data=(X, y))
    assert isinstance(attempt.error, RuntimeError) and str(attempt.error).startswith(f"{name}: ")
    assert same(state(trained), state(twin)) and history["val_loss"] == expected["val_loss"]
    assert trained.settings() == twin.settings()
    setattr(trained, name, OTHERS[name])  # behind the fit it works


def test_a_second_fit_of_another_thread_is_refused(trained, blobs):
    X, y = blobs
    errors = []

    def second():
        try:
            trained.fit(X, y)
        except RuntimeError as error:
            errors.append(str(error))

    def in_thread():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    trained.fit(X, y, callbacks=[Try(in_thread)])
    assert len(errors) == 1 and "being fitted" in errors[0]
    second()
    assert len(errors) == 1


def test_a_callback_may_evaluate_and_predict(trained, blobs):
    X, y = blobs
    looks = Try(lambda: [trained.evaluate(X, y), trained.predict(X), trained.gradients(X, y)])
    twin = trained.copy()
    trained.fit(X, y, epochs=2, callbacks=[looks])
    twin.fit(X, y, epochs=2)
    assert looks.error is None and same(state(trained), state(twin))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_during_a_fit_may_fit(trained, blobs):
    X, y = blobs
    codes = []

    def fork():
        child = os.fork()
        if child == 0:
            try:
                trained.fit(X, y)
                os._exit(0)
            finally:
                os._exit(1)
        codes.append(os.waitpid(child, 0)[1])

    trained.fit(X, y, callbacks=[Try(fork)])
    assert codes == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_during_a_fit_may_go_on_with_it(trained, blobs):
    """Both processes finish the fit, with the same bits as one that was never forked."""
    parent, twin, forked, right = os.getpid(), trained.copy(), [], False
    try:
        trained.fit(*blobs, epochs=3, callbacks=[Try(lambda: forked or forked.append(os.fork()))])
        twin.fit(*blobs, epochs=3)
        trained.reset()  # nothing claims the model any more
        right = same(state(trained), state(twin))
    finally:
        if os.getpid() != parent:
            os._exit(0 if right else 1)
    assert right and os.waitpid(forked[0], 0)[1] == 0
