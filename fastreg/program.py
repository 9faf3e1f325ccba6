"""A program: ops in order, with the buffers they work on and the barriers between them.

Lowering (`fastreg.lowering`) makes programs, engines run them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastreg.ops import DenseDw, Op, Update
from fastreg.rules import Rule


@dataclass(frozen=True)
class Program:
    """Ops in order, and the width of every buffer (all have M rows; row_loss and row_hit are one wide).

    accumulate   batches in a step: their gradients add up to that of one large batch (the row weights of a group
                 are divided by the weight of the whole group), and the ops of ONCE_A_STEP run behind the last
    """

    ops: tuple[Op, ...]
    buffers: dict[str, int]
    accumulate: int = 1

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
