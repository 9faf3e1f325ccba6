"""The native engine: passes a program to C once, then runs slices of an epoch without the GIL.

It owns the buffers and the scratch memory. It knows ops, not layers.
"""

from __future__ import annotations

import numpy as np

from fastreg.common.pieces import listen
from fastreg.common.sparse import SparseRows
from fastreg.engines.base import Feed, Tally, beside_params, named, new_buffers
from fastreg.engines.binding import Binding
from fastreg.engines.memory import CACHE_LINE
from fastreg.engines.pace import Pace
from fastreg.machine import _core, threads
from fastreg.program.images import Conv, ConvDw, ConvDx, Flip
from fastreg.program.ops import Call, Dense, DenseDw, DenseDx, Gather, Perturb
from fastreg.program.program import Program
from fastreg.program.rules import STORES_GRADIENT, Rule

UNLIMITED = 0.0
AT_REST = (1.0, 1.0, 1.0)
UNINTERRUPTED = 10_000_000  # steps until Python can check for Ctrl-C again
AUGMENT_FLOPS = 100.0  # an augmented pixel takes as long as this many floating-point operations of a matrix product


class NativeEngine:
    """See `fastreg.engines.base`. `scramble` is for tests: a seed that permutes which worker does which tile."""

    def __init__(
        self,
        program: Program,
        params: dict[str, np.ndarray],
        state: dict[str, tuple[np.ndarray, ...]],
        batch_size: int,
        dtype: str,
        n_threads: int | None = None,
        scramble: int = 0,
    ):
        self.program = program
        self.params, self.state = params | beside_params(program, params, dtype), state
        self.dtype = np.dtype(dtype)
        self.n_threads, self.scramble = n_threads, scramble
        self.buffers = new_buffers(program, batch_size, dtype)
        self._sources, self._heads = program.sources, program.heads
        binding = Binding(self.dtype, self.buffers, self.params, state, sources=self._sources, direct=program.direct)
        self.gradients = binding.gradients
        self.flops = flops_between_barriers(program, params, batch_size)
        self._core = _core.Program(
            self.dtype,
            batch_size,
            [binding.fields(op) for op in program.ops],
            program.accumulate,
            program.clean,
        )
        self.clip = self._core.clip  # two numbers, whose product is the factor of the last ClipNorm
        moving = (rule for rule in program.rules.values() if rule.kind not in STORES_GRADIENT)
        self._rule = next(moving, Rule())  # they are of one optimizer
        self._powers = list(AT_REST)  # its running numbers after _updates steps
        self._updates = 0
        self._scratch = np.empty(0, np.uint8)
        self._pace = Pace()
        self._feed: tuple[Feed, _core.Feed] | None = None

    def run(self, feed: Feed, tally: Tally, first: int, stop: int, seconds: float | None = None, look=listen) -> int:
        asked = threads.asked(self.n_threads)
        if seconds is None or asked:
            return self._run(feed, tally, first, stop, asked, seconds=seconds or UNLIMITED, look=look)

        def go(n: int, first: int, stop: int, seconds: float) -> int:
            return self._run(feed, tally, first, stop, n, seconds=seconds, look=look)

        n = threads.resolve(self.n_threads, self.flops)
        return self._pace.run(n, first, stop, seconds, go, lambda: tally.ended)

    def run_op(self, feed: Feed, batch: int, index: int) -> None:
        self._run(feed, Tally(), batch, batch + 1, seconds=UNLIMITED, first_op=index, stop_op=index + 1)

    def unwritten(self, feed: Feed) -> dict[str, SparseRows]:
        """The buffers that a run of this feed leaves as they are, since products read these rows instead."""
        read = {buffer: feed.find(name) for buffer, (name, _) in self.program.direct.items()}
        return {buffer: rows for buffer, rows in read.items() if isinstance(rows, SparseRows) and rows.in_order}

    def _run(
        self,
        feed: Feed,
        tally: Tally,
        first: int,
        stop: int,
        n: int | None = None,
        *,
        seconds: float,
        look=listen,
        **ops: int,
    ) -> int:
        n = n or threads.resolve(self.n_threads, self.flops)
        if self._feed is None or self._feed[0] is not feed:
            self._feed = feed, self._core_feed(feed)
        self._catch_up(tally.updates)
        try:
            return _core.run(
                self._core,
                self._feed[1],
                tally,
                first,
                stop,
                step=feed.step & 0xFFFFFFFF,
                seconds=seconds,
                threads=n,
                scratch=self._scratch_for(n),
                scramble=self.scramble,
                powers=self._powers,
                call=self._call,
                look=look,
                **ops,
            )
        finally:  # the powers have advanced even if a Call failed
            self._updates = tally.updates

    def _call(self, index: int, count: int) -> None:
        """Runs the Python function of a Call in a batch of `count` rows."""
        op = self.program.ops[index]
        assert isinstance(op, Call)
        rows = op.rows_of(count)
        op.function(*(self.buffers[name][rows] for name in (*op.reads_, *op.writes_)))

    def _catch_up(self, updates: int) -> None:
        """Sets the running numbers. They change by one multiplication per step, so that a resumed run has the same bits
        as one that was never stopped."""
        if updates != self._updates:
            self._powers, self._updates = _powers_after(updates, self._rule), updates

    def _scratch_for(self, n: int) -> np.ndarray:
        size = self._core.scratch_bytes(n)
        if self._scratch.nbytes < size:
            memory = np.empty(size + CACHE_LINE, np.uint8)
            start = -memory.ctypes.data % CACHE_LINE
            self._scratch = memory[start : start + size]
        return self._scratch

    def _core_feed(self, feed: Feed) -> _core.Feed:
        return _core.Feed(
            feed.rows,
            feed.batch_size,
            feed.seed,
            feed.epoch & 0xFFFFFFFF,
            [_source(feed.find(name), columns) for name, columns in self._sources],
            [self._core_head(feed, head) for head in self._heads],
            feed.order,
            feed.rates,
            feed.by_position,
            feed.decays,
        )

    def _core_head(self, feed: Feed, head: str) -> tuple:
        """Labels, rows of shares of the classes, sample weights and results of a head. Gathers read other targets."""
        source = named("targets", head)
        targets, labels, shares = feed.find(source), None, None
        if targets is not None and all(name != source for name, _ in self._sources):
            if targets.ndim == 2:
                shares = _source(targets)
            else:
                labels = np.ascontiguousarray(targets, np.int64)
        return labels, shares, feed.find(named("weights", head)), feed.find(named("out", head))


