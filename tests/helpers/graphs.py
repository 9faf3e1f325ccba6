"""Descriptions of graphs of layers, and random ones. One description makes a model here and a function in
`torch_graphs.py`, so that each can judge the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import fastreg as fr

ACTIVATIONS = (
    *("linear", "relu", "leaky_relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"),
    *("elu", "selu", "softplus", "mish", "hard_swish"),
)
KINDS = {
    *("Dense", "Add", "Concatenate", "Residual", "BatchNorm", "LayerNorm", "Activation", "Dropout", "Embedding"),
    *("Conv2D", "MaxPool2D", "AvgPool2D", "GlobalAvgPool2D", "Flatten"),
}
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse", "mae", "huber", "log_cosh")


@dataclass(frozen=True)
class Node:
    """A value: what a layer makes of other values.

    kind      the name of the class of the layer, or "Input"
    of        the names of the values that it reads
    options   the arguments of the layer
    layer     the name of the layer. Nodes with the same one share its parameters
    """

    name: str
    kind: str
    of: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    layer: str = ""

    def made(self):
        if self.kind == "Residual":
            return fr.Residual(
                [inner.made() for inner in self.options["layers"]], activation=self.options["activation"]
            )
        return getattr(fr, self.kind)(**self.options, name=self.layer or self.name)


@dataclass(frozen=True)
class Head:
    value: str
    loss: str
    weight: float = 1.0


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be made, heads, what the trainer adds, and data.

    distances   (one weight, another, coefficient)
    X           by the name of the input; one array if all inputs read columns of it
    y, weights  by the name of the head
    """

    nodes: tuple[Node, ...]
    heads: dict[str, Head]
    X: Any
    y: dict[str, np.ndarray]
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    l1: float = 0.0
    l2: float = 0.0
    distances: tuple[tuple[str, str, float], ...] = ()

    @property
    def inputs(self) -> list[Node]:
        return [node for node in self.nodes if node.kind == "Input"]

    @property
    def rows(self) -> int:
        return len(next(iter(self.y.values())))

    @property
    def kinds(self) -> set[str]:
        return {node.kind for node in self.nodes}

    def model(self) -> fr.Model:
        values: dict[str, Any] = {}
        layers: dict[str, Any] = {}
        for node in self.nodes:
            if node.kind == "Input":
                values[node.name] = fr.Input(**node.options, name=node.name)
                continue
            layer = layers.setdefault(node.layer or node.name, node.made())
            of = [values[name] for name in node.of]
            values[node.name] = layer(of if len(of) > 1 else of[0])
        inputs = [values[node.name] for node in self.inputs]
        return fr.Model(inputs, {name: values[head.value] for name, head in self.heads.items()})

    def trainer(self, *, seed: int = 0, dtype: str = "float64", **settings) -> fr.Trainer:
        """A trainer on fresh parameters, none of which is zero."""
        model = self.model()
        shape = None if isinstance(self.X, dict) else self.X.shape[1:]  # of a table, inputs tell a part
        model.build(shape, seed=seed, dtype=dtype)
        rng = np.random.default_rng(seed)
        for name, value in model.parameters.items():
            part = name.rpartition(".")[2]
            if part in ("bias", "beta"):
                value[...] = 0.5 * rng.normal(size=value.shape)
            elif part == "gamma":
                value[...] = 1 + 0.3 * rng.normal(size=value.shape)
        given = {"l1": fr.L1(self.l1, proximal=False), "l2": self.l2}
        given["distance"] = [fr.penalties.Distance(*distance) for distance in self.distances]
        loss = {name: head.loss for name, head in self.heads.items()}
        weights = {name: head.weight for name, head in self.heads.items()}
        return fr.Trainer(model, loss=loss, loss_weights=weights, dtype=dtype, seed=seed, **given | settings)

    def data(self, dtype: str = "float64") -> tuple[Any, dict[str, np.ndarray]]:
        """X and y in a dtype; classes and codes stay integers."""

        def converted(array):
            return array if array.dtype.kind == "i" else array.astype(dtype)

        X = {k: converted(v) for k, v in self.X.items()} if isinstance(self.X, dict) else converted(self.X)
        return X, {name: converted(value) for name, value in self.y.items()}

    @property
    def sample_weight(self) -> dict[str, np.ndarray] | None:
        return self.weights or None


