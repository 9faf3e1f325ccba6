"""From the settings of a trainer to the program of a batch: what is minimized, and the rule of each parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastreg.model.lowering import GRADIENT, lower
from fastreg.model.sequential import check_trainable, trained_layers
from fastreg.program.program import Program
from fastreg.program.rules import Rule
from fastreg.reference.updates import penalty_of
from fastreg.training.settings import Settings

MODES = ("train", "gradients", "probe", "input_gradient", "losses", "evaluate", "predict")
REPORTING = ("train", "evaluate")  # modes whose losses users see, in the units of their targets


def make_program(settings: Settings, mode: str, rows: int, dropout: bool) -> Program:
    """What the engines run for a batch; see `fastreg.Trainer.program`."""
    model, loss = settings.model, settings.loss
    how: dict[str, Any] = {"dropout": dropout}
    if mode == "predict":
        return lower(model.layers, model.inputs, transform=loss.transform, **how)
    scale = model.schema.target.scale if mode in REPORTING else None
    terms = loss.told_terms(model.outputs, scale)
    how |= {"loss": loss.in_program, "smoothing": loss.label_smoothing, "terms": terms}
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
        own, penalty = replace(rule, lr_scale=layer.lr_scale), settings.penalty_of(layer, rows)
        if rule.kind == "gradient":  # where there is no step, nothing is left for it to do
            rules[f"{layer.name}.weight"] = replace(own, penalty=penalty.in_gradient)
        else:
            rules[f"{layer.name}.weight"] = replace(
                own,
                penalty=penalty,
                non_negative=layer.non_negative,
                max_norm=layer.max_norm or 0.0,
                max_frobenius=layer.max_frobenius or 0.0,
            )
        if layer.use_bias:
            rules[f"{layer.name}.bias"] = replace(own, weight_decay=0.0)
    return rules


def penalty_value(settings: Settings, rows: int) -> float:
    """The penalties of the trained weights. `rows` stands for m="batch" and m="train"."""
    parameters = settings.model.parameters
    values = (
        penalty_of(parameters[f"{layer.name}.weight"], *settings.penalty_of(layer, rows).at(rows))
        for layer in trained_layers(settings.model)
    )
    return sum(values, 0.0)
