"""Errors of csrc/kernels/vmath.h in units in the last place (ulp), and whether all SIMD targets give the same bits.

    python bench/ulp.py [--quick] [--function exp ...] [--target avx2 ...]

float32: all 2^32 arguments, compared with libm in double. float64: random and chosen arguments, compared with
libquadmath (113 bits). This takes about ten minutes on two cores. --quick takes a sample, in some seconds. Needs gcc,
numpy and x86-64.

One row for each function, dtype and target:
    ulp   the largest error, in units in the last place of the exact result, and the argument where it occurs
    abs   the largest error over max(1, |x|, |result|), and its argument: says more near a zero of the result
    bits  the number of arguments whose result differs in any bit from that of the first target (all NaNs are equal)
"""

import argparse
import ctypes
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CSRC = Path(__file__).resolve().parent.parent / "csrc"
FUNCTIONS = ["exp", "log", "log1p", "sigmoid", "tanh", "erf", "gelu", "gelu_grad", "gelu_tanh", "gelu_tanh_grad"]
FUNCTIONS += ["silu", "silu_grad", "elu", "elu_grad", "selu", "selu_grad", "softplus", "softplus_grad"]
FUNCTIONS += ["mish", "mish_grad", "hard_swish", "hard_swish_grad"]
LOOPS = " ".join(f"LOOP({function})" for function in FUNCTIONS)
FLAGS = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
    "generic": [],
}
DTYPE = {32: np.float32, 64: np.float64}
UINT = {32: np.uint32, 64: np.uint64}
CHUNK = {32: 1 << 20, 64: 1 << 14}

# What is measured: every function over an array.
SUBJECT = r"""
#include "kernels/vmath.h"
#define LOOP(f) \
    void run_##f(const real *x, real *y, long n); \
    void run_##f(const real *x, real *y, long n) { \
        for (long i = 0; i + VL <= n; i += VL) { vstore(y + i, v##f(vload(x + i))); } \
    }
"""

