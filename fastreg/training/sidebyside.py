"""Runs several fits at the same time, in Python threads. The engine runs without the lock of the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

from fastreg.callbacks.base import Callback
from fastreg.callbacks.history import History
from fastreg.common.pieces import Stopped, ending_with
from fastreg.engines.session import uninterrupted


class _StopAll(Callback):
    """Ends a fit within a slice after `stop` has got an element."""

    def __init__(self, stop: list):
        self.stop = stop

    def on_slice_end(self, batches: int, logs) -> None:
        if self.stop:
            raise Stopped


def side_by_side(jobs: list[Callable[..., History]], n: int) -> list[History]:
    """The results of all jobs, with n at a time in Python threads. If one fails, or Ctrl-C is pressed, all end.

    A job takes a callback and passes it to its fit.
    """
    # Lists and this queue are used by single calls of C, which no signal can cut. The locks of `concurrent.futures` and
    # of Events stay locked if Ctrl-C comes within their code, and then the threads would wait for ever.
    stop: list[str] = []
    todo, done = enumerate(jobs), SimpleQueue[tuple[int, History | BaseException]]()

    def work() -> None:
        with ending_with(stop):
            for number, job in todo:
                try:
                    done.put((number, job(_StopAll(stop))))
                except BaseException as error:
                    done.put((number, error))
                    return

    threads = [Thread(target=work, name="fastreg-bagging") for _ in range(min(n, len(jobs)))]
    found: dict[int, History] = {}

    def start(look: Callable[[], None]) -> None:
        for thread in threads:
            thread.start()

    try:
        uninterrupted(start)  # `start` waits for such a lock
        while len(found) < len(jobs):
            try:
                number, result = done.get(timeout=1.0)
            except Empty:
                if done.empty() and not any(thread.is_alive() for thread in threads):
                    raise MemoryError("a thread had none left to say how its fit has ended") from None
                continue
            if isinstance(result, BaseException):
                raise result
            found[number] = result
    except BaseException:
        stop.append("cut short")
        raise
    finally:
        for thread in threads:
            if thread.is_alive():
                thread.join()
    return [found[number] for number in range(len(jobs))]
