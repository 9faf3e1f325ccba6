"""The ops: one class per fused kernel says what it computes, on named buffers, parameters and masks.

In bf16, which `precision.py` makes of a program, a product rounds both operands and sums in an order of its own
(`fastreg.reference.bf16`). The native engine needs rounded buffers: `rounded` names one that an op writes beside its
`out`, or `dz`. It may be `out` itself.

`x_mask` and `dz_mask` of a product say that x, or dz, is 0 wherever this mask drops. So the native engine may leave
these terms out. The sums are the same.

They are plain descriptions and compute nothing. A `Program` holds them in order. `engines/reference.py` (NumPy, the
specification) and `engines/native.py` (C, through `engines/binding.py`) run them. An op does not know layers.

Letters: M rows of the batch, K inputs, N units of a dense layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fastreg.program.riders import PLAIN, Attack, Augment, Mask, Mix, Noise, Penalty, Terms, Through
from fastreg.program.rules import STORES_GRADIENT, Rule

ROWS = "row_loss", "row_hit"  # the buffers of the only head


@dataclass(frozen=True)
class Op:
    """One fused kernel.

    wait      all workers meet before it, because it needs the complete result of an earlier op
    rowwise   each worker has the same rows of the batch as in all other rowwise ops, and needs no other rows. So
              workers do not wait between two such ops
    span      its rows of the buffers: the batch's "own", 0 to M - 1; their perturbed "copies", M to 2 M - 1, which an
              Append has written; or "both"
    """

    wait: bool = field(default=False, kw_only=True)
    rowwise: bool = field(default=False, kw_only=True)
    span: Literal["own", "copies", "both"] = field(default="own", kw_only=True)

    def rows_of(self, M: int) -> slice:
        """Its rows of the buffers in a batch of M."""
        return slice(M if self.span == "copies" else 0, M if self.span == "own" else 2 * M)

    @property
    def reads(self) -> set[str]:
        return set()

    @property
    def writes(self) -> set[str]:
        return set()


def _named(*names: str | None) -> set[str]:
    return {name for name in names if name}


@dataclass(frozen=True)
class Gather(Op):
    """out = dropout(mix((augment(rows of the data set, converted to the working dtype) - mean) * scale) + noise).

    source        what it reads of the feed: "inputs" or "targets", or one of several, "inputs:NAME" or "targets:HEAD"
    columns       these elements of a row of the source, in this order. None for all
    holes         NaN is taken as it is. Else a row with a value that is not finite ends the run
    standardize   names of the parameters `mean` and `scale`, with one value per column
    """

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    source: str
    mask: Mask | None = None
    standardize: tuple[str, str] | None = None
    noise: Noise | None = None
    augment: Augment | None = None
    holes: bool = False
    columns: tuple[int, ...] | None = None
    mix: Mix | None = None
    rounded: str | None = None

    @property
    def reads(self) -> set[str]:
        return set(self.standardize or ())

    @property
    def writes(self) -> set[str]:
        return {self.out} | _named(self.rounded)


@dataclass(frozen=True)
class Dense(Op):
    """z = x @ weight + bias + noise;  out = dropout(activation(z));  z is stored if `z` names a buffer.

    With a normalization `folded` in, z = (x @ weight) * scale + shift. Both are rows of the table of that name.

    With an activity penalty, the buffer `activity` gets the sums of |out| over each block of PANEL columns of a row.
    `transposed` multiplies by weight.T, which layers that share a weight may do.
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
    transposed: bool = False
    folded: str | None = None
    bf16: bool = False
    rounded: str | None = None
    x_mask: Mask | None = None

    @property
    def reads(self) -> set[str]:
        return {name for name in (self.x, self.weight, self.bias, self.folded) if name}

    @property
    def writes(self) -> set[str]:
        return {self.out} | {name for name in (self.z, self.activity, self.rounded) if name}


@dataclass(frozen=True)
class Perturb(Op):
    """out = weight + noise: a copy for one batch. Dense and DenseDx multiply by it instead of the weight.

    The noise of an element follows from its row and column in the weight. DenseDw and the update use the clean weight.
    """

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


OF_CLASSES = ("softmax_cross_entropy", "softmax_focal", "categorical_hinge")  # losses whose targets are classes


