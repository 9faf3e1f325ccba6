"""TargetScaler: brings the targets of a regression to mean 0 and variance 1, within the model."""

from __future__ import annotations

import numpy as np

from fastreg.common import checking
from fastreg.common.attributes import Suggesting
from fastreg.intake.frames import is_frame
from fastreg.intake.schema import Target


class TargetScaler(Suggesting):
    """Shifts and scales targets to mean 0 and variance 1: (y - mean) / sigma.

    A network starts with outputs near 0 and of size 1. Prices or temperatures are far from that, and a training spends
    its epochs on the way there. As the last element of a `fastreg.Sequential`, a fitted TargetScaler makes a model that
    is trained on scaled targets and predicts in the units of y. The file of the model holds its numbers. Penalties and
    learning rates then mean the same whatever the units are.

    Attributes
    ----------
    mean_, scale_ : ndarray (outputs,)
        Mean and sigma of every output, float64. Sigma is that of the population, and 1 for a constant output.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> y = 200_000 + 50_000 * X[:, 0]
    >>> model = fr.Sequential([fr.Dense(1), fr.data.TargetScaler().fit(y)])
    >>> trainer = fr.Trainer(model, loss="mse", optimizer=fr.SGD(0.1))
    >>> history = trainer.fit(X, y, epochs=20, batch_size=20)
    >>> bool(np.abs(model.predict(X)[:, 0] - y).max() < 100)
    True
    """

    mean_: np.ndarray
    scale_: np.ndarray

    _later = ("mean_", "scale_")

    def fit(self, y) -> TargetScaler:
        """Finds mean and sigma of every output. Returns the scaler itself.

        Parameters
        ----------
        y
            (n,) or (n, outputs) numbers. NaN, which means that a target is missing, does not count.

        Raises
        ------
        ValueError, TypeError
            y is empty, is not an array of real numbers, holds infinities, or its variance is beyond float64.
        """
        values = self._values(y)
        if not len(values) or np.isinf(values).any():
            raise ValueError(f"y: got {'infinite numbers' if len(values) else 'no rows'}, expected finite numbers")
        present = ~np.isnan(values)
        count = present.sum(axis=0)
        if not count.all():
            raise ValueError(f"y: output {int(np.argmin(count))} has no targets, expected at least one")
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            first = np.array([column[mask][0] for column, mask in zip(values.T, present.T, strict=True)])
            away = np.where(present, values - first, 0.0)  # a constant has a variance of exactly 0
            mean = away.sum(axis=0) / count
            sigma = np.sqrt((np.where(present, away - mean, 0.0) ** 2).sum(axis=0) / count)
        if not np.isfinite(sigma).all():
            raise ValueError("y: got values of a variance beyond float64, expected smaller numbers")
        self.__dict__.update(mean_=first + mean, scale_=np.where(sigma > 0, sigma, 1.0))  # at once
        return self

    def transform(self, y) -> np.ndarray:
        """(y - mean) / sigma as a new array, float64 in the shape of y."""
        return (self._check(y) - self.mean_).reshape(np.shape(y)) / self._like(y, self.scale_)

    def inverse_transform(self, y) -> np.ndarray:
        """y sigma + mean: undoes `transform`."""
        return self._check(y).reshape(np.shape(y)) * self._like(y, self.scale_) + self._like(y, self.mean_)

    def target(self) -> Target:
        """What a model keeps of it; `fastreg.Sequential` calls this."""
        self._check_fitted()
        return Target(task="numbers", mean=tuple(self.mean_.tolist()), scale=tuple(self.scale_.tolist()))

    @staticmethod
    def _values(y) -> np.ndarray:
        y = checking.array("y", np.asarray(y) if is_frame(y) else y, "float64").astype(np.float64)
        if y.ndim not in (1, 2):
            raise ValueError(f"y: got shape {y.shape}, expected (n,) or (n, outputs)")
        return y[:, np.newaxis] if y.ndim == 1 else y

    @staticmethod
    def _like(y, numbers: np.ndarray) -> np.ndarray:
        return numbers[0] if np.ndim(y) == 1 else numbers

    def _check(self, y) -> np.ndarray:
        self._check_fitted()
        values = self._values(y)
        if values.shape[1] != len(self.mean_):
            raise ValueError(f"y: got shape {np.shape(y)}, expected {len(self.mean_)} outputs, as fitted")
        return values

    def _check_fitted(self) -> None:
        if not hasattr(self, "mean_"):
            raise ValueError("TargetScaler: got one that was not fitted, expected fit(y) before")

    def __repr__(self) -> str:
        return "TargetScaler()" if not hasattr(self, "mean_") else f"TargetScaler(fitted, {self.mean_.size} outputs)"
