"""The command `fastreg`. Each subcommand is a module here, listed in `_parser`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence

from fastreg.machine import startup


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default the arguments of the process.

    Returns
    -------
    int
        The exit code: 0, 1 after an error (one line on standard error), 2 for bad arguments, 130 after Ctrl-C.

    Examples
    --------
    >>> main(["info"])  # doctest: +SKIP
    """
    if arguments is not None:
        handler = signal.getsignal(signal.SIGINT)
        try:
            return _main(arguments)
        finally:
            if signal.getsignal(signal.SIGINT) != handler:  # an interrupted command ignores it from then on
                signal.signal(signal.SIGINT, handler)
    startup.open_streams()
    return startup.end_command(_main(sys.argv[1:]))


def _main(arguments: Sequence[str]) -> int:
    warnings.showwarning = lambda message, *_: print(f"fastreg: warning: {message}", file=sys.stderr)
    try:
        parser = _parser()
        startup.take_interrupts()
        try:
            options = parser.parse_args(arguments)
            options.command(options)
        finally:
            sys.stdout.flush()  # here a closed pipe is not an error, also after --help
        return 0
    except KeyboardInterrupt as interrupt:
        return _complain(": ".join(filter(None, ("interrupted", str(interrupt)))), startup.INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has gone: nobody would see a complaint
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _complain("not enough memory")
    except OSError as error:
        known = error.filename is not None and error.strerror is not None
        return _complain(f"{error.filename}: {error.strerror}" if known else error)
    except (ValueError, TypeError, ArithmeticError, ImportError) as error:
        return _complain(error)


def _complain(error: object, code: int = 1) -> int:
    print("fastreg:", " ".join(str(error).split()), file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"fastreg: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    """Loads all of fastreg and NumPy, so what is wrong with the environment is found before anything is printed."""
    import fastreg as fr
    from fastreg.cli import bench, compare, info, predict, profile, train

    fr.get_num_threads()  # which reads FASTREG_NUM_THREADS
    parser = _Parser(prog="fastreg", description="Fast training of regularized neural networks on CPUs.")
    parser.add_argument("--version", action="version", version=f"fastreg {fr.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (train, predict, compare, profile, bench, info):
        command.add(commands)
    return parser
