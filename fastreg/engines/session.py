"""Sessions: a program bound to an engine and its memory, and how to run it in slices.

Binding takes milliseconds. So the session of a program is kept and used again, as long as its key stays the same.
"""

from __future__ import annotations

import os
import threading
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]  # `signal` itself takes 8 us to make enums of these calls' numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np

from fastreg.common import pieces
from fastreg.engines import averages
from fastreg.engines.arena import Arena
from fastreg.engines.averages import Averages
from fastreg.engines.base import Engine, Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.machine import _core
from fastreg.program.embedding import Embed, refusal
from fastreg.program.ops import Gather
from fastreg.program.program import Program
from fastreg.program.rules import UPDATE_SLOTS

T = TypeVar("T")

SLICE_SECONDS = 0.1  # Python gets control back about this often
BUSY = "the model is already being fitted; wait for that fit to end"
ROWS = 512  # of a batch if nothing is trained: enough for full speed, few enough for the caches


@dataclass
class Session:
    """A program that is ready to run. `key` tells what it was bound for."""

    key: tuple
    engine: Engine
    parameters: Arena
    state: Arena
    averages: Averages | None = None  # of the parameters, if the program has any
    rates: np.ndarray | None = None  # the learning rate of each batch of an epoch, kept from fit to fit
    _pairs: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # live arrays, and what was saved of them

    def save(self) -> None:
        """Saves parameters and state for `all_or_nothing`."""
        live = self.parameters.flat, self.state.flat
        if not self._pairs:
            self._pairs = [(values, np.empty_like(values)) for values in live]
        for values, saved in self._pairs:
            pieces.copy(saved, values)

    @property
    def before(self) -> np.ndarray:
        """The parameters as they were saved."""
        return self._pairs[0][1]

    def all_or_nothing(
        self,
        act: Callable[[], T],
        owner: object,
        counters: dict[str, int],
        kept: Callable[[BaseException], bool] | None = None,
        appends: bool = False,
    ) -> T:
        """act(). If it raises, everything is put back, unless kept(error) says that it stays. Nothing here needs memory
        before act() does: what it might raise came too early to be put back."""
        return _core.all_or_nothing(act, self._pairs, vars(owner), counters, kept=kept, appends=appends)


class Sessions:
    """Keeps the latest session for each use ("train", "evaluate", ...)."""

    def __init__(self):
        self._kept: dict[str, Session] = {}

    @contextmanager
    def hold(self, use: str, key: tuple, bind: Callable[[tuple], Session]) -> Iterator[Session]:
        """The session kept for `use` if it was bound for `key`, else a new one. Only the caller has it.

        Another thread that asks meanwhile finds none and binds its own: buffers are never shared.
        """
        session = self._kept.pop(use, None)  # atomic
        if session is None or session.key != key:
            session = None  # frees its memory first
            session = bind(key)
        try:
            yield session
        finally:
            self._kept[use] = session

    def __reduce__(self):
        return Sessions, ()  # engines are not copied or pickled with their owner


class Claim:
    """Allows one fit at a time, and refuses what a second thread or a callback may not do meanwhile."""

    def __init__(self):
        self._held: dict[int, object] = {}  # by process: a child forked during a fit does not hold the claim

    def during(self, what: str, act: Callable[[], T]) -> T:
        """act(), while this claim is held. Refuses `what` if another holds it."""
        return _core.claimed(act, self._held, os.getpid(), f"{what}: {BUSY}")

    def check_free(self, what: str) -> None:
        """Refuses `what` while a fit holds the claim."""
        if os.getpid() in self._held:
            raise RuntimeError(f"{what}: {BUSY}")

    def __reduce__(self):
        return Claim, ()


def make_state(program: Program, parameters: Arena, dtype: str) -> Arena:
    """Zeros for the slots of each parameter that the program trains. Averaged parameters also have their raw values
    there, which begin with those of the model."""
    rules = program.rules
    slots = {f"{p}/{slot}": parameters[p].shape for p in rules for slot in UPDATE_SLOTS[rules[p].kind]}
    state = Arena(slots | averages.shapes(program, parameters), dtype)
    for name in program.averaged:
        state[averages.raw(name)][...] = parameters[name]
    return state


