"""The six workloads that fastreg and other libraries are measured on: networks, random data, amounts of work.

`fastreg bench` compares them with the reference engine, bench/epochs.py with other libraries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import fastreg as fr

OPTIMIZERS = {
    "sgd": lambda lr: fr.SGD(lr),
    "momentum": lambda lr: fr.SGD(lr, momentum=0.9),
    "adam": lambda lr: fr.Adam(lr),
}
STATES = {"sgd": 0, "momentum": 1, "adam": 2}  # numbers that the optimizer keeps per parameter


@dataclass(frozen=True)
class Workload:
    """A network, its training, and its number of samples: whole batches, because a compiled library needs them.

    sizes         units of the input and of each layer
    activation    of the hidden layers: "sigmoid", "relu" or "leaky_relu" (slope 0.01)
    keep_input, keep_hidden   the probability to keep an input, and to keep a hidden unit
    optimizer     "sgd", "momentum" (0.9) or "adam"
    l2            for weights: adds l2 W to the gradient
    loss          "softmax_cross_entropy" or "mse"
    rows          per epoch
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    keep_input: float
    keep_hidden: float
    batch: int
    optimizer: str
    lr: float
    l2: float
    loss: str
    rows: int

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and units of each layer."""
        return list(zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def has_dropout(self) -> bool:
        return self.keep_input < 1 or self.keep_hidden < 1

    @property
    def steps(self) -> int:
        """The number of steps per epoch."""
        return self.rows // self.batch

    @property
    def flops(self) -> float:
        """The flops of a step's matrix products: forward and dW in each layer, dX in all but the first."""
        products = [2.0 * self.batch * inputs * units for inputs, units in self.layers]
        return 3 * sum(products) - products[0]

    @property
    def bytes(self) -> float:
        """The least that a step moves: it reads the batch, and reads and writes each parameter with its state."""
        parameters = sum((inputs + 1) * units for inputs, units in self.layers)
        return 4.0 * (self.batch * self.sizes[0] + 2 * parameters * (1 + STATES[self.optimizer]))

    def data(self, rows: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Inputs float32 (rows, n), and learnable labels int64 (rows,) or targets float32 (rows, outputs)."""
        rng, rows = np.random.default_rng(seed), self.rows if rows is None else rows
        X = rng.random((rows, self.sizes[0]), np.float32)
        if self.loss == "mse":
            return X, np.sin(7 * X.sum(axis=1, keepdims=True)).repeat(self.sizes[-1], axis=1)
        teacher = rng.standard_normal((self.sizes[0], self.sizes[-1]), np.float32)
        return X, ((X - 0.5) @ teacher).argmax(axis=1)

    def parameters(self, seed: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
        """The float32 weight (inputs, units) and bias of each layer. Every library starts from them."""
        rng = np.random.default_rng(seed)
        gain = 1.0 if self.activation == "sigmoid" else 2.0
        return [
            (
                rng.standard_normal(layer, np.float32) * np.float32(np.sqrt(gain / layer[0])),
                np.zeros(layer[1], np.float32),
            )
            for layer in self.layers
        ]

    def trainer(self, **settings) -> fr.Trainer:
        """A trainer with these parameters. `settings` are arguments of `fastreg.Trainer`."""
        last = len(self.layers) - 1
        layers: list = [fr.Dropout(keep_prob=self.keep_input)] if self.keep_input < 1 else []
        for index, (_, units) in enumerate(self.layers):
            layers.append(fr.Dense(units, activation=None if index == last else self.activation, name=f"dense{index}"))
            if index < last and self.keep_hidden < 1:
                layers.append(fr.Dropout(keep_prob=self.keep_hidden))
        model = fr.Sequential(layers)
        model.build(self.sizes[0])
        weights = {f"dense{i}.weight": w for i, (w, _) in enumerate(self.parameters())}
        biases = {f"dense{i}.bias": b for i, (_, b) in enumerate(self.parameters())}
        model.load_state_dict(weights | biases)
        optimizer = OPTIMIZERS[self.optimizer](self.lr)
        given: dict[str, Any] = {"loss": self.loss, "optimizer": optimizer, "l2": self.l2}
        return fr.Trainer(model, **given | settings)

    def shrunk(self, units: int = 32, steps: int = 4) -> Workload:
        """The same with few units and samples, for a quick look at whether everything runs."""
        sizes = tuple(min(size, units) for size in self.sizes)
        return replace(self, sizes=sizes, batch=min(self.batch, 16), rows=min(self.batch, 16) * steps)

    def __str__(self) -> str:
        keep = f" keep {self.keep_input:g}/{self.keep_hidden:g}" if self.has_dropout else ""
        return f"{'-'.join(map(str, self.sizes))} {self.activation}{keep}, batch {self.batch}, {self.optimizer}"


CROSS_ENTROPY = "softmax_cross_entropy"
_DFN = Workload("dfn", (784, 200, 10), "sigmoid", 0.5, 1.0, 64, "sgd", 0.1, 1e-4, CROSS_ENTROPY, 64 * 937)
_CURVE = Workload("curve", (1, 64, 64, 64, 1), "leaky_relu", 1.0, 1.0, 64, "adam", 1e-3, 0.0, "mse", 64 * 156)

WORKLOADS = {
    workload.name: workload
    for workload in (
        _DFN,
        replace(_DFN, name="dfn-plain", keep_input=1.0),
        Workload(
            name="srivastava",
            sizes=(784, 1024, 1024, 1024, 10),
            activation="relu",
            keep_input=0.8,
            keep_hidden=0.5,
            batch=128,
            optimizer="momentum",
            lr=0.01,
            l2=1e-4,
            loss=CROSS_ENTROPY,
            rows=128 * 100,
        ),
        _CURVE,
        replace(_CURVE, name="curve-dropout", keep_hidden=0.9),
        Workload(
            name="wide",
            sizes=(784, 4096, 4096, 10),
            activation="relu",
            keep_input=0.8,
            keep_hidden=0.5,
            batch=256,
            optimizer="adam",
            lr=1e-4,
            l2=0.0,
            loss=CROSS_ENTROPY,
            rows=256 * 20,
        ),
    )
}
