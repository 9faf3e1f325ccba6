"""Would dropout by unit pay if the engine skipped what it drops? Time to an accuracy, on MNIST.

    python bench/skipping.py times
    python bench/skipping.py errors FOLDER [--seeds 5] [--epochs 20] [--masks element batch 32 16]

The net is 784-512-512-10 with ReLU and dropout of 0.2 on the inputs and 0.5 on both hidden layers, in batches of 128.
A mask by element is that of `fr.Dropout`. One by unit is shared by all rows of a batch, or by a group of 32 or 16
rows. A unit that is dropped for a whole group could be left out of the products of that group.

`errors` trains with each kind of mask, with all products done in full, and prints the test error in percent after each
epoch. FOLDER holds the four files of MNIST. Masks by groups are drawn in Python. It takes about an hour of one core.

`times` says how much of an epoch is left if dropped units are skipped. It times the net of the kept units,
627-256-256-10, in batches of a group, whose gradients are stored and added up over the 128 rows of a step
(`accumulate`). To that it adds what loops in C take to pick the kept rows and columns of the weights and to add the
gradients to those of all weights, once for a group, and the update of all weights, once a step. With AVX-512 they
compress and expand vectors, else they go element by element. Needs gcc. Epochs of both nets alternate; the ratio is the
median of the pairs.
"""

import argparse
import ctypes
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import fastreg as fr

SIZES, KEPT, BATCH = (784, 512, 512, 10), (627, 256, 256, 10), 128
RATES = (0.2, 0.5, 0.5)


