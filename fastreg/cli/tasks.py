"""Helpers of the commands, not a command: the data sets to learn from, with networks and trainers for them."""

from __future__ import annotations

import argparse
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastreg as fr
from fastreg.cli.options import data_name, epochs_and_batch_size, keep_probs, learning_rate, make_optimizer
from fastreg.data.builtin import SETS
from fastreg.layers import Standardize

TEST_SHARE = 0.25
DEV_SHARE = 0.2  # of the samples that are left for training

Labelled = tuple[np.ndarray, np.ndarray]  # samples with labels


def read(name: str, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """A built-in set, or the contents of a file or folder."""
    if name in SETS:
        return [fr.data.load(name, seed=seed)]
    if not Path(name).exists():
        raise ValueError(f"DATA: got {name!r}, expected a file, a folder or one of {', '.join(SETS)}")
    return [(_numbers(X), _codes(y)) for X, y in fr.data.read(name)]


def _numbers(X: np.ndarray | fr.data.Table) -> np.ndarray:
    if isinstance(X, fr.data.Table):
        raise ValueError("DATA: got a table with text or missing values, expected numbers")
    return X


def _codes(y: np.ndarray | None) -> np.ndarray | None:
    """Classes by number, in the order of their names."""
    return y if y is None or y.dtype.kind != "U" else np.unique(y, return_inverse=True)[1].astype(np.int64)


def inputs(X: np.ndarray) -> np.ndarray:
    """One row per sample. Models scale their inputs themselves."""
    return X.reshape(len(X), -1)


def scaling(X: np.ndarray) -> fr.data.Standardizer | Standardize:
    """The first layer. It scales bytes of images to [0, 1], other columns to mean 0 and variance 1."""
    if X.dtype == np.uint8:
        return Standardize((0.0,) * X.shape[1], (1 / 255,) * X.shape[1])
    return fr.data.Standardizer().fit(X)


class Task(NamedTuple):
    """What a network learns from, and what it is tested on."""

    train: Labelled
    test: Labelled
    outputs: int
    loss: str
    dev: Labelled | None = None  # for early stopping, which must not see the test samples

    @property
    def watched(self) -> tuple[str, Labelled]:
        """The samples that are evaluated after every epoch, with their name."""
        return ("dev", self.dev) if self.dev else ("test", self.test)

    @property
    def is_classification(self) -> bool:
        return self.loss == "softmax_cross_entropy"


def make_task(name: str, seed: int, dev: bool = False) -> Task:
    """Training and test samples, dev samples if `dev` is true, and the loss that fits their targets."""
    found = read(name, seed)
    parts = [(X, y) for X, y in found if y is not None]
    if len(parts) < len(found):
        raise ValueError(f"DATA: {name} holds no labels to train on")
    is_classes = all(y.ndim == 1 and y.dtype.kind in "biu" for _, y in parts)
    classes = _classes([y for _, y in parts]) if is_classes else 0

    def parted(part: Labelled, share: float) -> list[Labelled]:
        return fr.data.split(*part, (1 - share, share), stratify=is_classes, seed=seed)

    train, test = parts if len(parts) == 2 else parted(parts[0], TEST_SHARE)
    train, *rest = parted(train, DEV_SHARE) if dev else [train]
    train, test, *rest = ((inputs(X), y) for X, y in (train, test, *rest))
    outputs, loss = (classes, "softmax_cross_entropy") if is_classes else (train[1][0].size, "mse")
    return Task(train, test, outputs, loss, *rest)


def _classes(labels: list[np.ndarray]) -> int:
    low, high = min(y.min() for y in labels), max(y.max() for y in labels)
    if low < 0 or high >= len(labels[0]):
        raise ValueError(f"DATA: got labels from {low} to {high}, expected classes 0, 1, 2, ..., fewer than samples")
    return int(high) + 1


def make_trainer(
    task: Task, options: argparse.Namespace, regularized: bool = True, engine: str | None = None
) -> fr.Trainer:
    """A trainer of a dense network, as the options say. Without `regularized`, it has no dropout and no penalties."""
    columns = task.train[0].shape[1]
    keep, *rest = keep_probs(options, columns, task.is_classification) if regularized else (1.0, 1.0)
    if len(rest) > max(1, len(options.hidden)):
        raise ValueError(f"--keep-prob: got {len(rest)} for {len(options.hidden)} hidden layers and one for the inputs")
    layers: list = [scaling(task.train[0])]
    keeps = chain(rest, repeat(rest[-1]))
    for units, following in zip((*options.hidden, task.outputs), keeps, strict=False):
        layers += [fr.Dropout(keep_prob=keep)] if keep < 1 else []
        layers.append(fr.Dense(units, activation=options.activation))
        keep = following
    layers[-1] = fr.Dense(task.outputs)
    return fr.Trainer(
        fr.Sequential(layers),
        loss=task.loss,
        optimizer=make_optimizer(options, len(task.train[0])),
        l1=options.l1 if regularized else 0.0,
        l2=options.l2 if regularized else 0.0,
        engine=engine or options.engine,
        seed=options.seed,
        threads=options.threads,
    )


def headline(task: Task, options: argparse.Namespace) -> str:
    """Data, network and training in one line."""
    epochs, batch_size = epochs_and_batch_size(options, len(task.train[0]))
    sizes = [task.train[0].shape[1], *options.hidden, task.outputs]
    dev = f", {len(task.dev[0]):,} dev" if task.dev else ""
    activation = f" {options.activation}" if options.activation != "relu" else ""
    rate = f"{learning_rate(options):g}" + (f" {options.schedule}" if options.schedule != "constant" else "")
    return (
        f"{data_name(options.data)}: {len(task.train[0]):,} training{dev} and {len(task.test[0]):,} test samples; "
        f"network {'-'.join(map(str, sizes))}{activation}, {options.optimizer} at {rate}, "
        f"batches of {batch_size}, {epochs} epochs"
    )
