"""Faults, one at a time: the n-th allocation, write or read fails, for n = 0, 1, 2, ... in each of several uses.

    python tests/faults/inject.py              all of them, in some minutes
    python tests/faults/inject.py --most 20    some of each use
    python tests/faults/inject.py --part 3/8   every eighth, from the fourth on

Each use must end well, or in a MemoryError or OSError. Then it must be as if it had not begun, or had come to the end
of an epoch: parameters and counters fit together, files are whole, nothing lies beside them, and the same use works.

It starts itself again with `failing.c` loaded before the C library. That needs Linux, a C compiler and glibc.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import gzip
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

KINDS = ("allocation", "write", "read")
LIBRARY = "FASTREG_FAULTS_LIBRARY"
# Where memory runs out, Python itself makes these of it.
OF_PYTHON = (
    "can't allocate",
    "lineterminator must be set",
    "doesn't define __format__",
    "should be string, bytes",
    "os.PathLike object, not PosixPath",
    "without setting an exception",
    "error return without exception set",
    "NULL object passed to Py_BuildValue",
)
EPOCHS, BATCHES = 3, 2


def begin(arguments: list[str]) -> int:
    """Compiles the library and starts this script with it."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "failing.so")
        source = Path(__file__).with_name("failing.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        loaded = {"LD_PRELOAD": str(library), LIBRARY: str(library), "PYTHONMALLOC": "malloc", "PYTHONPATH": path}
        script = [sys.executable, "-X", "faulthandler", __file__, *arguments]
        return subprocess.run(script, env=os.environ | loaded, check=False).returncode


class Use:
    """Something that is done while a fault waits. `check` says what is wrong afterwards, and None if nothing is."""

    def __init__(self, name: str, make: Callable[[], Callable[[], object]], check: Callable[[], str | None]):
        self.name, self.make, self.check = name, make, check


def uses(folder: Path) -> Iterator[tuple[Use, tuple[str, ...]]]:
    """What is done, and the kinds of faults that it is done under."""
    import numpy as np

    import fastreg as fr

    X, y = np.random.default_rng(0).standard_normal((24, 5)), np.arange(24) % 3

    def new(seed: int = 0) -> fr.Trainer:
        layers = [fr.Dropout(rate=0.2), fr.Dense(9, "relu"), fr.Dense(3)]
        return fr.Trainer(fr.Sequential(layers), optimizer=fr.Adam(0.01), seed=seed, threads=2)

    def same(one: dict, other: dict) -> bool:
        return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)

    def hidden() -> list[str]:
        return [name for name in os.listdir(folder) if name.startswith(".")]

    states = []  # of the model, by finished epochs
    for epochs in range(EPOCHS + 1):
        trainer = new()
        trainer.model.build(5, seed=0)
        if epochs:
            trainer.fit(X, y, epochs=epochs, batch_size=12)
        states.append(trainer.model.state_dict())

    now: dict = {}

    def between_epochs(trainer: fr.Trainer) -> str | None:
        """Parameters and counters are those of a fit that ended there, or after the steps of the next epoch."""
        done, rest = divmod(trainer.batches, BATCHES)
        if rest or done not in (trainer.epoch, trainer.epoch + 1):
            return f"{trainer.batches} batches in {trainer.epoch} epochs"
        if len(trainer.history.epochs) != trainer.epoch:
            return f"a history of {len(trainer.history.epochs)} epochs, of {trainer.epoch}"
        if not trainer.model.built:
            return None if done == 0 else "no parameters"
        kept = done if trainer.best is None else trainer.best.epoch + 1  # a stopping rule restores its best epoch
        if not same(trainer.model.state_dict(), states[kept]):
            return f"other parameters than after {kept} epochs"
        return None

    def fit() -> Callable[[], object]:
        now["trainer"] = trainer = new()
        return lambda: trainer.fit(X, y, epochs=EPOCHS, batch_size=12)

    def fitted() -> str | None:
        trainer = now["trainer"]
        if wrong := between_epochs(trainer):
            return wrong
        counted = trainer.batches == trainer.epoch * BATCHES  # else the steps of an epoch come twice
        trainer.fit(X, y, epochs=EPOCHS - trainer.epoch, batch_size=12) if trainer.epoch < EPOCHS else None
        return between_epochs(trainer) if counted else None

    yield Use("fit", fit, fitted), ("allocation",)

    place = folder / "m.safetensors"
    old, model = new(1), new()
    old.fit(X, y, epochs=1)
    model.fit(X, y, epochs=1)

    def save() -> Callable[[], object]:
        old.model.save(place)
        return lambda: model.model.save(place)

    def saved() -> str | None:
        found = fr.load(place).state_dict()
        if not same(found, old.model.state_dict()) and not same(found, model.model.state_dict()):
            return "the file is neither the old one nor the new one"
        return f"left: {hidden()}" if hidden() else None

    yield Use("save", save, saved), ("allocation", "write")

    def load() -> Callable[[], object]:
        old.model.save(place)

        def read() -> None:
            now["loaded"] = None
            now["loaded"] = fr.load(place)

        return read

    def loaded() -> str | None:
        found = now["loaded"]
        right = found is None or same(found.state_dict(), old.model.state_dict())
        return None if right else "another model than that of the file"

    yield Use("load", load, loaded), ("allocation", "read")

    run = folder / "run.safetensors"

    def checkpoint() -> Callable[[], object]:
        for file in folder.glob("run*"):
            file.unlink()
        new().fit(X, y, epochs=1, batch_size=12, callbacks=[fr.Checkpoint(run)])
        now["trainer"] = trainer = new()
        callbacks = [fr.Checkpoint(run, keep=2), fr.CSVLogger(folder / "run.csv"), fr.EarlyStopping("loss")]
        arguments = {"epochs": EPOCHS, "batch_size": 12, "callbacks": callbacks, "resume": run, "changed": "callbacks"}
        return lambda: trainer.fit(X, y, **arguments)

    def checked() -> str | None:
        trainer = now["trainer"]
        if wrong := between_epochs(trainer):
            return wrong
        resumed = new()
        resumed.fit(X, y, epochs=EPOCHS, batch_size=12, resume=run, changed="callbacks")
        if not same(resumed.model.state_dict(), states[EPOCHS]):
            return "other parameters after resuming from its file"
        return f"left: {hidden()}" if hidden() else None

    yield Use("checkpoint", checkpoint, checked), ("allocation", "write", "read")

    tables = folder / "table.csv", folder / "table.csv.gz", folder / "set.npz", folder / "set.npy"
    text = "a,b,label\n" + "".join(f"{i},{i / 7},{'xyz'[i % 3]}\n" for i in range(40))
    tables[0].write_text(text)
    tables[1].write_bytes(gzip.compress(text.encode()))
    np.savez(tables[2], X=X, y=y)
    np.save(tables[3], X)
    for table in tables:
        expected = [np.asarray(part) for part in flat(fr.data.read(table))]

        def read(table=table) -> Callable[[], object]:
            def go() -> None:
                now["read"] = None
                now["read"] = fr.data.read(table)

            return go

        def was_read(expected=expected) -> str | None:
            found = now["read"]
            if found is None or all(map(np.array_equal, map(np.asarray, flat(found)), expected)):
                return None
            return "other data than those of the file"

        yield Use(f"read {table.name}", read, was_read), ("allocation", "read")


