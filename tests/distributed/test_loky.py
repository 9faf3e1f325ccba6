"""Many fits on workers of this machine: the bits of a sequence, data read once, cores shared, lost tasks run again."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from many import FIT, Noted, Once, Told, X, Y, bits, make, seed_bits, threads_there, threads_with_others

import fastreg as fr
from fastreg.distributed import jobs
from fastreg.machine import threads

joblib = pytest.importorskip("joblib")
SHARE = max(1, threads.available_processors() // 2)  # of one of two workers


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
    assert all(history["threads"] == [SHARE] * 3 for history in fits.histories)


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


def test_an_explicit_number_of_threads_is_obeyed():
    def three(seed):
        trainer = make(seed)
        trainer.threads = 3
        return trainer

    fits = fr.fit_seeds(three, X, Y, 2, n_jobs=2, keep="trainers", **FIT)
    assert [trainer.threads for trainer in fits.trainers] == [3, 3]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # scikit-learn's, after two epochs
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_threads_within_a_search_of_scikit_learn(backend):
    """n_jobs=2: each fit has half of the cores."""
    selection = pytest.importorskip("sklearn.model_selection")
    from fastreg.estimators import MLPClassifier

    search = selection.GridSearchCV(
        MLPClassifier((4,), max_iter=2, batch_size=32), {"alpha": [0.0, 0.1]}, cv=2, n_jobs=2, scoring=threads_there
    )
    with joblib.parallel_config(backend=backend):
        search.fit(X, Y)
    assert set(search.cv_results_["mean_test_score"]) == {SHARE}


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_the_first_error_ends_the_run_and_names_its_task(backend):
    labels = Y.copy()
    labels[7] = 5
    message = r"seed \d: y: got labels from 0 to 5, expected 0 to 1"
    with joblib.parallel_config(backend=backend, n_jobs=2), pytest.raises(ValueError, match=message) as error:
        fr.fit_seeds(make, X, labels, 4, **FIT)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_the_first_error_ends_what_others_train(backend):
    class Fails(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            if self.trainer.seed == 1:
                raise ValueError("planted")

    with joblib.parallel_config(backend=backend, n_jobs=2), pytest.raises(ValueError, match="seed 1: planted"):
        fr.fit_seeds(make, X, Y, 4, callbacks=Fails(), epochs=10**8)


def test_an_error_that_no_pickle_takes_comes_with_its_text():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    class Fails(fr.Callback):
        def on_train_begin(self):
            raise Odd("this", "that")

    with (
        joblib.parallel_config(backend="multiprocessing", n_jobs=2),
        pytest.raises(RuntimeError, match=r"seed \d: Odd: this and that"),
    ):
        fr.fit_seeds(make, X, Y, 2, callbacks=Fails(), **FIT)


SCRIPT = """
import sys, numpy as np, fastreg as fr, joblib
from many import make
X = np.random.default_rng(0).normal(size=(20_000, 50)).astype("f4")
joblib.Parallel(n_jobs=2, backend=sys.argv[1])(joblib.delayed(abs)(i) for i in range(2))  # workers are there
print("ready", flush=True)
try:
    with joblib.parallel_config(backend=sys.argv[1], n_jobs=2):
        fr.fit_seeds(make, X, (X[:, 0] > 0).astype(int), 4, epochs=100_000)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_ctrl_c_leaves_nothing_running(backend):
    paths = os.pathsep.join([str(Path(fr.__file__).parents[1]), str(Path(__file__).parents[1] / "helpers")])
    environment = os.environ | {"PYTHONPATH": paths}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, backend],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read() == "stopped\n"
        assert process.wait(30) == 0
    deadline = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(process.pid)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_of_the_standard_library(method, expected):
    """A process that has trained forks workers that train; spawned ones begin afresh."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(seed_bits, range(4)) == expected


@pytest.mark.slow
def test_the_task_of_a_killed_worker_is_run_again(tmp_path, expected):
    killed = tmp_path / "killed"
    fits = fr.fit_seeds(make, X, Y, 4, n_jobs=2, callbacks=Once(killed), **FIT)
    assert killed.exists() and bits(fits) == expected


@pytest.mark.slow
def test_a_task_that_always_kills_its_worker_is_given_up(monkeypatch):
    monkeypatch.setattr(jobs, "MOST_DEATHS", 1)

    class Kills(fr.Callback):
        def on_train_begin(self):
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RuntimeError, match=r"workers died 2 times and finished nothing in between.*seed 0, seed 1"):
        fr.fit_seeds(make, X, Y, 2, n_jobs=2, callbacks=Kills(), **FIT)


def test_memory_maps_and_paths(tmp_path, expected):
    """Workers open the file themselves, also for a view of it."""
    wide = np.zeros((240, 8), np.float32)
    wide[:, 1:7] = X
    np.save(tmp_path / "wide.npy", wide)
    np.save(tmp_path / "X.npy", X)
    view = np.load(tmp_path / "wide.npy", mmap_mode="r")[:, 1:7]
    assert bits(fr.fit_seeds(make, view, Y, 4, n_jobs=2, **FIT)) == expected
    assert bits(fr.fit_seeds(make, tmp_path / "X.npy", Y, 4, n_jobs=2, **FIT)) == expected


def test_sparse_matrices_and_frames(expected):
    sparse, pandas = pytest.importorskip("scipy.sparse"), pytest.importorskip("pandas")
    assert bits(fr.fit_seeds(make, sparse.csr_array(X), Y, 4, n_jobs=2, **FIT)) == expected
    assert bits(fr.fit_seeds(make, pandas.DataFrame(X), pandas.Series(Y), 4, n_jobs=2, **FIT)) == expected


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_a_pool_share_the_processors(method):
    """joblib's backend "multiprocessing" and plain pools set no variable. The parent may have other children, too."""
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        there = joblib.Parallel()(joblib.delayed(fr.get_num_threads)() for _ in range(4))
    with multiprocessing.get_context(method).Pool(2) as pool:
        there.append(pool.apply(fr.get_num_threads))
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
        there += executor.map(threads_with_others, [SHARE, SHARE])
    assert 1 <= min(there) <= max(there) <= SHARE
