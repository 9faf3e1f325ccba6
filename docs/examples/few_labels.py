"""100 labels of MNIST, with and without the images that have none.

    python few_labels.py FOLDER [--rows 20000] [--labels 100] [--epochs 20] [--seeds 3]

FOLDER holds the four files of MNIST. Three nets of the same size see the same labels:

labels alone      and nothing else
reconstruction    a second head paints the image from the same layers, for all images (P(x) beside P(y|x))
pseudo-labels     trained on its labels, it goes on with what it predicts surely for the other images, in rounds
                  (Lee, Pseudo-Label, 2013)
"""

import argparse
import time

import numpy as np

import fastreg as fr


def net(columns, heads=("digit",)):
    x = fr.Input(columns, name="image")
    h = fr.Dropout(rate=0.2)(x)
    h = fr.Dropout(rate=0.5)(fr.Dense(512, "relu", name="shared")(h))
    make = {"digit": fr.Dense(10, name="digit"), "image": fr.Dense(columns, name="painted")}
    return fr.Model(x, {head: make[head](h) for head in heads})


def labels_alone(X, y, known, rows, seed, epochs):
    trainer = fr.Trainer(net(X.shape[1]), optimizer=fr.Adam(1e-3), metrics=["accuracy"], seed=seed)
    trainer.fit(X, y, epochs=10 * epochs, batch_size=50, rows=known, verbose=0)
    return trainer


def with_reconstruction(X, y, known, rows, seed, epochs):
    trainer = fr.Trainer(
        net(X.shape[1], ("digit", "image")), loss={"digit": "softmax_cross_entropy", "image": "sigmoid_cross_entropy"},
        loss_weights={"digit": 1.0, "image": 10.0}, optimizer=fr.Adam(1e-3), metrics={"digit": ["accuracy"]}, seed=seed,
    )  # fmt: skip
    weights = {"digit": np.isin(np.arange(len(X)), known)}  # a row of weight 0 has no label
    trainer.fit(X, {"digit": y, "image": X}, epochs=epochs, batch_size=128, sample_weight=weights, rows=rows, verbose=0)
    return trainer


def with_pseudo_labels(X, y, known, rows, seed, epochs):
    trainer = labels_alone(X, y, known, rows, seed, epochs)
    rest = np.setdiff1d(np.arange(len(X)), known)
    targets, weights = y.copy(), np.ones(len(X))
    rounds = max(1, epochs // 2)
    for number in range(rounds):
        found = trainer.predict(X[rest])
        targets[rest] = found.argmax(axis=1)
        weights[rest] = (found.max(axis=1) > 0.9) * min(1.0, 2 * (number + 1) / rounds)
        trainer.fit(X, targets, epochs=2, batch_size=128, sample_weight=weights, rows=rows, verbose=0)
    return trainer


WAYS = {"labels alone": labels_alone, "reconstruction": with_reconstruction, "pseudo-labels": with_pseudo_labels}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    (X, y), (X_test, y_test) = fr.data.load_idx_folder(options.folder)
    X, X_test = (some.reshape(len(some), -1) / np.float32(255) for some in (X[: options.rows], X_test))
    y, y_test = y[: options.rows].astype(int), y_test.astype(int)
    results = {name: [] for name in WAYS}
    for seed in range(options.seeds):
        rng, each = np.random.default_rng(seed), options.labels // 10
        known = np.concatenate([rng.choice(np.flatnonzero(y == k), each, replace=False) for k in range(10)])
        hidden = np.where(np.isin(np.arange(len(y)), known), y, 0)  # no way sees the other labels
        # The rows with a label come more often, so that most batches hold some.
        rows = np.concatenate([np.arange(len(X)), np.repeat(known, max(1, len(X) // (4 * options.labels)))])
        for name, way in WAYS.items():
            start = time.perf_counter()
            trainer = way(X, hidden, known, rows, seed, options.epochs)
            found = trainer.predict(X_test)
            found = found["digit"] if isinstance(found, dict) else found
            results[name].append(fr.metrics.accuracy(y_test, found))
            print(f"seed {seed}, {name}: {results[name][-1]:.4f}, {time.perf_counter() - start:.1f} s", flush=True)
    print(f"{options.labels} labels, {len(X)} images. Accuracy on the test set:")
    for name, found in results.items():
        print(f"{name:16} {np.mean(found):.4f} ± {np.std(found):.4f}")
    return results


if __name__ == "__main__":
    main()
