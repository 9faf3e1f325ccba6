"""LayerStatistics records how large activations and gradients are in each layer, and whether they vanish or explode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastreg.callbacks.base import Callback, Plan
from fastreg.callbacks.training import Training
from fastreg.common import checking
from fastreg.common.tables import table
from fastreg.layers import Conv2D, Dense
from fastreg.model.dataset import Data

ADVICE = "initial weights of a scale that suits the activation (he_normal, glorot_normal) or fewer layers may help"

UNKNOWN = {"mean": math.nan, "std": math.nan, "zeros": math.nan}


class LayerStatistics(Callback):
    """Records mean, spread and share of zeros of the activations and gradients of each `Dense` layer. Warns if they
    vanish or explode.

    Each fit begins new records, and may warn again.

    The same rows, the probe, go through the network and back each time, without dropout, noise and attack. This does
    not touch training: it gives the same bits as without this callback.

    Activations are outputs of the layer's activation function. Gradients are those of the loss of a row, including
    penalties on activations, with respect to z = x W + b. They are NaN below the lowest trained layer. The size of
    either is its root mean square. The signal is the activations on the way up, or the gradients on the way down. It

    - vanishes if its size in a layer is below 1/ratio of its size in the layer where it starts, or below `smallest`;
    - explodes if its size is over `ratio` times that where it starts, over `largest`, or not finite.

    In a deep linear network with the weights W = w I the sizes are powers of w: w^l in layer l, and w^(L-l) on the way
    back from layer L. The outputs of the last layer are not checked, since their size is that of the targets. Gradients
    are not checked if those of the last layer are already below `smallest`, since there is nothing left to learn.

    Parameters
    ----------
    probe
        (X, y), a few hundred rows. None for the first rows of the training set.
    every
        Number of epochs between two records. There is also one before the first epoch.
    rows
        How many rows of the training set to take.
    ratio, smallest, largest
        The limits above. A fit warns at most once of what vanishes, and once of what explodes (RuntimeWarning).

    Attributes
    ----------
    records : list of dict
        One for each layer of each recorded epoch: "epoch" (how many epochs the trainer had finished), "layer" (its
        name), "activation_mean", "activation_std", "activation_zeros" and "gradient_mean", "gradient_std",
        "gradient_zeros". Zeros are a share from 0 to 1.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above, or fit finds that the model cannot take the probe.

    Notes
    -----
    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010), study
    the same quantities. A share of zeros near 1 after a ReLU means that nearly all units of the layer are dead.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X, y = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 2
    >>> statistics = fr.LayerStatistics()
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(8, "relu"), fr.Dense(2)]))
    >>> history = trainer.fit(X, y, epochs=3, callbacks=[statistics])
    >>> [(record["epoch"], record["layer"]) for record in statistics.records[-2:]]
    [(3, '0'), (3, '1')]
    >>> print(statistics.table().splitlines()[0])
    epoch  layer  activation_mean  activation_std  activation_zeros  gradient_mean  gradient_std  gradient_zeros
    """

    def __init__(
        self,
        probe: tuple | None = None,
        *,
        every: int = 1,
        rows: int = 256,
        ratio: float = 1e3,
        smallest: float = 1e-12,
        largest: float = 1e8,
    ):
        if probe is not None and (not isinstance(probe, (tuple, list)) or len(probe) != 2):
            raise TypeError(f"probe: got {type(probe).__name__}, expected (X, y) or None")
        self.probe = probe
        self.every = checking.integer("every", every)
        self.rows = checking.integer("rows", rows)
        self.ratio = checking.number("ratio", ratio, 1)
        self.smallest = checking.number("smallest", smallest)
        self.largest = checking.positive("largest", largest)
        if self.smallest >= self.largest:
            raise ValueError(f"smallest: got {smallest!r} with largest={largest!r}, expected less")
        self.records: list[dict[str, Any]] = []

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        self._rows_of(trainer, plan)

    def on_train_begin(self) -> None:
        self.records = []
        self._warned: set[str] = set()
        self._data = self._rows_of(self.trainer, self.plan)

    def _rows_of(self, trainer: Training, plan: Plan) -> Data:
        """The rows of the probe."""
        assert plan.training is not None
        if self.probe is None:
            return plan.training.first(self.rows)
        names = "LayerStatistics probe[0]", "LayerStatistics probe[1]", ""
        return trainer._checked(*self.probe, names=names, shape=plan.training.sample_shape)

    def on_epoch_begin(self, epoch: int) -> None:
        if not self.records:
            self._record(epoch)

    def on_epoch_end(self, epoch: int, logs) -> None:
        if (epoch + 1) % self.every == 0:
            self._record(epoch + 1)

    def table(self, epoch: int | None = None) -> str:
        """The records as text, of all epochs or of one."""
        rows = [record for record in self.records if epoch is None or record["epoch"] == epoch]
        if not rows:
            raise ValueError(
                f"epoch: got {epoch!r}, expected one of {self._epochs() or 'none: nothing is recorded yet'}"
            )
        return table(list(rows[0]), [[_text(value) for value in row.values()] for row in rows], left=0)

    def __str__(self) -> str:
        return self.table() if self.records else repr(self)

    def _epochs(self) -> str:
        return ", ".join(map(str, dict.fromkeys(record["epoch"] for record in self.records)))

    def _record(self, epoch: int) -> None:
        names = [str(layer.name) for layer in self.model.layers if isinstance(layer, (Conv2D, Dense))]
        rows = self._data.size
        with self.trainer._run_batch("probe", self._data, None) as (session, tally):
            buffers = session.engine.buffers
            activations = {name: _moments(buffers[f"{name}.y"][:rows]) for name in names}
            back = {name: buffers[f"d:{name}.y"][:rows] for name in reversed(names) if f"d:{name}.y" in buffers}
            # times the rows, to get the gradient of one row: the program's are those of the mean over the rows
            gradients = {name: UNKNOWN if tally.diverged else _moments(dz, rows) for name, dz in back.items()}
        for name in names:
            record = {"epoch": epoch, "layer": name}
            record |= {f"activation_{key}": value for key, value in activations[name].items()}
            record |= {f"gradient_{key}": value for key, value in gradients.get(name, UNKNOWN).items()}
            self.records.append(record)
        self._warn("activations", {name: _size(activations[name]) for name in names[:-1]}, epoch)
        if not _size(gradients[names[-1]]) < self.smallest:
            self._warn("gradients", {name: _size(moments) for name, moments in gradients.items()}, epoch)

    def _warn(self, what: str, sizes: Mapping[str, float], epoch: int) -> None:
        """`sizes` by layer, in the order in which the signal travels."""
        if not sizes:
            return
        first, start = next(iter(sizes.items()))
        for steps, (name, size) in reversed(list(enumerate(sizes.items()))):  # from the far end, where it is clearest
            explodes = not size <= min(self.largest, self.ratio * start)  # or is not a number
            vanishes = size < self.smallest or size * self.ratio < start
            verb = "explode" if explodes else "vanish"
            if not (explodes or vanishes) or verb in self._warned:
                continue
            self._warned.add(verb)
            text = f"after {epoch} epochs {what} {verb}: their size is {size:.3g} in layer {name!r}"
            if steps:
                text += f" and {start:.3g} in layer {first!r}"
            if steps and start and math.isfinite(size):
                text += f", a factor of {(size / start) ** (1 / steps):.3g} a layer"
            warnings.warn(f"{text}; {ADVICE}", RuntimeWarning, stacklevel=2)


def _moments(values: np.ndarray, scale: float = 1.0) -> dict[str, float]:
    """Mean, standard deviation and share of zeros of scale * values."""
    with np.errstate(all="ignore"):  # an overflow shows in the result
        scaled = values.astype(np.float64) * scale
        return {"mean": float(scaled.mean()), "std": float(scaled.std()), "zeros": float(np.mean(values == 0))}


def _size(moments: Mapping[str, float]) -> float:
    """The root mean square."""
    return math.hypot(moments["mean"], moments["std"])


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
