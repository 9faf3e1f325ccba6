"""One fit of many: how its trainer is made, trained and judged, in this process or on a worker."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from fastreg.callbacks.argument import listed
from fastreg.callbacks.base import Callback
from fastreg.common import calls, checking
from fastreg.common.understood import keywords, refusal
from fastreg.data import readers
from fastreg.data.split import labels_of, with_rows
from fastreg.distributed import Watch
from fastreg.training.many.fits import Fit
from fastreg.training.trainer import ARGUMENTS, Trainer

Make = Trainer | Callable[..., Trainer]

SETTABLE = (*(name for name in ARGUMENTS if name != "model"), "lr", "learning_rate", "penalty", "missing_targets")
NOT_HERE = frozenset(("X", "y", "rows", "verbose", "resume", "resume_missing", "changed"))
FITTING = tuple(name for name in keywords(Trainer.fit) if name not in NOT_HERE)
HEAVY = ("sample_weight", "validation_data")  # arguments of fit that go with the data
SEARCHED = ("epochs", "batch_size", "shuffle", "class_weight")  # arguments of fit that a search may vary
OF_A_FIT = ("trainer", "plan", "_served")  # what a callback has of its last fit


@dataclass(frozen=True)
class Member:
    """One fit: its seed, its own values of arguments, its fold, and its trainer so far, if it goes on.

    keep      what comes back beside scores and history: "scores" for nothing, "states" or "trainers"
    epochs    how many to train, if not what the values or all fits say
    """

    name: str
    number: int
    keep: str
    seed: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    fold: int | None = None
    trainer: Trainer | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Common:
    """What all fits share beside their data: how trainers are made, and arguments of `Trainer.fit`."""

    make: Make
    fit: dict[str, Any]


def train(common: Common, data: dict[str, Any], member: Member, watch: Watch) -> Fit:
    """The fit of one member. Its bits follow from its seed, its values and its rows alone."""
    params, own = parted(common.make, member.params)
    settings = {**common.fit, **{name: data[name] for name in HEAVY if data.get(name) is not None}, **own}
    if member.epochs is not None:
        settings["epochs"] = member.epochs
    callbacks = _callbacks(settings.pop("callbacks", ()), member.number)
    X, y = opened(data["X"]), opened(data["y"])
    trainer = member.trainer
    if trainer is None:
        trainer = made(common.make, params, member.seed)
    rows, held_back = (None, None) if member.fold is None else data["folds"][member.fold]
    begin = perf_counter()
    history = trainer.fit(X, y, rows=rows, callbacks=[*callbacks, watch], **settings)
    seconds = perf_counter() - begin
    if member.fold is not None:
        scores = trainer.evaluate(X, y, data.get("sample_weight"), rows=held_back)
    elif data.get("test_data") is not None:
        scores = trainer.evaluate(*(opened(part) for part in data["test_data"]))
    elif isinstance(data.get("validation_data"), tuple):
        scores = trainer.evaluate(*data["validation_data"])
    else:
        scores = {name: values[-1] for name, values in history.items() if values and name not in ("seconds", "lr")}
    state = trainer.model.state_dict() if member.keep == "states" else None
    kept = trainer if member.keep == "trainers" else None
    return Fit(member.name, scores, history, seconds, state, kept, member.seed, member.params, member.fold)


def made(make: Make, params: Mapping[str, Any], seed: int | None) -> Trainer:
    """A new trainer with these values. A function gets the seed, too, if it takes one."""
    if isinstance(make, Trainer):
        trainer = make.copy()
        for name, value in params.items():
            setattr(trainer, name, value)
        if seed is not None:
            trainer.seed = seed
        return trainer
    trainer = make(**params) if seed is None else _with_seed(make, params, seed)
    if not isinstance(trainer, Trainer):
        raise TypeError(f"make: got a {type(trainer).__name__} as its result, expected a new Trainer")
    return trainer


def _with_seed(make: Callable[..., Trainer], params: Mapping[str, Any], seed: int) -> Trainer:
    try:
        known = inspect.signature(make).parameters
    except ValueError:  # of a C function
        return make(seed, **params)
    if "seed" in params:
        return make(**params)
    if "seed" in known:
        return make(**params, seed=seed)
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    free = [name for name, p in known.items() if p.kind in places and p.default is p.empty and name not in params]
    return make(seed, **params) if free else make(**params)


def parted(make: Make, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a search that are for `make`, and those that are for fit."""
    own = {name: value for name, value in params.items() if name in SEARCHED and not takes(make, name)}
    return {name: value for name, value in params.items() if name not in own}, own


