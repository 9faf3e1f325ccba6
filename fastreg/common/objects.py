"""Arrays of Python objects: what their elements are, and the plain array that says the same.

Types of other modules are recognized, not imported: an object of theirs exists only if the module is loaded already.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastreg.common.showing import shown

CHUNK = 1 << 16  # elements at a time, so that no list is as large as the data
HOLE, BOOL, WHOLE, REAL, TEXT, DATE = "hole", "bool", "whole", "real", "text", "date"
NUMBERS = frozenset((BOOL, WHOLE, REAL))


def loaded(module: str, *names: str) -> tuple[Any, ...]:
    """The classes of a module, for isinstance. None of them if the module is not loaded."""
    found = (getattr(sys.modules.get(module), name, None) for name in names)
    return tuple(kind for kind in found if isinstance(kind, type))


def kind_of(kind: type) -> str | None:
    """What objects of a type are. None for what is neither a number nor a text, a date or a hole."""
    if kind is type(None) or (kind.__name__ in ("NAType", "NaTType") and kind.__module__.startswith("pandas.")):
        return HOLE
    if issubclass(kind, (bool, np.bool_)):
        return BOOL
    if issubclass(kind, numbers.Integral):
        return None if issubclass(kind, np.timedelta64) else WHOLE
    if issubclass(kind, (numbers.Real, *loaded("decimal", "Decimal"))):
        return REAL
    if issubclass(kind, (str, bytes)):
        return TEXT
    if issubclass(kind, (np.datetime64, *loaded("datetime", "date"))):
        return DATE
    return None


def kinds(values: np.ndarray) -> dict[type, str | None]:
    """The types in an array of objects, and what they are."""
    types: set[type] = set()
    for chunk in chunks(values):
        types |= set(map(type, chunk))
    return {kind: kind_of(kind) for kind in types}


def chunks(values: np.ndarray) -> Iterable[list]:
    """The elements in C order, some at a time."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        yield flat[start : start + CHUNK].tolist()


def first(values: np.ndarray, wanted) -> tuple[tuple[int, ...], object]:
    """Index and value of the first element, in C order, whose kind is one of `wanted`."""
    known: dict[type, str | None] = {}
    for index, value in enumerate(values.reshape(-1).tolist()):
        kind = type(value)
        if kind not in known:
            known[kind] = kind_of(kind)
        if known[kind] in wanted:
            return tuple(map(int, np.unravel_index(index, values.shape))), value
    raise LookupError("there is no such element")


def to_numbers(values: np.ndarray, found: Iterable[str | None]) -> np.ndarray:
    """An array of objects whose kinds are numbers and holes: uint8 from bools, int64 from whole numbers that fit, else
    float64, with NaN for a hole."""
    found = set(found)
    if found == {BOOL}:
        return values.astype(bool, order="C").view(np.uint8)
    try:
        if HOLE not in found:  # NumPy's loop is in C
            return values.astype(np.int64 if found <= {BOOL, WHOLE} else np.float64, order="C")
    except OverflowError:  # from a huge integer
        pass
    result: np.ndarray = np.empty(values.shape)
    flat, start = result.reshape(-1), 0
    for chunk in chunks(values):
        flat[start : start + len(chunk)] = [_real(value) for value in chunk]
        start += len(chunk)
    return result


def _real(value) -> float:
    if isinstance(value, float):
        return value
    try:
        return float("nan") if kind_of(type(value)) == HOLE else float(value)
    except OverflowError:  # from a huge integer
        return float("inf") if value > 0 else -float("inf")


def plain(values: np.ndarray) -> np.ndarray:
    """A column of objects (n,) as numbers, bools (holes: NaN), datetime64 (holes: NaT) or texts (holes: None).

    A column of texts and other things is one of texts. NaN among texts or dates is a hole.
    """
    by_type = kinds(values)
    for kind, what in by_type.items():
        if what is None:
            (row,), value = first(values, {None})
            raise TypeError(f"row {row} holds {shown(value)} ({kind.__name__}), expected a number, a text or a date")
    found = set(by_type.values())
    if found <= NUMBERS | {HOLE} and found != {HOLE}:
        result = to_numbers(values, found)
        return result.view(bool) if found == {BOOL} else result
    if found == {HOLE} or not found:
        return np.full(len(values), np.nan)
    items = [None if _is_hole(value) else value for value in values.tolist()]
    if found <= {DATE, HOLE, REAL} and all(value is None or kind_of(type(value)) == DATE for value in items):
        return np.array([_moment(value) for value in items], "datetime64[us]")
    result = np.empty(len(values), object)
    result[:] = [value if value is None else _text(value) for value in items]
    return result


def _is_hole(value) -> bool:
    kind = kind_of(type(value))
    return kind == HOLE or (kind in (REAL, DATE) and value != value)  # NaN; NaT


def _text(value) -> str:
    """A value among texts. A whole number has no point, since a file may give a column of codes in either form."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _moment(value) -> np.datetime64:
    """A date as NumPy has it: in UTC if it has a time zone."""
    if value is None:
        return np.datetime64("NaT", "us")
    if getattr(value, "tzinfo", None) is not None:
        value = (value - value.utcoffset()).replace(tzinfo=None)
    return np.datetime64(value, "us")
