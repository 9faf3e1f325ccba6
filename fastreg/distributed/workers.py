"""The workers of a joblib backend: where the data lie for them, and how tasks come to them and results back.

joblib itself runs the tasks of threads and of processes. On dask and Ray it does not tell of every lost worker, so the
tasks go there directly, with the options that the backend was made with.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from typing import Any, Protocol
from uuid import uuid4

from fastreg.distributed.packing import code
from fastreg.distributed.sharing import DataLost, Here, InDask, InFile, InRay, Parts
from fastreg.distributed.worker import Failure, Function, Running, Ticket, perform

END_SECONDS = 5.0  # to wait for threads to end
WAIT_SECONDS = 300  # for a dask cluster whose workers have all died to have one again
TRIES = 3  # how often Ray itself runs the task of a dead worker again

# Errors that say that a worker or the data are gone, by the names of their classes, so that nothing is imported.
LOST = frozenset(
    (
        *("TerminatedWorkerError", "BrokenProcessPool"),  # loky
        *(
            "DataLost",
            "KilledWorker",
            "CommClosedError",
            "CancelledError",
            "FutureCancelledError",
            "FuturesCancelledError",
        ),  # dask
        *("WorkerCrashedError", "ObjectLostError", "OwnerDiedError", "NodeDiedError"),  # Ray
    )
)

Results = Generator[tuple[int, Any], None, None]  # indices of tasks, each with its result or a Failure


class Workers(Protocol):
    """What runs the tasks of several runs on the same data.

    `results` gives the result of each task, by its index, as soon as it is there; when it is closed, all tasks end.
    """

    def results(self, function: Function, left: Sequence[int], tasks: Sequence[Any]) -> Results: ...

    def close(self) -> None: ...


def workers_of(backend: Any, n_jobs: int | None, count: int, parts: Parts) -> Workers:
    """The workers of a backend, with the data laid out for them."""
    kind = type(backend).__name__
    if kind in CLUSTERS:
        return CLUSTERS[kind](backend, count, parts)
    if getattr(backend, "uses_threads", False):
        return Threads(backend, n_jobs, count, parts)
    return Processes(backend, n_jobs, count, parts)


def _by_joblib(backend: Any, n_jobs: int | None, ticket: Ticket, left: Sequence[int], pieces: Any) -> Results:
    """The results, as they come if the backend can do that, else all at the end."""
    joblib = import_module("joblib")
    how = "generator_unordered" if ticket.mark is None else "list"
    run = joblib.Parallel(n_jobs=n_jobs, backend=backend, batch_size=1, return_as=how)
    calls = (joblib.delayed(perform)(ticket, None, index, pieces[index]) for index in left)
    if ticket.mark is not None:
        yield from sorted(run(calls), key=lambda result: not isinstance(result[1], Failure))  # those that failed first
        return
    results = run(calls)
    try:
        for result in results:  # noqa: UP028  # `yield from` would close them outside of the block below
            yield result
    finally:
        with warnings.catch_warnings():  # joblib tells how many tasks it cancels
            warnings.simplefilter("ignore")
            results.close()


class Processes:
    """Processes of this machine. They map one file with the data."""

    def __init__(self, backend: Any, n_jobs: int | None, count: int, parts: Parts):
        self.backend, self.n_jobs, self.count = backend, n_jobs, count
        self.data = InFile(parts)

    def results(self, function: Function, left: Sequence[int], tasks: Sequence[Any]) -> Results:
        mark = None if self.backend.supports_return_generator else self.data.mark
        ticket = Ticket(function, self.data.way, self.count, mark)
        pieces = {index: code(tasks[index]) for index in left}
        with closing(_by_joblib(self.backend, self.n_jobs, ticket, left, pieces)) as results:
            yield from results

    def close(self) -> None:
        self.data.close()


class Threads:
    """Threads of this process. Nothing is copied."""

    def __init__(self, backend: Any, n_jobs: int | None, count: int, parts: Parts):
        self.backend, self.n_jobs, self.count = backend, n_jobs, count
        self.data = Here(parts)

    def results(self, function: Function, left: Sequence[int], tasks: Sequence[Any]) -> Results:
        running = Running()
        ticket = Ticket(function, self.data.way, self.count, running=running)
        try:
            with closing(_by_joblib(self.backend, self.n_jobs, ticket, left, tasks)) as results:
                try:
                    yield from results
                finally:
                    running.stop.set()  # joblib cannot end a thread
        finally:
            running.end(END_SECONDS)

    def close(self) -> None:
        """Nothing was laid out."""


@contextmanager
def _told_of_lost() -> Generator[None]:
    """The errors by which dask tells of a worker that has died during a call: its address is unknown, or there is no
    answer, or no worker at all. Errors of tasks do not come this way."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (KeyError, OSError)) and type(error).__name__ != "TimeoutError":  # asyncio's in 3.10
            raise
        raise DataLost(f"dask has lost a worker: {type(error).__name__} {error}") from error


