"""Interrupts a call at a chosen line of the package, as a handler of a signal would."""

import os
import sys

import fastreg

FOLDER = os.path.dirname(fastreg.__file__)


class Interrupt(BaseException):
    """What a handler raises: no Exception, so nothing catches it by accident."""


def interrupted(act, line: int, kind: type[BaseException] = Interrupt) -> bool:
    """Calls act(), and raises in the package before it runs its line number `line`, counted from 0. Returns whether it
    came so far."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise kind
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except kind:
        return True
    finally:
        sys.settrace(before)
    return False


def at_every_line(make, act, check, step: int = 1, kind: type[BaseException] = Interrupt) -> int:
    """For every `step`-th line that act(make()) runs: interrupts it there, and calls check() on what was made. Returns
    how many interruptions there were."""
    line = count = 0
    while True:
        made = make()
        if not interrupted(lambda: act(made), line, kind):  # noqa: B023 called at once
            return count
        check(made)
        line, count = line + step, count + 1
