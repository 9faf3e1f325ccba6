"""The command `fastreg`. Each subcommand is a module here, listed in `_parser`."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence

from fastreg.machine import startup

AS_OPTIONS = (  # what messages call an argument of the library, and the option that sets it
    (r"\bheader=True\b", "--header yes"),
    (r"\bheader=False\b", "--header no"),
    (r"\bheader=(\d+)", r"--header \1"),
    (r"\bmissing=\(\*fastreg\.data\.MISSING, '([^']*)'\)", r"--missing 'NA,\1'"),
    (r"\btext=\['([^']*)'\]", r"--text '\1'"),
    (r"\b(missing=\(\.\.\.\)|text=\[\.\.\.\])", lambda found: "--" + found[0].split("=")[0]),
    (r"""\b(encoding|decimal|task|loss)=(["'])([^"']*)\2""", r"--\1 \3"),
    (r"\b(delimiter=)('[^']*')", r"--delimiter \2"),
    (r"\b(target|usecols|scale)=(?=[ ;,]|$)", r"--\1"),
)


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
    warnings.showwarning = lambda message, *_: print("fastreg: warning:", as_options(str(message)), file=sys.stderr)
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
    print("fastreg:", as_options(" ".join(str(error).split())), file=sys.stderr)
    return code


def as_options(text: str) -> str:
    """A message of the library, with its advice on arguments as options.

    Examples
    --------
    >>> as_options("got '1,5' in row 0; decimal=',' reads decimal commas")
    "got '1,5' in row 0; --decimal , reads decimal commas"
    """
    for pattern, option in AS_OPTIONS:
        text = re.sub(pattern, option, text)
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"fastreg: {message}; see {self.prog} --help\n")

    def parse_args(self, args=None, namespace=None):
        """Unknown options are told by the command that they were given to, with the nearest one."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parser = options.parser
            known = [option for option in parser._option_string_actions if option.startswith("--")]
            first = unknown[0].partition("=")[0]
            near = difflib.get_close_matches(first, known, 1) if first.startswith("--") else []
            if first in ("--learning-rate", "--learning_rate"):
                near = ["--lr"] if "--lr" in known else []
            told = f"; the nearest is {near[0]}" if near else ""
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{told}")
        return options


def _parser() -> argparse.ArgumentParser:
    """Loads all of fastreg and NumPy, so what is wrong with the environment is found before anything is printed."""
    import fastreg as fr
    from fastreg.cli import bench, compare, info, predict, profile, run, train

    fr.get_num_threads()  # which reads FASTREG_NUM_THREADS
    parser = _Parser(prog="fastreg", description="Fast training of regularized neural networks on CPUs.")
    parser.add_argument("--version", action="version", version=f"fastreg {fr.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (train, predict, compare, profile, bench, run, info):
        command.add(commands)
    for subparser in commands.choices.values():
        subparser.set_defaults(parser=subparser)
    return parser
