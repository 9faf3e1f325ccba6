"""`profile`: where the time of a training step goes, op by op, compared with the machine's peak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from time import perf_counter

import numpy as np

from fastreg.checks.twin import make_twin
from fastreg.common import checking
from fastreg.common.tables import duration, percent, table
from fastreg.engines.base import Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.engines.memory import padded
from fastreg.engines.native import UNLIMITED, NativeEngine
from fastreg.machine import threads
from fastreg.machine.peak import fma_peak, stream_bandwidth
from fastreg.program import ops as O

MAX_ROWS = 1 << 20  # in all the repeated batches of one measurement
MOST_ROWS = 1 << 26  # in a step: more could not be repeated


@dataclass(frozen=True)
class OpProfile:
    """The profile of one op of the program.

    index, op   its place and kind
    on          the buffer or parameter that it writes
    seconds     per step (of `accumulate` batches, usually one): the median of several measurements
    flops       floating-point operations of its matrix product; 0 for other ops
    bytes       least number of bytes to read and write; 0 if unknown
    share       of the peak: flops relative to the fused multiply-adds of the threads used, or bytes relative to the
                memory's bandwidth (above 1 if data are in the caches); None if both are 0
    """

    index: int
    op: str
    on: str
    seconds: float
    flops: float
    bytes: float
    share: float | None

    @property
    def rate(self) -> str:
        """GFLOP/s or GB/s, as text."""
        if self.flops:
            return f"{self.flops / self.seconds / 1e9:.1f} GFLOP/s"
        return f"{self.bytes / self.seconds / 1e9:.1f} GB/s" if self.bytes else "-"


@dataclass(frozen=True)
class Profile:
    """The result of `profile`. Print it for a table.

    ops          one `OpProfile` per op
    step         seconds of a whole step, as in training. It differs from the sum of the ops: an op that is measured
                 alone finds its data in the caches and waits at only one barrier
    call         seconds of one call of the engine from Python; not part of the time of any op
    rows, engine, dtype, simd, threads   what was measured; the rows are those of all batches of a step
    peak, bandwidth                      GFLOP/s and GB/s that shares refer to, measured just before
    """

    ops: list[OpProfile]
    step: float
    call: float
    rows: int
    engine: str
    dtype: str
    simd: str
    threads: int
    peak: float
    bandwidth: float

    @cached_property
    def share(self) -> float:
        """The rate of a step's matrix products over the floating-point peak."""
        return sum(op.flops for op in self.ops) / self.step / 1e9 / self.peak

    def __str__(self) -> str:
        total = sum(op.seconds for op in self.ops)
        rows = [
            [str(op.index), op.op, op.on, duration(op.seconds), percent(op.seconds / total), op.rate, percent(op.share)]
            for op in self.ops
        ]
        return "\n".join(
            [
                table(["", "op", "on", "time", "of all", "rate", "of peak"], rows, left=3),
                "",
                f"a step of {self.rows} rows: {duration(self.step)}, {percent(self.share)} of the peak; "
                f"its ops one by one: {duration(total)}",
                f"engine {self.engine}, {self.dtype}, {self.simd}, threads: {self.threads}; "
                f"peak {self.peak:.0f} GFLOP/s, memory {self.bandwidth:.0f} GB/s",
                f"a call from Python takes {duration(self.call)} more; a fit makes one every 100 ms",
            ]
        )


def profile(trainer, X, y, sample_weight=None, *, repeats: int = 7, seconds: float = 0.005) -> Profile:
    """Times one training batch, op by op. The trainer stays as it is.

    The native engine repeats an op many times within one call, so its time does not include the call.

    Parameters
    ----------
    trainer
        A `fastreg.Trainer`.
    X, y, sample_weight
        One batch, as large as in training.
    repeats
        Number of measurements per op. The median counts.
    seconds
        Approximate length of one measurement.

    Returns
    -------
    Profile

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(64, activation="relu"), fr.Dense(2)]))
    >>> profile = fr.profile(trainer, np.ones((32, 8)), np.zeros(32, int))
    >>> [op.op for op in profile.ops][:3]
    ['Gather', 'Dense', 'Dense']
    >>> print(profile)  # doctest: +SKIP
    """
    timer = _Timer(trainer, X, y, sample_weight, repeats, seconds)
    used = timer.threads
    peak, bandwidth = fma_peak(used, trainer.dtype), stream_bandwidth(used)
    ops = []
    for index, op in enumerate(timer.engine.program.ops):
        batches = 1 if isinstance(op, O.ONCE_A_STEP) else timer.accumulate
        flops, moved = (batches * work for work in _work(op, timer))
        time = timer.op(index)
        share = flops / peak if flops else moved / bandwidth if moved else None
        ops.append(OpProfile(index, type(op).__name__, _on(op), time, flops, moved, share and share / time / 1e9))
    return Profile(
        ops,
        step=timer.step(),
        call=timer.call(),
        rows=timer.rows * timer.accumulate,
        engine=trainer.engine,
        dtype=trainer.dtype,
        simd=threads.simd()["current"] if trainer.engine == "native" else "NumPy",
        threads=used,
        peak=peak,
        bandwidth=bandwidth,
    )


class _Batches(Feed):
    """The same batch several times over."""

    @property
    def rows(self) -> int:
        return len(self.need("order"))


