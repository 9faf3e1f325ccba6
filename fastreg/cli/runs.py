"""Helpers of the commands, not a command: the trainings that one compares, and their table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import fastreg as fr
from fastreg.cli.progress import ProgressLine
from fastreg.cli.tasks import Labelled, Task
from fastreg.common.tables import table

SPEEDUP_BATCHES, SPEEDUP_TIMES = 10, 5


class Run(NamedTuple):
    """A trained network and its results. --json uses the same names for the numbers."""

    trainer: fr.Trainer
    history: fr.History
    numbers: Mapping[str, float]


def run(
    trainer: fr.Trainer, task: Task, epochs: int, batch_size: int, name: str, callbacks: Iterable[fr.Callback] = ()
) -> Run:
    watched, validation_data = task.watched
    history = trainer.fit(
        *task.train,
        epochs=epochs,
        batch_size=batch_size,
        validation_data=validation_data,
        callbacks=[ProgressLine(name, watched), *callbacks],
    )
    train, test = trainer.evaluate(*task.train), trainer.evaluate(*task.test)
    seconds = sum(history["seconds"])
    numbers = {f"train_{key}": value for key, value in train.items()}
    numbers |= {f"test_{key}": value for key, value in test.items()}
    epochs = len(history["seconds"])
    numbers |= {"epochs": epochs, "seconds": seconds, "samples_per_second": len(task.train[0]) * epochs / seconds}
    faster = speedup(trainer, task.train, batch_size) if trainer.engine == "native" else 1.0
    return Run(trainer, history, {**numbers, "speedup": faster})


def speedup(
    trainer: fr.Trainer, data: Labelled, batch_size: int, batches: int = SPEEDUP_BATCHES, times: int = SPEEDUP_TIMES
) -> float:
    """How many times as fast the trainer's engine is as the reference engine.

    Both train on the same few batches in turns, so a busy machine slows both. The best time of each counts.
    """
    twins = [trainer.copy(), trainer.copy(engine="reference")]
    X, y = (values[: batches * batch_size] for values in data)
    epochs = [[twin.fit(X, y, batch_size=batch_size)["seconds"][0] for twin in twins] for _ in range(times)]
    own, reference = map(min, zip(*epochs, strict=True))
    return reference / own


def runs_table(runs: Mapping[str, Run], is_classification: bool) -> str:
    """One line per run."""
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
    rows = []
    for name, run in runs.items():
        cells = (formats[title.split()[-1]].format(run.numbers[key]) for title, key in columns.items())
        rows.append([name, *cells])
    return table(["", *columns], rows)
