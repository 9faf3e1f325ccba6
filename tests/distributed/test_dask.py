"""Many fits on a real dask cluster of two processes: same bits, data sent once, a killed worker's task again."""

import gc
import os
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest
from many import FIT, Both, Noted, Once, Told, X, Y, bits, make, threads_there

import fastreg as fr

joblib = pytest.importorskip("joblib")
distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    # asyncio's, of sockets and loops that dask leaves to the collector at its end
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(scope="module")
def expected() -> list[bytes]:
    return bits(fr.fit_seeds(make, X, Y, 6, **FIT))


@contextmanager
def cluster(workers):
    """A cluster. dask leaves OMP_NUM_THREADS=1, which is for its workers, in the process that starts them."""
    environment = dict(os.environ)
    try:
        with (
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0"
            ) as made,
            distributed.Client(made) as client,
        ):
            yield client
    finally:
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture(scope="module")
def client():
    with cluster(2) as client:
        yield client
    gc.collect()  # here, where what dask leaves open may be told


@pytest.fixture(autouse=True)
def dask(client):
    client.wait_for_workers(2, 120)  # after a test that has killed some
    with joblib.parallel_config(backend="dask"):
        yield


def received(client) -> dict:
    """How many bytes each worker has sent to others."""

    def sent(dask_worker):
        return dask_worker.transfer_outgoing_bytes_total

    return client.run(sent)


def test_the_bits_of_a_sequence(tmp_path, expected):
    fits = fr.fit_seeds(make, X, Y, 6, callbacks=[Both(tmp_path), Told()], **FIT)
    assert bits(fits) == expected
    processes = {int(history["process"][0]) for history in fits.histories}
    assert len(processes) == 2 and os.getpid() not in processes
    assert all(history["threads"] == [1] * 3 for history in fits.histories)


def test_data_are_sent_once_a_worker(tmp_path, client, expected):
    """Each worker unpacks them once, and they go from one worker to the other, not with each of 12 tasks.

    dask may let an idle worker forget them, and then sends them once more.
    """
    log, there = tmp_path / "log", tmp_path / "there"
    there.mkdir()
    assert bits(fr.fit_seeds(make, Noted(X, log), Y, 6, callbacks=Both(there), **FIT)) == expected
    readers = log.read_text().split()
    assert len(readers) == len(set(readers)) == 2
    large = np.tile(X, (1000, 1))  # 5.8 MB
    before = sum(received(client).values())
    fr.fit_seeds(make, large, np.tile(Y, 1000), 12, epochs=1, keep="scores")
    assert large.nbytes <= sum(received(client).values()) - before < 4 * large.nbytes


def test_the_task_of_a_killed_worker_is_run_again(tmp_path, expected):
    killed = tmp_path / "killed"
    fits = fr.fit_seeds(make, X, Y, 6, callbacks=Once(killed), **FIT)
    assert killed.exists() and bits(fits) == expected


def test_an_error_of_a_task_is_not_tried_again(tmp_path):
    log = tmp_path / "log"

    class Fails(fr.Callback):
        def on_train_begin(self):
            with log.open("a") as file:
                file.write("x")
            raise ValueError("no")

    with pytest.raises(ValueError, match=r"seed 3: no"):
        fr.fit_seeds(make, X, Y, [3, 3], callbacks=Fails(), **FIT)
    assert len(log.read_text()) <= 2


def test_threads_within_tasks_of_joblib():
    """As scikit-learn runs its searches: a task stands for one processor."""
    found = joblib.Parallel()(joblib.delayed(threads_there)(None, None, None) for _ in range(4))
    assert found == [1] * 4


def test_a_worker_that_dies_as_the_data_are_sent_is_no_end(client, expected, monkeypatch):
    """dask tells of it by errors of several kinds; each time the data are sent again."""
    scatter, errors = client.scatter, [KeyError("tcp://127.0.0.1:1"), TimeoutError("No valid workers found"), OSError()]

    def dies(*args, **kwargs):
        if errors:
            raise errors.pop()
        return scatter(*args, **kwargs)

    monkeypatch.setattr(client, "scatter", dies)
    assert bits(fr.fit_seeds(make, X, Y, 6, **FIT)) == expected and not errors
    errors += [KeyError("tcp://127.0.0.1:1")] * 9
    with pytest.raises(RuntimeError, match="workers died 4 times and finished nothing in between"):
        fr.fit_seeds(make, X, Y, 6, **FIT)


def test_data_that_died_with_all_workers_are_sent_again(tmp_path, expected):
    class Dies(fr.Callback):
        """Kills the first two processes that come to a second epoch, both before dask can copy the data. The last
        test here: dask does not always start both workers again."""

        def on_epoch_begin(self, epoch):
            if epoch == 1 and len(list(tmp_path.iterdir())) < 2:
                (tmp_path / str(os.getpid())).touch()
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGKILL)

    fits = fr.fit_seeds(make, X, Y, 6, callbacks=Dies(), **FIT)
    assert len(list(tmp_path.iterdir())) == 2 and bits(fits) == expected


def test_a_search_that_begins_when_no_worker_lives(monkeypatch):
    """The only one was killed just now, and dask starts it again: it is waited for."""
    grid = {"seed": [0, 1, 2]}
    expected = fr.grid_search(make, grid, X, Y, cv=2, n_jobs=1, **FIT)
    with cluster(1) as own, joblib.parallel_config(backend="dask"):
        own.wait_for_workers(1, 120)
        (process,) = own.run(os.getpid).values()
        os.kill(process, signal.SIGKILL)
        assert fr.grid_search(make, grid, X, Y, cv=2, **FIT).mean == expected.mean
    monkeypatch.setattr("fastreg.distributed.workers.WAIT_SECONDS", 0.5)
    told = pytest.raises(RuntimeError, match=r"dask has had no worker for 0.5 s, expected at least one")
    with cluster(0), joblib.parallel_config(backend="dask"), told:
        fr.grid_search(make, grid, X, Y, cv=2, **FIT)
