"""Rows of a benchmark's table, and the functions that take times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from fastreg.common.tables import duration, percent, times

HEAD = f"{'':18} {'shape':26} {'target':8} {'time':>8} {'rate':>15} {'of peak':>8} {'reference':>10} {'error':>8}"


@dataclass(frozen=True)
class Row:
    """A measurement on one SIMD target, next to the reference engine on the same data.

    name, shape, target
    seconds     the median; None if the results differ, because the time of a wrong result is of no interest
    reference   the seconds of the reference
    work, unit  the work in GFLOP or GB, and "GFLOP/s" or "GB/s"
    peak        of the threads used, in that unit
    error       the largest difference from the reference, over the largest value
    limit       the largest error allowed; it grows with the length of the sums
    group       what it measures: "kernel", or "step" for a step of training
    """

    name: str
    shape: str
    target: str
    seconds: float | None
    reference: float
    work: float
    unit: str
    peak: float
    error: float
    limit: float
    group: str = "kernel"

    @property
    def agrees(self) -> bool:
        return self.error <= self.limit

    @property
    def rate(self) -> float | None:
        return self.work / self.seconds if self.seconds else None

    @property
    def share(self) -> float | None:
        return self.rate / self.peak if self.rate else None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**vars(self), "rate": self.rate, "share": self.share, "agrees": self.agrees}

    def __str__(self) -> str:
        time = "-" if self.seconds is None else duration(self.seconds)
        rate = "-" if self.rate is None else f"{self.rate:.1f} {self.unit}"
        verdict = "agrees" if self.agrees else "differs"
        return (
            f"{self.name:18} {self.shape:26} {self.target:8} {time:>8} {rate:>15} {percent(self.share):>8} "
            f"{duration(self.reference):>10} {self.error:8.1e} {verdict}"
        )


UNITS = """\
time, reference: per call of a kernel or step of training; time is the median of some measurements on the target
rate: operations of the matrix products, or bytes read and written at least, per second
of peak: the rate over that of the target on the threads used, or of the memory, which arrays in the caches can exceed
error: the largest difference from the reference, over the largest value; it has no unit"""


def verdict(rows: Sequence[Row]) -> str:
    """In one sentence, whether the results agree with the reference, and how fast training is on the best target."""
    wrong = [row for row in rows if not row.agrees]
    if wrong:
        first = f"{wrong[0].name} {wrong[0].shape} on {wrong[0].target}"
        return f"results differ from the reference in {len(wrong)} of {len(rows)} rows, first in {first}"
    agree = f"all {len(rows)} results agree with the reference"
    steps = [row for row in rows if row.group == "step" and row.target == rows[0].target]
    if not steps:
        return agree
    shares = sorted(row.share for row in steps if row.share is not None)
    faster = sorted(row.reference / row.seconds for row in steps if row.seconds)
    return (
        f"{agree}; on {rows[0].target}, steps of training reach {100 * shares[0]:.0f} to {percent(shares[-1])} of the "
        f"peak, {times(faster[0]).removesuffix(' x')} to {times(faster[-1])} as fast as the NumPy engine"
    )


def timed(run: Callable[..., object], *arguments: object) -> float:
    """Seconds of one call."""
    start = perf_counter()
    run(*arguments)
    return perf_counter() - start


def time_of(run: Callable[[int], object], seconds: float, repeats: int, most: int = 1 << 20) -> float:
    """Seconds per time of run(times): the median of `repeats` measurements of about `seconds` each."""
    times = 1
    while (taken := timed(run, times)) < seconds / 2 and times < most:
        times = min(most, max(2 * times, int(times * seconds / max(taken, 1e-9))))
    return median(timed(run, times) for _ in range(repeats)) / times
