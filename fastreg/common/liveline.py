"""A line of a terminal that is written over."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Protocol

INTERVAL = 0.1  # at least this many seconds between two updates


class Writable(Protocol):
    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class LiveLine:
    """Shows one text after another in the same place, at most ten times a second.

    Examples
    --------
    >>> import io
    >>> out = io.StringIO()
    >>> line = LiveLine(out)
    >>> line.show("half"), line.show("too soon"), line.show("all", at_once=True)
    (True, False, True)
    >>> line.keep()
    >>> out.getvalue()
    '\\rhalf\\rall \\n'
    """

    def __init__(self, out: Writable, interval: float = INTERVAL):
        self.out, self.interval = out, interval
        self.shown = -math.inf  # when something was shown
        self.length = 0  # of what stands there

    def show(self, text: str, at_once: bool = False) -> bool:
        """Writes the text over the one before, unless that is too new; whether it did."""
        now = perf_counter()
        if not at_once and now - self.shown < self.interval:
            return False
        self.out.write("\r" + text.ljust(self.length))
        self.out.flush()
        self.shown, self.length = now, len(text)
        return True

    def keep(self) -> None:
        """Ends the line, so that what follows stands below it."""
        if self.length:
            self._end("\n")

    def wipe(self) -> None:
        """Wipes the line, so that what follows stands in its place."""
        if self.length:
            self._end("\r" + " " * self.length + "\r")

    def _end(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()
        self.length = 0
