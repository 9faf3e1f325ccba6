"""Kernel benchmarks for pytest-benchmark: `pytest bench`, with its options (--benchmark-compare, ...).

Each kernel is compared with the reference before it is timed. Sizes and operands are those of `fastreg bench`.
"""

import numpy as np
import pytest

from fastreg import kernels, reference
from fastreg.benchmarks.kernels import EPS, op_cases
from fastreg.machine import threads

pytest.importorskip("pytest_benchmark")

BATCHES = 16  # per call, so that the call itself takes a small part of the time
CASES = {f"{case.name}, {case.shape}": case for case in op_cases(quick=False)}


@pytest.fixture(params=threads.simd()["available"])
def target(request):
    before = threads.simd()["current"]
    threads.use_simd(request.param)
    yield request.param
    threads.use_simd(before)


@pytest.mark.parametrize("name", CASES)
def test_op(benchmark, target, name):
    case = CASES[name]
    for got, want in zip(case.results(), case.expected(), strict=True):
        np.testing.assert_allclose(got, want, atol=8 * EPS * (4 + np.sqrt(case.terms)) * abs(want).max())
    benchmark.extra_info |= {"batches": BATCHES, "flops": BATCHES * case.flops, "bytes": BATCHES * case.bytes}
    benchmark(case.run, BATCHES)


SIZE = 1 << 22
rng = np.random.default_rng(0)


def test_dropout(benchmark, target):
    x, key = rng.standard_normal((SIZE // 1024, 1024), np.float32), reference.Key(1, 2, 3)
    out = np.empty_like(x)
    np.testing.assert_array_equal(kernels.dropout(x, 0.5, key, out), reference.dropout(x, 0.5, key))
    benchmark(kernels.dropout, x, 0.5, key, out)


@pytest.mark.parametrize(("name", "slots", "more"), [("sgd", 0, ()), ("momentum", 1, ()), ("adam", 2, (1,))])
def test_update(benchmark, target, name, slots, more):
    w, g = rng.standard_normal((2, SIZE), np.float32)
    sides = []
    for module in (kernels, reference):
        arrays = [w.copy(), *(np.ones(SIZE, np.float32) for _ in range(slots))]
        getattr(module, f"{name}_update")(arrays[0], g, *arrays[1:], 0.1, *more)
        sides.append(arrays)
    for got, want in zip(*sides, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    benchmark(getattr(kernels, f"{name}_update"), sides[0][0], g, *sides[0][1:], 0.0, *more)
