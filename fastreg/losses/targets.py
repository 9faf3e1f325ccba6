"""Targets: what losses take, checked, in the form that the engines read. Copied only if their form must change.

`argument` is the name of the targets in errors. `holes` says whether NaN means that there is no target. It is None for
a loss that has no such option.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from fastreg.common import checking
from fastreg.common.pieces import pieces

SUM = 0.02  # how far the sum of a row of probabilities may be from 1: two digits of each are exact enough


def array(
    argument: str,
    y,
    rows: int,
    working: str,
    holes: bool | None,
    advice: Mapping[str, str] = checking.NO_ADVICE,
) -> np.ndarray:
    """Finite numbers, one element or row for each of the `rows` of the inputs."""
    if y is None:
        raise TypeError(f"{argument}: got None, expected targets, one per row of the inputs")
    y = checking.array(argument, y, working, advice)
    if not y.ndim or len(y) != rows:
        raise ValueError(f"{argument}: got shape {y.shape}, expected {rows} rows, as many as the inputs have")
    option = "" if holes is None else "missing_targets=True takes NaN as no target"
    checking.finite(argument, y, working, advice=option, holes=bool(holes))
    return y


def values(argument: str, y, rows: int, outputs: int, working: str, holes: bool | None) -> np.ndarray:
    """Numbers (rows, outputs)."""
    y = array(argument, y, rows, working, holes)
    if y.ndim == 1 and outputs == 1:
        return y[:, np.newaxis]
    if y.shape != (rows, outputs):
        or_flat = f" or ({rows},)" if outputs == 1 else ""
        advice = f"; for {y.shape[1]} targets per row the last layer needs {y.shape[1]} units" if y.ndim == 2 else ""
        raise ValueError(f"{argument}: got shape {y.shape}, expected ({rows}, {outputs}){or_flat}{advice}")
    return y


def between_0_and_1(argument: str, y: np.ndarray, signs: bool = False) -> np.ndarray:
    """Answers to yes-or-no questions. With `signs`, -1 and 1 are no and yes, too."""
    low, high = np.fmin.reduce(y, axis=None), np.fmax.reduce(y, axis=None)  # of all but NaN
    if low < 0 or high > 1:
        advice = ""
        if signs and low == -1 and ((y == -1) | (y == 1) | (y != y)).all():
            return (y + 1) / 2 if y.dtype.kind == "f" else (y + 1) // 2
        if ((y == -1) | (y == 1)).all():
            advice = f"; ({argument} + 1) / 2 makes 0 and 1 of -1 and 1"
        elif ((y == 1) | (y == 2)).all():
            advice = f"; {argument} - 1 makes 0 and 1 of 1 and 2"
        or_signs = ", or -1 and 1 alone" if signs else ""
        raise ValueError(f"{argument}: got values from {low} to {high}, expected 0 to 1{or_signs}{advice}")
    return y


def counts(argument: str, y: np.ndarray) -> np.ndarray:
    """The numbers, if none is below 0."""
    low = np.fmin.reduce(y, axis=None)  # of all but NaN
    if low < 0:
        row = int(np.argmax((y < 0).any(axis=1)))
        raise ValueError(f"{argument}: got {y[row].min():g} in row {row}, expected numbers of at least 0")
    return y


def classes(
    argument: str, y, rows: int, outputs: int, working: str, holes: bool | None, shares: bool = True
) -> np.ndarray:
    """Labels (rows,) as int64, with -1 for no label. With `shares`, rows of probabilities (rows, outputs) are taken as
    they are. One-hot rows become labels."""
    y = array(argument, y, rows, working, holes, checking.FOR_LABELS)
    if y.shape == (rows, outputs) and outputs > 1:
        return _of_rows(argument, y, bool(holes), shares)
    if y.shape == (rows, 1):
        y = y[:, 0]
    if y.shape != (rows,):
        expected = f"integer labels of shape ({rows},) or one-hot rows of shape ({rows}, {outputs})"
        advice = f"; for {y.shape[1]} classes the last layer needs {y.shape[1]} units" if y.ndim == 2 else ""
        raise ValueError(f"{argument}: got shape {y.shape}, expected {expected}{advice}")
    labels = np.empty(rows, np.int64)  # a copy, so that labels cannot change after the checks
    low, high = math.inf, -math.inf
    for part in pieces(rows):
        some = y[part]
        there = _there(some) if holes else np.ones(len(some), bool)
        if y.dtype.kind == "f":
            fractions = there & ~((some == np.floor(some)) & np.isfinite(some))  # a memory map may hold NaN, too
            if fractions.any():
                row = part.start + int(np.argmax(fractions))
                expected = f"labels: whole numbers from 0 to {outputs - 1}"
                advice = "; to predict numbers, use loss='mse'" if np.isfinite(y[row]) else ""
                raise ValueError(f"{argument}: got {y[row]} in row {row}, expected {expected}{advice}")
        if there.any():
            low, high = min(low, int(some[there].min())), max(high, int(some[there].max()))
        if low >= 0 and high < outputs:  # others may be no int64
            labels[part] = np.where(there, some, -1)
    _check_range(argument, y, low, high, outputs, holes)
    return labels


def shares_there(y: np.ndarray) -> np.ndarray | None:
    """For each row of checked targets, the share of the outputs that have one. None if all have."""
    if y.ndim == 1:
        there = y >= 0
        return None if there.all() else there.astype(np.float64)
    if y.dtype.kind != "f":
        return None
    shares = np.empty(len(y))
    for start, part in _chunks(y):
        shares[start : start + len(part)] = 1 - np.isnan(part).mean(axis=1)
    return None if (shares == 1).all() else shares


def _there(y: np.ndarray) -> np.ndarray:
    """Which labels are there: not NaN, not -1."""
    return ~((y == -1) | (y != y))


def _check_range(argument: str, y: np.ndarray, low: float, high: float, outputs: int, holes: bool | None) -> None:
    if low >= 0 and high < outputs:
        return
    text = f"{argument}: got labels from {low} to {high}, expected 0 to {outputs - 1}: one per output"
    if low == -1 and not holes and ((y == -1) | (y == 1)).all():
        raise ValueError(f"{text}; ({argument} + 1) // 2 makes 0 and 1 of -1 and 1")
    if low == -1 and high < outputs and holes is False:
        raise ValueError(f"{text}; missing_targets=True takes -1 as no label")
    if low == 1 and high == outputs:
        raise ValueError(f"{text}; labels start at 0: {argument} - 1 makes them")
    if low >= 0 and high == 1:
        raise ValueError(f"{text}; use loss='sigmoid_cross_entropy', or two units in the last layer")
    if low >= 0 and high < 1000:
        raise ValueError(f"{text}; for labels up to {high} the last layer needs {high + 1} units")
    raise ValueError(text)


def _of_rows(argument: str, y: np.ndarray, holes: bool, shares: bool) -> np.ndarray:
    """One-hot rows as labels; or the rows themselves if they are probabilities. It works in chunks, to need little
    memory."""
    labels = np.empty(len(y), np.int64)
    for start, part in _chunks(y):
        gone = _all_nan(part, holes)
        good = gone | (((part == 0) | (part == 1)).all(axis=1) & (np.count_nonzero(part, axis=1) == 1))
        if not good.all():
            if shares:
                _check_shares(argument, y, holes)
                return y
            raise ValueError(
                f"{argument}: row {start + int(np.argmin(good))} is not one-hot, expected a single 1 per row"
            )
        labels[start : start + len(part)] = np.where(gone, -1, part.argmax(axis=1))
    return labels


def _check_shares(argument: str, y: np.ndarray, holes: bool) -> None:
    """Refuses rows that are not probabilities: at least 0, with the sum 1."""
    for start, part in _chunks(y):
        sums = part.sum(axis=1, dtype=np.float64)
        good = _all_nan(part, holes) | ((part >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM))
        if good.all():
            continue
        row = int(np.argmin(good))
        values, place = part[row], f"{argument}: row {start + row}"
        if not (values >= 0).all():
            raise ValueError(f"{place} holds {values.min()}, expected one-hot rows or probabilities of at least 0")
        if ((values == 0) | (values == 1)).all():
            ones = np.count_nonzero(values)
            advice = "; several labels per row need loss='sigmoid_cross_entropy'" if ones else ""
            got = f"has {ones} ones" if ones else "has no 1"
            raise ValueError(f"{place} {got}, expected one-hot rows or probabilities that sum to 1{advice}")
        advice = f"{argument} / {argument}.sum(axis=1, keepdims=True) makes them"
        raise ValueError(f"{place} sums to {sums[row]:.6g}, expected probabilities that sum to 1; {advice}")


def _all_nan(part: np.ndarray, holes: bool) -> np.ndarray:
    """Which rows have no target."""
    return np.isnan(part).all(axis=1) if holes and part.dtype.kind == "f" else np.zeros(len(part), bool)


def _chunks(y: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Some rows at a time, with the number of the first."""
    step = max(1, checking.CHUNK // y.shape[1])
    for start in range(0, len(y), step):
        yield start, y[start : start + step]
