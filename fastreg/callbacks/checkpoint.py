"""Checkpoints: writes files from which a fit can continue, to the same bits as one that never stopped.

A checkpoint is a model file, which `fastreg.load` opens, with more tensors. No parameter can have their names:

    checkpoint/state/<parameter>/<slot>   what the optimizer keeps
    checkpoint/callbacks/<index>/<name>   state_dict of the callbacks with a state_dict or settings, in their order
    checkpoint/epochs, checkpoint/history int64 (epochs,), float64 (epochs, columns): the history of the trainer

The metadata hold JSON: the counters of the trainer, what a resumed fit must repeat, each fact as a line of text, the
columns of the history, and where in it the fit begins. Older files lack the last two. Their history is that of the fit,
with the columns that the fit must repeat.

`fastreg.training.resume` reads these files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastreg.callbacks.base import MODES, Callback, Plan, check_monitor, direction, watched
from fastreg.callbacks.history import History
from fastreg.callbacks.training import Training
from fastreg.common import checking, checksum
from fastreg.common.description import Description
from fastreg.common.fileio import PathLike, atomic_link, check_target
from fastreg.common.safetensors import parse_json, read_tensors, write_tensors
from fastreg.common.temporary import remove_leftovers
from fastreg.model.files import CHECKPOINT_KEY, CHECKPOINT_PREFIX

COUNTERS = ("epoch", "step", "updates")  # in the file: epochs, batches and updates of the trainer
STATE = CHECKPOINT_PREFIX + "state/"
CALLBACKS = CHECKPOINT_PREFIX + "callbacks/"
EPOCHS = CHECKPOINT_PREFIX + "epochs"
HISTORY = CHECKPOINT_PREFIX + "history"
FIELD = re.compile(r"\{[A-Za-z_]+(:[^{}]*)?\}")  # Keras's "{epoch:02d}", which would be the name itself


class Checkpoint(Callback):
    """Writes checkpoints during training. `fit(resume=path)` continues from one; `fastreg.load(path)` reads its model.

    A resumed fit ends with the same bits as one that never stopped. A new file replaces the old one only when it is
    complete and on the disk. So whatever happens, from kill -9 to a full disk, costs at most the epochs since the last
    checkpoint. A checkpoint holds the current weights, even if EarlyStopping later restores better ones. The position
    of this callback in the list does not matter.

    Further fits of the same trainer go on as one long fit would: the best checkpoint is replaced only by a better one,
    also by a new callback that finds the file of an earlier fit. `trainer.reset()` and another trainer start afresh,
    and replace the files.

    Parameters
    ----------
    path
        The file of the newest checkpoint, in a folder that exists. Other checkpoints are next to it. For
        "run.safetensors" they are "run.12.safetensors" (after 12 epochs) and "run.best.safetensors".
    every
        Number of epochs between two checkpoints. The last epoch always has one.
    keep
        How many of the newest checkpoints to keep, including the one at `path`.
    save_best
        Whether to keep the best checkpoint, too. Any epoch can be the best, whatever `every` is.
    monitor
        The value that decides which is best: a name in the history.
    mode
        "min", "max" or "auto": the direction that the name of the monitor says, as in `EarlyStopping`.

    Raises
    ------
    OSError
        In fit: a file cannot be written. Earlier checkpoints and the model are intact.

    Examples
    --------
    >>> import os, tempfile, numpy as np, fastreg as fr
    >>> X, y = np.eye(3), np.arange(3)
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> def fit(epochs, resume=None):
    ...     trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.Adam(0.1))
    ...     return trainer.fit(X, y, epochs=epochs, callbacks=[fr.Checkpoint(path)], resume=resume)
    >>> _ = fit(epochs=2)
    >>> fit(epochs=5, resume=path)["loss"] == fit(epochs=5)["loss"]
    True
    >>> fr.load(path).predict(X).shape
    (3, 3)
    """

    goes_last = True

    def __init__(
        self,
        path: PathLike,
        *,
        every: int = 1,
        keep: int = 1,
        save_best: bool = False,
        monitor: str = "val_loss",
        mode: str = "auto",
    ):
        self.path = Path(checking.path("path", path))
        if FIELD.search(self.path.name):
            raise ValueError(
                f"path: got {checking.shown(self.path.name)}, expected a name without fields in braces; files of "
                "earlier epochs are named by keep=, the best one by save_best=True"
            )
        self.every = checking.integer("every", every)
        self.keep = checking.integer("keep", keep)
        self.save_best = checking.flag("save_best", save_best)
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: got {checking.shown(monitor)}, expected a name in the history")
        self.monitor = monitor
        self.mode = checking.choice("mode", mode, MODES)

    def beside(self, mark: str | int) -> Path:
        """The path of another checkpoint, with `mark` "best" or a number of epochs."""
        return self.path.with_name(f"{self.path.stem}.{mark}{self.path.suffix}")

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        also = [mark for mark, made in (("best", self.save_best), (plan.last_epoch, self.keep > 1)) if made]
        for path in (self.path, *map(self.beside, also)):
            check_target("Checkpoint path", path)
        trainer.model.metadata()  # refuses what a file cannot hold, such as layers in Python
        if self.save_best:
            check_monitor(self, self.monitor, plan, self.mode)

    def on_train_begin(self) -> None:
        self._sign = direction(self.monitor, self.mode)
        if not self.continues():
            self._best = math.inf
            self._written: int | None = None  # the epochs of the file at `path`, if it is of this training
            self._older: list[int] = []  # and of the files next to it
        if self.save_best:
            for _, row in self.plan.history.rows():
                self._best = min(self._best, self._sign * row.get(self.monitor, math.nan))
            kept = self._last_epoch(self.beside("best"))
            self._best = min(self._best, self._sign * kept.get(self.monitor, math.nan))
        for path in (self.path, self.beside("best"), self.beside(self.plan.first_epoch)):
            remove_leftovers(path)
        if self.plan.resumed and self.path.exists() and self.path.samefile(self.plan.resumed):
            self._written = self.plan.first_epoch
            self._older = self._found(self.plan.first_epoch)

    def _last_epoch(self, path: Path) -> dict[str, float]:
        """The last epoch in the history of a checkpoint, if it is of this training: if the trainer has the same one, to
        the bit. Else nothing."""
        whole = self.plan.whole
        if not whole.epochs or not path.is_file():
            return {}
        try:
            tensors, metadata = read_tensors(path)
            checksum.verify(tensors, metadata)
            columns = parse_json(metadata[CHECKPOINT_KEY], "the header", floats=False)["columns"]
            epoch, row = int(tensors[EPOCHS][-1]), dict(zip(columns, tensors[HISTORY][-1].tolist(), strict=True))
            own = whole[whole.epochs.index(epoch)]
        except (FileNotFoundError, LookupError, TypeError, ValueError):
            return {}
        same = all(own.get(name) == row.get(name) for name in ("loss", "seconds"))
        return {"epoch": epoch, **row} if same else {}

    def _found(self, end: int) -> list[int]:
        """The numbers below `end` of the files next to `path` that this training has written."""
        pattern = re.compile(rf"{re.escape(self.path.stem)}\.([0-9]+){re.escape(self.path.suffix)}")
        matches = filter(None, (pattern.fullmatch(file.name) for file in self.path.parent.iterdir()))
        numbers = sorted(number for match in matches if str(number := int(match[1])) == match[1] and number < end)
        return [number for number in numbers if self._last_epoch(self.beside(number)).get("epoch") == number - 1]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        done = epoch + 1
        due = done % self.every == 0 or done == self.plan.last_epoch or self.trainer.stop_training
        value = self._sign * watched(self, self.monitor, logs) if self.save_best else math.nan
        better = value < self._best  # false for NaN
        try:
            if better:
                self._best = value
                write(self.beside("best"), self.trainer, self.plan)
            if due:
                self._replace(done, better)
        except OSError as error:
            text = f"{error.strerror or error}: no checkpoint is written, those before are intact"
            raise OSError(error.errno, text, str(self.path)) from error

    def _replace(self, done: int, best: bool) -> None:
        if self.keep > 1 and self._written is not None:
            atomic_link(self.path, self.beside(self._written))
            self._older.append(self._written)
        if best:
            atomic_link(self.beside("best"), self.path)
        else:
            write(self.path, self.trainer, self.plan)
        self._written = done
        while len(self._older) >= self.keep:
            self.beside(self._older.pop(0)).unlink(missing_ok=True)


# --- The file ----------------------------------------------------------------------------------------------------


def write(path: PathLike, trainer: Training, plan: Plan) -> None:
    """Writes the current state of a fit that is between two epochs, atomically."""
    history, begun = _stored(trainer, plan)
    tensors: dict[str, Any] = dict(trainer.model.parameters)
    tensors |= {STATE + name: value for name, value in trainer.optimizer_state.items()}
    tensors[EPOCHS] = np.array(history.epochs, np.int64)
    tensors[HISTORY] = np.array(list(history.values()), np.float64).T
    for index, callback in enumerate(to_repeat(plan.callbacks)):
        tensors |= {f"{CALLBACKS}{index}/{name}": np.asarray(v) for name, v in callback.state_dict().items()}
    header = {
        **dict(zip(COUNTERS, (trainer.epoch, trainer.batches, trainer.updates), strict=True)),
        "stopped": bool(trainer.stop_training),
        "repeat": repeated(trainer, plan, trainer.model.input_shape),
        "columns": list(history),
        "begun": begun,
    }
    metadata = {**trainer.model.metadata(), CHECKPOINT_KEY: json.dumps(header)}
    write_tensors(path, tensors, checksum.added(tensors, metadata))


def _stored(trainer: Training, plan: Plan) -> tuple[History, int]:
    """The history that a file holds, and the index of the first epoch of the fit in it. It is that of all fits, unless
    their epochs do not follow each other, since somebody has set the trainer's counter."""
    whole, own = plan.whole, plan.history
    begun = len(whole.epochs) - len(own.epochs)
    first = trainer.epoch - len(whole.epochs)
    if begun >= 0 and first >= 0 and whole.epochs == list(range(first, trainer.epoch)):
        return whole, begun
    return own, 0


