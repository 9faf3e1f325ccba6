"""Helpers of the commands, not a command: the trainings that one compares, and their table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    trainer: fr.Trainer,
    task: Task,
    epochs: int,
    batch_size: int,
    name: str,
    callbacks: Iterable[fr.Callback] = (),
    compare_speed: bool = False,
) -> Run:
    """Trains and evaluates. With `compare_speed` the numbers have the speed relative to the reference engine."""
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
    if compare_speed:
        numbers["speedup"] = speedup(trainer, task.train, batch_size) if trainer.engine == "native" else 1.0
    return Run(trainer, history, numbers)


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


def runs_table(runs: Mapping[str, Run], metrics: Sequence[str]) -> str:
    """One line per run."""
    columns = {f"{part} {name}": f"{part}_{name}" for name in metrics for part in ("train", "test")}
    columns |= {"train loss": "train_loss", "test loss": "test_loss", "seconds": "seconds"}
    columns |= {"samples/s": "samples_per_second"}
    if any("speedup" in run.numbers for run in runs.values()):
        columns["x reference"] = "speedup"
    formats = {"accuracy": "{:.2%}", "seconds": "{:.2f}", "samples/s": "{:,.0f}", "reference": "{:.1f}"}
    rows = []
    for name, run in runs.items():
        cells = (formats.get(title.split()[-1], "{:.4g}").format(run.numbers[key]) for title, key in columns.items())
        rows.append([name, *cells])
    return table(["", *columns], rows)
