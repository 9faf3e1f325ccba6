"""The ops: what a fused kernel computes, said once, on named buffers, parameters and masks.

They are plain descriptions; `fastreg.program` puts them in order, `engines/reference.py` (NumPy, the specification)
and `engines/native.py` (C) run them. An op does not know layers. Nothing here computes.

Letters: M rows of the batch, K inputs, N units of a dense layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fastreg.program.riders import Augment, Mask, Noise, Through
from fastreg.program.rules import STORES_GRADIENT, Rule


@dataclass(frozen=True)
class Op:
    """One fused kernel.

    wait      all workers meet before it, because it needs the whole of an earlier op
    rowwise   every worker does the same share of the rows of the batch as in every other rowwise op, and needs no
              others: between two such ops nobody waits
    doubled   its rows are 2 M: those of the batch, and the perturbed ones that an Append has put behind them
    """

    wait: bool = field(default=False, kw_only=True)
    rowwise: bool = field(default=False, kw_only=True)
    doubled: bool = field(default=False, kw_only=True)

    @property
    def reads(self) -> set[str]:
        return set()

    @property
    def writes(self) -> set[str]:
        return set()


@dataclass(frozen=True)
class Gather(Op):
    """out = dropout((augment(rows of the data set, converted to the working dtype) - mean) * scale + noise).

    source        "inputs" or "targets" of the feed
    standardize   names of the parameters `mean` and `scale`, one value a column
    """

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    source: Literal["inputs", "targets"]
    mask: Mask | None = None
    standardize: tuple[str, str] | None = None
    noise: Noise | None = None
    augment: Augment | None = None

    @property
    def reads(self) -> set[str]:
        return set(self.standardize or ())

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class Dense(Op):
    """z = x @ weight + bias + noise;  out = dropout(activation(z));  z is stored where `z` names a buffer.

    With an activity penalty, the buffer `activity` gets the sums of |out| over every PANEL columns of a row.
    """

    out: str
    x: str
    weight: str
    bias: str | None
    activation: str = "linear"
    mask: Mask | None = None
    z: str | None = None
    activity: str | None = None
    activity_l1: float = 0.0
    noise: Noise | None = None

    @property
    def reads(self) -> set[str]:
        return {self.x, self.weight} | ({self.bias} if self.bias else set())

    @property
    def writes(self) -> set[str]:
        return {self.out} | {name for name in (self.z, self.activity) if name}


@dataclass(frozen=True)
class Perturb(Op):
    """out = weight + noise: a copy for one batch, by which Dense and DenseDx multiply in place of the weight. The noise
    of an element follows its row and column of the weight. DenseDw and the update know nothing of it."""

    out: str
    weight: str
    noise: Noise

    @property
    def reads(self) -> set[str]:
        return {self.weight}

    @property
    def writes(self) -> set[str]:
        return {self.out}


def noisy(weight: str) -> str:
    """The name of the noisy copy of a weight."""
    return f"{weight}/noisy"


@dataclass(frozen=True)
class Loss(Op):
    """Loss of every row, and dz = d(batch loss)/d(z of the last layer), in one pass.

    With l_i the loss of row i (mean over outputs for sigmoid_cross_entropy and mse), w_i its sample
    weight: batch loss = sum(w_i l_i) / sum(w_i); row_loss[i] = w_i l_i; row_hit[i] = w_i where the
    prediction of row i is right, else 0. Doubled, a row of the batch has the weight clean w_i and the perturbed one of
    it (1 - clean) w_i, with the `clean` of the program. dz is None in evaluation. Cross-entropies read labels or
    targets and take `logits` = through.y.

    kind      "softmax_cross_entropy" (integer labels from the feed), "sigmoid_cross_entropy", "mse", or "given":
              a Call before it has written l_i to row_loss and dl_i/dy to the buffer `targets`
    targets   buffer of gathered float targets; None where integer labels are read
    by_row    dz is then dl_i/dz: the gradient of every row by itself, weights left out
    smoothing e: the targets are (1 - e) t + e / classes under softmax_cross_entropy, (1 - e) t + e / 2 under
              sigmoid_cross_entropy
    """

    rowwise: bool = field(default=True, kw_only=True)
    kind: str
    dz: str | None
    through: Through
    targets: str | None = None
    smoothing: float = 0.0
    by_row: bool = False

    @property
    def reads(self) -> set[str]:
        given = {"row_loss"} if self.kind == "given" else set()
        return self.through.reads | ({self.targets} if self.targets else set()) | given

    @property
    def writes(self) -> set[str]:
        return {"row_loss", "row_hit"} | ({self.dz} if self.dz else set())


class RowLoss(Protocol):
    """A loss in Python: fills row_loss (M,) and gradient (M, N) of every row by itself, unweighted."""

    @property
    def target_columns(self) -> int | None:
        """Columns of the targets; None for as many as outputs."""
        ...

    def __call__(self, outputs, targets, row_loss, gradient) -> None: ...


@dataclass(frozen=True)
class Append(Op):
    """Rows M to 2 M - 1 of `out` become its rows 0 to M - 1, moved against the model (Goodfellow et al., 2015).

    out[M + i] = clip(out[i] + epsilon sign(gradient[i]), low, high); without a gradient a plain copy. Where `out` is
    standardized, (x - mean) scale, epsilon, low and high are those of x all the same.
    """

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    gradient: str | None = None
    epsilon: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    standardize: tuple[str, str] | None = None

    @property
    def clipped(self) -> bool:
        return self.low > -math.inf or self.high < math.inf

    @property
    def reads(self) -> set[str]:
        return {self.out, *(self.standardize or ())} | ({self.gradient} if self.gradient else set())

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class Totals(Op):
    """Adds row_loss and row_hit to the totals of the run, in float64, blocks of 64 rows in order.

    Of the activity penalties, given by the buffer of their sums and their coefficient, it adds the value to the
    penalty of the step: coefficient * sum_i w_i sum_j |y_ij| / sum(w).
    """

    activity: tuple[tuple[str, float], ...] = ()

    @property
    def reads(self) -> set[str]:
        return {"row_loss", "row_hit"} | {buffer for buffer, _ in self.activity}


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

    The gradient is never stored, except under rules that say so (STORES_GRADIENT).
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
        written = {gradient(self.weight) if self.weight_rule.kind in STORES_GRADIENT else self.weight}
        if self.bias:
            written.add(gradient(self.bias) if self.bias_rule.kind in STORES_GRADIENT else self.bias)
        return written


def gradient(param: str) -> str:
    """The name under which ops refer to the stored gradient of a parameter."""
    return f"{param}/g"


@dataclass(frozen=True)
class Penalize(Op):
    """Makes the raw gradient of `param` the one to be clipped: penalties and clip_value of `rule`; sums its squares."""

    param: str
    rule: Rule

    @property
    def reads(self) -> set[str]:
        return {self.param}

    @property
    def writes(self) -> set[str]:
        return {gradient(self.param), f"{self.param}/squares"}


@dataclass(frozen=True)
class ClipNorm(Op):
    """The factor by which the updates scale their gradients: min(1, limit / (norm + 1e-6)), with the norm of the
    gradients of all `params` together (Pascanu et al., 2013; the form of torch.nn.utils.clip_grad_norm_)."""

    limit: float
    params: tuple[str, ...]

    @property
    def reads(self) -> set[str]:
        return {f"{param}/squares" for param in self.params}

    @property
    def writes(self) -> set[str]:
        return {"clip"}


@dataclass(frozen=True)
class Update(Op):
    """The second pass of DenseDw where the gradient had to exist first: the same arithmetic, the same bits.

    scaled   whether a ClipNorm came before
    """

    param: str
    rule: Rule
    scaled: bool = False

    @property
    def reads(self) -> set[str]:
        return {gradient(self.param)} | ({"clip"} if self.scaled else set())

    @property
    def writes(self) -> set[str]:
        return {self.param}


@dataclass(frozen=True)
class MaxNorm(Op):
    """Columns of `weight` (the incoming weights of a unit) of a norm over `limit` are scaled down to it
    (Srivastava et al., JMLR 15, 2014), then all of it, where its Frobenius norm is over `whole`; 0 for no limit."""

    weight: str
    limit: float
    whole: float = 0.0

    @property
    def writes(self) -> set[str]:
        return {self.weight}


# Ops that wait for the last batch of a group when gradients are accumulated.
ONCE_A_STEP = (Penalize, ClipNorm, Update, MaxNorm)


@dataclass(frozen=True)
class Elementwise(Op):
    """out = through'(dropout(x + noise)): what has no neighbour to ride on, forward (no through) or back (no noise)."""

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    x: str
    mask: Mask | None = None
    through: Through | None = None
    noise: Noise | None = None

    @property
    def reads(self) -> set[str]:
        return {self.x} | (self.through.reads if self.through else set())

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class Call(Op):
    """Hands buffers to a Python function, between two barriers: function(*arrays), the rows of the batch of `reads_`,
    then of `writes_`, which it fills. One worker calls it, with the GIL."""

    function: Callable[..., None]
    reads_: tuple[str, ...]
    writes_: tuple[str, ...]

    @property
    def reads(self) -> set[str]:
        return set(self.reads_)

    @property
    def writes(self) -> set[str]:
        return set(self.writes_)


@dataclass(frozen=True)
class Emit(Op):
    """Rows of `x` to the result array of the feed; transform "softmax", "sigmoid" or "linear"."""

    rowwise: bool = field(default=True, kw_only=True)
    x: str
    transform: str

    @property
    def reads(self) -> set[str]:
        return {self.x}