def bind(
    key: tuple,
    program: Program,
    parameters: Arena,
    state: Arena | None,
    batch_size: int,
    engine: str,
    threads: int | None,
) -> Session:
    """Binds `program` to `parameters` and `state`. With None as the state, it makes one."""
    dtype = parameters.flat.dtype.name
    state = make_state(program, parameters, dtype) if state is None else state
    slots = {p: tuple(state[f"{p}/{slot}"] for slot in rule.slots) for p, rule in program.rules.items()}
    own = averages.averages_of(program, parameters, state)
    arrays = parameters.arrays if own is None else own.arrays() | {program.count: state[program.count]}
    made = make_engine(engine, program, arrays, slots, batch_size, dtype, threads)
    return Session(key, made, parameters, state, own)


def run_through(engine: Engine, feed: Feed, tally: Tally, names: str = "X, y") -> None:
    """Runs all batches of a feed that trains nothing. `names` are the names of the data in an error."""
    first, stop = 0, feed.batches
    while first < stop and not tally.ended:
        first = engine.run(feed, tally, first, stop, SLICE_SECONDS)
    refuse_bad_row(tally, engine, feed, names)


def refuse_bad_row(
    tally: Tally, engine: Engine, feed: Feed, names: str = "X, y", dtype: str = "", advice: str = ""
) -> None:
    """Raises if the engine found a value that is not finite, or no code of a category."""
    if tally.bad_row >= 0:
        said = _bad_code(engine.program, feed, tally.bad_row)
        if said is None:
            where = _holder(feed, tally.bad_row)
            said = f"row {tally.bad_row} of {where} holds a value that is not finite{dtype and f' in {dtype}'}"
        raise ValueError(f"{names}: {said}{advice}")


def _holder(feed: Feed, row: int) -> str:
    """Which of several inputs, or of the targets of several heads, holds a value in `row` that is not finite."""
    for kind in (np.float64, np.float32):  # what overflows counts only if nothing else is bad
        for what, given in (("the input", feed.inputs), ("the targets", feed.targets)):
            for name, part in given.items() if isinstance(given, dict) else ():
                if isinstance(part, np.ndarray):
                    with np.errstate(over="ignore"):
                        values = part[row].astype(kind)
                    if not np.isfinite(values).all():
                        return f"{what} {name!r}"
    return "the data"


def _bad_code(program: Program, feed: Feed, row: int) -> str | None:
    """What is wrong with the codes in a row of the data. None if they are good."""
    gathers = {op.out: op for op in program.ops if isinstance(op, Gather)}
    for op in program.ops:
        if isinstance(op, Embed):
            gather = gathers[op.x]
            values = np.asarray(feed.need(gather.source)[row : row + 1]).reshape(1, -1)
            columns = range(values.shape[1]) if gather.columns is None else gather.columns
            values = values[:, list(columns)]
            bad = op.codes.bad(values)[0]
            if bad.any() and np.isfinite(values).all():
                j = int(np.argmax(bad))
                where = f"the input {gather.source.partition(':')[2]!r}" if ":" in gather.source else "the data"
                return refusal(f"row {row} of {where}", values[0, j], columns[j], op.codes.counts[j])
    return None


def uninterrupted(act: Callable[[Callable[[], None]], T]) -> T:
    """act(look), with Ctrl-C held back until it ends, so that parameters and counters fit together.

    look() is called during a batch. It raises if Ctrl-C has waited long enough. Normally that waits for the end of the
    slice, since otherwise all work since the start of the epoch would be lost. But it must not wait for a long batch. A
    handler of the user's own always waits: it may want to end the fit in another way.
    """
    handler = getsignal(SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return act(pieces.listen)
    start, held = perf_counter(), _core.Held(perf_counter)

    def look() -> None:
        pieces.listen()
        if held.arguments is None or handler is not default_int_handler:
            return
        # It waits for one more slice, but until at least 1.5 and at most 2 slices after the start of this one.
        waits = min(max(held.at - start + SLICE_SECONDS, 1.5 * SLICE_SECONDS), 2 * SLICE_SECONDS)
        if perf_counter() >= start + waits:
            held.take()
            raise KeyboardInterrupt

    return _core.held_back(partial(act, look), held, partial(signal, SIGINT), handler)
