"""Dropout by unit, which leaves out what it drops: time of a step, and errors by epoch on MNIST.

    python bench/skipping.py times [--threads 1] [--rounds 9]
    python bench/skipping.py errors FOLDER [--seeds 5] [--epochs 20] [--masks element batch 32 16]

A mask by element is that of `fr.Dropout`. One by unit is shared by all rows of a batch, or by a group of 32 or 16 rows
(`per="unit"`, `rows=`). Rates are 0.2 on the inputs and 0.5 on hidden layers, batches have 128 rows.

`times` says what a step takes with each mask, as a share of a step with masks by element, and what it would take if
nothing was left out. Epochs of all of them alternate; a share is the median over the rounds. FASTREG_SIMD chooses the
instruction set.

`errors` trains 784-512-512-10 with ReLU on MNIST and prints the test error in percent after each epoch. FOLDER holds
the four files of MNIST. It takes about an hour of one core.
"""

import argparse
from statistics import median

import numpy as np

import fastreg as fr
from fastreg.machine import tuning

BATCH, INPUTS, CLASSES = 128, 784, 10
HIDDEN = (512, 512)
NETS = {"784-512-512-10": HIDDEN, "784-1024-1024-1024-10": (1024, 1024, 1024)}
MASKS = {"element": {}, "batch": {"per": "unit"}, "32": {"per": "unit", "rows": 32}, "16": {"per": "unit", "rows": 16}}


def net(hidden: tuple[int, ...], mask: str, **settings) -> fr.Trainer:
    drop = MASKS[mask]
    layers = [fr.Dropout(rate=0.2, **drop)]
    for units in hidden:
        layers += [fr.Dense(units, "relu"), fr.Dropout(rate=0.5, **drop)]
    return fr.Trainer(fr.Sequential([*layers, fr.Dense(CLASSES)]), **settings)


def errors_of(mask: str, seed: int, train, test, epochs: int) -> list[float]:
    """The test error in percent after each epoch."""
    trainer = net(HIDDEN, mask, optimizer=fr.SGD(0.02, momentum=0.9), seed=seed, threads=1)
    errors = []
    for epoch in range(epochs):
        trainer.fit(*train, epochs=epoch + 1, batch_size=BATCH)
        errors.append(round(100 * (1 - trainer.evaluate(*test)["accuracy"]), 2))
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


def times(options) -> None:
    rng, optimizer = np.random.default_rng(0), fr.SGD(1e-3, momentum=0.9)
    told = {"element": "none", "32 whole": "none"}  # of these nothing is left out
    for name, hidden in NETS.items():
        count = 2**14 // max(hidden) * BATCH
        X, y = rng.random((count, INPUTS), np.float32), rng.integers(0, CLASSES, count)
        kinds = [*MASKS, "32 whole"]
        trainers = {kind: net(hidden, kind.split()[0], optimizer=optimizer, threads=options.threads) for kind in kinds}
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(options.rounds + 1):
            for kind, trainer in trainers.items():
                with tuning.using(told.get(kind, "skip")):
                    seconds[kind].append(trainer.fit(X, y, epochs=1, batch_size=BATCH)["seconds"][0])
        step = median(seconds["element"][1:]) / (count // BATCH)
        print(
            f"{name}, {options.threads} thread(s): a step with masks by element takes {1e3 * step:.2f} ms", flush=True
        )
        for kind in kinds[1:]:
            pairs = zip(seconds[kind][1:], seconds["element"][1:], strict=True)
            print(f"  {kind:>9}: {median(own / whole for own, whole in pairs):.2f} of it", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("times")
    command.add_argument("--rounds", type=int, default=9)
    command.add_argument("--threads", type=int, default=1)
    command.set_defaults(run=times)
    command = commands.add_parser("errors")
    command.add_argument("folder")
    command.add_argument("--seeds", type=int, default=5)
    command.add_argument("--epochs", type=int, default=20)
    command.add_argument("--masks", nargs="+", choices=MASKS, default=list(MASKS))
    command.set_defaults(run=errors)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
