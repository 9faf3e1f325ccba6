"""100 labels of MNIST, with and without the images that have none.

    python few_labels.py FOLDER [--rows 20000] [--labels 100] [--epochs 10] [--seeds 3] [--validate]

FOLDER holds the four files of MNIST. Four nets with the same layers see the same labels, as many of each digit:

labels alone      and nothing else
reconstruction    a second head paints the whole image from the layers that the digit is read from, for all images
pseudo-labels     trained on its labels, the net goes on with what it predicts surely for the other images, in rounds
                  (Lee, Pseudo-Label, 2013)
both              pseudo-labels for the net with two heads

The net sees half of the pixels (dropout of its input), and paints all of them. So its layers must say what is in the
image, which is also what the digit depends on (Vincent et al., Stacked Denoising Autoencoders, 2010). First it only
paints. Once the layers know the images, 100 labels are enough to name what they say.

The settings were chosen with --validate, which judges by the last 10,000 training images instead of the test set.
"""

import argparse
import time

import numpy as np

import fastreg as fr

LOSSES = {"digit": "softmax_cross_entropy", "image": "sigmoid_cross_entropy"}


def make_trainer(columns, seed, heads=("digit",)):
    x = fr.Input(columns, name="pixels")
    h = fr.Dropout(rate=0.5)(x)
    for units in (512, 256):
        h = fr.Dropout(rate=0.5)(fr.Dense(units, "relu")(h))
    make = {"digit": fr.Dense(10, name="digit"), "image": fr.Dense(columns, name="image")}
    # The loss of an image is a mean over its pixels. As a sum, as log P(x) is one, it would count 784 times as much.
    return fr.Trainer(
        fr.Model(x, {head: make[head](h) for head in heads}), loss={head: LOSSES[head] for head in heads},
        loss_weights={"digit": 1.0, "image": 300.0} if "image" in heads else None, optimizer=fr.Adam(1e-3), seed=seed,
    )  # fmt: skip


def probabilities(trainer, X):
    found = trainer.predict(X)
    return found["digit"] if isinstance(found, dict) else found


def often(known, X):
    """All rows. Those with a label come more often, so that a fifth of each batch has one."""
    return np.concatenate([np.arange(len(X)), np.repeat(known, max(1, len(X) // (4 * len(known))))])


def labels_alone(X, y, known, seed, epochs):
    trainer = make_trainer(X.shape[1], seed)
    trainer.fit(X, {"digit": y}, epochs=40 * epochs, batch_size=50, rows=known)
    return trainer


def with_reconstruction(X, y, known, seed, epochs):
    trainer = make_trainer(X.shape[1], seed, ("digit", "image"))
    y, labelled = {"digit": y, "image": X}, np.isin(np.arange(len(X)), known)
    second = max(1, 2 * epochs // 5)
    trainer.fit(X, y, epochs=epochs - second, sample_weight={"digit": np.zeros(len(X))})  # weight 0: has no label
    trainer.fit(X, y, epochs=second, rows=often(known, X), sample_weight={"digit": labelled})
    return trainer


def with_pseudo_labels(trainer, X, y, known, epochs):
    """Goes on with what the net predicts. From round to round it counts more."""
    rest, rounds = np.setdiff1d(np.arange(len(X)), known), max(1, epochs // 2)
    y, weights = y.copy(), np.ones(len(X))
    for number in range(1, rounds + 1):
        found = probabilities(trainer, X[rest])
        y[rest] = found.argmax(axis=1)
        weights[rest] = (found.max(axis=1) > 0.9) * number / rounds
        targets = {"digit": y, "image": X}
        targets = {head: targets[head] for head in trainer.loss_weights or ["digit"]}
        trainer.fit(X, targets, epochs=2, rows=often(known, X), sample_weight={"digit": weights})
    return trainer


def accuracies(X, y, X_test, y_test, labels, seed, epochs):
    """The four ways, one after the other, with labels that the seed draws."""
    rng = np.random.default_rng(seed)
    known = np.concatenate([rng.choice(np.flatnonzero(y == k), labels // 10, replace=False) for k in range(10)])
    hidden = np.where(np.isin(np.arange(len(y)), known), y, 0)  # no way sees the other labels
    results = {}
    for name, way in (("labels alone", labels_alone), ("reconstruction", with_reconstruction)):
        trainer = way(X, hidden, known, seed, epochs)
        results[name] = fr.metrics.accuracy(y_test, probabilities(trainer, X_test))
        with_pseudo_labels(trainer, X, hidden, known, epochs)
        name = {"labels alone": "pseudo-labels", "reconstruction": "both"}[name]
        results[name] = fr.metrics.accuracy(y_test, probabilities(trainer, X_test))
    return results


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validate", action="store_true")
    options = parser.parse_args(arguments)
    (X, y), test = fr.data.load_idx_folder(options.folder)
    X_test, y_test = (X[-10_000:], y[-10_000:]) if options.validate else test
    X, X_test = (some.reshape(len(some), -1) / np.float32(255) for some in (X[: options.rows], X_test))
    y, y_test = y[: options.rows].astype(int), y_test.astype(int)
    runs = []
    for seed in range(options.seeds):
        start = time.perf_counter()
        runs.append(accuracies(X, y, X_test, y_test, options.labels, seed, options.epochs))
        told = ", ".join(f"{name} {value:.4f}" for name, value in runs[-1].items())
        print(f"seed {seed}: {told}, {time.perf_counter() - start:.0f} s", flush=True)
    results = {name: [run[name] for run in runs] for name in runs[0]}
    print(
        f"{options.labels} labels, {len(X)} images. Accuracy on the {'held-back' if options.validate else 'test'} set:"
    )
    for name, found in results.items():
        print(f"{name:16} {np.mean(found):.4f} ± {np.std(found):.4f}")
    return results


if __name__ == "__main__":
    main()