class GroupMask:
    """Drops units for groups of rows while `live`."""

    def __init__(self, rate: float, rows: int, seed: int):
        self.rate, self.rows, self.rng, self.live = rate, rows, np.random.default_rng(seed), True

    def forward(self, x):
        if not self.live:
            return x
        groups = -(-len(x) // self.rows)
        mask = (self.rng.random((groups, x.shape[1])) >= self.rate) / (1 - self.rate)
        self.mask = np.repeat(mask.astype(x.dtype), self.rows, axis=0)[: len(x)]
        return x * self.mask

    def backward(self, dy, x, y):
        return dy * self.mask


def errors_of(kind: str, seed: int, train, test, epochs: int) -> list[float]:
    """The test error in percent after each epoch."""
    masks = [GroupMask(rate, int(kind), 10 * seed + i) for i, rate in enumerate(RATES)] if kind.isdigit() else []
    drops = [fr.Function(mask.forward, mask.backward) for mask in masks]
    drops = drops or [fr.Dropout(rate=rate, per="unit" if kind == "batch" else "element") for rate in RATES]
    hidden = [fr.Dense(units, "relu") for units in SIZES[1:3]]
    model = fr.Sequential([drops[0], hidden[0], drops[1], hidden[1], drops[2], fr.Dense(SIZES[-1])])
    trainer = fr.Trainer(model, optimizer=fr.SGD(0.02, momentum=0.9), seed=seed, threads=1)
    errors = []
    for epoch in range(epochs):
        trainer.fit(*train, epochs=epoch + 1, batch_size=BATCH)
        for mask in masks:
            mask.live = False
        errors.append(round(100 * (1 - trainer.evaluate(*test)["accuracy"]), 2))
        for mask in masks:
            mask.live = True
    return errors


def errors(options) -> None:
    (X, y), (X_test, y_test) = fr.data.load_idx_folder(options.folder)
    train, test = [(np.float32(images.reshape(-1, 784)) / 255, labels) for images, labels in ((X, y), (X_test, y_test))]
    for kind in options.masks:
        found = []
        for seed in range(options.seeds):
            found.append(errors_of(kind, seed, train, test, options.epochs))
            print(f"{kind}, seed {seed}: {found[-1]}", flush=True)
        last = [errors[-1] for errors in found]
        print(f"{kind}: {np.mean(last):.2f} ± {np.std(last):.2f} after {options.epochs} epochs")
        print(f"{kind}, mean by epoch: {np.round(np.mean(found, axis=0), 2).tolist()}", flush=True)


def net(sizes, rates, rows: int) -> fr.Trainer:
    layers = []
    for units, rate in zip(sizes[1:], rates, strict=True):
        layers += [fr.Dropout(rate=rate), fr.Dense(units, "relu" if units != sizes[-1] else None)]
    model = fr.Sequential(layers)
    optimizer = fr.SGD(0.01, momentum=0.9)
    return fr.Trainer(model, optimizer=optimizer, threads=1, seed=0, accumulate=BATCH // rows)


LOOPS = """
#include <immintrin.h>
/* The kept rows and columns of w, side by side; and the way back, added. kept: bits of 16 columns each. */
#ifdef __AVX512F__
void pick(float *out, const float *w, int ld, const int *rows, int n, const int *columns, int m,
          const unsigned short *kept) {
    for (int i = 0; i < n; i++) {
        float *to = out + (long)i * m;
        for (int b = 0; b < ld / 16; to += _mm_popcnt_u32(kept[b]), b++) {
            const __m512 x = _mm512_loadu_ps(w + (long)rows[i] * ld + 16 * b);
            _mm512_storeu_ps(to, _mm512_maskz_compress_ps(kept[b], x));
        }
    }
}
void add(float *out, float *g, int ld, const int *rows, int n, const int *columns, int m,
         const unsigned short *kept) {
    for (int i = 0; i < n; i++) {
        const float *from = out + (long)i * m;
        for (int b = 0; b < ld / 16; from += _mm_popcnt_u32(kept[b]), b++) {
            float *to = g + (long)rows[i] * ld + 16 * b;
            const __m512 x = _mm512_maskz_expand_ps(kept[b], _mm512_loadu_ps(from));
            _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), x));
        }
    }
}
#else
void pick(float *out, const float *w, int ld, const int *rows, int n, const int *columns, int m,
          const unsigned short *kept) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++) out[(long)i * m + j] = w[(long)rows[i] * ld + columns[j]];
}
void add(float *out, float *g, int ld, const int *rows, int n, const int *columns, int m,
         const unsigned short *kept) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++) g[(long)rows[i] * ld + columns[j]] += out[(long)i * m + j];
}
#endif
"""


def loops() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "loops.c"), Path(folder, "loops.so")
        source.write_text(LOOPS)
        subprocess.run(["gcc", "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
        return ctypes.CDLL(str(library))


def handling(library: ctypes.CDLL, rows: int) -> float:
    """Seconds a step to pick weights, add gradients and update, for masks of that number of rows."""
    rng, shapes = np.random.default_rng(0), ((SIZES[0], SIZES[1]), (SIZES[1], SIZES[2]))
    arrays = [[np.ones(shape, np.float32) for _ in range(4)] for shape in shapes]
    flags = [rng.random(units) >= rate for units, rate in zip(SIZES, RATES, strict=False)]
    kept = [np.flatnonzero(each).astype(np.int32) for each in flags]
    bits = [np.packbits(each, bitorder="little") for each in flags]
    calls = []
    for (weight, gradient, _, part), lines, columns, every in zip(arrays, kept, kept[1:], bits[1:], strict=False):
        which = (weight.shape[1], lines.ctypes, len(lines), columns.ctypes, len(columns), every.ctypes)
        calls += [
            (library.pick, (part.ctypes, weight.ctypes, *which)),
            (library.add, (part.ctypes, gradient.ctypes, *which)),
        ]
    seconds = []
    for _ in range(30):
        begin = time.perf_counter()
        for _ in range(BATCH // rows):
            for call, arguments in calls:
                call(*arguments)
        for weight, gradient, velocity, _ in arrays:
            fr.kernels.momentum_update(weight, gradient, velocity, 0.01, momentum=0.9)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def times(options) -> None:
    rng = np.random.default_rng(0)
    count = 16 * BATCH
    X, y = rng.random((count, SIZES[0]), np.float32), rng.integers(0, 10, count)
    full, library = net(SIZES, RATES, BATCH), loops()
    for rows in (BATCH, 32, 16):
        small = net(KEPT, (0, 0, 0), rows)
        own = X[:, : KEPT[0]].copy()
        pairs = []
        for _ in range(options.rounds + 1):
            whole = full.fit(X, y, epochs=1, batch_size=BATCH)["seconds"][0]
            pairs.append((small.fit(own, y, epochs=1, batch_size=rows)["seconds"][0], whole))
        products = median(part / whole for part, whole in pairs[1:])
        step = median(whole for _, whole in pairs[1:]) / (count // BATCH)
        rest = handling(library, rows) / step
        print(f"masks for {rows} rows: {products:.2f} + {rest:.2f} of the time of masks by element", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("times")
    command.add_argument("--rounds", type=int, default=15)
    command.set_defaults(run=times)
    command = commands.add_parser("errors")
    command.add_argument("folder")
    command.add_argument("--seeds", type=int, default=5)
    command.add_argument("--epochs", type=int, default=20)
    command.add_argument("--masks", nargs="+", default=["element", "batch", "32", "16"])
    command.set_defaults(run=errors)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
