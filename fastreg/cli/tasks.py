"""Helpers of the commands, not a command: the data sets to learn from, with networks and trainers for them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastreg as fr
from fastreg.cli.options import data_name, epochs_and_batch_size, keep_probs, learning_rate, make_optimizer, reading
from fastreg.data.builtin import SETS
from fastreg.data.infer import are_images, fit_schema, infer_schema, targets_of
from fastreg.data.readers import is_table
from fastreg.data.tables.read import likely_target, read_table_of
from fastreg.intake.classes import Classes
from fastreg.intake.schema import Schema
from fastreg.intake.table import Table, holes

TEST_SHARE = 0.15
NUMBERS = ("r2", "rmse", "mae")  # metrics of a task of numbers

Labelled = tuple[Any, Any]  # inputs and targets, of the same length


def read(options: argparse.Namespace, seed: int = 0, texts: Sequence[str] = ()) -> list[tuple[Any, Any]]:
    """A built-in set, or the contents of a file or folder. A table comes without targets: they are in it. `texts` are
    columns that a model knows as texts."""
    name, how = options.data, reading(options)
    if name not in SETS and not Path(name).exists():
        raise ValueError(f"DATA: got {name!r}, expected a file, a folder or one of {', '.join(SETS)}")
    if name not in SETS and is_table(name):
        return [(read_table_of(name, texts, **how), None)]
    if how:
        raise ValueError(f"--{next(iter(how))}: got it for {name}, which is not a table in a text file")
    return [fr.data.load(name, seed=seed)] if name in SETS else fr.data.read(name)


def inputs(X):
    """One row per sample. Models scale their inputs themselves."""
    return X if isinstance(X, Table) else X.reshape(len(X), -1)


class Task(NamedTuple):
    """What a network learns from, and what it is tested on."""

    train: Labelled
    test: Labelled
    schema: Schema
    validation: Labelled | None = None  # for the choice of the best epoch, which must not see the test samples

    @property
    def watched(self) -> tuple[str, Labelled]:
        """The samples that are evaluated after every epoch, with their name."""
        return ("validation", self.validation) if self.validation else ("test", self.test)

    @property
    def outputs(self) -> int:
        return self.schema.outputs

    @property
    def loss(self) -> str:
        return str(self.schema.loss)

    @property
    def is_classification(self) -> bool:
        return self.schema.target.task != "numbers"

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("accuracy",) if self.is_classification else NUMBERS

    @property
    def monitor(self) -> str:
        """What tells the best epoch. The loss of several numbers follows those with the largest units; r2 has none."""
        return "val_loss" if self.is_classification or self.outputs == 1 else "val_r2"

    @property
    def columns(self) -> int:
        """How many numbers the network reads for a sample."""
        return self.schema.width or int(np.prod(np.shape(self.train[0])[1:]))


def make_task(options: argparse.Namespace, held_back: float = 0.0) -> Task:
    """Training and test samples, what they are, and the loss that fits. `held_back` is the share of the samples that is
    held back for validation."""
    found = read(options, options.seed)
    scale = options.scale or ("bytes" if not isinstance(found[0][0], Table) and are_images(found[0][0]) else None)
    target = target_column(found[0][0], found[0][1], options.target)
    parts, names = [], None
    for X, y in found:
        X, y, names = _targets(X, y, target)
        if y is None:
            raise ValueError(f"DATA: {options.data} holds no labels to train on; --target takes a column of it")
        parts.append((inputs(X), y))
    told = {"task": options.task, "loss": options.loss, "scale": scale}
    everything = _together(parts)
    schema = infer_schema(everything[0], everything[1], **told)
    if names is not None:
        schema = schema.with_target_names(names)
    stratified = schema.target.task == "classes" and np.size(everything[1]) == len(everything[1])

    shares = [share for share in (TEST_SHARE * (len(parts) == 1), held_back) if share]
    X, y = parts[0]
    codes = np.asarray(schema.target.encode("y", y)).ravel().astype(np.int64) if stratified else None
    labels = np.zeros(len(X)) if codes is None else codes
    rows, fractions = np.arange(len(X)), (1 - sum(shares), *shares)
    try:
        drawn = fr.data.split(rows, labels, fractions, stratify=stratified, seed=options.seed)
    except ValueError:  # too few rows for each part to have some of the classes
        drawn = fr.data.split(rows, np.zeros(len(X)), fractions, seed=options.seed)
    train, *rest = [(X[own], y[own]) for own, _ in drawn]
    test = rest.pop(0) if len(parts) == 1 else parts[1]
    return Task(train, test, fit_schema(schema, *train, scale), *rest)


def target_column(X, y, target: str | None):
    """The columns of a table that are the targets, as the option or as the table suggests; None if y has them."""
    if target is not None:
        if y is not None and not isinstance(X, Table):
            raise ValueError("--target: got a column for data that have their labels apart, expected none")
        wanted = [int(part) if part.lstrip("-").isdigit() else part for part in target.split(",")]
        if isinstance(X, Table) and target in X.names:
            return target
        return wanted[0] if len(wanted) == 1 else wanted
    if y is None and isinstance(X, Table):
        return likely_target(X)[0]
    return None


def _targets(X, y, target):
    """Inputs, targets and their names. Rows of a table that have no target are left out, and that is said."""
    if y is not None or target is None:
        return X, y, None
    if not isinstance(X, Table):
        X = Table({str(j): X[:, j] for j in range(X.shape[1])}, named=False)
    X, y, names = targets_of(X, None, target)
    empty = np.zeros(len(X), bool)
    for column in (y,) if isinstance(y, np.ndarray) else (y[name] for name in y.names):
        empty |= holes(column)
    if empty.any():
        count = int(empty.sum())
        rows = f"{count:,} row{'s' * (count != 1)}"
        print(f"fastreg: {rows} without {', '.join(names)} left out", file=sys.stderr)
        X, y = X[~empty], y[~empty]
    return X, y, names


def _together(parts: list[Labelled]) -> Labelled:
    """All parts as one, to find out what they hold."""
    if len(parts) == 1:
        return parts[0]
    X, _ = parts[0]  # kinds of columns follow from the training part, classes from both
    labels = [np.asarray(labels) for _, labels in parts]
    if labels[0].shape[1:] != labels[1].shape[1:]:
        raise ValueError(f"DATA: got labels of shapes {labels[0].shape} and {labels[1].shape}, expected the same kind")
    return X, np.concatenate(labels)


def make_trainer(
    task: Task, options: argparse.Namespace, regularized: bool = True, engine: str | None = None
) -> fr.Trainer:
    """A trainer of a dense network, as the options say. Without `regularized`, it has no dropout and no penalties."""
    keep, *rest = keep_probs(options, task.columns, task.is_classification) if regularized else (1.0, 1.0)
    if len(rest) > max(1, len(options.hidden)):
        raise ValueError(f"--keep-prob: got {len(rest)} for {len(options.hidden)} hidden layers and one for the inputs")
    layers: list = [task.schema]
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
        metrics=task.metrics,
        l1=options.l1 if regularized else 0.0,
        l2=options.l2 if regularized else 0.0,
        mixup=options.mixup if regularized else None,
        averaging=None if options.ema is None else fr.EMA(options.ema),
        engine=engine or options.engine,
        precision=options.precision,
        seed=options.seed,
        threads=options.threads,
    )


def headline(task: Task, options: argparse.Namespace) -> str:
    """What the data are, in one line; network and training in another."""
    epochs, batch_size = epochs_and_batch_size(options, len(task.train[0]))
    sizes = [task.columns, *options.hidden, task.outputs]
    validation = f", {len(task.validation[0]):,} validation" if task.validation else ""
    activation = f" {options.activation}" if options.activation != "relu" else ""
    rate = f"{learning_rate(options):g}" + (f" {options.schedule}" if options.schedule != "constant" else "")
    averages = "" if options.ema is None else f", weights averaged with decay {options.ema:g}"
    return (
        f"{task.schema}\n"
        f"{data_name(options.data)}: {len(task.train[0]):,} training{validation} and {len(task.test[0]):,} test "
        f"samples; network {'-'.join(map(str, sizes))}{activation}, {task.loss}, {options.optimizer} at {rate}, "
        f"batches of {batch_size}, {epochs} epochs{averages}"
    )


def units(task: Task) -> str:
    """In which units the loss and the metrics of a task of numbers are."""
    power, scaled = fr.losses.get(task.loss).power, task.schema.target.scale is not None
    if power == 1:
        return "loss, rmse and mae are in units of the target"
    loss = "their square" if power == 2 else "those of the scaled target, in which it was trained" if scaled else ""
    return f"rmse and mae are in units of the target{f', loss in {loss}' if loss else ''}"


def labelled(model: fr.Model, X, y) -> Labelled:
    """Inputs and labels for a model. A table may hold the labels, in the columns of the training data; y is None if it
    does not."""
    if y is not None or not isinstance(X, Table):
        return X, y
    names = model.schema.target.names
    if model.schema.columns is None:  # a model that knows no names takes its columns from the left
        extra = X.shape[1] - model.inputs
        if extra not in (0, 1):
            raise ValueError(f"DATA: got {X.shape[1]} columns, expected {model.inputs}, and maybe one of labels")
        X, labels = X.select(X.names[: model.inputs]), X[X.names[-1]] if extra else None
        return np.asarray(X), labels
    has = (
        names is not None
        and set(names) <= set(X.names)
        and (model.schema.named or X.shape[1] > len(model.schema.columns))
    )
    return X, X.select(names) if names is not None and has else None


def hits(model: fr.Model, outputs: np.ndarray, y) -> float | None:
    """The share of correct predictions, by the names of classes; None where predictions cannot be correct or wrong. A
    class that the model does not know counts as wrong."""
    told = model.schema.labels(outputs, model.output_transform)
    truth = np.asarray(y[y.names[0]] if isinstance(y, Table) and y.shape[1] == 1 else y)
    if truth.ndim == 2 and truth.shape[1] == 1:
        truth = truth[:, 0]
    if (
        truth.ndim == 2 and told.ndim == 1 and truth.shape == outputs.shape and truth.dtype.kind in "biuf"
    ):  # one-hot rows, or shares
        told, truth = outputs.argmax(axis=1), truth.argmax(axis=1)
    if truth.shape != told.shape:
        return None
    known = None if model.classes is None or told.ndim != 1 else Classes(model.classes)
    if known is not None and (others := known.unknown(truth)):
        text = f"{len(others):,} of {len(truth):,} labels are no class of the model ({known}), and count as wrong"
        print(f"fastreg: {text}, such as {others[0]}", file=sys.stderr)
    return float(np.mean(Classes.equal(told, truth)))


def errors(outputs: np.ndarray, y) -> dict[str, float]:
    """How far predicted numbers are from the targets. Empty if some target is missing or of another shape."""
    truth = np.asarray(y, dtype=np.float64).reshape(len(outputs), -1) if _are_numbers(y) else outputs[:, :0]
    if truth.shape != outputs.shape or not np.isfinite(truth).all():
        return {}
    return {name: float(getattr(fr.metrics, name)(truth, outputs)) for name in NUMBERS}


def _are_numbers(y) -> bool:
    return y.is_numeric if isinstance(y, Table) else np.asarray(y).dtype.kind in "biuf"
