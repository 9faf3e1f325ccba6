"""`Table`: named columns of numbers and text, with holes."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastreg.common import checking, columns, html, tables
from fastreg.common.attributes import Suggesting
from fastreg.common.understood import understood

SHOWN_ROWS = 5
SHOWN_COLUMNS = 8
WIDEST = 24  # characters of a field in a repr
KINDS = {"f": "number", "i": "integer", "O": "text"}  # by the kind of the dtype


class Table(Suggesting):
    """A table: named columns, each of one kind. It does not change once it is made.

    A column is a one-dimensional array of float64 (NaN is a hole), of int64, or of str objects (None is a hole).

    Parameters
    ----------
    columns : mapping of names to columns
        The columns in their order. Other dtypes are converted: booleans to 0 and 1, dates to ISO text.
    named : bool
        Whether the names came with the data. False for a file without a header: its columns are called "0", "1", ...

    Raises
    ------
    ValueError
        The columns differ in length, or a column mixes numbers and text.
    TypeError
        A column holds other objects than numbers and text.

    Examples
    --------
    >>> import fastreg as fr
    >>> table = fr.data.Table({"town": ["rome", None, "oslo"], "rooms": [3, 2, 4], "price": [310.5, float("nan"), 250]})
    >>> table
    Table of 3 rows and 3 columns
    town    rooms   price
    text  integer  number
    ---------------------
    rome        3   310.5
                2
    oslo        4     250
    >>> table["rooms"].mean()
    np.float64(3.0)
    >>> table[table["rooms"] > 2].drop(["town"]).tolist()
    [(3, 310.5), (4, 250.0)]
    """

    __slots__ = ("_columns", "_rows", "named")

    @understood
    def __init__(self, columns: Mapping[str, Any], *, named: bool = True):
        if not isinstance(columns, Mapping):
            raise TypeError(f"columns: got {checking.shown(columns)}, expected a mapping of names to columns")
        made: dict[str, np.ndarray] = {}
        for name, values in columns.items():
            if not isinstance(name, str):
                raise TypeError(f"columns: got the name {checking.shown(name)}, expected a string")
            made[name] = as_column(f"column {name!r}", values)
        lengths = {name: len(values) for name, values in made.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns: got lengths {checking.shown(lengths)}, expected one length")
        self._columns = made
        self._rows = next(iter(lengths.values()), 0)
        self.named = checking.flag("named", named)

    @classmethod
    def _of_columns(cls, columns: dict[str, np.ndarray], named: bool) -> Table:
        """A table of columns that are known to be sound, which it makes read-only."""
        table = cls.__new__(cls)
        for values in columns.values():
            values.flags.writeable = False
        table._columns = columns
        table._rows = len(next(iter(columns.values()), ()))
        table.named = named
        return table

    @classmethod
    def of(cls, data: Any) -> Table:
        """A table of what a frame (of pandas or polars), a mapping or another Table holds.

        Parameters
        ----------
        data : Table, mapping or frame

        Examples
        --------
        >>> Table.of({"a": [1, 2], "b": ["x", "y"]}).kinds
        ('integer', 'text')
        """
        if isinstance(data, Table):
            return data
        if isinstance(data, Mapping):
            return cls({str(name): values for name, values in data.items()})
        if columns.is_frame(data):
            names = [name for name, _ in columns.raw(data)]
            if len({str(name) for name in names}) < len(names):
                twice = next(name for name in names if names.count(name) > 1 or str(name) not in names)
                raise ValueError(f"columns: got the name {str(twice)!r} twice, expected each name once")
            # pandas' own RangeIndex is no names
            named = any(isinstance(name, str) for name in names)
            return cls({str(name): columns.plain(column) for name, column in columns.raw(data)}, named=named)
        raise TypeError(f"data: got {checking.shown(data)}, expected a frame, a mapping of names to columns or a Table")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self._columns)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the columns: "number", "integer" or "text"."""
        return tuple(KINDS[values.dtype.kind] for values in self._columns.values())

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return self._rows, len(self._columns)

    @property
    def ndim(self) -> int:
        """2, as of a matrix."""
        return 2

    @property
    def size(self) -> int:
        """The number of fields."""
        return self._rows * len(self._columns)

    @property
    def is_numeric(self) -> bool:
        """Whether no column is text."""
        return "text" not in self.kinds

    @property
    def has_holes(self) -> bool:
        """Whether a field is missing."""
        return any(bool(holes(values).any()) for values in self._columns.values())

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[tuple]:
        """The rows."""
        return iter(self.tolist())

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __getitem__(self, key):
        """A column by its name; a Table of the rows of a slice, a mask or an array of integers; a row as a tuple."""
        if isinstance(key, str):
            return self._columns[self._known(key)]
        if isinstance(key, numbers.Integral) and not isinstance(key, (bool, np.bool_)):
            return tuple(values[key : key + 1 or None].tolist()[0] for values in self._at(key))
        rows = key if isinstance(key, slice) else self._rows_of(key)
        return self._of_columns({name: values[rows] for name, values in self._columns.items()}, self.named)

    def select(self, names: Sequence[str]) -> Table:
        """These columns alone, in this order.

        Parameters
        ----------
        names : sequence of str

        Examples
        --------
        >>> Table({"a": [1, 2], "b": [3, 4]}).select(["b"]).tolist()
        [(3,), (4,)]
        """
        return self._of_columns({name: self._columns[self._known(name)] for name in _names(names)}, self.named)

    def drop(self, names: Sequence[str]) -> Table:
        """All columns but these.

        Parameters
        ----------
        names : sequence of str

        Examples
        --------
        >>> Table({"a": [1, 2], "b": [3, 4]}).drop(["b"]).tolist()
        [(1,), (2,)]
        """
        dropped = {self._known(name) for name in _names(names)}
        return self._of_columns(
            {name: values for name, values in self._columns.items() if name not in dropped}, self.named
        )

    def complete(self, names: Sequence[str] | None = None) -> Table:
        """The rows without holes, in all columns or in these.

        Parameters
        ----------
        names : sequence of str, optional

        Examples
        --------
        >>> Table({"a": [1, None, 3], "b": ["x", "y", None]}).complete(["a"]).tolist()
        [(1.0, 'x'), (3.0, None)]
        """
        kept = np.ones(self._rows, bool)
        for name in self.names if names is None else _names(names):
            kept &= ~holes(self[name])
        return self[kept]

    def tolist(self) -> list[tuple]:
        """The rows, as tuples of Python's objects. Holes are NaN among numbers and None in text."""
        if not self._columns:
            return []
        return list(zip(*(values.tolist() for values in self._columns.values()), strict=True))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """A matrix: float64 if all columns are numbers, else objects."""
        if copy is False:
            raise ValueError("copy: got False, but a Table has no matrix to share")
        matrix = np.empty(self.shape, np.float64 if self.is_numeric else object)
        for column, values in enumerate(self._columns.values()):
            matrix[:, column] = values
        return matrix if dtype is None else matrix.astype(dtype, copy=False)

    def __eq__(self, other: object) -> bool:
        """Whether the other is a Table with the same names, kinds and fields. A hole equals a hole."""
        if not isinstance(other, Table):
            return NotImplemented
        return (self.names, self.kinds, self._rows) == (other.names, other.kinds, other._rows) and all(
            np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
            for mine, theirs in zip(self._columns.values(), other._columns.values(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self):
        return _unpickled, (dict(self._columns), self.named)

    def __repr__(self) -> str:
        if not self._columns:
            return self._title()
        heads, rows, left = self._cells()
        lines = tables.table(heads, rows, left=left).split("\n")
        return "\n".join([self._title(), lines[0], lines[2], lines[1], *lines[3:]])

    def _repr_html_(self) -> str:
        """The first rows, for a notebook."""
        if not self._columns:
            return html.page(self._title())
        heads, rows, left = self._cells()
        return html.page(self._title(), html.table(heads, rows, left=left))

    def _title(self) -> str:
        count, width = self.shape
        return f"Table of {count:,} row{'s' * (count != 1)} and {width:,} column{'s' * (width != 1)}"

    def _cells(self) -> tuple[list[str], list[list[str]], int]:
        """The names, the kinds with the first rows below them, and how many columns are aligned left."""
        count, width = self.shape
        first = self[:SHOWN_ROWS].select(self.names[:SHOWN_COLUMNS])
        more = ["..."] if width > SHOWN_COLUMNS else []
        heads = [_short(name) for name in first.names] + more
        rows = [[*first.kinds, *more]]
        cells = [[*map(_shown_field, row), *more] for row in first.tolist()]
        if count > SHOWN_ROWS:
            cells.append(["..."] * len(heads))
        return heads, rows + cells, 1 if first.kinds[0] == "text" else 0

    def _known(self, name) -> str:
        if name not in self._columns:
            near = checking.nearest(name, self._columns) if isinstance(name, str) else ""
            raise ValueError(
                f"name: got {checking.shown(name)}, expected a column: {', '.join(self.names)[:200]}{near}"
            )
        return name

    def _at(self, row) -> list[np.ndarray]:
        if not -self._rows <= row < self._rows:
            raise IndexError(f"row: got {row}, expected one of {self._rows} rows")
        return list(self._columns.values())

    def _rows_of(self, key) -> np.ndarray:
        rows = np.asarray(key)
        if rows.dtype.kind == "b" and rows.shape == (self._rows,):
            return rows
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(
                f"rows: got {checking.shown(key)}, expected a slice, a mask of {self._rows} rows or an array of "
                "integers; select(names) takes columns"
            )
        return rows.astype(np.intp, copy=False)


def holes(values: np.ndarray) -> np.ndarray:
    """A mask of the missing fields of a column."""
    if values.dtype.kind == "O":
        return np.array([value is None for value in values], bool)
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)


def as_column(name: str, values: Any) -> np.ndarray:
    """A column of a Table: float64, int64 or objects of str, read-only. `name` is for errors."""
    column = np.asarray(values) if hasattr(values, "dtype") else _listed(name, values)
    if column.ndim != 1:
        raise ValueError(f"{name}: got shape {column.shape}, expected one dimension")
    kind = column.dtype.kind
    made: Any
    if kind in "bi" or (kind == "u" and (not column.size or column.max() <= checking.MAX_INT)):
        made = column.astype(np.int64)
    elif kind in "fu":
        made = column.astype(np.float64)
    elif kind == "M":
        days = column.astype("M8[D]")
        is_hole = np.isnat(column)
        made = np.datetime_as_string(days if (is_hole | (days == column)).all() else column).astype(object)
        made[is_hole] = None
    elif kind in "OUT":
        made = _of_objects(name, column.astype(object))
    else:
        raise TypeError(f"{name}: got an array of {column.dtype}, expected numbers or text")
    made.flags.writeable = False
    return made


def _listed(name: str, values: Any) -> np.ndarray:
    """An array of objects: NumPy would turn numbers among text into text."""
    values = list(checking.iterate(name, values, "a list or an array"))
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _of_objects(name: str, column: np.ndarray) -> np.ndarray:
    kinds = set(map(type, column))
    if str in kinds and kinds <= {str, type(None)}:
        return column.copy()
    pandas = sys.modules.get("pandas")
    gone = () if pandas is None else (pandas.NA, pandas.NaT)
    is_hole = np.array([v is None or any(v is one for one in gone) or _is_nan(v) for v in column], bool)
    kept = column[~is_hole]
    if len(kept) and all(isinstance(v, str) for v in kept):
        made = np.empty(len(column), object)
        made[:] = [None if hole else str(v) for v, hole in zip(column, is_hole, strict=True)]
        return made
    is_number = [isinstance(v, (numbers.Real, np.bool_)) or _is_decimal(v) for v in kept]
    if not all(is_number):
        row = int(np.flatnonzero(~is_hole)[is_number.index(False)])
        if any(isinstance(v, str) for v in kept) and any(is_number):
            odd = column[row]
            raise ValueError(f"{name}, row {row}: got {checking.shown(odd)}, expected numbers alone or text alone")
        raise TypeError(f"{name}, row {row}: got {checking.shown(column[row])}, expected a number or text")
    if not is_hole.any() and all(
        isinstance(v, (numbers.Integral, np.bool_)) and abs(int(v)) <= checking.MAX_INT for v in kept
    ):
        return column.astype(np.int64)
    made = np.full(len(column), np.nan)
    made[~is_hole] = kept.astype(np.float64)
    return made


def _is_nan(value) -> bool:
    return isinstance(value, (numbers.Real, np.datetime64)) and bool(value != value)


def _is_decimal(value) -> bool:
    decimal = sys.modules.get("decimal")
    return decimal is not None and isinstance(value, decimal.Decimal)


def _names(names) -> list[str]:
    return [names] if isinstance(names, str) else list(checking.iterate("names", names, "a list of names"))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def _shown_field(value) -> str:
    if value is None or value != value:
        return ""
    return _short(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _unpickled(columns: dict[str, np.ndarray], named: bool) -> Table:
    return Table(columns, named=named)
