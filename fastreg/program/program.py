"""A program: ops in order, with their buffers and the barriers between them.

Lowering (`fastreg.model.lowering`) makes programs. Engines run them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from fastreg.program.embedding import EmbedDw
from fastreg.program.normalize import TRAINS
from fastreg.program.ops import BiasDw, Dense, DenseDw, Emit, Gather, Loss, Op, Totals, Update
from fastreg.program.rules import Rule

Source = tuple[str, tuple[int, ...] | None]  # of the feed: its name, and the columns of it


@dataclass(frozen=True)
class Program:
    """Ops in order, and the width of each buffer. All buffers have M rows, or 2 M if an Append puts perturbed copies
    behind them. Those for the losses and hits of rows have width 1.

    accumulate   batches per step. Their gradients add up to that of one large batch: row weights are divided by the
                 weight of the whole step. The ops of ONCE_A_STEP run only in the last batch of the step
    clean        the share of the batch's own rows in the loss. Their perturbed copies have the rest
    averaged     the parameters that are averaged: those that training changes. The program trains their raw values,
                 which belong to the state; the model has the averages
    count        the name of the number of averaged steps or epochs in the state
    """

    ops: tuple[Op, ...]
    buffers: dict[str, int]
    accumulate: int = 1
    clean: float = 1.0
    averaged: tuple[str, ...] = ()
    count: str = ""

    @property
    def copies(self) -> int:
        """How many times the rows of a batch the buffers can hold."""
        return 2 if any(op.span != "own" for op in self.ops) else 1

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads, by number. The only head has the name ""."""
        found = {op.head: op.source.partition(":")[2] for op in self.ops if isinstance(op, (Loss, Emit))}
        if sorted(found) != list(range(len(found))):
            raise ValueError(f"heads: got the numbers {sorted(found)}, expected 0, 1, ...")
        return tuple(found[number] for number in range(len(found))) or ("",)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the gathers read, each once, inputs before targets: the engine asks for rows of the first ahead."""
        found = dict.fromkeys((op.source, op.columns) for op in self.ops if isinstance(op, Gather))
        return tuple(sorted(found, key=lambda source: not source[0].startswith("inputs")))

    @property
    def direct(self) -> dict[str, Source]:
        """The buffers that hold rows of a source as they are, and that only products read.

        Where the rows are sparse, these products can read them without their zeros, and nothing needs the buffer.
        """
        found: dict[str, Source] = {}
        for op in self.ops:
            touched = op.reads | op.writes
            if isinstance(op, Gather) and replace(op, wait=False) == Gather(op.out, op.source):
                found[op.out] = op.source, op.columns
                continue
            if ((type(op) is Dense and not op.transposed) or type(op) is DenseDw) and not op.bf16:
                touched -= {op.x}
            for name in touched & found.keys():
                del found[name]
        return found

    @property
    def values_of_rows(self) -> set[str]:
        """The buffers that hold one number a row."""
        return {name for op in self.ops if isinstance(op, (Loss, Totals)) for name in op.rows}

    @property
    def rules(self) -> dict[str, Rule]:
        """The update rule of each parameter that the program trains."""
        rules: dict[str, Rule] = {}  # with two passes, the rule of an Update, which comes later, counts
        for op in self.ops:
            if isinstance(op, DenseDw):
                rules[op.weight] = op.weight_rule
                if op.bias:
                    rules[op.bias] = op.bias_rule
            elif isinstance(op, BiasDw):
                rules[op.bias] = op.rule
            elif isinstance(op, (*TRAINS, EmbedDw)):
                rules |= op.rules
            elif isinstance(op, Update):
                rules[op.param] = op.rule
        return rules


def with_waits(ops: list[Op], buffers: Collection[str]) -> tuple[Op, ...]:
    """Puts a barrier before each op that touches what an op since the last barrier wrote, or writes what it read.

    Workers divide the rows and columns of each op differently, so only a barrier orders two ops. Two rowwise ops of the
    same rows need none for buffers, since each worker reads only what it wrote itself. The start of a batch is also a
    barrier.
    """
    ordered: list[Op] = []
    since = _Since(buffers)
    for op in ops:
        wait = since.conflicts(op)
        if wait:
            since = _Since(buffers)
        since.add(op)
        ordered.append(replace(op, wait=wait))
    return tuple(ordered)


class _Since:
    """What the ops since the last barrier have read and written, and how: (rowwise, whether on both halves).

    A worker's share of the copies is that of its own rows."""

    def __init__(self, buffers: Collection[str]):
        self.buffers = buffers
        self.read: dict[str, set[tuple[bool, bool]]] = {}
        self.written: dict[str, set[tuple[bool, bool]]] = {}

    def add(self, op: Op) -> None:
        for names, known in ((op.reads, self.read), (op.writes, self.written)):
            for name in names:
                known.setdefault(name, set()).add((op.rowwise, op.span == "both"))

    def conflicts(self, op: Op) -> bool:
        reads, writes = op.reads, op.writes
        return self._meets(op, reads | writes, self.written) or self._meets(op, writes, self.read)

    def _meets(self, op: Op, names: Collection[str], known: dict[str, set[tuple[bool, bool]]]) -> bool:
        own = {(True, op.span == "both")} if op.rowwise else set()
        return any(known[name] - (own if name in self.buffers else set()) for name in names if name in known)
