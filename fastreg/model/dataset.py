"""Checked data sets, and the checks. Data are copied only if engines cannot read them in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastreg.common import checking
from fastreg.common.pieces import AT_ONCE, pieces
from fastreg.common.transforms import TRANSFORMS
from fastreg.engines.base import Feed, count_rows
from fastreg.intake import frames
from fastreg.intake.schema import Schema, Target
from fastreg.losses.losses import Loss
from fastreg.model.tasks import Task, of_each, only


class Model(Protocol):
    """What the checks need of a model."""

    schema: Schema

    @property
    def widths(self) -> dict[str, int]: ...

    def _check_inputs(self, name: str, X, schema: Schema | None = None, dtype: str | None = None) -> Any: ...


class Labels(NamedTuple):
    """What a head is trained on, as the engines read it.

    target   how the targets were made from those of the user
    loss     the loss to train with, if class weights have made another one of it
    given    the sample weights, if some targets are missing: `weights` has them times the share that is there
    """

    targets: np.ndarray
    weights: np.ndarray | None
    target: Target = Target()
    loss: Loss | None = None
    given: np.ndarray | None = None


class Data(NamedTuple):
    """Inputs as the engines read them, by name if there are several, and what each head is trained on. `rows` selects
    rows. None means all."""

    inputs: Any
    heads: dict[str, Labels]
    rows: np.ndarray | None = None

    @property
    def length(self) -> int:
        """The number of rows, selected or not."""
        return count_rows(self.inputs)

    @property
    def size(self) -> int:
        """The number of selected rows."""
        return self.length if self.rows is None else len(self.rows)

    @property
    def sample_shape(self) -> Any:
        """The shape of a sample, by name if there are several inputs."""
        if isinstance(self.inputs, dict):
            return {name: part.shape[1:] for name, part in self.inputs.items()}
        return self.inputs.shape[1:]

    @property
    def only(self) -> Labels:
        """What the only head is trained on."""
        (labels,) = self.heads.values()
        return labels

    @property
    def weighted(self) -> bool:
        """Whether any row has a weight of its own."""
        return any(labels.weights is not None for labels in self.heads.values())

    @property
    def losses(self) -> dict[str, Loss]:
        """The losses that class weights have made, by head."""
        return {name: labels.loss for name, labels in self.heads.items() if labels.loss is not None}

    def with_head(self, name: str, **changes) -> Data:
        """The same data with something changed in a head."""
        return self._replace(heads={**self.heads, name: self.heads[name]._replace(**changes)})

    @property
    def total_weight(self) -> float:
        """The sum of the sample weights of the first head; 0 without any."""
        weights = next(iter(self.heads.values())).weights
        return 0.0 if weights is None else float(weights.sum(dtype=np.float64))

    def without_weights(self) -> Data:
        """The same data, each row of which counts once."""
        return self._replace(heads={name: labels._replace(weights=None) for name, labels in self.heads.items()})

    def first(self, count: int) -> Data:
        """The first `count` selected rows, without weights."""
        if self.rows is not None:
            return self.without_weights()._replace(rows=self.rows[:count])
        heads = {name: some._replace(targets=some.targets[:count], weights=None) for name, some in self.heads.items()}
        if isinstance(self.inputs, dict):
            return Data({name: part[:count] for name, part in self.inputs.items()}, heads)
        return Data(self.inputs[:count], heads)

    def truth(self, head: str) -> np.ndarray:
        """The targets of a head in the selected rows, in their own units: codes of classes, or numbers before any
        scaling."""
        labels = self.heads[head]
        return labels.target.decode(labels.targets if self.rows is None else labels.targets[self.rows])

    def ordered(self, permutation: np.ndarray) -> np.ndarray:
        """The selected rows, in the order of a permutation of `size`."""
        if self.rows is None:
            return permutation
        found = np.empty(len(permutation), self.rows.dtype)
        for part in pieces(len(permutation)):
            found[part] = self.rows[permutation[part]]
        return found

    def taken(self, order: np.ndarray | None, rows: int) -> np.ndarray | None:
        """Whether each step of an epoch is taken, which needs a weight above 0 among its `rows` in some head. None if
        all are."""
        weights = [labels.weights for labels in self.heads.values() if labels.weights is not None]
        if len(weights) < len(self.heads) or any(some.all() for some in weights):
            return None
        order = self.rows if order is None else order
        found = np.zeros(-(-self.size // rows), bool)
        for step in pieces(len(found), max(1, AT_ONCE // rows)):
            place = slice(step.start * rows, min(step.stop * rows, self.size))
            chosen = place if order is None else order[place]
            starts = np.arange(0, place.stop - place.start, rows)
            for some in weights:
                counts = some[chosen] >= np.finfo(some.dtype).tiny
                found[step] |= np.logical_or.reduceat(counts, starts)
        return found

    def feed(self, batch_size: int, order: np.ndarray | None = None, **more) -> Feed:
        """What an epoch reads: the selected rows in `order`, or in their own order. `more` are fields of Feed."""
        order = self.rows if order is None else order
        targets: Any = {name: labels.targets for name, labels in self.heads.items()}
        weights: Any = {name: labels.weights for name, labels in self.heads.items()}
        if len(self.heads) == 1:
            targets, weights = self.only.targets, self.only.weights
        return Feed(self.inputs, batch_size, targets, weights, order, **more)


def checked(
    model: Model,
    tasks: Sequence[Task],
    dtype: str,
    X,
    y,
    sample_weight=None,
    rows=None,
    *,
    names: tuple[str, str, str] = ("X", "y", "sample_weight"),
    shape: Any = None,
    schema: Schema | None = None,
) -> Data:
    """The data, if the model and the losses of its heads can take them in the working dtype.

    names   the names of the arguments, for errors
    shape   the shape that samples must have, that of the training set. None for any
    schema  what the data are. None for that of the model
    """
    x_name, y_name, weight_name = names
    schema = model.schema if schema is None else schema
    targets = targets_of(tasks, X, y, schema, y_name, x_name)
    weights = weights_of(tasks, sample_weight, weight_name)
    found = [(task, schema.target_of(task.head, task.alone)) for task in tasks]
    encoded = {
        task.head: target.encode(
            task.argument(y_name), targets[task.head], task.loss.missing_targets or weights[task.head] is not None
        )
        for task, target in found
    }
    X = model._check_inputs(x_name, X, schema, dtype)
    count, widths = count_rows(X), model.widths
    rows = checking.rows("rows", rows, count)
    heads = {}
    for task, target in found:
        name = task.head
        labels = _labels(task, encoded[name], weights[name], count, widths[name], dtype, names)
        heads[name] = labels._replace(target=target)
    data = Data(X, heads, rows)
    _refuse_no_weight(tasks, data, weight_name)
    if shape is not None and data.sample_shape != shape:
        raise ValueError(f"{x_name}: got samples of shape {data.sample_shape}, expected {shape}, as in X")
    return data


def targets_of(tasks: Sequence[Task], X, y, schema: Schema, name: str = "y", x_name: str = "X") -> dict[str, Any]:
    """The targets of each head, as they are given."""
    if tasks[0].alone:
        y, own = only(y, tasks[0].head), schema.target.names
        if y is None and own is not None and frames.is_frame(X):
            if missing := [column for column in own if column not in frames.names(X)]:
                raise ValueError(f"{name}: got None, and {x_name} has no column {', '.join(missing)}, expected targets")
            y = X  # which holds the targets too
        return {tasks[0].head: y}
    heads = [task.head for task in tasks]
    if not isinstance(y, Mapping):
        told = ", ".join(map(repr, heads))
        raise TypeError(f"{name}: got {checking.shown(y)}, expected a dict with the targets of each head: {told}")
    found = of_each(name, y, heads)
    if all(targets is None for targets in found.values()):
        raise ValueError(f"{name}: got None for all heads, expected targets for at least one")
    return found


def weights_of(tasks: Sequence[Task], value, name: str = "sample_weight") -> dict[str, Any]:
    """The sample weights of each head, as they are given: one array for all, or a dict by head."""
    heads = [task.head for task in tasks]
    if tasks[0].alone:
        return {heads[0]: only(value, heads[0])}
    return of_each(name, value, heads, None) if isinstance(value, Mapping) else dict.fromkeys(heads, value)


def _labels(task: Task, y, sample_weight, rows: int, outputs: int, dtype: str, names: tuple[str, str, str]) -> Labels:
    """Checked targets and weights of a head."""
    loss, name, weight_name = task.loss, task.argument(names[1]), task.argument(names[2])
    check = checking.weights if not task.alone and sample_weight is not None else checking.sample_weight
    given = check(weight_name, sample_weight, rows, dtype)
    if y is None and not task.alone:  # no row has a label in this head
        flat = outputs == 1 or TRANSFORMS[loss.transform].answers == "classes"
        nothing = np.zeros(rows if flat else (rows, outputs))
        none = np.zeros(rows, dtype)
        return Labels(loss.targets(name, nothing, rows, outputs, dtype), none, given=none)
    try:
        targets = loss.targets(name, y, rows, outputs, dtype)
    except ValueError:
        filled = None if given is None or loss.missing_targets else _without_gaps(y, given)
        if filled is None:
            raise
        targets = loss.targets(name, filled, rows, outputs, dtype)
    shares = loss.shares_there(targets)
    if shares is None:
        return Labels(targets, given, given=given)
    weights = checking.weights(weight_name, shares if given is None else shares * given, rows, dtype)
    if task.alone and not weights.any():
        of = "" if given is None else " in a row with a weight"
        raise ValueError(f"{name}: got no target{of}, expected at least one that is not NaN")
    return Labels(targets, weights, given=given)


def _without_gaps(y, weights: np.ndarray) -> np.ndarray | None:
    """The targets with 0 in the rows of weight 0 that have none: nothing depends on them. None if there are no such
    rows."""
    y = np.asarray(y)
    if y.dtype.kind not in "iuf" or len(y) != len(weights):
        return None
    gone = np.isnan(y) if y.dtype.kind == "f" else np.zeros(y.shape, bool)
    if y.ndim == 1:
        gone |= y == -1
    rows = gone.reshape(len(y), -1).any(axis=1) & (weights == 0)
    if not rows.any():
        return None
    filled = y.copy()
    filled[rows] = 0
    return filled


def _refuse_no_weight(tasks: Sequence[Task], data: Data, name: str) -> None:
    """Refuses data in which no selected row counts in any head."""
    weights = [labels.weights for labels in data.heads.values()]
    rows = slice(None) if data.rows is None else data.rows
    if any(some is None or some[rows].any() for some in weights):
        return
    where = "" if data.rows is None else " in the selected rows"
    heads = "" if tasks[0].alone else " in all heads"
    raise ValueError(f"{name}: got zeros only{where}{heads}, expected at least one weight above 0")


def held_back(
    model: Model, tasks: Sequence[Task], dtype: str, value, shape: Any, schema: Schema | None = None
) -> Data | None:
    """The argument `validation_data`, checked. Its samples must have the `shape` of the training set's."""
    if value is None:
        return None
    if frames.is_frame(value) and not isinstance(value, (tuple, list)):
        value = value, None  # a table that holds the targets too
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        raise TypeError(f"validation_data: got {type(value).__name__}, expected (X, y) or (X, y, sample_weight)")
    names = ("validation_data[0]", "validation_data[1]", "validation_data[2]")
    return checked(model, tasks, dtype, *value, names=names, shape=shape, schema=schema)
