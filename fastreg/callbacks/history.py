"""History: the results of each epoch of a fit."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, overload

import numpy as np

from fastreg.common import checking, html, names
from fastreg.common.attributes import Suggesting
from fastreg.common.tables import table
from fastreg.metrics.registry import largest_is_best

UNJUDGED = ("penalty", "seconds", "lr")  # columns that have no best value


class History(Suggesting, Mapping):
    """Lists of equal length by name, with one value per epoch. An index gives an epoch as a dict, a slice several.

    "lr" is the learning rate of the last batch of the epoch. An epoch without a value, such as one before a metric was
    added, has NaN there. Epochs count from 0 in `epochs`, `to_dict` and `to_frame`, from 1 where a person reads them:
    `print(history)`.

    Attributes
    ----------
    epochs : list of int
        The number of each epoch, counted from 0 since the trainer was made or reset.

    Examples
    --------
    >>> from fastreg.callbacks.history import History
    >>> history = History()
    >>> history.append(0, {"loss": 0.7, "penalty": 0.0})
    >>> history.append(1, {"loss": 0.5, "penalty": 0.0})
    >>> history["loss"], history[-1]["loss"]
    ([0.7, 0.5], 0.5)
    >>> history.to_dict()
    {'epoch': [0, 1], 'loss': [0.7, 0.5], 'penalty': [0.0, 0.0]}
    >>> history
    History of 2 epochs, 1 to 2
             last  best  in epoch
    -----------------------------
    loss      0.5   0.5         2
    penalty     0
    """

    def __init__(self):
        self.epochs: list[int] = []
        self._columns: dict[str, list[float]] = {}

    def append(self, epoch: int, row: Mapping[str, float]) -> None:
        """Adds an epoch with a value for each column."""
        if self.epochs and row.keys() != self._columns.keys():
            raise ValueError(f"row: got {sorted(row)}, expected {sorted(self._columns)}")
        self.record(epoch, row)

    def record(self, epoch: int, row: Mapping[str, Any]) -> None:
        """Adds an epoch. Columns may be new or missing in it; they have NaN where there is no value."""
        for own, value in self.row(epoch, row):
            own.append(value)

    def row(self, epoch: int, row: Mapping[str, Any]) -> list[tuple[list, Any]]:
        """The lists that `record` appends to, each with its element."""
        told = {name: value for name, given in row.items() if (value := _told(name, given)) is not None}
        for name in told:
            self._columns.setdefault(name, [math.nan] * len(self.epochs))
        return [(self.epochs, epoch), *((own, told.get(name, math.nan)) for name, own in self._columns.items())]

    def amend(self, row: Mapping[str, Any]) -> None:
        """Sets values of the last epoch. What is not a number is left out."""
        for name, value in row.items():
            if (told := _told(name, value)) is None:
                continue
            if name not in self._columns:
                self._columns[name] = [math.nan] * len(self.epochs)
            self._columns[name][-1] = told

    def copy(self, first: int = 0) -> History:
        """An independent history with the same epochs, from the one at index `first` on."""
        other = History()
        other.epochs = self.epochs[first:]
        other._columns = {name: column[first:] for name, column in self._columns.items()}
        return other

    __copy__ = copy

    def to_dict(self) -> dict[str, list]:
        """A dict of lists with the numbers of the epochs, counted from 0, for any data frame:
        `polars.DataFrame(history.to_dict())`."""
        return {"epoch": list(self.epochs), **{name: list(column) for name, column in self._columns.items()}}

    def to_frame(self):
        """A data frame of pandas, with a row for each epoch and a column for each name.

        Returns
        -------
        pandas.DataFrame
            Its index, "epoch", has the numbers of the epochs as `epochs` has them, counted from 0. NaN stands for what
            an epoch has no value of.

        Raises
        ------
        ImportError
            pandas is missing. `to_dict` needs no package.

        Examples
        --------
        >>> import fastreg as fr
        >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse")
        >>> frame = trainer.fit([[0.0], [1.0]], [1.0, 2.0], epochs=3).to_frame()
        >>> frame.index.tolist(), list(frame.columns)
        ([0, 1, 2], ['loss', 'penalty', 'seconds', 'lr'])
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_frame: needs pandas, which is missing: pip install pandas") from None
        return pandas.DataFrame(dict(self._columns), index=pandas.Index(self.epochs, name="epoch", dtype="int64"))

    @property
    def history(self) -> dict[str, list[float]]:
        """The columns as a dict, under Keras's name: `history.history["loss"]`."""
        return dict(self._columns)

    @property
    def objective(self) -> list[float]:
        """J = loss + penalty of each epoch: what training minimizes.

        If a batch is the whole data set, both are measured before the one step of the epoch. Then J falls in each
        epoch, without dropout and noise and at a small enough learning rate. The loss alone may rise.
        """
        return [loss + penalty for loss, penalty in zip(self["loss"], self["penalty"], strict=True)]

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The number and the values of each epoch."""
        return ((epoch, self._row(index)) for index, epoch in enumerate(self.epochs))

    @overload
    def __getitem__(self, key: str) -> list[float]: ...

    @overload
    def __getitem__(self, key: int) -> dict[str, float]: ...

    @overload
    def __getitem__(self, key: slice) -> list[dict[str, float]]: ...

    def __getitem__(self, key: str | int | slice) -> list[float] | dict[str, float] | list[dict[str, float]]:
        if isinstance(key, str):
            if key not in self._columns:
                known = ", ".join(self._columns) or "none: no epoch"
                alone = key.startswith("val_") and not any(name.endswith("_loss") for name in self._columns)
                told = "; fit had no held-back data" if alone else names.advice("monitor", key, self._columns)
                raise KeyError(f"history: got {key!r}, expected one of {known}{told}")
            return self._columns[key]
        count = len(self.epochs)
        if isinstance(key, slice):
            return [self._row(index) for index in range(count)[key]]
        if isinstance(key, (bool, np.bool_)) or not isinstance(key, (int, np.integer)):
            raise TypeError(f"history: got {checking.shown(key)}, expected a name or the index of an epoch")
        if not -count <= key < count:
            raise IndexError(f"history: got the index {key}, expected one of its {count} epochs")
        return self._row(int(key))

    def _row(self, index: int) -> dict[str, float]:
        return {name: column[index] for name, column in self._columns.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        if not self.epochs:
            return self._head()
        rows = [[name, f"{column[-1]:.4g}", *self._best(name, column)] for name, column in self._columns.items()]
        return f"{self._head()}\n{table(['', 'last', 'best', 'in epoch'], rows)}"

    def _repr_html_(self) -> str:
        """The last and the best value of each column, and its course, for a notebook."""
        rows = [
            [name, f"{column[-1]:.4g}", *self._best(name, column), html.line(column)]
            for name, column in self._columns.items()
        ]
        return html.page(self._head(), html.table(["", "last", "best", "in epoch", "course"], rows))

    def _head(self) -> str:
        count = len(self.epochs)
        if count < 2:
            return f"History of 1 epoch, {self.epochs[0] + 1}" if count else "History of no epochs"
        return f"History of {count} epochs, {self.epochs[0] + 1} to {self.epochs[-1] + 1}"

    def _best(self, name: str, column: list[float]) -> tuple[str, str]:
        """The best value of a column and its epoch, counted from 1, if the name says what is good."""
        largest = None if name in UNJUDGED else largest_is_best(name)
        finite = [(value, index) for index, value in enumerate(column) if math.isfinite(value)]
        if largest is None or not finite:
            return "", ""
        best = max(value for value, _ in finite) if largest else min(value for value, _ in finite)
        return f"{best:.4g}", str(self.epochs[column.index(best)] + 1)


def _told(name: Any, value: Any) -> float | None:
    """The number that a history keeps under a name; None if it keeps none."""
    return number(value) if isinstance(name, str) else None


def number(value: Any) -> float | None:
    """A number as a float; None for anything else."""
    if isinstance(value, float):
        return float(value)
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "buif":
        return float(value.item())
    return float(value) if isinstance(value, (numbers.Real, np.bool_)) else None
