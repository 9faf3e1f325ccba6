"""Resuming: reads a checkpoint with distrust, compares it with the fit that will continue from it, and restores it.

What differs is refused, unless the fit names it as `changed`. Then it goes on with the new setting, and a warning says
what of the file it could not use.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from fastreg.callbacks.base import Callback, Plan
from fastreg.callbacks.checkpoint import CALLBACKS, COUNTERS, EPOCHS, HISTORY, STATE, repeated, to_repeat
from fastreg.callbacks.history import History
from fastreg.callbacks.training import Training
from fastreg.common import checking
from fastreg.common.checking import MAX_INT
from fastreg.common.fileio import FileFormatError, PathLike, naming
from fastreg.common.safetensors import brief, parse_json, read_tensors
from fastreg.engines import averages
from fastreg.engines.arena import Arena
from fastreg.engines.session import make_state
from fastreg.intake.schema import Schema, Target
from fastreg.layers import Function, Standardize
from fastreg.machine import _core
from fastreg.model import files
from fastreg.model.files import CHECKPOINT_KEY, CHECKPOINT_PREFIX
from fastreg.model.graph import node_names
from fastreg.model.model import Model
from fastreg.program.program import Program

FIXED = ("layers", "shape of a sample", "dtype")  # facts that no fit can change
ARGUMENT_OF = {"history": "validation_data", "chosen rows": "rows"}  # facts that are not named as the argument is
USUAL = "None", "False", "()", "'float32'"  # what settings are that older files do not have
SHOWN = 160  # characters of a setting in an error


class Resumable(Training, Protocol):
    """A trainer that can be compared with a checkpoint."""

    def copy(self) -> Resumable: ...

    def program(self, mode: str, rows: int) -> Program: ...


@dataclass
class Saved:
    """A checkpoint that fits the trainer and its plan."""

    path: str
    model: Model
    state: Arena
    epoch: int
    step: int
    updates: int
    stopped: bool
    callbacks: list[dict[str, np.ndarray] | None]  # None for one that starts afresh
    whole: History
    schema: Schema

    def restore(self, trainer: Training, callbacks: tuple[Callback, ...]) -> None:
        """Puts trainer and callbacks into the state of the checkpoint. If that fails, all are unchanged."""
        lasting = to_repeat(callbacks)

        def put() -> None:
            for callback, state in zip(lasting, self.callbacks, strict=True):
                if state is not None:
                    with _reading(self.path, callback):
                        callback.load_state_dict(state)
            arrays = trainer.model._arena.pairs(self.model.parameters)
            arrays += [(own, self.state[name]) for name, own in trainer.optimizer_state.items()]
            counters = {"epoch": self.epoch, "batches": self.step, "updates": self.updates}
            _core.replace(arrays, vars(trainer), counters | {"stop_training": self.stopped, "history": self.whole})

        _core.all_or_nothing(put, [], wholes=[(vars(callback), dict(vars(callback))) for callback in lasting])


def resume(
    path: str,
    trainer: Resumable,
    plan: Plan,
    epochs: int,
    sample_shape: tuple[int, ...],
    changed: str | Iterable[str] = (),
    schema: Schema | None = None,
) -> tuple[Plan, Saved]:
    """The plan for `epochs` epochs in total, and the checkpoint to continue from. All of it is checked.

    The trainer does not change. `changed` are the arguments that may differ from those of the checkpoint. `schema` is
    what the data of the fit are.

    Raises
    ------
    ValueError
        The file is of another training. The message says what differs.
    FileFormatError
        The file is damaged or not a checkpoint. This is also a ValueError.
    OSError
        The file cannot be opened.

    Warns
    -----
    UserWarning
        Something of the file is not used, because of what has changed.
    """
    now = repeated(trainer, plan, sample_shape)
    free = _checked_names(changed, now)
    try:
        tensors, metadata = read_tensors(path)
    except FileNotFoundError as error:
        text = f"{error.strerror} (resume_missing='start' begins without one)"
        raise FileNotFoundError(error.errno, text, path) from None
    with naming(path):
        if files.FORMAT_KEY in metadata and CHECKPOINT_KEY not in metadata:
            raise FileFormatError("holds a model but no checkpoint: there is nothing to resume")
        written = {str(layer.name): layer for layer in trainer.model.layers if isinstance(layer, Function)}
        model = files.model_of(tensors, metadata, written)
        header = _header(metadata[CHECKPOINT_KEY])
    repeat = header["repeat"]
    now = _standardized(now, repeat, trainer.model, model)
    _compare(path, repeat, now, free)
    if "layers" not in free:
        _compare_graphs(path, trainer.model, model)
    schema = trainer.model.schema if schema is None else schema
    schema = schema if "layers" in free else _same_schema(path, model.schema, schema)
    if epochs < header["epoch"]:
        raise ValueError(f"epochs: got {epochs}, expected at least {header['epoch']}: {path} has already run that many")
    extra = {name: tensor for name, tensor in tensors.items() if name.startswith(CHECKPOINT_PREFIX)}
    counters = {name: header[name] for name in COUNTERS}
    twin, dropped = trainer.copy(), list[str]()
    if "layers" in free:
        if not twin.model.built:
            twin.model.build(sample_shape, trainer.seed, trainer.dtype)
        _check_parameters(path, twin.model, model)
    else:
        twin.model = model
    twin.epoch, twin.batches, twin.updates = counters.values()
    with naming(path):
        state = _state(extra, twin, plan.data["rows"], _fresh(repeat, now), bool(free), dropped)
        whole, history = _history(extra, header)
    plan = replace(plan, first_epoch=header["epoch"], last_epoch=epochs, history=history, whole=whole, resumed=path)
    with naming(path):
        lasting = to_repeat(plan.callbacks)
        texts = repeat["callbacks"], now["callbacks"]
        states = _states(extra, _parts(texts[0]), _parts(texts[1]), "callbacks" in free, dropped)
        if extra:
            raise FileFormatError(f"holds {brief(sorted(extra))}, which no checkpoint has")
    for index, (callback, told) in enumerate(zip(lasting, states, strict=True)):
        if told is None:
            continue
        try:
            with _reading(path, callback):
                callback.check_state_dict(told, twin, plan)
        except FileFormatError:
            if "callbacks" not in free:
                raise
            states[index] = None
            dropped.append(f"{callback} starts afresh, since its state in the file does not fit")
    if dropped:
        warnings.warn(f"resume: {'; '.join(dropped)}", UserWarning, stacklevel=3)
    stopped = header["stopped"] and "callbacks" not in free  # new rules decide themselves
    return plan, Saved(path, model, state, **counters, stopped=stopped, callbacks=states, whole=whole, schema=schema)


def _standardized(now: dict[str, str], saved: Mapping[str, str], own: Model, other: Model) -> dict[str, str]:
    """The facts `now`. A layer of the mean and scale of the file is as the file describes it: a loaded model has them
    as parameters alone."""
    told = dict(now)
    for layer in own.layers:
        names = {key: f"{layer.name}.{key}" for key in ("mean", "scale")}
        if not isinstance(layer, Standardize) or not set(names.values()) <= other.parameters.keys():
            continue
        given = {key: own.parameters[name] if own.built else getattr(layer, key) for key, name in names.items()}
        values = {key: other.parameters[name] for key, name in names.items()}
        fact = f"layer {layer.name!r}"
        if all(np.array_equal(np.asarray(given[key], value.dtype), value) for key, value in values.items()):
            told[fact] = saved.get(fact, told[fact])
    return told


def _same_schema(path: PathLike, saved: Schema, own: Schema) -> Schema:
    """The schema to go on with. Refuses data with other columns or classes than those of the file."""
    if not saved:  # of an older version, or without any names
        return own
    if own.columns is None:  # an array, by position
        own = replace(own, columns=saved.columns, named=saved.named)
    if own.target.names is None:
        own = replace(own, target=replace(own.target, names=saved.target.names))
    if not own.heads:
        own = replace(own, heads=saved.heads)
    for what in ("names", "target", "heads"):
        got, expected = getattr(own, what), getattr(saved, what)
        if got != expected:
            told = "columns" if what == "names" else "targets"
            raise ValueError(f"resume: {told}: got {_told(got)}, expected {_told(expected)}, as in {path}")
    if own.columns != saved.columns:
        differing = [b.name for a, b in zip(own.columns or (), saved.columns or (), strict=False) if a != b]
        raise ValueError(
            f"resume: columns: got {brief(differing)} encoded otherwise than in {path}; a schema of the same rows "
            "encodes them alike"
        )
    return own


def _told(value: Any) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):  # of heads
        return "; ".join(f"{head}: {target}" for head, target in value)
    return "none" if value is None else str(value) if isinstance(value, Target) else brief(list(value))


def _argument(fact: str) -> str:
    """The argument that decides a fact."""
    return "layers" if fact.startswith("layer ") else ARGUMENT_OF.get(fact, fact)


def _checked_names(changed: str | Iterable[str], facts: Mapping[str, str]) -> frozenset[str]:
    """The argument `changed`."""
    given = (changed,) if isinstance(changed, str) else changed
    names = dict.fromkeys(["layers", *(_argument(fact) for fact in facts if fact not in FIXED), "class_weight"])
    items = checking.iterate("changed", given, "a tuple of names of arguments, such as ('optimizer',)")
    return frozenset(checking.choice("changed", name, names) for name in items)


def _check_parameters(path: PathLike, own: Model, saved: Model) -> None:
    """Refuses parameters of other shapes."""
    shapes = [{name: value.shape for name, value in model.parameters.items()} for model in (own, saved)]
    for name in {**shapes[0], **shapes[1]}:
        got, expected = (side.get(name, "none") for side in shapes)
        if got != expected:
            raise ValueError(f"resume: {name}: got {got}, expected {expected}, as in {path}")


def _fresh(saved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What to say of the optimizer's state if the optimizer is of another kind; empty if it is not."""
    kinds = [side.get("optimizer", "").partition("(")[0] for side in (saved, now)]
    return f"{kinds[1]} starts with an empty state, in place of {kinds[0]}" if kinds[0] != kinds[1] else ""


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
    added = {"columns", "begun"}
    if not isinstance(header, dict) or header.keys() - added != {*COUNTERS, "stopped", "repeat"}:
        raise FileFormatError("the checkpoint's header does not hold what it should")
    repeat = header["repeat"]
    if header.keys() & added not in (added, set()):
        raise FileFormatError("the checkpoint's header does not hold what it should")
    if not all(type(header[name]) is int for name in COUNTERS) or type(header["stopped"]) is not bool:
        raise FileFormatError("the counters of the checkpoint are not whole numbers")
    if largest := [name for name in COUNTERS if header[name] > MAX_INT // 2]:  # leaves room for training to continue
        raise FileFormatError(f"its {largest[0]} is {header[largest[0]]}, more than any training has counted")
    if not isinstance(repeat, dict) or not all(isinstance(value, str) for value in repeat.values()):
        raise FileFormatError("the settings of the checkpoint are not text")
    if not {"callbacks", "history"} <= repeat.keys():
        raise FileFormatError("the settings of the checkpoint are not complete")
    if "columns" not in header:  # a file of an older version
        header |= {"columns": re.findall(r"'([^']*)'", repeat["history"]), "begun": 0}
    columns = header["columns"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise FileFormatError("the columns of the history are not text")
    if not columns or len(set(columns)) < len(columns) or type(header["begun"]) is not int:
        raise FileFormatError("the columns of the history are not what they should be")
    return header


def _take(extra: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Removes the tensors under `prefix` from `extra` and returns them, without the prefix in their names."""
    return {name.removeprefix(prefix): extra.pop(name) for name in list(extra) if name.startswith(prefix)}


def _state(
    extra: dict[str, np.ndarray], trainer: Resumable, rows: int, fresh: str, lenient: bool, dropped: list[str]
) -> Arena:
    """The state of the optimizer. `fresh` tells why it is not that of the file."""
    state, stored = make_state(trainer.program("train", rows), trainer.model._arena, trainer.dtype), _take(extra, STATE)
    if fresh:
        if stored or state.keys():
            dropped.append(fresh)
        return state
    shapes = {name: slot.shape for name, slot in state.items()}
    fits = {n for n, v in stored.items() if v.shape == shapes.get(n) and v.dtype == trainer.dtype}
    if fits != shapes.keys() or fits != stored.keys():
        if not lenient:
            got, expected = brief(sorted(stored)), brief(sorted(state))
            raise FileFormatError(f"the state of the optimizer is {got}, expected {expected}")
        others = sorted((shapes.keys() | stored.keys()) - fits)
        if own := [name for name in others if not averages.belongs(name)]:
            dropped.append(f"the optimizer's {brief(own)} start afresh")
        if len(own) < len(others):
            dropped.append("the averages of the weights do not go on")
    state.take({name: stored[name] if name in fits else slot for name, slot in state.items()})
    return state


def _states(
    extra: dict[str, np.ndarray], saved: list[str], now: list[str], lenient: bool, dropped: list[str]
) -> list[dict[str, np.ndarray] | None]:
    """The state of each callback. If they may have changed, each gets that of the next one in the file of the same
    kind that watches the same value, or None."""
    states: list[dict[str, np.ndarray] | None] = []
    if not lenient:
        states += (_take(extra, f"{CALLBACKS}{index}/") for index in range(len(now)))
        return states
    left = [(_marks(text), _take(extra, f"{CALLBACKS}{index}/")) for index, text in enumerate(saved)]
    for text in now:
        marks = _marks(text)
        place = next((index for index, (known, _) in enumerate(left) if known == marks), None)
        states.append(None if place is None else left.pop(place)[1])
        if place is None:
            dropped.append(f"{marks[0]} starts afresh")
    dropped += [f"the state of {marks[0]} in the file is not used" for marks, state in left if state]
    return states


def _parts(text: str) -> list[str]:
    """The callbacks in the text of `repeated`, each as "Kind(settings)"."""
    parts, depth, start = list[str](), 0, 0
    hidden = re.sub(
        r"'(?:[^'\\]|\\.)*'", lambda match: "_" * len(match[0]), text
    )  # parentheses in strings do not count
    for place, letter in enumerate(hidden):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and not depth:
            parts.append(text[start : place + 1].strip(", "))
            start = place + 1
    return parts


def _marks(text: str) -> tuple[str, str, str]:
    """What must be the same for a callback to take the state of another: its kind, what it watches, and how."""
    found = [re.search(rf"\b{name}='([^']*)'", text) for name in ("monitor", "mode")]
    monitor, mode = (match[1] if match else "" for match in found)
    return text.partition("(")[0], monitor, mode


def _history(extra: dict[str, np.ndarray], header: Mapping[str, Any]) -> tuple[History, History]:
    """The history of the trainer up to the checkpoint, and that of its last fit."""
    epochs, values = extra.pop(EPOCHS, None), extra.pop(HISTORY, None)
    names, end, begun = header["columns"], header["epoch"], header["begun"]
    if epochs is None or values is None or epochs.dtype != np.int64 or values.dtype != np.float64:
        raise FileFormatError("the history is missing or has another dtype")
    if epochs.ndim != 1 or values.shape != (len(epochs), len(names)):
        raise FileFormatError(f"the history has the shapes {epochs.shape} and {values.shape}")
    if epochs.tolist() != list(range(end - len(epochs), end)) or not 0 < len(epochs) <= end:
        raise FileFormatError(f"the history is of the epochs {brief(epochs.tolist())}, the next one is {end}")
    if not 0 <= begun < len(epochs):
        raise FileFormatError(f"the fit begins at row {begun} of a history of {len(epochs)} epochs")
    whole = History()
    for epoch, row in zip(epochs.tolist(), values.tolist(), strict=True):
        whole.append(epoch, dict(zip(names, row, strict=True)))
    return whole, whole.copy(begun)


def _compare(path: PathLike, saved: dict[str, str], now: dict[str, str], changed: Collection[str]) -> None:
    for name in (*now, *saved):
        if saved.get(name) == now.get(name) or (name not in saved and now[name] in USUAL):
            continue  # the second is a setting that an older file does not know
        argument = _argument(name)
        if name == "sample_weight" and saved.get("class_weight") != now.get("class_weight"):
            argument = "class_weight"  # which makes weights
        if name not in FIXED and (argument in changed or (name == "history" and "metrics" in changed)):
            continue
        got, expected = _differing(*(" ".join(side.get(name, "none").split()) for side in (now, saved)))
        advice = "" if name in FIXED else f"; changed=({argument!r},) goes on with what is given"
        raise ValueError(f"resume: {name}: got {got}, expected {expected}, as in {path}{advice}")


def _compare_graphs(path: PathLike, own: Model, saved: Model) -> None:
    """Refuses a graph in which the layers, which are the same, are joined in another way."""
    told = [_joined(model) for model in (own, saved)]
    for name in dict.fromkeys(name for joined in told for name in joined):
        got, expected = (joined.get(name, "nothing") for joined in told)
        if got != expected:
            raise ValueError(
                f"resume: layers: got {name} on {got}, expected {expected}, as in {path}; changed=('layers',) goes on "
                f"with what is given"
            )


def _joined(model: Model) -> dict[str, str]:
    """What each use of a layer, each head and each input of columns reads. The only input and head need no name."""
    graph = model.graph
    inputs = [entry.name for entry in graph.inputs] if len(graph.inputs) > 1 else ["the input"]
    nodes = node_names(model.layers, graph)
    values = [*inputs, *nodes]
    told = {}
    for name, node in zip(nodes, graph.nodes, strict=True):
        told[f"layer {name!r}"] = ", ".join(values[value] for value in node.inputs)
    for name, value in graph.outputs.items():
        told["the head" if len(graph.outputs) == 1 else f"head {name!r}"] = values[value]
    for name, entry in zip(inputs, graph.inputs, strict=True):
        if entry.columns is not None:
            told[name] = f"the columns {entry.columns}"
    return told


def _differing(*texts: str) -> Iterator[str]:
    """Cuts different texts for an error message, so that they show the argument where they begin to differ."""
    letters = enumerate(zip(*texts, strict=False))
    common = next((i for i, (first, *rest) in letters if rest != [first] * len(rest)), min(map(len, texts)))
    start = texts[0].rfind(", ", 0, common) + 2 if common > SHOWN // 2 else 0
    head = f"{texts[0].partition('(')[0]}(..., " if start > 1 else ""
    for text in texts:
        part = head + text[start:] if head else text
        yield part if len(part) <= SHOWN else f"{part[: SHOWN - 3]}..."
