"""Class weights: the weight of a row follows from its label."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastreg.common import checking
from fastreg.common.columns import is_column
from fastreg.intake.classes import Classes
from fastreg.intake.schema import Target
from fastreg.losses.losses import Loss
from fastreg.model.dataset import Data

BALANCED = "balanced"


def weigh_classes(data: Data, loss: Loss, outputs: int, dtype: str, class_weight) -> tuple[Data, object]:
    """The data with class weights multiplied into their weights, and `class_weight` in the form that a resumed fit
    must repeat.

    "balanced" gives weight n / (k count) to a class with `count` of the n rows that are trained on, if k classes occur
    in them.
    """
    labels, classes = _labels(data, loss, outputs)
    if isinstance(class_weight, str):
        checking.choice("class_weight", class_weight, (BALANCED, "a dict of weights by label"))
        counts = np.bincount(labels if data.rows is None else labels[data.rows], minlength=classes)
        present = counts > 0
        by_class = np.ones(classes)
        by_class[present] = counts.sum() / (np.count_nonzero(present) * counts[present])
        noted: object = BALANCED
    else:
        by_class = _by_class(_by_code(class_weight, data.target), classes)
        noted = dict(enumerate(by_class.tolist()))
    weights = by_class[labels] if data.weights is None else by_class[labels] * data.weights
    weights = checking.weights("class_weight", weights, len(labels), dtype)
    if not (weights if data.rows is None else weights[data.rows]).any():
        raise ValueError(f"class_weight: got {checking.shown(class_weight)}, expected a weight above 0 for some row")
    return data._replace(weights=weights), noted


def _labels(data: Data, loss: Loss, outputs: int) -> tuple[np.ndarray, int]:
    """The label of each row, and the number of possible labels."""
    targets = data.targets
    if targets.ndim == 1:
        return targets, outputs
    if loss.transform == "sigmoid" and targets.shape[1] == 1:
        ones = targets[:, 0] == 1
        if (ones | (targets[:, 0] == 0)).all():  # of any dtype; other values are shares, not labels
            return ones.astype(np.int64), 2
    if loss.transform == "softmax":
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
    codes = Classes(target.classes).encode("class_weight", np.array(list(value)))
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
