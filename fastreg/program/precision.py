"""Products in bf16: which buffers hold their operands, and which ops round them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fastreg.program.ops import BiasDw, Dense, DenseDw, DenseDx, Gather, Loss, Op, Round
from fastreg.program.program import Program, with_waits

OPERANDS: dict[type[Op], tuple[str, ...]] = {Dense: ("x",), DenseDx: ("dz",), DenseDw: ("x", "dz")}
ROUNDING = (Gather, Dense, DenseDx, Loss)  # ops that can round what they write
BY_SIGN = ("linear", "relu", "leaky_relu")  # activations whose derivative depends on the sign of y alone


def in_bfloat16(program: Program) -> Program:
    """The program with the products of dense ops in bf16.

    Every operand is rounded once, by the op that made it or by a Round. If anything else reads the buffer as well, the
    rounded numbers go to a second one, so that all others see what they see in float32. The weights are rounded as they
    are read.
    """
    alone = _only_operands(program.ops)
    buffers = dict(program.buffers)
    ops: list[Op] = []
    writer: dict[str, int] = {}  # of each buffer, the place of the last op that wrote it
    up_to_date: set[str] = set()  # buffers that also exist rounded
    given: Any  # of the fields that its type has
    for given in program.ops:
        op = given
        for field in OPERANDS.get(type(op), ()):
            buffer = getattr(given, field)
            if buffer in alone:
                continue
            name = f"{buffer}/bf16"
            if buffer not in up_to_date:
                buffers[name] = buffers[buffer]
                made: Any = ops[writer[buffer]]
                if type(made) in ROUNDING and made.span == op.span:
                    ops[writer[buffer]] = replace(made, rounded=name)
                else:
                    ops.append(Round(name, buffer, span=op.span))
                up_to_date.add(buffer)
            op = replace(op, **{field: name})
        after: list[Op] = []
        if type(op) in OPERANDS:
            op = replace(op, bf16=True)
        if isinstance(op, DenseDw) and op.bias and op.bf16:  # whose gradient is a sum of dz as it is
            after.append(BiasDw(op.bias, given.dz, op.bias_rule, span=op.span))
            op = replace(op, bias=None)
        if written := alone & given.writes:
            op = replace(op, rounded=written.pop())
        ops += [op, *after]
        for buffer in given.writes & program.buffers.keys():
            writer[buffer] = len(ops) - 1 - len(after)
            up_to_date.discard(buffer)
    return replace(program, ops=with_waits(ops, buffers), buffers=buffers)


def _only_operands(ops: Iterable[Op]) -> set[str]:
    """The buffers that may be rounded in their place: only products read them, and derivatives by a sign."""
    operands, others = set[str](), set[str]()
    for op in ops:
        own = {getattr(op, field) for field in OPERANDS.get(type(op), ())}
        read = op.reads - own
        if type(op) is DenseDx and op.through.activation in BY_SIGN:
            read -= {op.through.y}
        if isinstance(op, DenseDw) and op.bias:
            read.add(op.dz)
        if type(op) not in ROUNDING or getattr(op, "add", False):
            read |= op.writes
        operands |= own
        others |= read
    return operands - others
