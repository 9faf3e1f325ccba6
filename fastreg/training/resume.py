"""Resuming: reads a checkpoint with distrust, compares it with the fit that will continue from it, and restores it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from fastreg.callbacks.base import Callback, Plan
from fastreg.callbacks.checkpoint import CALLBACKS, COUNTERS, EPOCHS, HISTORY, STATE, repeated, to_repeat
from fastreg.callbacks.history import History
from fastreg.callbacks.training import Training
from fastreg.common.checking import MAX_INT
from fastreg.common.fileio import FileFormatError, PathLike, naming
from fastreg.common.safetensors import brief, parse_json, read_tensors
from fastreg.engines.arena import Arena
from fastreg.engines.session import make_state
from fastreg.layers import Function
from fastreg.model import files
from fastreg.model.files import CHECKPOINT_KEY, CHECKPOINT_PREFIX
from fastreg.model.sequential import Sequential
from fastreg.program.program import Program

SHOWN = 160  # characters of a setting in an error


class Resumable(Training, Protocol):
    """A trainer that can be compared with a checkpoint."""

    def copy(self) -> Resumable: ...

    def program(self, mode: str, rows: int) -> Program: ...


@dataclass
class Saved:
    """A checkpoint that fits the trainer and its plan."""

    path: str
    model: Sequential
    state: Arena
    epoch: int
    step: int
    updates: int
    stopped: bool
    callbacks: list[dict[str, np.ndarray]]

    def restore(self, trainer: Training, callbacks: tuple[Callback, ...]) -> None:
        """Puts trainer and callbacks into the state of the checkpoint. If that fails, all are unchanged."""
        lasting = to_repeat(callbacks)
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
        trainer.epoch, trainer.batches, trainer.updates = self.epoch, self.step, self.updates
        trainer.stop_training = self.stopped


def resume(path: str, trainer: Resumable, plan: Plan, epochs: int, sample_shape: tuple[int, ...]) -> tuple[Plan, Saved]:
    """The plan for `epochs` epochs in total, and the checkpoint to continue from. All of it is checked.

    The trainer does not change.

    Raises
    ------
    ValueError
        The file is of another training. The message says what differs.
    FileFormatError
        The file is damaged or not a checkpoint. This is also a ValueError.
    OSError
        The file cannot be opened.
    """
    tensors, metadata = read_tensors(path)
    with naming(path):
        if files.FORMAT_KEY in metadata and CHECKPOINT_KEY not in metadata:
            raise FileFormatError("holds a model but no checkpoint: there is nothing to resume")
        written = {str(layer.name): layer for layer in trainer.model.layers if isinstance(layer, Function)}
        model = files.model_of(tensors, metadata, written)
        header = _header(metadata[CHECKPOINT_KEY])
    _compare(path, header["repeat"], repeated(trainer, plan, sample_shape))
    if epochs < header["epoch"]:
        raise ValueError(f"epochs: got {epochs}, expected at least {header['epoch']}: {path} has already run that many")
    extra = {name: tensor for name, tensor in tensors.items() if name.startswith(CHECKPOINT_PREFIX)}
    counters = {name: header[name] for name in COUNTERS}
    twin = trainer.copy()
    twin.model, twin.epoch, twin.batches, twin.updates = model, *counters.values()
    with naming(path):
        state = _state(extra, twin, plan.data["rows"])
        history = _history(extra, plan.names, header["epoch"])
        lasting = to_repeat(plan.callbacks)
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
    """Turns any error of a callback about its state into an error about the file."""
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
    if largest := [name for name in COUNTERS if header[name] > MAX_INT // 2]:  # leaves room for training to continue
        raise FileFormatError(f"its {largest[0]} is {header[largest[0]]}, more than any training has counted")
    if not isinstance(repeat, dict) or not all(isinstance(value, str) for value in repeat.values()):
        raise FileFormatError("the settings of the checkpoint are not text")
    return header


def _take(extra: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Removes the tensors under `prefix` from `extra` and returns them, without the prefix in their names."""
    return {name.removeprefix(prefix): extra.pop(name) for name in list(extra) if name.startswith(prefix)}


def _state(extra: dict[str, np.ndarray], trainer: Resumable, rows: int) -> Arena:
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


def _compare(path: PathLike, saved: dict[str, str], now: dict[str, str]) -> None:
    for name in (*now, *saved):
        if saved.get(name) != now.get(name):
            got, expected = _differing(*(" ".join(side.get(name, "none").split()) for side in (now, saved)))
            raise ValueError(f"resume: {name}: got {got}, expected {expected}, as in {path}")


def _differing(*texts: str) -> Iterator[str]:
    """Cuts different texts for an error message, so that they show the argument where they begin to differ."""
    letters = enumerate(zip(*texts, strict=False))
    common = next((i for i, (first, *rest) in letters if rest != [first] * len(rest)), min(map(len, texts)))
    start = texts[0].rfind(", ", 0, common) + 2 if common > SHOWN // 2 else 0
    head = f"{texts[0].partition('(')[0]}(..., " if start > 1 else ""
    for text in texts:
        part = head + text[start:] if head else text
        yield part if len(part) <= SHOWN else f"{part[: SHOWN - 3]}..."
