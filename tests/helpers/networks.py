"""Small networks with everything that a program can hold, for tests that run programs on engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np

from fastreg.engines.base import Feed, Tally
from fastreg.engines.memory import padded
from fastreg.engines.native import NativeEngine
from fastreg.layers import Dense, Dropout, Function, GaussianNoise, Layer, Standardize
from fastreg.model.graph import Network as Lowered
from fastreg.model.graph import chain
from fastreg.model.lowering import Head, dense, lower
from fastreg.program.program import Program
from fastreg.program.riders import NO_PENALTY, Penalty
from fastreg.program.rules import Rule

MOMENTUM = Rule("momentum", Penalty(1e-3, 1e-2), momentum=0.9)
ADAM = Rule("adam", Penalty(l2=1e-2, l2_per_row=True), beta1=0.9, beta2=0.999, eps=1e-8)
NESTEROV = Rule("nesterov", momentum=0.5, weight_decay=0.01)
SGD = Rule("sgd", Penalty(0.02, proximal=False))
RMSPROP = Rule("rmsprop", Penalty(1e-3, 1e-2, l1_per_row=True), beta2=0.9, eps=1e-3, lr_scale=0.1)
RMSPROP_MOMENTUM = replace(
    Rule("rmsprop_momentum", Penalty(1e-3), momentum=0.8, beta2=0.9, eps=1e-3), lr_scale=0.1, weight_decay=0.01
)
NADAM = replace(
    Rule("nadam", Penalty(1e-3, 1e-2), beta1=0.9, beta2=0.99, eps=1e-3, warm_up=0.95), lr_scale=0.1, weight_decay=0.01
)
LION = Rule("lion", Penalty(1e-2, 1e-2, l2_per_row=True), beta1=0.9, beta2=0.99, lr_scale=0.1)

FOR_WEIGHTS = {"penalty": NO_PENALTY, "weight_decay": 0, "non_negative": False, "max_norm": 0, "max_frobenius": 0}


class Cubes:
    """A loss in Python: l = mean of |y - t|^3."""

    target_columns = None

    def __call__(self, y, targets, row_loss, gradient):
        error = y - targets
        row_loss[...] = (np.abs(error) ** 3).mean(axis=1)
        gradient[...] = 3 * error * np.abs(error) / y.shape[1]


SQUARES = Function(lambda x: x * x / 2, lambda dy, x, y: dy * x)
HALVES = Function(  # as many columns again
    lambda x: np.concatenate([x, np.sin(x)], axis=1),
    lambda dy, x, y: dy[:, : x.shape[1]] + dy[:, x.shape[1] :] * np.cos(x),
    units=10,
)


@dataclass
class Network:
    inputs: int
    layers: Sequence[Layer]
    loss: object
    rule: Rule
    clip_norm: float | None = None
    accumulate: int = 1
    frozen: tuple[str, ...] = ()
    smoothing: float = 0.0
    two_passes: bool = False  # with nothing that asks for them

    def but(self, rule=None, **fields) -> Network:
        """A case with other options and other fields of the rule."""
        return replace(self, rule=replace(self.rule, **(rule or {})), **fields)


CLASSIFY = Network(
    37,
    [
        *(Dropout(keep_prob=0.8), Dense(65, "relu"), Dropout(keep_prob=0.5), Dense(129, "tanh")),
        *(Dropout(keep_prob=0.7), Dense(64, "gelu"), Dropout(keep_prob=0.9), Dense(10)),
    ],
    "softmax_cross_entropy",
    MOMENTUM,
)
REGRESS = Network(
    5,
    [
        *(Dense(64, "gelu_tanh"), Dense(7, "sigmoid"), Dropout(keep_prob=0.7), Dropout(keep_prob=0.6)),
        *(Dense(3, "relu"), Dropout(keep_prob=0.9)),
    ],
    "mse",
    ADAM,
)
LABELS = Network(131, [Dense(1, "leaky_relu"), Dropout(keep_prob=0.5), Dense(2)], "sigmoid_cross_entropy", NESTEROV)
TWICE = Network(6, [Dropout(keep_prob=0.5), Dropout(keep_prob=0.5), Dense(4, use_bias=False)], "mse", SGD)

# dropout everywhere it can stand, also twice in a row and on the output
PLAIN = {"classify": CLASSIFY, "regress": REGRESS, "labels": LABELS, "twice": TWICE}

NOISY = [
    Standardize(np.linspace(-1, 1, 37), np.linspace(0.5, 1.5, 37)),
    *(GaussianNoise(0.3), Dropout(keep_prob=0.8), GaussianNoise(0.2)),
    *(Dense(65, "relu"), GaussianNoise(0.1), Dropout(keep_prob=0.5)),
    *(Dense(20, "tanh"), Dropout(keep_prob=0.7), GaussianNoise(0.5), GaussianNoise(0.5), Dense(3), GaussianNoise(0.1)),
]
# on every kind of way back: behind dense_dx, elementwise, call, loss; layers wider than a panel
ACTIVE = [
    *(Dense(65, "relu", activity_l1=0.02), Dropout(keep_prob=0.5), Dense(129, "tanh", activity_l1=0.01)),
    *(GaussianNoise(0.1), Dense(20, "gelu", activity_l1=0.03), SQUARES, Dense(5, "linear", activity_l1=0.1)),
]
CALLS = [Dense(20, "tanh"), Dropout(keep_prob=0.7), SQUARES, Dropout(keep_prob=0.7), Dense(5, "relu"), HALVES, Dense(3)]
KINDS = [
    *(Dropout(rate=0.2, kind="gaussian"), Dense(65, "relu"), Dropout(rate=0.5, per="unit"), Dense(33, "tanh")),
    *(Dropout(rate=0.5, kind="gaussian"), Dense(20, "gelu"), Dropout(rate=0.3, kind="gaussian", per="unit")),
    *(Dropout(rate=0.1, kind="gaussian"), Dense(17, "sigmoid"), Dropout(rate=0.3, kind="standard"), Dense(9, "tanh")),
    *(Dropout(rate=0.3, kind="standard", per="unit"), Dense(3), Dropout(rate=0.2, kind="gaussian")),
]
WEIGHTS = [
    *(Dense(65, "relu", weight_noise=0.1), Dropout(rate=0.3), Dense(33, "sigmoid", preactivation_noise=0.3)),
    *(Dense(70, "gelu", preactivation_noise=0.2, weight_noise=0.05), Dense(9, "tanh", preactivation_noise=0.1)),
    *(Dense(3, weight_noise=0.2), GaussianNoise(0.1), Dropout(rate=0.2)),
]

MORE = {
    "noise within": Network(37, WEIGHTS, "mse", MOMENTUM),
    "noise within, accumulate": Network(37, WEIGHTS, "mse", ADAM, clip_norm=0.1, accumulate=2, frozen=("0", "3")),
    "kinds of dropout": Network(37, KINDS, "mse", MOMENTUM),
    "clip_value": CLASSIFY.but({"clip_value": 1e-3}),
    "clip_norm": CLASSIFY.but(clip_norm=0.05),
    "clip both, adam": REGRESS.but({"clip_value": 1e-2}, clip_norm=0.01),
    "accumulate 2": CLASSIFY.but(accumulate=2),
    "accumulate 3": REGRESS.but(accumulate=3),
    "accumulate 4, clip_norm": LABELS.but(
        {"penalty": replace(LABELS.rule.penalty, l1=1e-3, proximal=False)}, accumulate=4, clip_norm=0.1
    ),
    "accumulate 2, clip_value": TWICE.but(
        {"penalty": replace(TWICE.rule.penalty, l1_per_row=True), "clip_value": 0.01}, accumulate=2
    ),
    "rmsprop": replace(CLASSIFY, rule=RMSPROP),
    "rmsprop_momentum": replace(CLASSIFY, rule=RMSPROP_MOMENTUM),
    "rmsprop, clip_norm": replace(LABELS, rule=RMSPROP_MOMENTUM, clip_norm=0.5),
    "max_norm": CLASSIFY.but({"max_norm": 0.8}),
    "max_norm, all": REGRESS.but({"max_norm": 0.7, "clip_value": 0.1}, clip_norm=0.1, accumulate=2),
    "max_frobenius": CLASSIFY.but({"max_frobenius": 3.0}),
    "non_negative": LABELS.but({"non_negative": True, "penalty": Penalty(1e-3)}),
    "non_negative, rmsprop": replace(CLASSIFY, rule=replace(RMSPROP_MOMENTUM, non_negative=True)),
    "all constraints, adam": REGRESS.but(
        {"non_negative": True, "max_norm": 0.7, "max_frobenius": 1.2, "penalty": replace(REGRESS.rule.penalty, l1=1e-3)}
    ),
    "all constraints, two passes": CLASSIFY.but(
        {"non_negative": True, "max_norm": 0.8, "max_frobenius": 2.0}, clip_norm=0.1, accumulate=2
    ),
    "activity": Network(37, ACTIVE, "mse", MOMENTUM),
    "activity, accumulate 2": Network(37, ACTIVE[:3], "softmax_cross_entropy", ADAM, accumulate=2),
    "activity behind the last column": Network(  # where y is not 0
        37,
        [
            *(Dense(5, "sigmoid", activity_l1=1e-2), Dense(21, "relu", activity_l1=1e-2, preactivation_noise=0.3)),
            *(Dense(7, "tanh", activity_l1=1e-2, weight_noise=0.2), Dense(3, "sigmoid", activity_l1=1e-2)),
        ],
        "mse",
        replace(MOMENTUM, max_norm=0.8, max_frobenius=2.0),
        clip_norm=0.1,
    ),
    "noise": Network(37, NOISY, "mse", SGD),
    "calls": Network(6, CALLS, "sigmoid_cross_entropy", MOMENTUM),
    "python loss": Network(6, [Dense(9, "tanh"), Dropout(keep_prob=0.8), Dense(4)], Cubes(), MOMENTUM),
    "call on top": Network(6, [Dense(9, "tanh"), Dense(4), SQUARES], Cubes(), MOMENTUM, accumulate=2),
    "smoothed classes": CLASSIFY.but(smoothing=0.1),
    "smoothed labels": LABELS.but(smoothing=0.3),
    "frozen below": CLASSIFY.but(frozen=("1", "3"), clip_norm=0.1),
    "frozen above": CLASSIFY.but(frozen=("7",)),
}

# Younger than the golden digests.
YOUNGER = {
    "nadam": replace(CLASSIFY, rule=NADAM),
    "nadam, two passes": replace(REGRESS, rule=replace(NADAM, max_norm=0.7), clip_norm=0.1, accumulate=2),
    "lion": replace(REGRESS, rule=LION),
    "lion, two passes": replace(CLASSIFY, rule=replace(LION, clip_value=1e-3), clip_norm=0.05),
    "activations": Network(
        37,
        [
            *(Dense(65, "silu"), Dropout(keep_prob=0.5), Dense(33, "elu"), Dropout(keep_prob=0.7)),
            *(Dense(20, "selu"), Dropout(rate=0.3, kind="gaussian"), Dense(17, "softplus"), Dropout(rate=0.5)),
            *(Dense(33, "mish", activity_l1=0.01), Dropout(rate=0.3, per="unit"), Dense(9, "hard_swish"), Dense(3)),
        ],
        "mse",
        MOMENTUM,
    ),
}


class Case:
    """A network with its data; `engine` makes an engine on fresh parameters that are the same every time."""

    def __init__(self, network: Network, dtype: str, rows: int = 150, batch: int = 64, small: int = 2000):
        self.network, self.dtype, self.batch = network, dtype, batch
        self.small = small  # in most networks workers share the rows of some layers, the columns of others
        self.layers = [layer.named(str(i)) for i, layer in enumerate(network.layers)]
        rng = np.random.default_rng(1)
        self.X = rng.normal(size=(rows, network.inputs)).astype(dtype)
        outputs = [layer.units for layer in self.layers if isinstance(layer, Dense)][-1]
        if network.loss == "softmax_cross_entropy":
            self.y = rng.integers(0, outputs, rows)
        else:
            self.y = (rng.random((rows, outputs)) > 0.5).astype(dtype)

    def _draw(self) -> dict[str, Rule]:
        """Parameters, zero state, and the rules of the trained parameters."""
        rng = np.random.default_rng(2)
        self.params, self.state, rules = {}, {}, {}
        width = self.network.inputs
        for layer in self.layers:
            if isinstance(layer, Standardize):
                for part in ("mean", "scale"):
                    self._add(f"{layer.name}.{part}", (width,))[...] = getattr(layer, part)
            elif isinstance(layer, Function):
                width = layer.width(width)
            if not isinstance(layer, Dense):
                continue
            shapes = {"weight": (width, layer.units)} | ({"bias": (layer.units,)} if layer.use_bias else {})
            for part, shape in shapes.items():
                name = f"{layer.name}.{part}"
                self._add(name, shape)[...] = rng.normal(size=shape) / np.sqrt(width)
                if layer.name not in self.network.frozen:
                    own = self.network.rule
                    rules[name] = own if part == "weight" else replace(own, **FOR_WEIGHTS)
                    self.state[name] = tuple(padded(shape, self.dtype) for _ in own.slots)
            width = layer.units
        return rules

    def _add(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        self.params[name] = padded(shape, self.dtype)
        return self.params[name]

    def engine(self, kind=NativeEngine, *options, **named):
        rules = self._draw()
        with mock.patch.object(dense, "SMALL", self.small):
            program = self._program(rules)
        return kind(program, self.params, self.state, self.batch, self.dtype, *options, **named)

    def _program(self, rules: dict[str, Rule]) -> Program:
        network = self.network
        program = lower(
            Lowered(self.layers, chain(len(self.layers)), ((network.inputs,),)),
            losses={"output": Head(network.loss, network.smoothing)},
            rules=rules,
            dropout=True,
            clip_norm=network.clip_norm,
            accumulate=2 if network.two_passes else network.accumulate,
        )
        return replace(program, accumulate=network.accumulate)

    def feed(self, X=None, **given) -> Feed:
        X = self.X if X is None else X
        order = np.random.default_rng(3).permutation(len(X))
        given = {"order": order, "rates": np.full(-(-len(X) // self.batch), 0.05)} | given
        return Feed(X, self.batch, targets=self.y, seed=2**40 + 7, step=2**32 - 2, **given)

    def train(self, kind=NativeEngine, *options, feed=None, **named):
        """Trains two epochs. Returns the tally, and all parameters and state as one dictionary."""
        engine, feed, tally = self.engine(kind, *options, **named), feed or self.feed(), Tally()
        for _ in range(2):
            assert engine.run(feed, tally, 0, feed.batches) == feed.batches
        return tally, {name: array.copy() for name, array in self.arrays().items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Parameters and state, as they are."""
        slots = {f"{name}/{i}": slot for name, slots in self.state.items() for i, slot in enumerate(slots)}
        return self.params | slots

    def bits(self, *options, **named) -> tuple[bytes, Tally]:
        tally, arrays = self.train(NativeEngine, *options, **named)
        return b"".join(a.tobytes() for a in arrays.values()), tally


def assert_close(got: dict, expected: dict, factor: float = 2000) -> None:
    """Arrays by name, within `factor` rounding errors of their largest value."""
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        limit = factor * float(np.finfo(array.dtype).eps) * max(np.abs(array).max(), 1e-3)
        np.testing.assert_allclose(got[name], array, rtol=0, atol=limit, err_msg=name)
