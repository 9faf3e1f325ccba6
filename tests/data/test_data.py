"""Readers of data files, built-in sets, splitting."""

import contextlib
import gzip
import hashlib
import io
import os
import struct
import sys
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastreg import data
from fastreg.data.split import cut
from fastreg.model.files import FileFormatError

MNIST = Path(os.environ.get("FASTREG_DATA", Path(__file__).parents[2] / "../shared/data")) / "mnist"
IDX_CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx(array, code=None):
    header = struct.pack(">HBB", 0, code or IDX_CODES[array.dtype.str.lstrip("|")], array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


# IDX


@pytest.mark.parametrize("dtype", IDX_CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 4)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_idx_round_trip(tmp_path, dtype, shape, pack):
    array = (np.arange(np.prod(shape)) - 3).astype(dtype).reshape(shape)
    path = tmp_path / "a"
    path.write_bytes(pack(idx(array)))
    result = data.read_idx(path)
    np.testing.assert_array_equal(result, array)
    assert result.dtype == array.dtype.newbyteorder("=") and result.dtype.isnative


GOOD = idx(np.arange(6, dtype="u1").reshape(2, 3))
BAD_IDX = {
    "empty": b"",
    "short magic": GOOD[:3],
    "short sizes": GOOD[:10],
    "short values": GOOD[:-1],
    "trailing byte": GOOD + b"\0",
    "not zero": b"\0\1" + GOOD[2:],
    "dtype": GOOD[:2] + b"\x0a" + GOOD[3:],
    "no dimensions": b"\0\0\x08\0" + b"a",
    "255 dimensions": b"\0\0\x08\xff" + b"\1" * 255 * 4,
    "huge shape": b"\0\0\x08\x04" + b"\xff" * 16,
    "huge empty shape": b"\0\0\x08\x04" + b"\xff" * 12 + b"\0" * 4,
    "gz cut": gzip.compress(GOOD)[:-9],
    "gz check sum": gzip.compress(GOOD)[:-8] + b"\0" * 8,
    "gz garbage": b"\x1f\x8b" + b"\xff" * 20,
    "gz trailing": gzip.compress(GOOD) + b"garbage",
    "gz huge shape": gzip.compress(b"\0\0\x08\x02" + b"\xff" * 8 + b"\0" * 1000),
}


@pytest.mark.parametrize("content", BAD_IDX.values(), ids=BAD_IDX)
def test_bad_idx(tmp_path, content):
    path = tmp_path / "bad-file"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"bad-file: [^\n]+\Z"):
        data.read_idx(path)


def write_folder(folder, names, n=(6, 4)):
    for name, count in zip(names, (n[0], n[0], n[1], n[1]), strict=True):
        shape = (count, 2, 3) if "images" in name else (count,)
        content = idx(np.arange(np.prod(shape), dtype="u1").reshape(shape))
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


FOLDERS = [
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
    ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"],
    ["train-images.idx3-ubyte", "train-labels.idx1-ubyte", "test-images.idx3-ubyte", "test-labels.idx1-ubyte"],
]


@pytest.mark.parametrize("names", FOLDERS)
def test_idx_folder(tmp_path, names):
    write_folder(tmp_path, names)
    for (X, y), (X_test, y_test) in (data.load_idx_folder(tmp_path), data.read(tmp_path)):
        assert X.shape == (6, 2, 3) and y.shape == (6,) and X_test.shape == (4, 2, 3) and y_test.shape == (4,)


def test_idx_folder_errors(tmp_path):
    write_folder(tmp_path, FOLDERS[0])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, "u1")))
    with pytest.raises(FileFormatError, match="do not belong together"):
        data.load_idx_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="no train-labels-idx1-ubyte"):
        data.load_idx_folder(tmp_path)


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST at {MNIST}; FASTREG_DATA names the folder that holds mnist/")
def test_mnist():
    (X, y), (X_test, y_test) = data.load_idx_folder(MNIST)
    assert X.shape == (60_000, 28, 28) and X_test.shape == (10_000, 28, 28) and X.dtype == np.uint8
    assert np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(y_test) == 10_000
    for file, md5 in (("train", "6bbc9ace898e44ae57da46a324031adb"), ("t10k", "2646ac647ad5339dbf082846283269ea")):
        with gzip.open(MNIST / f"{file}-images-idx3-ubyte.gz") as unpacked:
            assert hashlib.md5(unpacked.read()).hexdigest() == md5


