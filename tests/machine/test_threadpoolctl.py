"""threadpoolctl lists fastreg and limits it."""

import subprocess
import sys
import tempfile

import numpy as np
import pytest

import fastreg as fr
from fastreg.machine import threads

threadpoolctl = pytest.importorskip("threadpoolctl", minversion="3.2")


@pytest.fixture(autouse=True)
def registered():
    threads.register_threadpoolctl()
    yield
    fr.set_num_threads(None)


def entries() -> list[dict]:
    return [entry for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "fastreg"]


def test_info():
    threads.register_threadpoolctl()  # once is enough
    [entry] = entries()
    assert entry["internal_api"] == "fastreg" and entry["version"] == fr.__version__
    assert entry["num_threads"] == fr.get_num_threads() and entry["filepath"].endswith(".so")


def test_limits():
    default = fr.get_num_threads()
    with threadpoolctl.threadpool_limits(3):
        assert fr.get_num_threads() == threads.resolve(None, 0) == 3  # as given, also for little work
        with threadpoolctl.threadpool_limits(1, user_api="fastreg"):
            assert threads.resolve(None, 1e12) == 1 and entries()[0]["num_threads"] == 1
            assert threads.resolve(2, 0) == 2  # a trainer's own count
        assert fr.get_num_threads() == 3
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert fr.get_num_threads() == 3
    assert fr.get_num_threads() == default and threads.resolve(None, 0) == 1  # the default is back, not its count


def test_after_the_limit_the_earlier_setting_is_back():
    fr.set_num_threads(2)
    with threadpoolctl.threadpool_limits(1):
        assert fr.get_num_threads() == 1
    assert fr.get_num_threads() == threads.resolve(None, 0) == 2


def test_training_under_a_limit():
    X, y = np.eye(3).repeat(20, axis=0), np.arange(3).repeat(20)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.SGD(1.0))
    with threadpoolctl.threadpool_limits(1):
        trainer.fit(X, y, epochs=10)
    assert trainer.evaluate(X, y)["accuracy"] == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sys, fastreg; print('threadpoolctl' in sys.modules)", "False"),
        ("import threadpoolctl as t, fastreg; print([e['user_api'] for e in t.threadpool_info()])", "fastreg"),
        ("import fastreg, threadpoolctl as t; print([e['user_api'] for e in t.threadpool_info()])", "fastreg"),
        ("import fastreg, threadpoolctl as t; t.threadpool_info(); fastreg.machine.threads.register_threadpoolctl(); "
         "print([e['user_api'] for e in t.threadpool_info()].count('fastreg'))", "1"),
        ("import fastreg as fr, sys; fr.set_num_threads(3)\nfrom threadpoolctl import threadpool_limits\n"
         "with threadpool_limits(1): inner = fr.get_num_threads()\n"
         "print(inner, fr.get_num_threads(), sys.modules['threadpoolctl'].__spec__.name, "
         "any('_WhenImported' in str(f) for f in sys.meta_path))", "1 3 threadpoolctl False"),
    ],
)  # fmt: skip
def test_registration(code, expected):
    options = {
        "capture_output": True,
        "text": True,
        "check": True,
        "cwd": tempfile.gettempdir(),
    }  # away from the source
    result = subprocess.run([sys.executable, "-c", code], **options)
    assert expected in result.stdout


def test_one_thread_of_blas_and_the_counts_before_are_back():
    """Also of a library that was loaded after the first look for them."""
    code = """
import sys
import numpy as np, threadpoolctl
from fastreg.machine.threads import one_blas_thread
def counts():
    return [entry["num_threads"] for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "blas"]
threadpoolctl.threadpool_limits(2, user_api="blas")
first = counts()
with one_blas_thread():
    assert set(counts()) <= {1}, counts()
assert counts() == first
import scipy.linalg  # has a BLAS of its own in its wheels
threadpoolctl.threadpool_limits(2, user_api="blas")
for _ in range(2):
    with one_blas_thread():
        assert set(counts()) <= {1}, counts()
    assert set(counts()) <= {2}, counts()
print(len(counts()) >= len(first))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "True", done.stderr
