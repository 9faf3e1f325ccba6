"""`profile`: where the time of a training step goes, op by op, compared with the machine's peak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from fastreg import plots
from fastreg.checks.parts import Part, by_part, parts_of
from fastreg.checks.twin import make_twin
from fastreg.common import checking
from fastreg.common.attributes import Suggesting
from fastreg.common.fileio import PathLike
from fastreg.common.sparse import SparseRows
from fastreg.common.tables import duration, percent, table, times
from fastreg.common.understood import understood
from fastreg.engines.base import Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.engines.memory import padded
from fastreg.engines.native import UNLIMITED, NativeEngine
from fastreg.machine import threads
from fastreg.machine.peak import fma_peak, stream_bandwidth
from fastreg.program import images as I
from fastreg.program import ops as O
from fastreg.program.embedding import Embed, EmbedDw
from fastreg.program.normalize import Norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UPDATES = ("DenseDw", "ConvDw", "BiasDw", "EmbedDw", "Couple", "Penalize", "ClipNorm", "Update", "MaxNorm", "RowNorm")
MAX_ROWS = 1 << 20  # in all the repeated batches of one measurement
REFERENCE_REPEATS = 3
MOST_ROWS = 1 << 26  # in a step: more could not be repeated


@dataclass(frozen=True)
class OpProfile(Suggesting):
    """The profile of one op of the program.

    index, op   its place and kind
    on          the buffer or parameter that it writes
    seconds     per step (of `accumulate` batches, usually one): the median of several measurements
    flops       floating-point operations of its matrix product; 0 for other ops
    bytes       least number of bytes to read and write; 0 if unknown
    share       of the peak: flops relative to the fused multiply-adds of the threads used, or bytes relative to the
                memory's bandwidth (above 1 if data are in the caches); None if both are 0
    part        the layer that it belongs to, or the data, the loss, or clipping
    """

    index: int
    op: str
    on: str
    seconds: float
    flops: float
    bytes: float
    share: float | None
    part: Part

    @property
    def layer(self) -> str | None:
        """The name of its layer; None if it belongs to no layer."""
        return self.part.layer

    @property
    def phase(self) -> str:
        """What it is for: "forward", "backward" (gradients on the way back) or "update" (of parameters)."""
        if self.op in UPDATES:
            return "update"
        return "backward" if self.on.startswith("d:") and self.op != "Loss" else "forward"

    @property
    def rate(self) -> str:
        """GFLOP/s or GB/s, as text."""
        if self.flops:
            return f"{self.flops / self.seconds / 1e9:.1f} GFLOP/s"
        return f"{self.bytes / self.seconds / 1e9:.1f} GB/s" if self.bytes else "-"


@dataclass(frozen=True)
class PartProfile(Suggesting):
    """The profile of a part of a step: of a layer, or of the data, the loss or clipping, which belong to no layer.

    part      which; `part.layer` is the name of the layer, or None, and `part.title` is for tables
    ops       its ops
    seconds   the time of its ops together
    of_all    this time over that of all ops
    """

    part: Part
    ops: list[OpProfile]
    seconds: float
    of_all: float


@dataclass(frozen=True, repr=False)
class Profile(Suggesting):
    """The result of `profile`. Print it for a table.

    ops          one `OpProfile` per op
    step         seconds of a whole step, as in training. It differs from the sum of the ops: an op that is measured
                 alone finds its data in the caches and waits at only one barrier
    call         seconds of one call of the engine from Python; not part of the time of any op
    rows, engine, dtype, simd, threads   what was measured; the rows are those of all batches of a step
    peak, bandwidth                      GFLOP/s and GB/s that shares refer to, measured just before
    reference    seconds of the fastest measured step of the reference engine, in NumPy; None if it was not measured
    by_layer     one `PartProfile` per layer, and for the data, the loss and clipping
    speedup      how many times as fast as the reference engine; None if that was not measured
    verdict      in one sentence, how long a step takes, and in which layer most of it goes
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
    reference: float | None = None

    @cached_property
    def share(self) -> float:
        """The rate of a step's matrix products over the floating-point peak."""
        return sum(op.flops for op in self.ops) / self.step / 1e9 / self.peak

    @property
    def speedup(self) -> float | None:
        return self.reference and self.reference / self.step

    @cached_property
    def by_layer(self) -> list[PartProfile]:
        total = sum(op.seconds for op in self.ops)
        parts = []
        for part, ops in by_part(self.ops, lambda op: op.part):
            seconds = sum(op.seconds for op in ops)
            parts.append(PartProfile(part, ops, seconds, seconds / total))
        return parts

    @property
    def verdict(self) -> str:
        most = max(self.by_layer, key=lambda part: part.seconds)
        faster = f", {times(self.speedup)} as fast as the NumPy engine" if self.speedup else ""
        return (
            f"a step of {self.rows} rows takes {duration(self.step)}{faster}; "
            f"{percent(most.of_all)} of it in {most.part.short}"
        )

    def plot(self, path: PathLike | None = None, title: str | None = None) -> Figure:
        """Draws where the time goes, and how near each op is to the peak. See `fastreg.plots.plot_profile`."""
        return plots.plot_profile(self, path, title)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.verdict}>"

    def __str__(self) -> str:
        total = sum(op.seconds for op in self.ops)
        rows = []
        for part in self.by_layer:
            rows.append([part.part.title, "", duration(part.seconds), percent(part.of_all), "", ""])
            rows += [
                [
                    *(f"{op.index:>4}  {op.op}", op.on, duration(op.seconds), percent(op.seconds / total)),
                    *(op.rate, percent(op.share)),
                ]
                for op in part.ops
            ]
        return "\n".join(
            [
                f"{self.verdict}\n",
                f"{table(['op', 'on', 'time', 'of all', 'rate', 'of peak'], rows, left=2)}\n",
                "on: the buffer or parameter that it writes (d: a gradient)",
                f"time: per step, the median of some measurements; the ops one by one take {duration(total)}. Measured "
                "alone,",
                "  an op finds its data in the caches; the whole step, also measured, does not",
                "of all: the share of this sum",
                "rate: operations of the matrix product, or bytes read and written at least, per second",
                f"of peak: the rate over that of the machine, {self.peak:.0f} GFLOP/s and {self.bandwidth:.0f} GB/s; "
                f"all products of a step: {percent(self.share)}",
                f"engine {self.engine}, {self.dtype}, {self.simd}, threads: {self.threads}; "
                f"a call from Python takes {duration(self.call)} more, once in 100 ms",
            ]
        )


