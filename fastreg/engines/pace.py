"""How many threads do small work fastest just now: measured, where nobody has asked for a count.

A step of some microseconds is shared at the cost of lines that go from one processor's cache to another's. Where the
two are far apart, or a neighbour takes the time of one, two threads take longer than one, and no count of operations
tells. Results do not depend on the number of threads, so a run may change it whenever it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

SHORT_SECONDS = 1e-3  # a batch: longer ones hand out their work piece by piece, which evens out what disturbs them
FIRST_SECONDS = 0.02  # of what has been best so far, before the other is tried
TRY_SECONDS = 0.004
EVERY_SECONDS = 1.0
CLEARLY = 0.95  # a change has to pay, or it would follow every whim of the clock

Go = Callable[[int, int, int, float], int]  # threads, first and last batch, seconds; returns the next batch


class Pace:
    """The threads of an engine's runs: all of them or one, whichever was faster when both were last tried.

    Parameters
    ----------
    clock
        Seconds; for tests.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter):
        self._clock = clock
        self._all = 0  # threads, where there is more than one
        self._count = 0  # of them in use
        self._due = 0.0  # when the other count is tried again

    def run(self, threads: int, first: int, stop: int, seconds: float, go: Go, ended: Callable[[], bool]) -> int:
        """Batches first .. stop - 1 with at most so many threads, or fewer when time is up or the run has `ended`;
        returns the next one."""
        if threads == 1:
            return go(1, first, stop, seconds)
        if threads != self._all:
            self._all = self._count = threads
            self._due = 0.0
        if self._clock() >= self._due:
            # Both are timed anew, one after the other: an older time is one of another machine, or of colder caches.
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
        """The next batch, and the seconds of one of those that were run."""
        start = self._clock()
        reached = go(threads, first, stop, seconds)
        return reached, (self._clock() - start) / max(reached - first, 1)
