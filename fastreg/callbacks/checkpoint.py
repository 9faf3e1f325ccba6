"""Checkpoints: files from which a fit goes on to the same bits as one that never stopped.

A checkpoint is a model file, which `fastreg.load` opens, with more in it, under names that no parameter can have:

    checkpoint/state/<parameter>/<slot>   what the optimizer keeps
    checkpoint/callbacks/<index>/<name>   state_dict of the callbacks that have one, or settings; in their order
    checkpoint/epochs, checkpoint/history int64 (epochs,), float64 (epochs, names): the history of the fit

and, as JSON in the metadata, the counters of the trainer and what a resumed fit has to repeat, each as a line of text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.callbacks.base import MODES, Callback, Plan, check_monitor, direction
from fastreg.callbacks.history import History
from fastreg.common import checking
from fastreg.common.checking import MAX_INT
from fastreg.common.description import Description
from fastreg.common.fileio import FileFormatError, PathLike, atomic_link, check_target, naming, remove_leftovers
from fastreg.common.safetensors import brief, parse_json, read_tensors, write_tensors
from fastreg.engines.arena import Arena
from fastreg.engines.session import make_state
from fastreg.model import files
from fastreg.model.files import CHECKPOINT_KEY, CHECKPOINT_PREFIX
from fastreg.training.settings import COUNTERS

if TYPE_CHECKING:
    from fastreg.model.sequential import Sequential
    from fastreg.training.trainer import Trainer

STATE = CHECKPOINT_PREFIX + "state/"
CALLBACKS = CHECKPOINT_PREFIX + "callbacks/"
EPOCHS = CHECKPOINT_PREFIX + "epochs"
HISTORY = CHECKPOINT_PREFIX + "history"
SHOWN = 160  # characters of a setting in an error


class Checkpoint(Callback):
    """Writes what `fit(resume=path)` needs to go on to the same bits, and what `fastreg.load(path)` opens as a model.

    A file takes the place of the one before only when it is whole and on the disk, so that whatever happens, from
    kill -9 to a full disk, costs at most the epochs since the last one. Its weights are those of training, also where
    an EarlyStopping puts back better ones at the end. Where the list of callbacks has it does not matter.

    Parameters
    ----------
    path
        The file of the newest checkpoint, in a folder that exists. The others lie beside it, for "run.safetensors" as
        "run.12.safetensors" (behind 12 epochs) and "run.best.safetensors".
    every
        Epochs from one to the next. There is always one behind the last epoch.
    keep
        How many of the newest are kept, the one at `path` among them.
    save_best
        Whether the best one is kept, too. For it every epoch counts, whatever `every` is.
    monitor
        What is looked at for it: a name in the history.
    mode
        "min", "max" or "auto": "max" where the monitor ends in "accuracy".

    Raises
    ------
    OSError
        From fit: a file cannot be written. The checkpoints before it are intact, and so is the model.

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
        self.every = checking.integer("every", every)
        self.keep = checking.integer("keep", keep)
        self.save_best = checking.flag("save_best", save_best)
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: got {checking.shown(monitor)}, expected a name in the history")
        self.monitor = monitor
        self.mode = checking.choice("mode", mode, MODES)

    def beside(self, mark: str | int) -> Path:
        """The path of another checkpoint: `mark` is "best" or a number of epochs."""
        return self.path.with_name(f"{self.path.stem}.{mark}{self.path.suffix}")

    def check_fit(self, trainer: Trainer, plan: Plan) -> None:
        check_target("Checkpoint path", self.path)
        trainer.model.metadata()  # refuses what no file can hold, such as layers in Python
        if self.save_best:
            check_monitor(self, self.monitor, plan)

    def on_train_begin(self) -> None:
        self._sign, self._best = direction(self.monitor, self.mode), math.inf
        if self.save_best:
            for _, row in self.plan.history.rows():
                self._best = min(self._best, self._sign * row[self.monitor])
        for path in (self.path, self.beside("best"), self.beside(self.plan.first_epoch)):
            remove_leftovers(path)
        self._written: int | None = None  # epochs behind the file at `path`, if it is of this training
        self._older: list[int] = []  # and behind those beside it
        if self.plan.resumed and self.path.exists() and self.path.samefile(self.plan.resumed):
            self._written = self.plan.first_epoch
            self._older = self._found(self.plan.first_epoch)

    def _found(self, end: int) -> list[int]:
        """The numbers, below `end`, of the files beside `path`."""
        pattern = re.compile(rf"{re.escape(self.path.stem)}\.([0-9]+){re.escape(self.path.suffix)}")
        matches = filter(None, (pattern.fullmatch(file.name) for file in self.path.parent.iterdir()))
        return sorted(number for match in matches if (number := int(match[1])) < end)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        done = epoch + 1
        due = done % self.every == 0 or done == self.plan.last_epoch or self.trainer.stop_training
        better = self.save_best and self._sign * logs[self.monitor] < self._best  # false for NaN
        try:
            if better:
                self._best = self._sign * logs[self.monitor]
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


