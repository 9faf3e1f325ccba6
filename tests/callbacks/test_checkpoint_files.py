"""The files of checkpoints: what a failed write leaves, which ones are kept, and that they are models."""

import os
import subprocess

import numpy as np
import pytest
import resumable
from resumable import digest, fit, measuring, run, trainer, whole
from trainers import same

import fastreg as fr
from fastreg.common import fileio
from fastreg.common.safetensors import read_tensors
from fastreg.common.temporary import temporary_name
from fastreg.engines.arena import Arena

X, Y, VALIDATION = resumable.data()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


# --- When writing fails -------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_checkpoint_before(path, monkeypatch):
    class Full(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 2:
                monkeypatch.setattr(fileio.os, "fsync", full)

    def full(_):
        raise OSError(28, "No space left on device")

    trained = trainer()
    with pytest.raises(OSError, match=r"No space left .*those before are intact: '.*run\.safetensors'") as error:
        fit(trained, path, more=[Full()])
    monkeypatch.undo()
    assert "\n" not in str(error.value) and os.listdir(path.parent) == [path.name] and trained.epoch == 3
    again = trainer()
    assert digest(again, fit(again, path, resume=path)) == whole()
    assert np.isfinite(trained.predict(X)).all()


def test_a_file_that_may_not_grow(path, tmp_path):
    """In another process, the system's limit on file sizes stops the write in the middle."""
    resource = pytest.importorskip("resource")
    fit(trainer(), path, epochs=2, keep=3, save_best=True)
    before, limit = path.read_bytes(), path.stat().st_size // 2
    process = run(
        "native", tmp_path, 0, stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "no checkpoint is written, those before are intact" in errors
    assert path.read_bytes() == before and not list(tmp_path.glob(".*.tmp"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(path):
    os.chmod(path.parent, 0o500)
    try:
        with pytest.raises(PermissionError, match="no checkpoint is written"):
            fit(trainer(), path)
    finally:
        os.chmod(path.parent, 0o700)


# --- Which files --------------------------------------------------------------------------------------------------


def names(path):
    return sorted(os.listdir(path.parent))


def epoch_of(path):
    return int(read_tensors(path)[0]["checkpoint/epochs"][-1]) + 1


def plain(path, epochs, resume=None, **settings):
    trained = trainer()
    trained.fit(X, Y, epochs=epochs, callbacks=[fr.Checkpoint(path, **settings)], resume=resume)
    return trained


def test_only_the_newest_is_kept(path):
    plain(path, 3)
    assert names(path) == ["run.safetensors"] and epoch_of(path) == 3


def test_the_last_three_are_kept(path):
    plain(path, 5, keep=3)
    assert names(path) == ["run.3.safetensors", "run.4.safetensors", "run.safetensors"]
    assert [epoch_of(path.parent / name) for name in names(path)] == [3, 4, 5]
    (path.parent / "run.9.safetensors").touch()  # of another training
    plain(path, 7, resume=path, keep=3)
    assert names(path) == ["run.5.safetensors", "run.6.safetensors", "run.9.safetensors", "run.safetensors"]
    plain(path, 6, resume=path.parent / "run.5.safetensors")
    assert epoch_of(path) == 6


def test_a_resumed_fit_removes_no_file_that_it_has_not_written(path):
    plain(path, 4, keep=3)
    folder = path.parent
    (folder / "run.0.safetensors").write_bytes((folder / "run.2.safetensors").read_bytes())  # a copy of somebody's
    plain(folder / "other.safetensors", 1)  # has seconds of its own
    os.replace(folder / "other.safetensors", folder / "run.1.safetensors")
    (folder / "run.02.safetensors").write_bytes((folder / "run.2.safetensors").read_bytes())
    (folder / "run.2.safetensors").write_bytes(b"notes")
    plain(path, 7, resume=path, keep=3)
    kept = [f"run.{mark}.safetensors" for mark in ("0", "02", "1", "2", "5", "6")]
    assert names(path) == [*kept, "run.safetensors"]


def test_every_third_epoch_and_the_last(path):
    plain(path, 7, every=3, keep=9)
    assert names(path) == ["run.3.safetensors", "run.6.safetensors", "run.safetensors"] and epoch_of(path) == 7


def test_the_best_is_kept_too(path):
    best = path.parent / "run.best.safetensors"

    def go(epochs, resume=None):
        checkpoint = fr.Checkpoint(path, every=3, save_best=True, monitor="val_accuracy")
        trained = measuring([0.5, 0.7, 0.6, np.nan, 0.8, 0.7, 0.75])
        trained.fit(X, Y, epochs=epochs, validation_data=VALIDATION, callbacks=[checkpoint], resume=resume)

    go(4)
    assert epoch_of(best) == 2 and epoch_of(path) == 4
    go(5, path)
    assert epoch_of(best) == 5 == epoch_of(path)
    go(7, path)
    assert epoch_of(best) == 5 and epoch_of(path) == 7


def test_a_checkpoint_is_a_model(path):
    trained = plain(path, 2)
    assert same(fr.load(path).state_dict(), trained.model.state_dict())
    np.testing.assert_array_equal(fr.load(path).predict(X), trained.predict(X))


def test_leftovers_of_a_kill_are_removed(path):
    left, best, log = (temporary_name(path.parent / name) for name in (path.name, "run.best.safetensors", "log.csv"))
    kept = temporary_name(path.parent / "other.safetensors")
    for file in (left, best, log, kept):
        file.touch()
    fr.Trainer(fr.Sequential([fr.Dense(3)])).fit(
        X, Y, callbacks=[fr.Checkpoint(path), fr.CSVLogger(log.parent / "log.csv")]
    )
    assert not left.exists() and not best.exists() and not log.exists() and kept.exists()


@pytest.mark.parametrize(
    ("more", "mark"), [({}, ""), ({"save_best": True, "monitor": "loss"}, ".best"), ({"keep": 2}, ".12")]
)
def test_names_of_any_length_work_or_are_refused_before_training(tmp_path, more, mark):
    def fit(letters, epochs):
        trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]))
        trainer.fit(X, Y, epochs=epochs, callbacks=[fr.Checkpoint(tmp_path / ("n" * letters), **more)])

    longest = 255 - len(mark)
    with pytest.raises(ValueError, match=r"path: got a name of 256 bytes in a path of .*, expected a shorter one"):
        fit(longest + 1, 12)
    assert os.listdir(tmp_path) == []
    fit(longest, 12)
    assert "n" * longest in os.listdir(tmp_path) and not list(tmp_path.glob(".*"))


def test_links_are_atomic_and_copies_stand_in_where_links_are_not_possible(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    for _ in range(2):
        fileio.atomic_link(one, two)
        assert two.samefile(one)

    def none(*_):
        raise PermissionError

    two.unlink()
    monkeypatch.setattr(fileio.os, "link", none)
    fileio.atomic_link(one, two)
    assert two.read_text() == "1" and not two.samefile(one) and sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_a_resume_that_fails_half_way_changes_nothing(path, monkeypatch):
    plain(path, 3)
    own = trainer()
    own.fit(X, Y, epochs=1)
    pairs, state = Arena.pairs, own.model.state_dict()
    slots = {name: slot.copy() for name, slot in own.optimizer_state.items()}
    facts = own.epoch, own.batches, own.updates, own.history

    def full(arena, values):
        if arena is own.model._arena:
            raise MemoryError
        return pairs(arena, values)

    monkeypatch.setattr(Arena, "pairs", full)
    with pytest.raises(MemoryError):
        own.fit(X, Y, epochs=9, callbacks=[fr.Checkpoint(path)], resume=path)
    assert same(own.model.state_dict(), state) and same(dict(own.optimizer_state), slots)
    assert (own.epoch, own.batches, own.updates, own.history) == facts