@dataclass(frozen=True)
class Loss(Op):
    """Loss of each row, and dz = d(batch loss)/d(z of the last layer), in one pass.

    Let l_i be the loss of row i (a mean over outputs, except for losses of classes) and w_i its sample weight. Then
    batch loss = sum(w_i l_i) / sum(w_i), row_loss[i] = w_i l_i, and row_hit[i] = w_i if the prediction of row i is
    correct, else 0. dz is None in evaluation. Cross-entropies read labels or targets, and their logits are through.y.

    Under an attack, w_i counts clean w_i in a row of the batch and (1 - clean) w_i in its perturbed copy, with the
    `clean` of the program. The sum in the batch loss is that of the samples.

    With several heads, each has its own sample weights w_i and its own batch loss, and dz is the gradient of the sum of
    weight * batch loss over the heads. A head whose w_i in a step are all 0 has the gradient 0.

    kind      a loss of classes in `OF_CLASSES` (labels or rows of shares, both from the feed), one that is a mean over
              outputs, or "given": a Call before it has written l_i to row_loss and dl_i/dy to the buffer `targets`
    targets   buffer of gathered float targets. None in a loss of classes
    by_row    dz is then dl_i/dz: the gradient of each row alone, without weights
    smoothing e: the targets are (1 - e) t + e / classes in losses of classes, (1 - e) t + e / 2 in those of yes or no
    terms     how the outputs of a row count
    head      the number of the head: its place in the tally
    source    the targets and sample weights of the feed that are the head's: "targets", or "targets:HEAD" of several
    rows      the buffers for row_loss and row_hit
    mix       in losses of classes: the targets are those of two rows, mixed as shares. The class of the larger share
              counts as the correct one
    weight    the weight of the head, a factor of dz alone
    """

    rowwise: bool = field(default=True, kw_only=True)
    kind: str
    dz: str | None
    through: Through
    targets: str | None = None
    smoothing: float = 0.0
    by_row: bool = False
    terms: Terms = PLAIN
    head: int = 0
    source: str = "targets"
    rows: tuple[str, str] = ROWS
    weight: float = 1.0
    mix: Mix | None = None
    rounded: str | None = None

    @property
    def reads(self) -> set[str]:
        given = {self.rows[0]} if self.kind == "given" else set()
        return self.through.reads | ({self.targets} if self.targets else set()) | given

    @property
    def writes(self) -> set[str]:
        return {*self.rows} | ({self.dz} if self.dz else set()) | _named(self.rounded)


class RowLoss(Protocol):
    """A loss in Python. It fills row_loss (M,) and gradient (M, N), for each row alone and without weights."""

    @property
    def target_columns(self) -> int | None:
        """Columns of the targets. None for as many as outputs."""
        ...

    def __call__(self, outputs, targets, row_loss, gradient) -> None: ...


@dataclass(frozen=True)
class Append(Op):
    """Writes rows 0 to M - 1 of `out`, moved against the model, to its rows M to 2 M - 1 (Goodfellow et al., 2015).

    out[M + i] = clip(out[i] + epsilon sign(gradient[i]), low, high), with the numbers of the attack. Without a gradient
    it is a plain copy. Even if `out` is standardized, (x - mean) scale, epsilon, low and high are in the units of x.
    """

    rowwise: bool = field(default=True, kw_only=True)
    span: Literal["own", "copies", "both"] = field(default="copies", kw_only=True)
    out: str
    gradient: str | None = None
    attack: Attack | None = None
    standardize: tuple[str, str] | None = None

    @property
    def reads(self) -> set[str]:
        return {self.out, *(self.standardize or ())} | ({self.gradient} if self.gradient else set())

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class Totals(Op):
    """Adds the row_loss and row_hit of a head to the totals of the run, in float64, by blocks of 64 rows in order.

    It also adds the activity penalties to the penalty of the step: coefficient * sum_i w_i sum_j |y_ij| / sum(w).
    `activity` has the buffer of the sums and the coefficient of each. It is all of the program, in one Totals.
    """

    activity: tuple[tuple[str, float], ...] = ()
    head: int = 0
    rows: tuple[str, str] = ROWS

    @property
    def reads(self) -> set[str]:
        return {*self.rows} | {buffer for buffer, _ in self.activity}


@dataclass(frozen=True)
class DenseDx(Op):
    """out = through'(dz @ weight.T): the gradient at the z of the layer below. With `add` it is added to `out`. If
    `transposed`, the product is dz @ weight."""

    out: str
    dz: str
    weight: str
    through: Through
    add: bool = False
    transposed: bool = False
    bf16: bool = False
    rounded: str | None = None
    dz_mask: Mask | None = None

    @property
    def reads(self) -> set[str]:
        return {self.dz, self.weight} | self.through.reads | ({self.out} if self.add else set())

    @property
    def writes(self) -> set[str]:
        return {self.out} | _named(self.rounded)


@dataclass(frozen=True)
class DenseDw(Op):
    """dW = x.T @ dz and db = sum of the rows of dz, fused with the penalties and the update of weight and bias.

    The gradient is stored only under the rules in STORES_GRADIENT.
    """

    weight: str
    bias: str | None
    x: str
    dz: str
    weight_rule: Rule
    bias_rule: Rule
    bf16: bool = False
    x_mask: Mask | None = None
    dz_mask: Mask | None = None

    @property
    def reads(self) -> set[str]:
        return {self.x, self.dz}

    @property
    def writes(self) -> set[str]:
        written = {gradient(self.weight) if self.weight_rule.kind in STORES_GRADIENT else self.weight}
        if self.bias:
            written.add(gradient(self.bias) if self.bias_rule.kind in STORES_GRADIENT else self.bias)
        return written


@dataclass(frozen=True)
class BiasDw(Op):
    """db = sum of the rows of dz, fused with the update of the bias: for a bias beside a weight that is shared."""

    bias: str
    dz: str
    rule: Rule

    @property
    def reads(self) -> set[str]:
        return {self.dz}

    @property
    def writes(self) -> set[str]:
        return {gradient(self.bias) if self.rule.kind in STORES_GRADIENT else self.bias}


