"""What the text of a field is: a number, a hole or text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from fastreg.common import checking

# Fields that stand for a missing value: those of pandas, and "?". An empty field is one in any case.
MISSING = (
    *("", "?", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "null", "NULL", "None"),
    *("#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)

PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
WHOLE = re.compile(r"[+-]?[0-9]+")
UNENDING = re.compile(r"[+-]?(?:inf|infinity|nan)", re.IGNORECASE)
COMMA = re.compile(r"[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)?")  # with a decimal comma
GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")  # with commas between thousands


UNIT = re.compile(r"[$€£¥]\s?[0-9.,]+|[+-]?[0-9.,]+\s?[%$€£¥]")  # a number with a currency or percent sign
SWAP = str.maketrans(".,", ",.")


def is_number(field: str, decimal: str = ".") -> bool:
    """Whether a field is a number as people write them. 1_0, hexadecimal and the digits of other scripts are none."""
    field = field.strip()
    if decimal == ",":
        return "." not in field and PLAIN.fullmatch(field.replace(",", ".")) is not None
    return PLAIN.fullmatch(field) is not None


def looks_grouped(field: str, decimal: str = ".") -> bool:
    """Whether a field may have marks between thousands: commas, or points where the decimal mark is a comma."""
    return GROUPED.fullmatch(field.translate(SWAP) if decimal == "," else field) is not None


def is_grouped(field: str, decimal: str = ".") -> bool:
    """Whether a field has marks that can only stand between thousands."""
    field = field.translate(SWAP) if decimal == "," else field
    return GROUPED.fullmatch(field) is not None and (field.count(",") > 1 or "." in field)


class Missing:
    """The fields that are holes: by their text, and by their value where a number is given."""

    def __init__(self, missing: Any):
        if isinstance(missing, str):
            missing = (missing,)
        given = list(checking.iterate("missing", missing, "a list of fields, such as ('NA', '-999')"))
        for field in given:
            if isinstance(field, bool) or not isinstance(field, (str, int, float)):
                raise TypeError(f"missing: got {checking.shown(field)}, expected fields as text or numbers")
        self.texts = frozenset({"", *(str(field).strip() for field in given)})
        self.values = frozenset(float(field) for field in self.texts if PLAIN.fullmatch(field))
        self.packed = "".join(f"{field}\n" for field in self.texts if field and "\n" not in field).encode()
        self.is_default = self.texts == frozenset(MISSING)


class Meanings(dict):
    """What fields mean, each distinct one looked at once: None a hole, int or float a number, str (stripped) text."""

    def __init__(self, missing: Missing, decimal: str):
        super().__init__()
        self.missing = missing
        self.decimal = decimal

    def __missing__(self, field: str) -> int | float | str | None:
        meaning = self[field] = self._meaning(field)
        return meaning

    def _meaning(self, field: str) -> int | float | str | None:
        text = field.strip()
        if text in self.missing.texts:
            return None
        number = text.replace("\u2212", "-")  # the minus of typesetters
        if self.decimal == ",":
            number = "" if "." in text else number.replace(",", ".")
        if not PLAIN.fullmatch(number):
            if UNENDING.fullmatch(number):
                return None if math.isnan(float(number)) and "nan" in self.missing.texts else math.inf
            return text
        value = float(number)
        if value in self.missing.values:
            return None
        return int(number) if math.isfinite(value) and WHOLE.fullmatch(number) else value


class Texts(dict):
    """Fields as text, each distinct one kept once: None a hole, otherwise without the blanks about it."""

    def __init__(self, missing: Missing):
        super().__init__()
        self.missing = missing

    def __missing__(self, field: str) -> str | None:
        text: str | None = field.strip()
        text = self[field] = None if text in self.missing.texts else text
        return text


def grouped_values(fields: Iterable[str | None], decimal: str) -> list[float] | None:
    """The numbers of a column with marks between thousands; None if it is not certain that it is one.

    Where the decimal mark is a comma, a point can be nothing else.
    """
    certain, values = decimal == ",", []
    for field in fields:
        if field is None:
            values.append(math.nan)
            continue
        plain = field.translate(SWAP) if decimal == "," else field
        certain = certain or is_grouped(field, decimal)
        if GROUPED.fullmatch(plain):
            values.append(float(plain.replace(",", "")))
        elif PLAIN.fullmatch(plain):
            values.append(float(plain))
        else:
            return None
    return values if certain else None
