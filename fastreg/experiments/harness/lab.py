"""What an experiment gets: how much to do, with which seed and engine, on which data, and side by side or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import TypeVar

import numpy as np

import fastreg as fr
from fastreg.machine.threads import one_blas_thread

Item = TypeVar("Item")
Result = TypeVar("Result")

MNIST, STAND_IN = "MNIST", "built-in digits, enlarged to 28 x 28"
PLACES = ("mnist", "data/mnist", "data/MNIST/raw")  # where MNIST is looked for, if --data does not say
CROWD = 1_200  # of the built-in digits, those to train on


class Cancelled(Exception):
    """The user has pressed Ctrl-C while this run was on another thread."""


class _Watch(fr.Callback):
    """Ends a training soon after Ctrl-C, which only the main thread hears."""

    def __init__(self, cancel: Event):
        self.cancel = cancel

    def on_slice_end(self, batches, logs) -> None:
        if self.cancel.is_set():
            raise Cancelled


class Lab:
    """Made by the harness for each seed.

    Attributes
    ----------
    seed : int
    quick : bool
        Whether to finish within some seconds, and be content with less.
    engine : {"native", "reference"}
    rng : numpy.random.Generator
        Begun with the seed.
    used : list of str
        The images that were asked for, so that the picture can say so.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        quick: bool = False,
        engine: str = "native",
        threads: int | None = None,
        data: str | None = None,
        options: Iterable[str] = (),
        report: Callable[[float], None] = lambda share: None,
        cancel: Event | None = None,
    ):
        self.seed, self.quick, self.engine, self.threads = seed, quick, engine, threads or fr.get_num_threads()
        self.rng = np.random.default_rng(seed)
        self._mnist, self._options, self._report = find_mnist(data), frozenset(options), report
        self.used: list[str] = []
        self._cancel = cancel or Event()

    def pick(self, full: Item, quick: Item) -> Item:
        """The first, or with --quick the second."""
        return quick if self.quick else full

    def option(self, name: str) -> bool:
        """Whether the user gave this flag, one of OPTIONS."""
        return name in self._options

    def trainer(self, model, **settings) -> fr.Trainer:
        """A trainer with the engine, seed and threads of the lab, unless the settings say otherwise."""
        return fr.Trainer(model, **{"engine": self.engine, "seed": self.seed, "threads": self.threads, **settings})

    def fit(self, trainer: fr.Trainer, *data, callbacks: Sequence[fr.Callback] = (), **arguments) -> fr.History:
        """`trainer.fit`, which Ctrl-C ends on any thread."""
        return trainer.fit(*data, callbacks=[*callbacks, self.watch()], **arguments)

    def watch(self) -> fr.Callback:
        """A callback that ends a training after Ctrl-C, for what trains by other means than `fit` above."""
        return _Watch(self._cancel)

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items one after the other, for a loop whose progress is shown."""
        items = list(items)
        for done, item in enumerate(items):
            self.check()
            yield item
            self._report((done + 1) / len(items))

    def side_by_side(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results for all items, in order. Each is made on one thread, as many at once as there are threads."""
        items = list(items)
        if self.threads == 1 or len(items) == 1:
            return [function(item) for item in self.each(items)]
        threads, self.threads = self.threads, 1
        try:
            return together(function, items, threads, self._cancel, self._report)
        finally:
            self.threads = threads

    def check(self) -> None:
        """Ends a long computation of one's own after Ctrl-C."""
        if self._cancel.is_set():
            raise Cancelled

    def images(self, train: int = 60_000, test: int = 10_000):
        """MNIST, or the built-in digits in its place: ((X, y), (X_test, y_test)) with X (n, 784) float32 in [0, 1].

        MNIST comes in a fixed order, of which the first `train` and `test` images are taken. The stand-in is shuffled
        by a fixed seed, and has at most 1,200 images to train on and 597 to test on.
        """
        self.used.append(STAND_IN if self._mnist is None else MNIST)
        if self._mnist is not None:
            (X, y), (X_test, y_test) = fr.data.load_idx_folder(self._mnist)
            return (_flat(X[:train]), y[:train]), (_flat(X_test[:test]), y_test[:test])
        X, y = fr.data.load("digits")
        order = np.random.default_rng(0).permutation(len(X))
        large = np.pad(np.kron(X.reshape(-1, 8, 8), np.ones((1, 3, 3), np.float32)), ((0, 0), (2, 2), (2, 2)))
        large = large.reshape(-1, 784)
        first, rest = order[: min(train, CROWD)], order[CROWD : CROWD + test]
        return (large[first], y[first]), (large[rest], y[rest])


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def find_mnist(data: str | None) -> Path | None:
    """The folder with the IDX files of MNIST: the one given, or the first of the usual places that has them.

    Raises
    ------
    ValueError
        A folder is given that has no such files.
    """
    from fastreg.data.idx import is_idx_folder

    if data is not None:
        if not is_idx_folder(Path(data)):
            raise ValueError(f"--data: got {data!r}, expected a folder with the IDX files of MNIST")
        return Path(data)
    return next((Path(place) for place in PLACES if is_idx_folder(Path(place))), None)


def together(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    cancel: Event,
    report: Callable[[float], None] = lambda share: None,
    finished: dict[int, Result] | None = None,
) -> list[Result]:
    """The results for all items, some at a time, each on a thread of its own. Training does not hold the interpreter.

    After an exception or Ctrl-C the others end as soon as they look. `finished` then holds the results that are there.
    """
    finished = {} if finished is None else finished
    # The reference engine multiplies by BLAS. Trainings with several of its threads each would wait for one another.
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        places: dict[Future[Result], int] = {pool.submit(function, item): place for place, item in enumerate(items)}
        left = set(places)
        try:
            while left:
                done, left = wait(left, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    finished[places[future]] = future.result()
                    report(len(finished) / len(items))
        except BaseException:
            cancel.set()
            pool.shutdown(wait=True, cancel_futures=True)
            for future, place in places.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    finished[place] = future.result()
            raise
    return [finished[place] for place in range(len(items))]
