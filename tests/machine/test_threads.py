"""Threads: counts, the pool, fork, several Python threads at once, the floating-point mode. Run by CI under the thread
sanitizer too, so the work is small."""

import os
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pytest

import fastreg as fr
from fastreg.machine import _core, threads

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 30)).astype(np.float32)
Y = rng.integers(0, 5, 300)


def train(seed=0, n_threads=2, epochs=2, precision="float32") -> bytes:
    """Trains with dropout, and returns the bytes of all parameters."""
    model = fr.Sequential([fr.Dropout(keep_prob=0.8), fr.Dense(70, "relu"), fr.Dropout(keep_prob=0.5), fr.Dense(5)])
    trainer = fr.Trainer(model, optimizer=fr.Adam(1e-2), seed=seed, threads=n_threads, precision=precision)
    trainer.fit(X, Y, epochs=epochs, batch_size=64)
    return b"".join(array.tobytes() for array in model.state_dict().values())


both_precisions = pytest.mark.parametrize("precision", ["float32", "bfloat16"])


@pytest.fixture
def default_threads():
    yield
    fr.set_num_threads(None)


def test_pool_starts_threads_when_needed_and_keeps_them():
    expected = train(n_threads=1)
    assert train(n_threads=3) == expected
    size = _core.pool_size()
    assert size >= 2
    assert train(n_threads=2) == expected
    assert _core.pool_size() == size


def test_more_threads_than_processors():
    assert train(n_threads=7) == train(n_threads=1)


@both_precisions
def test_two_python_threads_train_at_once(precision):
    """A run that finds the pool busy continues on one thread: the same bits as one after the other."""
    expected = [train(seed, epochs=4, precision=precision) for seed in range(4)]
    got = [None] * 4

    def job(seed):
        got[seed] = train(seed, epochs=4, precision=precision)

    workers = [threading.Thread(target=job, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert got == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@both_precisions
def test_fork_after_training(precision):
    """Train, fork, train in child and parent: both finish, with the right bits. A grandchild too."""
    expected = train(precision=precision)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        os.write(write, b"y" if train(precision=precision) == expected and _core.pool_size() == 1 else b"n")
        if grandchild:
            os.waitpid(grandchild, 0)
        os._exit(0)
    mine = train(precision=precision)
    os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 10) == b"yy"
    os.close(read)
    assert mine == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@both_precisions
def test_fork_while_another_thread_trains(precision):
    expected = train(precision=precision)
    busy = threading.Thread(target=train, kwargs={"epochs": 30, "precision": precision})
    busy.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if train(precision=precision) == expected else 1)
    _, status = os.waitpid(child, 0)
    busy.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_counts(default_threads, monkeypatch):
    monkeypatch.setenv("FASTREG_NUM_THREADS", "3")
    assert fr.get_num_threads() == 3
    fr.set_num_threads(2)
    assert fr.get_num_threads() == 2
    assert threads.resolve(5, 0) == 5  # asked for: obeyed as given
    assert threads.resolve(None, 0) == 2
    fr.set_num_threads(None)
    monkeypatch.delenv("FASTREG_NUM_THREADS")
    assert threads.resolve(None, 1000) == 1  # too little work to share
    assert threads.resolve(None, 1e12) == threads.available_processors()
    monkeypatch.setenv("FASTREG_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="FASTREG_NUM_THREADS: got 'many'"):
        fr.get_num_threads()
    for wrong, error in ((0, ValueError), (-1, ValueError), (10**6, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"n: got"):
            fr.set_num_threads(wrong)


def test_affinity():
    if hasattr(os, "sched_setaffinity"):
        code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import fastreg as fr; "
        done = run(code + "print(fr.get_num_threads())")
        assert done.stdout.strip() == "1"


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FASTREG_")} | environment
    # Away from the source, which is not built: the installed package is what is tested.
    options = {"capture_output": True, "text": True, "timeout": 300, "cwd": tempfile.gettempdir()}
    return subprocess.run([sys.executable, "-c", code], env=environment, **options)


def test_simd_target_is_forced_or_refused():
    for name in fr.simd()["available"]:
        done = run("import fastreg as fr; print(fr.simd()['current'])", FASTREG_SIMD=name)
        assert done.stdout.strip() == name
    done = run("import fastreg", FASTREG_SIMD="mmx")
    assert done.returncode != 0
    assert "FASTREG_SIMD: got 'mmx', this machine offers" in done.stderr


def test_a_callers_mode_is_left_alone():
    """A caller that flushes small numbers to zero, as a run does, still does so after one."""
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush")
    try:
        fr.kernels.dense(np.ones((64, 64)), np.eye(64))
        still_flushing = (torch.tensor([1e-310], dtype=torch.float64) * 1).item() == 0
    finally:
        torch.set_flush_denormal(False)
    fr.kernels.dense(np.ones((64, 64)), np.eye(64))
    assert still_flushing
    assert (torch.tensor([1e-310], dtype=torch.float64) * 1).item() > 0


FIRST_CALLS = """
import threading
from fastreg.machine import _core
gate = threading.Barrier(8)
def work():
    gate.wait()
    assert _core.fma_loop("float32", 10) > 0
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_be_the_first_to_use_the_kernels():
    """While one looks for the best target, another must not take one that the machine lacks."""
    for _ in range(6):
        subprocess.run([sys.executable, "-c", FIRST_CALLS], check=True)
