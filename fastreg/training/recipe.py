"""What is minimized and how every parameter follows it: all of a trainer's settings that a program depends on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastreg.layers import Dense
from fastreg.losses.adversarial import FGSM
from fastreg.losses.losses import Loss
from fastreg.losses.penalties import L1, L2
from fastreg.model.lowering import GRADIENT, lower
from fastreg.model.sequential import Sequential
from fastreg.program.program import Program
from fastreg.program.rules import Rule

if TYPE_CHECKING:
    from fastreg.data.augment import Augmentation

ALL_FROZEN = "model: got one whose Dense layers are all frozen, expected at least one with trainable=True"


@dataclass(frozen=True)
class Recipe:
    """Loss, penalties and the rule of the optimizer, for all layers that do not say otherwise.

    Recipes compare by value: a program that was lowered from an equal one will do.
    """

    loss: Loss
    rule: Rule
    l1: L1
    l2: L2
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulate: int = 1
    augment: Augmentation | None = None
    adversarial: FGSM | None = None

    def program(self, model: Sequential, mode: str, rows: int, dropout: bool) -> Program:
        """What the engines run for a batch; see `fastreg.Trainer.program`."""
        layers, n_inputs = model.layers, model.inputs
        if mode == "predict":
            return lower(layers, n_inputs, dropout=dropout, transform=self.loss.transform)
        loss, smoothing = self.loss.in_program, self.loss.label_smoothing
        if mode == "evaluate":
            return lower(layers, n_inputs, loss=loss, smoothing=smoothing, dropout=dropout)
        if mode == "input_gradient":
            return lower(layers, n_inputs, loss=loss, smoothing=smoothing, dropout=dropout, input_gradient=True)
        attack = None if self.adversarial is None else self.adversarial.rider
        if mode in ("gradients", "probe"):
            rules = self.rules(model, GRADIENT, rows)
            attack = attack if mode == "gradients" else None
            return lower(layers, n_inputs, loss=loss, smoothing=smoothing, rules=rules, dropout=dropout, attack=attack)
        return lower(
            layers,
            n_inputs,
            loss=loss,
            smoothing=smoothing,
            rules=self.rules(model, replace(self.rule, clip_value=self.clip_value or 0.0), rows),
            dropout=dropout,
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            augment=self.augment.on(model.input_shape) if self.augment and model.input_shape and dropout else None,
            attack=attack,
        )

    def rules(self, model: Sequential, rule: Rule, rows: int) -> dict[str, Rule]:
        """The rule of every parameter that is trained; `rows` of the training set."""
        rules = {}
        for layer in trained_layers(model):
            l1, l2 = self.penalties(layer)
            own = replace(rule, lr_scale=layer.lr_scale)
            updates = rule.kind != "gradient"
            rules[f"{layer.name}.weight"] = replace(
                own,
                l1=l1.coefficient(rows),
                l2=l2.coefficient(rows),
                l1_per_row=l1.per_row,
                l2_per_row=l2.per_row,
                proximal=l1.proximal and updates,
                non_negative=layer.non_negative and updates,
                max_norm=(layer.max_norm or 0.0) if updates else 0.0,
                max_frobenius=(layer.max_frobenius or 0.0) if updates else 0.0,
            )
            if layer.use_bias:
                rules[f"{layer.name}.bias"] = replace(own, weight_decay=0.0)
        if not rules:
            raise ValueError(ALL_FROZEN)
        return rules

    def penalty(self, model: Sequential, rows: int) -> float:
        """The penalties of the trained weights; `rows` stands for the m of "batch" and "train"."""
        total = 0.0
        for layer in trained_layers(model):
            w = model.parameters[f"{layer.name}.weight"].astype(np.float64)
            l1, l2 = self.penalties(layer)
            total += l2.value(rows) / 2 * float(np.sum(w * w)) + l1.value(rows) * float(np.sum(np.abs(w)))
        return total

    def penalties(self, layer: Dense) -> tuple[L1, L2]:
        """The layer's own, or those for all."""
        return layer.l1 if isinstance(layer.l1, L1) else self.l1, layer.l2 if isinstance(layer.l2, L2) else self.l2

    def follows_rows(self, model: Sequential) -> bool:
        """Whether a program depends on the rows of the training set."""
        return any("train" in (l1.m, l2.m) for l1, l2 in map(self.penalties, trained_layers(model)))


def trained_layers(model: Sequential) -> Iterator[Dense]:
    """The layers with parameters that a fit changes."""
    return (layer for layer in model.layers if isinstance(layer, Dense) and layer.trainable)
