"""Normal draws: each is the quantile of its word, on every target; their moments, tails and pairs."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri

from fastreg import reference as R
from fastreg.machine import _core

KEY = R.Key(seed=0x123456789, step=7, stream=3, row=2)
# What float may be off: the quotient of polynomials, and a tail rounded to 24 bits. double: 16 digits.
WITHIN = {np.float32: 4e-6, np.float64: 3e-14}


def drawn(rows: int, columns: int, dtype=np.float32, key=KEY) -> np.ndarray:
    out = np.empty((rows, columns), dtype)
    _core.fill_draws(out, *key)
    return out


def words(rows: int, columns: int) -> np.ndarray:
    """The word of each draw, from the draws of masks: sixteen columns have eight words, each of them used twice."""
    halves = R.draws(KEY, rows, columns).astype(np.uint32)
    word = (halves[:, 0::2] | halves[:, 1::2] << 16).reshape(rows, -1, 1, 8)
    return np.concatenate([word, word * np.uint32(0x9E3A75A9) + np.uint32(0x5A827999)], axis=2).reshape(rows, columns)


def quantile(word: np.ndarray) -> np.ndarray:
    tail = ((word & 0x7FFFFFFF) + 0.5) / 2**32
    return np.where(word >> 31, -1, 1) * -ndtri(tail)


@pytest.fixture(params=_core.simd_available())
def target(request):
    before = _core.simd_current()
    _core.simd_use(request.param)
    yield request.param
    _core.simd_use(before)


@pytest.mark.parametrize("dtype", WITHIN)
def test_a_draw_is_the_quantile_of_its_word(dtype, target):
    expected = quantile(words(300, 2048))
    assert np.abs(expected).max() > 4.5  # the far tails are among them
    np.testing.assert_allclose(drawn(300, 2048, dtype), expected, rtol=0, atol=WITHIN[dtype])


@pytest.mark.parametrize("dtype", WITHIN)
def test_all_targets_with_fused_multiply_add_give_the_same_bits(dtype, target):
    if target == "generic":
        pytest.skip("it rounds twice")
    found = drawn(40, 1000, dtype)
    _core.simd_use(next(name for name in _core.simd_available() if name != "generic"))
    assert found.tobytes() == drawn(40, 1000, dtype).tobytes()


def test_a_draw_depends_on_its_column_alone():
    whole = drawn(3, 200)
    for columns in (1, 15, 16, 17, 64, 65, 130):
        assert drawn(3, columns).tobytes() == whole[:, :columns].tobytes()


def test_moments_and_tails():
    """Of two million draws. `python bench/normals.py` does the same with more of them."""
    x = drawn(1000, 2000).astype(np.float64).ravel()
    n = x.size
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - mean) < 4 * np.sqrt(variance / n), power
    assert stats.kstest(x, "norm").pvalue > 0.001
    for beyond in (1, 2, 3, 4):
        expected = n * stats.norm.sf(beyond)
        assert abs((x > beyond).sum() - expected) < 4 * np.sqrt(expected), beyond
        assert abs((x < -beyond).sum() - expected) < 4 * np.sqrt(expected), beyond


def test_the_two_draws_of_a_word_are_independent():
    """Correlations of odd, even and tail functions of the pair, and of neighbours."""
    pairs = drawn(4000, 512).astype(np.float64).reshape(-1, 2, 8)
    first, second = pairs[:, 0].ravel(), pairs[:, 1].ravel()
    functions = [lambda z: z, lambda z: z**2, np.abs, np.sign, lambda z: z > 3, lambda z: np.abs(z) > 2.5]
    for f in functions:
        for g in functions:
            assert abs(np.corrcoef(f(first), g(second))[0, 1]) < 4.5 / np.sqrt(first.size)
    assert abs(np.corrcoef(pairs[:, 0, :-1].ravel(), pairs[:, 0, 1:].ravel())[0, 1]) < 4.5 / np.sqrt(first.size)
