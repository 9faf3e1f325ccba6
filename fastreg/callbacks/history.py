"""History: the results of each epoch of a fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import overload

import numpy as np

from fastreg.common import checking


class History(Mapping):
    """Lists of equal length by name, with one value per epoch. An integer index gives one epoch as a dict.

    Attributes
    ----------
    epochs : list of int
        The number of each epoch, counted from 0 since the trainer was made or reset.

    Examples
    --------
    >>> from fastreg.callbacks.history import History
    >>> history = History()
    >>> history.append(0, {"loss": 0.7, "penalty": 0.0})
    >>> history["loss"], history[-1]["loss"]
    ([0.7], 0.7)
    """

    def __init__(self):
        self.epochs: list[int] = []
        self._columns: dict[str, list[float]] = {}

    def append(self, epoch: int, row: Mapping[str, float]) -> None:
        """Adds an epoch."""
        if self.epochs and row.keys() != self._columns.keys():
            raise ValueError(f"row: got {sorted(row)}, expected {sorted(self._columns)}")
        self.epochs.append(epoch)
        for name, value in row.items():
            self._columns.setdefault(name, []).append(value)

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

    def __getitem__(self, key: str | int) -> list[float] | dict[str, float]:
        if isinstance(key, str):
            if key not in self._columns:
                raise KeyError(f"history: got {key!r}, expected one of {', '.join(self._columns) or 'none: no epoch'}")
            return self._columns[key]
        if not isinstance(key, (int, np.integer)):
            raise TypeError(f"history: got {checking.shown(key)}, expected a name or the index of an epoch")
        return self._row(int(key))

    def _row(self, index: int) -> dict[str, float]:
        return {name: column[index] for name, column in self._columns.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"History({len(self.epochs)} epochs of {', '.join(self._columns)})"
