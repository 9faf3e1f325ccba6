"""The command `fastreg`: a module here for every subcommand."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

import fastreg as fr
from fastreg.cli import bench, compare, info, predict, train

COMMANDS = (train, predict, compare, bench, info)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit code: 0, 1 after an error (one line on standard error), 2 for bad arguments, 130 after Ctrl-C.

    Examples
    --------
    >>> main(["info"])  # doctest: +SKIP
    """
    warnings.showwarning = lambda message, *_: print(f"fastreg: warning: {message}", file=sys.stderr)
    try:
        options = _parser().parse_args(arguments)
        options.command(options)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone: nobody is left to complain to
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
    parser = _Parser(prog="fastreg", description="Fast training of regularized neural networks on CPUs.")
    parser.add_argument("--version", action="version", version=f"fastreg {fr.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser
