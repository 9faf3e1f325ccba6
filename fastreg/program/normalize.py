"""The ops of normalization: batch norm of columns and channels, layer norm of rows.

    y = dropout(activation(z)), z = (x - mean) scale + shift, scale = gamma rstd, rstd = 1 / sqrt(variance + eps)
    xhat = (x - mean) rstd + rest, with what rounding the mean takes from it in rest and in shift

Columns that are channels of their own need one op forward and one back. Images, whose channels are strewn over a row,
need three each. See csrc/kernels/normalize.h for what is fused, and why not more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from fastreg.program.ops import Op, gradient
from fastreg.program.riders import Mask, Through
from fastreg.program.rules import STORES_GRADIENT, Rule

LANES = 16  # FR_LANES of csrc/fastreg.h

# Rows of a table, in the order of csrc/fastreg.h. SUM and DOT are of the columns: their means and the squares around
# them, later the sums of dz and of dz * xhat. All others are of the channels. Until they have theirs, REST holds what
# is left of the means of the columns.
MEAN, RSTD, REST, SCALE, SHIFT, K1, K2, SUM, DOT, ROWS = range(10)


class Table(NamedTuple):
    """Numbers of the columns and channels of a batch norm, an array (ROWS, width) that the engines keep.

    width      columns of a row of x: pixels times channels
    channels   consecutive columns that make one pixel
    """

    name: str
    width: int
    channels: int

    @property
    def period(self) -> int:
        """Columns until the channels begin anew at a whole number of lanes: so often they are repeated in the table."""
        return min(math.lcm(self.channels, LANES), self.width)


def _names(*names: str | None) -> set[str]:
    return {name for name in names if name}


def _written(*trained: tuple[str | None, Rule | None]) -> set[str]:
    """What the updates of some parameters write."""
    return {
        gradient(name) if rule.kind in STORES_GRADIENT else name for name, rule in trained if name and rule is not None
    }


class Norm(Op):
    """Base class of the ops here, which are one kind to C."""

    @property
    def kept(self) -> str:
        """The name of what its layer keeps for the way back: a table, or a buffer of moments."""
        have = vars(self)
        return have["table"].name if "table" in have else have["moments"]


@dataclass(frozen=True)
class Moving:
    """The running moments: names of two parameters. With `moves` they become (1 - momentum) r + momentum b, with the
    mean and the unbiased variance b of the batch."""

    mean: str
    variance: str
    momentum: float = 0.1
    moves: bool = False

    @property
    def written(self) -> set[str]:
        return {self.mean, self.variance} if self.moves else set()


@dataclass(frozen=True)
class BatchNorm(Norm):
    """out = dropout(activation(z)), with the mean and the biased variance of each column over the rows of the batch.

    z is stored if `z` names a buffer. The table gets what the way back needs. gamma or beta may be missing.
    """

    out: str
    x: str
    table: Table
    gamma: str | None
    beta: str | None
    moving: Moving
    eps: float
    activation: str = "linear"
    mask: Mask | None = None
    z: str | None = None

    @property
    def reads(self) -> set[str]:
        return _names(self.x, self.gamma, self.beta) | self.moving.written

    @property
    def writes(self) -> set[str]:
        return _names(self.out, self.z, self.table.name) | self.moving.written


@dataclass(frozen=True)
class BatchNormDx(Norm):
    """out = or += through'(dx), dx = scale (dz - mean(dz) - xhat mean(dz xhat)), and the updates of gamma and beta.

    Their gradients are sum(dz xhat) and sum(dz). Without `out` there is no dx. gamma and beta come with their rules.
    """

    out: str | None
    dz: str
    x: str
    table: Table
    gamma: tuple[str, Rule] | None
    beta: tuple[str, Rule] | None
    through: Through | None
    add: bool = False

    @property
    def reads(self) -> set[str]:
        below = self.through.reads if self.out and self.through else set()
        return {self.dz, self.x, self.table.name} | below | (_names(self.out) if self.add else set())

    @property
    def writes(self) -> set[str]:
        return _names(self.out) | _written(*(pair for pair in (self.gamma, self.beta) if pair))

    @property
    def rules(self) -> dict[str, Rule]:
        return dict(pair for pair in (self.gamma, self.beta) if pair)


@dataclass(frozen=True)
class Moments(Norm):
    """The mean of each column of x, in two parts, and the sum of the squares around it: the rows SUM, REST and DOT of
    the table."""

    table: Table
    x: str

    @property
    def reads(self) -> set[str]:
        return {self.x}

    @property
    def writes(self) -> set[str]:
        return {self.table.name}


@dataclass(frozen=True)
class NormScale(Norm):
    """The moments of the channels, from those of their columns or, if `running`, the running ones; then their scale and
    shift. If `folded`, for a Dense whose bias is `bias`, the shift is beta + (bias - mean) scale."""

    table: Table
    gamma: str | None
    beta: str | None
    moving: Moving
    eps: float
    running: bool = False
    folded: bool = False
    bias: str | None = None

    @property
    def reads(self) -> set[str]:
        source = {self.moving.mean, self.moving.variance} if self.running or self.moving.moves else set()
        return _names(self.gamma, self.beta, self.bias) | source | (set() if self.running else {self.table.name})

    @property
    def writes(self) -> set[str]:
        return {self.table.name} | self.moving.written


@dataclass(frozen=True)
class Affine(Norm):
    """out = dropout(activation(z)), z = (x - mean) scale + shift, by the table. z is stored if `z` names a buffer."""

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    x: str
    table: Table
    activation: str = "linear"
    mask: Mask | None = None
    z: str | None = None

    @property
    def reads(self) -> set[str]:
        return {self.x, self.table.name}

    @property
    def writes(self) -> set[str]:
        return _names(self.out, self.z)


@dataclass(frozen=True)
class NormSums(Norm):
    """sum(dz) and sum(dz xhat) of each column: the rows SUM and DOT of the table."""

    table: Table
    dz: str
    x: str

    @property
    def reads(self) -> set[str]:
        return {self.dz, self.x, self.table.name}

    @property
    def writes(self) -> set[str]:
        return {self.table.name}


@dataclass(frozen=True)
class ScaleDw(Norm):
    """The sums of the channels, from those of their columns: the gradients of gamma and beta, with their updates, and
    what AffineDx subtracts."""

    table: Table
    gamma: tuple[str, Rule] | None
    beta: tuple[str, Rule] | None

    @property
    def reads(self) -> set[str]:
        return {self.table.name}

    @property
    def writes(self) -> set[str]:
        return {self.table.name} | _written(*(pair for pair in (self.gamma, self.beta) if pair))

    @property
    def rules(self) -> dict[str, Rule]:
        return dict(pair for pair in (self.gamma, self.beta) if pair)


@dataclass(frozen=True)
class AffineDx(Norm):
    """out = or += through'(dx), dx = scale (dz - k1 - xhat k2), by the table. If `running`, the moments are constants:
    dx = scale dz."""

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    dz: str
    x: str
    table: Table
    through: Through
    add: bool = False
    running: bool = False

    @property
    def reads(self) -> set[str]:
        return {self.dz, self.x, self.table.name} | self.through.reads | (_names(self.out) if self.add else set())

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class LayerNorm(Norm):
    """out = dropout(activation(z)), z = (x - mean) rstd gamma + beta, with mean and biased variance of each row.

    The buffer `moments`, of three columns, gets mean, rstd and rest of each row.
    """

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    x: str
    moments: str
    gamma: str | None
    beta: str | None
    eps: float
    activation: str = "linear"
    mask: Mask | None = None
    z: str | None = None

    @property
    def reads(self) -> set[str]:
        return _names(self.x, self.gamma, self.beta)

    @property
    def writes(self) -> set[str]:
        return _names(self.out, self.z, self.moments)


@dataclass(frozen=True)
class LayerNormDx(Norm):
    """out = or += through'(dx), dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dz gamma, row by row."""

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    dz: str
    x: str
    moments: str
    gamma: str | None
    through: Through
    add: bool = False

    @property
    def reads(self) -> set[str]:
        added = _names(self.out) if self.add else set()
        return _names(self.dz, self.x, self.moments, self.gamma) | self.through.reads | added

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class LayerNormDw(Norm):
    """The updates of gamma and beta, whose gradients are the sums of dz xhat and dz over the rows."""

    dz: str
    x: str
    moments: str
    gamma: tuple[str, Rule] | None
    beta: tuple[str, Rule] | None

    @property
    def reads(self) -> set[str]:
        return {self.dz, self.x, self.moments}

    @property
    def writes(self) -> set[str]:
        return _written(*(pair for pair in (self.gamma, self.beta) if pair))

    @property
    def rules(self) -> dict[str, Rule]:
        return dict(pair for pair in (self.gamma, self.beta) if pair)


TRAINS = BatchNormDx, ScaleDw, LayerNormDw  # they update gamma and beta
WITH_TABLE = BatchNorm, BatchNormDx, Moments, NormScale, Affine, NormSums, ScaleDw, AffineDx
