"""`fastreg train`: trains a network without and with regularization, and compares the two."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import fastreg as fr
from fastreg.cli.options import (
    VALIDATION,
    add_training,
    data_name,
    epochs_and_batch_size,
    folder,
    keep_probs,
    plateau,
    positive,
    validation_share,
)
from fastreg.cli.output import print_json
from fastreg.cli.runs import Run, run, runs_table
from fastreg.cli.tasks import headline, make_task, make_trainer, units


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser("train", help="train a network without and with regularization, and compare")
    parser.set_defaults(command=train)
    add_training(parser)
    parser.add_argument("--engine", choices=("native", "reference"), default="native", help="C, or the NumPy reference")
    parser.add_argument(
        "--validation",
        type=validation_share,
        default=VALIDATION,
        metavar="SHARE",
        help=f"share of the samples that is held back; the best epoch on them is kept ({VALIDATION}); with 0 the last "
        "epoch is kept",
    )
    parser.add_argument(
        "--early-stopping",
        type=positive,
        metavar="PATIENCE",
        help="stop after this number of epochs without a better loss on the validation samples",
    )
    parser.add_argument("--compare-speed", action="store_true", help="measure the speed against the reference engine")
    parser.add_argument("--output", type=folder, metavar="DIR", help="for models and picture (fastreg-runs/NAME)")


def train(options: argparse.Namespace) -> None:
    """Runs the command."""
    patience = options.early_stopping
    for option, wants in (("--early-stopping", patience), ("--schedule on-plateau", plateau(options))):
        if wants and not options.validation:
            raise ValueError(f"--validation: got 0 with {option}, which needs samples to watch; expected above 0")
    task, name = make_task(options, options.validation), data_name(options.data)
    epochs, batch_size = epochs_and_batch_size(options, len(task.train[0]))
    output = options.output or Path("fastreg-runs") / name
    variants = {"plain": False, "regularized": True}
    trainers = {variant: make_trainer(task, options, regularized) for variant, regularized in variants.items()}
    output.mkdir(parents=True, exist_ok=True)  # after all checks of arguments, before what takes time
    told = f"{headline(task, options)}, engine {options.engine} ({fr.simd()['current']})"
    told += f", precision {options.precision}" if options.precision != "float32" else ""
    print(told, file=sys.stderr if options.json else sys.stdout, flush=True)
    runs = {}
    try:
        for variant, trainer in trainers.items():
            best = [fr.EarlyStopping(task.monitor, patience=patience or epochs)] if task.validation else []
            callbacks = [*plateau(options), *best]
            runs[variant] = run(trainer, task, epochs, batch_size, variant, callbacks, options.compare_speed)
        files = _save_models(trainers, output) | _save_curves(runs, output, name, task.watched[0])
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not cost the models; `main` resets it
        files = _save_models({variant: trainer for variant, trainer in trainers.items() if trainer.batches}, output)
        saved = f"saved what was trained so far: {', '.join(files.values())}" if files else "nothing was saved"
        raise KeyboardInterrupt(saved) from None
    if options.json:
        results = {variant: trained.numbers for variant, trained in runs.items()}
        about = {"target": str(task.schema.target), "task": task.schema.target.task, "loss": task.loss}
        print_json({"data": name, **about, "runs": results, "files": files})
        return
    print()
    print(runs_table(runs, task.metrics))
    inputs, *hidden = (f"{number:g}" for number in keep_probs(options, task.columns, task.is_classification))
    keep = f"keep probability {inputs} of inputs, {', '.join(hidden)} of hidden units"
    penalties = f"L1 {options.l1:g}, L2 {options.l2:g}" if options.l1 else f"L2 {options.l2:g}"
    penalties += f"; mixup {options.mixup:g}" if options.mixup else ""
    print(f"\nregularized: dropout with {keep}; {penalties}. Seconds and samples/s count training alone.")
    if task.validation:
        kept = ", ".join(
            f"{variant} {_best(trained)} of {trained.numbers['epochs']}" for variant, trained in runs.items()
        )
        print(f"Epoch that was kept, the best on the validation samples: {kept}.")
    if not task.is_classification:
        print(f"r2 is 1 for perfect predictions, 0 for those of the mean. {units(task)}.")
    if options.compare_speed:
        print("x reference: speed relative to the NumPy reference engine, which runs the same program on this machine.")
    for what, path in files.items():
        print(f"saved {what}: {path}")


def _best(trained: Run) -> int:
    best = trained.trainer.best
    return len(trained.history["loss"]) if best is None else best.epoch + 1


def _save_models(trainers: Mapping[str, fr.Trainer], folder: Path) -> dict[str, str]:
    files = {}
    for variant, trainer in trainers.items():
        path = folder / f"{variant}.safetensors"
        trainer.model.save(path)
        files[f"{variant} model"] = str(path)
    return files


def _save_curves(runs: Mapping[str, Run], folder: Path, name: str, watched: str) -> dict[str, str]:
    try:
        from fastreg.plots import plot_history

        path = folder / "curves.png"
        plot_history({variant: trained.history for variant, trained in runs.items()}, path, name, watched)
        return {"curves": str(path)}
    except ImportError as error:
        print(f"fastreg: no picture of the curves: {error}", file=sys.stderr)
        return {}