@understood
def profile(
    trainer, X, y, sample_weight=None, *, repeats: int = 7, seconds: float = 0.005, reference: bool = True
) -> Profile:
    """Times one training batch, op by op. The trainer stays as it is.

    The native engine repeats an op many times within one call, so its time does not include the call. It takes about a
    second, and for large networks as long as `repeats` + 2 steps, five of them on the reference engine.

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
    reference
        Whether to time a step of the reference engine too, to say how much faster the native engine is.

    Returns
    -------
    Profile
        It has `verdict`, a sentence, `by_layer`, `ops`, `step` and `plot`. Print it for a table.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(64, activation="relu"), fr.Dense(2)]))
    >>> profile = fr.profile(trainer, np.ones((32, 8)), np.zeros(32, int))
    >>> [op.op for op in profile.ops][:3]
    ['Gather', 'Dense', 'Dense']
    >>> print(profile)  # doctest: +SKIP
    """
    reference = checking.flag("reference", reference)
    timer = _Timer(trainer, X, y, sample_weight, repeats, seconds)
    used = timer.threads
    peak, bandwidth = fma_peak(used, trainer.dtype), stream_bandwidth(used)
    ops = []
    parts = parts_of(timer.engine.program, timer.model)
    for index, op in enumerate(timer.engine.program.ops):
        batches = 1 if isinstance(op, O.ONCE_A_STEP) else timer.accumulate
        flops, moved = (batches * work for work in _work(op, timer))
        time = timer.op(index)
        share = flops / peak if flops else moved / bandwidth if moved else None
        share = share and share / time / 1e9
        ops.append(OpProfile(index, type(op).__name__, _on(op), time, flops, moved, share, parts[index]))
    numpy = None
    if reference and trainer.engine == "native":
        twin = trainer.copy(engine="reference")
        numpy = _Timer(twin, X, y, sample_weight, min(timer.repeats, REFERENCE_REPEATS), seconds).step(min)
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
        reference=numpy,
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
        twin, data = make_twin(trainer, X, y, sample_weight)
        self.rows = rows = data.size
        if rows * twin.accumulate > MOST_ROWS:
            raise ValueError(f"trainer: got accumulate={twin.accumulate}, expected at most {MOST_ROWS // rows} here")
        self.model = twin.model
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
        feed = data.feed(rows, order, seed=twin.seed, step=twin.batches, rates=rates)
        self.feed = _Batches(**vars(feed))
        self.itemsize = np.dtype(twin.dtype).itemsize
        self.engine.run(self.feed, Tally(), 0, self.accumulate)  # afterwards, buffers hold what they hold in training
        self.unwritten: dict[str, SparseRows] = {}
        if isinstance(self.engine, NativeEngine):
            self.unwritten = self.engine.unwritten(feed)
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

    def step(self, of=median) -> float:
        return self._time(lambda times: self.engine.run(self.feed, Tally(), 0, times), of) * self.accumulate

    def call(self) -> float:
        """Seconds of one call on an op that does almost nothing."""
        ops = self.engine.program.ops
        index = next(i for i, op in enumerate(ops) if isinstance(op, O.Totals))
        return _seconds(lambda: self.engine.run_op(self.feed, 0, index), 5 * self.repeats)

    def _time(self, run, of=median) -> float:
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
        return _seconds(lambda: run(times), self.repeats, of) / times


