"""Averages of the parameters that a program trains."""

from __future__ import annotations

from dataclasses import replace

from fastreg.program.normalize import WITH_TABLE
from fastreg.program.ops import Average, Count, Op
from fastreg.program.program import Program, with_waits


def averaged(program: Program, count: str, decay: float | None) -> Program:
    """The program, with averages of everything that its ops change.

    With `decay` it takes the exponential mean after each step. Else somebody else averages, between epochs.
    """
    written = dict.fromkeys(name for op in program.ops for name in sorted(op.writes))
    beside = {"clip", *program.buffers, *(op.table.name for op in program.ops if isinstance(op, WITH_TABLE))}
    names = tuple(name for name in written if name not in beside and "/" not in name)  # "/": copies, and gradients
    more: list[Op] = []
    if decay is not None:
        more.append(Count(count))
        more += [Average(f"{name}/average", name, count, decay) for name in names]
    ops = with_waits([*program.ops, *more], program.buffers)
    return replace(program, ops=ops, averaged=names, count=count)
