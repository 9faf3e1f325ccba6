"""What a process that is the command `fastreg` does before anything else is loaded."""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130  # the exit code, as shells have it: 128 + SIGINT


def is_command() -> bool:
    """Whether this process was started as `fastreg` or as `python -m fastreg`."""
    arguments = getattr(sys, "argv", [])
    if arguments[:1] == ["-m"]:  # a module that Python is still looking for: its name comes before the arguments
        return sys.orig_argv[-len(arguments)] in ("fastreg", "-mfastreg")
    return bool(arguments) and os.path.basename(arguments[0]) == "fastreg"


def begin_command() -> None:
    """Until `main` can catch Ctrl-C, it ends the process at once: nothing has been begun that could be left half done.

    No KeyboardInterrupt, because NumPy or an extension that is just being loaded would make something else of it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as by nohup
        signal.signal(signal.SIGINT, _leave)


def open_streams() -> None:
    """Where standard output or error is closed, what is written to it goes nowhere, as with other commands."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open as long as the process is


def take_interrupts() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt, which leaves files whole."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_command(code: int) -> int:
    """The command is done, and Ctrl-C behind it is no error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code == INTERRUPTED:
        # At once: Python would tidy up behind an extension that was interrupted while it was being loaded.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _leave(*_) -> None:
    os.write(2, b"fastreg: interrupted\n")
    os._exit(INTERRUPTED)
