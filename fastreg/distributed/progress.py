"""The progress of a run of tasks: a line that is rewritten on a terminal, elsewhere at most ten plain lines."""

from __future__ import annotations

import sys
from time import perf_counter

LINES = 10


class Line:
    """Counts the finished tasks of `count` on standard error, unless `verbose` is 0."""

    def __init__(self, count: int, verbose: int):
        self.count, self.verbose, self.done = count, verbose, 0

    def __enter__(self) -> Line:
        self._start = perf_counter()
        self._live = bool(self.verbose) and sys.stderr is not None and sys.stderr.isatty()
        self._length = 0
        return self

    def __exit__(self, *_: object) -> None:
        if self._length:
            print(file=sys.stderr, flush=True)

    def step(self) -> None:
        """One more task is finished."""
        self.done += 1
        if not self.verbose or sys.stderr is None:
            return
        text = f"{self.done}/{self.count} fits, {perf_counter() - self._start:.1f} s"
        if self._live:
            print("\r" + text.ljust(self._length), end="", file=sys.stderr, flush=True)
            self._length = len(text)
        elif self.done * LINES // self.count > (self.done - 1) * LINES // self.count:
            print(text, file=sys.stderr, flush=True)
