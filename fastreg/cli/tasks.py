"""Data sets that the commands learn from, and the networks and trainers for them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastreg as fr
from fastreg.cli.options import OPTIMIZERS, data_name, epochs_and_batch_size
from fastreg.data.builtin import SETS
from fastreg.data.readers import Part

TEST_SHARE = 0.25


def read(name: str, seed: int = 0) -> list[Part]:
    """A built-in set, or what a file or folder holds."""
    if name in SETS:
        return [fr.data.load(name, seed=seed)]
    if not Path(name).exists():
        raise ValueError(f"DATA: got {name!r}, expected a file, a folder or one of {', '.join(SETS)}")
    return fr.data.read(name)


def inputs(X: np.ndarray) -> np.ndarray:
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


def make_task(name: str, seed: int) -> Task:
    """Training and test samples, and the loss that fits their targets."""
    parts = read(name, seed)
    if any(y is None for _, y in parts):
        raise ValueError(f"DATA: {name} holds no labels to train on")
    is_classes = all(y.ndim == 1 and y.dtype.kind in "biu" for _, y in parts)
    classes = _classes([y for _, y in parts]) if is_classes else 0
    if len(parts) == 1:
        parts = fr.data.split(*parts[0], (1 - TEST_SHARE, TEST_SHARE), stratify=is_classes, seed=seed)
    train, test = ((inputs(X), y) for X, y in parts)
    if is_classes:
        return Task(train, test, classes, "softmax_cross_entropy")
    return Task(train, test, train[1][0].size, "mse")


def _classes(labels: list[np.ndarray]) -> int:
    low, high = min(y.min() for y in labels), max(y.max() for y in labels)
    if low < 0 or high >= len(labels[0]):
        raise ValueError(f"DATA: got labels from {low} to {high}, expected classes 0, 1, 2, ...; fewer than samples")
    return int(high) + 1


def make_trainer(
    task: Task,
    options: argparse.Namespace,
    keep_prob: tuple[float, float],
    l2: float,
    engine: str | None = None,
) -> fr.Trainer:
    """A dense network with ReLU; the rest as the options say."""
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
        engine=engine or options.engine,
        seed=options.seed,
        threads=options.threads,
    )


def headline(task: Task, options: argparse.Namespace) -> str:
    """Data, network and training in a line."""
    epochs, batch_size = epochs_and_batch_size(options, len(task.train[0]))
    sizes = [task.train[0].shape[1], *options.hidden, task.outputs]
    rate = OPTIMIZERS[options.optimizer][1] if options.lr is None else options.lr
    return (
        f"{data_name(options.data)}: {len(task.train[0]):,} training and {len(task.test[0]):,} test samples; "
        f"network {'-'.join(map(str, sizes))}, {options.optimizer} at {rate:g}, "
        f"batches of {batch_size}, {epochs} epochs"
    )
