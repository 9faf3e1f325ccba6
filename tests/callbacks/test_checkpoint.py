"""Checkpoints and resumed fits: the same bits after a stop, a kill or a full disk, and what is refused."""

import json
import pickle
import random
import signal
import subprocess

import numpy as np
import pytest
import resumable
from resumable import EPOCHS, digest, fit, measuring, run, trainer, whole

import fastreg as fr
from fastreg.common.safetensors import read_tensors, write_tensors

X, Y, VALIDATION = resumable.data()


class Stop(fr.Callback):
    """Cuts training short behind an epoch, after the checkpoint."""

    goes_last = True

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, epoch):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


# --- The same bits ------------------------------------------------------------------------------------------------


def test_the_training_that_is_resumed_has_everything_to_keep():
    trained, seen = trainer(), resumable.callbacks()
    history = trained.fit(X, Y, epochs=EPOCHS, batch_size=16, validation_data=VALIDATION, callbacks=seen)
    plateau, stopping = seen
    assert 0 < stopping.best_epoch < history.epochs[-1] and plateau.scale < 1
    assert trained.stop_training and len(history.epochs) < EPOCHS


TRAININGS = {
    "adam": {},
    "nesterov": {"optimizer": fr.SGD(0.1, momentum=0.9, nesterov=True), "dtype": "float64"},
    "rmsprop": {"optimizer": fr.RMSprop(0.01, momentum=0.5), "accumulate": 3, "clip_norm": 0.5, "clip_value": 0.1},
}


@pytest.mark.parametrize("case", TRAININGS)
def test_stopped_after_every_epoch(engine, path, case):
    settings = TRAININGS[case]
    expected, trained = whole(engine, **settings), None
    for epoch in range(1, EPOCHS + 1):
        trained, resume = trainer(engine, **settings), path if path.exists() else None
        try:
            history = fit(trained, path, resume=resume, more=[Stop(epoch)])
            break
        except KeyboardInterrupt:
            assert fr.load(path).predict(X).shape == (50, 2)
    assert digest(trained, history) == expected
    again = trainer(engine, **settings)  # there is nothing left to do, and nothing else comes of it
    assert digest(again, fit(again, path, resume=path)) == expected


def test_stopped_in_the_middle_of_an_epoch(engine, path):
    class Cut(fr.Callback):
        def on_batch_end(self, batch, logs):
            if (self.trainer.epoch, batch) == (3, 2):
                raise KeyboardInterrupt

    cut = trainer(engine)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, path, more=[Cut()])
    history = fit(cut, path, resume=path)  # the trainer itself may go on, whatever it has learned since
    assert digest(cut, history) == whole(engine)


def test_epochs_is_the_total_and_more_than_before_is_possible(path):
    longer, plain = trainer(), [fr.Checkpoint(path)]
    trainer().fit(X, Y, epochs=3, callbacks=plain)
    resumed = trainer()
    history = resumed.fit(X, Y, epochs=5, resume=path, callbacks=plain)
    expected = longer.fit(X, Y, epochs=5)
    assert history.epochs == list(range(5)) and resumed.epoch == 5
    assert digest(resumed, history) == digest(longer, expected)


def test_a_second_fit_is_resumed_with_its_own_history(path):
    trained, resumed = trainer(), trainer()
    trained.fit(X, Y, epochs=2)
    history = trained.fit(X, Y, epochs=2, callbacks=[fr.Checkpoint(path)])
    again = resumed.fit(X, Y, epochs=4, resume=path)
    assert again.epochs == [2, 3] and digest(resumed, again) == digest(trained, history)


def test_frozen_layers_and_standardized_inputs(engine, path):
    def make():
        layers = [fr.data.Standardizer().fit(X), fr.Dense(4, "tanh", trainable=False), fr.Dense(2, lr_scale=0.5)]
        return fr.Trainer(fr.Sequential(layers), optimizer=fr.Adam(0.1), engine=engine)

    first, resumed, whole = make(), make(), make()
    first.fit(X, Y, epochs=2, callbacks=[fr.Checkpoint(path)])
    history = resumed.fit(X, Y, epochs=4, resume=path)
    assert digest(resumed, history) == digest(whole, whole.fit(X, Y, epochs=4))


def test_values_that_are_not_finite_survive(path):
    values = [np.inf, np.nan, np.inf, np.nan]
    fit(measuring(values), path, epochs=2)
    history = fit(measuring(values), path, epochs=4, resume=path)
    assert repr(history["val_accuracy"]) == "[inf, nan, inf, nan]"


