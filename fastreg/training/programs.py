"""From the settings of a trainer to the program of a batch: what is minimized, and the rule of each parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastreg.model.lowering import GRADIENT, lower
from fastreg.model.sequential import check_trainable, trained_layers
from fastreg.program.program import Program
from fastreg.program.rules import Rule
from fastreg.training.settings import Settings

MODES = ("train", "gradients", "probe", "input_gradient", "evaluate", "predict")


def make_program(settings: Settings, mode: str, rows: int, dropout: bool) -> Program:
    """What the engines run for a batch; see `fastreg.Trainer.program`."""
    model, loss = settings.model, settings.loss
    how: dict[str, Any] = {"dropout": dropout}
    if mode == "predict":
        return lower(model.layers, model.inputs, transform=loss.transform, **how)
    how |= {"loss": loss.in_program, "smoothing": loss.label_smoothing}
    if mode == "input_gradient":
        how["input_gradient"] = True
    if mode in ("gradients", "probe"):
        how["rules"] = _rules(settings, GRADIENT, rows)
    if mode in ("gradients", "train") and settings.adversarial is not None:
        how["attack"] = settings.adversarial.rider
    if mode == "train":
        rule = replace(settings.optimizer.rule(), clip_value=settings.clip_value or 0.0)
        how |= {"rules": _rules(settings, rule, rows), "clip_norm": settings.clip_norm}
        how["accumulate"] = settings.accumulate
        if settings.augment is not None and model.input_shape and dropout:
            how["augment"] = settings.augment.on(model.input_shape)
    return lower(model.layers, model.inputs, **how)


def _rules(settings: Settings, rule: Rule, rows: int) -> dict[str, Rule]:
    """The rule of each trained parameter. `rows` is the number of rows of the training set."""
    check_trainable(settings.model)
    rules = {}
    for layer in trained_layers(settings.model):
        l1, l2 = settings.penalties(layer)
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
    return rules


def penalty_value(settings: Settings, rows: int) -> float:
    """The penalties of the trained weights. `rows` stands for m="batch" and m="train"."""
    total = 0.0
    for layer in trained_layers(settings.model):
        w = settings.model.parameters[f"{layer.name}.weight"].astype(np.float64)
        l1, l2 = settings.penalties(layer)
        total += l2.value(rows) / 2 * float(np.sum(w * w)) + l1.value(rows) * float(np.sum(np.abs(w)))
    return total
