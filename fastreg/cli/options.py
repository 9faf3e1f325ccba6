"""Arguments that several commands share, and what their texts mean."""

from __future__ import annotations

import argparse
from pathlib import Path

import fastreg as fr
from fastreg.data.builtin import SETS

SMALL = 10_000  # samples; a smaller set takes more epochs and smaller batches by default
DATA = f"{', '.join(SETS)}; a folder of IDX (MNIST) or .npy files; a .npz; a .csv, labels in its last column"
OPTIMIZERS = {
    "adam": (fr.Adam, 1e-3),
    "momentum": (lambda lr: fr.SGD(lr, momentum=0.9), 0.05),
    "sgd": (fr.SGD, 0.1),
}


def add_training(parser: argparse.ArgumentParser) -> None:
    """The data, the network, and how it is trained."""
    parser.add_argument("data", metavar="DATA", help=DATA)
    parser.add_argument("--hidden", type=sizes, default=(256, 256), metavar="N,N,..", help="units (256,256); 0: none")
    parser.add_argument("--epochs", type=positive, help=f"passes (50; 20 from {SMALL:,} samples on)")
    parser.add_argument("--batch-size", type=positive, help=f"rows a step (64; 128 from {SMALL:,} samples on)")
    parser.add_argument(
        "--keep-prob",
        type=keep_probs,
        default=(0.9, 0.7),
        metavar="[INPUT,]HIDDEN",
        help="dropout where the run is regularized: the probability to keep an input, a hidden unit (0.9,0.7)",
    )
    parser.add_argument("--l2", type=float, default=1e-4, help="L2 penalty where the run is regularized (0.0001)")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="adam (default), momentum 0.9, sgd")
    rates = ", ".join(f"{name} {rate:g}" for name, (_, rate) in OPTIMIZERS.items())
    parser.add_argument("--lr", type=float, help=f"learning rate ({rates})")
    parser.add_argument("--seed", type=int, default=0, help="of split, parameters, order and dropout (0)")
    parser.add_argument("--threads", type=positive, help="by default as many as the machine and the work allow")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


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


def sizes(text: str) -> tuple[int, ...]:
    return () if text == "0" else tuple(positive(size) for size in text.split(","))


def keep_probs(text: str) -> tuple[float, float]:
    try:
        *inputs, hidden = (float(number) for number in text.split(","))
        (inputs,) = inputs or [1.0]
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected one or two numbers such as 0.9,0.7") from None
    if not (0 < inputs <= 1 and 0 < hidden <= 1):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected probabilities above 0, up to 1")
    return inputs, hidden
