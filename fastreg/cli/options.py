"""Arguments that several commands share, and what their texts mean."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path

import fastreg as fr
from fastreg.common import checking
from fastreg.data.builtin import SETS
from fastreg.layers import ACTIVATIONS
from fastreg.optimizers.optimizers import Optimizer
from fastreg.optimizers.schedules import Cosine, Exponential, OneCycle, Schedule, Step, Warmup

MANY = 64  # columns; where there are fewer, none can stand for another that is dropped
SMALL = 10_000  # samples; a smaller set takes more epochs and smaller batches by default
DATA = f"{', '.join(SETS)}; a folder of IDX (MNIST) or .npy files; a .npz; a .csv, labels in its last column"
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], float, dict]] = {  # with rate and settings by default
    "adam": (fr.Adam, 1e-3, {}),
    "adamw": (fr.AdamW, 1e-3, {}),
    "momentum": (fr.SGD, 0.05, {"momentum": 0.9}),
    "nesterov": (fr.SGD, 0.05, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (fr.RMSprop, 1e-3, {}),
    "sgd": (fr.SGD, 0.1, {}),
}
# By the first (or highest) rate, epochs and batches an epoch.
SCHEDULES: dict[str, Callable[[float, int, int], Schedule | float]] = {
    "constant": lambda lr, epochs, batches: lr,
    "step": lambda lr, epochs, batches: Step(lr, every=max(1, epochs // 3)),
    "exponential": lambda lr, epochs, batches: Exponential(lr, gamma=0.01 ** (1 / epochs)),
    "cosine": lambda lr, epochs, batches: Cosine(lr, epochs * batches, per="step"),
    "one-cycle": lambda lr, epochs, batches: OneCycle(lr, epochs * batches),
    "warm-up": lambda lr, epochs, batches: Warmup(batches, lr),
    "on-plateau": lambda lr, epochs, batches: lr,  # and the callback `plateau`
}
PLATEAU = {  # arguments of ReduceOnPlateau, and what they are
    "factor": "by what the rate is multiplied",
    "patience": "epochs without a better loss that are borne",
    "smoothing": "of the exponential mean of the losses, from 0 to below 1",
    "threshold": "what counts as better, relative to the best mean",
    "cooldown": "epochs after a reduction that are not counted",
    "min_lr": "no rate is lowered below it",
}


def add_training(parser: argparse.ArgumentParser) -> None:
    """The data, the network, and how it is trained."""
    parser.add_argument("data", metavar="DATA", help=DATA)
    parser.add_argument("--hidden", type=sizes, default=(256, 256), metavar="N,N,..", help="units (256,256); 0: none")
    parser.add_argument(
        "--activation", choices=ACTIVATIONS, default="relu", metavar="NAME", help=", ".join(ACTIVATIONS)
    )
    parser.add_argument("--epochs", type=positive, help=f"passes (50; 20 from {SMALL:,} samples on)")
    parser.add_argument("--batch-size", type=positive, help=f"rows a step (64; 128 from {SMALL:,} samples on)")
    parser.add_argument(
        "--keep-prob",
        type=probabilities,
        metavar="P or INPUT,P,..",
        help="dropout where the run is regularized: the probability to keep a hidden unit, or first that to keep an "
        "input, then that of every hidden layer, the last of them for all that follow (hidden units: 0.7, or 0.9 where "
        f"numbers are learned and not classes; inputs: 0.9 from {MANY} columns on, else 1)",
    )
    parser.add_argument("--l1", type=float, default=0.0, help="L1 penalty where the run is regularized (0)")
    parser.add_argument("--l2", type=float, default=1e-4, help="L2 penalty where the run is regularized (0.0001)")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help=f"{', '.join(OPTIMIZERS)} (adam)")
    rates = ", ".join(f"{name} {rate:g}" for name, (_, rate, _) in OPTIMIZERS.items())
    parser.add_argument("--lr", type=float, help=f"learning rate ({rates})")
    parser.add_argument("--momentum", type=float, help="of sgd and rmsprop (0), momentum and nesterov (0.9)")
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="of the learning rate, over the whole training: constant (default); step: a tenth of it after every third "
        "of the epochs; exponential: down to a hundredth; cosine: down to 0; one-cycle: up to it, down to nearly 0; "
        "warm-up: from a third of it in the first epoch; on-plateau: lower where the loss of a fifth of the training "
        "samples, which is held back for it, no longer gets better, as the --plateau options say",
    )
    for name, what in PLATEAU.items():
        default = inspect.signature(fr.ReduceOnPlateau).parameters[name].default
        option = f"--plateau-{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), metavar="N", help=f"{what} ({default:g})")
    parser.add_argument("--seed", type=int, default=0, help="of split, parameters, order and dropout (0)")
    parser.add_argument("--threads", type=positive, help="by default as many as the machine and the work allow")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def learning_rate(options: argparse.Namespace) -> float:
    """As asked for, or what suits the optimizer."""
    return OPTIMIZERS[options.optimizer][1] if options.lr is None else options.lr


def make_optimizer(options: argparse.Namespace, samples: int) -> Optimizer:
    """With its schedule, for so many training samples."""
    make, _, settings = OPTIMIZERS[options.optimizer]
    if options.momentum is not None:
        if make not in (fr.SGD, fr.RMSprop):
            raise ValueError(f"--momentum: got {options.momentum:g} for {options.optimizer}, which has none")
        settings = {**settings, "momentum": options.momentum}
    epochs, batch_size = epochs_and_batch_size(options, samples)
    lr = checking.number("lr", learning_rate(options))
    return make(SCHEDULES[options.schedule](lr, epochs, -(-samples // batch_size)), **settings)


def plateau(options: argparse.Namespace) -> list[fr.Callback]:
    """The callback of --schedule on-plateau; nothing under other schedules."""
    given = {name: value for name in PLATEAU if (value := getattr(options, f"plateau_{name}")) is not None}
    if options.schedule == "on-plateau":
        return [fr.ReduceOnPlateau(**given)]
    if given:
        option = f"--plateau-{next(iter(given)).replace('_', '-')}"
        raise ValueError(f"{option}: got --schedule {options.schedule}, expected --schedule on-plateau")
    return []


def keep_probs(options: argparse.Namespace, columns: int, is_classification: bool) -> tuple[float, ...]:
    """Of the inputs, then of hidden layers: as asked for, or what suits the data.

    A regression suffers more from dropout than a classification, which only asks for the order of its outputs.
    """
    return options.keep_prob or (0.9 if columns >= MANY else 1.0, 0.7 if is_classification else 0.9)


def epochs_and_batch_size(options: argparse.Namespace, samples: int) -> tuple[int, int]:
    """As asked for, or what suits so many samples."""
    small = samples < SMALL
    return options.epochs or (50 if small else 20), options.batch_size or (64 if small else 128)


def data_name(name: str) -> str:
    """Of a built-in set or a file, for headlines and folders."""
    return name if name in SETS else Path(name).resolve().stem


def positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number above 0")
    return int(text)


def folder(text: str) -> Path:
    if not text:  # Path("") is the folder one is in: an empty variable of a script would fill it
        raise argparse.ArgumentTypeError("got '', expected a folder")
    return Path(text)


def sizes(text: str) -> tuple[int, ...]:
    try:
        return () if text == "0" else tuple(positive(size) for size in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected units such as 256 or 256,128; 0 for none") from None


def probabilities(text: str) -> tuple[float, ...]:
    """Of the input, then of hidden layers."""
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers such as 0.7 or 0.9,0.7") from None
    if not all(0 < number <= 1 for number in numbers):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected probabilities above 0, up to 1")
    return numbers if len(numbers) > 1 else (1.0, *numbers)
