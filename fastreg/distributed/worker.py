"""What runs in a worker: one task, on its share of the processors, ended soon after the run has ended."""

from __future__ import annotations

import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fastreg.callbacks.base import Callback
from fastreg.distributed.sharing import DataLost, Way
from fastreg.machine.threads import shared_by

Function = Callable[[Any, Any, Any, "Watch"], Any]  # common part, data, task, watch


class Ended(Exception):
    """The run has ended: by Ctrl-C, or since another task has failed."""


class Watch(Callback):
    """Ends a fit within a slice after its run has ended. Each task passes it to what it trains."""

    def __init__(self, ended: Callable[[], bool]):
        self._ended = ended

    def on_slice_end(self, batches, logs) -> None:
        if self._ended():
            raise Ended


class Failure(NamedTuple):
    """The error of a task, as bytes if that is possible, and where it happened."""

    error: bytes | None
    text: str
    where: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """An error that this process can read again, else only its text."""
        where = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        try:
            packed = pickle.dumps(error)
            pickle.loads(packed)
        except Exception:
            return cls(None, f"{type(error).__name__}: {error}", where)
        return cls(packed, str(error), where)


class Running:
    """The tasks in threads of this process: whether they should end, and whether all have."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._count = 0
        self._change = threading.Condition()

    def __enter__(self) -> None:
        with self._change:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._count -= 1
            self._change.notify_all()

    def end(self, seconds: float) -> None:
        """Ends all tasks, and waits for that."""
        self.stop.set()
        with self._change:
            self._change.wait_for(lambda: not self._count, seconds)


class Ticket(NamedTuple):
    """What all tasks of a run share, and is sent with each: small.

    workers   how many tasks share this machine; 1 if the worker's own limits already say it
    mark      a file that the first task to fail makes, so that the others end; where joblib has no other way
    """

    function: Function
    way: Way
    workers: int
    mark: Path | None = None
    running: Running | None = None


def perform(ticket: Ticket, extra: Any, index: int, task: Any) -> tuple[int, Any]:
    """Runs a task. Returns its index, and its result or a `Failure`."""
    if ticket.mark is not None:
        return _perform_unless_marked(ticket, ticket.mark, extra, index, task)
    if ticket.running is None:
        return _perform(ticket, extra, index, pickle.loads(task), _ended_in_dask())
    with ticket.running:
        if ticket.running.stop.is_set():
            raise Ended
        return _perform(ticket, extra, index, task, ticket.running.stop.is_set)


def _perform(ticket: Ticket, extra: Any, index: int, task: Any, ended: Callable[[], bool]) -> tuple[int, Any]:
    try:
        with shared_by(ticket.workers):
            return index, ticket.function(*ticket.way.get(extra), task, Watch(ended))
    except (Ended, DataLost):
        raise
    except Exception as error:
        return index, Failure.of(error)


def _perform_unless_marked(ticket: Ticket, mark: Path, extra: Any, index: int, task: Any) -> tuple[int, Any]:
    """Runs a task until another has failed; then its result is None, and nobody looks at it.

    Nothing is raised here, since joblib would end its pool by that. A worker that is killed as it sends a result leaves
    the pipe locked, and the pool waits for that lock for ever.
    """
    if mark.exists():
        return index, None
    try:
        index, result = _perform(ticket, extra, index, pickle.loads(task), mark.exists)
    except Ended:
        return index, None
    if isinstance(result, Failure):
        with suppress(OSError):  # without the mark the others come to their ends
            mark.touch()
    return index, result


def _ended_in_dask() -> Callable[[], bool]:
    """Whether dask has dropped the task of this thread. No other worker is told: those end by a signal."""
    module = sys.modules.get("distributed.worker")
    if module is None:
        return bool
    try:
        worker = module.get_worker()
        key = worker.get_current_task()
    except ValueError:  # a thread that dask did not start
        return bool

    def ended() -> bool:
        state = worker.state.tasks.get(key)
        return state is None or state.state == "cancelled"

    return ended
