"""The front door for data: decides what the columns and the targets of a data set are. Nothing else decides it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fastreg.common import checking
from fastreg.common.checking import shown
from fastreg.common.transforms import TRANSFORMS
from fastreg.common.understood import understood
from fastreg.data.standardizer import Standardizer
from fastreg.data.target_scaler import TargetScaler
from fastreg.intake import dates, frames
from fastreg.intake.classes import Class
from fastreg.intake.schema import SCALES, TASKS, Column, Schema, Target, as_numbers, is_numeric, text_of
from fastreg.intake.table import Table
from fastreg.losses import losses

FEW = 10  # up to so many different whole numbers are classes, if they lie close together
MANY = 100  # up to so many are, in a column that is called a class
CALLED_CLASSES = ("class", "classes", "label", "labels", "category", "species")
MOST_CLASSES = 1000  # and never more than that
MOST_TEXTS = 64  # texts of a column that get a number of their own, the most frequent ones
MOST_CODES = 1 << 16  # texts of a column that get a code
CATEGORIES = ("one_hot", "codes")
IMAGE_COLUMNS = 64  # bytes in this many columns or more are taken for the pixels of images
BRIGHT = 128  # the brightest pixel of such images is above this
LOSSES = {"classes": "softmax_cross_entropy", "labels": "sigmoid_cross_entropy", "numbers": "mse"}
TASKS_OF = {"classes": ("classes",), "yes": ("labels", "classes"), "numbers": ("numbers",)}


@understood
def infer_schema(X, y=None, *, task=None, target=None, loss=None, scale=None, categories="one_hot") -> Schema:
    """Find out what a data set holds: which columns are numbers, texts or dates, and what is to be learned.

    Print the result to see what was taken, and why. Every part of it can be overruled by an argument.

    Parameters
    ----------
    X
        The inputs: a `fastreg.data.Table`, a frame of pandas or polars, a dict of columns, or an array (n, ...). Take
        the training part: scaling and what stands for holes come from these rows.
    y
        The targets: an array, a Series, a list. None if they are columns of X, or if there are none.
    task : {"classes", "labels", "numbers"}, optional
        One of several classes; several yes-or-no questions; numbers. By default, texts and booleans are classes. So are
        whole numbers with two values; with at most 10 that lie close together (100 in a column called class or label);
        from 0 (or 1) to k, where each comes up often enough; or where each comes up equally often. Rows of zeros and
        ones are classes if each has a single 1, else labels. Rows of shares that sum to 1 are classes. Anything else is
        a number.
    target : str, int or list, optional
        The columns of X that are the targets, by name or position.
    loss : str, optional
        The loss, such as "mae". By default the one of the task.
    scale : {"standardize", "bytes", "none"}, optional
        "standardize": amounts get mean 0 and variance 1. "bytes": everything is divided by 255. By default bytes of
        images are divided and everything else is standardized. Targets that are numbers are scaled too, unless it is
        "none" or the loss is "poisson".
    categories : {"one_hot", "codes"}
        What texts become: a 0 or 1 for each of the 64 most frequent ones, or one code for an `Embedding`, for columns
        of many texts. `fastreg.data.inputs_of(schema)` then begins a model.

    Returns
    -------
    Schema
        To be the first element of a `fastreg.Sequential`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described, there is a single class, or several targets are of different kinds.

    Examples
    --------
    >>> import fastreg as fr
    >>> towns, prices = ["rome", "oslo", None, "rome"], [3.1, 2.5, 4.4, 2.9]
    >>> table = fr.data.Table({"rooms": [3, 2, 4, 3], "town": towns, "price": prices})
    >>> schema = fr.data.infer_schema(table, target="price")
    >>> print(schema)
    price: numbers (not all whole) of mean 3.225, sigma 0.712, scaled in training; X: 2 columns: 1 number, 1 text
    >>> model = fr.Sequential([schema, fr.Dense(8, activation="relu"), fr.Dense(schema.outputs)])
    >>> trainer = fr.Trainer(model, optimizer="adam")
    >>> history = trainer.fit(table, epochs=2)
    >>> model.predict(table).shape
    (4, 1)
    """
    task = None if task is None else checking.choice("task", task, TASKS)
    scale = None if scale is None else checking.choice("scale", scale, SCALES)
    if loss is not None:
        kinds = _tasks_of(loss)
        if task is not None and task not in kinds:
            raise ValueError(f"loss: got {shown(loss)} for the task {task!r}, expected one for it, as {LOSSES[task]!r}")
        loss = loss if isinstance(loss, str) else losses.get(loss).name
    X, y, names = targets_of(X, y, target)
    coded = checking.choice("categories", categories, CATEGORIES) == "codes"
    columns, named = _columns(X, MOST_CODES if coded else MOST_TEXTS)
    if columns is not None and coded:
        columns = tuple(replace(column, coded=column.kind == "category") for column in columns)
    schema = Schema(columns, named)
    if y is not None:
        only = None if loss is None else _tasks_of(loss)
        described, why = _target(y, names, task, only)
        schema = replace(schema, target=described, why=why, loss=loss or LOSSES[str(described.task)])
    return fit_schema(schema, X, y, scale)


def _tasks_of(loss: str) -> tuple[str, ...]:
    """The tasks that a loss is for."""
    return TASKS_OF[TRANSFORMS[losses.get(loss).transform].answers]


@understood
def fit_schema(schema: Schema, X, y=None, scale=None) -> Schema:
    """The schema with its numbers from these rows alone: what stands for holes, and the scaling of inputs and targets.

    `infer_schema` does it with the rows that it sees. Where kinds and classes come from all rows, but numbers must come
    from the training part, this is the second step.

    Parameters
    ----------
    schema : Schema
        One that `infer_schema` made.
    X, y, scale
        As in `infer_schema`, the training part.

    Returns
    -------
    Schema

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X, y = np.arange(8.0).reshape(8, 1), np.arange(8) % 2
    >>> schema = fr.data.infer_schema(X, y)
    >>> schema.mean, fr.data.fit_schema(schema, X[:4], y[:4]).mean
    ((3.5,), (1.5,))
    """
    schema = replace(schema, columns=_filled(schema, X))
    target = schema.target
    if y is not None and target.task == "numbers":
        as_is = scale == "none" or (schema.loss is not None and losses.get(schema.loss).transform == "exp")
        scaled = Target() if as_is else TargetScaler().fit(_matrix(target, y)).target()
        target = replace(target, mean=scaled.mean, scale=scaled.scale)
    encoded = schema.inputs("X", X, "float64")
    if schema.columns is None and frames.is_frame(encoded):
        raise TypeError(f"X: got {shown(X)}, expected a table or an array")
    if hasattr(encoded, "tocsr"):  # sparse rows: to centre them would fill their zeros
        return replace(schema, target=target, scaling="none")
    scaling = scale or ("bytes" if are_images(encoded) else "standardize")
    if scaling == "none":
        return replace(schema, target=target, scaling=scaling)
    flat = np.prod(np.shape(encoded)[1:], dtype=int)
    if scaling == "bytes":
        return replace(schema, target=target, scaling=scaling, mean=(0.0,) * flat, factor=(1 / 255,) * flat)
    layer = Standardizer().fit(encoded).layer()
    mean, factor = np.array(layer.mean), np.array(layer.scale)
    if schema.columns is not None and not schema.is_plain:
        amounts = np.concatenate([np.arange(c.width) < c.amounts for c in schema.columns])
        mean, factor = np.where(amounts, mean, 0.0), np.where(amounts, factor, 1.0)
    return replace(schema, target=target, scaling=scaling, mean=tuple(mean.tolist()), factor=tuple(factor.tolist()))


def targets_of(X, y, target):
    """Inputs, targets, and the names of the targets. `target` takes columns out of the frame X."""
    if target is None:
        return X, y, frames.names(y) if y is not None and frames.is_frame(y) and frames.has_names(y) else None
    if y is not None:
        raise ValueError("target: got target together with y, expected one of the two")
    if not frames.is_frame(X):
        raise TypeError(f"target: got {shown(target)} for X without names, expected a table or a frame as X, or y")
    table = X if isinstance(X, Table) else Table.of(X)
    wanted = (
        [target] if isinstance(target, (str, int, np.integer)) else list(checking.iterate("target", target, "columns"))
    )
    names = tuple(column_name(table.names, column) for column in wanted)
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"target: got {shown(target)}, expected different columns")
    columns = table.select(names)
    return table.drop(names), columns[names[0]] if len(names) == 1 else columns, names


def column_name(names: tuple[str, ...], column) -> str:
    """The name of a column that is given by name or position."""
    if isinstance(column, str):
        if column in names:
            return column
        raise ValueError(
            f"target: got {column!r}, expected a column: {shown(list(names))}{checking.nearest(column, names)}"
        )
    place = checking.integer("target", column, -checking.MAX_INT)
    if not -len(names) <= place < len(names):
        raise ValueError(f"target: got {place}, expected a column from 0 to {len(names) - 1} or a name")
    return names[place]


# --- Inputs ------------------------------------------------------------------------------------------------------


def _columns(X, most: int = MOST_TEXTS) -> tuple[tuple[Column, ...] | None, bool]:
    """The columns of X, and whether they have names. None for an array of numbers without holes."""
    if frames.is_frame(X):
        columns = zip(frames.names(X), frames.columns(X), strict=True)
        return tuple(_column(name, values, most) for name, values in columns), frames.has_names(X)
    if hasattr(X, "tocsr"):
        return None, True
    X = checking.as_array("X", X)
    may_have_holes = X.ndim == 2 and X.dtype.kind == "f" and not checking.is_memory_map(X)
    if X.ndim and is_numeric(X) and not (may_have_holes and _has_holes(X)):
        return None, True
    if X.ndim != 2:
        raise ValueError(f"X: got shape {X.shape} of {X.dtype}, expected (n, columns)")
    return tuple(_column(str(j), X[:, j], most) for j in range(X.shape[1])), False


def _has_holes(X: np.ndarray) -> bool:
    step = max(1, checking.CHUNK // max(1, X.shape[1]))
    return any(np.isnan(X[start : start + step]).any() for start in range(0, len(X), step))


def _column(name: str, values: np.ndarray, most: int) -> Column:
    """What a column is. A text in each of many rows is a name or a number of the row, which tells nothing."""
    if values.dtype.kind == "f" and np.isnan(values).all():
        return Column(name, "unused")
    if values.dtype.kind in "biuf":
        return Column(name, "number")
    if (layout := dates.layout_of(values)) is not None:
        return Column(name, "date", layout=layout)
    if values.dtype.kind == "M":
        return Column(name, "unused")
    given = [value for value in values.tolist() if value is not None and value == value]
    if not given:
        return Column(name, "unused")
    if not any(isinstance(value, str) for value in given):
        as_numbers(f"X: column {name!r}", values)
        return Column(name, "number")
    counts: dict[str, int] = {}
    for value in given:
        text = str(text_of(value))
        counts[text] = counts.get(text, 0) + 1
    if len(counts) == len(given) > MOST_TEXTS // 2:
        return Column(name, "unused")
    frequent = sorted(counts, key=lambda text: (-counts[text], text))[:most]
    return Column(name, "category", tuple(sorted(frequent)))


def _filled(schema: Schema, X) -> tuple[Column, ...] | None:
    """The columns with what stands for their holes: the median, if there are holes in these rows."""
    if schema.columns is None:
        return None
    columns = frames.by_name(X) if frames.is_frame(X) else None
    array = None if columns is not None else checking.as_array("X", X)
    filled = []
    for place, column in enumerate(schema.columns):
        if column.kind in ("number", "date"):
            values = columns[column.name] if columns is not None else array[:, place]  # type: ignore[index]
            if column.kind == "date":
                own = dates.parse(f"X: column {column.name!r}", values, column.layout) / dates.DAY
            else:
                own = as_numbers(f"X: column {column.name!r}", values)
            holes = np.isnan(own)
            fill = float(np.median(own[~holes])) if holes.any() and not holes.all() else 0.0 if holes.any() else None
            column = replace(column, fill=fill)
        filled.append(column)
    return tuple(filled)


def are_images(X) -> bool:
    """Whether X holds bytes of images: whole numbers from 0 to 255, in the shape of images or in many columns."""
    X = checking.as_array("X", X)
    if X.dtype == np.uint8 and X.ndim >= 3:
        return int(X.max(initial=0)) > 1
    if (X.ndim == 2 and X.shape[1] < IMAGE_COLUMNS) or X.dtype.kind not in "biuf" or not X.size:
        return False
    first = X[:64]  # most tables are ruled out by their first rows
    if not _are_bytes(first):
        return False
    step = max(1, checking.CHUNK // max(1, int(np.prod(X.shape[1:]))))
    parts = [X[start : start + step] for start in range(0, len(X), step)]
    return all(map(_are_bytes, parts)) and max(float(part.max()) for part in parts) >= BRIGHT


def _are_bytes(X: np.ndarray) -> bool:
    return bool(((X >= 0) & (X <= 255)).all()) and (X.dtype.kind != "f" or bool((np.floor(X) == X).all()))


# --- Targets -----------------------------------------------------------------------------------------------------


def _target(y, names, task: str | None, only: Iterable[str] | None) -> tuple[Target, str]:
    """What the targets are, and why. `only` are the tasks that the loss allows."""
    matrix = _matrix(Target(names), y)
    if matrix.ndim == 2 and matrix.shape[1] == 1:
        matrix = matrix[:, 0]
    if matrix.ndim not in (1, 2) or not matrix.size:
        raise ValueError(f"y: got shape {matrix.shape}, expected (n,) or (n, outputs) with at least one row")
    if task is None and only is not None:
        allowed = tuple(only)
        task = allowed[0] if len(allowed) == 1 else "labels" if matrix.ndim == 2 else "classes"
    if matrix.ndim == 1:
        return _one(matrix, names, task)
    return _several(matrix, names, task)


def _matrix(target: Target, y) -> np.ndarray:
    if not frames.is_frame(y):
        return checking.as_array("y", y)
    columns = frames.by_name(y)
    wanted = target.names if target.names and set(target.names) <= columns.keys() else frames.names(y)
    kinds = {columns[name].dtype.kind == "O" for name in wanted}
    whole = all(columns[name].dtype.kind in "biu" for name in wanted)
    dtype = object if True in kinds else np.int64 if whole else np.float64
    out = np.empty((len(columns[wanted[0]]), len(wanted)), dtype)
    for place, name in enumerate(wanted):
        out[:, place] = columns[name]
    return out


def _one(y: np.ndarray, names, task: str | None) -> tuple[Target, str]:
    called = names is not None and names[0].casefold() in CALLED_CLASSES
    values, why = _classes(y, forced=task == "classes", called=called)
    if task == "numbers" or (task is None and values is None):
        y = as_numbers("y", y, ": the task is numbers") if y.dtype.kind not in "biuf" else y
        return Target(names, "numbers", count=1), why if task is None else "as asked"
    if values is None:
        raise ValueError(f"y: got {why}, expected classes; task='numbers' takes numbers")
    if len(values) < 2:
        raise ValueError(
            f"y: got a single class {values[0]!r}, expected at least two; is it in another column? target= takes it"
        )
    if task == "labels":
        if len(values) != 2:
            raise ValueError(f"y: got {len(values)} different values for yes or no, expected two")
        return Target(names, "labels", ((values[0], values[1]),)), "as asked"
    return Target(names, "classes", values), why if task is None else "as asked"


def _several(y: np.ndarray, names, task: str | None) -> tuple[Target, str]:
    """Several columns of targets: one-hot rows or shares, yes or no in each, or numbers."""
    if y.dtype.kind in "biuf":
        bits = bool(((y == 0) | (y == 1)).all())
        if task in (None, "classes") and bits and (y.sum(axis=1) == 1).all():
            return Target(names, "classes", _named(names, y)), "a single 1 in each row"
        finite = y[~np.isnan(y)] if y.dtype.kind == "f" else y
        shares = bool((finite >= 0).all() and (finite <= 1).all() and np.allclose(y.sum(axis=1), 1, atol=1e-5))
        if task in (None, "classes") and shares:
            return Target(names, "classes", _named(names, y)), "shares that sum to 1 in each row"
        if task == "classes":
            raise ValueError(f"y: got {y.shape[1]} columns, expected one column, or rows that are one-hot or sum to 1")
        if task in (None, "labels") and bits:
            return Target(names, "labels", ((0, 1),) * y.shape[1]), "0 and 1 in each column"
        if task == "labels" and not bits:
            raise ValueError("y: got other numbers than 0 and 1, expected yes or no in each column")
        return Target(names, "numbers", count=y.shape[1]), "several columns of numbers" if task is None else "as asked"
    pairs: list[tuple[Class, Class]] = []
    kinds = []
    for column in y.T:
        values, _ = _classes(column, forced=False)
        kinds.append("numbers" if values is None else "labels" if len(values) == 2 else "classes")
        if values is not None and len(values) == 2:
            pairs.append((values[0], values[1]))
    if task in (None, "labels") and set(kinds) == {"labels"}:
        return Target(names, "labels", tuple(pairs)), "two values in each column"
    told = ", ".join(f"{name} {kind}" for name, kind in zip(names or range(len(kinds)), kinds, strict=False))
    raise ValueError(f"y: got columns of different kinds ({told}), expected all yes or no, or all numbers; take one")


def _named(names, y: np.ndarray) -> tuple[Class, ...]:
    return tuple(names) if names is not None else tuple(range(y.shape[1]))


def _classes(y: np.ndarray, forced: bool, called: bool = False) -> tuple[tuple[Class, ...] | None, str]:
    """The classes in y in their order, or None if it holds numbers, and why.

    forced   whether only classes will do
    called   whether the column is called a class
    """
    if y.dtype.kind in "UT" or (y.dtype.kind == "O" and any(isinstance(value, str) for value in y.tolist())):
        return _texts(y)
    if y.dtype.kind == "b":
        return (False, True), "true or false"
    y = as_numbers("y", y, "") if y.dtype.kind == "O" else y
    if y.dtype.kind not in "biuf":
        raise TypeError(f"y: got an array of {y.dtype}, expected numbers, texts or booleans")
    if y.dtype.kind == "f":
        if np.isnan(y).any():
            return None, "some are missing"
        if not np.isfinite(y).all() or (y != np.floor(y)).any():
            return None, "not all whole"
    values, counts = np.unique(y, return_counts=True)
    many = f"whole numbers, {len(values)} different"
    whole = tuple(int(value) for value in values[: MOST_CLASSES + 1].tolist())
    if len(values) == 1:
        return whole, many
    if len(values) > MOST_CLASSES or (len(values) == len(y) and len(y) > 2 and not forced):
        return None, many
    close = float(values[-1]) - float(values[0]) < 3 * len(values)
    few = len(values) <= FEW or (called and len(values) <= MANY)
    if forced or len(values) == 2 or (close and (few or _are_codes(values, counts))):
        return whole, many
    return None, many


def _are_codes(values: np.ndarray, counts: np.ndarray) -> bool:
    """Whether whole numbers look like the codes of classes rather than amounts: 0 or 1 to k without a gap, each of them
    often enough (ages and grades thin out at both ends), or each of them equally often."""
    start, mean = int(values[0]), counts.mean()
    if mean <= 5 or len(values) > MOST_CLASSES:
        return False
    in_a_row = start in (0, 1) and int(values[-1]) == start + len(values) - 1
    return (in_a_row and counts.min() >= 0.1 * mean) or (len(values) <= MANY and counts.min() >= 0.9 * mean)


def _texts(y: np.ndarray) -> tuple[tuple[Class, ...] | None, str]:
    given = y.tolist()
    texts = set()
    for row, value in enumerate(given):
        if value is None or value != value or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"y: row {row} holds no label, expected one per row; leave such rows out")
        texts.add(str(text_of(value)))
    if len(texts) > MOST_CLASSES or (len(texts) == len(given) and len(given) > 2):
        raise ValueError(f"y: got {len(texts)} different texts in {len(given)} rows, expected the names of classes")
    return tuple(sorted(texts)), f"texts, {len(texts)} different"
