"""The built-in data sets: two that ship with scikit-learn, two made by formulas. None needs a download."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastreg.common import checking
from fastreg.common.understood import understood

Samples = tuple[np.ndarray, np.ndarray]  # inputs, and their labels or targets


@understood
def load(name: str, *, seed: int = 0) -> Samples:
    """Load a built-in data set.

    Parameters
    ----------
    name : {"digits", "breast-cancer", "curve", "moons"}
        digits : 1,797 handwritten digits of 8 x 8 grey values, scaled to [0, 1]; X (1797, 64) float32, labels 0 to 9
        breast-cancer : 569 tumours, 30 measurements in their own units; X (569, 30) float64, labels 0 and 1
        curve : a sum of five sines with random coefficients, plus noise; X (10000, 1) in [0, 4 pi], targets (10000, 1)
        moons : two interleaved half circles, plus noise; X (2000, 2) float64, labels 0 and 1
    seed : int
        Decides the random coefficients and the noise of curve and moons.

    Returns
    -------
    X, y : ndarray
        The samples, and their integer labels (n,) or float targets (n, 1).

    Raises
    ------
    ValueError
        There is no data set of that name.
    ImportError
        digits and breast-cancer ship with scikit-learn, which is not installed.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> X.shape, y.shape
    ((2000, 2), (2000,))
    """
    return SETS[checking.choice("name", name, SETS)](np.random.default_rng(checking.seed(seed)))


def _digits(_: np.random.Generator) -> Samples:
    bunch = _sklearn_datasets("digits").load_digits()
    return (bunch.data / 16).astype(np.float32), bunch.target.astype(np.int64)


def _breast_cancer(_: np.random.Generator) -> Samples:
    bunch = _sklearn_datasets("breast-cancer").load_breast_cancer()
    return bunch.data, bunch.target.astype(np.int64)


def _curve(random: np.random.Generator, n: int = 10_000, terms: int = 5, noise: float = 0.1) -> Samples:
    """y = sum of A sin(B x + C), where A, B and C each have their own Gaussian distribution."""
    a, b, c = random.normal(1, 0.5, terms), random.normal(1, 0.5, terms), random.normal(0, 2, terms)
    x = np.linspace(0, 4 * np.pi, n)[:, None]
    y = np.sin(x * b + c) @ a[:, None]
    return x, y + random.normal(0, noise, y.shape)


def _moons(random: np.random.Generator, n: int = 2_000, noise: float = 0.2) -> Samples:
    """The upper half circle about (0, 0) and the lower one about (1, 1/2)."""
    y = np.arange(n) % 2
    angle = random.uniform(0, np.pi, n)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    X = np.where(y[:, None] == 0, upper, [1, 0.5] - upper)
    return X + random.normal(0, noise, X.shape), y


def _sklearn_datasets(name: str):
    try:
        from sklearn import datasets
    except ImportError:
        message = f'the set {name!r} comes with scikit-learn, which is missing: pip install "fastreg[sklearn]"'
        raise ImportError(message) from None
    return datasets


SETS: dict[str, Callable[[np.random.Generator], Samples]] = {
    "digits": _digits,
    "breast-cancer": _breast_cancer,
    "curve": _curve,
    "moons": _moons,
}
