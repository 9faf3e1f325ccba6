"""The fields of a table made into columns, block by block: numbers where all are, otherwise text.

Numbers are read in C (csrc/text.c). What else there is in a column is looked at here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from fastreg.common.checking import MAX_INT
from fastreg.data.tables.dialect import BLANKS
from fastreg.data.tables.fields import COMMA, GROUPED, UNIT, Meanings, Missing, Texts, grouped_values, looks_grouped
from fastreg.machine._core import SEEN_HOLE, SEEN_LARGE, SEEN_POINT, SEEN_TEXT, read_fields

EXACT = 2.0**53  # from here on, floats skip whole numbers
KEPT = 100_000  # distinct fields that are remembered at a time
FEW = 5  # fields, and
SEPARATOR = "\x1f"  # between fields that may have any other delimiter in them
BREAKS = re.compile(r"[\n\x1f]")
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
        self.width = width

    def take_text(self, block: str, first: int, delimiter: str) -> tuple[int, int] | None:
        """Takes a block of lines without quotes, from line `first` on; or the first line of another width, and that."""
        lines = block.removesuffix("\n").split("\n")
        if delimiter == BLANKS:
            lines = ["\t".join(line.split()) for line in lines]
            delimiter = "\t"
        found = self._numbers("\n".join(lines), delimiter)
        if len(found) == 2:
            return first + found[0], found[1]
        if len(kept := found[1]):
            self._take(found, lambda: [lines[i].split(delimiter) for i in kept], first + kept)
        return None

    def take_rows(self, rows: Sequence[Sequence[str]], lines: np.ndarray) -> None:
        """Takes a block of rows, each of which has the width of the table."""
        text = "\n".join(map(SEPARATOR.join, rows))
        if text.count(SEPARATOR) != len(rows) * (self.width - 1) or text.count("\n") >= len(rows):
            text = "\n".join(SEPARATOR.join(BREAKS.sub("_", field) for field in row) for row in rows)  # no numbers
        self._take(self._numbers(text, SEPARATOR), lambda: rows, lines)

    def _numbers(self, text: str, delimiter: str) -> tuple:
        """What C finds in lines of fields: values, numbers of lines, what was seen, and each with its text."""
        packed = (text + "\n").encode("utf-8", "surrogatepass")
        found = read_fields(packed, self.missing.packed, self.width, delimiter, self.decimal)
        if len(found) == 2:
            return found
        values, lines, seen, hard = found
        self._fill_in(values, seen, hard, packed)
        return values, lines, seen

    def _take(self, found: tuple, split: Callable[[], Sequence[Sequence[str]]], lines: np.ndarray) -> None:
        """Takes the numbers of a block. `split` gives its rows, if columns have text."""
        values, _, seen = found
        rows: Sequence[Sequence[str]] = []
        for column in self.columns:
            how = int(seen[column.number])
            if column.is_text or how & (SEEN_TEXT | SEEN_LARGE):
                rows = rows or split()
                self._take_any(column, [row[column.number] for row in rows], lines)
            else:
                self._take_values(column, values[column.number], how, lines)
        self.lines.append(lines)
        self.count += len(lines)
        for remembered in (self.meanings, self.known):
            if len(remembered) > KEPT:
                remembered.clear()

    def _fill_in(self, values: np.ndarray, seen: np.ndarray, hard: np.ndarray, text: bytes) -> None:
        """Puts the numbers that C leaves to Python where they belong."""
        for column, row, begin, end in hard.tolist():
            field = text[begin:end]
            value = values[column, row] = float(field.replace(b",", b".") if self.decimal == "," else field)
            if not abs(value) < EXACT:  # infinite ones count as text, which is looked at more closely
                seen[column] |= SEEN_LARGE if math.isfinite(value) else SEEN_TEXT

    def _take_values(self, column: Column, chunk: np.ndarray, how: int, lines: np.ndarray) -> None:
        """Takes numbers and holes."""
        is_hole = np.isnan(chunk) if how & SEEN_HOLE else None
        if self.missing.values and (gone := np.isin(chunk, list(self.missing.values))).any():
            chunk[gone] = np.nan
            is_hole = np.isnan(chunk)
        holes = 0 if is_hole is None else int(is_hole.sum())
        column.whole = column.whole and not how & SEEN_POINT
        column.holes += holes
        column.numbers += len(chunk) - holes
        column.chunks.append(chunk)
        if holes < len(chunk):
            column.lost = True
            if column.first_number is None:
                at = 0 if is_hole is None else int(np.argmin(is_hole))
                column.first_number = Place(int(lines[at]), f"{chunk[at]:g}")

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
                    column.whole = not any(self.decimal in field for field in result if field is not None)
                    return np.array(values, np.int64 if column.whole and not column.holes else np.float64)
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
