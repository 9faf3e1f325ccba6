"""What several commands print: how long they take, one object of JSON, where the picture is."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any

from fastreg.common.liveline import LiveLine


def announce(seconds: float) -> None:
    """Says before a long part how long it takes, on standard error."""
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1)
    longer = ", and longer while the machine is as busy as now" if busy else ""
    print(f"this takes about {_about(seconds)}{longer}", file=sys.stderr, flush=True)


def _about(seconds: float) -> str:
    """A duration that is only known roughly.

    Examples
    --------
    >>> [_about(seconds) for seconds in (0.3, 3.7, 43, 158, 9000)]
    ['a second', '4 seconds', '45 seconds', '3 minutes', '2.5 hours']
    """
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"{round(seconds) if seconds < 20 else 5 * round(seconds / 5)} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


class Live:
    """A line on standard error that says how far it is. On a terminal only."""

    def __init__(self) -> None:
        self.live, self.line = sys.stderr.isatty(), LiveLine(sys.stderr)

    def show(self, text: str) -> None:
        if self.live:
            self.line.show(text)

    def end(self) -> None:
        """Wipes the line, so that what follows stands alone."""
        self.line.wipe()


def save_picture(options: argparse.Namespace, draw: Callable[[str], object]) -> None:
    """Draws the picture of --picture, if one is asked for."""
    if options.picture is not None:
        draw(options.picture)
        print(f"saved picture: {options.picture}", file=sys.stderr if options.json else sys.stdout)


def print_json(value: dict[str, Any], indent: int | None = 2) -> None:
    """Prints one object. Numbers that are not finite become null, since JSON cannot say them."""
    print(json.dumps(_finite(value), indent=indent, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
