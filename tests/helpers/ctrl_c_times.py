"""Sends itself Ctrl-C in the middle of long work, and prints how many seconds later each case has heard it. Run as a
script: `python ctrl_c_times.py [names]`."""

import json
import os
import signal
import sys
import threading
import time

import numpy as np

import fastreg as fr
from fastreg.program import random

SIZE = float(os.environ.get("SIZE", "1"))  # of the work; 1 takes one to three seconds if it is not interrupted


def rows(count: float) -> int:
    return int(count * SIZE)


def builds():
    model = fr.Sequential([fr.Dense(rows(5000), use_bias=False)])
    return lambda: model.build(5000)


def orders():
    return lambda: random.permutation(rows(1 << 26), 0, 0)


def draws_with_replacement():
    return lambda: random.integers(rows(1 << 26), 1 << 26, 0, 0)


def one_batch(layers, X, **settings):
    """One step of one batch."""
    trainer = fr.Trainer(fr.Sequential([*layers, fr.Dense(1)]), "mse", fr.SGD(0.0), threads=1, **settings)
    y = np.zeros(len(X), np.float32)
    trainer.fit(X[:2], y[:2], batch_size=2)
    return lambda: trainer.fit(X, y, batch_size=len(X), shuffle=False)


def gathers_strided():
    X = np.zeros((500, rows(100_000)), np.float32).T  # as columns of a file lie
    return one_batch([], X)


def drops_out():
    return one_batch([fr.Dropout(rate=0.5, kind="gaussian")], np.ones((rows(60_000), 500), np.float32))


def activates():
    return one_batch(
        [fr.Function(lambda x: x, lambda dy, x, y: dy), fr.Activation("gelu"), fr.LayerNorm()],
        np.ones((rows(60_000), 500), np.float32),
    )


def augments():
    X = np.zeros((rows(12_000), 28, 28, 1), np.float32)
    return one_batch([fr.Flatten()], X, augment="rotate(15)")


def bags():
    X = np.ones((rows(60_000), 500), np.float32)

    def builder(seed):
        return fr.Trainer(
            fr.Sequential([fr.Dropout(rate=0.5, kind="gaussian"), fr.Dense(1)]), "mse", fr.SGD(0.0), seed=seed
        )

    bagging = fr.Bagging(builder, 2, parallel=True)
    return lambda: bagging.fit(X, np.zeros(len(X)), batch_size=len(X), epochs=3)


def predicts():
    model = fr.Sequential([fr.Dropout(rate=0.5, kind="gaussian"), fr.Dense(1)])
    model.build(500)
    X = np.ones((rows(60_000), 500), np.float32)
    return lambda: model.predict(X, samples=3, batch_size=len(X))


def checks_labels():
    X = np.broadcast_to(np.zeros((1, 1), np.float32), (rows(6e7), 1))
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]))
    y = np.zeros(len(X), np.int8)
    return lambda: trainer.fit(X, y, sample_weight=np.ones(len(X), np.int8))


def multiplies_in_bf16():
    """In NumPy, which is slow."""
    X = np.ones((rows(1000), 600), np.float32)
    return one_batch([fr.Dense(600)], X, engine="reference", precision="bfloat16")


def splits():
    X = np.zeros((rows(2e7), 1), np.float32)
    return lambda: fr.data.split(X, X[:, 0])


def folds():
    y = np.arange(rows(2e7)) % 10
    return lambda: fr.data.folds(y, y)


CASES = [builds, orders, draws_with_replacement, gathers_strided, drops_out, activates, augments, bags, predicts]
CASES += [checks_labels, multiplies_in_bf16, splits, folds]


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def seconds_until_heard(work, after: float = 0.3) -> float | None:
    """None if the work ends before. The seconds are those of a clock or of the processors, whichever are fewer: a busy
    machine lets a process wait, and two threads take twice the time of one."""
    sent = []

    def send():
        time.sleep(after)
        sent.append(now())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        work()
        thread.join()
        time.sleep(0.1)
    except KeyboardInterrupt:
        return min(heard - began for heard, began in zip(now(), sent[0], strict=True))
    return None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = [case for case in CASES if case.__name__ in (sys.argv[1:] or [case.__name__ for case in CASES])]
    found = {}
    for case in chosen:
        try:
            found[case.__name__] = seconds_until_heard(case())
        except KeyboardInterrupt:  # after its end
            found[case.__name__] = None
        if not sys.argv[1:]:
            continue
    print(json.dumps(found))
