"""`fastreg profile`: where the time of a training step on a data set goes, by layer."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter

import fastreg as fr
from fastreg.cli.options import add_picture, add_training, data_name, epochs_and_batch_size
from fastreg.cli.output import announce, print_json, save_picture
from fastreg.cli.tasks import headline, make_task, make_trainer

REPEATS, SECONDS = 7, 0.02  # of each measurement


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser("profile", help="time one training step, op by op and layer by layer")
    parser.set_defaults(command=profile, engine="native")
    add_training(parser)
    add_picture(parser, "where the time goes, and how near each op is to the machine's peak")


def profile(options: argparse.Namespace) -> None:
    """Runs the command."""
    task = make_task(options)
    _, batch_size = epochs_and_batch_size(options, len(task.train[0]))
    X, y = (values[:batch_size] for values in task.train)
    trainer = make_trainer(task, options)
    print(headline(task, options), file=sys.stderr, flush=True)
    announce(_expected(trainer, X, y))
    measured = fr.profile(trainer, X, y, repeats=REPEATS, seconds=SECONDS)
    name = data_name(options.data)
    if options.json:
        print_json({"data": name, "verdict": f"{name}: {measured.verdict}", **as_dict(measured)})
    else:
        print(f"{name}: {measured}")
    save_picture(options, lambda path: measured.plot(path, f"{name}: {measured.verdict}"))


def as_dict(measured) -> dict[str, object]:
    """What was measured, for JSON. Seconds, flops and bytes are those of a step."""
    whole = ("step", "reference", "speedup", "call", "rows", "engine", "dtype", "simd", "threads", "peak", "bandwidth")
    names = ("index", "op", "layer", "on", "phase", "seconds", "flops", "bytes", "share")
    ops = [{name: getattr(op, name) for name in names} for op in measured.ops]
    return {**{name: getattr(measured, name) for name in whole}, "layers": layers(measured), "ops": ops}


def layers(measured) -> list[dict[str, object]]:
    """The layers of a profile, for JSON."""
    return [
        {"layer": part.part.layer, "title": part.part.title, "seconds": part.seconds, "of_all": part.of_all}
        for part in measured.by_layer
    ]


def _expected(trainer: fr.Trainer, X, y) -> float:
    """How many seconds the measurement will take, from one that is brief."""
    start = perf_counter()
    brief = fr.profile(trainer, X, y, repeats=1, seconds=1e-4)
    taken = perf_counter() - start
    times = [*(op.seconds for op in brief.ops), brief.step]
    return taken + sum((REPEATS + 1) * max(SECONDS, seconds) for seconds in times) + 5 * (brief.reference or 0)