class Growing:
    """A graph that grows by random steps.

    `open` holds the values that nobody uses yet, by name, with their widths.
    """

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.width: dict[str, int] = {}  # of every value with one dimension
        self.open: list[str] = []
        self.data: dict[str, np.ndarray] = {}
        self.distances: list[tuple[str, str, float]] = []
        self.rows = int(self.rng.choice([9, 17, 33, 51]))  # no batch of 7 ends in one of a single row

    # --- Small steps --------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, values):
        return values[int(self.rng.integers(len(values)))]

    def activation(self) -> str:
        return self.pick(ACTIVATIONS)

    def add(self, kind: str, of, width: int | None, /, **options) -> str:
        """A new value, which is open; those that it reads are not."""
        of = (of,) if isinstance(of, str) else tuple(of)
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(Node(name, kind, of, options, name))
        self.open = [value for value in self.open if value not in of]
        if width is not None:
            self.width[name] = width
            self.open.append(name)
        return name

    def apply_dense(self, value: str, units: int, activation: str | None = None, **options) -> str:
        options = {"units": units, "activation": activation or self.activation(), **options}
        if self.chance(0.2):
            options["use_bias"] = False
        if self.chance(0.15):
            options["l2"] = 0.05
        if self.chance(0.1):
            options["trainable"] = False
        name = self.add("Dense", value, units, **options)
        return name

    # --- Inputs -------------------------------------------------------------------------------------------------

    def table(self) -> None:
        width = int(self.rng.integers(2, 12))
        name = self.add("Input", (), width, shape=width)
        self.data[name] = self.rng.normal(size=(self.rows, width))

    def codes(self) -> None:
        columns, width = int(self.rng.integers(1, 4)), int(self.rng.integers(1, 5))
        counts = [int(self.rng.integers(2, 7)) for _ in range(columns)]
        shared = self.chance(0.5)  # one table for all columns, or a part of it for each
        name = self.add("Input", (), None, shape=columns)
        self.data[name] = self.rng.integers(0, min(counts) if shared else counts, (self.rows, columns))
        self.add("Embedding", name, columns * width, categories=min(counts) if shared else counts, width=width)

    def image(self) -> None:
        shape = tuple(int(self.rng.integers(low, high)) for low, high in ((6, 10), (6, 10), (1, 4)))
        given = shape[:2] if shape[2] == 1 and self.chance(0.5) else shape  # one channel needs no dimension
        value = self.add("Input", (), None, shape=given)
        self.data[value] = self.rng.normal(size=(self.rows, *given))
        for _ in range(int(self.rng.integers(1, 3))):
            value, shape = self.convolved(value, shape)
            if self.chance(0.4):
                value = self.add("BatchNorm", value, None)
            if self.chance(0.3):  # a skip over one that keeps the shape
                options = {"kernel_size": 3, "filters": shape[2], "padding": "same", "activation": self.activation()}
                value = self.add("Add", [value, self.add("Conv2D", value, None, **options)], None)
            if self.chance(0.6) and min(shape) >= 2:
                value, shape = self.pooled(value, shape)
        if self.chance(0.4):
            self.add("GlobalAvgPool2D", value, shape[2])
        else:
            self.add("Flatten", value, math.prod(shape))

    def convolved(self, value: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        size = tuple(min(int(self.rng.integers(1, 4)), n) for n in shape[:2])
        options = {"filters": int(self.rng.integers(1, 6)), "activation": self.activation()}
        options |= {"l2": 0.05} if self.chance(0.15) else {}
        options |= {"use_bias": False} if self.chance(0.2) else {}
        strides, padding = self.windows(2)
        name = self.add("Conv2D", value, None, kernel_size=size, strides=strides, padding=padding, **options)
        return name, (*places(shape, size, strides, padding), options["filters"])

    def pooled(self, value: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        strides, padding = self.windows(2)
        name = self.add(
            self.pick(["MaxPool2D", "AvgPool2D"]), value, None, pool_size=(2, 2), strides=strides, padding=padding
        )
        return name, (*places(shape, (2, 2), strides, padding), shape[2])

    def windows(self, most: int) -> tuple[tuple[int, int], str]:
        strides = (int(self.rng.integers(1, most + 1)), int(self.rng.integers(1, most + 1)))
        return strides, self.pick(["same", "valid"])

    # --- Steps on values of one dimension -------------------------------------------------------------------------

    def step_dense(self, value: str) -> None:
        self.apply_dense(value, int(self.rng.integers(2, 20)))

    def step_branch(self, value: str) -> None:
        """Two layers on one value, added or put side by side."""
        units = int(self.rng.integers(2, 14))
        one, two = self.apply_dense(value, units), self.apply_dense(value, units)
        if self.chance(0.6):
            self.add("Add", [one, two], units)
        else:
            self.add("Concatenate", [one, two], 2 * units)

    def step_skip(self, value: str) -> None:
        """x + f(x), by hand."""
        width = self.width[value]
        inner = self.apply_dense(self.apply_dense(value, int(self.rng.integers(2, 14))), width)
        self.add("Add", [value, inner], width)

    def step_residual(self, value: str) -> None:
        width = self.width[value]
        layers = []
        if self.chance(0.5):
            layers.append(Node(f"norm{len(self.nodes)}", "LayerNorm"))
        for number, units in enumerate((int(self.rng.integers(2, 14)), width)):
            options = {"units": units, "activation": self.activation(), "use_bias": self.chance(0.5)}
            layers.append(Node(f"inner{len(self.nodes)}{'ab'[number]}", "Dense", options=options))
        self.add("Residual", value, width, layers=layers, activation=self.activation())

    def step_twice(self, value: str) -> None:
        """One layer on two values, or on its own output."""
        width = self.width[value]
        if self.chance(0.5):
            name = self.apply_dense(value, width)
            again = replace(self.nodes[-1], name=f"{name}again", of=(name,))
            self.nodes.append(again)
            self.open = [v for v in self.open if v != name] + [again.name]
            self.width[again.name] = width
            return
        side = self.apply_dense(value, width)
        one = self.apply_dense(value, int(self.rng.integers(2, 10)))
        other = replace(self.nodes[-1], name=f"{one}again", of=(side,))
        self.nodes.append(other)
        self.width[other.name] = self.width[one]
        self.open = [v for v in self.open if v != side] + [other.name]
        if self.chance(0.5):
            self.add("Add", [one, other.name], self.width[one])
        else:
            self.add("Concatenate", [one, other.name, side], 2 * self.width[one] + width)

    def step_tied(self, value: str) -> None:
        """An encoder and, with its weights, a decoder."""
        width = self.width[value]
        code = self.apply_dense(value, int(self.rng.integers(2, 10)))
        encoder = self.nodes[-1].layer
        middle = self.apply_dense(code, self.width[code]) if self.chance(0.5) else code
        self.add(
            "Dense", middle, width, units=width, activation=self.activation(), use_bias=self.chance(0.7),
            tied_to=encoder, transposed=True,
        )  # fmt: skip

    def step_near(self, value: str) -> None:
        """Two layers whose weights are pulled together."""
        units = int(self.rng.integers(2, 14))
        one, two = self.apply_dense(value, units), self.apply_dense(value, units)
        trained = [node for node in self.nodes if node.name in (one, two) and node.options.get("trainable", True)]
        if len(trained) == 2:
            self.distances.append((one, two, float(self.rng.uniform(0.05, 0.5))))
        self.add("Add", [one, two], units)

    def step_norm(self, value: str) -> None:
        options = {"activation": self.activation()} if self.chance(0.5) else {}
        self.add(self.pick(["BatchNorm", "LayerNorm"]), value, self.width[value], **options)

    def step_activation(self, value: str) -> None:
        self.add("Activation", value, self.width[value], activation=self.activation())

    def step_dropout(self, value: str) -> None:
        self.add("Dropout", value, self.width[value], rate=0.3)

    @property
    def steps(self) -> list:
        return [getattr(self, name) for name in dir(Growing) if name.startswith("step_")]

    # --- The whole ------------------------------------------------------------------------------------------------

    def heads(self, value: str) -> tuple[dict[str, Head], dict[str, np.ndarray], dict[str, np.ndarray]]:
        heads, y, weights = {}, {}, {}
        for name in ("one", "two")[: 2 if self.chance(0.5) else 1]:
            loss = self.pick(LOSSES)
            units = int(self.rng.choice([2, 3, 10] if loss == "softmax_cross_entropy" else [1, 2, 15, 17]))
            top = self.apply_dense(value, int(self.rng.integers(2, 9))) if self.chance(0.4) else value
            node = Node(name, "Dense", (top,), {"units": units}, name)
            self.nodes.append(node)
            self.open = [v for v in self.open if v != top]
            heads[name] = Head(name, loss, float(self.rng.choice([1.0, 0.3, 2.5])))
            if loss == "softmax_cross_entropy":
                y[name] = self.rng.integers(0, units, self.rows)
            elif loss == "sigmoid_cross_entropy":
                y[name] = self.rng.random((self.rows, units))
            else:
                y[name] = self.rng.normal(size=(self.rows, units))
            if self.chance(0.3):
                weights[name] = self.rng.uniform(0.1, 3, self.rows) * (self.rng.random(self.rows) < 0.8)
                weights[name][0] = 1.0
        return heads, y, weights

    def grow(self, steps: int) -> Graph:
        for _ in range(int(self.rng.choice([1, 1, 2, 3]))):
            self.pick([self.table, self.codes, self.image])()
        for _ in range(steps):
            self.pick(self.steps)(self.pick(self.open))
        while len(self.open) > 1:
            self.add("Concatenate", self.open, sum(self.width[value] for value in self.open))
        if self.width[self.open[0]] > 40:
            self.apply_dense(self.open[0], 9)
        heads, y, weights = self.heads(self.open[0])
        data: Any = self.data
        if len(data) > 1 and all(array.ndim == 2 for array in data.values()) and self.chance(0.5):
            data = self.one_table()
        return Graph(
            tuple(self.nodes), heads, data, y, weights,
            l1=float(self.rng.choice([0.0, 0.01])), l2=float(self.rng.choice([0.0, 0.1])),
            distances=tuple(self.distances),
        )  # fmt: skip

    def one_table(self) -> np.ndarray:
        """All inputs become columns of one table, in another order."""
        parts, start = [], 0
        order = self.rng.permutation(sum(array.shape[1] for array in self.data.values()))
        for index, node in enumerate(self.nodes):
            if node.kind == "Input":
                width = self.data[node.name].shape[1]
                columns = [int(order[place]) for place in range(start, start + width)]
                self.nodes[index] = replace(node, options={"columns": columns})
                parts.append(self.data[node.name])
                start += width
        table = np.empty((self.rows, start))
        table[:, order] = np.hstack(parts)
        return table


def places(shape, size, strides, padding) -> tuple[int, ...]:
    """How many windows there are, down and to the right."""
    return tuple(
        -(-n // s) if padding == "same" else (n - k) // s + 1 for n, k, s in zip(shape[:2], size, strides, strict=True)
    )


def random_graph(seed: int, dropout: bool = True) -> Graph:
    growing = Growing(seed)
    graph = growing.grow(int(growing.rng.integers(2, 6)))
    if dropout:
        return graph
    nodes = (replace(node, options={"rate": 0.0}) if node.kind == "Dropout" else node for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))
