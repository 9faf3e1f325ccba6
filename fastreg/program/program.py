"""A program: ops in order, with the buffers they work on and the barriers between them.

Lowering (`fastreg.model.lowering`) makes programs, engines run them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from fastreg.program.ops import DenseDw, Op, Update
from fastreg.program.rules import Rule


@dataclass(frozen=True)
class Program:
    """Ops in order, and the width of every buffer (all have M rows, or 2 M where an op is doubled; row_loss and row_hit
    are one wide).

    accumulate   batches in a step: their gradients add up to that of one large batch (the row weights of a group
                 are divided by the weight of the whole group), and the ops of ONCE_A_STEP run behind the last
    clean        the share of the rows of the batch in the loss of doubled ops; the perturbed ones have the rest
    """

    ops: tuple[Op, ...]
    buffers: dict[str, int]
    accumulate: int = 1
    clean: float = 1.0

    @property
    def copies(self) -> int:
        """How many times the rows of a batch have room in the buffers."""
        return 2 if any(op.doubled for op in self.ops) else 1

    @property
    def rules(self) -> dict[str, Rule]:
        """The update rule of every parameter that the program trains."""
        rules: dict[str, Rule] = {}  # of an Update, which comes later, where there are two passes
        for op in self.ops:
            if isinstance(op, DenseDw):
                rules[op.weight] = op.weight_rule
                if op.bias:
                    rules[op.bias] = op.bias_rule
            elif isinstance(op, Update):
                rules[op.param] = op.rule
        return rules


def with_waits(ops: list[Op], buffers: Collection[str]) -> tuple[Op, ...]:
    """Puts a barrier before every op that touches what another op since the last barrier wrote, or writes what it read.

    Workers share the rows and columns of an op in their own ways, so only a barrier orders two ops; but not in buffers
    between two rowwise ops of the same rows, where every worker finds what it has left itself. The start of a batch is
    a barrier of its own.
    """
    ordered: list[Op] = []
    since: list[Op] = []  # the last barrier
    for op in ops:
        wait = any(_conflict(op, before, buffers) for before in since)
        since = [op] if wait else [*since, op]
        ordered.append(replace(op, wait=wait))
    return tuple(ordered)


def _conflict(op: Op, before: Op, buffers: Collection[str]) -> bool:
    names = (op.reads | op.writes) & before.writes | op.writes & before.reads
    return bool(names.difference(buffers) if op.rowwise and before.rowwise and op.doubled == before.doubled else names)
