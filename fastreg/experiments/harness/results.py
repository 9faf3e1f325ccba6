"""What an experiment found: the numbers of its runs, its table, its claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Student's t for a two-sided interval of 95 %, with 2 to 30 degrees of freedom.
STUDENT = (
    *(4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def half_interval(values: Any) -> np.ndarray:
    """Half the width of the 95 % interval of the mean over the first axis. NaN for fewer than three values.

    Examples
    --------
    >>> round(float(half_interval([1.0, 2.0, 3.0])), 3)
    2.484
    """
    values = np.asarray(values, float)
    count = len(values)
    if count < 3:  # that of two values is so wide that it says nothing
        return np.full(values.shape[1:], np.nan)
    student = STUDENT[count - 3] if count - 3 < len(STUDENT) else 1.96
    return student * values.std(axis=0, ddof=1) / math.sqrt(count)


def plus_minus(values: Any, digits: int = 3) -> str:
    """The mean of some numbers, with half the width of its 95 % interval.

    Examples
    --------
    >>> plus_minus([0.5, 0.6, 0.7]), plus_minus([0.5])
    ('0.600 ± 0.248', '0.500')
    """
    values = np.asarray(values, float)
    mean, half = float(values.mean()), float(half_interval(values))
    return f"{mean:.{digits}f}" if math.isnan(half) else f"{mean:.{digits}f} ± {half:.{digits}f}"


def surely_above(values: Any, limit: float = 0.0) -> bool:
    """Whether the mean of some numbers is above a limit, with its whole 95 % interval where they are enough for one.

    Examples
    --------
    >>> surely_above([0.5, 0.6, 0.7]), surely_above([-0.1, 0.0, 0.3]), surely_above([0.1])
    (True, False, True)
    """
    values = np.asarray(values, float)
    return bool(values.mean() - np.nan_to_num(half_interval(values)) > limit)


@dataclass(frozen=True)
class Table:
    """What an experiment prints. The first column is aligned left. `note` says what the columns mean."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A sentence that is true or not, whether it held, and the figures that say so."""

    text: str
    held: bool | np.bool_
    figures: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "held", bool(self.held))  # NumPy's are not JSON's

    def __str__(self) -> str:
        return f"{'held' if self.held else 'NOT held'}: {self.text} ({self.figures})"


class Runs:
    """The numbers of an experiment, one dict for each seed.

    Examples
    --------
    >>> runs = Runs([{"loss": {"l1": 0.5}}, {"loss": {"l1": 0.6}}, {"loss": {"l1": 0.7}}])
    >>> runs.values("loss", "l1"), round(runs.mean("loss", "l1"), 3), runs.text("loss", "l1", digits=2)
    (array([0.5, 0.6, 0.7]), 0.6, '0.60 ± 0.25')
    """

    def __init__(self, runs: Sequence[dict], quick: bool = False, engine: str = "native", data: str = ""):
        self.runs, self.quick, self.engine, self.data = list(runs), quick, engine, data

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> dict:
        return self.runs[index]

    def values(self, *keys: str) -> np.ndarray:
        """What is found under the keys, one after the other, in every run: an array whose first axis is the run."""
        found = []
        for run in self.runs:
            for key in keys:
                run = run[key]
            found.append(run)
        return np.array(found, float)

    def mean(self, *keys: str) -> Any:
        """The mean over the runs: a number, or an array."""
        mean = self.values(*keys).mean(axis=0)
        return float(mean) if mean.ndim == 0 else mean

    def half(self, *keys: str) -> Any:
        """Half the width of the mean's 95 % interval."""
        return half_interval(self.values(*keys))

    def text(self, *keys: str, digits: int = 3) -> str:
        """The mean and its interval in words."""
        return plus_minus(self.values(*keys), digits)


def as_plain(value: Any) -> Any:
    """Numbers that JSON can say: arrays become lists, and numbers that are not finite become null.

    Examples
    --------
    >>> as_plain({"a": np.arange(2), "b": [np.float32(0.5), float("nan")]})
    {'a': [0, 1], 'b': [0.5, None]}
    """
    if isinstance(value, dict):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
