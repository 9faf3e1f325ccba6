"""What comes before anything else is loaded: of the package, and of the command `fastreg` with Ctrl-C and streams.

Nothing is imported here before Ctrl-C can end the command quietly, but what Python itself has loaded.
"""

import os
import sys
from importlib import import_module

INTERRUPTED = 130  # the exit code, as in shells: 128 + SIGINT


# How Python, NumPy and Cython say that an extension is in another interpreter of this process already.
IN_ANOTHER = ("more than once per process", "Interpreter change detected", "loading in subinterpreters")


def load_machine() -> None:
    """Loads threads, the SIMD target and the tuning, and with them NumPy and the extension."""
    try:
        import_module("fastreg.machine.threads")
        import_module("fastreg.machine.tuning")
    except ImportError as error:
        if not any(words in str(error) for words in IN_ANOTHER):
            raise
        raise ImportError(
            "fastreg: NumPy and its own extension work in one interpreter of a process, and another one, maybe a "
            "subinterpreter, has them; a process of its own helps, or under mod_wsgi WSGIApplicationGroup %{GLOBAL}"
        ) from error


def is_command() -> bool:
    """Whether this process was started as `fastreg` or as `python -m fastreg`."""
    arguments = getattr(sys, "argv", [])
    if arguments[:1] == ["-m"]:  # Python is still looking for a module, whose name comes before the arguments
        return sys.orig_argv[-len(arguments)] in ("fastreg", "-mfastreg")
    return bool(arguments) and os.path.basename(arguments[0]) == "fastreg"


def begin_command() -> None:
    """Lets Ctrl-C end the process at once, until `main` can catch it. Nothing has started that could be left half done.

    There is no KeyboardInterrupt, because NumPy or an extension that is being loaded would turn it into another error.
    """
    import signal  # here, since it takes a millisecond or two

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # otherwise it is ignored, as under nohup
        signal.signal(signal.SIGINT, leave)


def open_streams() -> None:
    """If standard output or error is closed, discards what is written to it, as other commands do."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open until the process ends


def take_interrupts() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt, which leaves files whole."""
    import signal

    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_command(code: int) -> int:
    """Ends the command. A Ctrl-C after it is not an error."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code == INTERRUPTED:
        # At once: Python would clean up after an extension whose loading was interrupted.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def leave(*_) -> None:
    """Ends the process as Ctrl-C does a command that has not begun."""
    os.write(2, b"fastreg: interrupted\n")
    os._exit(INTERRUPTED)
