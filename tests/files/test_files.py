"""Safetensors files and the models in them: round trips, other readers, and how they are written."""

import errno
import os
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensor_files import TENSORS, small_model

import fastreg as fr
from fastreg.common import fileio, safetensors
from fastreg.common.fileio import atomic_write
from fastreg.model.files import read_tensors, write_tensors


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype.newbyteorder("=") and array.shape == other[name].shape
        np.testing.assert_array_equal(array, other[name])


# --- Round trips -----------------------------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    path = tmp_path / "a"
    metadata = {"made by": "hand", "é": '"\n'}
    write_tensors(path, TENSORS, metadata)
    tensors, read_metadata = read_tensors(path)
    assert_same(tensors, TENSORS)
    assert read_metadata == metadata
    assert all(array.dtype.isnative and array.flags.writeable for array in tensors.values())
    content = path.read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0
    write_tensors(path, tensors, metadata)
    assert path.read_bytes() == content


kinds = st.sampled_from(["?", "i1", "u2", "i4", "u8", "f2", "f4", "f8"])
any_array = kinds.flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
any_name = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")


@settings(max_examples=15)  # each waits for the disk
@given(st.dictionaries(any_name, any_array, max_size=5), st.dictionaries(any_name, st.text(max_size=9), max_size=3))
def test_any_tensors_come_back_to_the_bit(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    write_tensors(path, tensors, metadata)
    read, read_metadata = read_tensors(path)
    assert read.keys() == tensors.keys() and read_metadata == metadata
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()


def test_no_tensors_at_all(tmp_path):
    write_tensors(tmp_path / "a", {})
    assert read_tensors(tmp_path / "a") == ({}, {})


def test_the_safetensors_package_reads_ours(tmp_path):
    package = pytest.importorskip("safetensors")
    numpy = pytest.importorskip("safetensors.numpy")
    write_tensors(tmp_path / "a", TENSORS, {"key": "value"})
    assert_same(numpy.load_file(tmp_path / "a"), TENSORS)
    with package.safe_open(tmp_path / "a", "np") as file:
        assert file.metadata() == {"key": "value"}


def test_we_read_the_safetensors_package(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    tensors = {name: np.ascontiguousarray(array) for name, array in TENSORS.items() if name != "swapped"}
    numpy.save_file(tensors, tmp_path / "a", {"key": "value"})
    read, metadata = read_tensors(tmp_path / "a")
    assert_same(read, tensors)
    assert metadata == {"key": "value"}


def test_a_model_comes_back_as_it_was(tmp_path):
    X = np.random.default_rng(0).normal(size=(6, 4))
    model = small_model()
    model.output_transform = "softmax"
    model.save(tmp_path / "m.safetensors")
    again = fr.load(tmp_path / "m.safetensors")
    assert again.config() == model.config() and repr(again) == repr(model)
    assert_same(again.state_dict(), model.state_dict())
    model.engine = again.engine = "reference"
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_allclose(again.predict(X).sum(axis=1), 1, rtol=1e-6)


# --- Writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "tensors", "metadata"),
    [
        (TypeError, {"a": np.array([1j])}, {}),
        (TypeError, {"a": np.array(["text"])}, {}),
        (TypeError, {"a": np.array([None])}, {}),
        (TypeError, {3: np.zeros(1)}, {}),
        (TypeError, {}, {"a": 3}),
        (ValueError, {"__metadata__": np.zeros(1)}, {}),
        (ValueError, {"\ud800": np.zeros(1)}, {}),
        (ValueError, {}, {"a": "x" * safetensors.MAX_HEADER}),
    ],
)
def test_what_cannot_be_written(tmp_path, error, tensors, metadata):
    (tmp_path / "a").write_text("old")
    with pytest.raises(error):
        write_tensors(tmp_path / "a", tensors, metadata)
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_a_failed_write_leaves_no_trace(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(tmp_path / "a", TENSORS)
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    model, path = small_model(), tmp_path / "m.safetensors"
    monkeypatch.setattr(fileio.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/m\.safetensors'$") as error:
        model.save(path)
    assert error.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*/no/m\.safetensors'$"):
        model.save(tmp_path / "no" / "m.safetensors")


def test_a_log_on_a_disk_that_gets_full_names_the_file(tmp_path):
    class Full(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            log.unlink()
            log.symlink_to("/dev/full")

    log = tmp_path / "log.csv"
    if not os.path.exists("/dev/full"):
        pytest.skip("needs the device that is always full")
    with pytest.raises(OSError, match=r"No space left on device: '.*/log\.csv'$"):
        fr.Trainer(fr.Sequential([fr.Dense(3)])).fit(np.eye(3), np.arange(3), callbacks=[Full(), fr.CSVLogger(log)])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_and_left_alone(tmp_path):
    """A new file replaces what is at its path. With enough rights it would replace even a device."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"path: got '.*pipe', not a regular file, expected a file"):
        small_model().save(tmp_path / "pipe")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode) and os.listdir(tmp_path) == ["pipe"]


def test_a_written_file_has_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_tensors(tmp_path / "a", TENSORS)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)
