"""The peak of this machine: its floating-point rate and memory bandwidth, which shares refer to."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from fastreg.machine import _core

ROUNDS = 200_000  # a few milliseconds
STREAM_BYTES = 3 << 26  # in the three arrays of a triad together: far more than most caches hold


def fma_peak(threads: int = 1, dtype: str = "float32", repeats: int = 5) -> float:
    """GFLOP/s of a loop of fused multiply-adds on the current SIMD target, on `threads` threads at once.

    Each thread runs the loop `repeats` times and its best run counts: other processes can only slow it down.
    """
    best = [0.0] * threads

    def measure(index: int) -> None:
        for _ in range(repeats):
            flops, seconds = _core.fma_loop(dtype, ROUNDS)
            best[index] = max(best[index], flops / seconds / 1e9)

    workers = [threading.Thread(target=measure, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(best)


def stream_bandwidth(threads: int = 1, repeats: int = 5) -> float:
    """GB/s of memory, on `threads` threads at once.

    This is the better of NumPy's a = b + c (three streams, as in STREAM's triad) and a = b (two streams, where the C
    library writes past the caches).
    """
    size = STREAM_BYTES // 3 // 4 // threads
    arrays = [[np.ones(size, np.float32) for _ in range(3)] for _ in range(threads)]
    rates = []
    with ThreadPoolExecutor(threads) as pool:
        for streams, work in ((3, lambda a, b, c: np.add(b, c, out=a)), (2, lambda a, b, _: np.copyto(a, b))):
            for _ in range(repeats):
                start = perf_counter()
                list(pool.map(lambda own, work=work: work(*own), arrays))
                rates.append(threads * streams * 4 * size / (perf_counter() - start) / 1e9)
    return max(rates)
