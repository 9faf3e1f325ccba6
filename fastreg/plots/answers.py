"""What a model answers to some rows, whether it is a model, a trainer, an ensemble or an estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastreg.common import checking, columns
from fastreg.common.transforms import TRANSFORMS
from fastreg.intake.schema import Target

EXPECTED = "expected a model, a trainer, or an estimator that is fitted"


@dataclass(frozen=True)
class Answers:
    """Predictions for some rows.

    values          (n, k) float64: a column for each class, or for each number
    classes         what the columns stand for, None for numbers
    probabilities   whether the values are probabilities
    target          knows how classes are numbered
    """

    values: np.ndarray
    classes: tuple[Any, ...] | None
    probabilities: bool
    target: Target

    @property
    def codes(self) -> np.ndarray:
        """The most probable class of each row, as its column."""
        return self.values.argmax(axis=1)

    @property
    def margins(self) -> np.ndarray:
        """For each column, how far it is above the largest of the others."""
        if self.values.shape[1] == 1:
            return np.full_like(self.values, np.inf)
        upper = np.sort(self.values, axis=1)[:, -2:]
        largest = self.values == upper[:, 1:]
        return self.values - np.where(largest, upper[:, :1], upper[:, 1:])

    def targets(self, y) -> np.ndarray:
        """The targets (n,): the column of the class of each row, or float64 numbers."""
        if self.classes is None:
            y = np.asarray(checking.array("y", y, "float64"), np.float64)
            y = y.reshape(len(y), -1) if y.ndim else y
            if y.shape != self.values.shape:
                raise ValueError(f"y: got shape {y.shape}, expected {self.values.shape}, as the predictions have")
            return y[:, 0]
        y = checking.as_array("y", self.target.encode("y", y))
        if y.ndim == 2 and y.shape[1] == len(self.classes) > 1:
            y = y.argmax(axis=1)
        y = checking.array("y", y)
        if y.size != len(self.values):
            raise ValueError(f"y: got shape {y.shape}, expected a label for each of the {len(self.values)} rows")
        codes = y.ravel().astype(np.int64)
        listed = ", ".join(f"{label:g}" for label in np.unique(y)[:5])
        if (codes != y.ravel()).any() or codes.min(initial=0) < 0 or codes.max(initial=0) >= len(self.classes):
            raise ValueError(f"y: got {listed}, expected labels of {len(self.classes)} classes")
        return codes


def answers(model: Any, X: Any, output: int | None = None) -> Answers:
    """What `model` answers to the rows of X.

    Parameters
    ----------
    model
        An object with `predict`: a `Model`, a `Trainer`, a `Bagging`, or an estimator in scikit-learn's manner.
    X
        The rows, as `predict` takes them.
    output
        Of several numbers, or of several labels that are each yes or no: which one.
    """
    if isinstance(model, type) or not hasattr(model, "predict"):
        raise TypeError(f"model: got {checking.shown(model)}, {EXPECTED}")
    described = _described(model)
    if described is None:
        return _of_estimator(model, X, output)
    if len(described.heads) > 1:
        raise ValueError(f"model: got one with the heads {', '.join(described.heads)}, expected one head")
    values = np.asarray(model.predict(X), np.float64)
    [target] = described.targets.values()
    [name] = described.transforms.values()
    transform = TRANSFORMS[name]
    if transform.answers == "classes":
        return Answers(values, target.classes or tuple(range(values.shape[1])), transform.probabilities, target)
    values = _one_of(values, output)
    if transform.answers == "numbers":
        return Answers(values, None, False, target)
    pair = target.classes[output or 0] if target.classes else (0, 1)
    both = np.hstack((1 - values if transform.probabilities else -values, values))
    return Answers(both, tuple(pair), transform.probabilities, Target(task="classes", classes=tuple(pair)))


def _described(model: Any) -> Any:
    """The model that says what its predictions are. None for an estimator."""
    if hasattr(model, "members"):  # of a Bagging
        model = next(iter(model.members), None)
    model = getattr(model, "model", model)
    return model if hasattr(model, "transforms") and hasattr(model, "targets") else None


def _of_estimator(model: Any, X: Any, output: int | None) -> Answers:
    classes = getattr(model, "classes_", None)
    if classes is None:
        values = np.asarray(model.predict(X), np.float64)
        return Answers(_one_of(values.reshape(len(values), -1), output), None, False, Target())
    if isinstance(classes, list):
        raise ValueError("model: got one of several classifications, expected one")
    named = tuple(np.asarray(classes).tolist())
    target = Target(task="classes", classes=named)
    asks = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
    values = np.asarray(getattr(model, asks)(X), np.float64)
    if values.ndim == 1:
        values = np.stack((-values, values), axis=1)
    if values.shape[1] != len(named):
        raise ValueError(f"model: got {values.shape[1]} columns of {len(named)} classes, expected as many")
    return Answers(values, named, asks == "predict_proba", target)


def _one_of(values: np.ndarray, output: int | None) -> np.ndarray:
    """One column of several."""
    count = values.shape[1]
    if output is None and count > 1:
        raise ValueError(f"output: got None for a model of {count} outputs, expected which one, from 0 to {count - 1}")
    place = 0 if output is None else checking.integer("output", output, 0, count - 1)
    return values[:, place : place + 1]


def table_of(X: Any) -> tuple[np.ndarray, list[str] | None]:
    """X as an array, and the names of its columns if it has some."""
    if not columns.is_frame(X):
        return np.asarray(checking.array("X", X)), None
    names = list(columns.names(X))
    plain = [columns.plain(column) for _, column in columns.raw(X)]
    return np.stack(plain, axis=1) if len({column.dtype.kind for column in plain}) == 1 else _objects(plain), names


def _objects(plain: list[np.ndarray]) -> np.ndarray:
    return np.stack([column.astype(object) for column in plain], axis=1)


def like(X: Any, rows: np.ndarray, names: list[str] | None) -> Any:
    """Rows in the form of X: a frame of the same columns if it is one."""
    if names is None:
        return rows
    found = {name: rows[:, place] for place, name in enumerate(names)}
    return type(X)(found) if type(X).__module__.startswith(("pandas", "polars")) else found


def known(classes: tuple[Any, ...] | None) -> list[str]:
    """The names of classes as a picture shows them."""
    return [str(name) for name in classes or ()]
