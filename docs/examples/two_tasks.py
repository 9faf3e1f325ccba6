"""Two related tasks on digits: which digit it is (few labels), and whether it is odd (many labels).

    python two_tasks.py FOLDER [--rows 10000] [--labels 100] [--epochs 20] [--seeds 3]

FOLDER holds the four files of MNIST. A net with one head for each task shares its layers between them; two nets with
one head each share nothing. The digits of the shared net are better, since what tells odd from even helps to tell
digits apart.
"""

import argparse
import time

import numpy as np

import fastreg as fr


def trained(X, y, weights, rows, heads, seed, epochs):
    """A net with some of the heads, trained on some rows, which may come more than once."""
    x = fr.Input(X.shape[1], name="image")
    h = fr.Dropout(rate=0.2)(x)
    for units in (512, 256):
        h = fr.Dropout(rate=0.5)(fr.Dense(units, "relu")(h))
    make = {"digit": fr.Dense(10, name="digit"), "odd": fr.Dense(1, name="odd")}
    model = fr.Model(x, {head: make[head](h) for head in heads})
    loss = {"digit": "softmax_cross_entropy", "odd": "sigmoid_cross_entropy"}
    trainer = fr.Trainer(
        model, loss={head: loss[head] for head in heads}, optimizer=fr.Adam(1e-3),
        metrics={head: ["accuracy"] for head in heads}, seed=seed,
    )  # fmt: skip
    trainer.fit(
        X, {head: y[head] for head in heads}, epochs=epochs, batch_size=128, rows=rows,
        sample_weight={head: weights[head] for head in heads}, verbose=0,
    )  # fmt: skip
    return trainer


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    (X, digit), (X_test, digit_test) = fr.data.load_idx_folder(options.folder)
    X, X_test = (some.reshape(len(some), -1) / np.float32(255) for some in (X[: options.rows], X_test))
    digit = digit[: options.rows].astype(int)
    y, test = ({"digit": some, "odd": some % 2} for some in (digit, digit_test.astype(int)))

    results = {"two nets": [], "one net, two heads": []}
    for seed in range(options.seeds):
        start = time.perf_counter()
        known = np.random.default_rng(seed).permutation(len(X))[: options.labels]
        # A row of weight 0 has no label. Those that have one come more often, so that most batches hold some.
        weights = {"digit": np.isin(np.arange(len(X)), known), "odd": np.ones(len(X))}
        often = np.repeat(known, max(1, len(X) // (4 * options.labels)))
        single = {
            "digit": trained(X, y, weights, often, ["digit"], seed, options.epochs),
            "odd": trained(X, y, weights, None, ["odd"], seed, options.epochs),
        }
        for head, trainer in single.items():
            single[head] = trainer.evaluate(X_test, {head: test[head]})["accuracy"]
        results["two nets"].append(single)
        both = trained(
            X, y, weights, np.concatenate([np.arange(len(X)), often]), ["digit", "odd"], seed, options.epochs
        )
        found = both.evaluate(X_test, test)
        results["one net, two heads"].append({head: found[f"{head}_accuracy"] for head in y})
        print(f"seed {seed}: {time.perf_counter() - start:.1f} s", flush=True)
    print(f"{options.labels} digits and {len(X)} parities of the training set are known. Accuracy on the test set:")
    print(f"{'':20} {'digit':>15} {'odd':>15}")
    for name, found in results.items():
        cells = [f"{np.mean(v):.4f} ± {np.std(v):.4f}" for v in ([run[head] for run in found] for head in y)]
        print(f"{name:20} {cells[0]:>15} {cells[1]:>15}")
    return results


if __name__ == "__main__":
    main()
