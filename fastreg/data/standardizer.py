"""Standardizer: scales the columns of a data set to mean 0 and variance 1."""

from __future__ import annotations

import math

import numpy as np

from fastreg.common import checking
from fastreg.common.attributes import Suggesting
from fastreg.common.sparse import is_sparse
from fastreg.layers import Standardize


class Standardizer(Suggesting):
    """Shifts and scales columns to mean 0 and variance 1: (x - mean) / sigma (LeCun et al., Efficient BackProp, 1998).

    Fit it to the training part alone, and use the same numbers for every other part. It can be the first layer of a
    model. The model then scales data as it reads them, without a copy. It takes raw data from then on, also after it is
    loaded from a file.

    Attributes
    ----------
    mean_, var_ : ndarray
        Mean and variance of every column, float64, in the shape of a sample. The variance is that of the population:
        divided by the number of rows.
    scale_ : ndarray
        Sigma, the square root of the variance. It is 1 where the variance is 0, so a constant column becomes zeros.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.random.default_rng(0).normal(50, 20, size=(100, 3))
    >>> standardizer = fr.data.Standardizer().fit(X)
    >>> np.allclose(standardizer.transform(X).std(axis=0), 1)
    True
    >>> model = fr.Sequential([standardizer, fr.Dense(2)])
    >>> model.build(3)
    >>> sorted(model.state_dict())
    ['0.mean', '0.scale', '1.bias', '1.weight']
    """

    mean_: np.ndarray
    var_: np.ndarray
    scale_: np.ndarray

    _later = ("mean_", "var_", "scale_")

    def fit(self, X) -> Standardizer:
        """Finds mean and sigma of every column. Returns the standardizer itself.

        Works through X in chunks, in float64, by the pairwise update of Chan, Golub and LeVeque (1979). The first row
        is subtracted from all rows before, so the variance of a constant column is exactly zero.

        Parameters
        ----------
        X
            (n, ...) finite real numbers of any strides, or a memory map. Copied whole only if the dtype is float16,
            long double or unsigned with 32 or 64 bits, or has another byte order.

        Raises
        ------
        ValueError, TypeError
            X is empty, is not an array of real numbers, or holds a value that is not finite. Or a variance is beyond
            the range of float64.
        """
        X = _dense(X)
        first = X[0].astype(np.float64)
        rows, mean, squares = 0, np.zeros(first.shape), np.zeros(first.shape)
        for start, chunk in _chunks(X):
            if not np.isfinite(chunk).all():  # only possible in a memory map, whose values have not been checked
                row = start + int(np.argmin(np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)))
                raise ValueError(f"X: row {row} holds a value that is not finite, expected finite numbers")
            with np.errstate(over="ignore", invalid="ignore"):  # refused below
                chunk -= first
                own = chunk.mean(axis=0)
                chunk -= own
                total, step = rows + len(chunk), own - mean
                mean += step * (len(chunk) / total)
                squares += (chunk * chunk).sum(axis=0) + step * step * (rows * len(chunk) / total)
            rows = total
        variance, mean = squares / rows, first + mean
        if not (np.isfinite(variance).all() and np.isfinite(mean).all()):
            raise ValueError("X: got values of a variance beyond float64, expected smaller numbers")
        scale = np.where(variance > 0, np.sqrt(variance), 1.0)
        self.__dict__.update(mean_=mean, var_=variance, scale_=scale)  # at once: Ctrl-C leaves no half of it
        return self

    def transform(self, X) -> np.ndarray:
        """(X - mean) / sigma as a new array, float32 if X is, else float64."""
        X = self._check(X)
        out = np.empty(X.shape, np.float32 if X.dtype == np.float32 else np.float64)
        for start, chunk in _chunks(X):
            out[start : start + len(chunk)] = (chunk - self.mean_) / self.scale_
        return out

    def inverse_transform(self, X) -> np.ndarray:
        """X sigma + mean: undoes `transform`."""
        X = self._check(X)
        out = np.empty(X.shape, np.float32 if X.dtype == np.float32 else np.float64)
        for start, chunk in _chunks(X):
            out[start : start + len(chunk)] = chunk * self.scale_ + self.mean_
        return out

    def layer(self, name: str | None = None) -> Standardize:
        """The first layer of a model that takes raw data; `fastreg.Sequential` calls this.

        The model computes (x - mean) (1 / sigma) in its own dtype. That should be float64 if a mean is 1e5 times its
        sigma or more.
        """
        self._check_fitted()
        with np.errstate(over="ignore"):
            scale = 1 / self.scale_
            fits = np.isfinite(scale.astype(np.float32)) & np.isfinite(self.mean_.astype(np.float32))
        if not fits.all():
            raise ValueError("Standardizer: got columns whose mean or 1 / sigma is beyond float32, expected others")
        return Standardize(tuple(self.mean_.ravel().tolist()), tuple(scale.ravel().tolist()), name=name)

    def _check(self, X) -> np.ndarray:
        self._check_fitted()
        X = _dense(X)
        if X.shape[1:] != self.mean_.shape:
            expected = ", ".join(map(str, ("n", *self.mean_.shape)))
            raise ValueError(f"X: got shape {X.shape}, expected ({expected}), as fitted")
        return X

    def _check_fitted(self) -> None:
        if not hasattr(self, "mean_"):
            raise ValueError("Standardizer: got one that was not fitted, expected fit(X) before")

    def __repr__(self) -> str:
        return "Standardizer()" if not hasattr(self, "mean_") else f"Standardizer(fitted, {self.mean_.size} columns)"


def _dense(X) -> np.ndarray:
    """X as an array of finite numbers."""
    if is_sparse(X):
        raise TypeError("X: got a sparse matrix, which is dense once means are subtracted; X / X.max() scales it")
    return checking.inputs("X", X, "float64")


def _chunks(X: np.ndarray):
    """(first row, float64 copy of some rows), over all rows of X."""
    step = max(1, checking.CHUNK // math.prod(X.shape[1:]))
    for start in range(0, len(X), step):
        yield start, np.array(X[start : start + step], np.float64, order="C")
