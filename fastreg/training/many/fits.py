"""What comes back of many fits: scores, histories and parameters, in the order of the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from fastreg.callbacks.history import History
from fastreg.common import checking, html
from fastreg.common.attributes import Suggesting
from fastreg.common.names import advice
from fastreg.common.tables import table
from fastreg.training.trainer import Trainer

KEPT = ("scores", "states", "trainers")
SHOWN = 12  # fits of a table


@dataclass(frozen=True)
class Fit(Suggesting):
    """One of many fits.

    name       what it was, such as "seed 3" or "fold 2 of 5"
    scores     what `Trainer.evaluate` gave on the held-back data
    history    that of its training
    seconds    of training
    state      the parameters, a `state_dict`, if they were to be kept
    trainer    the trainer, if it was to be kept
    seed, params, fold   what was its own: its seed, its values of a search, the number of its fold
    """

    name: str
    scores: dict[str, float]
    history: History = field(repr=False)
    seconds: float
    state: dict[str, np.ndarray] | None = field(default=None, repr=False)
    trainer: Trainer | None = field(default=None, repr=False)
    seed: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    fold: int | None = None


class Fits(Suggesting, Sequence):
    """A sequence of `Fit`. With a name of a score as index, the values of that score.

    Attributes
    ----------
    scores : dict
        An array by name of the score, with one value for each fit.
    histories, states, trainers : list
        Those of the fits. `states` and `trainers` are empty if they were not kept.
    """

    def __init__(self, fits: Iterable[Fit]):
        self._fits = tuple(fits)

    @property
    def scores(self) -> dict[str, np.ndarray]:
        """An array of each score, NaN where a fit has none."""
        names = dict.fromkeys(name for fit in self for name in fit.scores)
        return {name: np.array([fit.scores.get(name, np.nan) for fit in self]) for name in names}

    @property
    def histories(self) -> list[History]:
        """The history of each fit."""
        return [fit.history for fit in self]

    @property
    def states(self) -> list[dict[str, np.ndarray]]:
        """The parameters of each fit, for `model.load_state_dict`."""
        return [fit.state for fit in self if fit.state is not None]

    @property
    def trainers(self) -> list[Trainer]:
        """The trainer of each fit."""
        return [fit.trainer for fit in self if fit.trainer is not None]

    def mean(self, name: str) -> float:
        """The mean of a score."""
        return float(np.mean(self[name]))

    def std(self, name: str) -> float:
        """Its standard deviation over the fits, as `numpy.std` has it."""
        return float(np.std(self[name]))

    def to_dict(self) -> dict[str, list]:
        """Columns for a data frame: `pandas.DataFrame(fits.to_dict())`."""
        columns: dict[str, list] = {"name": [fit.name for fit in self]}
        columns |= {name: values.tolist() for name, values in self.scores.items()}
        return columns | {"seconds": [fit.seconds for fit in self]}

    @overload
    def __getitem__(self, key: int) -> Fit: ...

    @overload
    def __getitem__(self, key: slice) -> Fits: ...

    @overload
    def __getitem__(self, key: str) -> np.ndarray: ...

    def __getitem__(self, key: int | slice | str) -> Fit | Fits | np.ndarray:
        if isinstance(key, slice):
            return Fits(self._fits[key])
        if not isinstance(key, str):
            return self._fits[key]
        if key in ("seconds", "fit_time"):  # scikit-learn's name
            return np.array([fit.seconds for fit in self])
        scores = self.scores
        name = key if key in scores else key.removeprefix("test_").removeprefix("val_")
        if name not in scores:
            known = ", ".join(scores)
            near = advice("monitor", key, scores)
            raise KeyError(f"scores: got {checking.shown(key)}, expected one of {known}{near}")
        return scores[name]

    def __len__(self) -> int:
        return len(self._fits)

    def __repr__(self) -> str:
        if not self._fits:
            return "Fits of nothing"
        return f"Fits: {len(self)}\n{table(*self._table())}"

    def _repr_html_(self) -> str:
        """The scores, for a notebook."""
        if not self._fits:
            return html.page(repr(self))
        heads, rows = self._table()
        return html.page(f"Fits: {len(self)}", html.table(heads, rows))

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """The heads and the rows of the table: the first fits, mean and standard deviation."""
        scores = self.scores
        rows = [[fit.name, *(f"{scores[name][k]:.4g}" for name in scores)] for k, fit in enumerate(self._fits[:SHOWN])]
        if len(self) > SHOWN:
            rows.append([f"and {len(self) - SHOWN} more", *("" for _ in scores)])
        rows.append(["mean", *(f"{self.mean(name):.4g}" for name in scores)])
        rows.append(["std", *(f"{self.std(name):.4g}" for name in scores)])
        return ["", *scores], rows
