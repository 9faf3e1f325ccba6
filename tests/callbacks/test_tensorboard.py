"""TensorBoard: its own reader finds every value of the history."""

import subprocess
import sys

import numpy as np
import pytest

import fastreg as fr

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

X, Y = np.eye(3).repeat(8, axis=0), np.arange(3).repeat(8)


def trainer(**how):
    return fr.Trainer(fr.Sequential([fr.Dense(4, "relu"), fr.Dense(3)]), optimizer=fr.SGD(0.1), **how)


def read(folder):
    found = accumulator.EventAccumulator(str(folder), {accumulator.HISTOGRAMS: 0, accumulator.SCALARS: 0})
    return found.Reload()


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    found = read(folder)
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def same(found, history):
    assert found.keys() == set(history)
    for name, events in found.items():
        assert [step for step, _ in events] == history.epochs
        np.testing.assert_array_equal([value for _, value in events], np.float32(history[name]))


def test_all_values_of_the_history_are_there(tmp_path):
    history = trainer().fit(X, Y, epochs=4, validation_data=(X, Y), callbacks=[fr.TensorBoard(tmp_path / "a" / "b")])
    same(scalars(tmp_path / "a" / "b"), history)
    assert {"lr", "val_accuracy", "seconds"} < set(history)


def test_further_fits_add_and_another_trainer_begins_afresh(tmp_path):
    own, board = trainer(), fr.TensorBoard(tmp_path)
    for _ in range(2):
        own.fit(X, Y, epochs=2, callbacks=board)
    assert len(list(tmp_path.iterdir())) == 1
    same(scalars(tmp_path), own.history)
    other = trainer(seed=5)
    other.fit(X, Y, epochs=3, callbacks=fr.TensorBoard(tmp_path))
    same(scalars(tmp_path), other.history)


def test_a_resumed_fit_goes_on_after_the_checkpoint(tmp_path):
    path, board = tmp_path / "run.safetensors", tmp_path / "board"
    trainer().fit(X, Y, epochs=2, callbacks=[fr.Checkpoint(path)])
    trainer().fit(X, Y, epochs=6, callbacks=[fr.TensorBoard(board)])  # of which the last epochs are lost
    resumed = trainer()
    resumed.fit(X, Y, epochs=4, resume=path, callbacks=[fr.TensorBoard(board)])
    found = scalars(board)
    assert [step for step, _ in found["loss"]] == [0, 1, 2, 3]
    np.testing.assert_array_equal([value for _, value in found["loss"]], np.float32(resumed.history["loss"]))


def test_histograms_of_the_weights(tmp_path):
    own = trainer()
    own.fit(X, Y, epochs=4, callbacks=f"tensorboard('{tmp_path}', histograms=2)")
    found = read(tmp_path)
    assert set(found.Tags()["histograms"]) == {f"weights/{name}" for name in own.model.parameters}
    first, last = found.Histograms("weights/0.weight")
    weight = own.model.parameters["0.weight"].astype(np.float64)
    told = last.histogram_value
    assert (first.step, last.step) == (1, 3) and told.num == weight.size == sum(told.bucket)
    np.testing.assert_allclose([told.min, told.max, told.sum, told.sum_squares],
                               [weight.min(), weight.max(), weight.sum(), (weight**2).sum()])  # fmt: skip
    below = [np.sum(weight <= limit) for limit in told.bucket_limit]
    np.testing.assert_array_equal(np.cumsum(told.bucket)[:-1], below[:-1])


def test_what_a_callback_adds_is_written_too(tmp_path):
    class Adds(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["gain"], logs["text"] = 2.0 * epoch, "no number"

    trainer().fit(X, Y, epochs=2, callbacks=[fr.TensorBoard(tmp_path), Adds()])
    assert scalars(tmp_path)["gain"] == [(0, 0.0), (1, 2.0)] and "text" not in scalars(tmp_path)


def test_refuses(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"TensorBoard log_dir: got '.*inner', expected a folder; .*file is a file"):
        trainer().fit(X, Y, callbacks=fr.TensorBoard(tmp_path / "file" / "inner"))
    with pytest.raises(ValueError, match="histograms: got -1, expected an integer of at least 0"):
        fr.TensorBoard(tmp_path, histograms=-1)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    for name in ("tensorboard.compat.proto", "tensorboard.summary.writer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "fastreg\[tensorboard\]"'):
        trainer().fit(X, Y, callbacks=fr.TensorBoard(tmp_path))


def test_it_needs_neither_tensorflow_nor_pytorch(tmp_path):
    script = (
        "import sys, numpy as np, fastreg as fr; "
        "fr.Trainer(fr.Sequential([fr.Dense(2)])).fit(np.eye(2), [0, 1], callbacks=fr.TensorBoard(sys.argv[1])); "
        "print(sorted({'tensorflow', 'torch'} & {*sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]" and list(tmp_path.iterdir())