def _here() -> None:
    """A task for which a cluster that grows on demand starts a worker."""


class Dask:
    """The workers of a dask cluster. Each gets the data once, and keeps them until the end."""

    def __init__(self, backend: Any, count: int, parts: Parts):
        self.backend, self.client = backend, backend.client
        if not self.client.nthreads():
            self._wait()
        with _told_of_lost():
            self.data = InDask(parts, self.client)

    def _wait(self) -> None:
        """Waits until a worker lives. dask starts dead ones again, but not always."""
        try:
            self.client.submit(_here, pure=False).result(WAIT_SECONDS)
        except Exception as error:
            if type(error).__name__ != "TimeoutError":  # asyncio's in Python 3.10
                raise
            raise RuntimeError(f"n_jobs: dask has had no worker for {WAIT_SECONDS} s, expected at least one") from error

    def results(self, function: Function, left: Sequence[int], tasks: Sequence[Any]) -> Results:
        with _told_of_lost(), closing(self._results(function, left, tasks)) as results:
            yield from results

    def _results(self, function: Function, left: Sequence[int], tasks: Sequence[Any]) -> Results:
        distributed = import_module("distributed")
        ticket, run = Ticket(function, self.data.way, 1), uuid4().hex
        futures = [
            self.client.submit(
                perform,
                *(ticket, self.data.extra, index, code(tasks[index])),
                key=f"fastreg-{run}-{index}",
                pure=False,
                **self.backend.submit_kwargs,
            )
            for index in left
        ]
        try:
            with self.backend.retrieval_context():  # a task that waits for others gives its place to them
                for future in distributed.as_completed(futures):
                    if future.status == "cancelled":
                        raise DataLost("dask has cancelled a task")
                    yield future.result()
                    future.release()
        finally:
            self.client.cancel(futures)

    def close(self) -> None:
        self.data.close()


class Ray:
    """The workers of a Ray cluster. Its store has the data once a machine."""

    def __init__(self, backend: Any, count: int, parts: Parts):
        self.count = count
        self.options = {"num_cpus": 1, "max_retries": TRIES, **(backend.ray_remote_args or {})}
        self.data = InRay(parts)

    def results(self, function: Function, left: Sequence[int], tasks: Sequence[Any]) -> Results:
        ray = import_module("ray")
        remote = ray.remote(perform).options(**self.options)
        ticket = ray.put(Ticket(function, self.data.way, 1))
        waiting = list(reversed(left))
        running: list[Any] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.count:
                    index = waiting.pop()
                    running.append(remote.remote(ticket, None, index, code(tasks[index])))
                (ready,), running = ray.wait(running, num_returns=1)
                yield ray.get(ready)
        finally:
            for task in running:
                ray.cancel(task, force=True)

    def close(self) -> None:
        self.data.close()


CLUSTERS: dict[str, Any] = {"DaskDistributedBackend": Dask, "RayBackend": Ray}