def write(path: PathLike, trainer: Trainer, plan: Plan) -> None:
    """Writes the present state of a fit, which stands between two epochs, atomically."""
    history = plan.history
    tensors: dict[str, Any] = dict(trainer.model.parameters)
    tensors |= {STATE + name: value for name, value in trainer.optimizer_state.items()}
    tensors[EPOCHS] = np.array(history.epochs, np.int64)
    tensors[HISTORY] = np.array([list(row.values()) for _, row in history.rows()], np.float64)
    for index, callback in enumerate(_lasting(plan.callbacks)):
        tensors |= {f"{CALLBACKS}{index}/{name}": np.asarray(v) for name, v in callback.state_dict().items()}
    header = {
        **{name: getattr(trainer, name) for name in COUNTERS},
        "stopped": bool(trainer.stop_training),
        "repeat": repeated(trainer, plan, trainer.model.input_shape),
    }
    write_tensors(path, tensors, {**trainer.model.metadata(), CHECKPOINT_KEY: json.dumps(header)})


@dataclass
class Saved:
    """A checkpoint that fits the trainer and what it is about to do."""

    path: str
    model: Sequential
    state: Arena
    epoch: int
    step: int
    updates: int
    stopped: bool
    callbacks: list[dict[str, np.ndarray]]

    def restore(self, trainer: Trainer, callbacks: tuple[Callback, ...]) -> None:
        """Puts trainer and callbacks into the state of the checkpoint; where that fails, all are untouched."""
        lasting = _lasting(callbacks)
        before = [dict(vars(callback)) for callback in lasting]
        try:
            for callback, state in zip(lasting, self.callbacks, strict=True):
                with _reading(self.path, callback):
                    callback.load_state_dict(state)
        except BaseException:
            for callback, attributes in zip(lasting, before, strict=True):
                vars(callback).clear()
                vars(callback).update(attributes)
            raise
        trainer.model.arena.take(self.model.parameters)
        for name, own in trainer.optimizer_state.items():
            own[...] = self.state[name]
        trainer.epoch, trainer.step, trainer.updates = self.epoch, self.step, self.updates
        trainer.stop_training = self.stopped


def resume(path: str, trainer: Trainer, plan: Plan, epochs: int, sample_shape: tuple[int, ...]) -> tuple[Plan, Saved]:
    """The plan that goes on to `epochs` in total, and the checkpoint it goes on from, once all of it is known to fit.

    The trainer stays as it is.

    Raises
    ------
    ValueError
        The file belongs to another training; the message says in what. FileFormatError, a ValueError, too: it is
        damaged or no checkpoint.
    OSError
        The file cannot be opened.
    """
    tensors, metadata = read_tensors(path)
    with naming(path):
        if files.FORMAT_KEY in metadata and CHECKPOINT_KEY not in metadata:
            raise FileFormatError("holds a model but no checkpoint: there is nothing to resume")
        model = files.model_of(tensors, metadata)
        header = _header(metadata[CHECKPOINT_KEY])
    _compare(path, header["repeat"], repeated(trainer, plan, sample_shape))
    if epochs < header["epoch"]:
        raise ValueError(f"epochs: got {epochs}, expected at least {header['epoch']}: so many has {path} behind it")
    extra = {name: tensor for name, tensor in tensors.items() if name.startswith(CHECKPOINT_PREFIX)}
    counters = {name: header[name] for name in COUNTERS}
    twin = trainer.copy()
    twin.model, twin.epoch, twin.step, twin.updates = model, *(header[name] for name in ("epoch", "step", "updates"))
    with naming(path):
        state = _state(extra, twin, plan.data["rows"])
        history = _history(extra, plan.names, header["epoch"])
        lasting = _lasting(plan.callbacks)
        states = [_take(extra, f"{CALLBACKS}{index}/") for index in range(len(lasting))]
        if extra:
            raise FileFormatError(f"holds {brief(sorted(extra))}, which no checkpoint has")
    plan = replace(plan, first_epoch=header["epoch"], last_epoch=epochs, history=history, resumed=path)
    for callback, told in zip(lasting, states, strict=True):
        with _reading(path, callback):
            callback.check_state_dict(told, twin, plan)
    return plan, Saved(path, model, state, **counters, stopped=header["stopped"], callbacks=states)


