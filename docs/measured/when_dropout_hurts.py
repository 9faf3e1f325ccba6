"""What dropout does to nets of several widths that learn several numbers of rows: the table of the page on dropout.

    python docs/measured/when_dropout_hurts.py FOLDER [--seeds 5]

FOLDER holds the four files of MNIST. A net 784-w-w-10 with ReLU learns n images, without dropout and with dropout after
each hidden layer. All take 4,000 steps of 64 rows, by Adam with a rate that goes up and down once, and keep the best
epoch on 2,000 other images. Told is the accuracy on the 10,000 test images, and how much the rate adds to it.
"""

import argparse
import itertools

import numpy as np

import fastreg as fr

WIDTHS, ROWS, RATES = (8, 32, 128), (200, 1_000, 5_000, 20_000), (0.0, 0.2, 0.5)
STEPS, BATCH, HELD_BACK = 4_000, 64, 2_000


def accuracy(train, held_back, test, width, rate, seed):
    hidden = [
        layer
        for _ in range(2)
        for layer in (fr.Dense(width, "relu"), fr.Dropout(rate=rate))
    ]
    optimizer = fr.Adam(fr.schedules.OneCycle(2e-3, STEPS))
    trainer = fr.Trainer(
        fr.Sequential([*hidden, fr.Dense(10)]), optimizer=optimizer, seed=seed
    )
    epochs = STEPS // -(-len(train[1]) // BATCH)
    looks = max(1, epochs // 40)  # the held-back images are looked at about 40 times
    best = fr.EarlyStopping("val_loss", patience=epochs)
    rows = np.tile(np.arange(len(train[1])), looks)
    trainer.fit(
        *train,
        rows=rows,
        epochs=max(1, epochs // looks),
        batch_size=BATCH,
        validation_data=held_back,
        callbacks=best,
    )
    return trainer.evaluate(*test)["accuracy"]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    (X, y), (X_test, y_test) = fr.data.load_idx_folder(options.folder)
    X, X_test = (some.reshape(len(some), -1) / np.float32(255) for some in (X, X_test))
    held_back, test = (X[-HELD_BACK:], y[-HELD_BACK:]), (X_test, y_test)
    for width, rows in itertools.product(WIDTHS, ROWS):
        found = {rate: [] for rate in RATES}
        for seed in range(options.seeds):
            some = np.random.default_rng(seed).permutation(len(X) - HELD_BACK)[:rows]
            for rate in RATES:
                found[rate].append(
                    accuracy((X[some], y[some]), held_back, test, width, rate, seed)
                )
        plain = np.array(found[0.0])
        gains = [100 * (np.array(found[rate]) - plain) for rate in RATES[1:]]
        told = ", ".join(
            f"rate {rate}: {gain.mean():+.2f} ± {gain.std(ddof=1):.2f}"
            for rate, gain in zip(RATES[1:], gains, strict=True)
        )
        print(
            f"width {width:4}, rows {rows:6,}: plain {100 * plain.mean():.2f} %, {told}",
            flush=True,
        )


if __name__ == "__main__":
    main()
