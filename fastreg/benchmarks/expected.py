"""How long `fastreg bench` takes: an estimate from the sizes of its cases, and from the speed of this machine."""

from __future__ import annotations

import numpy as np

from fastreg.benchmarks import kernels, training
from fastreg.benchmarks.kernels import Settings
from fastreg.benchmarks.rows import timed
from fastreg.benchmarks.workloads import WORKLOADS
from fastreg.machine import threads
from fastreg.machine.peak import STREAM_BYTES

SIDE = 1024  # of the matrices that NumPy multiplies to show its speed
NATIVE = 0.5  # share of the peak that a step reaches, roughly
SLOWER = 2.0  # a step of the reference over its matrix products alone
REFERENCES = 8.0  # seconds that NumPy needs for images and passes over large arrays


def expected_seconds(settings: Settings, peak: float, bandwidth: float) -> float:
    """Seconds of all rows. `peak` and `bandwidth` are those of the best target, in GFLOP/s and GB/s."""
    targets, shrink = len(threads.simd()["available"]), kernels.QUICK if settings.quick else 1
    measured = (settings.repeats + 2) * settings.seconds
    products, others = kernels.counts(settings.quick)
    stream = 2 * settings.repeats * STREAM_BYTES / bandwidth / 1e9 + 0.1  # before each row that shows GB/s
    seconds = targets * (products * measured + others * (measured + stream)) + REFERENCES / shrink
    rate = _numpy_rate()
    for workload in WORKLOADS.values():
        workload = workload.shrunk() if settings.quick else workload
        native, reference = workload.flops / 1e9 / peak / NATIVE, SLOWER * workload.flops / 1e9 / rate
        epochs = settings.repeats * max(training.RUN * settings.seconds, native)
        seconds += training.CHECKED * reference + targets * (epochs + training.CHECKED * native + 2 * reference)
    return seconds


def _numpy_rate() -> float:
    """GFLOP/s of a product in NumPy."""
    a = np.ones((SIDE, SIDE), np.float32)
    return 2 * SIDE**3 / 1e9 / min(timed(np.matmul, a, a) for _ in range(3))
