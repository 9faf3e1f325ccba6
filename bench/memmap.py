"""The memory and speed of training on a memory map: python bench/memmap.py

Writes 4 GB of uint8 images into a .npy file. Trains a small network on its memory map for one epoch of all rows, in
random order, with mapped validation data. Prints how much anonymous memory this takes (RssAnon of /proc/self/status,
which the system cannot take back), apart from pages of the file (RssFile: page cache, which it can take back). Then
trains a network of the usual size on rows spread over the whole file, and on the same rows in memory, in turns, with
the file in the page cache. Prints both speeds, each that of the fastest of some epochs.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import fastreg as fr

PIXELS, CLASSES, BATCH = 784, 10, 128
MB = 1e6


def memory(name: str) -> float:
    """The value of a line in /proc/self/status, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / MB


class Peak(threading.Thread):
    """The largest RssAnon and RssFile while the block runs, checked every 5 ms."""

    def __enter__(self):
        self.anonymous = self.file = 0.0
        self.done = threading.Event()
        self.start()
        return self

    def run(self) -> None:
        while not self.done.wait(0.005):
            self.anonymous, self.file = max(self.anonymous, memory("RssAnon")), max(self.file, memory("RssFile"))

    def __exit__(self, *_):
        self.done.set()
        self.join()


def write(path: Path, rows: int) -> None:
    """Writes one block of random bytes over and over. Their values do not matter for the speed."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, PIXELS))
    block = np.random.default_rng(0).integers(0, 256, (20_000, PIXELS), np.uint8)
    for start in range(0, rows, len(block)):
        images[start : start + len(block)] = block[: rows - start]
    images.flush()


def make_trainer(hidden: tuple[int, ...], threads: int | None) -> fr.Trainer:
    layers = [layer for n in hidden for layer in (fr.Dense(n, activation="relu"), fr.Dropout(rate=0.5))]
    return fr.Trainer(fr.Sequential([*layers, fr.Dense(CLASSES)]), optimizer=fr.SGD(1e-5), threads=threads)


def measure_memory(images: np.ndarray, labels: np.ndarray, threads: int | None) -> None:
    trainer = make_trainer((64,), threads)
    trainer.fit(images[: 2 * BATCH], labels[: 2 * BATCH], batch_size=BATCH)  # now code, threads and buffers are there
    before, tenth = memory("RssAnon"), len(images) // 10
    with Peak() as peak:
        trainer.fit(images, labels, batch_size=BATCH, validation_data=(images[-tenth:], labels[-tenth:]))
    print(f"an epoch of {len(images):,} rows, then {tenth:,} of validation:")
    print(f"  anonymous memory {peak.anonymous:,.0f} MB, {peak.anonymous - before:,.0f} MB more than before")
    print(f"  pages of files, including the map, which the system may take back: {peak.file:,.0f} MB")


def measure_speed(images, labels, hidden: tuple[int, ...], times: int, threads: int | None) -> None:
    sources = {"mapped": images, "in memory": np.array(images)}
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    trainers = {name: make_trainer(hidden, threads) for name in sources}
    for _ in range(times):
        for name, X in sources.items():
            seconds[name] += trainers[name].fit(X, labels, batch_size=BATCH)["seconds"]
    speeds = {name: len(labels) / min(values) for name, values in seconds.items()}
    print(f"network {'-'.join(map(str, (PIXELS, *hidden, CLASSES)))}, {len(labels):,} rows per epoch:")
    for name, speed in speeds.items():
        print(f"  {name:10} {speed:10,.0f} samples/s")
    print(f"  mapped / in memory: {speeds['mapped'] / speeds['in memory']:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the file")
    parser.add_argument("--rows", type=int, default=40_000, help="rows in the timed epochs")
    parser.add_argument("--times", type=int, default=5, help="number of timed epochs for each")
    parser.add_argument("--hidden", type=int, nargs="+", default=[1024, 1024], help="units of the timed network")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, help="for the temporary file (the system's folder for such files)")
    options = parser.parse_args()
    rows = int(options.gigabytes * 1e9) // PIXELS
    labels = np.random.default_rng(1).integers(0, CLASSES, rows)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, "images.npy")
        write(path, rows)
        mapped = fr.data.read_npy(path)
        print(f"{path.stat().st_size / 1e9:.2f} GB of uint8: {rows:,} rows of {PIXELS}, {fr.simd()['current']}")
        measure_memory(mapped, labels, options.threads)
        begin = time.perf_counter()
        int(mapped[:, ::512].max())  # every page once
        print(f"read the file through in {time.perf_counter() - begin:.1f} s: it is cached")
        spread = slice(None, None, max(1, rows // options.rows))
        measure_speed(mapped[spread], labels[spread], tuple(options.hidden), options.times, options.threads)


if __name__ == "__main__":
    main()
