"""Long work goes in pieces, between which it can end. The bounds of pieces do not show in what comes out."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.common import checking, checksum
from fastreg.common.fileio import read_into
from fastreg.common.pieces import AT_ONCE, BYTES_AT_ONCE, Stopped, ending_with
from fastreg.losses import targets
from fastreg.reference import bf16

ROWS = 2 * AT_ONCE + 7
LAST = ROWS - 2  # a row in the last piece


def labels(y, holes=False, outputs=3):
    return targets.classes("y", y, len(y), outputs, "float32", holes)


def reads(tmp_path):
    values = np.zeros(BYTES_AT_ONCE + 9, np.uint8)
    values.tofile(tmp_path / "values")
    with open(tmp_path / "values", "rb") as file:
        read_into(file, np.empty_like(values))


WORK = {
    "labels": lambda tmp_path: labels(np.zeros(ROWS, int)),
    "weights": lambda tmp_path: checking.weights("w", np.ones(ROWS), ROWS, "float32"),
    "reading a file": reads,
    "a checksum": lambda tmp_path: checksum.added({"x": np.zeros(BYTES_AT_ONCE + 9, np.uint8)}, {}),
    "a product in bf16": lambda tmp_path: bf16.product(np.ones((2, 64)), np.ones((64, 2))),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_it_can_end(work, tmp_path):
    work(tmp_path)
    with ending_with([True]), pytest.raises(Stopped):
        work(tmp_path)


@pytest.mark.parametrize("dtype", ["i1", "i8", "u8", "f4", "f8"])
def test_labels(dtype):
    y = (np.arange(ROWS) % 3).astype(dtype)
    found = labels(y)
    assert found.dtype == np.int64 and np.array_equal(found, np.arange(ROWS) % 3)


@pytest.mark.parametrize("hole", [-1, np.nan])
def test_labels_with_holes(hole):
    y = (np.arange(ROWS) % 3).astype("f4")
    y[LAST] = hole
    expected = np.arange(ROWS) % 3
    expected[LAST] = -1
    assert np.array_equal(labels(y, holes=True), expected)
    assert np.array_equal(labels(np.full(9, -1), holes=True), np.full(9, -1))


@pytest.mark.parametrize(
    "dtype, first, last, told",
    [
        ("i8", 0, 7, "got labels from 0 to 7, expected 0 to 2: one per output; for labels up to 7"),
        ("i8", -5, 1, "got labels from -5 to 1"),
        ("i8", 1, 3, "labels start at 0: y - 1 makes them"),
        ("u8", 2**63, 2**63, "got labels from 9223372036854775808 to 9223372036854775808"),
        ("f8", 0, 1e30, "got labels from 0 to 1000000000000000019884624838656"),
        ("f8", 0, 0.5, rf"got 0.5 in row {LAST}, expected labels: whole numbers from 0 to 2; to predict numbers"),
    ],
)
def test_bad_labels(dtype, first, last, told):
    y = np.full(ROWS, first, dtype)
    y[LAST] = last
    with pytest.raises(ValueError, match=f"^y: .*{told}"):
        labels(y)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("holes", [False, True])
def test_bad_labels_in_a_memory_map(tmp_path, value, holes):
    """They are not read before."""
    y = np.memmap(tmp_path / "y", "f4", "w+", shape=(9,))
    y[4] = value
    if np.isnan(value) and holes:
        assert labels(y, holes).tolist() == [0] * 4 + [-1] + [0] * 4
        return
    with pytest.raises(ValueError, match=f"^y: got {value} in row 4, expected labels: whole numbers from 0 to 2$"):
        labels(y, holes)


def test_weights():
    w = np.arange(ROWS) % 5 * 0.5
    w[LAST] = 1e-39
    found = checking.weights("w", w, ROWS, "float32")
    w[LAST] = 0  # below the smallest normal number of float32
    assert found.dtype == np.float32 and np.array_equal(found, w)
    w[LAST] = -1
    with pytest.raises(ValueError, match=rf"^w: got -1\.0 in row {LAST}, expected numbers of at least 0$"):
        checking.weights("w", w, ROWS, "float32")


def test_a_large_tensor_in_a_file(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, BYTES_AT_ONCE + 9, np.uint8)
    fr.files.write_tensors(tmp_path / "x", {"x": values})
    assert np.array_equal(fr.files.read_tensors(tmp_path / "x")[0]["x"], values)
    whole = checksum.added({"x": values}, {})
    values[-1] += 1
    assert checksum.added({"x": values}, {}) != whole