@dataclass(frozen=True)
class Couple(Op):
    """Adds the gradients of l2/2 |a - b|^2 to the stored gradients of the weights a and b, and its value to the penalty
    of the step. `trained` says which of them have a gradient."""

    a: str
    b: str
    penalty: Penalty
    trained: tuple[bool, bool] = (True, True)

    @property
    def reads(self) -> set[str]:
        return {self.a, self.b} | self.writes

    @property
    def writes(self) -> set[str]:
        return {gradient(name) for name, trained in zip((self.a, self.b), self.trained, strict=True) if trained}


def gradient(param: str) -> str:
    """The name that ops use for the stored gradient of a parameter."""
    return f"{param}/g"


@dataclass(frozen=True)
class Penalize(Op):
    """Adds penalties to the raw gradient of `param` and applies the clip_value of `rule`. Then sums its squares."""

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
    """The factor on the gradients of the updates: min(1, limit / (norm + 1e-6)). The norm is that of the gradients of
    all `params` together (Pascanu et al., 2013; the form of torch.nn.utils.clip_grad_norm_)."""

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
    """The update as a second pass after DenseDw, if the gradient must be stored first. The bits are the same.

    scaled   whether a ClipNorm comes before it
    """

    param: str
    rule: Rule
    scaled: bool = False

    @property
    def reads(self) -> set[str]:
        return {gradient(self.param)} | ({"clip"} if self.scaled else set())

    @property
    def writes(self) -> set[str]:
        return {gradient(self.param) if self.rule.kind in STORES_GRADIENT else self.param}


@dataclass(frozen=True)
class MaxNorm(Op):
    """Scales columns of `weight` (the incoming weights of a unit) with a norm over `limit` down to it (Srivastava et
    al., JMLR 15, 2014). Then scales all of it if its Frobenius norm is over `whole`. 0 means no limit."""

    weight: str
    limit: float
    whole: float = 0.0

    @property
    def writes(self) -> set[str]:
        return {self.weight}


@dataclass(frozen=True)
class Count(Op):
    """Counts the steps that an Average has seen: the one number `count` of the state grows by 1.

    It stays at 2^24, the last number that a float32 can count to.
    """

    count: str

    @property
    def reads(self) -> set[str]:
        return {self.count}

    @property
    def writes(self) -> set[str]:
        return {self.count}


@dataclass(frozen=True)
class Average(Op):
    """out += rate (param - out), the exponential mean of a parameter over the steps (Polyak and Juditsky, 1992).

    rate = (1 - decay) / (1 - decay^t) in step t = 1, 2, ..., so the weights of all steps add up to 1. Adam corrects its
    moments in the same way. `count` holds t. The mean of the first step is the parameter itself.
    """

    out: str
    param: str
    count: str
    decay: float

    @property
    def reads(self) -> set[str]:
        return {self.out, self.param, self.count}

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class RowNorm(Op):
    """Scales each row of `weight` (the vector of a category) with a norm over `limit` down to it."""

    weight: str
    limit: float

    @property
    def writes(self) -> set[str]:
        return {self.weight}


# Ops that run only in the last batch of a step if gradients are accumulated.
ONCE_A_STEP = (Penalize, ClipNorm, Update, MaxNorm, RowNorm, Couple, Count, Average)


@dataclass(frozen=True)
class Elementwise(Op):
    """out = dropout(activation(z)), z = x + plus + noise: sums, and riders with no op to ride on. z is stored if `z`
    names a buffer.

    On the way back out = through'(mask * x), and with `add` this is added to `out`. The columns of x begin at
    `x_column`, those of out at `out_column`; their number is that of the narrower buffer.
    """

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    x: str
    mask: Mask | None = None
    through: Through | None = None
    noise: Noise | None = None
    plus: str | None = None
    activation: str = "linear"
    z: str | None = None
    add: bool = False
    x_column: int = 0
    out_column: int = 0

    @property
    def reads(self) -> set[str]:
        added = {name for name in (self.plus, self.out if self.add else None) if name}
        return {self.x} | added | (self.through.reads if self.through else set())

    @property
    def writes(self) -> set[str]:
        return {self.out} | ({self.z} if self.z else set())


@dataclass(frozen=True)
class Round(Op):
    """out = x in bf16: an operand of products, where the op that made it cannot round it."""

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    x: str

    @property
    def reads(self) -> set[str]:
        return {self.x}

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class Call(Op):
    """Calls a Python function between two barriers: function(*arrays). The arrays are the rows of the batch in
    `reads_`, then those in `writes_`, which it fills. One worker calls it, with the GIL."""

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
    """Writes the rows of `x` to the result array of the feed, or to that of a head of several. transform is a name in
    `fastreg.common.transforms`.

    head, source   the number of the head, and "out" or "out:HEAD" of the feed
    """

    rowwise: bool = field(default=True, kw_only=True)
    x: str
    transform: str
    head: int = 0
    source: str = "out"

    @property
    def reads(self) -> set[str]:
        return {self.x}