@contextmanager
def _reading(path: PathLike, callback: Callback) -> Iterator[None]:
    """Whatever a callback says of its state is an error of the file."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        text = " ".join(str(error).split())
        raise FileFormatError(f"{path}: the state of {callback} cannot be read: {text}") from error


def _header(text: str) -> dict[str, Any]:
    header = parse_json(text, "the checkpoint's header", floats=False)
    if not isinstance(header, dict) or header.keys() != {*COUNTERS, "stopped", "repeat"}:
        raise FileFormatError("the checkpoint's header does not hold what it should")
    repeat = header["repeat"]
    if not all(type(header[name]) is int for name in COUNTERS) or type(header["stopped"]) is not bool:
        raise FileFormatError("the counters of the checkpoint are not whole numbers")
    if largest := [name for name in COUNTERS if header[name] > MAX_INT // 2]:  # and training has to go on from it
        raise FileFormatError(f"its {largest[0]} is {header[largest[0]]}, more than any training has counted")
    if not isinstance(repeat, dict) or not all(isinstance(value, str) for value in repeat.values()):
        raise FileFormatError("the settings of the checkpoint are not text")
    return header


def _take(extra: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The tensors under `prefix`, without it; they leave `extra`."""
    return {name.removeprefix(prefix): extra.pop(name) for name in list(extra) if name.startswith(prefix)}


def _state(extra: dict[str, np.ndarray], trainer: Trainer, rows: int) -> Arena:
    model = trainer.model
    state, stored = make_state(trainer.program("train", rows), model.arena, trainer.dtype), _take(extra, STATE)
    if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in stored.items()} or any(
        value.dtype != trainer.dtype for value in stored.values()
    ):
        raise FileFormatError(f"the state of the optimizer is {brief(sorted(stored))}, expected {brief(sorted(state))}")
    state.take(stored)
    return state


def _history(extra: dict[str, np.ndarray], names: Sequence[str], end: int) -> History:
    """The history of the epochs up to `end`."""
    epochs, values = extra.pop(EPOCHS, None), extra.pop(HISTORY, None)
    if epochs is None or values is None or epochs.dtype != np.int64 or values.dtype != np.float64:
        raise FileFormatError("the history is missing or has another dtype")
    if epochs.ndim != 1 or values.shape != (len(epochs), len(names)):
        raise FileFormatError(f"the history has the shapes {epochs.shape} and {values.shape}")
    if epochs.tolist() != list(range(end - len(epochs), end)) or not 0 < len(epochs) <= end:
        raise FileFormatError(f"the history is of the epochs {brief(epochs.tolist())}, the next one is {end}")
    history = History()
    for epoch, row in zip(epochs.tolist(), values.tolist(), strict=True):
        history.append(epoch, dict(zip(names, row, strict=True)))
    return history


# --- What a resumed fit has to repeat -----------------------------------------------------------------------------


def repeated(trainer: Trainer, plan: Plan, sample_shape: tuple[int, ...] | None) -> dict[str, str]:
    """All that decides what training comes to, as text."""
    layers = {f"layer {layer.name!r}": layer for layer in trainer.model.layers}
    callbacks = [f"{type(c).__name__}({_text(dict(c.settings()))})" for c in _lasting(plan.callbacks)]
    facts = {
        "layers": [layer.name for layer in trainer.model.layers],
        **layers,
        "shape of a sample": sample_shape,
        **trainer.settings(),
        **plan.data,
        "history": list(plan.names),
    }
    return {name: _text(value) for name, value in facts.items()} | {"callbacks": ", ".join(callbacks) or "none"}


def _compare(path: PathLike, saved: dict[str, str], now: dict[str, str]) -> None:
    for name in (*now, *saved):
        if saved.get(name) != now.get(name):
            got, expected = _differing(*(" ".join(side.get(name, "none").split()) for side in (now, saved)))
            raise ValueError(f"resume: {name}: got {got}, expected {expected}, as in {path}")


def _lasting(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks that a resumed fit has to repeat."""
    return [c for c in callbacks if c.settings() or type(c).state_dict is not Callback.state_dict]


def _text(value: Any) -> str:
    """All of a setting, as text that is the same in another process."""
    match value:
        case Description() if is_dataclass(value):
            parts = (f"{f.name}={_text(getattr(value, f.name))}" for f in fields(value))
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


def _differing(*texts: str) -> Iterator[str]:
    """Texts that are not the same, cut for an error: they show the argument in which they begin to differ."""
    letters = enumerate(zip(*texts, strict=False))
    common = next((i for i, (first, *rest) in letters if rest != [first] * len(rest)), min(map(len, texts)))
    start = texts[0].rfind(", ", 0, common) + 2 if common > SHOWN // 2 else 0
    head = f"{texts[0].partition('(')[0]}(..., " if start > 1 else ""
    for text in texts:
        part = head + text[start:] if head else text
        yield part if len(part) <= SHOWN else f"{part[: SHOWN - 3]}..."
