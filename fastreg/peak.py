"""What this machine can do at most: the floating-point peak that shares are measured against."""

from __future__ import annotations

import threading

from fastreg import _core

ROUNDS = 200_000  # a few milliseconds


def fma_peak(threads: int = 1, dtype: str = "float32", repeats: int = 5) -> float:
    """GFLOP/s of a loop of fused multiply-adds of the current SIMD target, on `threads` threads at once.

    Each thread does the loop `repeats` times and counts its best: a neighbour can only take time away.
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