class _Timer:
    """A copy of the trainer on one batch. Its learning rate is 0, so nothing changes however often an op runs."""

    def __init__(self, trainer, X, y, sample_weight, repeats: int, seconds: float):
        self.repeats = checking.integer("repeats", repeats)
        self.seconds = checking.positive("seconds", seconds)
        twin, (inputs, targets, weights, _) = make_twin(trainer, X, y, sample_weight)
        self.rows = rows = len(inputs)
        if rows * twin.accumulate > MOST_ROWS:
            raise ValueError(f"trainer: got accumulate={twin.accumulate}, expected at most {MOST_ROWS // rows} here")
        program, self.params = twin.program("train", rows), twin.model.parameters
        state = {
            name: tuple(padded(self.params[name].shape, twin.dtype) for _ in rule.slots)
            for name, rule in program.rules.items()
        }
        self.engine = make_engine(trainer.engine, program, self.params, state, rows, twin.dtype, trainer.threads)
        self.params = self.engine.params
        self.accumulate = program.accumulate
        self.most = max(1, MAX_ROWS // rows // self.accumulate) * self.accumulate
        order, rates = np.tile(np.arange(rows), self.most), np.zeros(self.most)
        self.feed = _Batches(inputs, rows, targets, weights, order, seed=twin.seed, step=twin.batches, rates=rates)
        self.itemsize = np.dtype(twin.dtype).itemsize
        self.engine.run(self.feed, Tally(), 0, self.accumulate)  # afterwards, buffers hold what they hold in training
        if isinstance(self.engine, NativeEngine):
            self.threads = threads.resolve(trainer.threads, self.engine.flops)
        else:
            self.threads = threads.available_processors()

    def op(self, index: int) -> float:
        def run(times: int) -> None:
            if isinstance(self.engine, NativeEngine):  # one call for all times
                ops = {"first_op": index, "stop_op": index + 1}
                self.engine._run(self.feed, Tally(), 0, times, seconds=UNLIMITED, **ops)
                return
            for batch in range(times):
                self.engine.run_op(self.feed, batch, index)

        return self._time(run) * self.accumulate

    def step(self) -> float:
        return self._time(lambda times: self.engine.run(self.feed, Tally(), 0, times)) * self.accumulate

    def call(self) -> float:
        """Seconds of one call on an op that does almost nothing."""
        ops = self.engine.program.ops
        index = next(i for i, op in enumerate(ops) if isinstance(op, O.Totals))
        return _median(lambda: self.engine.run_op(self.feed, 0, index), 5 * self.repeats)

    def _time(self, run) -> float:
        """Seconds of one batch. Each measurement runs as many in one go as take `self.seconds`."""
        times = self.accumulate
        while True:
            start = perf_counter()
            run(times)
            taken = perf_counter() - start
            if taken >= self.seconds / 2 or times == self.most:
                break
            times = min(self.most, max(2 * times, int(times * self.seconds / max(taken, 1e-9))))
            times = -(-times // self.accumulate) * self.accumulate
        return _median(lambda: run(times), self.repeats) / times


def _median(run, repeats: int) -> float:
    def once() -> float:
        start = perf_counter()
        run()
        return perf_counter() - start

    return median(once() for _ in range(repeats))


def _on(op: O.Op) -> str:
    return (
        getattr(op, "out", None)
        or getattr(op, "weight", None)
        or getattr(op, "param", None)
        or ", ".join(sorted(op.writes))
    )


def _work(op: O.Op, timer: _Timer) -> tuple[float, float]:
    """The floating-point operations of its matrix product, and the bytes that any implementation must move."""
    rows, size, buffers = timer.rows * (1 + op.doubled), timer.itemsize, timer.engine.buffers
    params = timer.params

    def of(names: Iterable[str | None]) -> int:
        return size * rows * sum(buffers[name].size // len(buffers[name]) for name in names if name)

    match op:
        case O.Dense() | O.DenseDx() | O.DenseDw():
            weight = params[op.weight].size
            through = op.through.reads if isinstance(op, O.DenseDx) else ()
            names = {op.x, op.dz} if isinstance(op, O.DenseDw) else {op.x if isinstance(op, O.Dense) else op.dz, op.out}
            slots = 2 + 2 * len(op.weight_rule.slots) if isinstance(op, O.DenseDw) else 1
            return 2.0 * rows * weight, of({*names, *through}) + slots * size * weight
        case O.Gather():
            source = getattr(timer.feed, op.source)
            return 0.0, source.nbytes + of([op.out])
        case O.Loss() | O.Totals():
            labels = timer.feed.need("targets").nbytes if isinstance(op, O.Loss) and not op.targets else 0
            return 0.0, labels + of(op.reads | op.writes)
        case O.Elementwise():
            return 0.0, of(op.reads | op.writes)
        case O.Update():
            return 0.0, (3.0 + 2 * len(op.rule.slots)) * size * params[op.param].size
        case O.Perturb():
            return 0.0, 2.0 * size * params[op.weight].size
        case O.Penalize():
            return 0.0, 3.0 * size * params[op.param].size
        case O.MaxNorm():
            return 0.0, 2.0 * size * params[op.weight].size
    return 0.0, 0.0