# .npz, .npy


def test_read_npz(tmp_path):
    X, y = np.arange(12.0).reshape(4, 3).T, np.arange(3)
    np.savez_compressed(tmp_path / "a.npz", X=X, y=y)
    [(X_read, y_read)] = data.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(X_read, X)
    np.testing.assert_array_equal(y_read, y)
    np.savez(tmp_path / "mnist", x_train=X, y_train=y, x_test=X[:1], y_test=y[:1])  # as Keras names them
    assert [(len(X), len(y)) for X, y in data.read(tmp_path / "mnist.npz")] == [(3, 3), (1, 1)]


def npy(array, header=None):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    content = stream.getvalue()
    if header:
        text = header.encode().ljust(64)
        content = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + array.tobytes()
    return content


def npz(*members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


OBJECTS = np.array([print, 1], dtype=object)
NPZ = npz(("X.npy", npy(np.arange(3))))
BAD_NPZ = {
    "no arrays we know": npz(("z.npy", npy(np.arange(3)))),
    "objects": npz(("X.npy", npy(OBJECTS))),
    "huge shape": npz(
        ("X.npy", npy(np.zeros(1), "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}"))
    ),
    "negative shape": npz(("X.npy", npy(np.zeros(1), "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}"))),
    "not .npy": npz(("X.npy", b"hello")),
    "odd header": npz(("X.npy", npy(np.zeros(1), "{[]: 1}"))),
    "unequal": npz(("X.npy", npy(np.arange(3))), ("y.npy", npy(np.arange(4)))),
    "twice": npz(("X.npy", npy(np.arange(3))), ("X", npy(np.arange(3)))),
    "bz2": npz(("X.npy", npy(np.arange(3))), compression=zipfile.ZIP_BZIP2),
    "cut": NPZ[:-10],
    "only the magic": b"PK\3\4",
}


@pytest.mark.parametrize("content", BAD_NPZ.values(), ids=BAD_NPZ)
def test_bad_npz(tmp_path, content):
    path = tmp_path / "bad-file"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"bad-file: [^\n]+\Z"):
        data.read(path)


@pytest.mark.parametrize("name", ["a.csv.gz", "a-idx1-ubyte.gz"])
def test_an_unpacker_that_finds_no_memory_tells_no_damaged_file(tmp_path, monkeypatch, name):
    """zlib tells it as its error -4. What is wrong with the file is told as before."""
    text = b"a,b\n1,2\n" if "csv" in name else idx(np.arange(6, dtype="u1"))
    (tmp_path / name).write_bytes(gzip.compress(text))
    for error, expected in (("Error -4 while", MemoryError), ("Error -3 while", FileFormatError)):

        def fails(*_, error=error):
            raise zlib.error(f"{error} decompressing data")

        with monkeypatch.context() as patched, pytest.raises(expected, match=error):
            patched.setattr(gzip.GzipFile, "read", fails)
            patched.setattr(gzip.GzipFile, "readinto", fails)
            data.read(tmp_path / name)


def test_a_lock_that_finds_no_memory_is_no_damaged_file(tmp_path, monkeypatch):
    """Python tells it as a RuntimeError."""
    np.savez(tmp_path / "a.npz", X=np.eye(3))

    def fails(file):
        raise RuntimeError("can't allocate lock")

    with monkeypatch.context() as patched:
        patched.setattr(zipfile, "ZipFile", fails)  # which makes one
        with pytest.raises(MemoryError, match="can't allocate lock"):
            data.read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.read_npz(tmp_path / "a.npz")["X"], np.eye(3))


