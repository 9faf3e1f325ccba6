"""Memory maps: training on one gives the same bits as in memory, and reads only the rows that it trains on."""

import sys
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr

ROWS, COLUMNS = 40_000, 1000
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status of Linux")


def memory(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


@pytest.fixture(params=["u1", "f4"])
def big(tmp_path, request):
    """40 MB or 160 MB of zeros."""
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", request.param, (ROWS, COLUMNS)).flush()
    return fr.data.read_npy(tmp_path / "x.npy")


def new_trainer(**settings) -> fr.Trainer:
    return fr.Trainer(fr.Sequential([fr.Dropout(rate=0.1), fr.Dense(3)]), threads=1, **settings)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_same_bits_as_in_memory(tmp_path, dtype, engine):
    X = np.random.default_rng(0).integers(0, 100, (60, 5, 4)).astype(dtype)
    np.save(tmp_path / "x.npy", X)
    y = np.arange(60) % 3
    digests = []
    for data in (X, fr.data.read_npy(tmp_path / "x.npy")):
        trainer = fr.Trainer(fr.Sequential([fr.Flatten(), fr.Dense(3)]), optimizer=fr.SGD(1e-4), engine=engine)
        history = trainer.fit(data[::2], y[::2], epochs=2, batch_size=7, validation_data=(data[1::2], y[1::2]))
        outputs = trainer.predict(data)
        digests.append((*history["val_loss"], outputs.tobytes(), trainer.model.state_dict()["1.weight"].tobytes()))
    assert digests[0] == digests[1]


@linux
def test_checks_do_not_read_the_file(big):
    trainer = new_trainer()
    y = np.zeros(ROWS, int)
    trainer.fit(big[:10], y[:10])
    before = memory("RssFile"), memory("RssAnon")
    trainer.fit(big[:10], y[:10], validation_data=(big[-10:], y[-10:]))
    trainer.model._check_inputs("X", big)
    assert memory("RssFile") - before[0] < 10 and memory("RssAnon") - before[1] < 10


@linux
def test_training_takes_no_memory_of_its_own(big):
    trainer = new_trainer()
    y = np.zeros(ROWS, int)
    trainer.fit(big[:600], y[:600], batch_size=50, validation_data=(big[:600], y[:600]))
    before = memory("RssAnon")
    trainer.fit(big, y, batch_size=50, validation_data=(big, y))
    assert memory("RssAnon") - before < 20
