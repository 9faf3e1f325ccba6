"""Dates in tables: how they are written, and the numbers that stand for them."""

from __future__ import annotations

import re
import warnings

import numpy as np

from fastreg.common.checking import shown

TIME = r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?Z?)?"
# The order of day, month and year, and what is between them. A layout with "time" has a time of day after the date.
ORDERS = {
    "y-m-d": r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})",
    "y/m/d": r"(?P<y>\d{4})/(?P<m>\d{1,2})/(?P<d>\d{1,2})",
    "d.m.y": r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})",
    "m/d/y": r"(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d{4})",
    "d/m/y": r"(?P<d>\d{1,2})/(?P<m>\d{1,2})/(?P<y>\d{4})",
}
LAYOUTS = (*ORDERS, *(f"{order} time" for order in ORDERS))
PATTERNS = {order: re.compile(rf"\s*{pattern}{TIME}\s*", re.ASCII) for order, pattern in ORDERS.items()}
DAY = 86_400.0  # seconds
YEAR = 365.2425  # days
EPOCH = np.datetime64("2000-01-01T00:00:00")


def layout_of(values: np.ndarray) -> str | None:
    """The layout in which all of these are dates, or None. Where day and month cannot be told apart in any of them, the
    month counts as first."""
    if values.dtype.kind == "M":
        seconds = _seconds(values)
        return "y-m-d time" if np.any(np.nan_to_num(seconds) % DAY) else "y-m-d"
    texts = {value for value in values.tolist() if value is not None}
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    for order in ORDERS:
        parsed = [_parsed(text, order) for text in texts]
        if None not in parsed:
            if order == "m/d/y" and all(_parsed(text, "d/m/y") is not None for text in texts):
                text = min(texts)
                warnings.warn(
                    f"dates such as {text} are read with the month first; write 2020-12-31 to be clear", stacklevel=2
                )
            return f"{order} time" if any(second % DAY for second in parsed if second is not None) else order
    return None


def parse(name: str, values: np.ndarray, layout: str) -> np.ndarray:
    """Seconds since 2000 of dates in this layout, NaN for holes."""
    if values.dtype.kind == "M":
        return _seconds(values)
    order = layout.removesuffix(" time")
    known: dict[object, float] = {None: np.nan}
    out = np.empty(len(values))
    for row, value in enumerate(values.tolist()):
        if value not in known:
            if value != value:  # a hole in a column of numbers, which is all holes
                out[row] = np.nan
                continue
            seconds = _parsed(value, order) if isinstance(value, str) else None
            if seconds is None:
                raise ValueError(
                    f"{name}, row {row}: got {shown(value)}, expected a date such as {order}, as in training"
                )
            known[value] = seconds
        out[row] = known[value]
    return out


def numbers(seconds: np.ndarray, layout: str) -> np.ndarray:
    """(n, width): days since 2000, then sine and cosine of the time of the year, of the week and, if the layout has
    times, of the day."""
    days = seconds / DAY
    turns = [days / YEAR, days / 7] + ([days] if layout.endswith(" time") else [])
    circles = [part for turn in turns for part in (np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn))]
    return np.stack([days, *circles], axis=1)


def width(layout: str) -> int:
    """How many numbers stand for a date."""
    return 7 if layout.endswith(" time") else 5


def names(layout: str) -> list[str]:
    """What each of the numbers is, to be put after the name of a column."""
    told = [" days", " year sine", " year cosine", " week sine", " week cosine", " day sine", " day cosine"]
    return told[: width(layout)]


def _parsed(text: str, order: str) -> float | None:
    """Seconds since 2000, or None if the text is no date of this order."""
    match = PATTERNS[order].fullmatch(text)
    if not match:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[-3:])
    try:
        day = np.datetime64(f"{match['y']}-{int(match['m']):02}-{int(match['d']):02}T00:00:00")
    except ValueError:
        return None
    if hour > 23 or minute > 59 or second > 60:
        return None
    return (day - EPOCH).astype(float) + hour * 3600 + minute * 60 + second


def _seconds(values: np.ndarray) -> np.ndarray:
    seconds = (values.astype("datetime64[ms]") - EPOCH.astype("datetime64[ms]")).astype(np.float64) / 1000
    seconds[np.isnat(values)] = np.nan
    return seconds
