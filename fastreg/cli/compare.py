"""`fastreg compare`: trains on a data set with both engines, and compares their results and speed."""

from __future__ import annotations

import argparse
import sys

import fastreg as fr
from fastreg.cli.options import add_training, data_name, epochs_and_batch_size, plateau
from fastreg.cli.output import print_json
from fastreg.cli.runs import run, runs_table
from fastreg.cli.tasks import headline, make_task, make_trainer

ENGINES = ("native", "reference")


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser("compare", help="train with both engines: errors op by op, accuracy and speed of both")
    parser.set_defaults(command=compare)
    add_training(parser)


def compare(options: argparse.Namespace) -> None:
    """Runs the command. It fails if an op differs between the engines."""
    task = make_task(options.data, options.seed, dev=bool(plateau(options)))
    epochs, batch_size = epochs_and_batch_size(options, len(task.train[0]))
    print(headline(task, options), file=sys.stderr if options.json else sys.stdout, flush=True)
    trainers = {engine: make_trainer(task, options, engine=engine) for engine in ENGINES}
    runs = {
        engine: run(trainer, task, epochs, batch_size, engine, plateau(options)) for engine, trainer in trainers.items()
    }
    X, y = task.train
    comparison = fr.compare_engines(trainers["native"], X[:batch_size], y[:batch_size])
    if options.json:
        results = {engine: trained.numbers for engine, trained in runs.items()}
        ops = [{**vars(op), "ok": op.ok} for op in comparison.ops]
        print_json({"data": data_name(options.data), "ok": comparison.ok, "runs": results, "ops": ops})
    else:
        print(f"\n{runs_table(runs, task.is_classification)}\n\nx reference: measured in turns, on the same batches.")
        print(f"One batch op by op. Both engines get the same inputs for each op:\n\n{comparison}")
    if not comparison.ok:
        raise ArithmeticError("the engines differ by more than rounding")
