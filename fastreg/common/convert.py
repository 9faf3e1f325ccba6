"""Frames and arrays of objects as arrays of real numbers. What is not a number is refused, with its place and advice.

What is missing becomes NaN, which the checks of finite values find.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastreg.common import columns, objects
from fastreg.common.objects import DATE, HOLE, NUMBERS, TEXT
from fastreg.common.showing import shown


def frame(name: str, value, advice: Mapping[str, str]) -> np.ndarray:
    """A frame (n, columns) as one array. Its dtype is that of the columns if they share one, int64 for other whole
    numbers, else float64.

    The frame is copied once, column by column, or not at all if it is one array already. `advice` ends an error about
    texts, dates or holes (`objects.TEXT`, ...).
    """
    whole = _one_array(value)
    if whole is not None:
        return whole
    dtypes: list[np.dtype] = []
    count = 0
    for label, column in columns.raw(value):
        found = column_of_numbers(name, label, column, advice)
        count = count if dtypes else len(found)
        same_length(name, label, len(found), count)
        dtypes.append(found.dtype)
    result = np.empty((count, len(dtypes)), _common(set(dtypes)))
    for place, (label, column) in enumerate(columns.raw(value)):
        result[:, place] = column_of_numbers(name, label, column, advice)
    return result


def same_length(name: str, label, rows: int, expected: int) -> None:
    """Refuses a column of another length than the first."""
    if rows != expected:
        raise ValueError(f"{name}: column {label!r} has {rows} rows, expected {expected}, as the first column has")


def _one_array(value) -> np.ndarray | None:
    """The array of a frame that has one for all its columns."""
    if isinstance(value, objects.loaded("pandas", "DataFrame")):
        dtypes = set(value.dtypes)
        if len(dtypes) == 1 and isinstance(dtype := dtypes.pop(), np.dtype) and dtype.kind in "iufb":
            return np.asarray(value)
    return None


def _common(dtypes: set[np.dtype]) -> np.dtype:
    if len(dtypes) == 1:
        return dtypes.pop()
    return np.dtype(np.int64 if all(dtype.kind in "biu" for dtype in dtypes) else np.float64)


def column_of_numbers(name: str, label, column, advice: Mapping[str, str]) -> np.ndarray:
    """The column `label` of the frame `name` as a plain one. Refuses texts and dates."""
    try:
        found = columns.plain(column)
    except TypeError as error:
        raise TypeError(f"{name}: column {label!r}: {error}") from None
    if found.dtype.kind not in "OM":
        return found
    what = TEXT if found.dtype.kind == "O" else DATE
    row = next(row for row, value in enumerate(found) if value is not None and value == value)
    element = shown(found[row]) if what == TEXT else str(found[row])
    end = f"; {name}[{label!r}].astype(float) makes them" if _are_written(found) else _end(what, advice)
    raise TypeError(f"{name}: column {label!r} holds {element} in row {row}, expected real numbers{end}")


def _are_written(values: np.ndarray) -> bool:
    """Whether all are numbers that are written as texts."""
    try:
        return values.dtype.kind in "OUST" and bool(values.size) and values.astype(float).size > 0
    except (TypeError, ValueError, OverflowError):
        return False


def real(name: str, value: np.ndarray, advice: Mapping[str, str]) -> np.ndarray:
    """An array that NumPy has of objects or texts, as numbers: uint8, int64 or float64."""
    if value.dtype.kind == "O":
        found = objects.kinds(value)
        others = {kind for kind in found.values() if kind not in NUMBERS and kind != HOLE}
        if not others:
            return objects.to_numbers(value, found.values())
        where, element = objects.first(value, others)
    else:
        where, element = (0,) * value.ndim, str(value.flat[0]) if value.size else ""
    end = _end(objects.kind_of(type(element)), advice) if value.ndim else ""
    if value.ndim and _are_written(value):
        end = f"; {name}.astype(float) makes them" if isinstance(element, str) else end
    raise TypeError(f"{name}: got {shown(element)}{_at(where)}, expected real numbers{end}")


def _at(where: tuple[int, ...]) -> str:
    """A place in an array, in words."""
    if not where:
        return ""
    if len(where) > 2:
        return f" at {where}"
    return f" in row {where[0]}" + (f", column {where[1]}" if len(where) == 2 else "")


def _end(what: str | None, advice: Mapping[str, str]) -> str:
    return f"; {advice[what]}" if what is not None and what in advice else ""
