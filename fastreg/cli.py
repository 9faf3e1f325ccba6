"""The command `fastreg`: train, predict, info."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

import fastreg as fr
from fastreg.data.builtin import SETS
from fastreg.data.readers import Part

SMALL = 10_000  # samples; a smaller set takes more epochs and smaller batches by default
TEST_SHARE = 0.25
OPTIMIZERS = {
    "adam": (fr.Adam, 1e-3),
    "momentum": (lambda lr: fr.SGD(lr, momentum=0.9), 0.05),
    "sgd": (fr.SGD, 0.1),
}


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


# --- Arguments -------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"fastreg: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastreg", description="Fast training of regularized neural networks on CPUs.")
    parser.add_argument("--version", action="version", version=f"fastreg {fr.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    data_help = f"{', '.join(SETS)}; a folder of IDX (MNIST) or .npy files; a .npz; a .csv, labels in its last column"

    train = commands.add_parser("train", help="train a network without and with regularization, and compare")
    train.set_defaults(command=_train)
    train.add_argument("data", metavar="DATA", help=data_help)
    train.add_argument("--hidden", type=_sizes, default=(256, 256), metavar="N,N,..", help="units (256,256); 0: none")
    train.add_argument("--epochs", type=_positive, help=f"passes (50; 20 from {SMALL:,} samples on)")
    train.add_argument("--batch-size", type=_positive, help=f"rows a step (64; 128 from {SMALL:,} samples on)")
    train.add_argument(
        "--keep-prob",
        type=_keep_probs,
        default=(0.9, 0.7),
        metavar="[INPUT,]HIDDEN",
        help="dropout of the regularized run: the probability to keep an input, a hidden unit (0.9,0.7)",
    )
    train.add_argument("--l2", type=float, default=1e-4, help="L2 penalty of the regularized run (0.0001)")
    train.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="adam (default), momentum 0.9, sgd")
    rates = ", ".join(f"{name} {rate:g}" for name, (_, rate) in OPTIMIZERS.items())
    train.add_argument("--lr", type=float, help=f"learning rate ({rates})")
    train.add_argument("--seed", type=int, default=0, help="of split, parameters, order and dropout (0)")
    train.add_argument("--threads", type=_positive, help="by default as many as the machine and the work allow")
    train.add_argument("--engine", choices=("native", "reference"), default="native", help="C, or its NumPy reference")
    train.add_argument("--output", type=Path, metavar="DIR", help="where models and picture go (fastreg-runs/NAME)")
    train.add_argument("--json", action="store_true", help="print one JSON object instead of the table")

    predict = commands.add_parser("predict", help="print what a saved model predicts, one line a sample")
    predict.set_defaults(command=_predict)
    predict.add_argument("model", metavar="MODEL", type=Path, help="a .safetensors file that train saved")
    predict.add_argument("data", metavar="DATA", help=f"{data_help}; of a split set its test part")
    predict.add_argument("--probabilities", action="store_true", help="all outputs instead of the class")
    predict.add_argument("--json", action="store_true", help="print one JSON object")

    info = commands.add_parser("info", help="tell processor, SIMD target, threads and versions")
    info.set_defaults(command=_info)
    return parser


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number above 0")
    return int(text)


def _sizes(text: str) -> tuple[int, ...]:
    return () if text == "0" else tuple(_positive(size) for size in text.split(","))


def _keep_probs(text: str) -> tuple[float, float]:
    try:
        *inputs, hidden = (float(number) for number in text.split(","))
        (inputs,) = inputs or [1.0]
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected one or two numbers such as 0.9,0.7") from None
    if not (0 < inputs <= 1 and 0 < hidden <= 1):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected probabilities above 0, up to 1")
    return inputs, hidden


# --- Data ------------------------------------------------------------------------------------------------------------


def _read(name: str, seed: int = 0) -> list[Part]:
    if name in SETS:
        return [fr.data.load(name, seed=seed)]
    if not Path(name).exists():
        raise ValueError(f"DATA: got {name!r}, expected a file, a folder or one of {', '.join(SETS)}")
    return fr.data.read(name)


def _inputs(X: np.ndarray) -> np.ndarray:
    """A row a sample; images of bytes scaled to [0, 1]. The same for train and predict."""
    X = X.reshape(len(X), -1)
    return X / np.float32(255) if X.dtype == np.uint8 else X


class Task(NamedTuple):
    """What is to be learned."""

    train: Part
    test: Part
    outputs: int
    loss: str

    @property
    def is_classification(self) -> bool:
        return self.loss == "softmax_cross_entropy"


def _task(name: str, seed: int) -> Task:
    parts = _read(name, seed)
    if any(y is None for _, y in parts):
        raise ValueError(f"DATA: {name} holds no labels to train on")
    is_classes = all(y.ndim == 1 and y.dtype.kind in "biu" for _, y in parts)
    classes = _classes([y for _, y in parts]) if is_classes else 0
    if len(parts) == 1:
        parts = fr.data.split(*parts[0], (1 - TEST_SHARE, TEST_SHARE), stratify=is_classes, seed=seed)
    train, test = ((_inputs(X), y) for X, y in parts)
    if is_classes:
        return Task(train, test, classes, "softmax_cross_entropy")
    return Task(train, test, train[1][0].size, "mse")


def _classes(labels: list[np.ndarray]) -> int:
    low, high = min(y.min() for y in labels), max(y.max() for y in labels)
    if low < 0 or high >= len(labels[0]):
        raise ValueError(f"DATA: got labels from {low} to {high}, expected classes 0, 1, 2, ...; fewer than samples")
    return int(high) + 1


# --- Train -----------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A trained network and how it did; the names of the numbers are those of --json."""

    trainer: fr.Trainer
    history: fr.History
    numbers: Mapping[str, float]


