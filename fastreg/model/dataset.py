"""Checked data sets, and the checks. Data are copied only if engines cannot read them in place."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from fastreg.common import checking
from fastreg.engines.base import Feed
from fastreg.intake import frames
from fastreg.intake.schema import Schema, Target
from fastreg.losses.losses import Loss


class Model(Protocol):
    """What the checks need of a model."""

    schema: Schema

    @property
    def outputs(self) -> int: ...

    def _check_inputs(self, name: str, X, schema: Schema | None = None, dtype: str | None = None) -> np.ndarray: ...


class Data(NamedTuple):
    """Inputs, targets and sample weights as the engines read them. `rows` selects rows. None means all.

    target   how the targets were made from those of the user
    loss     the loss to train with, if class weights have made another one of it
    given    the sample weights, if some targets are missing: `weights` has them times the share that is there
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    rows: np.ndarray | None = None
    target: Target = Target()
    loss: Loss | None = None
    given: np.ndarray | None = None

    @property
    def size(self) -> int:
        """The number of selected rows."""
        return len(self.inputs) if self.rows is None else len(self.rows)

    def first(self, count: int) -> Data:
        """The first `count` selected rows, without weights."""
        if self.rows is None:
            return self._replace(inputs=self.inputs[:count], targets=self.targets[:count], weights=None)
        return self._replace(weights=None, rows=self.rows[:count])

    def truth(self) -> np.ndarray:
        """The targets of the selected rows in their own units: codes of classes, or numbers before any scaling."""
        return self.target.decode(self.targets if self.rows is None else self.targets[self.rows])

    def ordered(self, permutation: np.ndarray) -> np.ndarray:
        """The selected rows, in the order of a permutation of `size`."""
        return permutation if self.rows is None else self.rows[permutation]

    def feed(self, batch_size: int, order: np.ndarray | None = None, **more) -> Feed:
        """What an epoch reads: the selected rows in `order`, or in their own order. `more` are fields of Feed."""
        order = self.rows if order is None else order
        return Feed(self.inputs, batch_size, self.targets, self.weights, order, **more)


def checked(
    model: Model,
    loss: Loss,
    dtype: str,
    X,
    y,
    sample_weight=None,
    rows=None,
    *,
    names: tuple[str, str, str] = ("X", "y", "sample_weight"),
    shape: tuple[int, ...] | None = None,
    schema: Schema | None = None,
) -> Data:
    """The data, if `model` and `loss` can take them in the working dtype.

    names   the names of the arguments, for errors
    shape   the shape that samples must have, that of the training set. None for any
    schema  what the data are. None for that of the model
    """
    x_name, y_name, weight_name = names
    schema = model.schema if schema is None else schema
    target = schema.target
    if y is None and target.names is not None and frames.is_frame(X):
        if missing := [name for name in target.names if name not in frames.names(X)]:
            raise ValueError(f"{y_name}: got None, and {x_name} has no column {', '.join(missing)}, expected targets")
        y = X  # which holds the targets too
    y = target.encode(y_name, y, loss.missing_targets)
    X = model._check_inputs(x_name, X, schema, dtype)
    y = loss.targets(y_name, y, len(X), model.outputs, dtype)
    given = checking.sample_weight(weight_name, sample_weight, len(X), dtype)
    weights = _without_missing(loss, y_name, y, given, dtype)
    rows = checking.rows("rows", rows, len(X))
    if rows is not None and weights is not None and not weights[rows].any():
        raise ValueError(f"{weight_name}: got zeros only in the selected rows, expected at least one weight above 0")
    if shape is not None and X.shape[1:] != shape:
        raise ValueError(f"{x_name}: got samples of shape {X.shape[1:]}, expected {shape}, as in X")
    return Data(X, y, weights, rows, target, given=given)


def _without_missing(loss: Loss, name: str, y: np.ndarray, weights: np.ndarray | None, dtype: str) -> np.ndarray | None:
    """The weights of the rows, times the share of the outputs that have a target."""
    shares = loss.shares_there(y)
    if shares is None:
        return weights
    if not (shares if weights is None else shares * weights).any():
        of = "" if weights is None else " in a row with a weight"
        raise ValueError(f"{name}: got no target{of}, expected at least one that is not NaN")
    return (shares if weights is None else shares * weights).astype(dtype)


def held_back(
    model: Model, loss: Loss, dtype: str, value, shape: tuple[int, ...], schema: Schema | None = None
) -> Data | None:
    """The argument `validation_data`, checked. Its samples must have the `shape` of the training set's."""
    if value is None:
        return None
    if frames.is_frame(value) and not isinstance(value, (tuple, list)):
        value = value, None  # a table that holds the targets too
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        raise TypeError(f"validation_data: got {type(value).__name__}, expected (X, y) or (X, y, sample_weight)")
    names = ("validation_data[0]", "validation_data[1]", "validation_data[2]")
    return checked(model, loss, dtype, *value, names=names, shape=shape, schema=schema)
