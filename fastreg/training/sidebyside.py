"""Runs several fits at the same time, in Python threads. The engine runs without the lock of the interpreter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from fastreg.callbacks.base import Callback
from fastreg.callbacks.history import History
from fastreg.common.pieces import Stopped, ending_with


class _StopAll(Callback):
    """Ends a fit within a slice after `stop` is set."""

    def __init__(self, stop: threading.Event):
        self.stop = stop

    def on_slice_end(self, batches: int, logs) -> None:
        if self.stop.is_set():
            raise Stopped


def side_by_side(jobs: list[Callable[..., History]], n: int) -> list[History]:
    """The results of all jobs, with n at a time in Python threads. If one fails, or Ctrl-C is pressed, all end.

    A job takes a callback and passes it to its fit.
    """
    stop = threading.Event()

    def run(job: Callable[..., History]) -> History:
        with ending_with(stop):
            return job(_StopAll(stop))

    with ThreadPoolExecutor(min(n, len(jobs)), "fastreg-bagging") as pool:
        futures: list[Future[History]] = [pool.submit(run, job) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if not all(future.done() and not future.exception() for future in futures):
                stop.set()
                pool.shutdown(cancel_futures=True)
    failures = [future.exception() for future in futures if not future.cancelled()]
    for failure in failures:
        if failure is not None and not isinstance(failure, Stopped):
            raise failure
    return [future.result() for future in futures]
