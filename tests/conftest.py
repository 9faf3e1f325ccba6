"""Fixtures that several files share."""

import os
import random
import signal
from collections import defaultdict

# Threads of NumPy's BLAS spin while they wait, which slows down whatever else runs. Tests multiply small matrices.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fastreg.machine import threads

# The same few examples in every run. `pytest --hypothesis-profile=search` looks for others, for longer. A machine may
# be slow.
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("usual", derandomize=True, max_examples=40, **SLOW)
settings.register_profile("search", max_examples=2000, **SLOW)
settings.load_profile("usual")

# A shell without job control lets what it runs in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


FEW = 2  # cases of a test that has many


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a test with many cases, a few, always the same ones, are quick; all others are marked slow."""
    cases = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    for name, alike in cases.items():
        for item in random.Random(name).sample(alike, max(len(alike) - FEW, 0)):
            item.add_marker("slow")


@pytest.fixture(params=["reference", "native"])
def engine(request) -> str:
    """Both engines, one after the other."""
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1234)


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """150 points around three centres, with their integer labels."""
    rng = np.random.default_rng(7)
    labels = np.arange(150) % 3
    centres = np.array([[2.0, 0.0, 0.0, 1.0], [0.0, 2.0, 0.0, -1.0], [0.0, 0.0, 2.0, 0.0]])
    return (centres[labels] + rng.normal(scale=0.7, size=(150, 4))).astype(np.float32), labels


@pytest.fixture
def restore_target():
    """The SIMD target that was chosen before a test is the one behind it."""
    before = threads.simd()["current"]
    yield
    threads.use_simd(before)
