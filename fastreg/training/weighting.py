"""Class weights: the weight of a row follows from its label; with several labels per row, that of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastreg.common import checking
from fastreg.common.columns import is_column
from fastreg.common.pieces import counted, taken
from fastreg.common.transforms import TRANSFORMS
from fastreg.intake.classes import Classes
from fastreg.intake.schema import Target
from fastreg.losses.losses import Loss, YesNo
from fastreg.model.dataset import Data
from fastreg.model.tasks import Task, of_each

BALANCED = "balanced"


def weigh_heads(
    data: Data, tasks: Sequence[Task], widths: Mapping[str, int], dtype: str, class_weight
) -> tuple[Data, object]:
    """The data with the class weights of each head, and `class_weight` in the form that a resumed fit must repeat."""
    heads, noted = [task.head for task in tasks], dict[str, object]()
    if tasks[0].alone:
        given = {heads[0]: _of_only(class_weight, heads[0])}
    elif isinstance(class_weight, Mapping):
        given = of_each("class_weight", class_weight, heads, None)
    else:
        told = ", ".join(map(repr, heads))
        raise TypeError(f"class_weight: got {checking.shown(class_weight)}, expected a dict by head: {told}")
    for task in tasks:
        if given[task.head] is None:
            continue
        own = Data(data.inputs, {"": data.heads[task.head]}, data.rows)
        try:
            own, noted[task.head] = weigh_classes(own, task.loss, widths[task.head], dtype, given[task.head])
        except (ValueError, TypeError) as error:
            raise type(error)(str(error).replace("class_weight", task.argument("class_weight"), 1)) from None
        data = data._replace(heads={**data.heads, task.head: own.only})
    return data, noted[heads[0]] if tasks[0].alone else noted


def _of_only(class_weight, head: str):
    """The class weights of the only head, which may be given by its name."""
    inner = class_weight.get(head) if isinstance(class_weight, Mapping) and len(class_weight) == 1 else None
    return inner if isinstance(inner, (str, Mapping)) else class_weight


def weigh_classes(data: Data, loss: Loss, outputs: int, dtype: str, class_weight) -> tuple[Data, object]:
    """The data with class weights multiplied into their weights, and `class_weight` in the form that a resumed fit
    must repeat.

    "balanced" gives weight n / (k count) to a class with `count` of the n rows that are trained on, if k classes occur
    in them. Rows without a target do not count.

    Where each row has several labels, yes or no, it is the loss of the data that changes; see `_weigh_outputs`.
    """
    if isinstance(loss, YesNo) and outputs > 1:
        return _weigh_outputs(data, loss, class_weight)
    labels, classes = _labels(data, loss, outputs)
    if isinstance(class_weight, str):
        checking.choice("class_weight", class_weight, (BALANCED, "a dict of weights by label"))
        counts = counted(labels if data.rows is None else taken(labels, data.rows), classes)
        present = counts > 0
        by_class = np.ones(classes)
        by_class[present] = counts.sum() / (np.count_nonzero(present) * counts[present])
        noted: object = BALANCED
    else:
        by_class = _by_class(_by_code(class_weight, data.only.target), classes)
        noted = dict(enumerate(by_class.tolist()))
    given = data.only.weights
    weights = taken(by_class, labels)
    if given is not None:
        weights *= given
    weights = checking.weights("class_weight", weights, len(labels), dtype)
    if not (weights if data.rows is None else taken(weights, data.rows)).any():
        raise ValueError(f"class_weight: got {checking.shown(class_weight)}, expected a weight above 0 for some row")
    return data.with_head(*data.heads, weights=weights), noted


def _weigh_outputs(data: Data, loss: YesNo, class_weight) -> tuple[Data, object]:
    """The data with a loss that weighs each label of a row: l = mean over the outputs j of w_j(t_j) l_j.

    "balanced": w_j(1) = n_j / (2 p_j) and w_j(0) = n_j / (2 (n_j - p_j)) for an output with p_j ones among its n_j
    targets in the rows that are trained on, and 1 if all are the same. {j: w}: w_j(1) = w, all other weights are 1.
    """
    targets, target = data.only.targets, data.only.target
    outputs = targets.shape[1]
    if isinstance(class_weight, str):
        checking.choice("class_weight", class_weight, (BALANCED, "a dict of weights by output"))
        targets = targets if data.rows is None else targets[data.rows]
        counts = np.stack([np.count_nonzero(targets == label, axis=0) for label in (0, 1)])
        if counts.sum() + np.count_nonzero(targets != targets) < targets.size:  # of NaN, which is no target
            raise ValueError("class_weight: got 'balanced' for targets between 0 and 1, expected 0 and 1 alone")
        both = counts.all(axis=0)
        no, yes = np.where(both, counts.sum(axis=0) / (2 * np.maximum(counts, 1)), 1.0)
        return data.with_head(*data.heads, loss=loss.weighing(no, yes)), BALANCED
    if isinstance(class_weight, Mapping) and target.names is not None:
        numbers = {name: j for j, name in enumerate(target.names)}
        class_weight = {numbers.get(label, label): weight for label, weight in class_weight.items()}
    yes = _by_class(class_weight, outputs)
    return data.with_head(*data.heads, loss=loss.weighing(np.ones(outputs), yes)), dict(enumerate(yes.tolist()))


def _labels(data: Data, loss: Loss, outputs: int) -> tuple[np.ndarray, int]:
    """The label of each row, -1 for none, and the number of possible labels."""
    targets = data.only.targets
    if targets.ndim == 1:
        return targets, outputs
    if TRANSFORMS[loss.transform].answers == "yes" and targets.shape[1] == 1:
        flat = targets[:, 0]
        ones, gone = flat == 1, flat != flat  # NaN is no target
        if (ones | gone | (flat == 0)).all():  # of any dtype; other values are shares, not labels
            return np.where(gone, -1, ones), 2
    if TRANSFORMS[loss.transform].answers == "classes":
        expected = "labels; sample_weight weighs rows"
        raise ValueError(f"class_weight: got rows of probabilities under {loss.name!r}, expected {expected}")
    got = f"targets of shape {targets.shape} in {targets.dtype} under {loss.name!r}"
    raise ValueError(f"class_weight: got {got}, expected integer labels, or 0 and 1, one per row")


def _by_code(value, target: Target):
    """Weights by the name of a class as weights by its code, and pandas' Series as a dict by its index."""
    if is_column(value) and hasattr(value, "items"):
        value = dict(value.items())
    if target.classes is None or target.task != "classes" or not isinstance(value, Mapping) or not value:
        return value
    classes, labels = Classes(target.classes), np.array(list(value))
    if unknown := classes.unknown(labels):
        near = checking.nearest(unknown[0], target.classes)
        raise ValueError(f"class_weight: got {checking.shown(unknown[0])}, expected one of {classes}{near}")
    codes = classes.encode("class_weight", labels)
    return dict(zip(codes.tolist(), value.values(), strict=True))


def _by_class(value, classes: int) -> np.ndarray:
    """The weight of each class, 1 if none is given."""
    if not isinstance(value, Mapping):
        raise TypeError(f"class_weight: got {checking.shown(value)}, expected 'balanced' or a dict of weights by label")
    weights = np.ones(classes)
    for label, weight in value.items():
        if isinstance(label, (bool, np.bool_)) or not isinstance(label, (int, np.integer)) or not 0 <= label < classes:
            raise ValueError(
                f"class_weight: got the label {checking.shown(label)}, expected integers from 0 to {classes - 1}"
            )
        weights[label] = checking.number(f"class_weight[{label}]", weight)
    return weights
