"""Many fits on a real local Ray of two processors: same bits, data in its store once, a killed worker's task again."""

import gc
import os
from pathlib import Path

import many
import pytest
from many import FIT, Both, Noted, Once, Told, X, Y, bits, make

import fastreg as fr

joblib = pytest.importorskip("joblib")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets and files that Ray leaves to the collector
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of what Ray itself uses
]


@pytest.fixture(scope="module")
def expected() -> list[bytes]:
    return bits(fr.fit_seeds(make, X, Y, 6, **FIT))


@pytest.fixture(scope="module", autouse=True)
def ray():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    os.environ.setdefault("RAY_worker_niceness", "0")  # its workers would wait for all else on a busy machine
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(fr.__file__).parents[1]), str(Path(many.__file__).parent)])}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": paths})
    register_ray()
    with joblib.parallel_config(backend="ray"):
        yield ray
    ray.shutdown()
    gc.collect()  # here, where what Ray leaves open may be told


def test_the_bits_of_a_sequence_with_one_copy_of_the_data(tmp_path, expected):
    log, there = tmp_path / "log", tmp_path / "there"
    there.mkdir()
    fits = fr.fit_seeds(make, Noted(X, log), Y, 6, callbacks=[Both(there), Told()], **FIT)
    assert bits(fits) == expected
    readers = log.read_text().split()
    processes = {str(int(history["process"][0])) for history in fits.histories}
    assert len(readers) == 2 and set(readers) == processes and str(os.getpid()) not in processes
    assert all(history["threads"] == [1] * 3 for history in fits.histories)


def test_the_task_of_a_killed_worker_is_run_again(tmp_path, expected):
    killed = tmp_path / "killed"
    fits = fr.fit_seeds(make, X, Y, 6, callbacks=Once(killed), **FIT)
    assert killed.exists() and bits(fits) == expected


def test_a_search_goes_on_after_a_worker_was_killed(tmp_path):
    killed, grid = tmp_path / "killed", {"seed": [0, 1]}
    expected = fr.grid_search(make, grid, X, Y, cv=3, n_jobs=1, **FIT)
    search = fr.grid_search(make, grid, X, Y, cv=3, callbacks=Once(killed), **FIT)
    assert killed.exists() and search.mean == expected.mean and search.best_params == expected.best_params


def test_an_error_names_its_task():
    labels = Y.copy()
    labels[7] = 5
    with pytest.raises(ValueError, match=r"seed \d: y: got labels from 0 to 5, expected 0 to 1"):
        fr.fit_seeds(make, X, labels, 4, **FIT)