def test_mutated_npz(tmp_path):
    random = np.random.default_rng(1)
    good = np.frombuffer(npz(("X.npy", npy(np.arange(6))), compression=zipfile.ZIP_DEFLATED), np.uint8)
    path = tmp_path / "a.npz"
    for _ in range(500):
        bad = good.copy()
        bad[random.integers(len(bad), size=random.integers(1, 4))] = random.integers(256, dtype=np.uint8)
        path.write_bytes(bad[: random.integers(len(bad) // 2, 2 * len(bad))].tobytes())
        with contextlib.suppress(FileFormatError, OSError):
            data.read_npz(path)


BAD_NPY = {
    "trailing bytes": npy(np.arange(3)) + b"x",
    "no bytes": npy(np.zeros(0), "{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}"),
    "too large": npy(np.zeros(1), "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9)}"),
    "negative": npy(np.zeros(1), "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}"),
    "objects": npy(OBJECTS),
    "code": npy(np.zeros(1), "__import__('os')"),
    "half a header": npy(np.zeros(1))[:20],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", BAD_NPY)
def test_bad_npy(tmp_path, case):
    path = tmp_path / "X.npy"
    path.write_bytes(BAD_NPY[case])
    with pytest.raises(FileFormatError) as error:
        data.read_npy(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0), (3, 2)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_shape(tmp_path, shape, order):
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape), order=order)
    np.save(tmp_path / "X.npy", array)
    read = data.read_npy(tmp_path / "X.npy")
    assert isinstance(read, np.memmap) and read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_npy_is_mapped(tmp_path):
    np.save(tmp_path / "X.npy", np.arange(6).reshape(3, 2))
    np.save(tmp_path / "y.npy", np.arange(3))
    [(X, y)] = data.read(tmp_path)
    assert isinstance(X, np.memmap) and not X.flags.writeable and len(y) == 3
    [(X, y)] = data.read(tmp_path / "X.npy")
    assert isinstance(X, np.memmap) and y is None
    (tmp_path / "X.npy").write_bytes((tmp_path / "X.npy").read_bytes()[:-1])
    with pytest.raises(FileFormatError, match=r"X\.npy: the array does not have the bytes of its shape \(3, 2\)"):
        data.read_npy(tmp_path / "X.npy")
    (tmp_path / "X.npy").write_bytes(npy(OBJECTS))
    with pytest.raises(FileFormatError):
        data.read_npy(tmp_path / "X.npy")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0\0", b"\0\0", b"\x89PNG\r\n\x1a\n"])
def test_unknown_files(tmp_path, content):
    (tmp_path / "bad-file").write_bytes(content)
    with pytest.raises(FileFormatError, match="bad-file: "):
        data.read(tmp_path / "bad-file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for reader in (data.read, data.read_idx, data.read_npz, data.read_csv):
        with pytest.raises(FileFormatError, match="not a regular file"):
            reader(tmp_path / "pipe")


# built-in sets


def test_builtin():
    X, y = data.load("curve")
    assert X.shape == y.shape == (10_000, 1) and y.std() > 0.5
    X, y = data.load("moons")
    assert X.shape == (2000, 2) and np.bincount(y).tolist() == [1000, 1000]
    np.testing.assert_array_equal(data.load("moons", seed=3)[0], data.load("moons", seed=3)[0])
    assert not np.array_equal(data.load("moons", seed=3)[0], X)
    with pytest.raises(ValueError, match=r"name: got 'iris', expected one of digits, "):
        data.load("iris")


def test_builtin_of_sklearn():
    pytest.importorskip("sklearn")
    X, y = data.load("digits")
    assert (
        X.shape == (1797, 64) and X.dtype == np.float32 and X.min() == 0 and X.max() == 1 and set(y) == set(range(10))
    )
    X, y = data.load("breast-cancer")
    assert X.shape == (569, 30) and set(y) == {0, 1}


def test_sklearn_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "fastreg\[sklearn\]"'):
        data.load("digits")


# splitting


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.6, 0.2, 0.2), (0.98, 0.01, 0.01), (1.0,)])
@pytest.mark.parametrize("stratify", [False, True])
def test_split_is_a_partition(fractions, stratify):
    X = np.arange(1000)
    parts = data.split(X, X % 2 if stratify else X / 2, fractions, stratify=stratify)
    assert sorted(np.concatenate([part for part, _ in parts])) == list(X)
    assert [len(part) for part, _ in parts] == [round(1000 * fraction) for fraction in fractions]
    for X_part, y_part in parts:
        np.testing.assert_array_equal(y_part, X_part % 2 if stratify else X_part / 2)
        if stratify and len(parts) > 1:
            assert abs(y_part.mean() - 0.5) <= 0.01
            assert list(X_part) != sorted(X_part)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.lists(st.integers(1, 12), min_size=1, max_size=60),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_parts_of_a_split_have_the_sizes_of_their_fractions(shares, counts, seed, stratify):
    """Within one row: the parts, and each class in each part if stratified."""
    labels = np.repeat(np.arange(len(counts)), counts)
    rows, fractions = len(labels), np.array(shares) / sum(shares)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small parts have other mixes
        try:
            parts = data.split(np.arange(rows), labels, fractions, stratify=stratify, seed=seed)
        except ValueError as error:
            assert "the part would be empty" in str(error) and min(fractions) * rows < 1
            return
    assert sorted(np.concatenate([part for part, _ in parts])) == list(range(rows))
    for (part, y), fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * rows) < 1
        if stratify:
            assert (abs(np.bincount(y, minlength=len(counts)) - fraction * np.array(counts)) < 1).all()