def _seconds(run, repeats: int, of=median) -> float:
    def once() -> float:
        start = perf_counter()
        run()
        return perf_counter() - start

    return of([once() for _ in range(repeats)])


def _on(op: O.Op) -> str:
    names = (getattr(op, name, None) for name in ("out", "weight", "param"))
    return next((name for name in names if isinstance(name, str)), ", ".join(sorted(op.writes)))


def _moved_by_sparse(op: O.Dense | O.DenseDw, x: SparseRows, timer: _Timer) -> float:
    """The bytes that a product with sparse rows must move. Its few operations don't count."""
    weight = timer.params[op.weight]
    elements, units = int(x.starts[-1] - x.starts[0]), weight.shape[1]
    if isinstance(op, O.Dense):
        moved = min(elements, len(weight)) + timer.rows  # rows of the weight, and of the result
    else:
        moved = (2 + 2 * len(op.weight_rule.slots)) * len(weight) + timer.rows
    return x.nbytes + float(timer.itemsize * moved * units)


def _work(op: O.Op, timer: _Timer) -> tuple[float, float]:
    """The floating-point operations of its matrix product, and the bytes that any implementation must move."""
    size, buffers = timer.itemsize, timer.engine.buffers
    rows = timer.rows * (2 if op.span == "both" else 1)
    params = timer.params

    def of(names: Iterable[str | None]) -> int:
        return size * rows * sum(buffers[name].size // len(buffers[name]) for name in names if name)

    match op:
        case O.Dense() | O.DenseDw() if op.x in timer.unwritten:
            return 0.0, _moved_by_sparse(op, timer.unwritten[op.x], timer)
        case O.Gather() if op.out in timer.unwritten:
            return 0.0, timer.unwritten[op.out].nbytes
        case O.Dense() | O.DenseDx() | O.DenseDw():
            weight = params[op.weight].size
            through = op.through.reads if isinstance(op, O.DenseDx) else ()
            names = {op.x, op.dz} if isinstance(op, O.DenseDw) else {op.x if isinstance(op, O.Dense) else op.dz, op.out}
            slots = 2 + 2 * len(op.weight_rule.slots) if isinstance(op, O.DenseDw) else 1
            windows = op.window.count if isinstance(op, (I.Conv, I.ConvDx, I.ConvDw)) else 1
            return 2.0 * rows * windows * weight, of({*names, *through}) + slots * size * weight
        case O.Gather():
            source = timer.feed.need(op.source)
            return 0.0, source.nbytes + of([op.out])
        case O.Loss() | O.Totals():
            labels = timer.feed.need(op.source).nbytes if isinstance(op, O.Loss) and not op.targets else 0
            return 0.0, labels + of(op.reads | op.writes)
        case O.Elementwise() | I.Pool() | I.PoolDx():
            return 0.0, of(op.reads | op.writes)
        case O.BiasDw():
            return 0.0, of([op.dz])
        case O.Couple():
            return 0.0, 6.0 * size * params[op.a].size
        case Norm():
            return 0.0, of((op.reads | op.writes) & set(buffers))
        case O.Update():
            return 0.0, (3.0 + 2 * len(op.rule.slots)) * size * params[op.param].size
        case O.Perturb() | I.Flip():
            return 0.0, 2.0 * size * params[op.weight].size
        case O.Penalize():
            return 0.0, 3.0 * size * params[op.param].size
        case O.Average():
            return 0.0, 3.0 * size * params[op.param].size
        case Embed():
            return 0.0, of([op.x]) + 2.0 * of([op.out])
        case EmbedDw():
            touched = min(params[op.weight].size, rows * buffers[op.dz].shape[1])
            return 0.0, of([op.x, op.dz]) + 2.0 * (1 + len(op.rule.slots)) * size * touched
        case O.MaxNorm() | O.RowNorm():
            return 0.0, 2.0 * size * params[op.weight].size
    return 0.0, 0.0
