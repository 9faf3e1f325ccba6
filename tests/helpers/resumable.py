"""A small training with everything that a checkpoint must keep. As a script it is the process that a test kills.

    python resumable.py ENGINE FOLDER SECONDS

trains from the checkpoint in FOLDER, if there is one, to the end, pausing for SECONDS in every epoch, and prints the
hash of what has come of it.
"""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import fastreg as fr

EPOCHS = 12


class Pause(fr.Callback):
    def __init__(self, seconds):
        self.seconds = seconds

    def on_epoch_end(self, epoch, logs):
        time.sleep(self.seconds)


def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(70, 5)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] * X[:, 2] + rng.normal(size=70) > 0).astype(int)  # noise, so that it soon overfits
    return X[:50], y[:50], (X[50:], y[50:])


def trainer(engine="native", **settings):
    layers = [fr.Dropout(keep_prob=0.9), fr.Dense(9, activation="relu"), fr.Dropout(rate=0.3), fr.Dense(2)]
    settings = {"optimizer": fr.Adam(fr.schedules.Warmup(9, fr.schedules.Cosine(0.2, 60, per="step")))} | settings
    return fr.Trainer(fr.Sequential(layers), engine=engine, l2=1e-3, seed=5, **settings)


def callbacks(path=None, **settings):
    """Early stopping that puts epoch 7 or so back, and a plateau; in an order in which checkpoints must go last."""
    checkpoint = [] if path is None else [fr.Checkpoint(path, **settings)]
    plateau = fr.ReduceOnPlateau(patience=0, factor=0.5, threshold=0.03)
    return [*checkpoint, plateau, fr.EarlyStopping(patience=4, min_delta=0.01)]


def fit(trainer, path=None, epochs=EPOCHS, resume=None, more=(), **settings):
    X, y, validation = data()
    return trainer.fit(
        X, y, epochs=epochs, batch_size=16, validation_data=validation, resume=resume,
        callbacks=[*more, *callbacks(path, **settings)],
    )  # fmt: skip


def measuring(curve):
    """A trainer whose validation finds a made curve of accuracies."""
    trained = trainer()
    trained._evaluate_data = lambda data, names: {"loss": 1.0, "accuracy": curve[trained.epoch]}
    return trained


def digest(trainer, history):
    """A hash of all bits of a training, except the seconds."""
    sha = hashlib.sha256()
    for values in (trainer.model.state_dict(), trainer.optimizer_state):
        for name in sorted(values):
            sha.update(name.encode() + np.ascontiguousarray(values[name]).tobytes())
    rows = [(epoch, [v for k, v in sorted(row.items()) if k != "seconds"]) for epoch, row in history.rows()]
    sha.update(repr((trainer.epoch, trainer.step, trainer.updates, rows)).encode())
    return sha.hexdigest()


def whole(engine="native", **settings):
    """The hash of a training that never stops."""
    trained = trainer(engine, **settings)
    return digest(trained, fit(trained))


def run(engine, folder, seconds, **more):
    """This script in another process."""
    command = [sys.executable, __file__, engine, str(folder), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(Path(fr.__file__).parents[1]), "FASTREG_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, **more)


if __name__ == "__main__":
    engine, folder, seconds = sys.argv[1:]
    path = os.path.join(folder, "run.safetensors")
    trained = trainer(engine)
    resume = path if os.path.exists(path) else None
    print("ready", flush=True)
    more = [Pause(float(seconds)), fr.CSVLogger(os.path.join(folder, "log.csv"))]
    history = fit(trained, path, resume=resume, more=more, keep=3, save_best=True)
    print(digest(trained, history))