def test_a_users_callback_keeps_its_state(path):
    class Count(fr.Callback):
        def on_train_begin(self):
            self.seen, self.total = 0, np.zeros((2, 2))

        def on_epoch_end(self, epoch, logs):
            self.seen, self.total = self.seen + 1, self.total + epoch

        def state_dict(self):
            return {"seen": self.seen, "total": self.total}

        def load_state_dict(self, state):
            self.seen, self.total = int(state["seen"]), state["total"]

    count = Count()
    fit(trainer(), path, epochs=2, more=[count])
    fit(trainer(), path, epochs=3, resume=path, more=[count])
    assert count.seen == 3 and count.total.tolist() == [[3, 3], [3, 3]]


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    """Trainings are killed at random moments, and resumed until they end with the same bits."""
    expected, dice, kills, logs = whole(), random.Random(8), 0, []
    while kills < 20:
        folder = tmp_path / str(len(logs))
        folder.mkdir()
        output = ""
        while not output:
            process = run("native", folder, 0.004)
            assert process.stdout.readline() == "ready\n"
            try:
                output, _ = process.communicate(timeout=dice.uniform(0, 0.05) if kills < 20 else 60)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                output, _ = process.communicate()  # it may have come to its end just before
                kills += not output
        assert output.strip() == expected and not list(folder.glob(".*.tmp"))
        lines = (folder / "log.csv").read_text().splitlines()
        logs.append([line.split(",")[:3] for line in lines])
    assert all(log == logs[0] for log in logs)


# --- What is refused ----------------------------------------------------------------------------------------------


def other(units=7, **settings):
    return fr.Trainer(fr.Sequential([fr.Dense(units), fr.Dense(2)]), **{"optimizer": fr.Adam(), **settings})


