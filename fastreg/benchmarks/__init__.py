"""Benchmarks that need only the package: what the command `fastreg bench` runs.

Each kernel and each workload is checked against the reference engine before it is timed.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastreg.benchmarks import kernels, training
from fastreg.benchmarks.kernels import Settings
from fastreg.benchmarks.rows import Row
from fastreg.benchmarks.workloads import WORKLOADS, Workload

__all__ = ["WORKLOADS", "Row", "Settings", "Workload", "run"]

QUICK = Settings(seconds=0.001, repeats=3, quick=True)


def settings_of(quick: bool) -> Settings:
    """How long and how often each row is measured."""
    return QUICK if quick else Settings()


def run(quick: bool = False) -> Iterator[Row]:
    """All rows, each as soon as it is measured.

    Examples
    --------
    >>> from fastreg import benchmarks
    >>> all(row.agrees for row in benchmarks.run(quick=True))
    True
    """
    settings = settings_of(quick)
    yield from kernels.rows(settings)
    yield from training.rows(settings)
