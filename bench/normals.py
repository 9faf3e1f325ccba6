"""Whether the normal draws of csrc/kernels/noise.h are normal, and what the two draws of a word have in common.

    python bench/normals.py [--draws 1e7] [--words 1e8]

Needs scipy. It prints a Kolmogorov-Smirnov and an Anderson-Darling test of the draws, their moments, and the draws
beyond 1 to 6 sigma on each side beside what is expected. Then come the correlations of powers within the pairs, over
words spread evenly over all 2^32. `tests/kernels/test_normals.py` shows that a draw is the quantile of its word.
"""

import argparse

import numpy as np
from scipy import stats
from scipy.special import ndtri

from fastreg.machine import _core

FACTOR, SHIFT = np.uint32(0x9E3A75A9), np.uint32(0x5A827999)  # csrc/kernels/noise.h


def quantile(word: np.ndarray) -> np.ndarray:
    return np.where(word >> 31, -1, 1) * -ndtri(((word & 0x7FFFFFFF) + 0.5) / 2**32)


def tests(count: int) -> None:
    out = np.empty((-(-count // 4096), 4096), np.float32)
    _core.fill_draws(out, 11, 1, 2)
    x = np.sort(out.astype(np.float64).ravel())
    n = x.size
    print(f"{n} draws: Kolmogorov-Smirnov p = {stats.kstest(x, 'norm').pvalue:.3f}")
    i = np.arange(1, n + 1)
    logs = stats.norm.logcdf(x) + stats.norm.logsf(x[::-1])
    squared = -n - np.mean((2 * i - 1) * logs)
    print(f"Anderson-Darling A2 = {squared:.3f} (above 2.49 in 5 %, above 3.86 in 1 % of samples)")
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        print(f"mean of x^{power}: {(np.mean(x**power) - mean) / np.sqrt(variance / n):+.2f} standard errors")
    for beyond in (1, 2, 3, 4, 4.5, 5, 5.5, 6):
        expected = n * stats.norm.sf(beyond)
        for side, found in (("above", (x > beyond).sum()), ("below", (x < -beyond).sum())):
            print(f"{side} {beyond}: {found}, expected {expected:.2f} ({(found - expected) / np.sqrt(expected):+.2f})")


def pairs(count: int) -> None:
    """Over the words k * 2^32 / count: what is not 0 is a dependence, not chance."""
    sums, step = np.zeros((4, 4)), 2**32 // count
    for begin in range(0, count, 1 << 20):
        word = (np.arange(begin, min(begin + (1 << 20), count), dtype=np.uint64) * step + step // 3).astype(np.uint32)
        a, b = quantile(word), quantile(word * FACTOR + SHIFT)
        centred = [[z, z**2 - 1, z**3 - 3 * z, np.abs(z) - np.sqrt(2 / np.pi)] for z in (a, b)]
        sums += [[f @ g for g in centred[1]] for f in centred[0]]
    spreads = np.sqrt([1, 2, 6, 1 - 2 / np.pi])
    print(f"{count} pairs: correlations of z, z^2, z^3 - 3 z and |z| of one with those of the other:")
    print(np.array2string(sums / count / np.outer(spreads, spreads), precision=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=float, default=1e7)
    parser.add_argument("--words", type=float, default=1e8)
    options = parser.parse_args()
    tests(int(options.draws))
    pairs(int(options.words))


if __name__ == "__main__":
    main()
