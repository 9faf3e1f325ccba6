"""`fastreg compare`: trains on a data set with both engines, and compares their results and speed."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter

import fastreg as fr
from fastreg.cli.options import VALIDATION, add_picture, add_training, data_name, epochs_and_batch_size, plateau
from fastreg.cli.output import announce, print_json, save_picture
from fastreg.cli.profile import layers
from fastreg.cli.runs import SPEEDUP_BATCHES, SPEEDUP_TIMES, run, runs_table
from fastreg.cli.tasks import Task, headline, make_task, make_trainer
from fastreg.common.tables import duration, percent, table, times

ENGINES = ("native", "reference")
ENOUGH = 0.1  # seconds of training that tell how long an epoch takes
PROFILE = 1.0  # seconds of the op by op parts, for each engine


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser("compare", help="train with both engines: errors op by op, accuracy and speed of both")
    parser.set_defaults(command=compare)
    add_training(parser)
    add_picture(parser, "the error of each op next to what rounding explains")


def compare(options: argparse.Namespace) -> None:
    """Runs the command. It fails if an op differs between the engines."""
    task = make_task(options, VALIDATION if plateau(options) else 0.0)
    epochs, batch_size = epochs_and_batch_size(options, len(task.train[0]))
    trainers = {engine: make_trainer(task, options, engine=engine) for engine in ENGINES}
    print(headline(task, options), file=sys.stderr, flush=True)
    announce(sum(_expected(trainer, task, epochs, batch_size) for trainer in trainers.values()))
    runs = {
        engine: run(trainer, task, epochs, batch_size, engine, plateau(options), compare_speed=True)
        for engine, trainer in trainers.items()
    }
    X, y = (values[:batch_size] for values in task.train)
    comparison = fr.compare_engines(trainers["native"], X, y)
    step = fr.profile(trainers["native"], X, y, reference=False)
    name, most = data_name(options.data), max(step.by_layer, key=lambda part: part.seconds)
    agree = "engines agree" if comparison.ok else comparison.verdict
    faster = times(runs["native"].numbers["speedup"])
    verdict = (
        f"{name}: {agree}; a step takes {duration(step.step)}, {faster} as fast as the NumPy engine; "
        f"{percent(most.of_all)} of it in {most.part.short}"
    )
    if options.json:
        results = {engine: trained.numbers for engine, trained in runs.items()}
        names = ("index", "op", "layer", "writes", "ulp", "relative", "limit", "ok")
        ops = [{name: getattr(op, name) for name in names} for op in comparison.ops]
        more = {"step": step.step, "layers": layers(step)}
        print_json({"data": name, "verdict": verdict, "ok": comparison.ok, "runs": results, "ops": ops, **more})
    else:
        parts = [[part.part.title, duration(part.seconds), percent(part.of_all)] for part in step.by_layer]
        print(f"{verdict}\n\n{runs_table(runs, task.metrics)}\n")
        print("loss: per sample; seconds: of training alone; samples/s: of training, both with all epochs")
        print("x reference: speed over that of the NumPy engine, measured in turns on the same batches\n")
        print(f"{table(['native engine', 'time', 'of all'], parts)}\n")
        print("time: of the ops of a layer in one step, measured one by one; of all: the share of their sum\n")
        print(f"One batch op by op, where both engines get the same inputs for each op:\n{comparison}")
    save_picture(options, lambda path: comparison.plot(path, f"{name}: {comparison.verdict}"))
    if not comparison.ok:
        raise ArithmeticError("the engines differ by more than rounding")


def _expected(trainer: fr.Trainer, task: Task, epochs: int, batch_size: int) -> float:
    """How many seconds the comparison will spend on this trainer, from a few of its batches."""
    twin, rows = trainer.copy(), batch_size
    X, y = task.train
    twin.fit(X[:rows], y[:rows], batch_size=batch_size)
    while True:
        batches = -(-rows // batch_size)
        start = perf_counter()
        twin.fit(X[:rows], y[:rows], batch_size=batch_size)
        seconds = (perf_counter() - start) / batches
        if seconds * batches > ENOUGH or rows >= len(X):
            break
        rows *= 2
    evaluated = len(task.watched[1][0]) * epochs + len(X) + len(task.test[0])
    steps = -(-len(X) // batch_size) * epochs + evaluated / batch_size / 3 + SPEEDUP_BATCHES * SPEEDUP_TIMES
    return steps * seconds + PROFILE
