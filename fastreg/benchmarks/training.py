"""Benchmarks of training: short runs of the six workloads, on each SIMD target and on the reference engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median

import fastreg as fr
from fastreg.benchmarks.kernels import PATIENCE, Settings
from fastreg.benchmarks.rows import Row
from fastreg.benchmarks.workloads import WORKLOADS, Workload
from fastreg.machine import threads
from fastreg.machine.peak import fma_peak

CHECKED = 2  # steps of training on both engines
LOSS_LIMIT = 1e-4  # relative, of the loss of these steps
RUN = 10  # an epoch is measured this many times as long as a kernel


def rows(settings: Settings, names: Iterable[str] = tuple(WORKLOADS)) -> Iterator[Row]:
    """Every workload on every SIMD target of this machine."""
    before = threads.simd()["current"]
    try:
        for name in names:
            workload = WORKLOADS[name].shrunk() if settings.quick else WORKLOADS[name]
            trainer = workload.trainer(engine="reference")
            seconds, loss = _fit(trainer, workload, CHECKED)
            if CHECKED * seconds < PATIENCE:
                seconds = min(seconds, *(_fit(trainer, workload, CHECKED)[0] for _ in range(3)))
            reference = seconds, loss
            for target in threads.simd()["available"]:
                threads.use_simd(target)
                yield _row(workload, target, reference, settings)
    finally:
        threads.use_simd(before)


def _row(workload: Workload, target: str, reference: tuple[float, float], settings: Settings) -> Row:
    X, y = workload.data(workload.batch)
    comparison = fr.compare_engines(workload.trainer(), X, y)
    worst = max(comparison.ops, key=lambda op: op.ulp / op.limit)
    error, limit = worst.relative, worst.relative * worst.limit / worst.ulp if worst.ulp else 1.0
    step, loss = _fit(workload.trainer(), workload, CHECKED)
    loss_error = abs(loss - reference[1]) / abs(reference[1])
    if not loss_error <= LOSS_LIMIT:
        error, limit = loss_error, LOSS_LIMIT
    seconds = None
    if error <= limit:
        steps = max(1, min(workload.steps, int(RUN * settings.seconds / step)))
        trainer = workload.trainer()
        seconds = median(_fit(trainer, workload, steps)[0] for _ in range(settings.repeats))
    shape = "-".join(map(str, workload.sizes))
    peak = fma_peak(fr.get_num_threads())
    work = workload.flops / 1e9, "GFLOP/s"
    return Row(workload.name, shape, target, seconds, reference[0], *work, peak, error, limit, group="step")


def _fit(trainer: fr.Trainer, workload: Workload, steps: int) -> tuple[float, float]:
    """The seconds of a step in an epoch of `steps` steps, and its loss."""
    history = trainer.fit(*workload.data(steps * workload.batch), batch_size=workload.batch)
    return history["seconds"][0] / steps, history["loss"][0]
