"""What workers of other processes import: trainers of many fits, data that count how often they are read, a fit that
loses its worker."""

import os
import signal
import time
from pathlib import Path

import numpy as np

import fastreg as fr

RNG = np.random.default_rng(5)
X = RNG.normal(size=(240, 6)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] * X[:, 2] + 0.5 * RNG.normal(size=240) > 0).astype(int)
FIT = {"epochs": 3, "batch_size": 32}


def make(seed: int) -> fr.Trainer:
    layers = [fr.Dense(12, "relu"), fr.Dropout(keep_prob=0.8), fr.Dense(2)]
    return fr.Trainer(fr.Sequential(layers), optimizer=fr.SGD(0.1, momentum=0.9), seed=seed)


def bits(fits) -> list[bytes]:
    return [b"".join(array.tobytes() for array in state.values()) for state in fits.states]


def seed_bits(seed: int) -> bytes:
    return bits(fr.fit_seeds(make, X, Y, [seed], **FIT))[0]


def threads_there(estimator, X, y) -> int:
    """A score of scikit-learn's searches: the threads of the worker."""
    return fr.get_num_threads()


def threads_with_others(share: int) -> int:
    """The number of threads here, asked until it's at most `share`, so that the other worker has begun, on a busy
    machine, too."""
    end = time.monotonic() + 60
    while fr.get_num_threads() > share and time.monotonic() < end:
        time.sleep(0.01)
    return fr.get_num_threads()


class Told(fr.Callback):
    """Puts the threads and the process of a fit into its history."""

    def on_epoch_end(self, epoch, logs):
        logs["threads"], logs["process"] = fr.get_num_threads(), os.getpid()


class Both(fr.Callback):
    """Lets no fit begin before two processes have come to one: else the first may do the work of both while the other
    still starts."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def on_train_begin(self):
        (self.folder / str(os.getpid())).touch()
        end = time.monotonic() + 60
        while len(list(self.folder.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.01)


class Once(fr.Callback):
    """Kills the process of the first fit that reaches its second epoch: the one that makes the file."""

    def __init__(self, path):
        self.path = str(path)

    def on_epoch_begin(self, epoch):
        if epoch == 1:
            try:
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


class Noted:
    """An array that writes a line to a file whenever it is unpickled."""

    def __init__(self, array, path):
        self.array, self.path = array, str(path)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)

    def __reduce__(self):
        return _noted, (self.array, self.path)


def _noted(array, path) -> Noted:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return Noted(array, path)
