"""Helper of the commands, not a command: the progress of a training, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import fastreg as fr
from fastreg.common.liveline import LiveLine


class ProgressLine(fr.Callback):
    """On a terminal, one line that is rewritten at most ten times per second. Elsewhere, ten plain lines per run."""

    def __init__(self, name: str, watched: str = "test"):
        self.name, self.watched = name, watched

    def on_train_begin(self) -> None:
        self.live, self.line, self.text = sys.stderr.isatty(), LiveLine(sys.stderr), ""

    def on_epoch_begin(self, epoch: int) -> None:
        self.epoch = f"{self.name:11}  epoch {epoch + 1}/{self.plan.last_epoch}"

    def on_slice_end(self, batches: int, logs: Mapping[str, float]) -> None:
        if self.live:
            self.line.show(f"{self.epoch}  batch {batches}/{self.plan.batches}  loss {logs['loss']:.4f}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        watched = ", ".join(
            f"{name[4:]} {value:.2%}" if "accuracy" in name else f"{name[4:]} {value:.4f}"
            for name, value in logs.items()
            if name.startswith("val_")
        )
        self.text = f"{self.epoch}  loss {logs['loss']:.4f}  {self.watched} {watched}"
        done, total = epoch + 1, self.plan.last_epoch
        if self.live:
            self.line.show(self.text)
        elif done * 10 // total > epoch * 10 // total:
            print(self.text, file=sys.stderr, flush=True)

    def on_train_end(self) -> None:
        if self.line.length:
            self.line.show(self.text, at_once=True)
            self.line.keep()
