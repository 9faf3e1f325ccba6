"""Tasks: what each head of a model is trained for. All that depends on losses asks the tasks, one or several.

An argument may be one value for all heads, or a dict of values by head.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from fastreg.common import checking
from fastreg.common.transforms import TRANSFORMS
from fastreg.engines.base import Tally, Total
from fastreg.losses.losses import Loss
from fastreg.metrics import registry
from fastreg.metrics.answers import CLASSES, LABELS, VALUES
from fastreg.metrics.registry import Metric
from fastreg.model.lowering import Head

T = TypeVar("T")
TINY = sys.float_info.min
DEFAULT_METRICS = ("accuracy",)  # which are for the losses that have an accuracy, and ignored for the others
REQUIRED: Any = object()


class Wide(Protocol):
    """A model, of which the number of outputs of each head is known."""

    @property
    def widths(self) -> dict[str, int]: ...


@dataclass(frozen=True)
class Task:
    """What a head of a model is trained for.

    head     the name of the head
    alone    whether it is the only one. Then no column, argument or error names it
    weight   of its loss in the sum of the losses
    """

    head: str
    alone: bool
    loss: Loss
    weight: float = 1.0
    metrics: tuple[str | Metric, ...] = ()

    def column(self, name: str) -> str:
        """The name of one of its values in results and in the history."""
        return name if self.alone else f"{self.head}_{name}"

    def argument(self, name: str) -> str:
        """The name of its part of an argument, for errors."""
        return name if self.alone else f"{name}[{self.head!r}]"

    def lowered(self, outputs: int, scale: tuple[float, ...] | None) -> Head:
        """Its loss, for programs. `scale` as in `Loss.told_terms`."""
        return Head(self.loss.in_program, self.loss.label_smoothing, self.loss.told_terms(outputs, scale), self.weight)

    @property
    def probabilities(self) -> bool:
        """Whether predictions are probabilities."""
        return TRANSFORMS[self.loss.transform].probabilities

    @property
    def threshold(self) -> float | None:
        """Above which a prediction is a yes. None for other answers."""
        transform = TRANSFORMS[self.loss.transform]
        return transform.threshold if transform.answers == "yes" else None

    def answers(self, model: Wide) -> str:
        """What the targets of the head of `model` are to metrics: "classes", "labels" or "values"."""
        answers = TRANSFORMS[self.loss.transform].answers
        if answers == "yes":
            return LABELS if model.widths[self.head] > 1 else CLASSES
        return CLASSES if answers == "classes" or getattr(self.loss, "kind", "") == "labels" else VALUES

    @cached_property
    def measured(self) -> tuple[Metric, ...]:
        """Its metrics."""
        return tuple(map(registry.named, self.metrics))

    @cached_property
    def counted(self) -> tuple[str, ...]:
        """The names of those that an engine counts as it runs. All others need the whole predictions."""
        if not self.loss.counts_hits:
            return ()
        return tuple(m.name for m in self.measured if m.measure is not None and m.measure.name == "accuracy")

    def columns(self, names: Iterable[str]) -> tuple[str, ...]:
        """Columns of its own: those of the `names`, and if there are several heads the one of its loss."""
        return tuple(self.column(name) for name in (*(() if self.alone else ("loss",)), *names))


def of_each(argument: str, value: Mapping, heads: Sequence[str], default: Any = REQUIRED) -> dict[str, Any]:
    """A value for each head, from a dict by head. Heads that are missing in it have the default."""
    known = ", ".join(map(repr, heads))
    for name in value:
        if name not in heads:
            near = checking.nearest(str(name), heads)
            raise ValueError(f"{argument}: got the head {checking.shown(name)}, expected one of {known}{near}")
    for name in heads:
        if name not in value and default is REQUIRED:
            raise ValueError(f"{argument}: got nothing for the head {name!r}, expected a value for each of {known}")
    return {name: value.get(name, default) for name in heads}


def of_heads(
    argument: str, value, heads: Sequence[str], check: Callable[[str, Any], T], default: Any = REQUIRED
) -> dict[str, T]:
    """A checked value for each head, from one for all heads or a dict by head."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(heads, check(argument, value))
    named = of_each(argument, value, heads, default)
    alone = len(heads) == 1
    return {name: check(argument if alone else f"{argument}[{name!r}]", one) for name, one in named.items()}


def loss_weights(value, heads: Sequence[str], default: Any = REQUIRED) -> dict[str, float]:
    """A checked weight for each head, from a dict by head."""
    if not isinstance(value, Mapping):
        raise TypeError(f"loss_weights: got {checking.shown(value)}, expected a dict of numbers by head")
    weights = of_heads("loss_weights", value, heads, checking.number, default)
    if not any(weights.values()):
        raise ValueError("loss_weights: got zeros only, expected at least one weight above 0")
    return weights


def unwrapped(found: dict[str, T]) -> T | dict[str, T]:
    """What users see: the value itself where there is one head."""
    return next(iter(found.values())) if len(found) == 1 else found


def only(value, name: str):
    """The part of an argument for the only head, which may be given by its name. So may that of the only input."""
    return value[name] if isinstance(value, Mapping) and list(value) == [name] else value


def total_loss(tasks: Sequence[Task], totals: Sequence[Total], before: Sequence[Total] | None = None) -> float:
    """The sum over the heads of weight * mean loss, of what was added since `before`. Heads in which no row had a
    weight do not count."""
    loss = 0.0
    for task, (sum_, weight, _), (sum_before, weight_before, _) in zip(tasks, totals, before or totals, strict=False):
        if before is not None:
            sum_, weight = sum_ - sum_before, weight - weight_before
        loss += task.weight * sum_ / max(weight, TINY)
    return loss


def means(tasks: Sequence[Task], tally: Tally) -> dict[str, float]:
    """What the engines count: the loss, that of each head of several, and their counted metrics."""
    results = {"loss": total_loss(tasks, tally.totals)}
    for number, task in enumerate(tasks):
        found = tally.means(task.counted, number)
        if task.alone:
            del found["loss"]
        results |= {task.column(name): value for name, value in found.items()}
    return results
