"""CSVLogger writes the history to a CSV file during training."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from fastreg.callbacks.base import Callback, Plan
from fastreg.callbacks.history import number
from fastreg.callbacks.training import Training
from fastreg.common import checking
from fastreg.common.fileio import PathLike, atomic_write, check_target, writing


class CSVLogger(Callback):
    """Writes a line per epoch: its number, counted from 0, and all values of the history.

    The first fit begins a new file. Further fits of the same trainer add to it, and a resumed fit continues after the
    epochs of the checkpoint. So the table is that of a fit that never stopped, except for the seconds of epochs that
    were trained twice. `trainer.reset()` and another trainer begin a new file. If a later epoch has other columns, the
    file is written again with all of them; where an epoch has no value, it says nan.

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
    epoch,loss,penalty,seconds,lr
    """

    goes_last = True  # after those that add to the logs

    def __init__(self, path: PathLike):
        self.path = Path(checking.path("path", path))

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        check_target("CSVLogger path", self.path)

    def on_train_begin(self) -> None:
        if not self.continues():
            self._first = 0 if self.plan.resumed else len(self.plan.whole.epochs)
        self._write()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        row = {name: told for name, value in logs.items() if (told := number(value)) is not None}
        if not row.keys() <= set(self._columns):
            self._write()
            return
        with writing(self.path), open(self.path, "ab") as file:
            file.write(_line([epoch, *(row.get(name, math.nan) for name in self._columns)]))

    def _write(self) -> None:
        """Writes all epochs so far."""
        whole = self.plan.whole.copy(self._first)
        self._columns = list(dict.fromkeys([*self.plan.names, *whole]))
        with atomic_write(self.path) as file:
            file.write(_line(["epoch", *self._columns]))
            for epoch, row in whole.rows():
                file.write(_line([epoch, *(row.get(name, math.nan) for name in self._columns)]))


def _line(values: Iterable) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
