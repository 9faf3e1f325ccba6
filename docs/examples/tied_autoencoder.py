"""An autoencoder whose decoder has the weights of its encoder, and one whose decoder has its own.

    python tied_autoencoder.py FOLDER [--rows 10000] [--code 64] [--epochs 20]

FOLDER holds the four files of MNIST. The tied one has half the weights.
"""

import argparse
import time

import numpy as np

import fastreg as fr


def autoencoder(columns, code, tied):
    x = fr.Input(columns, name="image")
    h = fr.Dense(code, "sigmoid", name="encoder")(x)
    ties = {"tied_to": "encoder", "transposed": True} if tied else {}
    return fr.Model(x, fr.Dense(columns, name="decoder", **ties)(h))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--code", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args(arguments)
    (X, _), (X_test, _) = fr.data.load_idx_folder(options.folder)
    X, X_test = (some.reshape(len(some), -1) / np.float32(255) for some in (X[: options.rows], X_test))
    results = {}
    for name in ("tied", "free"):
        start = time.perf_counter()
        model = autoencoder(X.shape[1], options.code, name == "tied")
        trainer = fr.Trainer(model, loss="sigmoid_cross_entropy", optimizer=fr.Adam(3e-3))
        trainer.fit(X, X, epochs=options.epochs, batch_size=128, verbose=0)
        error = float(np.mean((model.predict(X_test) - X_test) ** 2))
        count = sum(value.size for value in model.state_dict().values())
        results[name] = error
        seconds = time.perf_counter() - start
        print(
            f"{name}: {count} parameters, mean squared error {error:.5f} on the test set, {seconds:.1f} s", flush=True
        )
    return results


if __name__ == "__main__":
    main()
