"""Benchmarks of kernels: each runs in a program of one op, or as a function if a call costs little next to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import NamedTuple

import numpy as np

from fastreg import kernels, reference
from fastreg.benchmarks.rows import Row, time_of, timed
from fastreg.data.augment import Compose, Elastic, Resize, Rotate, Translate
from fastreg.engines.base import Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.engines.memory import padded
from fastreg.engines.native import NativeEngine
from fastreg.machine import threads
from fastreg.machine.peak import fma_peak, stream_bandwidth
from fastreg.program import ops
from fastreg.program.program import Program
from fastreg.program.riders import Mask, Through
from fastreg.program.rules import Rule

EPS = float(np.finfo(np.float32).eps)
KEEP = Mask(0.5, stream=1)
SHAPES = [(32, 256, 256), (64, 784, 200), (128, 512, 512), (256, 1024, 1024)]  # rows, inputs, units
LOSSES = [(128, 10), (256, 1000)]  # rows, outputs
IMAGES = 1024  # of 28 x 28, augmented
LARGE = 1 << 24  # weights of an update, elements of a dropout
QUICK = 16  # times smaller
PATIENCE = 0.2  # seconds; a faster reference runs again, because first runs are slow


@dataclass(frozen=True)
class Settings:
    """The seconds of a measurement, the number of measurements, and whether sizes are small."""

    seconds: float = 0.03
    repeats: int = 7
    quick: bool = False


SIDE = 28
AFFINE = [Rotate(15), Translate(0.1), Resize(0.1)]
AUGMENTATIONS = {"augment affine": Compose(AFFINE), "augment elastic": Compose([*AFFINE, Elastic(34, 4)])}


class Case(NamedTuple):
    """A kernel and its data.

    expected()    the results of the reference
    results()     the results of the native kernel on the same data
    run(times)    runs the native kernel `times` times
    threads()     how many threads it uses
    flops, bytes  per run; bytes count if there are no flops
    terms         the number of terms of its sums
    """

    name: str
    shape: str
    expected: Callable[[], list[np.ndarray]]
    results: Callable[[], list[np.ndarray]]
    run: Callable[[int], object]
    threads: Callable[[], int]
    flops: float
    bytes: float
    terms: int


def rows(settings: Settings) -> Iterator[Row]:
    """Every kernel on every SIMD target of this machine, the best target first."""
    before = threads.simd()["current"]
    try:
        for case in cases(settings.quick):
            expected: list[np.ndarray] = []
            reference_time = timed(lambda expected=expected, case=case: expected.extend(case.expected()))
            if reference_time < PATIENCE:
                reference_time = min(reference_time, *(timed(case.expected) for _ in range(3)))
            for target in threads.simd()["available"]:
                threads.use_simd(target)
                yield _row(case, target, expected, reference_time, settings)
    finally:
        threads.use_simd(before)


def _row(case: Case, target: str, expected: list, reference_time: float, settings: Settings) -> Row:
    error = max(_error(got, want) for got, want in zip(case.results(), expected, strict=True))
    limit = 8 * EPS * (4 + sqrt(case.terms))
    used = case.threads()
    peak = fma_peak(used) if case.flops else stream_bandwidth(used, settings.repeats)
    seconds = time_of(case.run, settings.seconds, settings.repeats) if error <= limit else None
    work, unit = (case.flops, "GFLOP/s") if case.flops else (case.bytes, "GB/s")
    return Row(case.name, case.shape, target, seconds, reference_time, work / 1e9, unit, peak, error, limit)


def _error(got: np.ndarray, want: np.ndarray) -> float:
    difference = float(np.abs(got - want).max(initial=0.0))
    return difference / max(float(np.abs(want).max(initial=0.0)), 1e-30) if difference == difference else float("inf")


def cases(quick: bool) -> Iterator[Case]:
    """All cases, one at a time, because some need much memory."""
    yield from op_cases(quick)
    yield from _passes(LARGE // QUICK**2 if quick else LARGE)


def counts(quick: bool) -> tuple[int, int]:
    """How many cases show GFLOP/s, and how many GB/s."""
    shapes, losses = (1, 1) if quick else (len(SHAPES), len(LOSSES))
    return 4 * shapes, 3 * losses + len(AUGMENTATIONS) + 4


def op_cases(quick: bool) -> Iterator[Case]:
    """The cases that run as programs of one op."""
    shrink = QUICK if quick else 1
    for M, K, N in SHAPES[-1:] if quick else SHAPES:
        yield from _products(M // shrink, K // shrink, N // shrink)
    for M, N in LOSSES[-1:] if quick else LOSSES:
        yield from _losses(M // shrink, N // shrink)
    yield from _augmentations(IMAGES // shrink)


# --- Programs of one op ----------------------------------------------------------------------------------------------


def _products(M: int, K: int, N: int) -> Iterator[Case]:
    shape, flops = f"{M} x {K} x {N}", 2.0 * M * K * N
    dense = ops.Dense("y", "x", "w", "b", "relu", KEEP)
    yield _case("dense relu dropout", shape, dense, {"x": (M, K)}, flops, 0, K)
    dx = ops.DenseDx("dx", "dz", "w", Through("y", "relu", KEEP))
    yield _case("dense_dx relu drop", shape, dx, {"dz": (M, N), "y": (M, K)}, flops, 0, N)
    for name, rule in (("sgd", Rule("sgd")), ("adam", _adam())):
        dw = ops.DenseDw("w", "b", "x", "dz", rule, rule)
        yield _case(f"dense_dw {name}", shape, dw, {"x": (M, K), "dz": (M, N)}, flops, 0, M, (K, N))


def _losses(M: int, N: int) -> Iterator[Case]:
    for kind, targets in (("softmax_cross_entropy", None), ("sigmoid_cross_entropy", "targets"), ("mse", "targets")):
        op = ops.Loss(kind, "dz", Through("y"), targets)
        given = {"y": (M, N)} | ({targets: (M, N)} if targets else {})
        moved = 4.0 * M * N * (3 if targets else 2)
        yield _case(kind.replace("cross_entropy", "ce"), f"{M} x {N}", op, given, 0, moved, N)


def _adam() -> Rule:
    return Rule("adam", beta1=0.9, beta2=0.999, eps=1e-8)


def _case(
    name: str,
    shape: str,
    op: ops.Op,
    given: dict[str, tuple[int, int]],
    flops: float,
    moved: float,
    terms: int,
    weight: tuple[int, int] | None = None,
) -> Case:
    """The op on random values. `given` are the buffers that it reads."""
    rng = np.random.default_rng(0)
    M = next(iter(given.values()))[0]
    if weight is None and flops:
        _, K, N = (int(size) for size in shape.split(" x "))
        weight = K, N
    widths = {key: width for key, (_, width) in given.items()}
    if weight and isinstance(op, ops.Dense):
        widths |= {"y": weight[1]}
    elif weight and isinstance(op, ops.DenseDx):
        widths |= {"dx": weight[0]}
    elif isinstance(op, ops.Loss):
        widths |= {"dz": widths["y"], "row_loss": 1, "row_hit": 1}
    one = Program((op,), widths)
    shapes = {"w": weight, "b": (weight[1],)} if weight else {}
    values = {key: rng.standard_normal(size, np.float32) for key, size in {**shapes, **given}.items()}
    if weight:
        values["w"] /= np.float32(sqrt(weight[0]))
    if isinstance(op, ops.DenseDx):  # a possible output of relu and dropout
        values["y"] = reference.dropout(np.maximum(values["y"], 0), KEEP.keep_prob, reference.Key(0, 0, KEEP.stream))
    if "targets" in values:
        values["targets"] = np.abs(np.tanh(values["targets"]))
    labels = rng.integers(0, widths["y"], M) if op == ops.Loss("softmax_cross_entropy", "dz", Through("y")) else None

    def make(engine: str):
        params = {key: padded(size, np.float32) for key, size in shapes.items()}
        state = {key: tuple(padded(shapes[key], np.float32) for _ in rule.slots) for key, rule in one.rules.items()}
        made = make_engine(engine, one, params, state, M, "float32")
        for key, value in values.items():
            (params if key in params else made.buffers)[key][...] = value
        for slots in state.values():
            for slot in slots:
                slot[...] = 1  # from zero, Adam's first step is the sign of g, and only its rounding would show
        return made, [
            *(params[key] for key in one.rules),
            *(made.buffers[key] for key in sorted(op.writes - shapes.keys())),
        ]

    def feed(batches: int, rate: float) -> Feed:
        inputs = np.broadcast_to(np.zeros((1, 1), np.float32), (batches * M, 1))
        targets = None if labels is None else np.tile(labels, batches)
        return Feed(inputs, M, targets, rates=np.full(batches, rate))

    def results(engine: str) -> list[np.ndarray]:
        made, written = make(engine)
        made.run_op(feed(1, 0.1), 0, 0)
        return [array.reshape(array.shape[0], -1).copy() for array in written]

    made: list[NativeEngine] = []  # for the measurements on all targets
    feeds: dict[int, Feed] = {}

    def run(times: int) -> None:
        if not made:
            made.append(make("native")[0])
        if times not in feeds:
            feeds[times] = feed(times, 0.0)
        made[0].run(feeds[times], Tally(), 0, times)

    def used() -> int:
        return threads.resolve(None, make("native")[0].flops or 20.0 * M * max(widths.values()))

    return Case(name, shape, lambda: results("reference"), lambda: results("native"), run, used, flops, moved, terms)


# --- Images -----------------------------------------------------------------------------------------------------------


def _augmentations(rows: int) -> Iterator[Case]:
    images = np.random.default_rng(0).integers(0, 256, (rows, SIDE, SIDE), np.uint8)
    for name, augment in AUGMENTATIONS.items():
        gather = Program((ops.Gather("x", "inputs", augment=augment.on((SIDE, SIDE))),), {"x": SIDE * SIDE})
        feed = Feed(images, rows)

        def results(engine: str, gather=gather, feed=feed) -> list[np.ndarray]:
            made = make_engine(engine, gather, {}, {}, rows, "float32")
            made.run_op(feed, 0, 0)
            return [made.buffers["x"].copy()]

        made = NativeEngine(gather, {}, {}, rows, "float32")

        def run(times: int, made=made, feed=feed) -> None:
            for _ in range(times):
                made.run(feed, Tally(), 0, 1)

        yield Case(
            name,
            f"{rows} x {SIDE} x {SIDE}",
            expected=partial(results, "reference"),
            results=partial(results, "native"),
            run=run,
            threads=partial(threads.resolve, None, made.flops),
            flops=0,
            bytes=5.0 * images.size,
            terms=SIDE,
        )


# --- Passes over large arrays, as functions ------------------------------------------------------------------------


def _passes(size: int) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    x, out = rng.standard_normal((size // 1024, 1024), np.float32), np.empty((size // 1024, 1024), np.float32)
    key = reference.Key(1, 2, 3)
    yield Case(
        name="dropout",
        shape=f"{size:,}",
        expected=lambda: [reference.dropout(x, 0.5, key)],
        results=lambda: [kernels.dropout(x, 0.5, key, out)],
        run=lambda times: [kernels.dropout(x, 0.5, key, out) for _ in range(times)],
        threads=threads.get_num_threads,
        flops=0,
        bytes=8.0 * size,
        terms=1,
    )
    w, g = (rng.standard_normal(size, np.float32) for _ in range(2))
    ones, slots = ([np.ones(size, np.float32) for _ in range(2)] for _ in range(2))
    for name, count, more in (("sgd", 0, ()), ("momentum", 1, ()), ("adam", 2, (1,))):

        def results(module, name=name, count=count, more=more) -> list[np.ndarray]:
            arrays = [w.copy(), *(slot.copy() for slot in ones[:count])]
            getattr(module, f"{name}_update")(arrays[0], g, *arrays[1:], 0.1, *more)
            return arrays

        def run(times: int, name=name, count=count, more=more) -> None:
            for _ in range(times):
                getattr(kernels, f"{name}_update")(w, g, *slots[:count], 0.0, *more)

        moved = 4.0 * size * (3 + 2 * count)
        yield Case(
            f"{name}_update",
            f"{size:,}",
            partial(results, reference),
            partial(results, kernels),
            run,
            threads.get_num_threads,
            0,
            moved,
            1,
        )
