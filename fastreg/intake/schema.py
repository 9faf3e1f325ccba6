"""Schema: what the columns and the targets of a data set are, by name. A model keeps it, and its file stores it.

`fastreg.data.infer_schema` makes one from data. Nothing here decides anything; it carries out what was decided.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from fastreg.common import checking, html
from fastreg.common.attributes import Suggesting
from fastreg.common.checking import shown
from fastreg.common.transforms import TRANSFORMS
from fastreg.intake import dates, frames
from fastreg.intake.classes import Classes

KINDS = ("number", "category", "date", "unused")
TASKS = ("classes", "labels", "numbers")
SCALES = ("standardize", "bytes", "none")
MOST_SHOWN = 40  # columns of a table in a notebook
MOST_NAMED = 8  # classes or columns that a description names


@dataclass(frozen=True)
class Column(Suggesting):
    """An input column of a table, and the numbers that stand for it.

    kind     "number": itself. "category": a 0 or 1 for each of `values`, all 0 for any other text; with `coded`, the
             place of its text among `values`, and their number for any other text or none. "date": days since 2000,
             and points on circles for the time of the year, of the week and, with `layout.times`, of the day.
             "unused": no number at all
    values   the texts of a category
    fill     what stands for a hole of a number or date, which then has one more number: 1 at a hole, else 0. None if
             there were no holes: then they are refused
    layout   how the dates are written; see `dates`
    coded    whether a category becomes a code, for an embedding
    """

    name: str
    kind: str
    values: tuple[str, ...] = ()
    fill: float | None = None
    layout: str = ""
    coded: bool = False

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise TypeError(f"name: got {shown(self.name)}, expected text")
        checking.choice("kind", self.kind, KINDS)
        if not all(isinstance(value, str) for value in self.values) or len(set(self.values)) != len(self.values):
            raise ValueError(f"values: got {shown(self.values)}, expected different texts")
        if self.fill is not None:
            checking.number("fill", self.fill, -math.inf)
        if self.kind == "date":
            checking.choice("layout", self.layout, dates.LAYOUTS)

    @property
    def width(self) -> int:
        """How many numbers stand for it."""
        categories = 1 if self.coded else len(self.values)
        widths = {"number": 1, "category": categories, "date": dates.width(self.layout), "unused": 0}
        own = widths[self.kind]
        return own + (self.fill is not None)

    @property
    def amounts(self) -> int:
        """How many of its numbers, from the first on, are amounts, which are to be scaled. The others are near 1."""
        return int(self.kind in ("number", "date"))

    def write(self, out: np.ndarray, name: str, values: np.ndarray) -> None:
        """Writes its numbers into `out` (n, width). `name` is that of the argument, for errors."""
        if self.kind == "category":
            codes: dict[str | None, int] = {value: code for code, value in enumerate(self.values)}
            if values.dtype.kind in "iuf":  # codes such as 007, in rows that hold no other text
                codes = {code_of(value): code for code, value in enumerate(self.values)} | codes
            codes[None] = -1
            out[...] = 0
            found = np.array([codes.get(text_of(value), -1) for value in values.tolist()], np.int64)
            rows = np.flatnonzero(found >= 0)
            if self.coded:
                out[:, 0] = np.where(found >= 0, found, len(self.values))
            else:
                out[rows, found[rows]] = 1
            if self.values and not len(rows):
                self._warn_of_numbers(name, values)
            return
        if self.kind == "date":
            own = dates.numbers(dates.parse(f"{name}: column {self.name!r}", values, self.layout), self.layout)
        else:
            own = as_numbers(f"{name}: column {self.name!r}", values)[:, np.newaxis]
        holes = np.isnan(own[:, 0])
        if holes.any() and self.fill is None:
            row = int(np.argmax(holes))
            raise ValueError(
                f"{name}: column {self.name!r}, row {row} is empty, expected a value: none was empty in training"
            )
        width = own.shape[1]
        out[:, :width] = own
        if self.fill is not None:
            out[holes, 0], out[holes, 1:width] = self.fill, 0
            out[:, width] = holes

    def _warn_of_numbers(self, name: str, values: np.ndarray) -> None:
        """Says that there are numbers where training had texts, and none is one of these: 0 and 1 for yes and no."""
        found = ((row, value) for row, value in enumerate(values.tolist()) if text_of(value) is not None)
        row, value = next(found, (0, ""))
        if not isinstance(value, str):
            told = _listed([repr(text) for text in self.values], MOST_NAMED)
            warnings.warn(
                f"{name}: column {self.name!r}, row {row}: got {value!r}, and in no row a text of training, expected "
                f"{told}; unknown texts are all zeros",
                stacklevel=2,
            )

    def config(self) -> dict[str, Any]:
        """What is not a default, for JSON."""
        return _told(self)


@dataclass(frozen=True)
class Target(Suggesting):
    """What the targets are.

    names         the columns of a table that hold them, or None
    task          "classes": one of several. "labels": several yes or no. "numbers". None if nothing is known
    classes       of "classes", the class of each code 0, 1, ...; of "labels", a (no, yes) for each output; or None
    mean, scale   of "numbers", one of each per output: training sees (y - mean) / scale. Or None
    count         how many numbers there are, where it was seen in data. Files do not have it
    """

    names: tuple[str, ...] | None = None
    task: str | None = None
    classes: tuple[Any, ...] | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    count: int | None = field(default=None, compare=False, metadata={"saved": False})

    def __post_init__(self):
        for name in ("names", "classes", "mean", "scale"):
            value = getattr(self, name)
            if value is not None:
                tuples = (tuple(item) if isinstance(item, list) else item for item in value)
                object.__setattr__(self, name, tuple(tuples))
        if self.names is not None and not all(isinstance(name, str) for name in self.names):
            raise TypeError(f"names: got {shown(self.names)}, expected texts")
        if self.task is not None:
            checking.choice("task", self.task, TASKS)
        if (self.mean is None) != (self.scale is None) or len(self.mean or ()) != len(self.scale or ()):
            raise ValueError("target: got mean and scale of different lengths, expected one of each per output")
        for mean, scale in zip(self.mean or (), self.scale or (), strict=True):
            checking.number("mean", mean, -math.inf)
            checking.positive("scale", scale)
        if self.task == "labels":
            for pair in self.classes or ():
                if not isinstance(pair, tuple) or len(pair) != 2:
                    raise ValueError(f"classes: got {shown(pair)}, expected (no, yes) for each output")
                Classes(pair)
        elif self.classes is not None:
            Classes(self.classes)

    @property
    def outputs(self) -> int | None:
        """How many classes, labels or numbers there are. None if that is not known."""
        if self.classes is not None:
            return len(self.classes)
        if self.mean is not None:
            return len(self.mean)
        return self.count if self.names is None else len(self.names)

    def encode(self, name: str, y, holes: bool = False):
        """The targets as a loss takes them: codes of classes, 0 and 1 for labels, standardized numbers. What is not
        known passes as it is. With `holes`, None and NaN stand for no target."""
        if frames.is_frame(y):
            y = self._columns(name, y)
        if self.task == "labels" and self.classes is not None:
            return self._yes(name, checking.as_array(name, y), holes)
        if self.classes is not None:
            codes = Classes(self.classes)
            return y if codes.plain and is_numeric(y) else codes.encode(name, y, holes)
        if self.mean is not None and y is not None:
            y = checking.array(name, y, "float64")
            if y.ndim in (1, 2) and (y.ndim == 1) <= (len(self.mean) == 1) and math.prod(y.shape[1:]) == len(self.mean):
                with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the loss
                    return (y.astype(np.float64) - np.array(self.mean)) / np.array(self.scale)
        return y

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Numbers in their own units again, from those that training sees: float64, since 1.7e9 has few digits left in
        float32. Without scaling, the values themselves."""
        if self.mean is None:
            return values
        return values.astype(np.float64) * np.array(self.scale) + np.array(self.mean)

    def spread(self, std: np.ndarray) -> np.ndarray:
        """Standard deviations in the units of y, from those that training sees."""
        return std if self.scale is None else std.astype(np.float64) * np.array(self.scale)

    def _columns(self, name: str, y):
        """The columns of a frame that hold the targets: those of the names, or all."""
        own, columns = frames.names(y), frames.by_name(y)
        if self.names is not None and set(self.names) <= columns.keys():
            own = self.names
        if len(own) == 1:
            return columns[own[0]]
        if any(columns[column].dtype.kind == "O" for column in own):
            return np.array([columns[column] for column in own], object).T
        return np.stack([columns[column] for column in own], axis=1)

    def _yes(self, name: str, y: np.ndarray, holes: bool) -> np.ndarray:
        pairs = [Classes(pair) for pair in self.classes or ()]
        if all(pair.plain for pair in pairs) and y.dtype.kind in "biuf":
            return y
        if y.ndim == 1 and len(pairs) == 1:
            y = y[:, np.newaxis]
        if y.ndim != 2 or y.shape[1] != len(pairs):
            raise ValueError(f"{name}: got shape {y.shape}, expected (n, {len(pairs)}): a yes or no for each output")
        return np.stack([pair.encode(f"{name}[:, {j}]", y[:, j], holes) for j, pair in enumerate(pairs)], axis=1)

    def config(self) -> dict[str, Any]:
        """What is not a default, for JSON."""
        return _told(self)

    def told(self, why: str = "") -> str:
        """What the targets are in a few words, and why they were taken for it."""
        who = "y" if self.names in (None, self.classes) else _listed(self.names or (), MOST_NAMED)
        why = f" ({why})" if why else ""
        if self.task == "numbers":
            many = "" if self.outputs in (1, None) else f"{self.outputs} "
            if self.mean is None or self.scale is None:
                return f"{who}: {many}numbers{why}"
            parts = (f"{mean:.4g}, sigma {scale:.4g}" for mean, scale in zip(self.mean, self.scale, strict=True))
            return f"{who}: {many}numbers{why} of mean {'; '.join(list(parts)[:MOST_NAMED])}, scaled in training"
        if self.classes is None:
            return f"{who}: {self.task or 'not known'}{why}"
        if self.task == "labels":
            return f"{who}: {len(self.classes)} labels, each yes or no{why}"
        return f"{who}: {len(self.classes)} classes {_listed(self.classes, MOST_NAMED)}{why}"

    def __str__(self) -> str:
        return self.told()


