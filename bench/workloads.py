"""The six workloads, declared in fastreg/benchmarks/workloads.py because `fastreg bench` runs them too, and LONG."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from fastreg.benchmarks.workloads import WORKLOADS, Workload

__all__ = ["LATE", "LONG", "WORKLOADS", "Workload", "asdict", "loss_of", "make"]

LATE = 250  # epochs


@dataclass(frozen=True)
class Long(Workload):
    """A workload that is learned wholly long before its training ends."""

    def data(self, rows=None, seed=0):
        """Two groups of points that lie well apart, as float32 (rows, n), and their labels."""
        rng, rows = np.random.default_rng(seed), self.rows if rows is None else rows
        y = rng.integers(0, 2, rows)
        return (rng.normal(size=(rows, self.sizes[0])) + 2 * (2 * y[:, None] - 1)).astype(np.float32), y


LONG = Long(
    name="long",
    sizes=(5, 256, 256, 256, 2),
    activation="gelu",
    keep_input=1.0,
    keep_hidden=1.0,
    batch=256,
    optimizer="adam",
    lr=1e-3,
    l2=0.0,
    loss="softmax_cross_entropy",
    rows=256 * 16,
)


def make(**fields) -> Workload:
    """The workload that `asdict` was given, also if the fields passed through JSON."""
    kind = Long if fields["name"] == LONG.name else Workload
    return kind(**{**fields, "sizes": tuple(fields["sizes"])})


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