# --- What a resumed fit must repeat ------------------------------------------------------------------------------


def repeated(trainer: Training, plan: Plan, sample_shape: Any) -> dict[str, str]:
    """Everything that decides the result of training, as text."""
    layers = {f"layer {layer.name!r}": layer for layer in trainer.model.layers}
    callbacks = [f"{type(c).__name__}({_text(dict(c.settings()))})" for c in to_repeat(plan.callbacks)]
    facts = {
        "layers": [layer.name for layer in trainer.model.layers],
        **layers,
        "shape of a sample": sample_shape,
        **trainer.settings(),
        **plan.data,
        "history": [name for name in plan.names if name != "lr"],  # which files of older versions do not have
    }
    return {name: _text(value) for name, value in facts.items()} | {"callbacks": ", ".join(callbacks) or "none"}


def to_repeat(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks that a resumed fit must have, too."""
    return [c for c in callbacks if c.settings() or type(c).state_dict is not Callback.state_dict]


def _text(value: Any) -> str:
    """A setting as complete text, the same in each process."""
    match value:
        case Description() if is_dataclass(value):
            parts = (f"{name}={_text(item)}" for name, item in value.facts().items())
            return f"{type(value).__name__}({', '.join(parts)})"
        case Mapping():
            return ", ".join(f"{name}={_text(item)}" for name, item in value.items())
        case list() | tuple():
            return f"({', '.join(map(_text, value))})"
        case None | bool() | int() | float() | str():
            return repr(value)
        case np.ndarray():
            return f"array{value.shape} {value.tobytes().hex()}"
    return getattr(value, "__qualname__", type(value).__qualname__)
