"""The fields of a table made into columns, block by block: numbers where all are, otherwise text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from fastreg.common.checking import MAX_INT
from fastreg.data.fields import COMMA, GROUPED, UNIT, Meanings, Missing, Texts, grouped_values, looks_grouped

EXACT = 2.0**53  # from here on, floats skip whole numbers
KEPT = 100_000  # distinct fields that are remembered at a time
FEW = 5  # fields, and
SHARE = 20  # one in so many: text that is this rare among numbers is a typing error


class Place(NamedTuple):
    """A field and where it is."""

    line: int
    field: str


class Column:
    """What is known of a column so far, and its values by blocks."""

    def __init__(self, number: int, name: str, forced: bool):
        self.number = number  # from 0, in the file
        self.name = name
        self.forced = forced  # whether it is text whatever it holds
        self.is_text = forced
        self.whole = True  # whether all numbers are written without point and exponent
        self.chunks: list[Any] = []  # arrays, or lists of text and None
        self.numbers = self.texts = self.holes = 0
        self.first_number: Place | None = None
        self.odd: list[Place] = []  # the first texts
        self.endless: Place | None = None  # the first number that is infinite
        self.inexact: Place | None = None  # the first whole number that float64 cannot hold
        self.lost = False  # whether a chunk holds numbers whose text is gone

    @property
    def where(self) -> str:
        """The column, for messages."""
        return f"column {self.number + 1}" + (f" ({self.name!r})" if self.name else "")

    @property
    def odd_is_rare(self) -> bool:
        """Whether text among numbers can only be a typing error."""
        few = self.texts <= FEW and self.texts * SHARE <= self.texts + self.numbers
        return few or (self.texts == 1 and self.numbers > 1)

    @property
    def has_units(self) -> bool:
        """Whether the texts seem to be numbers with a currency or a percent sign."""
        return bool(self.odd) and all(UNIT.fullmatch(place.field) for place in self.odd)

    def may_be_grouped(self, decimal: str) -> bool:
        """Whether the texts seem to be numbers with marks between thousands."""
        return bool(self.odd) and all(looks_grouped(place.field, decimal) for place in self.odd)


class Reader:
    """Takes blocks of rows, and makes columns of them.

    Parameters
    ----------
    columns : the columns to make, in their order
    width : the number of fields of a row
    missing, decimal : as the caller gave them
    """

    def __init__(self, columns: list[Column], width: int, missing: Missing, decimal: str):
        self.columns = columns
        self.missing = missing
        self.decimal = decimal
        self.meanings = Meanings(missing, decimal)
        self.known = Texts(missing)
        self.lines: list[np.ndarray] = []
        self.count = 0
        self.all = len(columns) == width

    @property
    def only_numbers(self) -> bool:
        """Whether a block of numbers can be read in one go."""
        return self.all and not any(column.is_text for column in self.columns)

    def take_numbers(self, fields: list[str], text: str, lines: np.ndarray) -> bool:
        """Takes the fields of a block, row after row, if all are finite numbers or holes. They were cut from `text`."""
        if "_" in text or not text.isascii():
            return False
        is_hole = None
        try:
            values = np.fromiter(map(float, fields), np.float64, len(fields))
        except ValueError:
            gone = self.missing.texts
            is_hole = np.fromiter((field in gone for field in fields), bool, len(fields))
            if not is_hole.any():
                return False
            try:
                values = np.fromiter((math.nan if f in gone else float(f) for f in fields), np.float64, len(fields))
            except ValueError:
                return False
        if is_hole is None and np.isnan(values).any():  # float reads nan, which is a hole if the caller says so
            is_hole = np.fromiter((field in self.missing.texts for field in fields), bool, len(fields))
        return self._take_values(values, is_hole, "." in text or "e" in text or "E" in text, fields, lines)

    def _take_values(self, values, is_hole, pointed: bool, fields: list[str], lines: np.ndarray) -> bool:
        known = values if is_hole is None else values[~is_hole]
        if not np.isfinite(known).all() or (abs(known) >= EXACT).any():
            return False
        if self.missing.values and np.isin(known, list(self.missing.values)).any():
            return False
        width = len(self.columns)
        matrix = np.ascontiguousarray(values.reshape(-1, width).T)
        whole = np.ones(width, bool)
        if pointed:
            whole = ((matrix == np.floor(matrix)) | np.isnan(matrix)).all(axis=1)
            for i in np.flatnonzero(whole):
                written = "".join(fields[i::width]) if self.columns[i].whole else "."
                if "." in written or "e" in written or "E" in written:  # 1.0, or null
                    whole[i] = self.columns[i].whole and not any(map(self._is_pointed, fields[i::width]))
        holes = np.zeros(width, int) if is_hole is None else is_hole.reshape(-1, width).sum(axis=0)
        for column, chunk, is_whole, gone in zip(self.columns, matrix, whole.tolist(), holes.tolist(), strict=True):
            column.whole = column.whole and is_whole
            column.holes += gone
            column.numbers += len(chunk) - gone
            column.chunks.append(chunk)
            if gone < len(chunk):
                column.lost = True
                if column.first_number is None:
                    at = int(np.argmin(np.isnan(chunk))) if gone else 0
                    column.first_number = Place(int(lines[at]), f"{chunk[at]:g}")
        self._took(lines)
        return True

    def take_rows(self, rows: Sequence[Sequence[str]], lines: np.ndarray) -> None:
        """Takes a block of rows of any fields."""
        for columns in (self.meanings, self.known):
            if len(columns) > KEPT:
                columns.clear()
        for column, fields in zip(self.columns, zip(*self._picked(rows), strict=True), strict=True):
            if column.is_text or not self._take_plain(column, fields, lines):
                self._take_any(column, fields, lines)
        self._took(lines)

    def _picked(self, rows: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
        if self.all:
            return rows
        numbers = [column.number for column in self.columns]
        return [[row[i] for i in numbers] for row in rows]

    def _took(self, lines: np.ndarray) -> None:
        self.lines.append(lines)
        self.count += len(lines)

    def _take_plain(self, column: Column, fields: Sequence[str], lines: np.ndarray) -> bool:
        """Takes finite numbers and holes; the quick way."""
        gone = self.missing.texts
        is_hole = [field in gone for field in fields]
        holes = sum(is_hole)
        kept = [field for field, hole in zip(fields, is_hole, strict=True) if not hole] if holes else fields
        written = "".join(kept)
        if self.decimal == ",":
            if "." in written:
                return False
            kept = [field.replace(",", ".") for field in kept]
            written = written.replace(",", ".")
        if "_" in written or not written.isascii():
            return False
        try:
            found = np.fromiter(map(float, kept), np.float64, len(kept))
        except ValueError:
            return False
        if not np.isfinite(found).all() or (abs(found) >= EXACT).any():
            return False
        if self.missing.values and np.isin(found, list(self.missing.values)).any():
            return False
        column.whole = column.whole and not ("." in written or "e" in written or "E" in written)
        column.numbers += len(kept)
        column.holes += holes
        if kept:
            column.lost = True
            if column.first_number is None:
                at = is_hole.index(False)
                column.first_number = Place(int(lines[at]), fields[at].strip())
        if holes:
            values = np.full(len(fields), np.nan)
            values[~np.array(is_hole)] = found
            column.chunks.append(values)
        else:
            column.chunks.append(found)
        return True

    def _take_any(self, column: Column, fields: Sequence[str], lines: np.ndarray) -> None:
        """Takes whatever there is, and counts what it is, as long as that matters."""
        if column.forced or column.texts > FEW:
            column.is_text = True
            column.chunks.append(self._texts(fields))
            return
        meanings = list(map(self.meanings.__getitem__, fields))
        kinds = Counter(map(type, meanings))
        column.texts += kinds[str]
        column.numbers += kinds[int] + kinds[float]
        column.holes += kinds[type(None)]
        column.whole = column.whole and not kinds[float]
        if column.first_number is None and kinds[int] + kinds[float]:
            at = next(i for i, meaning in enumerate(meanings) if isinstance(meaning, (int, float)))
            column.first_number = Place(int(lines[at]), fields[at].strip())
        if kinds[str] and len(column.odd) <= FEW:
            odd = (i for i, meaning in enumerate(meanings) if isinstance(meaning, str))
            for at in islice(odd, FEW + 1 - len(column.odd)):
                column.odd.append(Place(int(lines[at]), fields[at].strip()))
        if column.endless is None and kinds[float] and math.inf in meanings:
            at = meanings.index(math.inf)
            column.endless = Place(int(lines[at]), fields[at].strip())
        if column.texts or column.is_text:
            column.is_text = True
            column.chunks.append(self._texts(fields))
            return
        column.lost = column.lost or bool(column.numbers)
        if not (kinds[float] or kinds[type(None)]) and max(map(abs, meanings)) <= MAX_INT:
            column.chunks.append(np.array(meanings, np.int64))
            return
        if column.inexact is None and kinds[int]:
            at = next((i for i, m in enumerate(meanings) if isinstance(m, int) and int(float(m)) != m), -1)
            column.inexact = Place(int(lines[at]), fields[at].strip()) if at >= 0 else None
        column.chunks.append(np.array(meanings, np.float64))

    def _is_pointed(self, field: str) -> bool:
        """Whether a number is written with point or exponent."""
        return ("." in field or "e" in field or "E" in field) and field not in self.missing.texts

    def _texts(self, fields: Sequence[str]) -> list[str | None]:
        """Fields without the blanks about them, None for holes. Those that come often are kept once."""
        if 2 * len(set(fields)) < len(fields):
            return list(map(self.known.__getitem__, fields))
        gone = self.missing.texts
        return [None if field in gone else field for field in map(str.strip, fields)]

    def values(self, column: Column) -> np.ndarray:
        """The whole column: float64, int64 or text, as an array that is its own."""
        chunks, column.chunks = column.chunks, []
        if column.is_text:
            result = np.empty(self.count, object)
            start = 0
            for chunk in chunks:
                # where the text is not kept, there are only holes
                result[start : start + len(chunk)] = chunk if isinstance(chunk, list) else [None] * len(chunk)
                start += len(chunk)
            if not column.forced and column.may_be_grouped(self.decimal):
                values = grouped_values(result, self.decimal)
                if values is not None:
                    column.is_text = False
                    return np.array(values)
            return result
        if column.whole and not column.holes and column.numbers and all(map(_holds_integers, chunks)):
            return np.concatenate([chunk.astype(np.int64) for chunk in chunks])
        result = np.empty(self.count)
        start = 0
        for chunk in chunks:
            part = result[start : start + len(chunk)]
            part[:] = chunk
            if column.inexact is None and chunk.dtype == np.int64 and (part.astype(np.int64) != chunk).any():
                at = int(np.argmax(part.astype(np.int64) != chunk))
                column.inexact = Place(int(np.concatenate(self.lines)[start + at]), str(chunk[at]))
            start += len(chunk)
        return result


def advice_on(field: str, decimal: str) -> str:
    """What would make a number of an odd field."""
    if decimal == "." and COMMA.fullmatch(field) and not GROUPED.fullmatch(field):
        return "; decimal=',' reads decimal commas"
    if looks_grouped(field, decimal):
        return "; it is not certain that its marks stand between thousands"
    return ""


def _holds_integers(chunk: Any) -> bool:
    return chunk.dtype == np.int64 or bool((abs(chunk) < EXACT).all())
