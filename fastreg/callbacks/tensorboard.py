"""TensorBoard writes the history as event files. The package `tensorboard` is imported when a fit begins."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastreg.callbacks.base import Callback, Plan
from fastreg.callbacks.history import number
from fastreg.callbacks.training import Training
from fastreg.common import checking
from fastreg.common.fileio import PathLike, writing

BINS = 30  # of a histogram
MISSING = 'TensorBoard: the package tensorboard is missing: pip install "fastreg[tensorboard]"'


class TensorBoard(Callback):
    """Writes all values of the history for TensorBoard, epoch by epoch: `tensorboard --logdir LOG_DIR` shows them.

    Each value is a scalar under its name in the history: "loss", "val_accuracy", "lr". The step is the number of the
    epoch, counted from 0. Further fits of the same trainer add to it, and a resumed fit continues after the epochs of
    the checkpoint: what was written beyond them, or by another run in the same folder, is no longer shown from there
    on. Give each run a folder of its own to compare them: `TensorBoard("runs/dropout")`.

    It needs the package `tensorboard` (`pip install "fastreg[tensorboard]"`), but neither TensorFlow nor PyTorch.

    Parameters
    ----------
    log_dir
        The folder. It is made if it does not exist.
    histograms
        Number of epochs between two histograms of each parameter, "weights/<name>". 0 for none.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above, or fit finds that the folder is a file.
    ImportError
        fit finds that tensorboard is not installed.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.TensorBoard("runs/first", histograms=5)
    TensorBoard(log_dir='runs/first', histograms=5)
    """

    goes_last = True  # after those that add to the logs

    def __init__(self, log_dir: PathLike, *, histograms: int = 0):
        self.log_dir = Path(checking.path("log_dir", log_dir))
        self.histograms = checking.integer("histograms", histograms, 0)

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        _tools()
        taken = next((path for path in (self.log_dir, *self.log_dir.parents) if path.exists()), None)
        if taken is not None and not taken.is_dir():
            raise ValueError(f"TensorBoard log_dir: got {str(self.log_dir)!r}, expected a folder; {taken} is a file")

    def on_train_begin(self) -> None:
        if self.continues():
            return
        with writing(self.log_dir):
            self.log_dir.mkdir(parents=True, exist_ok=True)
        started = time.time_ns()  # so that no two files have one name
        name = f"events.out.tfevents.{started // 10**9}.{socket.gethostname()}.{os.getpid()}.{started % 10**9:09}"
        self._path = self.log_dir / name
        events, _, _ = _tools()
        version = events.Event(wall_time=time.time(), file_version="brain.Event:2")
        start = events.SessionLog(status=events.SessionLog.START)  # later steps of earlier files no longer count
        self._write(version, events.Event(wall_time=time.time(), step=self.plan.first_epoch, session_log=start))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        events, summaries, _ = _tools()
        told = ((name, number(value)) for name, value in logs.items())
        values = [summaries.Summary.Value(tag=name, simple_value=value) for name, value in told if value is not None]
        if self.histograms and (epoch + 1) % self.histograms == 0:
            for name, array in self.model.parameters.items():
                values.append(summaries.Summary.Value(tag=f"weights/{name}", histo=_histogram(summaries, array)))
        summary = summaries.Summary(value=values)
        self._write(events.Event(wall_time=time.time(), step=epoch, summary=summary))

    def _write(self, *events: Any) -> None:
        """Adds events to the file, which is whole after each epoch."""
        _, _, writer = _tools()
        with writing(self._path), open(self._path, "ab") as file:
            records = writer.RecordWriter(file)
            for event in events:
                records.write(event.SerializeToString())


def _tools() -> tuple[Any, Any, Any]:
    """What the package has: events, summaries, and the writer of records."""
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer import record_writer
    except ImportError:
        raise ImportError(MISSING) from None
    return event_pb2, summary_pb2, record_writer


def _histogram(summaries: Any, array: np.ndarray) -> Any:
    values = np.ravel(array).astype(np.float64)
    counts, edges = np.histogram(values, BINS)
    return summaries.HistogramProto(
        min=values.min(),
        max=values.max(),
        num=len(values),
        sum=values.sum(),
        sum_squares=np.square(values).sum(),
        bucket_limit=edges[1:],
        bucket=counts,
    )
