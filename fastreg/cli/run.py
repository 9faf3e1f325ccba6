"""`fastreg run`: runs the experiments, each the claim of a source document, with a table, a picture and its numbers."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import TYPE_CHECKING

from fastreg.cli.options import not_negative, positive
from fastreg.cli.output import Live
from fastreg.common.checking import nearest
from fastreg.common.tables import table

if TYPE_CHECKING:
    from fastreg.experiments.harness.find import Experiment
    from fastreg.experiments.harness.running import MissingData, Outcome

FOLDER = "fastreg-experiments"
BAR = 24  # characters
MOST_SEEDS = 10_000


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser("run", help="run an experiment: a table, a picture, and the numbers as JSON")
    parser.set_defaults(command=run)
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments; --list names them")
    parser.add_argument(
        "--list", action="store_true", help="list the experiments, with the system that each belongs to"
    )
    parser.add_argument("--all", action="store_true", help="run all experiments")
    parser.add_argument("--quick", action="store_true", help="the short form, 20 seconds each (native engine)")
    parser.add_argument(
        "--seeds", type=positive, metavar="N", help="repeat with N seeds (default: 5 for most, 2 with --quick)"
    )
    parser.add_argument("--seed", type=not_negative, default=0, metavar="S", help="the first seed (0)")
    parser.add_argument("--engine", choices=("native", "reference"), default="native", help="C, or NumPy (native)")
    parser.add_argument(
        "--data", metavar="DIR", help="folder with the IDX files of MNIST; without it small digits stand in"
    )
    parser.add_argument(
        "--out", metavar="DIR", default=FOLDER, help=f"folder for pictures, numbers and the page ({FOLDER})"
    )
    parser.set_defaults(flags=None)
    _add_flags(parser)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that experiments have of their own. It imports them all, so it waits until the command is used."""
    parse = parser.parse_known_args

    def parse_with_flags(args=None, namespace=None):
        from fastreg.experiments.harness.find import experiments

        parser.parse_known_args = parse  # type: ignore[method-assign]
        for experiment in experiments().values():
            for flag, meaning in experiment.options.items():
                told = f"{meaning} (of {experiment.name})"
                parser.add_argument(f"--{flag}", dest="flags", action="append_const", const=flag, help=told)
        return parse(args, namespace)

    parser.parse_known_args = parse_with_flags  # type: ignore[method-assign]


def run(options: argparse.Namespace) -> None:
    """Runs the command. It fails after Ctrl-C, having kept what was finished."""
    from fastreg.experiments.harness.find import survey
    from fastreg.experiments.harness.lab import find_mnist
    from fastreg.experiments.harness.page import write_page
    from fastreg.experiments.harness.running import MissingData

    if options.all and options.names:
        raise ValueError(f"run: got --all and {' '.join(options.names)}, expected either")
    known, broken = survey()
    for error in [broken[name] for name in options.names if name in broken]:
        raise error
    for error in broken.values():
        print(f"left out: {error}", file=sys.stderr, flush=True)
    if options.list:
        print(table(["experiment", "system", "claim"], [[e.name, e.systems, e.claim] for e in known.values()], left=3))
        return
    chosen = list(known.values()) if options.all else [_known(known, name) for name in options.names]
    if not chosen:
        raise ValueError("run: got no experiment, expected names of experiments, --all or --list")
    if options.seeds and options.seeds > MOST_SEEDS:
        raise ValueError(f"--seeds: got {options.seeds}, expected at most {MOST_SEEDS}")
    flags = options.flags or []
    for flag in flags:
        if not any(flag in experiment.options for experiment in chosen):
            raise ValueError(f"--{flag}: got it for experiments that do not have it")
    find_mnist(options.data)
    folder = Path(options.out)
    made = _make(folder)
    failed: dict[str, Exception] = dict(broken) if options.all else {}
    left_out: dict[str, MissingData] = {}
    try:
        for experiment in chosen:
            try:
                _run(experiment, options, [flag for flag in flags if flag in experiment.options], folder)
            except MissingData as error:
                if not options.all:
                    raise
                left_out[experiment.name] = error
                print(f"left out: {error}\n", flush=True)
            except Exception as error:
                failed[experiment.name] = _placed(experiment, error)
                if len(chosen) > 1:
                    print(f"failed: {failed[experiment.name]}\n", file=sys.stderr, flush=True)
        if failed:
            raise next(iter(failed.values()))
    finally:
        if any(folder.glob("*.json")):
            missing = {name: _why(name, error) for name, error in [*failed.items(), *left_out.items()]}
            pages = " and ".join(map(str, write_page(folder, missing)))
            print(f"the page: {pages}", file=sys.stderr)
        else:
            for new in made:
                new.rmdir()


def _make(folder: Path) -> list[Path]:
    """Makes the folder before anything runs, so that one that cannot be made or written to is told first.

    Returns
    -------
    list of Path
        What it made, the innermost first.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"--out: got {str(folder)!r}, where a file is, expected a folder") from None
    except OSError as error:
        raise ValueError(f"--out: got {str(folder)!r}, which cannot be written to: {error.strerror}") from None
    return made


def _known(known: dict[str, Experiment], name: str) -> Experiment:
    if name not in known:
        raise ValueError(f"run: got {name!r}, expected a name that `fastreg run --list` lists{nearest(name, known)}")
    return known[name]


def _why(name: str, error: Exception) -> str:
    """What the page tells of an error: its first line."""
    return str(error).partition("\n")[0].removeprefix(f"{name}: ") or type(error).__name__


def _placed(experiment: Experiment, error: Exception) -> Exception:
    """The error, with its place in the experiment's file if it was raised there."""
    from fastreg.experiments.harness.find import at_line

    file = experiment.module.__file__
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return ValueError(at_line(file, lines[-1], error)) if lines else error


def _run(experiment: Experiment, options: argparse.Namespace, flags: list[str], folder: Path) -> None:
    """One experiment."""
    from fastreg.experiments.harness.running import Interrupted, run

    line, begin = Live(), perf_counter()

    def report(share: float) -> None:
        full = round(BAR * share)
        line.show(f"{experiment.name}  [{'#' * full}{'.' * (BAR - full)}] {share:4.0%}  {perf_counter() - begin:.0f} s")

    if not line.live:
        print(f"{experiment.name}: running", file=sys.stderr, flush=True)
    report(0.0)
    try:
        try:
            outcome = run(
                experiment,
                seeds=options.seeds,
                first_seed=options.seed,
                quick=options.quick,
                engine=options.engine,
                data=options.data,
                options=flags,
                report=report,
            )
        finally:
            line.end()
    except Interrupted as interrupted:
        if interrupted.outcome:
            _show(interrupted.outcome, folder)
        raise
    else:
        _show(outcome, folder)


def _show(outcome: Outcome, folder: Path) -> None:
    """Prints the table and the claims, and writes the files."""
    print(f"{outcome.experiment.name}: {outcome.title}\n")
    print(table(outcome.table.heads, outcome.table.rows))
    print(f"\n{outcome.table.note}" if outcome.table.note else "")
    for claim in outcome.claims:
        print(claim)
    print("; ".join(outcome.remarks))
    print("saved:", *outcome.save(folder), "\n", flush=True)
