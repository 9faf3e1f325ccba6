"""What a step costs in the first epochs and in late ones: python bench/late_epochs.py

Trains a small network (5-256-256-256-2, batches of 256) until it has learned its task wholly: once for every
activation, once for every optimizer, in both dtypes, and on three kinds of data. Prints the fastest step of the first
epochs, that of the last ones, and their ratio. Tails of activations, and the state of units that have learned, become
very small there. On many processors operations on numbers below the smallest normal one take a hundred times as long;
a run counts them as zero (csrc/flush.h).
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastreg as fr
from fastreg.reference import ACTIVATIONS

ROWS, INPUTS, UNITS, BATCH = 1024, 5, 256, 256
SAME = 0.05  # a ratio up to 1 + this is noise
OPTIMIZERS = {
    "SGD": lambda: fr.SGD(0.1),
    "momentum": lambda: fr.SGD(0.05, momentum=0.9),
    "Nesterov": lambda: fr.SGD(0.05, momentum=0.9, nesterov=True),
    "RMSprop": lambda: fr.RMSprop(1e-3),
    "RMSprop, momentum": lambda: fr.RMSprop(1e-3, momentum=0.9),
    "Adam": lambda: fr.Adam(1e-3),
    "AdamW": lambda: fr.AdamW(1e-3, weight_decay=0.1),
    "NAdam": lambda: fr.NAdam(1e-3),
    "Lion": lambda: fr.Lion(1e-4),
}


class Steps(fr.Callback):
    """The processor time of a step, in ms, of every epoch; `change` may change the data in between."""

    def __init__(self, change):
        self.change, self.times = change, []

    def on_epoch_begin(self, epoch, logs=None):
        self.change(epoch)
        self.start = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        self.times.append((time.process_time() - self.start) * 1e3 * BATCH / ROWS)


def task(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Two groups of points that lie well apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, ROWS)
    return (rng.normal(size=(ROWS, INPUTS)) + 2 * (2 * y[:, None] - 1)).astype(dtype), y


def same(X: np.ndarray, epoch: int) -> None:
    """The data stay as they are."""


def dead(X: np.ndarray, epoch: int) -> None:
    """An input that is 0 from the tenth epoch on."""
    if epoch == 10:
        X[:, 0] = 0


def small(X: np.ndarray, epoch: int) -> None:
    """Inputs below the smallest normal number, from the tenth epoch on."""
    if epoch == 10:
        X[:, 1:] = np.finfo(X.dtype).tiny * 0.3


def wide(X: np.ndarray, epoch: int) -> None:
    """Groups 20 times as far apart, so that margins go to 80 and beyond."""
    if epoch == 10:
        X *= 20


def measure(activation: str, optimizer: fr.optimizers.Optimizer, dtype: str, options, change):
    X, y = task(dtype)
    layers = [fr.Dense(UNITS, activation) for _ in range(3)]
    model = fr.Sequential([*layers, fr.Dense(2)])
    trainer = fr.Trainer(model, optimizer=optimizer, dtype=dtype, seed=0, threads=options.threads)
    steps = Steps(lambda epoch: change(X, epoch))
    trainer.fit(X, y, epochs=options.epochs, batch_size=BATCH, verbose=0, callbacks=[steps])
    some = max(options.epochs // 5, 1)
    return min(steps.times[:some]), min(steps.times[-some:])


def main(given=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), default=["float32", "float64"])
    parser.add_argument("--only", nargs="+", help="rows whose names contain one of these")
    options = parser.parse_args(given)
    rows = [(name, name, OPTIMIZERS["Adam"], same) for name in ACTIVATIONS]
    rows += [(name, "gelu", make, same) for name, make in OPTIMIZERS.items()]
    for change in (dead, small, wide):
        rows += [(f"{name}: {change.__doc__}", name, OPTIMIZERS["Adam"], change) for name in ("relu", "gelu")]
    print("first and last step in ms, and their ratio\n")
    for dtype in options.dtypes:
        for name, activation, make, change in rows:
            if options.only and not any(part in name for part in options.only):
                continue
            early, late = measure(activation, make(), dtype, options, change)
            mark = "" if late <= early * (1 + SAME) else "  slower"
            print(f"{dtype}  {early:7.3f}  {late:7.3f}  {late / early:5.2f}{mark}  {name}", flush=True)


if __name__ == "__main__":
    main()
