"""The checksum of model files and checkpoints."""

import json

import numpy as np
import pytest
from tensor_files import small_model

import fastreg as fr
from fastreg.common import checksum
from fastreg.model.files import read_tensors, write_tensors

X, Y = np.random.default_rng(0).standard_normal((24, 6)), np.arange(24) % 3


def trainer():
    return fr.Trainer(fr.Sequential([fr.Dense(16, "relu"), fr.Dense(3)]), optimizer=fr.Adam(0.01))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.safetensors"
    trainer().fit(X, Y, epochs=3, callbacks=[fr.Checkpoint(path)])
    return path


def start_of_tensors(content):
    return 8 + int.from_bytes(content[:8], "little")


def test_a_file_whose_tail_is_zeroed_is_refused(path):
    """As a disk that lost power leaves it: any number of bytes, at least some of which were not 0."""
    content = path.read_bytes()
    begin, refused = start_of_tensors(content), 0
    for size in range(1, len(content) - begin, 37):
        tail = content[-size:]
        path.write_bytes(content[:-size] + bytes(size))
        if not any(tail):
            fr.load(path)
            continue
        refused += 1
        with pytest.raises(fr.FileFormatError, match=r"run\.safetensors: its checksum is crc32:[0-9a-f]{8}, expected"):
            fr.load(path)
        own = trainer()
        own.fit(X, Y, epochs=1)
        before = own.model.state_dict(), own.epoch, own.batches
        if refused % 10 == 1:
            with pytest.raises(fr.FileFormatError, match="its checksum is"):
                own.fit(X, Y, epochs=9, resume=path)
            assert all(np.array_equal(before[0][name], value) for name, value in own.model.state_dict().items())
            assert before[1:] == (own.epoch, own.batches)
    assert refused > 50


def test_every_bit_of_values_counts(path):
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for _ in range(40):
        place, bit = random.integers(start_of_tensors(content), len(content)), random.integers(8)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        with pytest.raises(fr.FileFormatError, match="its checksum is"):
            fr.load(path)
        content[place] ^= 1 << bit
    path.write_bytes(content)
    fr.load(path)


def test_a_word_of_the_config_counts(path):
    content = path.read_bytes()
    assert content.count(b"glorot_uniform") or content.count(b"relu")
    path.write_bytes(content.replace(b'\\"relu\\"', b'\\"tanh\\"'))
    with pytest.raises(fr.FileFormatError, match="its checksum is"):
        fr.load(path)


def test_files_without_a_checksum_load(path):
    """Those of older versions, and those that other programs write."""
    expected = fr.load(path).predict(X)
    tensors, metadata = read_tensors(path)
    assert metadata.pop(checksum.KEY).startswith("crc32:")
    write_tensors(path, tensors, metadata)
    np.testing.assert_array_equal(fr.load(path).predict(X), expected)
    assert trainer().fit(X, Y, epochs=4, resume=path).epochs == [0, 1, 2, 3]


def test_a_file_that_is_made_by_hand_loads(tmp_path):
    model = small_model()
    entries, data = {"__metadata__": model.metadata()}, b""
    for name, value in model.state_dict().items():
        size = len(data)
        data += value.astype("<f4").tobytes()
        entries[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [size, len(data)]}
    header = json.dumps(entries).encode()
    (tmp_path / "m").write_bytes(len(header).to_bytes(8, "little") + header + data)
    again = fr.load(tmp_path / "m")
    assert all(np.array_equal(again.state_dict()[name], value) for name, value in model.state_dict().items())


def test_another_program_may_write_the_contents_again(tmp_path, path):
    """The order of tensors and of metadata does not count."""
    tensors, metadata = read_tensors(path)
    write_tensors(path, dict(sorted(tensors.items(), reverse=True)), dict(sorted(metadata.items(), reverse=True)))
    expected = fr.load(path).predict(X)
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(tensors, tmp_path / "again", metadata)
    np.testing.assert_array_equal(fr.load(tmp_path / "again").predict(X), expected)


def test_a_damaged_best_checkpoint_is_replaced(path):
    """It cannot be better than anything."""
    best = path.with_name("run.best.safetensors")
    first = trainer()
    first.fit(X, Y, epochs=2, callbacks=[fr.Checkpoint(path, save_best=True, monitor="loss")])
    content = best.read_bytes()
    best.write_bytes(content[:-64] + bytes(64))
    first.fit(X, Y, epochs=1, callbacks=[fr.Checkpoint(path, save_best=True, monitor="loss")])
    fr.load(best)


def test_how_the_checksum_is_made():
    """The value of zlib's CRC-32 over names, dtypes, shapes and little-endian values, in the order of names."""
    import zlib

    parts = b"k\0v\0" + b"a\0<i2 (2,)\0" + b"\1\0\2\0" + b"b\0<f8 ()\0" + np.array(0.5).astype("<f8").tobytes()
    tensors = {"b": np.array(0.5, ">f8"), "a": np.array([1, 7, 2], np.int16)[::2]}
    assert checksum.added(tensors, {"k": "v"})[checksum.KEY] == f"crc32:{zlib.crc32(parts):08x}"
