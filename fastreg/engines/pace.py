"""Measures whether all threads or one are faster for small work, unless the user has set a number.

To share a step of a few microseconds, cache lines have to move from one processor to another. If the two are far apart,
or if another process takes the time of one, two threads are slower than one. No count of operations can tell. Results
do not depend on the number of threads, so a run may change it at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

SHORT_SECONDS = 1e-3  # of a batch: longer ones hand out their work piece by piece, which evens out disturbances
FIRST_SECONDS = 0.02  # for the best count so far, before the other one is tried
TRY_SECONDS = 0.004
EVERY_SECONDS = 1.0
CLEARLY = 0.95  # a change must gain this much, or it would follow the noise of the clock

Go = Callable[[int, int, int, float], int]  # threads, first, stop, seconds; returns the next batch


class Pace:
    """How many threads an engine runs on: all or one, whichever was faster when both were last tried.

    Parameters
    ----------
    clock
        Returns the time in seconds. For tests.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter):
        self._clock = clock
        self._all = 0  # the number of threads, if there is more than one
        self._count = 0  # how many of them are in use
        self._due = 0.0  # when the other count is tried again

    def run(self, threads: int, first: int, stop: int, seconds: float, go: Go, ended: Callable[[], bool]) -> int:
        """Runs batches first to stop - 1 with at most this many threads. Returns the next batch.

        It runs fewer batches if time is up or the run has `ended`.
        """
        if threads == 1:
            return go(1, first, stop, seconds)
        if threads != self._all:
            self._all = self._count = threads
            self._due = 0.0
        if self._clock() >= self._due:
            # Both are timed again, one after the other: load and caches may have changed since the last time.
            first, here = self._timed(self._count, first, stop, min(FIRST_SECONDS, seconds), go)
            if first < stop and not ended():
                if here < SHORT_SECONDS:
                    first = self._try_other(here, first, stop, go)
                self._due = self._clock() + EVERY_SECONDS
        if first < stop and not ended():
            first = go(self._count, first, stop, seconds)
        return first

    def _try_other(self, here: float, first: int, stop: int, go: Go) -> int:
        other = 1 if self._count > 1 else self._all
        first, there = self._timed(other, first, stop, TRY_SECONDS, go)
        if there < CLEARLY * here:
            self._count = other
        return first

    def _timed(self, threads: int, first: int, stop: int, seconds: float, go: Go) -> tuple[int, float]:
        """The next batch, and the seconds per batch."""
        start = self._clock()
        reached = go(threads, first, stop, seconds)
        return reached, (self._clock() - start) / max(reached - first, 1)