def flat(parts: list) -> list:
    """The arrays of what `read` returns."""
    found = []
    for X, y in parts:
        found += [X[name] for name in X] if hasattr(X, "names") else [X]
        found += [] if y is None else [y]
    return found


def faults(library: ctypes.CDLL, use: Use, kind: int, most: int, part: slice) -> tuple[Counter[str], list[str]]:
    """How often the use ended in which error, or well, and what was wrong."""

    def disarm() -> None:
        while True:
            try:
                return library.faults_arm(kind, -1)
            except (MemoryError, ctypes.ArgumentError):  # the fault was still waiting, and meets this call
                continue

    def attempt(n: int) -> BaseException | None:
        go = use.make()
        try:
            library.faults_arm(kind, n)
            go()
        except BaseException as error:
            disarm()
            return error
        disarm()
        return None

    def calls(go: Callable[[], object]) -> int:
        library.faults_arm(kind, -1)
        go()
        return library.faults_count(kind)

    for _ in range(2):  # what is loaded or kept at the first use
        if error := attempt(-1):
            raise error
    total = calls(use.make())
    wrong, ends = [], Counter()
    tried = range(total) if total <= most else sorted({round(i * (total - 1) / (most - 1)) for i in range(most)})
    for n in tried[part]:
        error = attempt(n)
        ends[type(error).__name__ if error else "well"] += 1
        what = f"{use.name}: {KINDS[kind]} {n} of {total}"
        of_python = isinstance(error, (RuntimeError, TypeError, SystemError)) and any(
            text in str(error) for text in OF_PYTHON
        )
        known = of_python or isinstance(error, (MemoryError, OSError))
        if error is not None and not known:
            wrong.append(f"{what} ends in {type(error).__name__}: {error}")
        error = None
        try:
            found = use.check()
        except Exception as failure:
            found = f"afterwards {type(failure).__name__}: {failure}"
        if found:
            wrong.append(f"{what}: {found}")
        gc.collect()
    return ends, wrong


def main(most: int, only: str, part: slice) -> int:
    library = ctypes.CDLL(os.environ[LIBRARY])
    library.faults_arm.argtypes, library.faults_count.restype = (ctypes.c_int, ctypes.c_long), ctypes.c_long
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for use, kinds in uses(Path(folder)):
            for kind in kinds if use.name.startswith(only) else ():
                ends, found = faults(library, use, KINDS.index(kind), most, part)
                how = ", ".join(f"{count} {end}" for end, count in ends.most_common())
                print(f"{use.name}: {ends.total()} {kind}s fail; it ended: {how}; {len(found)} wrong", flush=True)
                wrong += found
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    if LIBRARY not in os.environ:
        sys.exit(begin(sys.argv[1:]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=10**9, help="faults of each use and kind")
    parser.add_argument("--only", default="", help="the use that begins so")
    parser.add_argument("--part", default="0/1", help="every k-th fault from the i-th on, as i/k")
    options = parser.parse_args()
    first, step = map(int, options.part.split("/"))
    sys.exit(main(options.most, options.only, slice(first, None, step)))