def _powers_after(updates: int, rule: Rule) -> list[float]:
    """The running numbers after this many updates. The count can be huge, since users set it or a file holds it."""
    powers = list(AT_REST)
    for start in range(0, updates, UNINTERRUPTED):
        before = powers
        powers = _core.advanced(powers, rule, min(UNINTERRUPTED, updates - start))
        if powers == before:  # 0
            break
    return powers


def _source(array: np.ndarray | SparseRows, columns: tuple[int, ...] | None = None) -> _core.Source:
    """The array itself, or these columns of it, if kernels read its dtype. Rare dtypes (float16, another byte order)
    are converted."""
    chosen = None if columns is None else np.array(columns, np.int64)
    if isinstance(array, SparseRows):
        if columns is not None:
            raise TypeError("inputs: got sparse rows, expected an array, since the model reads some of their columns")
        return _core.Source(array.values, array.starts, array.places, array.shape[1], in_order=array.in_order)
    if array.dtype.str[1:] not in _core.DTYPES or not array.dtype.isnative:
        array = array.astype(np.float64)
    if array.ndim == 1:
        array = array[:, None]
    return _core.Source(array, chosen=chosen)


def flops_between_barriers(program: Program, params: dict[str, np.ndarray], rows: int) -> float:
    """The mean work between two barriers: what one more thread could share."""
    total, stretches = 0.0, 1
    clean = {op.out: op.weight for op in program.ops if isinstance(op, (Flip, Perturb))}
    for op in program.ops:
        stretches += op.wait
        if isinstance(op, (Dense, DenseDx, DenseDw)):
            K, N = params[clean.get(op.weight, op.weight)].shape
            windows = op.window.count if isinstance(op, (Conv, ConvDx, ConvDw)) else 1
            total += 2.0 * rows * windows * K * N
        elif isinstance(op, Gather) and op.augment and op.augment.resamples:
            total += AUGMENT_FLOPS * rows * program.buffers[op.out]
    return total / stretches
