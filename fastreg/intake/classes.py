"""Classes by name: from labels as people write them to codes 0, 1, ..., and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastreg.common import checking
from fastreg.common.checking import shown

Class = str | int | float | bool
FEW = 8  # classes that a message names


class Classes:
    """The class of each code. Labels are matched by value: 2, 2.0 and "2" are the same class, as files write them."""

    def __init__(self, values: Iterable[Class]):
        self.values = tuple(values)
        if not self.values or not all(isinstance(value, (str, int, float)) for value in self.values):
            raise TypeError(f"classes: got {shown(self.values)}, expected texts or numbers")
        self._codes = {_key(value): code for code, value in enumerate(self.values)}
        if len(self._codes) != len(self.values):
            raise ValueError(f"classes: got {shown(self.values)}, expected different ones")

    @property
    def plain(self) -> bool:
        """Whether they are 0, 1, 2, ... themselves, so that labels are codes."""
        return all(not isinstance(v, str) and v == code for code, v in enumerate(self.values))

    def __str__(self) -> str:
        """The first few, for a message."""
        return ", ".join(map(str, self.values[:FEW])) + (", ..." if len(self.values) > FEW else "")

    def encode(self, name: str, y, holes: bool = False) -> np.ndarray:
        """The code of each label, int64 (n,). Rows of numbers (n, k), one-hot or probabilities, pass as they are.

        With `holes`, None and NaN stand for no label. If there are any, codes are float64, with NaN in their place.
        """
        y = checking.as_array(name, y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            return y
        if holes and (gone := _missing(y)).any():
            codes = np.full(len(y), np.nan)
            codes[~gone] = self.encode(name, y[~gone])
            return codes
        labels, place = np.unique(y.astype(str) if y.dtype.kind == "O" else y, return_inverse=True)
        codes = np.array([self._codes.get(_key(label), -1) for label in labels.tolist()], np.int64)
        if (codes < 0).any():
            row = int(np.flatnonzero(codes[place] < 0)[0])
            got = y[row : row + 1].tolist()[0]
            near = checking.nearest(got, self.values)
            raise ValueError(f"{name}: got {shown(got)} in row {row}, expected one of {self}{near}")
        return codes[place]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The class of each code. An array of texts, integers, booleans or numbers."""
        return np.array(self.values)[codes.astype(np.int64)]

    def unknown(self, labels: np.ndarray) -> list:
        """The labels that are none of the classes."""
        return [label for label in labels.ravel().tolist() if _key(label) not in self._codes]

    @staticmethod
    def equal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether labels are the same class, element by element."""
        pairs = zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
        return np.array([_key(a) == _key(b) for a, b in pairs]).reshape(first.shape)

    @classmethod
    def in_text(cls, y, holes: bool = False) -> Classes | None:
        """The classes in labels that are texts, sorted. None if they are something else. With `holes`, None and NaN
        stand for no label."""
        y = checking.as_array("y", y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1 or y.dtype.kind not in "SUTO" or not len(y):
            return None
        if holes and y.dtype.kind == "O" and not (gone := _missing(y)).all():
            y = y[~gone]
        texts = [label.decode("utf-8", "replace") if isinstance(label, bytes) else label for label in y.tolist()]
        others = [row for row, label in enumerate(texts) if not isinstance(label, str)]
        if (
            others
            and all(texts[row] is None or texts[row] != texts[row] for row in others)
            and len(others) < len(texts)
        ):
            raise ValueError(
                f"y: row {others[0]} holds no label, expected one per row; leave such rows out, or missing_targets=True"
            )
        if others:
            return None
        return cls(sorted(set(texts)))


def _missing(y: np.ndarray) -> np.ndarray:
    """Which labels are None or NaN."""
    if y.dtype.kind == "O":
        return np.array([label is None or label != label for label in y.tolist()], bool)
    return np.isnan(y) if y.dtype.kind == "f" else np.zeros(len(y), bool)


def _key(value) -> Class:
    """What equal labels have in common."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip()
        if text in ("True", "False"):
            return int(text == "True")
        try:
            number = float(text)
        except ValueError:
            return value
        return int(number) if number.is_integer() and "_" not in text else value
    return int(value) if float(value).is_integer() else float(value)