def takes(make: Make, name: str) -> bool:
    """Whether an argument is one of `make`, by its name."""
    if isinstance(make, Trainer):
        return name in SETTABLE
    try:
        known = inspect.signature(make).parameters
    except ValueError:
        return True
    return name in known or any(p.kind is p.VAR_KEYWORD for p in known.values())


def arguments_of(make: Make) -> tuple[str, ...]:
    """The names of the arguments of `make`."""
    return SETTABLE if isinstance(make, Trainer) else tuple(inspect.signature(make).parameters)


def _callbacks(given: Any, number: int) -> list[Callback]:
    """New callbacks for a fit: those that a function of its number gives, or copies of the given ones."""
    if callable(given) and not isinstance(given, (str, Callback)):
        return listed(given(number))
    return [_afresh(callback) for callback in listed(() if given is None else given)]


def _afresh(callback: Callback) -> Callback:
    """A copy without the fit that the callback has seen, whose data would come along."""
    other = copy.copy(callback)
    for name in OF_A_FIT:
        other.__dict__.pop(name, None)
    return copy.deepcopy(other)


def opened(value: Any) -> Any:
    """The memory map of a path, anything else as it is."""
    return readers.read_npy(value) if isinstance(value, (str, os.PathLike)) else value


# --- Arguments --------------------------------------------------------------------------------------------------------


def checked_make(make: Any, name: str = "make") -> Make:
    """A trainer that has not trained, or a function."""
    if isinstance(make, Trainer):
        if make.batches:
            raise ValueError(
                f"{name}: got a trainer after {make.batches} batches, expected a new one, or a function that makes it"
            )
        return make
    if not callable(make) or isinstance(make, type):
        raise TypeError(f"{name}: got {checking.shown(make)}, expected a Trainer or a function that makes one")
    return make


def checked_fit(who: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of fit that a function `who` has got beside its own, by the names that fit has."""
    for name in given:
        if name not in FITTING:
            raise TypeError(refusal(who.__name__, name, [*keywords(who), *FITTING]))
    callbacks = given.get("callbacks")
    if callbacks is not None and (isinstance(callbacks, (str, Callback)) or not callable(callbacks)):
        given = {**given, "callbacks": [_afresh(callback) for callback in listed(callbacks)]}
    elif callbacks is not None:
        calls.takes("callbacks", callbacks, "number")
    return given


def data_of(X: Any, y: Any, fit: dict[str, Any], **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of fit without those that are data, and the data."""
    light = {name: value for name, value in fit.items() if name not in HEAVY}
    return light, {"X": X, "y": y, **{name: fit[name] for name in HEAVY if name in fit}, **more}


def count_and_labels(X: Any, y: Any) -> tuple[int, np.ndarray | None]:
    """The number of rows, and the labels, if the targets are one column."""
    X, y = opened(X), opened(y)
    if isinstance(X, Mapping):
        X = next(iter(X.values()))  # of several inputs or columns
    count = with_rows("X", X)[1]
    if y is None or isinstance(y, Mapping):
        return count, None
    given, rows = with_rows("y", y)
    if rows != count:
        raise ValueError(f"y: got {rows} rows, expected {count}, as many as X has")
    return count, labels_of(given)
