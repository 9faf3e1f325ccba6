"""Frames: their names, their columns, and all columns as one array of numbers.

Frames are those of pandas, Polars and PyArrow, Tables, dicts of columns and lists of dicts. A Series is one column.

Other libraries are recognized, not imported (`fastreg.common.columns`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from fastreg.common import checking, convert
from fastreg.common import columns as known
from fastreg.common.objects import loaded
from fastreg.common.pieces import taken


def is_frame(value) -> bool:
    """Whether it has named columns: a frame, a Series, a Table, a dict of columns or a list of dicts."""
    return known.is_frame(value) or known.is_column(value)


def names(frame) -> tuple[str, ...]:
    """The names of its columns. Numbers become texts."""
    return tuple(str(name) for name, _ in _raw(frame))


def has_names(frame) -> bool:
    """Whether its columns have names of their own, all different, rather than numbers."""
    own = [name for name, _ in _raw(frame)]
    return bool(own) and getattr(frame, "named", True) and _are_different_texts(own)


def _are_different_texts(own: list) -> bool:
    return all(isinstance(name, str) for name in own) and len(set(own)) == len(own)


def columns(frame, argument: str = "X") -> list[np.ndarray]:
    """Its columns as plain ones: numbers (NaN for a hole), bools, datetime64 (NaT) or objects of str (None).

    `argument` is the name of the frame in an error.
    """
    found = []
    for name, column in _raw(frame):
        try:
            found.append(known.plain(column))
        except TypeError as error:
            raise TypeError(f"{argument}: column {name!r}: {error}") from None
        convert.same_length(argument, name, len(found[-1]), len(found[0]))
    return found


def by_name(frame) -> dict[str, np.ndarray]:
    """Its columns by name. Of columns with the same name, the last."""
    return dict(zip(names(frame), columns(frame), strict=True))


def numbers(name: str, frame) -> np.ndarray:
    """All columns as one array of numbers (n, columns): of the dtype of the columns if they share one, int64 for other
    whole numbers, else float64. Holes are NaN. A column of something else is refused.

    The frame is copied once, column by column, or not at all if it has one array for all columns.
    """
    return checking.array(name, frame if known.is_frame(frame) else dict(_raw(frame)), advice=checking.FOR_INPUTS)


def refuse_others(name: str, frame) -> None:
    """Refuses a frame in which something is not a number: a text, a date or a hole."""
    for label, column in _raw(frame):
        found = convert.column_of_numbers(name, label, column, checking.FOR_INPUTS)
        if found.dtype.kind == "f" and (holes := np.isnan(found)).any():
            row, advice = int(np.argmax(holes)), checking.FOR_INPUTS["hole"]
            raise ValueError(f"{name}: column {label!r} holds nan in row {row}, expected finite numbers; {advice}")


def length(frame) -> int:
    """The number of rows."""
    if isinstance(frame, Mapping):
        return len(next(iter(frame.values())))
    return len(frame.collect() if hasattr(frame, "collect") else frame)


def take(value, rows: np.ndarray):
    """The rows with these numbers, of a frame, an array or a sparse matrix, as one of the same kind."""
    if type(value) in (np.ndarray, np.memmap):
        return taken(value, rows)
    if hasattr(value, "iloc"):  # pandas
        return value.iloc[rows]
    if isinstance(value, Mapping):
        return {name: taken(known.plain(column), rows) for name, column in value.items()}
    if isinstance(value, (list, tuple)):
        return [value[row] for row in rows.tolist()]
    if isinstance(value, loaded("pyarrow", "Table", "RecordBatch", "Array", "ChunkedArray")):
        return value.take(rows)
    return (value.collect() if hasattr(value, "collect") else value)[rows]


def _raw(frame) -> Iterator[tuple[object, object]]:
    if known.is_column(frame):
        yield getattr(frame, "name", None) or 0, frame
    else:
        yield from known.raw(frame)
