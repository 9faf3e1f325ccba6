"""Many processes fit at once, with checkpoints and logs in one folder, whose names begin alike. Some are killed.

    python tests/faults/parallel_fits.py 40

starts that number of fits. Each must end, or be the one that this script kills. Then each is fitted again, resumed from
its checkpoint, by as many processes at once. All must end with the weights of a fit that nobody disturbed.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastreg as fr

NAME = "experiment-with-a-name-of-more-than-forty-eight-letters-seed-{}"
EPOCHS = 12


def fit(folder: Path | None, seed: int, pause: float = 0.0) -> fr.Sequential:
    """The model of a fit, which resumes if there is a checkpoint."""
    X = np.random.default_rng(0).standard_normal((64, 8))
    model = fr.Sequential([fr.Dense(16, activation="relu"), fr.Dense(3)])
    trainer = fr.Trainer(model, optimizer=fr.Adam(0.01), seed=seed, threads=1)
    if folder is None:
        trainer.fit(X, np.arange(64) % 3, epochs=EPOCHS)
        return model
    name = folder / NAME.format(seed)
    checkpoint = fr.Checkpoint(f"{name}.safetensors", keep=3, save_best=True, monitor="loss")
    callbacks = [checkpoint, fr.CSVLogger(f"{name}.csv"), Pause(pause)]
    trainer.fit(
        X, np.arange(64) % 3, epochs=EPOCHS, callbacks=callbacks, resume=checkpoint.path, resume_missing="start"
    )
    model.save(f"{name}.model")
    return model


class Pause(fr.Callback):
    """Some time for others in each epoch."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def on_epoch_end(self, epoch, logs) -> None:
        time.sleep(self.seconds * random.random())


def all_at_once(folder: Path, count: int, kills: int, pause: float) -> list[int]:
    """Runs fits in processes of their own. Returns the seeds of those that failed, but for those that were killed."""
    processes = {}
    for seed in range(count):
        if not (process := os.fork()):
            try:
                fit(folder, seed, pause)
            except BaseException as error:
                print(f"fit {seed}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        processes[process] = seed
    victims = random.sample(sorted(processes), kills)
    for process in victims:
        time.sleep(pause * random.random())
        os.kill(process, signal.SIGKILL)
    ends = {process: os.waitpid(process, 0)[1] for process in processes}
    return [processes[process] for process, end in ends.items() if end and process not in victims]


def main(count: int) -> list[str]:
    """What went wrong."""
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        failed = [f"fit {seed} failed" for seed in all_at_once(folder, count, count // 4, pause=0.02)]
        failed += [f"fit {seed} failed when resumed" for seed in all_at_once(folder, count, 0, pause=0)]
        failed += [f"{file} is left" for file in os.listdir(folder) if file.startswith(".")]
        for seed in range(count):
            file = folder / NAME.format(seed)
            expected = fit(None, seed).state_dict()
            for end in (".model", ".safetensors"):
                found = fr.load(f"{file}{end}").state_dict()
                if any(not np.array_equal(found[key], value) for key, value in expected.items()):
                    failed.append(f"{file.name}{end} has other weights")
            if len(Path(f"{file}.csv").read_text().splitlines()) != EPOCHS + 1:
                failed.append(f"{file.name}.csv has other lines than epochs")
    return failed


if __name__ == "__main__":
    if problems := main(int(sys.argv[1])):
        sys.exit("\n".join(problems))
