"""Runs tasks: one after the other in this process, or on the workers of a joblib backend. The results are the same."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from fastreg.common import checking
from fastreg.distributed.packing import code
from fastreg.distributed.progress import Line
from fastreg.distributed.sharing import Here, InDask, InFile, InRay, Sharing
from fastreg.distributed.worker import Failed, Failure, Function, Running, Ticket, Watch, perform

MOST_DEATHS = 3  # in a row, of workers that finish nothing
MOST_WORKERS = 1 << 16
END_SECONDS = 5.0  # to wait for threads to end

# Errors of backends that say that a worker is gone, by the names of their classes, so that nothing is imported.
LOST = frozenset(
    (
        *("TerminatedWorkerError", "BrokenProcessPool"),  # loky
        *("CancelledError", "FutureCancelledError", "FuturesCancelledError"),  # dask, if it has lost the data
        *("ActorDiedError", "ActorUnavailableError", "RayActorError", "WorkerCrashedError"),  # Ray
        *("ObjectLostError", "OwnerDiedError", "NodeDiedError"),
    )
)


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
        self._sharing: Sharing | None = None

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._sharing is not None:
            self._sharing.close()
            self._sharing = None

    def run(self, function: Function, tasks: Sequence[Any], names: Sequence[str]) -> list[Any]:
        """The results of function(common, data, task, watch) for all tasks, in their order.

        `names` say in an error which task has failed. The first error ends the run. The function is one of a module.
        """
        with Line(len(tasks), self.verbose) as line:
            if self.workers == 1:
                return self._in_sequence(function, tasks, names, line)
            return self._by_workers(function, tasks, names, line)

    def _in_sequence(self, function: Function, tasks: Sequence[Any], names: Sequence[str], line: Line) -> list[Any]:
        results = []
        for task, name in zip(tasks, names, strict=True):
            try:
                results.append(function(*self.parts, task, Watch(bool)))
            except Exception as error:
                raise told(error, name) from None
            line.step()
        return results

    # --- Workers -------------------------------------------------------------------------------------------------

    def _by_workers(self, function: Function, tasks: Sequence[Any], names: Sequence[str], line: Line) -> list[Any]:
        kind = type(self.backend).__name__
        threads = bool(getattr(self.backend, "uses_threads", False))
        running = Running() if threads else None
        workers = 1 if kind in ("DaskDistributedBackend", "RayBackend") else self.workers
        pieces = list(tasks) if threads else [code(task) for task in tasks]
        found: dict[int, Any] = {}
        deaths = 0
        while len(found) < len(tasks):
            before = len(found)
            if self._sharing is None:
                self._sharing = self._share(kind, threads)
            ticket = Ticket(function, self._sharing.way, workers, not self._yields, running)
            left = [index for index in range(len(tasks)) if index not in found]
            ended, results = False, None
            try:
                results = self._parallel(ticket, self._sharing.extra, left, pieces)
                for index, result in results:
                    if isinstance(result, Failure):
                        raise Failed(index, result)
                    found[index] = result
                    line.step()
                ended = True
            except Failed as failed:
                index, failure = failed.args
                raise _again(failure, names[index]) from None
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
                self._sharing.close()  # the data may be gone with the workers
                self._sharing = None
            finally:
                if not ended:
                    _end(results, running)
        return [found[index] for index in range(len(tasks))]

    @property
    def _yields(self) -> bool:
        """Whether the backend gives each result as soon as it is there. Others give all at the end."""
        return bool(self.backend.supports_return_generator)

    def _share(self, kind: str, threads: bool) -> Sharing:
        if threads:
            return Here(self.parts)
        if kind == "DaskDistributedBackend":
            return InDask(self.parts, self.backend.client)
        return InRay(self.parts) if kind == "RayBackend" else InFile(self.parts)

    def _parallel(self, ticket: Ticket, extra: Any, left: list[int], pieces: list[Any]) -> Iterable[tuple[int, Any]]:
        """The results of the tasks that are left, as they come if the backend can do that."""
        joblib = import_module("joblib")
        how = "generator_unordered" if self._yields else "list"
        run = joblib.Parallel(n_jobs=self.n_jobs, backend=self.backend, batch_size=1, return_as=how)
        return run(joblib.delayed(perform)(ticket, extra, index, pieces[index]) for index in left)


def _end(results: Any, running: Running | None) -> None:
    """Ends all tasks that still run."""
    if running is not None:
        running.stop.set()
    with warnings.catch_warnings():  # joblib tells how many tasks it has cancelled
        warnings.simplefilter("ignore")
        if hasattr(results, "close"):
            results.close()
    if running is not None:
        running.end(END_SECONDS)


def told(error: Exception, name: str) -> Exception:
    """The error with the name of the task before its message."""
    if len(error.args) >= 1 and isinstance(error.args[0], str) and error.args[0] in str(error):
        error.args = (f"{name}: {error.args[0]}", *error.args[1:])
    return error


def _again(failure: Failure, name: str) -> Exception:
    """The error of a task in a worker, to be raised here."""
    import pickle

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
    chosen = backend is active()[0]  # joblib makes a new one at each call if none is active
    if n_jobs is None:
        if not chosen:
            return 1, None, 1
        if usual is None and not backend.nesting_level:
            n_jobs = -1  # a backend was asked for, so all of its workers
    return n_jobs, backend, max(int(_count(joblib, backend, n_jobs)), 1)


def _count(joblib: Any, backend: Any, n_jobs: int | None) -> int:
    """How many tasks the backend would run at once."""
    if type(backend).__name__ == "RayBackend":
        import ray

        if not ray.is_initialized():  # as the backend does, but before it counts
            ray.init()
        # It inherits False from a pool of processes. Its own pool gives results as they come, so what is finished is
        # kept when a worker dies.
        backend.supports_return_generator = True
    return joblib.effective_n_jobs(n_jobs)
