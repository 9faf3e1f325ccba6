"""The ops of embeddings: rows of a table by code, and their gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from fastreg.program.ops import Op, gradient
from fastreg.program.riders import Mask
from fastreg.program.rules import STORES_GRADIENT, Rule


@dataclass(frozen=True)
class Codes:
    """Which rows of a table codes name. The code k in column j names row starts[j] + k, for k from 0 to counts[j] - 1.

    counts   how many categories each column has
    shared   whether all columns have one table. Else their tables lie one after the other
    """

    counts: tuple[int, ...]
    shared: bool

    @property
    def starts(self) -> tuple[int, ...]:
        """The first row of each column."""
        return (0,) * len(self.counts) if self.shared else (0, *accumulate(self.counts))[:-1]

    @property
    def rows(self) -> int:
        """The rows of the table."""
        return self.counts[0] if self.shared else sum(self.counts)

    def bad(self, x: np.ndarray) -> np.ndarray:
        """Which elements of x (n, columns) are no codes: not whole, or out of range."""
        with np.errstate(invalid="ignore"):
            return ~((x >= 0) & (x < np.array(self.counts)) & (np.floor(x) == x))


def refusal(where: str, value, column, count: int) -> str:
    """The text of an error about a bad code."""
    return f"{where} holds {value:.12g} in column {column}, expected a code: a whole number from 0 to {count - 1}"


@dataclass(frozen=True)
class Embed(Op):
    """out = dropout(the rows of `weight` that the codes in `x` name, side by side). A bad code ends the run."""

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    x: str
    weight: str
    codes: Codes
    mask: Mask | None = None

    @property
    def reads(self) -> set[str]:
        return {self.x, self.weight}

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class EmbedDw(Op):
    """The gradient of each row of `weight`, the sum of the parts of dz whose codes name it, in the order of the batch.
    It is fused with the penalties and the update, and stored only under the rules in STORES_GRADIENT.

    Where a gradient of 0 leaves a row as it is, only the rows that the batch names are touched.
    """

    weight: str
    x: str
    dz: str
    codes: Codes
    rule: Rule

    @property
    def rules(self) -> dict[str, Rule]:
        """The rule of the parameter."""
        return {self.weight: self.rule}

    @property
    def reads(self) -> set[str]:
        return {self.x, self.dz}

    @property
    def writes(self) -> set[str]:
        return {gradient(self.weight) if self.rule.kind in STORES_GRADIENT else self.weight}