@dataclass(frozen=True)
class Schema(Suggesting):
    """What the columns and the targets of a data set are: names, kinds, classes, scaling. Made by `infer_schema`.

    As the first element of a `fastreg.Sequential` it makes a model that takes raw rows: tables with texts, dates and
    holes, columns in any order, labels as names. The model file stores it, so a loaded model takes the same.

    Parameters
    ----------
    columns : tuple of Column or None
        The input columns in the order that the model reads them. None if the inputs are an array of numbers, which
        stay as they are.
    named : bool
        Whether the columns have names, to be matched by. If not, they are matched by position.
    target : Target
        Names, task, classes and scaling of the targets.
    loss : str or None
        The loss that suits the task, for the trainer.
    scaling : str
        How inputs are scaled: "standardize" (amounts to mean 0 and variance 1), "bytes" (divided by 255) or "none".
    mean, factor : tuple of float or None
        The scaling itself, (x - mean) factor, which becomes the first layer of a model.
    why : str
        Why the targets were taken for what they are.
    heads : tuple of (str, Target)
        The targets of each head of a model with several, which then takes the place of `target`.

    Raises
    ------
    ValueError, TypeError
        Arguments do not fit together.

    Examples
    --------
    >>> import fastreg as fr
    >>> table = fr.data.Table.of({"size": [1.0, 2.0, None, 4.0], "town": ["rome", "oslo", "rome", "bonn"]})
    >>> schema = fr.data.infer_schema(table, ["low", "low", "high", "high"])
    >>> print(schema)
    y: 2 classes high, low (texts, 2 different); X: 2 columns: 1 number with holes, 1 text
    >>> schema.width, schema.outputs
    (5, 2)
    """

    columns: tuple[Column, ...] | None = None
    named: bool = True
    target: Target = field(default_factory=Target)
    loss: str | None = None
    scaling: str = "none"
    mean: tuple[float, ...] | None = field(default=None, compare=False, metadata={"saved": False})
    factor: tuple[float, ...] | None = field(default=None, compare=False, metadata={"saved": False})
    why: str = field(default="", compare=False, metadata={"saved": False})
    heads: tuple[tuple[str, Target], ...] = ()

    def __post_init__(self):
        if self.columns is not None:
            columns = tuple(checking.iterate("columns", self.columns, "columns as fr.data.infer_schema makes them"))
            if other := [column for column in columns if not isinstance(column, Column)]:
                raise TypeError(f"columns: got {shown(other[0])}, expected columns as fr.data.infer_schema makes them")
            object.__setattr__(self, "columns", columns)
            names = [column.name for column in self.columns]
            if len(set(names)) != len(names):
                raise ValueError(f"columns: got {shown(names)}, expected different names")
            if not self.width:
                raise ValueError("columns: got none that holds numbers, texts or dates, expected at least one")
        checking.choice("scaling", self.scaling, SCALES)

    # --- What it is ----------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Schema({self})"

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return self != Schema()

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the input columns, or None."""
        return tuple(column.name for column in self.columns) if self.columns is not None and self.named else None

    @property
    def width(self) -> int | None:
        """How many numbers a row has after encoding. None if inputs stay as they are."""
        return None if self.columns is None else sum(column.width for column in self.columns)

    @property
    def outputs(self) -> int:
        """How many outputs the last layer of a model has: one per class, label or number; one for two classes under a
        loss of yes or no."""
        count = self.target.outputs
        if count is None:
            raise ValueError("schema: its targets are not known, expected infer_schema(X, y)")
        yes = self.loss is not None and self.loss.startswith(("sigmoid", "hinge")) and self.target.task == "classes"
        return 1 if yes and count == 2 else count

    @property
    def is_plain(self) -> bool:
        """Whether every column is a number that stays as it is, so that arrays pass without a copy."""
        return self.columns is None or all(c.kind == "number" and c.fill is None for c in self.columns)

    def target_of(self, head: str, alone: bool) -> Target:
        """The targets of a head, which may be the only one."""
        return self.target if alone else dict(self.heads).get(head, Target())

    def with_target(self, head: str, alone: bool, target: Target) -> Schema:
        """This schema with another target of a head."""
        if target == self.target_of(head, alone):
            return self
        if alone:
            return replace(self, target=target)
        return replace(self, heads=tuple((dict(self.heads) | {head: target}).items()))

    def with_target_names(self, names: Sequence[str]) -> Schema:
        """This schema with the columns of a table that hold the targets."""
        return replace(self, target=replace(self.target, names=tuple(names)))

    def encoded_names(self) -> list[str]:
        """A name for each number of an encoded row, such as "town=rome"."""
        told = []
        for column in self.columns or ():
            parts = {"number": [""], "date": dates.names(column.layout)}.get(column.kind, [])
            parts = [""] if column.coded else [f"={value}" for value in column.values] or parts
            told += [column.name + part for part in (*parts, *([" is empty"] if column.fill is not None else []))]
        return told

    def __str__(self) -> str:
        inputs = "X: numbers as they are" if self.mean is None else f"X: {_count(len(self.mean), 'number')}"
        if self.columns is not None:
            number = [column for column in self.columns if column.kind == "number"]
            holes = sum(column.fill is not None for column in number)
            parts = []
            if number:
                some = f" ({holes} with holes)" if len(number) > 1 else " with holes"
                parts.append(_count(len(number), "number") + some * bool(holes))
            for kind, word in (("category", "text"), ("date", "date")):
                count = sum(column.kind == kind for column in self.columns)
                parts += [_count(count, word)] if count else []
            unused = [column.name for column in self.columns if column.kind == "unused"]
            parts += [f"not used: {_listed(unused, MOST_NAMED)}"] if unused else []
            inputs = f"X: {_count(len(self.columns), 'column')}: {', '.join(parts)}"
        scaled = {"bytes": ", divided by 255"}.get(self.scaling, "")
        return f"{self.target.told(self.why)}; {inputs}{scaled}"

    def _repr_html_(self) -> str:
        """What it says, and a table of its columns, for a notebook."""
        rows = []
        for column in (self.columns or ())[:MOST_SHOWN]:
            what = {"category": _listed(column.values, MOST_NAMED), "date": column.layout}.get(column.kind, "")
            rows.append([column.name, column.kind, what, "" if column.fill is None else f"{column.fill:.4g}"])
        if self.columns is not None and len(self.columns) > MOST_SHOWN:
            rows.append([f"and {len(self.columns) - MOST_SHOWN} more", "", "", ""])
        heads = ["column", "kind", "values", "in a hole"]
        return html.page("Schema", str(self), *([html.table(heads, rows, left=3)] if rows else []))

    # --- Data through it -----------------------------------------------------------------------------------------

    def inputs(self, name: str, X, working: str = "float32"):
        """The rows of X as numbers in the working dtype: columns by name where there are names, else by position. An
        array passes as it is, if nothing in it must be encoded."""
        if self.columns is None:
            return X
        if frames.is_frame(X):
            columns = self._pick(name, X)
            rows = len(columns[0])
        else:
            if self.is_plain and is_numeric(X):
                return X
            array = checking.as_array(name, X)
            if array.ndim != 2 or array.shape[1] != len(self.columns):
                told = f" {_listed(self.names, MOST_NAMED)}" if self.names else ""
                raise ValueError(
                    f"{name}: got shape {array.shape}, expected (n, {len(self.columns)}): the columns{told}"
                )
            columns, rows = [array[:, j] for j in range(array.shape[1])], len(array)
        out = np.empty((rows, self.width or 0), working)
        start = 0
        for column, values in zip(self.columns, columns, strict=True):
            if column.width:
                with np.errstate(over="ignore"):  # what is not finite is refused by the model
                    column.write(out[:, start : start + column.width], name, values)
                start += column.width
        return out

    def _pick(self, name: str, X) -> list[np.ndarray]:
        """The columns of a frame that are those of the schema, in its order."""
        assert self.columns is not None
        own = frames.names(X)
        if not self.named and len(own) == len(self.columns):
            return list(frames.columns(X))
        wanted = [column.name for column in self.columns if column.kind != "unused"]
        if missing := [column for column in wanted if column not in own]:
            raise ValueError(
                f"{name}: has no column {_listed(missing, MOST_NAMED)}, expected those of the model; it has "
                f"{_listed(own, MOST_NAMED)}"
            )
        if twice := [column for column in wanted if own.count(column) > 1]:
            raise ValueError(f"{name}: got two columns {twice[0]!r}, expected each name once")
        found = frames.by_name(X)
        anything = next(iter(found.values()))
        return [found.get(column.name, anything) for column in self.columns]

    def seeing(self, X, y, outputs: int | None, holes: bool = False, name: str = "y") -> Schema:
        """This schema with the names of X's columns, of y's columns if it has several, and of y's classes, where it has
        none yet and they have some. `outputs` of the model are None if its targets are no classes. `holes`: None and
        NaN in y are no targets. `name` is that of y, for errors."""
        schema = self
        if self.columns is None and frames.is_frame(X) and frames.has_names(X):
            frames.refuse_others("X", X)
            schema = replace(schema, columns=tuple(Column(name, "number") for name in frames.names(X)))
        if self.target.names is None and y is not None and frames.is_frame(y) and frames.has_names(y):
            own = frames.names(y)
            schema = schema.with_target_names(own) if len(own) > 1 else schema
        target = schema.target
        wanted = outputs is not None and y is not None and target.classes is None
        if outputs is not None and wanted and (found := Classes.in_text(y, holes)):
            if len(found.values) != (outputs if outputs > 1 else 2):
                told = f"{len(found.values)} classes {_listed(found.values, MOST_NAMED)}"
                raise ValueError(f"{name}: got {told} for a model of {outputs} outputs, expected one output per class")
            schema = replace(schema, target=replace(target, task="classes", classes=found.values))
        return schema

    def labels(self, predictions: np.ndarray, transform: str) -> np.ndarray:
        """Predictions as names of classes (n,), or as yes and no for each output (n, outputs)."""
        task, classes = self.target.task, self.target.classes
        answers, threshold = TRANSFORMS[transform].answers, TRANSFORMS[transform].threshold
        if answers == "numbers" or task == "numbers":
            raise ValueError("predict_labels: the model predicts numbers, which have no names; predict gives them")
        if answers == "yes" and (task == "labels" or predictions.shape[1] > 1):
            pairs = classes if task == "labels" and classes else ((0, 1),) * predictions.shape[1]
            columns = [Classes(pair).decode(p > threshold) for pair, p in zip(pairs, predictions.T, strict=True)]
            return np.stack(columns, axis=1)
        codes = predictions[:, 0] > threshold if answers == "yes" else predictions.argmax(axis=1)
        return codes.astype(np.int64) if classes is None else Classes(classes).decode(codes)

    # --- Files ---------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Everything but the scaling of inputs, which is in parameters of the model, as a dict for JSON."""
        told = _told(self)
        if self.columns is not None:
            told["columns"] = [column.config() for column in self.columns]
        if self.target != Target():
            told["target"] = self.target.config()
        if self.heads:
            told["heads"] = {name: target.config() for name, target in self.heads}
        return told

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schema:
        """The schema that `config` describes. Everything in it is checked."""
        more = dict(config)
        if (columns := more.pop("columns", None)) is not None:
            made = ({**column, "values": tuple(column.get("values", ()))} for column in columns)
            more["columns"] = tuple(Column(**column) for column in made)
        more["target"] = Target(**more.get("target", {}))
        more["heads"] = tuple((str(name), Target(**told)) for name, told in more.get("heads", {}).items())
        schema = cls(**more)
        if schema.config() != config:  # another way to say the same, which other readers may understand otherwise
            raise ValueError("schema: its config is not as it is written")
        return schema


