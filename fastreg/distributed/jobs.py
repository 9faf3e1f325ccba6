"""Runs tasks: one after the other in this process, or on the workers of a joblib backend. The results are the same."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib import import_module
from typing import Any

from fastreg.common import checking
from fastreg.distributed.progress import Line
from fastreg.distributed.worker import Failure, Function, Watch
from fastreg.distributed.workers import CLUSTERS, LOST, Workers, workers_of

MOST_DEATHS = 3  # in a row, of workers that finish nothing
MOST_WORKERS = 1 << 16


class Jobs:
    """Runs tasks on the workers that n_jobs or the active joblib backend gives, with one set of data for all runs.

    As a context it removes at its end what it has laid out for the workers.

    common, data   what all tasks get. Functions of a script are sent by value; arrays of `data` are read-only there
    n_jobs         None for the active joblib backend, or this process if there is none
    verbose        whether to write a line of progress on standard error
    """

    def __init__(self, common: Any, data: Any, n_jobs: int | None = None, verbose: int = 0):
        self.parts = common, data
        self.verbose = checking.integer("verbose", verbose, 0)
        self.n_jobs, self.backend, self.workers = _backend(n_jobs)
        self.elsewhere = self.workers > 1 or type(self.backend).__name__ in CLUSTERS
        self._workers: Workers | None = None

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def run(self, function: Function, tasks: Sequence[Any], names: Sequence[str]) -> list[Any]:
        """The results of function(common, data, task, watch) for all tasks, in their order.

        `names` say in an error which task has failed. The first error ends the run. The function is one of a module.
        """
        with Line(len(tasks), self.verbose) as line:
            if self.elsewhere:
                return self._by_workers(function, tasks, names, line)
            return self._in_sequence(function, tasks, names, line)

    def _in_sequence(self, function: Function, tasks: Sequence[Any], names: Sequence[str], line: Line) -> list[Any]:
        results = []
        for task, name in zip(tasks, names, strict=True):
            try:
                results.append(function(*self.parts, task, Watch(bool)))
            except Exception as error:
                raise told(error, name) from None
            line.step()
        return results

    def _by_workers(self, function: Function, tasks: Sequence[Any], names: Sequence[str], line: Line) -> list[Any]:
        found: dict[int, Any] = {}
        deaths = 0
        while len(found) < len(tasks):
            before = len(found)
            left = [index for index in range(len(tasks)) if index not in found]
            failed: tuple[int, Failure] | None = None
            try:
                if self._workers is None:
                    self._workers = workers_of(self.backend, self.n_jobs, self.workers, self.parts)
                with closing(self._workers.results(function, left, tasks)) as results:
                    for index, result in results:
                        if isinstance(result, Failure):
                            failed = index, result
                            break
                        found[index] = result
                        line.step()
            except Exception as error:
                if type(error).__name__ not in LOST:
                    raise
                deaths = deaths + 1 if len(found) == before else 1
                if deaths > MOST_DEATHS:
                    unfinished = ", ".join(names[index] for index in left[:5] if index not in found)
                    raise RuntimeError(
                        f"n_jobs: workers died {deaths} times and finished nothing in between, expected workers that "
                        f"live; unfinished: {unfinished}; where memory ran out, fewer workers help"
                    ) from error
                if self._workers is not None:
                    self._workers.close()  # the data may be gone with the workers
                    self._workers = None
            if failed is not None:
                raise _again(failed[1], names[failed[0]])
        return [found[index] for index in range(len(tasks))]


def told(error: Exception, name: str) -> Exception:
    """The error with the name of the task before its message."""
    if len(error.args) >= 1 and isinstance(error.args[0], str) and error.args[0] in str(error):
        error.args = (f"{name}: {error.args[0]}", *error.args[1:])
    return error


def _again(failure: Failure, name: str) -> Exception:
    """The error of a task in a worker, to be raised here."""
    error = RuntimeError(failure.text) if failure.error is None else pickle.loads(failure.error)
    error.__cause__ = _There(failure.where)
    return told(error, name)


class _There(Exception):
    """The traceback in the worker, shown above the one here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


# --- Which backend ----------------------------------------------------------------------------------------------------


def checked_n_jobs(value: Any) -> int | None:
    """The argument `n_jobs`."""
    if value is None:
        return None
    n_jobs = checking.integer("n_jobs", value, -MOST_WORKERS, MOST_WORKERS)
    if n_jobs == 0:
        raise ValueError("n_jobs: got 0, expected a number of workers, -1 for one per processor, or None")
    return n_jobs


def _backend(n_jobs: int | None) -> tuple[int | None, Any, int]:
    """n_jobs as joblib takes it, the backend, and the number of workers. One worker is this process, without joblib."""
    n_jobs = checked_n_jobs(n_jobs)
    if n_jobs == 1 or (n_jobs is None and "joblib" not in sys.modules):
        return 1, None, 1
    try:
        joblib = import_module("joblib")
    except ImportError:
        raise ImportError(
            f"n_jobs: got {n_jobs} without joblib, expected None or 1; pip install 'fastreg[jobs]' brings it"
        ) from None
    active = import_module("joblib.parallel").get_active_backend
    backend, usual = active()
    chosen = usual is not None or backend is active()[0]  # joblib makes a new one at each call if none is active
    if n_jobs is None:
        if not chosen:
            return 1, None, 1
        if usual is None and not backend.nesting_level:
            n_jobs = -1  # a backend was asked for, so all of its workers
    return n_jobs, backend, max(int(_count(joblib, backend, n_jobs)), 1)


def _count(joblib: Any, backend: Any, n_jobs: int | None) -> int:
    """How many tasks the backend would run at once."""
    if type(backend).__name__ == "DaskDistributedBackend":
        return sum(backend.client.ncores().values())  # after a death perhaps none for some seconds; joblib would end
    if type(backend).__name__ == "RayBackend":
        import ray

        if not ray.is_initialized():  # as the backend does, but before it counts
            ray.init()
    return joblib.effective_n_jobs(n_jobs)
