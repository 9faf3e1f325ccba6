"""Lowering: a model, its loss, penalties and optimizer become a flat list of fused ops.

The ops are plain descriptions on named buffers; what they compute is said here once and run by
`engines/reference.py` (NumPy, the specification) and `engines/native.py` (C). An op knows buffers,
parameters and masks; it does not know layers. Nothing here computes.

Letters: M rows of the batch, K inputs, N units of a dense layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

# Purposes of random numbers: the high half of the fourth word of the Philox counter; the low half
# is the index of the layer that draws (DESIGN: counter = column / 8, row, global step, purpose and layer).
PURPOSE_DROPOUT = 0
PURPOSE_INIT = 1
PURPOSE_SHUFFLE = 2
PURPOSE_NOISE = 3


def stream(purpose: int, layer: int) -> int:
    """The fourth word of the Philox counter."""
    return purpose << 16 | layer


@dataclass(frozen=True)
class Mask:
    """Inverted dropout: keep an element where its 16-bit draw is below `threshold`, times 65536 / threshold.

    The draw of (row, column) in a global step is a pure function of the seed and these coordinates, so a
    mask is never stored: the backward pass draws it again.
    """

    keep_prob: float
    stream: int

    @property
    def threshold(self) -> int:
        return round(self.keep_prob * 65536)

    @property
    def scale(self) -> float:
        return 65536 / self.threshold if self.threshold else 0.0


@dataclass(frozen=True)
class Through:
    """The way back through what made `y`: dz = dy * mask * scale * activation'(y).

    `y` is the stored output (after dropout); `z` is the stored pre-activation, for the activations
    whose derivative cannot be had from the output (NEEDS_Z).
    """

    y: str
    activation: str = "linear"
    mask: Mask | None = None
    z: str | None = None

    @property
    def reads(self) -> set[str]:
        return {self.y} | ({self.z} if self.z else set())


NEEDS_Z = frozenset({"gelu", "gelu_tanh"})


@dataclass(frozen=True)
class Rule:
    """How a parameter follows its gradient g (penalties' part added first): one row of UPDATE_SLOTS.

    kind       "gradient" leaves the parameter alone and writes g, penalties included (l1 as l1*sign(w)), to slot 0
    l1, l2     coefficients of the penalties; divided by M where `per_row` says so
    proximal   L1 by soft-thresholding after the step instead of through g
    weight_decay   decoupled: w <- w - lr * weight_decay * w before the step
    """

    kind: str = "sgd"
    momentum: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    eps: float = 0.0
    weight_decay: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    l1_per_row: bool = False
    l2_per_row: bool = False
    proximal: bool = True
    lr_scale: float = 1.0

    @property
    def slots(self) -> tuple[str, ...]:
        return UPDATE_SLOTS[self.kind]


# The state an update keeps for every parameter, in the order in which the engines take it.
UPDATE_SLOTS: dict[str, tuple[str, ...]] = {
    "gradient": ("g",),
    "sgd": (),
    "momentum": ("v",),
    "nesterov": ("v",),
    "adam": ("m", "v"),
}


@dataclass(frozen=True)
class Op:
    """One fused kernel. `wait`: all workers meet before it, because it needs the whole of an earlier op."""

    wait: bool = field(default=False, kw_only=True)

    @property
    def reads(self) -> set[str]:
        return set()

    @property
    def writes(self) -> set[str]:
        return set()


@dataclass(frozen=True)
class Gather(Op):
    """out = dropout(rows of the data set, converted to the working dtype).

    source   "inputs" or "targets" of the feed
    """

    out: str
    source: Literal["inputs", "targets"]
    mask: Mask | None = None

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class Dense(Op):
    """z = x @ weight + bias;  out = dropout(activation(z));  z is stored where `z` names a buffer."""

    out: str
    x: str
    weight: str
    bias: str | None
    activation: str = "linear"
    mask: Mask | None = None
    z: str | None = None

    @property
    def reads(self) -> set[str]:
        return {self.x, self.weight} | ({self.bias} if self.bias else set())

    @property
    def writes(self) -> set[str]:
        return {self.out} | ({self.z} if self.z else set())


@dataclass(frozen=True)
class Loss(Op):
    """Loss of every row, and dz = d(batch loss)/d(z of the last layer), in one pass.

    With l_i the loss of row i (mean over outputs for sigmoid_cross_entropy and mse), w_i its sample
    weight: batch loss = sum(w_i l_i) / sum(w_i); row_loss[i] = w_i l_i; row_hit[i] = w_i where the
    prediction of row i is right, else 0. dz is None in evaluation. Cross-entropies read labels or
    targets and take `logits` = through.y.

    kind      "softmax_cross_entropy" (integer labels from the feed), "sigmoid_cross_entropy", "mse"
    targets   buffer of gathered float targets; None where integer labels are read
    """

    kind: str
    dz: str | None
    through: Through
    targets: str | None = None

    @property
    def reads(self) -> set[str]:
        return self.through.reads | ({self.targets} if self.targets else set())

    @property
    def writes(self) -> set[str]:
        return {"row_loss", "row_hit"} | ({self.dz} if self.dz else set())


@dataclass(frozen=True)
class Totals(Op):
    """Adds row_loss and row_hit to the totals of the run, in float64, blocks of 64 rows in order."""

    @property
    def reads(self) -> set[str]:
        return {"row_loss", "row_hit"}


@dataclass(frozen=True)
class DenseDx(Op):
    """out = through'(dz @ weight.T): the gradient at the z of the layer below."""

    out: str
    dz: str
    weight: str
    through: Through

    @property
    def reads(self) -> set[str]:
        return {self.dz, self.weight} | self.through.reads

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class DenseDw(Op):
    """dW = x.T @ dz and db = sum of the rows of dz, then at once the penalties and the update of weight and bias.

    The gradient is never stored (except under the rule "gradient", whose slot it is).
    """

    weight: str
    bias: str | None
    x: str
    dz: str
    weight_rule: Rule
    bias_rule: Rule

    @property
    def reads(self) -> set[str]:
        return {self.x, self.dz}

    @property
    def writes(self) -> set[str]:
        return {self.weight} | ({self.bias} if self.bias else set())


@dataclass(frozen=True)
class Update(Op):
    """The second pass of DenseDw where the gradient had to exist first: the same arithmetic, the same bits."""

    param: str
    grad: str
    rule: Rule

    @property
    def reads(self) -> set[str]:
        return {self.grad}

    @property
    def writes(self) -> set[str]:
        return {self.param}


@dataclass(frozen=True)
class Elementwise(Op):
    """out = through'(dropout(x)): dropout where it has no neighbour to ride on, forward (through=None) and back."""

    out: str
    x: str
    mask: Mask | None = None
    through: Through | None = None

    @property
    def reads(self) -> set[str]:
        return {self.x} | (self.through.reads if self.through else set())

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class Emit(Op):
    """Rows of `x` to the result array of the feed; transform "softmax", "sigmoid" or "linear"."""

    x: str
    transform: str

    @property
    def reads(self) -> set[str]:
        return {self.x}


@dataclass(frozen=True)
class Program:
    """Ops in order, and the width of every buffer (all have M rows; row_loss and row_hit are one wide)."""

    ops: tuple[Op, ...]
    buffers: dict[str, int]

    @property
    def rules(self) -> dict[str, Rule]:
        """The update rule of every parameter that the program trains."""
        rules: dict[str, Rule] = {}
        for op in self.ops:
            if isinstance(op, DenseDw):
                rules[op.weight] = op.weight_rule
                if op.bias:
                    rules[op.bias] = op.bias_rule
            elif isinstance(op, Update):
                rules[op.param] = op.rule
        return rules


def with_waits(ops: list[Op]) -> tuple[Op, ...]:
    """Puts a barrier before every op that touches what another op since the last barrier wrote, or writes what it read.

    Workers share the rows and columns of an op in their own ways, so only a barrier orders two ops. The start of a
    batch is a barrier of its own.
    """
    ordered: list[Op] = []
    read: set[str] = set()
    written: set[str] = set()
    for op in ops:
        wait = bool((op.reads | op.writes) & written or op.writes & read)
        if wait:
            read, written = set(), set()
        read |= op.reads
        written |= op.writes
        ordered.append(replace(op, wait=wait))
    return tuple(ordered)
