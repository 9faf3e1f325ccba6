"""Many fits on processes of this machine: the bits of a sequence, data sent once, a killed worker's task run again."""

import os

import pytest
from many import FIT, Noted, Once, Told, X, Y, bits, make

import fastreg as fr

joblib = pytest.importorskip("joblib")


@pytest.fixture(scope="module")
def expected() -> list[bytes]:
    return bits(fr.fit_seeds(make, X, Y, 4, **FIT))


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_the_bits_of_a_sequence(backend, expected):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        fits = fr.fit_seeds(make, X, Y, 4, callbacks=Told(), **FIT)
    assert bits(fits) == expected
    assert [fit.name for fit in fits] == ["seed 0", "seed 1", "seed 2", "seed 3"]
    elsewhere = {int(history["process"][0]) for history in fits.histories} - {os.getpid()}
    assert bool(elsewhere) == (backend != "threading")


def test_functions_of_a_script_are_sent_by_value(expected):
    width = 12

    def own(seed):
        layers = [fr.Dense(width, "relu"), fr.Dropout(keep_prob=0.8), fr.Dense(2)]
        return fr.Trainer(fr.Sequential(layers), optimizer=fr.SGD(0.1, momentum=0.9), seed=seed)

    assert bits(fr.fit_seeds(own, X, Y, 4, n_jobs=2, **FIT)) == expected


def test_data_are_read_once_a_worker(tmp_path, monkeypatch, expected):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    log = tmp_path / "log"
    fits = fr.fit_seeds(make, Noted(X, log), Y, 4, n_jobs=2, **FIT)
    assert bits(fits) == expected
    readers = log.read_text().split()
    assert 1 <= len(readers) == len(set(readers)) <= 2 < len(fits)
    assert not list(tmp_path.glob("fastreg-*"))  # the file is removed


@pytest.mark.slow
def test_the_task_of_a_killed_worker_is_run_again(tmp_path, expected):
    killed = tmp_path / "killed"
    fits = fr.fit_seeds(make, X, Y, 4, n_jobs=2, callbacks=Once(killed), **FIT)
    assert killed.exists() and bits(fits) == expected