@pytest.mark.filterwarnings("ignore:the class mix")
@pytest.mark.parametrize(("each", "sizes"), [(4, [240, 80, 80]), (3, [180, 60, 60]), (2, [120, 40, 40])])
def test_what_small_classes_leave_over_adds_up(each, sizes):
    y = np.repeat(np.arange(100), each)
    assert [len(part) for part, _ in data.split(y, y, (0.6, 0.2, 0.2), stratify=True)] == sizes
    kept, held = cut(len(y), y, (0.75, 0.25), 0)  # as validation_split does
    assert (len(kept), len(held)) == (75 * each, 25 * each)


def test_splits_that_came_out_right_before_keep_their_rows():
    """Classes whose sizes divide evenly: each by itself, in the order in which they are drawn."""
    y, random = np.repeat([3, 1, 2], [50, 20, 30]), np.random.default_rng(7)
    pieces = [random.permutation(np.flatnonzero(y == label)) for label in (1, 2, 3)]
    expected = [
        random.permutation(np.concatenate([piece[: len(piece) * 7 // 10] for piece in pieces])),
        random.permutation(np.concatenate([piece[len(piece) * 7 // 10 :] for piece in pieces])),
    ]
    for (part, _), rows in zip(data.split(np.arange(100), y, stratify=True, seed=7), expected, strict=True):
        assert part.tolist() == rows.tolist()


def test_split_seed():
    X = np.arange(100)
    first, again, other = (data.split(X, X / 2, seed=seed)[0][0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_split_stratified_keeps_the_mix():
    y = np.repeat([0, 1, 2], [700, 250, 50])
    for _, part in data.split(y, y, (0.6, 0.2, 0.2), stratify=True):
        np.testing.assert_allclose(np.bincount(part) / len(part), [0.7, 0.25, 0.05], atol=0.005)


def test_split_by_group():
    random = np.random.default_rng(0)
    groups = random.integers(40, size=1000)
    X = np.arange(1000)
    parts = [part for part, _ in data.split(X, X / 2, (0.6, 0.2, 0.2), groups=groups)]
    for i, part in enumerate(parts):
        assert abs(len(part) - (600, 200, 200)[i]) < 40
        for other in parts[:i]:
            assert not set(groups[part]) & set(groups[other])


def test_split_warns_of_the_mix():
    y = np.arange(100) // 50
    with pytest.warns(UserWarning, match=r"the class mix of part \d differs from the whole: class \d is"):
        data.split(y, y, groups=np.arange(100) // 25)
    data.split(y, y, stratify=True)  # warnings are errors here


BAD_SPLITS = {
    r"y: got shape \(9,\), expected 10 rows": {"y": np.zeros(9)},
    r"fractions: got \(0\.7, 0\.2\), expected": {"fractions": (0.7, 0.2)},
    "fractions: got .* expected positive": {"fractions": (1.5, -0.5)},
    r"fractions: got \(nan, 1\), expected": {"fractions": (float("nan"), 1)},
    r"fractions: got 0\.7, expected positive numbers with sum 1": {"fractions": 0.7},
    "groups: got groups with stratify=True": {"stratify": True, "groups": np.zeros(10)},
    r"y: got float64 of shape \(10,\), expected class labels": {"stratify": True, "y": np.zeros(10)},
    r"groups: got shape \(9,\), expected \(10,\)": {"groups": np.zeros(9)},
    r"fractions: got 0\.01 for part 1, expected at least one of the 10 samples": {"fractions": (0.99, 0.01)},
}


@pytest.mark.parametrize(("message", "change"), BAD_SPLITS.items(), ids=BAD_SPLITS)
def test_bad_splits(message, change):
    with pytest.raises(ValueError, match=message):
        data.split(**{"X": np.zeros((10, 2)), "y": np.zeros(10), **change})
