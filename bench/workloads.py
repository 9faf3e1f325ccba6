"""The six workloads, declared in fastreg/benchmarks/workloads.py because `fastreg bench` runs them too."""

from dataclasses import asdict, replace

import numpy as np

from fastreg.benchmarks.workloads import WORKLOADS, Workload

__all__ = ["WORKLOADS", "Workload", "asdict", "loss_of", "make"]


def make(**fields) -> Workload:
    """The workload that `asdict` was given, also if the fields passed through JSON."""
    return Workload(**{**fields, "sizes": tuple(fields["sizes"])})


def scaled(workload: Workload, rows: float) -> Workload:
    """The same workload with a share of the rows, in whole batches."""
    return replace(workload, rows=max(1, round(workload.steps * rows)) * workload.batch)


def loss_of(workload: Workload, parameters, X, y) -> float:
    """The data loss of a network with these parameters, in float64, by the same formula for every library."""
    x = X[: 4 * workload.batch].astype(np.float64)
    y = y[: len(x)]
    for weight, bias in parameters:
        z = x @ np.asarray(weight, np.float64) + np.asarray(bias, np.float64)
        if workload.activation == "sigmoid":
            x = 1 / (1 + np.exp(-z))
        else:
            x = np.maximum(z, 0 if workload.activation == "relu" else 0.01 * z)
    if workload.loss == "mse":
        return float(np.mean((z - y) ** 2))
    z = z - z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]))