def _train(options: argparse.Namespace) -> None:
    task = _task(options.data, options.seed)
    small = len(task.train[0]) < SMALL
    epochs, batch_size = options.epochs or (50 if small else 20), options.batch_size or (64 if small else 128)
    name = Path(options.data).resolve().stem if options.data not in SETS else options.data
    folder = options.output or Path("fastreg-runs") / name
    folder.mkdir(parents=True, exist_ok=True)

    sizes = [task.train[0].shape[1], *options.hidden, task.outputs]
    settings = {"keep_prob": options.keep_prob, "l2": options.l2}
    variants = {"plain": {"keep_prob": (1.0, 1.0), "l2": 0.0}, "regularized": settings}
    trainers = {variant: _trainer(task, options, **values) for variant, values in variants.items()}
    rate = trainers["plain"].optimizer.lr
    headline = (
        f"{name}: {len(task.train[0]):,} training and {len(task.test[0]):,} test samples; "
        f"network {'-'.join(map(str, sizes))}, {options.optimizer} at {rate:g}, "
        f"batches of {batch_size}, {epochs} epochs, engine {options.engine} ({fr.simd()['current']})"
    )
    print(headline, file=sys.stderr if options.json else sys.stdout, flush=True)
    runs = {variant: _run(trainer, task, epochs, batch_size, variant) for variant, trainer in trainers.items()}
    files = _save(runs, folder, name)
    if options.json:
        results = {variant: run.numbers for variant, run in runs.items()}
        print(json.dumps({"data": name, "runs": results, "files": files}, indent=2))
        return
    print()
    print(_table(runs, task.is_classification))
    keep = "keep probability {:g} of inputs, {:g} of hidden units".format(*options.keep_prob)
    print(f"\nregularized: dropout with {keep}; L2 {options.l2:g}. Seconds and samples/s: training alone.")
    print("x reference: speed over the NumPy reference engine, running the same program on this machine.")
    for what, path in files.items():
        print(f"saved {what}: {path}")


def _trainer(task: Task, options: argparse.Namespace, keep_prob: tuple[float, float], l2: float) -> fr.Trainer:
    layers: list = [fr.Dropout(keep_prob=keep_prob[0])] if keep_prob[0] < 1 else []
    for units in options.hidden:
        layers.append(fr.Dense(units, activation="relu"))
        if keep_prob[1] < 1:
            layers.append(fr.Dropout(keep_prob=keep_prob[1]))
    layers.append(fr.Dense(task.outputs))
    make, rate = OPTIMIZERS[options.optimizer]
    return fr.Trainer(
        fr.Sequential(layers),
        loss=task.loss,
        optimizer=make(rate if options.lr is None else options.lr),
        l2=l2,
        engine=options.engine,
        seed=options.seed,
        threads=options.threads,
    )


def _run(trainer: fr.Trainer, task: Task, epochs: int, batch_size: int, name: str) -> Run:
    history = trainer.fit(
        *task.train,
        epochs=epochs,
        batch_size=batch_size,
        validation_data=task.test,
        callbacks=[_Progress(name)],
    )
    train, test = trainer.evaluate(*task.train), trainer.evaluate(*task.test)
    seconds = sum(history["seconds"])
    numbers = {f"train_{key}": value for key, value in train.items()}
    numbers |= {f"test_{key}": value for key, value in test.items()}
    numbers |= {"seconds": seconds, "samples_per_second": len(task.train[0]) * epochs / seconds}
    return Run(trainer, history, {**numbers, "speedup": _speedup(trainer, task.train, batch_size)})


