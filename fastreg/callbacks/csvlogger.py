"""CSVLogger writes the history to a CSV file during training."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from fastreg.callbacks.base import Callback, Plan
from fastreg.callbacks.training import Training
from fastreg.common import checking
from fastreg.common.fileio import PathLike, atomic_write, check_target, remove_leftovers, writing


class CSVLogger(Callback):
    """Writes a line per epoch: its number, counted from 0, and all values of the history.

    A fit begins a new file. A resumed fit continues after the epochs of the checkpoint. So the table is that of a fit
    that never stopped, except for the seconds of epochs that were trained twice.

    Parameters
    ----------
    path
        The file. Its folder must exist.

    Examples
    --------
    >>> import os, tempfile, numpy as np, fastreg as fr
    >>> path = os.path.join(tempfile.mkdtemp(), "log.csv")
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), metrics=())
    >>> history = trainer.fit(np.eye(3), np.arange(3), epochs=2, callbacks=[fr.CSVLogger(path)])
    >>> with open(path) as file:
    ...     print(file.readline().strip())
    epoch,loss,penalty,seconds
    """

    def __init__(self, path: PathLike):
        self.path = Path(checking.path("path", path))

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        check_target("CSVLogger path", self.path)

    def on_train_begin(self) -> None:
        remove_leftovers(self.path)
        with atomic_write(self.path) as file:
            file.write(_line(["epoch", *self.plan.names]))
            for epoch, row in self.plan.history.rows():
                file.write(_line([epoch, *row.values()]))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        with writing(self.path), open(self.path, "ab") as file:
            file.write(_line([epoch, *logs.values()]))


def _line(values: Iterable) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