# The reference, in `wide` arithmetic, and the comparison.
REFERENCE = r"""
#include <math.h>
#if REAL_BITS == 32
typedef float real;
typedef double wide;
#define W(f) f
#define C(x) x
#define PI M_PI
enum { DIGITS = 24, EMIN = -126, EMAX = 128 };
#else
#include <quadmath.h>
typedef double real;
typedef __float128 wide;
#define W(f) f##q
#define C(x) x##Q
#define PI M_PIq
enum { DIGITS = 53, EMIN = -1022, EMAX = 1024 };
#endif

static wide w_exp(wide x) { return W(exp)(x); }
static wide w_log(wide x) { return W(log)(x); }
static wide w_log1p(wide x) { return W(log1p)(x); }
static wide w_tanh(wide x) { return W(tanh)(x); }
static wide w_erf(wide x) { return W(erf)(x); }
static wide w_sigmoid(wide x) {
    const wide e = W(exp)(-W(fabs)(x));
    return (x < 0 ? e : 1) / (1 + e);
}
static wide normal(wide x) { return W(erfc)(-x * W(sqrt)((wide)0.5)) / 2; }
static wide w_gelu(wide x) { return x < -1000 ? 0 : x * normal(x); }
static wide w_gelu_grad(wide x) {
    return W(fabs)(x) > 1000 ? x > 0 : normal(x) + x * W(exp)(-x * x / 2) / W(sqrt)(2 * (wide)PI);
}
/* x (1 + tanh u) / 2 = x sigmoid(2 u) */
static wide two_u(wide x) { return 2 * W(sqrt)(2 / (wide)PI) * (x + (wide)44715 / 1000000 * x * x * x); }
static wide w_gelu_tanh(wide x) { return x < -1000 ? 0 : x * w_sigmoid(two_u(x)); }
static wide w_gelu_tanh_grad(wide x) {
    if (W(fabs)(x) > 1000) {
        return x > 0;
    }
    const wide v = two_u(x);
    const wide slope = 2 * W(sqrt)(2 / (wide)PI) * (1 + (wide)134145 / 1000000 * x * x);
    return w_sigmoid(v) + x * w_sigmoid(v) * w_sigmoid(-v) * slope;
}

static wide w_silu(wide x) { return x < -1000 ? 0 : x * w_sigmoid(x); }
static wide w_silu_grad(wide x) {
    return W(fabs)(x) > 1000 ? x > 0 : w_sigmoid(x) * (1 + x * w_sigmoid(-x));
}
static wide w_elu(wide x) { return x > 0 ? x : W(expm1)(x); }
static wide w_elu_grad(wide a) { return a > 0 ? 1 : a + 1; } /* of the output, as those of selu and softplus */
static const wide scale = C(1.0507009873554804934193349852946), alpha = C(1.6732632423543772848170429916717);
static wide w_selu(wide x) { return scale * (x > 0 ? x : alpha * W(expm1)(x)); }
static wide w_selu_grad(wide a) { return a > 0 ? scale : a + scale * alpha; }
static wide w_softplus(wide x) { return W(fmax)(x, 0) + W(log1p)(W(exp)(-W(fabs)(x))); }
static wide w_softplus_grad(wide a) { return -W(expm1)(-W(fabs)(a)); } /* no output is below 0 */
static wide w_mish(wide x) { return x < -1000 ? 0 : x * W(tanh)(w_softplus(x)); }
static wide w_mish_grad(wide x) {
    if (W(fabs)(x) > 1000) {
        return x > 0;
    }
    const wide c = W(cosh)(w_softplus(x));
    return W(tanh)(w_softplus(x)) + x * w_sigmoid(x) / (c * c);
}
static wide w_hard_swish(wide x) { return x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6; }
static wide w_hard_swish_grad(wide x) { return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + (wide)0.5; }

#define LOOP(f) void ref_##f(const real *x, wide *y, long n) { for (long i = 0; i < n; i++) { y[i] = w_##f(x[i]); } }
LOOPS

/* An infinity counts as 2^EMAX, the value that overflow rounds from. */
static wide bounded(wide y) {
    const wide top = W(scalbn)(1, EMAX);
    return y > top ? top : y < -top ? -top : y;
}

/* worst: largest error in ulp, its argument, largest error over max(1, |x|, |result|), its argument */
void compare(const real *x, const real *y, const wide *ref, long n, double *worst) {
    for (int j = 0; j < 4; j++) {
        worst[j] = 0;
    }
    for (long i = 0; i < n; i++) {
        double ulp, absolute;
        if (y[i] != y[i] || ref[i] != ref[i]) {
            ulp = absolute = (y[i] != y[i]) == (ref[i] != ref[i]) ? 0 : HUGE_VAL;
        } else {
            const wide r = bounded(ref[i]), d = W(fabs)(bounded(y[i]) - r);
            if (d == 0) {
                continue;
            }
            const int e = r == 0 ? EMIN : W(ilogb)(r);
            ulp = (double)W(scalbn)(d, DIGITS - 1 - (e < EMIN ? EMIN : e));
            absolute = (double)(d / W(fmax)(1, W(fmax)(W(fabs)(x[i]), W(fabs)(r))));
        }
        if (ulp > worst[0]) {
            worst[0] = ulp;
            worst[1] = x[i];
        }
        if (absolute > worst[2]) {
            worst[2] = absolute;
            worst[3] = x[i];
        }
    }
}
"""


def compile_c(folder, name, source, flags):
    path = Path(folder) / name
    path.with_suffix(".c").write_text(source)
    command = ["gcc", "-O3", "-std=gnu11", "-ffp-contract=off", "-fPIC", "-shared", f"-I{CSRC}", *flags]
    subprocess.run([*command, path.with_suffix(".c"), "-o", path.with_suffix(".so"), "-lquadmath", "-lm"], check=True)
    return ctypes.CDLL(str(path.with_suffix(".so")))


def runs_here(target):
    flags = Path("/proc/cpuinfo").read_text().split()
    return all(option[2:] in flags for option in FLAGS[target])


def arguments32(stride):
    """All bit patterns, or every `stride`-th."""
    for start in range(0, 1 << 32, CHUNK[32] * stride):
        bits = np.arange(start, start + CHUNK[32] * stride, stride, dtype=np.uint64)
        yield (bits & 0xFFFFFFFF).astype(np.uint32).view(np.float32)