REFUSED = {
    "units": (lambda: other(8), {}, r"layer '0': got Dense\(.*units=8, .*expected Dense\(.*units=7, "),
    "late argument": (
        lambda: fr.Trainer(fr.Sequential([fr.Dense(7, non_negative=True), fr.Dense(2)]), optimizer=fr.Adam()),
        {},
        r"layer '0': got Dense\(.*non_negative=True, .*expected Dense\(.*non_negative=False, ",
    ),
    "layers": (lambda: fr.Trainer(fr.Sequential([fr.Dense(2)])), {}, r"layers: got \('0'\), expected \('0', '1'\)"),
    "optimizer": (lambda: other(optimizer=fr.SGD(0.1)), {}, r"optimizer: got SGD\(.*expected Adam\(lr=0\.001"),
    "lr": (lambda: other(optimizer=fr.Adam(0.002)), {}, r"optimizer: got Adam\(lr=0\.002.*expected Adam\(lr=0\.001"),
    "schedule": (lambda: other(optimizer=fr.Adam(fr.schedules.Step(1e-3, 2))), {}, r"optimizer: got Adam\(lr=Step"),
    "loss": (
        lambda: other(loss="sigmoid_cross_entropy"),
        {"y": np.eye(2)[Y]},
        r"loss: got SigmoidCrossEntropy\(.*\), e",
    ),
    "l2": (lambda: other(l2=0.1), {}, r"l2: got L2\(lam=0\.1"),
    "dtype": (lambda: other(dtype="float64"), {}, r"dtype: got 'float64', expected 'float32'"),
    "seed": (lambda: other(seed=1), {}, r"seed: got 1, expected 0"),
    "engine": (lambda: other(engine="reference"), {}, r"engine: got 'reference', expected 'native'"),
    "metrics": (lambda: other(metrics=()), {}, r"metrics: got \(\), expected \('accuracy'\)"),
    "rows": (None, {"X": X[:40], "y": Y[:40]}, r"rows: got 40, expected 50"),
    "columns": (None, {"X": X[:, :4]}, r"shape of a sample: got \(4\), expected \(5\)"),
    "weights": (None, {"sample_weight": np.ones(50)}, r"sample_weight: got True, expected False"),
    "batch_size": (None, {"batch_size": 25}, r"batch_size: got 25, expected 16"),
    "shuffle": (None, {"shuffle": False}, r"shuffle: got False, expected True"),
    "validation": (None, {"validation_data": VALIDATION}, r"history: got \('loss', .*'val_loss'"),
    "callback": (None, {"callbacks": []}, r"callbacks: got none, expected EarlyStopping\(monitor='loss', patience=3"),
    "patience": (None, {"callbacks": [fr.EarlyStopping("loss", 4)]}, r"callbacks: got EarlyStopping\(.*patience=4"),
    "epochs": (None, {"epochs": 1}, r"epochs: got 1, expected at least 2: .* has already run that many"),
    "resume": (None, {"resume": 3}, r"resume: got 3, expected the path of a file"),
    "resume ''": (None, {"resume": ""}, r"resume: got '', expected the path of a file"),
    "no file": (None, {"resume": "nowhere.safetensors"}, r"No such file.*nowhere\.safetensors"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_training_is_refused_before_anything_changes(path, case):
    make, changes, message = REFUSED[case]
    arguments = {"epochs": 2, "batch_size": 16, "callbacks": [fr.EarlyStopping("loss", 3)]}
    other().fit(X, Y, **arguments | {"callbacks": [*arguments["callbacks"], fr.Checkpoint(path)]})
    fresh = (make or other)()
    arguments |= {"X": X, "y": Y, "epochs": 4, "resume": path} | changes
    before = pickle.dumps(fresh)
    with pytest.raises((ValueError, TypeError, OSError), match=message) as error:
        fresh.fit(arguments.pop("X"), arguments.pop("y"), **arguments)
    assert "\n" not in str(error.value) and pickle.dumps(fresh) == before and not fresh.model.built


def test_a_refusal_leaves_a_trained_trainer_as_it_is(path):
    fit(trainer(), path, epochs=2)
    used = trainer()
    fit(used, epochs=1)
    before = pickle.dumps(used)
    with pytest.raises(ValueError, match="resume: callbacks: got none"):
        used.fit(X, Y, epochs=4, batch_size=16, resume=path, validation_data=VALIDATION)
    assert pickle.dumps(used) == before


def change(path, edit):
    tensors, metadata = read_tensors(path)
    edit(tensors, metadata)
    metadata.pop("fastreg.checksum", None)  # which would tell of the change
    write_tensors(path, tensors, metadata)


def count(name, value):
    """Damage: another counter in the header."""

    def edit(tensors, metadata):
        header = json.loads(metadata["fastreg.checkpoint"])
        assert type(header[name]) is int
        metadata["fastreg.checkpoint"] = json.dumps(header | {name: value})

    return edit


def told(name, value):
    """Damage: another number in the state of a callback."""

    def edit(tensors, metadata):
        assert tensors[f"checkpoint/callbacks/{name}"].shape == ()
        tensors[f"checkpoint/callbacks/{name}"] = np.array(value)

    return edit


DAMAGE = {
    "no state": lambda t, m: t.pop("checkpoint/state/1.weight/m"),
    "state of another shape": lambda t, m: t.update({"checkpoint/state/1.bias/m": np.zeros(3, np.float32)}),
    "state of another dtype": lambda t, m: t.update({"checkpoint/state/1.bias/m": np.zeros(9)}),
    "no history": lambda t, m: t.pop("checkpoint/history"),
    "short history": lambda t, m: t.update({"checkpoint/history": t["checkpoint/history"][:1]}),
    "float epochs": lambda t, m: t.update({"checkpoint/epochs": t["checkpoint/epochs"].astype(float)}),
    "unknown": lambda t, m: t.update({"checkpoint/more": np.zeros(1)}),
    "unknown parameter": lambda t, m: t.update({"2.weight": np.zeros(1)}),
    "no callback": lambda t, m: t.pop("checkpoint/callbacks/1/waited"),
    "an array for a number": lambda t, m: t.update({"checkpoint/callbacks/1/waited": np.zeros(2)}),
    "other best weights": lambda t, m: t.update({"checkpoint/callbacks/1/weights/1.bias": np.zeros(2)}),
    "no header": lambda t, m: m.update({"fastreg.checkpoint": ""}),
    "a list": lambda t, m: m.update({"fastreg.checkpoint": "[]"}),
    "a negative step": lambda t, m: m.update(
        {"fastreg.checkpoint": m["fastreg.checkpoint"].replace('"step": ', '"step": -')}
    ),
    **{
        f"{name} {exponent}": count(name, 2**exponent + less)
        for name in ("epoch", "step", "updates")
        for exponent, less in ((63, -1), (63, 0), (64, -1))
    },
    "an epoch that is not in the history": count("epoch", 7),
    "a history that leaves one out": lambda t, m: t.update({"checkpoint/epochs": np.array([0, 2, 2])}),
    "a history from before the start": lambda t, m: t.update({"checkpoint/epochs": np.array([-1, 0, 1])}),
    "no epoch": lambda t, m: (t.update({"checkpoint/epochs": np.zeros(0, int)}), count("epoch", 0)(t, m)),
    "more for a callback": lambda t, m: t.update({"checkpoint/callbacks/1/more": np.zeros(())}),
    "best weights that are not finite": lambda t, m: t["checkpoint/callbacks/1/weights/1.bias"].fill(np.nan),
    **{
        f"{name}={value}": told(name, value)
        for name, values in {
            "0/scale": (np.inf, np.nan, -1.0, 2.0, 0.3),  # factor is 0.5
            "0/mean": (np.inf, np.nan),
            "0/best": (np.inf, np.nan),
            "0/waited": (np.inf, 1e300, 2**63, -1, 1),  # patience is 0
            "0/cooling": (np.nan, 1, -(2**63), 1e300, True),
            "1/best": (np.inf, -np.inf, np.nan),
            "1/best_epoch": (-1, 3, 10**9, np.nan, 1.0),
            "1/best_updates": (-3, 13, 2**63, np.inf),  # three epochs of four steps
            "1/best_loss": (np.nan, np.inf),
            "1/waited": (np.inf, 1e300, -1, 4),
            "1/to_beat": (np.nan, np.inf, -np.inf, 0.0),  # below the best one
        }.items()
        for value in values
    },
    "a model": lambda t, m: (
        m.pop("fastreg.checkpoint"),
        [t.pop(n) for n in list(t) if n.startswith("checkpoint/")],
    ),
    "tensors": lambda t, m: m.clear(),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_checkpoint_is_refused(path, case):
    fit(trainer(), path, epochs=3)
    change(path, DAMAGE[case])
    used = trainer()
    fit(used, epochs=1)
    before = digest(used, fr.History())
    with pytest.raises(fr.FileFormatError, match=r"run\.safetensors: ") as error:
        fit(used, resume=path)
    assert "\n" not in str(error.value) and digest(used, fr.History()) == before


def test_nothing_is_loaded_where_one_callback_cannot_be(path):
    """A rule that is loaded already does not put the best weights of the checkpoint into the model."""

    class Picky(fr.Callback):
        loads = False

        def state_dict(self):
            return {"it": 1}

        def load_state_dict(self, state):
            raise OverflowError("no\nroom")

    def go(used, rule, **more):
        used.fit(X, Y, batch_size=16, callbacks=[rule, Picky(), *more.pop("callbacks", [])], **more)

    go(trainer(), fr.EarlyStopping("loss", 9), epochs=2, callbacks=[fr.Checkpoint(path)])
    used, rule = trainer(), fr.EarlyStopping("loss", 9)
    fit(used, epochs=1)
    before = digest(used, fr.History())
    with pytest.raises(fr.FileFormatError, match=r"run\.safetensors: the state of .*Picky.* cannot be read: no room"):
        go(used, rule, epochs=4, resume=path)
    assert digest(used, fr.History()) == before and rule.best_epoch is None


RULES = {
    "GL": (lambda: fr.stopping.GL(50, "loss"), {}),
    "PQ": (
        lambda: fr.stopping.PQ(9e9, 3, "loss"),
        {"epochs": (-1, 3, 1.0, np.inf), "sum": (np.nan, np.inf), "least": (np.inf, np.nan)},
    ),
    "UP": (
        lambda: fr.stopping.UP(4, 2, "loss"),
        {"epochs": (6, -1, np.nan), "rises": (2, -1, 1e9), "before": (np.nan, -np.inf)},
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_damaged_rules(path, case):
    """Each rule resumes from every epoch, but refuses states that it cannot have after five epochs."""
    make, damages = RULES[case]

    def go(epochs, **more):
        trained = trainer()
        return trained, trained.fit(X, Y, epochs=epochs, callbacks=[make(), fr.Checkpoint(path)], **more)

    expected = digest(*go(6))
    for epoch in range(1, 6):
        go(epoch)
        whole = path.read_bytes()
        assert digest(*go(6, resume=path)) == expected
    for name, values in damages.items():
        for value in values:
            path.write_bytes(whole)
            change(path, told(f"0/{name}", value))
            with pytest.raises(fr.FileFormatError, match=rf"run\.safetensors: the state of {case}.*: {name}: got "):
                go(6, resume=path)


def test_checkpoint_in_no_folder(tmp_path):
    for wrong in (tmp_path, tmp_path / "nowhere" / "run.safetensors"):
        fresh = trainer()
        with pytest.raises(ValueError, match=r"Checkpoint path: got '.*, expected a file"):
            fit(fresh, wrong)
        assert fresh.epoch == 0
