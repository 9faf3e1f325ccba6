"""The settings of a trainer, and what each has to be: in its constructor, and whenever one is set later."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg import optimizers
from fastreg.common import checking
from fastreg.layers import Dense, Function
from fastreg.losses import adversarial, losses, penalties
from fastreg.losses.adversarial import FGSM
from fastreg.losses.losses import Loss
from fastreg.losses.penalties import L1, L2, Penalty
from fastreg.machine.threads import checked as checked_threads
from fastreg.model.sequential import Sequential
from fastreg.optimizers.optimizers import Optimizer

if TYPE_CHECKING:
    from fastreg.data.augment import Augmentation

METRICS = ("accuracy",)
COUNTERS = ("epoch", "step", "updates")


def _model(value) -> Sequential:
    if not isinstance(value, Sequential):
        raise TypeError(f"model: got {type(value).__name__}, expected a Sequential")
    return value


def _metrics(value) -> tuple[str, ...]:
    names = checking.iterate("metrics", value, "a tuple of names such as ('accuracy',)")
    return tuple(checking.choice("metrics", name, METRICS) for name in names)


def _clip(name: str, value) -> float | None:
    return None if value is None else checking.positive(name, value)


def _augment(value) -> Augmentation | None:
    if value is None:
        return None
    from fastreg.data import augment  # only where there is one: the package of data is large

    return augment.get("augment", value)


# A check takes the value and gives it back in the form that is kept.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "model": _model,
    "loss": losses.get,
    "optimizer": optimizers.get,
    "l1": partial(penalties.l1, "l1"),
    "l2": partial(penalties.l2, "l2"),
    "metrics": _metrics,
    "clip_norm": partial(_clip, "clip_norm"),
    "clip_value": partial(_clip, "clip_value"),
    "accumulate": partial(checking.integer, "accumulate"),
    "augment": _augment,
    "adversarial": adversarial.get,
    "engine": checking.engine,
    "dtype": checking.dtype,
    "seed": checking.seed,
    "threads": checked_threads,
    **{name: partial(checking.integer, name, low=0) for name in COUNTERS},
}


class Settings:
    """Base of the trainer: its arguments, as attributes under the same names."""

    model: Sequential
    loss: Loss
    optimizer: Optimizer
    l1: L1
    l2: L2
    metrics: tuple[str, ...]
    clip_norm: float | None
    clip_value: float | None
    accumulate: int
    augment: Augmentation | None
    adversarial: FGSM | None
    engine: str
    dtype: str
    seed: int
    threads: int | None

    def __setattr__(self, name: str, value) -> None:
        """Settings may be changed between fits; they pass the same checks then. In a fit they may not: its program is
        made, and the epoch loop, validation and checkpoints would each see another half of the change."""
        if (name in CHECKS and name not in COUNTERS) or name == "penalty":
            fitting = self.__dict__.get("_fitting")
            if fitting is not None:
                fitting.check_free(name)
        if name == "penalty":
            self.l1, self.l2 = penalties.pair(name, value)
            return
        if name in CHECKS:
            value = CHECKS[name](value)
            if name not in COUNTERS:
                for kept in ("recipe", "_follows_rows"):  # what the trainer has derived from its settings
                    self.__dict__.pop(kept, None)
        super().__setattr__(name, value)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that the loss has."""
        return self.metrics if self.loss.counts_hits else ()

    def check_model(self) -> None:
        """Whether model, loss and dtype, any of which may have been changed, fit together."""
        last = [layer for layer in self.model.layers if isinstance(layer, (Dense, Function))][-1]
        if isinstance(last, Dense) and last.activation in self.loss.forbids:
            raise ValueError(
                f"model: got {last.activation!r} in the last Dense under {self.loss.name}, expected no activation: "
                f"the loss takes logits, and predict gives probabilities"
            )
        if self.model.built and self.model.dtype != self.dtype:
            raise ValueError(
                f"dtype: got {self.dtype!r} for a model in {self.model.dtype}, expected the same; "
                f"model.copy(dtype={self.dtype!r}) makes such a model"
            )
        if self.adversarial is not None:
            self.adversarial.check_dtype("adversarial", self.dtype)
        largest = float(np.finfo(self.dtype).max)
        layers = {f"layer {layer.name!r} ": layer for layer in self.model.layers if isinstance(layer, Dense)}
        for owner, parts in {"": self, **layers}.items():
            for name in ("l1", "l2"):
                part = getattr(parts, name)
                if isinstance(part, Penalty) and not part.coefficient(1) <= largest:  # at most: whatever m="train" is
                    raise ValueError(f"{owner}{name}: got {part!r}, expected a coefficient finite in {self.dtype}")
        for owner, layer in layers.items():
            if not layer.activity_l1 <= largest:
                text = f"got {layer.activity_l1!r}, expected a coefficient finite in {self.dtype}"
                raise ValueError(f"{owner}activity_l1: {text}")

    def check_augment(self, shape: tuple[int, ...]) -> None:
        """Whether samples of this shape are images, where they are to be augmented."""
        if self.augment is not None:
            try:
                self.augment.on(shape)
            except ValueError as error:
                raise ValueError(f"X: {error}") from None

    def settings(self) -> dict[str, Any]:
        """The arguments that decide what training comes to: all but the model and the number of threads."""
        names = ("loss", "optimizer", "l1", "l2", "metrics", "clip_norm", "clip_value", "accumulate", "augment")
        return {name: getattr(self, name) for name in (*names, "adversarial", "engine", "dtype", "seed")}