def arguments64(chunks):
    """Random bit patterns, uniform numbers at several scales, and neighbours of the points where something changes."""
    n = CHUNK[64]
    rng = np.random.default_rng(0)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 2.2250738585072014e-308, np.finfo(float).max])
    centres = np.concatenate(
        [
            special,
            -special,
            2.0 ** np.arange(-60, 12),
            np.arange(1, 2200) * (np.log(2) / 2),
            np.sqrt(0.5) * 2.0 ** np.arange(-8, 8),
            [6, 20, 22, 38.62, 710, 745.2, 746, 709.782712893384, -1 + 2.0**-53],
        ]
    )
    near = np.concatenate([centres, -centres])
    near = (near.view(np.int64)[:, None] + np.arange(-8, 9)).ravel().view(np.float64)
    yield np.resize(near, -(-near.size // 64) * 64)
    for i in range(chunks):
        if i % 4 == 0:
            yield rng.integers(0, 1 << 64, n, dtype=np.uint64).view(np.float64)
        else:
            yield rng.uniform(-1, 1, n) * [1.0, 8.0, 50.0, 760.0, 2.0**-6, 2.0][i // 4 % 6]


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def measure(x, function, bits, reference, subjects):
    """For one chunk: the number of arguments, and {target: (worst of `compare`, results unlike the first target's)}."""
    n = ctypes.c_long(x.size)
    exact = np.empty(x.size * bits // 32 * 8, dtype=np.uint8)
    getattr(reference, "ref_" + function)(pointer(x), pointer(exact), n)
    results, first = {}, None
    for target, library in subjects.items():
        y = np.empty_like(x)
        worst = np.empty(4)
        getattr(library, "run_" + function)(pointer(x), pointer(y), n)
        reference.compare(pointer(x), pointer(y), pointer(exact), n, pointer(worst))
        first = y if first is None else first
        differ = (y.view(UINT[bits]) != first.view(UINT[bits])) & ~(np.isnan(y) & np.isnan(first))
        results[target] = worst, int(differ.sum())
    return x.size, results


def in_threads(pool, workers, inputs, *rest):
    """measure(x, *rest) for each x of inputs, a few at a time. ctypes releases the interpreter during a call."""
    pending = []
    for x in inputs:
        pending.append(pool.submit(measure, x, *rest))
        if len(pending) > 2 * workers:
            yield pending.pop(0).result()
    for future in pending:
        yield future.result()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only a sample, in some seconds")
    parser.add_argument("--function", nargs="+", default=FUNCTIONS, choices=FUNCTIONS)
    parser.add_argument("--target", nargs="+", default=[t for t in FLAGS if runs_here(t)], choices=list(FLAGS))
    parser.add_argument("--bits", nargs="+", type=int, default=[32, 64], choices=[32, 64])
    args = parser.parse_args()

    started = time.time()
    workers = os.cpu_count()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        heads = f"{'function':15} {'dtype':8} {'target':8} {'ulp':>10} {'at':>15} {'abs':>10} {'at':>15} {'bits':>11}"
        print(heads, flush=True)
        for bits in args.bits:
            reference = compile_c(
                folder, f"reference{bits}", REFERENCE.replace("LOOPS", LOOPS), ["-O2", f"-DREAL_BITS={bits}"]
            )
            subjects = {}
            for target in args.target:
                flags = [f"-DREAL_BITS={bits}", "-include", f"targets/{target}.h", *FLAGS[target]]
                subjects[target] = compile_c(folder, f"{target}_{bits}", SUBJECT + LOOPS, flags)
            for function in args.function:
                total = {target: [np.zeros(4), 0] for target in subjects}
                if bits == 32:
                    inputs = arguments32(1021 if args.quick else 1)
                else:
                    inputs = arguments64(24 if args.quick else 480)
                count = 0
                for size, results in in_threads(pool, workers, inputs, function, bits, reference, subjects):
                    count += size
                    for target, (worst, differ) in results.items():
                        for j in (0, 2):
                            if worst[j] > total[target][0][j]:
                                total[target][0][j : j + 2] = worst[j : j + 2]
                        total[target][1] += differ
                for target, (worst, differ) in total.items():
                    print(
                        f"{function:15} {np.dtype(DTYPE[bits]).name:8} {target:8} {worst[0]:10.3f} {worst[1]:15.8g} "
                        f"{worst[2]:10.2e} {worst[3]:15.8g} {differ:11}",
                        flush=True,
                    )
            print(f"# {count} arguments each, {time.time() - started:.0f} s so far", flush=True)


if __name__ == "__main__":
    main()
