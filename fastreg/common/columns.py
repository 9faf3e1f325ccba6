"""Frames and their columns: pandas, Polars, PyArrow, the library's own tables, dicts of columns, lists of dicts.

Other libraries are recognized, not imported: a frame of theirs exists only if they are loaded already.

A plain column is an array (n,) of numbers, bools, datetime64, or texts (objects of str). What is missing is NaN, NaT or
None; whole numbers and bools with holes become float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized

import numpy as np

from fastreg.common import objects
from fastreg.common.objects import loaded

INT64_MAX = 2**63 - 1


def is_frame(value) -> bool:
    """Whether `value` is a table of named columns."""
    if type(value) is np.ndarray:
        return False
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(column, Sized) and not _is_text(column) for column in value.values())
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(row, Mapping) for row in value)
    return _is(value, FRAMES)


def is_column(value) -> bool:
    """Whether `value` is one column of another library: a Series, an Index, a ChunkedArray, ..."""
    return type(value) is not np.ndarray and _is(value, COLUMNS)


FRAMES = (
    ("pandas", "DataFrame"),
    ("polars", "DataFrame", "LazyFrame"),
    ("pyarrow", "Table", "RecordBatch"),
    ("fastreg.intake.table", "Table"),
)
COLUMNS = (
    ("pandas", "Series", "Index"),
    ("pandas.api.extensions", "ExtensionArray"),
    ("polars", "Series"),
    ("pyarrow", "Array", "ChunkedArray"),
)


def _is(value, kinds) -> bool:
    return any(isinstance(value, loaded(*names)) for names in kinds)


def _is_text(value) -> bool:
    return isinstance(value, (str, bytes))


def names(frame) -> tuple[str, ...]:
    """The names of the columns of a frame, in order."""
    return tuple(str(name) for name, _ in raw(frame))


def raw(frame) -> Iterator[tuple[object, object]]:
    """Names and columns of a frame, the columns as they are."""
    if isinstance(frame, Mapping):
        yield from frame.items()
    elif isinstance(frame, (list, tuple)):
        for name in dict.fromkeys(name for row in frame for name in row):
            yield name, [row.get(name) for row in frame]
    elif _is(frame, FRAMES[:1]):
        for place, name in enumerate(frame.columns):
            yield name, frame.iloc[:, place]
    elif _is(frame, FRAMES[1:2]):
        if hasattr(frame, "collect"):
            frame = frame.collect()
        yield from zip(frame.columns, frame.get_columns(), strict=True)
    elif _is(frame, FRAMES[2:3]):
        yield from zip(frame.schema.names, frame.columns, strict=True)
    else:
        for name in frame.names:
            yield name, frame[name]


def plain(column) -> np.ndarray:
    """A column of any library as a plain column. A TypeError tells the row of an element that is none of these."""
    if _is(column, COLUMNS[:2]):
        found = _of_pandas(column)
    elif _is(column, COLUMNS[2:3]):
        found = _of_polars(column)
    elif _is(column, COLUMNS[3:]):
        found = _of_arrow(column)
    elif _is(column, (("numpy.ma", "MaskedArray"),)):
        found = column.astype(object).filled(None)
    else:
        found = column if isinstance(column, np.ndarray) else _of_list(column)
    if found.ndim != 1:
        raise TypeError(f"got an array of shape {found.shape}, expected one column (rows,)")
    return _plain_array(found)


def _of_list(values) -> np.ndarray:
    """A list of values. Texts stay apart from numbers, which NumPy would make texts, too."""
    values = list(values)
    if all(type(value) in (bool, int, float) for value in values):
        return np.asarray(values) if values else np.empty(0)
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _plain_array(array: np.ndarray) -> np.ndarray:
    kind = array.dtype.kind
    if kind in "iuf" and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if kind == "b" or kind == "M":
        return array
    if kind == "i" or (kind == "u" and array.itemsize < 4):
        return array
    if kind == "u":
        return array.astype(np.int64 if array.max(initial=0) <= INT64_MAX else np.float64)
    if kind == "f":
        return array if array.itemsize in (4, 8) else array.astype(np.float64)
    if kind in "OUST":
        return objects.plain(array.astype(object))
    advice = "; divided by np.timedelta64(1, 's') it is seconds" if kind == "m" else ""
    raise TypeError(f"got an array of {array.dtype}, expected numbers, texts or dates{advice}")


def _of_pandas(column) -> np.ndarray:
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return np.asarray(column)
    if hasattr(dtype, "categories"):
        array = getattr(column, "array", column)
        return _taken(plain(dtype.categories), np.asarray(array.codes))
    if getattr(dtype, "tz", None) is not None:
        column = _instants(column)
        return np.asarray(column)
    if hasattr(dtype, "fill_value"):  # sparse
        return np.asarray(column)
    kind = getattr(dtype, "kind", "O")
    holes = np.asarray(column.isna())
    if kind in "iufb" and not holes.any():
        return column.to_numpy(dtype=getattr(dtype, "numpy_dtype", None) or dtype.type)
    if kind in "iufb":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if kind == "M":
        return column.to_numpy(dtype="datetime64[us]")
    return column.to_numpy(dtype=object)


def _instants(column):
    """Dates with a time zone: the same moments in UTC, without one."""
    dates = getattr(column, "dt", column)
    utc = dates.tz_convert("UTC")
    return getattr(utc, "dt", utc).tz_localize(None)


def _taken(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """values[codes]; a negative code is a hole."""
    holes = codes < 0
    if not holes.any():
        return values[codes]
    if values.dtype.kind in "biuf":
        values = values.astype(np.float64)
    hole = {"f": np.nan, "M": np.datetime64("NaT")}.get(values.dtype.kind)
    found = np.full(len(codes), hole, values.dtype)
    found[~holes] = values[codes[~holes]]
    return found


def _of_polars(column) -> np.ndarray:
    dtype = column.dtype
    if dtype.is_decimal() or str(dtype) in ("Int128", "UInt128"):
        return column.cast(loaded("polars", "Float64")[0]).to_numpy()
    if dtype.is_numeric() or str(dtype) == "Date" or str(dtype).startswith("Datetime"):
        return column.to_numpy()
    if str(dtype) == "Boolean" and not column.null_count():
        return column.to_numpy()
    return _of_list(column.to_list())


def _of_arrow(column) -> np.ndarray:
    kind = str(column.type)
    if kind.startswith("dictionary"):
        return _of_list(column.to_pylist())
    if kind.startswith(("int", "uint", "float", "double", "halffloat", "bool", "timestamp", "date")):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return _of_list(column.to_pylist())
