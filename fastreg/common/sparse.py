"""The rows of a sparse matrix, as the engines read them: never dense as a whole.

SciPy's matrices and arrays are recognized by what they have, not by an import.
"""

from __future__ import annotations

import numpy as np

from fastreg.common.showing import shown

CHUNK = 1 << 20  # elements that are checked at a time
NUMBERS = 1 << 22  # of rows that are dense at a time, with their zeros


def is_sparse(value) -> bool:
    """Whether it is a sparse matrix or array of SciPy's, in any format, or `SparseRows`."""
    return isinstance(value, SparseRows) or hasattr(value, "tocsr")


def rows_at_once(value, most: int) -> int:
    """The rows that are read at a time: `most`, or fewer if they are sparse and wide, since these may become dense."""
    return min(most, max(16, NUMBERS // value.shape[1])) if is_sparse(value) else most


class SparseRows:
    """A matrix of compressed sparse rows, sound: without duplicates, and with all columns in range.

    starts   int64 (n + 1,): the elements of row i are starts[i] to starts[i + 1] - 1
    places   int32 or int64: the column of each element. In a row they may come in any order
    values   the elements
    shape    rows, columns
    in_order whether the columns of every row ascend. Kernels read such rows without their zeros
    """

    ndim = 2

    def __init__(self, starts: np.ndarray, places: np.ndarray, values: np.ndarray, columns: int, in_order: bool):
        self.starts, self.places, self.values, self.in_order = starts, places, values, in_order
        self.shape = len(starts) - 1, columns

    @property
    def dtype(self) -> np.dtype:
        """That of the values."""
        return self.values.dtype

    @property
    def size(self) -> int:
        """The number of elements with the zeros."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """The bytes that are read for all rows."""
        elements = int(self.starts[-1] - self.starts[0])
        return self.starts.nbytes + elements * (self.places.itemsize + self.values.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> SparseRows:
        """Some rows, of a slice or of an array of indices. A slice of consecutive rows copies no elements."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                stop = max(start, stop)
                return SparseRows(self.starts[start : stop + 1], self.places, self.values, self.shape[1], self.in_order)
            rows = np.arange(start, stop, step)
        first, lengths = self.starts[rows], np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        which = np.repeat(first - starts[:-1], lengths) + np.arange(starts[-1])
        return SparseRows(starts, self.places[which], self.values[which], self.shape[1], self.in_order)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """The rows with their zeros."""
        dense = np.zeros(self.shape, self.dtype)
        span = slice(self.starts[0], self.starts[-1])
        dense[self.rows_of_elements(), self.places[span]] = self.values[span]
        dense += self.dtype.type(0)  # no -0: a sum that starts at 0 has none
        return dense if dtype is None else dense.astype(dtype, copy=False)

    def astype(self, dtype) -> np.ndarray:
        """The rows with their zeros, as an array of another dtype."""
        return np.asarray(self).astype(dtype)

    def rows_of_elements(self) -> np.ndarray:
        """The row of each element."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def row_of(self, element: int) -> int:
        """The row of one element."""
        return int(np.searchsorted(self.starts, element, side="right")) - 1


def rows_of(name: str, value) -> SparseRows:
    """The rows of a sparse matrix in any format. Duplicates are summed, as SciPy does. Nothing else is copied but where
    the rows start. Arrays that do not fit together are refused."""
    if isinstance(value, SparseRows):
        return value
    if len(value.shape) != 2:
        raise ValueError(f"{name}: got a sparse array of shape {value.shape}, expected two dimensions")
    csr = value if getattr(value, "format", None) == "csr" else value.tocsr()
    count, columns = map(int, csr.shape)
    starts, places, values = map(np.asarray, (csr.indptr, csr.indices, csr.data))
    for part, array in (("indptr", starts), ("indices", places)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"{name}.{part}: got an array of {array.dtype} {array.shape}, expected integers (n,)")
    starts = np.array(starts, np.int64)  # a copy, which nobody can change
    if len(starts) != count + 1 or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise ValueError(f"{name}.indptr: got {shown(starts)}, expected 0 and then {count} numbers that never fall")
    if values.shape != places.shape or starts[-1] > len(values):
        got = f"got {len(places)} indices and {len(values)} values"
        raise ValueError(f"{name}: {got}, expected at least {starts[-1]} of each, as many as indptr says")
    if places.dtype not in (np.int32, np.int64):
        places = places.astype(np.int64)
    rows = SparseRows(starts, np.ascontiguousarray(places), np.ascontiguousarray(values), columns, in_order=False)
    _check_range(name, rows)
    rows.in_order, has_duplicates = _order(rows)
    return _summed(rows) if has_duplicates else rows


def _check_range(name: str, rows: SparseRows) -> None:
    places = rows.places[: rows.starts[-1]]
    if len(places) and not 0 <= places.min() <= places.max() < rows.shape[1]:
        element = next(i for i, place in enumerate(places.tolist()) if not 0 <= place < rows.shape[1])
        where = f"column {places[element]} in row {rows.row_of(element)}"
        raise ValueError(f"{name}.indices: got {where}, expected 0 to {rows.shape[1] - 1}")


def _order(rows: SparseRows) -> tuple[bool, bool]:
    """Whether the columns of every row ascend, and whether a row has two elements in one column. Looks at some rows at
    a time."""
    first, in_order = 0, True
    while first < len(rows):
        last = int(np.searchsorted(rows.starts, rows.starts[first] + CHUNK, side="right")) - 1
        last = min(max(last, first + 1), len(rows))
        part = rows[first:last]
        places = part.places[part.starts[0] : part.starts[-1]]
        inside = np.diff(part.rows_of_elements()) == 0
        if (np.diff(places)[inside] <= 0).any():
            in_order = False
            order = np.lexsort((places, part.rows_of_elements()))
            if (np.diff(places[order])[inside] == 0).any():
                return False, True
        first = last
    return in_order, False


def _summed(rows: SparseRows) -> SparseRows:
    """The rows with the duplicates added up."""
    own, span = rows.rows_of_elements(), slice(0, rows.starts[-1])
    order = np.lexsort((rows.places[span], own))
    places, own = rows.places[order], own[order]
    first = np.flatnonzero(np.r_[True, (np.diff(own) != 0) | (np.diff(places) != 0)])
    values = np.add.reduceat(rows.values[order], first, dtype=rows.dtype)
    starts = np.concatenate([[0], np.cumsum(np.bincount(own[first], minlength=len(rows)))])
    return SparseRows(starts, places[first], values, rows.shape[1], in_order=True)
