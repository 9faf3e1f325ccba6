"""What callbacks watch: any column of the history, in the right direction, and what is said of one that is not."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.metrics.registry import largest_is_best

X = np.random.default_rng(0).normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(int)


def fit(callbacks, *, held_back=True, epochs=3, metrics=("accuracy",), **more):
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(0.1), metrics=metrics)
    more |= {"validation_data": (X, Y)} if held_back else {}
    return trainer.fit(X, Y, epochs=epochs, callbacks=callbacks, **more)


class Add(fr.Callback):
    def __init__(self, **curves):
        self.curves = curves

    def on_epoch_end(self, epoch, logs):
        logs.update({name: curve[epoch] for name, curve in self.curves.items()})


class Mark(fr.Callback):
    """Marks the weights with the epoch."""

    def on_epoch_end(self, epoch, logs):
        self.model.parameters["0.bias"][...] = epoch


LARGEST = ("val_accuracy", "acc", "val_f1", "dev_roc_auc", "val_auc", "r2", "test_top_5_accuracy", "precision_macro",
           "val_balanced_accuracy", "a_score", "my_val_recall")  # fmt: skip
SMALLEST = (
    "loss",
    "val_loss",
    "dev_set_loss",
    "val_rmse",
    "mae",
    "val_log_loss",
    "val_max_error",
    "penalty",
    "some_error",
)


def test_the_direction_by_name():
    assert [largest_is_best(name) for name in LARGEST] == [True] * len(LARGEST)
    assert [largest_is_best(name) for name in SMALLEST] == [False] * len(SMALLEST)
    assert largest_is_best("val_gain") is largest_is_best("") is None


CURVE = [0.3, 0.9, 0.5]


@pytest.mark.parametrize("name", ["val_f1", "val_rmse"])
def test_every_watcher_takes_the_right_direction(tmp_path, name):
    best = int(np.argmax(CURVE) if name == "val_f1" else np.argmin(CURVE))
    stopping = fr.EarlyStopping(name, patience=9)
    checkpoint = fr.Checkpoint(tmp_path / "run.safetensors", save_best=True, monitor=name)
    plateau = fr.ReduceOnPlateau(name, smoothing=0)
    fit([Add(**{name: CURVE}), Mark(), stopping, plateau, checkpoint])
    assert (stopping.best_epoch, stopping.best, plateau.best) == (best, CURVE[best], CURVE[best])
    assert fr.load(tmp_path / "run.best.safetensors").state_dict()["0.bias"][0] == best


def test_early_stopping_on_a_metric():
    stopping = fr.EarlyStopping("val_roc_auc", patience=2)
    history = fit(stopping, epochs=9, metrics=("roc_auc",))
    assert stopping.best == max(history["val_roc_auc"])


def test_a_name_that_says_nothing_needs_a_mode():
    gain = ("gain", lambda y, p: float(p[:, 1].mean()))
    for watcher in (fr.EarlyStopping("val_gain"), fr.ReduceOnPlateau("val_gain")):
        with pytest.raises(ValueError, match=r"mode: got 'auto' for the monitor 'val_gain', expected 'min' or 'max'"):
            fit(watcher, metrics=(gain,))
    stopping = fr.EarlyStopping("val_gain", mode="max", patience=9)
    history = fit(stopping, metrics=(gain,))
    assert stopping.best == max(history["val_gain"])
    fit(fr.stopping.GL(900, "val_gain"), metrics=(gain,))  # these rules take errors alone


@pytest.mark.parametrize("rule", [fr.stopping.GL, fr.stopping.PQ, fr.stopping.UP])
def test_rules_for_errors_refuse_what_should_grow(rule):
    with pytest.raises(ValueError, match="monitor: got 'val_f1', expected an error"):
        rule(2, monitor="val_f1")


def test_a_callback_before_may_add_what_is_watched():
    stopping = fr.EarlyStopping("val_gain", mode="max", patience=1)
    history = fit([Add(val_gain=[1.0, 2.0, 1.5]), stopping])
    assert (stopping.best_epoch, history["val_gain"]) == (1, [1.0, 2.0, 1.5])


def test_a_callback_that_never_adds_it_ends_the_fit_after_an_epoch():
    with pytest.raises(
        ValueError, match=r"EarlyStopping monitor: got 'val_gain', expected .*: no callback before it has"
    ):
        fit([Add(other=[1.0, 2.0, 3.0]), fr.EarlyStopping("val_gain", mode="max")])


def test_a_callback_behind_cannot_add_it():
    with pytest.raises(ValueError, match=r"EarlyStopping monitor: got 'val_gain', expected one of loss"):
        fit([fr.EarlyStopping("val_gain", mode="max"), Add(val_gain=[1.0])])
    with pytest.raises(ValueError, match=r"EarlyStopping monitor: got 'val_gain', expected one of loss"):
        fit([fr.ReduceOnPlateau("loss"), fr.EarlyStopping("val_gain", mode="max")])  # the library's own add nothing


ADVICE = {  # monitor, with held-back data or without: the end of the message
    ("val_acc", True): "; the nearest is 'val_accuracy'",
    ("val_acc", False): r"\(give validation_data, or an estimator X_val and y_val\)",
    ("validation_loss", True): "; the nearest is 'val_loss'",
    ("valid_categorical_accuracy", True): "; the nearest is 'val_accuracy'",
    ("acc", False): "; the nearest is 'accuracy'",
    ("train_loss", False): "; the nearest is 'loss'",
    ("learning_rate", True): "; the nearest is 'lr'",
    ("val_f1", True): r"\(give the trainer metrics=\('f1',\)\)",
    (
        "val_auc",
        False,
    ): r"\(give validation_data, or .*y_val, and give the trainer metrics=\('roc_auc',\)\)",
    ("f1", True): r"\(give the trainer metrics=\('f1',\), and watch 'val_f1'\)",
    ("val_rmse", True): "val_accuracy",  # not for this loss: no advice
    ("val_los", True): "; the nearest is 'val_loss'",
}


@pytest.mark.parametrize(("monitor", "held_back"), ADVICE)
def test_advice(monitor, held_back):
    message = rf"EarlyStopping monitor: got '{monitor}', expected one of loss, .*{ADVICE[monitor, held_back]}$"
    with pytest.raises(ValueError, match=message):
        fit(fr.EarlyStopping(monitor, mode="min"), held_back=held_back)


@pytest.mark.parametrize("verbose", [2, True])
def test_verbose(capsys, verbose):
    fit((), verbose=verbose, metrics=("f1",))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[2].startswith("epoch 3/3  loss ") and "  val_f1 " in lines[2]


def test_verbose_2_writes_whole_lines_on_a_terminal(monkeypatch):
    import io
    import sys

    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", out)
    fit((), verbose=2)
    assert out.getvalue().count("\n") == 3 and "\r" not in out.getvalue() and "[" not in out.getvalue()


def test_progress_leaves_out_what_is_no_number(capsys):
    fit([Add(note=["a", "b", "c"]), fr.Progress()])
    assert "note" not in capsys.readouterr().out


def test_one_callback_needs_no_list():
    history = fit(fr.EarlyStopping("loss", patience=9))
    assert history.epochs == fit("early_stopping('loss', 9)").epochs == [0, 1, 2]
