"""The held-back data of a fit: one set, several by name, or a share of the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastreg.common import checking
from fastreg.common.pieces import counted, taken
from fastreg.intake.schema import Schema
from fastreg.model.dataset import Data, held_back
from fastreg.training.settings import Settings

SINGLE = "val"  # the name of a set without a name


def held_back_sets(settings: Settings, value, shape: Any, schema: Schema | None) -> dict[str, Data]:
    """The argument `validation_data`, checked, by name. The samples must have the `shape` of the training set's."""
    if value is None:
        return {}
    named = isinstance(value, Mapping) and not _is_table(value, schema)
    if named:
        if not value:
            raise ValueError("validation_data: got an empty dict, expected at least one set, or None")
        given = {_name(name): part for name, part in value.items()}
    elif _is_several(value):
        names = ", ".join(f"{name!r}: (X, y)" for name in ("val", "test"))
        got = f"a {type(value).__name__} of {len(value)} sets"
        raise TypeError(f"validation_data: got {got}, expected a dict that names them, such as {{{names}}}")
    else:
        given = {SINGLE: value}
    sets = {}
    for name, part in given.items():
        try:
            data = held_back(settings.model, settings.tasks, settings.dtype, part, shape, schema)
        except (ValueError, TypeError) as error:
            if not named:
                raise
            text = str(error).replace("validation_data", f"validation_data[{name!r}]", 1)
            raise type(error)(text) from None
        if data is None:
            raise TypeError(f"validation_data[{name!r}]: got None, expected (X, y) or (X, y, sample_weight)")
        sets[name] = data
    return sets


def _name(name) -> str:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise TypeError(f"validation_data: got the name {checking.shown(name)}, expected text such as 'val'")
    return name


def _is_table(value: Mapping, schema: Schema | None) -> bool:
    """Whether a dict holds the columns of a table with its targets, and not sets."""
    names = schema.target.names if schema is not None else None
    return names is not None and all(name in value and not isinstance(value[name], tuple) for name in names)


def _is_several(value) -> bool:
    """Whether a value is a list of sets instead of one."""
    if not isinstance(value, (tuple, list)) or not value:
        return False
    return all(
        isinstance(part, (tuple, list)) and len(part) in (2, 3) and len(getattr(part[0], "shape", ())) > 1
        for part in value
    )


def split_off(data: Data, share: float, seed: int) -> tuple[Data, Data]:
    """The rows to train on and those held back, of the selected rows: the same for the same seed.

    Each class keeps its share, if the targets are labels: those of the first head that has labels. Nothing is copied.
    """
    from fastreg.data.order import apart  # imported only if needed, since the data package is large
    from fastreg.data.split import cut

    times = np.ones(data.length, np.int64) if data.rows is None else counted(data.rows, data.length)
    rows = np.flatnonzero(times)  # a row that comes twice is on one side alone
    found = (_labels(some.targets) for some in data.heads.values())
    labels = next((some for some in found if some is not None), None)
    kept, held = cut(len(rows), None if labels is None else taken(labels, rows), (1 - share, share), seed)
    for part, what in ((kept, "to train on"), (held, "held back")):
        if not len(part):
            raise ValueError(
                f"validation_split: got {share:g}, expected a share that leaves rows {what} of {len(rows)}"
            )
    parts = []
    for part, name in ((kept, "the rows to train on"), (held, "the rows that validation_split holds back")):
        chosen = apart(data.length, taken(rows, part))[1]
        chosen = np.repeat(chosen, taken(times, chosen))
        if all(some.weights is not None and not taken(some.weights, chosen).any() for some in data.heads.values()):
            raise ValueError(f"sample_weight: got zeros only in {name}, expected at least one weight above 0")
        parts.append(data._replace(rows=chosen))
    return parts[0], parts[1]


def _labels(targets: np.ndarray) -> np.ndarray | None:
    """The label of each row; None if targets are not labels."""
    if targets.ndim == 1:
        return targets if targets.dtype.kind in "iu" else None
    if targets.ndim == 2 and targets.shape[1] == 1 and ((targets == 0) | (targets == 1)).all():
        return targets[:, 0].astype(np.int64)
    return None