def _speedup(trainer: fr.Trainer, data: Part, batch_size: int, batches: int = 10, times: int = 5) -> float:
    """How many times as fast as the reference engine the trainer's engine is.

    Both train on the same few batches, in turns, so that a busy machine slows both; the best time of each counts.
    """
    twins = [trainer.copy(), trainer.copy(engine="reference")]
    X, y = (values[: batches * batch_size] for values in data)
    epochs = [[twin.fit(X, y, batch_size=batch_size)["seconds"][0] for twin in twins] for _ in range(times)]
    own, reference = map(min, zip(*epochs, strict=True))
    return reference / own


def _save(runs: Mapping[str, Run], folder: Path, name: str) -> dict[str, str]:
    files = {}
    for variant, run in runs.items():
        path = folder / f"{variant}.safetensors"
        run.trainer.model.save(path)
        files[f"{variant} model"] = str(path)
    try:
        from fastreg.plots import plot_history

        plot_history({variant: run.history for variant, run in runs.items()}, folder / "curves.png", name, "test")
        files["curves"] = str(folder / "curves.png")
    except ImportError as error:
        print(f"fastreg: no picture of the curves: {error}", file=sys.stderr)
    return files


def _table(runs: Mapping[str, Run], is_classification: bool) -> str:
    columns = {"train accuracy": "train_accuracy", "test accuracy": "test_accuracy"} if is_classification else {}
    columns |= {"train loss": "train_loss", "test loss": "test_loss", "seconds": "seconds"}
    columns |= {"samples/s": "samples_per_second", "x reference": "speedup"}
    formats = {
        "accuracy": "{:.2%}",
        "loss": "{:.4f}",
        "seconds": "{:.2f}",
        "samples/s": "{:,.0f}",
        "reference": "{:.1f}",
    }
    rows = [["", *columns]]
    for variant, run in runs.items():
        cells = (formats[title.split()[-1]].format(run.numbers[key]) for title, key in columns.items())
        rows.append([variant, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = widths[1:]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], right, strict=True))])
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


class _Progress(fr.Callback):
    """One line, written anew at most ten times a second, on a terminal; ten plain lines a run elsewhere."""

    def __init__(self, name: str):
        self.name = name

    def on_train_begin(self) -> None:
        self.live = sys.stderr.isatty()
        self.shown, self.length, self.text = 0.0, 0, ""

    def on_epoch_begin(self, epoch: int) -> None:
        self.epoch = f"{self.name:11}  epoch {epoch + 1}/{self.plan.last_epoch}"

    def on_slice_end(self, batches: int, logs: Mapping[str, float]) -> None:
        if self.live:
            self._show(f"{self.epoch}  batch {batches}/{self.plan.batches}  loss {logs['loss']:.4f}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        accuracy = f", accuracy {logs['val_accuracy']:.2%}" if "val_accuracy" in logs else ""
        self.text = f"{self.epoch}  loss {logs['loss']:.4f}  test loss {logs['val_loss']:.4f}{accuracy}"
        done, total = epoch + 1, self.plan.last_epoch
        if self.live:
            self._show(self.text)
        elif done * 10 // total > epoch * 10 // total:
            print(self.text, file=sys.stderr, flush=True)

    def on_train_end(self) -> None:
        if self.length:
            self._show(self.text, at_once=True)
            print(file=sys.stderr, flush=True)

    def _show(self, text: str, at_once: bool = False) -> None:
        now = perf_counter()
        if at_once or now - self.shown >= 0.1:
            print("\r" + text.ljust(self.length), end="", file=sys.stderr, flush=True)
            self.shown, self.length = now, len(text)


# --- Predict and info ------------------------------------------------------------------------------------------------


def _predict(options: argparse.Namespace) -> None:
    model = fr.load(options.model)
    X, y = _read(options.data)[-1]
    outputs = model.predict(_inputs(X))
    is_classes = model.output_transform == "softmax"
    results = outputs.argmax(axis=1) if is_classes and not options.probabilities else outputs
    accuracy = float((outputs.argmax(axis=1) == y).mean()) if is_classes and y is not None and y.ndim == 1 else None
    if options.json:
        print(json.dumps({"predictions": results.tolist(), "accuracy": accuracy}))
        return
    for result in results:
        print(result if result.ndim == 0 else ",".join(f"{number:.6g}" for number in result))
    if accuracy is not None:
        print(f"accuracy {accuracy:.2%} of {len(y):,} samples", file=sys.stderr)


def _info(options: argparse.Namespace) -> None:
    print(f"{'processor':9} {_processor()}")
    print(f"{'cores':9} {os.cpu_count()}")
    fr.show_versions()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