def is_numeric(value) -> bool:
    """Whether it is a NumPy array of numbers, or something with rows that only the engines need to understand."""
    return getattr(getattr(value, "dtype", None), "kind", "O") in "biuf"


def text_of(value) -> str | None:
    """The value of a category as text, None for a hole. A whole number has no point, since a file may give a column of
    codes as numbers or as text."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def code_of(text: str) -> str | None:
    """A text that is a number as `text_of` writes the number: "007" is "7". None for any other text."""
    try:
        return text_of(float(text))
    except ValueError:
        return None


def as_numbers(name: str, values: np.ndarray, why: str = ", as in training") -> np.ndarray:
    """A column as float64, NaN for holes. A text is refused, unless it is a number. `why` ends the message."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    out = np.empty(len(values))
    for row, value in enumerate(values.tolist()):
        try:
            out[row] = math.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name}, row {row}: got {shown(value)}, expected a number{why}") from None
    return out


def _told(description) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults and belong into a file, ready for JSON."""
    told = {}
    for row in fields(description):
        value = getattr(description, row.name)
        if row.metadata.get("saved", True) and value != row.default and row.name not in ("target", "heads"):
            told[row.name] = _as_lists(value)
    return told


def _as_lists(value):
    """Tuples as the lists that JSON gives back."""
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value


def _listed(values: Sequence, most: int) -> str:
    told = ", ".join(map(str, values[:most]))
    return told if len(values) <= most else f"{told}, ... ({len(values)})"


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}" + "s" * (count != 1)
