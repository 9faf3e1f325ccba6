"""Mixup of the batches of a program."""

from __future__ import annotations

from dataclasses import replace

from fastreg.program.ops import OF_CLASSES, Gather, Loss
from fastreg.program.program import Program
from fastreg.program.riders import Mix


def mixed(program: Program, mix: Mix) -> Program:
    """The program with all that it gathers mixed alike, and so the targets that losses of classes read."""
    ops = tuple(
        replace(op, mix=mix) if isinstance(op, Gather) or (isinstance(op, Loss) and op.kind in OF_CLASSES) else op
        for op in program.ops
    )
    return replace(program, ops=ops)
