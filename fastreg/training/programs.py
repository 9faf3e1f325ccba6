"""From the settings of a trainer to the program of a batch: what is minimized, and the rule of each parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fastreg.layers import Embedding, Layer
from fastreg.model.lowering import GRADIENT, lower
from fastreg.model.model import Model, check_trainable
from fastreg.program.averages import averaged
from fastreg.program.mixup import mixed
from fastreg.program.precision import in_bfloat16
from fastreg.program.program import Program
from fastreg.program.riders import Mix
from fastreg.program.rules import Rule
from fastreg.reference.updates import penalty_of
from fastreg.training.settings import Settings

MODES = ("train", "gradients", "probe", "input_gradient", "losses", "evaluate", "predict")
MIXED = ("train", "gradients", "losses")  # modes whose batches are mixed where draws are on
# What batch norms normalize by; in all other modes by the running moments.
MOMENTS = {"train": "moving", "gradients": "batch", "probe": "batch", "losses": "batch"}
REPORTING = ("train", "evaluate")  # modes whose losses users see, in the units of their targets


def make_program(settings: Settings, mode: str, rows: int, dropout: bool) -> Program:
    """What the engines run for a batch; see `fastreg.Trainer.program`."""
    program = _make_program(settings, mode, rows, dropout)
    return in_bfloat16(program) if settings.precision == "bfloat16" else program


def _make_program(settings: Settings, mode: str, rows: int, dropout: bool) -> Program:
    """The same in float32."""
    model = settings.model
    network, widths, targets = model.network(model.known_shape), model.widths, model.targets
    how: dict[str, Any] = {"dropout": dropout, "moments": MOMENTS.get(mode, "running")}
    if mode == "predict":
        return lower(network, transforms=settings.transforms, **how)
    how["losses"] = {
        task.head: task.lowered(widths[task.head], targets[task.head].scale if mode in REPORTING else None)
        for task in settings.tasks
    }
    if mode == "input_gradient":
        how["input_gradient"] = True
    if mode in ("gradients", "probe"):
        how["rules"] = _rules(settings, GRADIENT, rows)
        how["couplings"] = settings.couplings(rows)
    if mode in ("gradients", "train") and settings.adversarial is not None:
        how["attack"] = settings.adversarial.rider
    if mode == "train":
        rule = replace(settings.optimizer.rule(), clip_value=settings.clip_value or 0.0)
        how |= {"rules": _rules(settings, rule, rows), "clip_norm": settings.clip_norm}
        how["couplings"] = settings.couplings(rows)
        how["accumulate"] = settings.accumulate
        if settings.augment is not None and isinstance(model.input_shape, tuple) and dropout:
            how["augment"] = settings.augment.on(model.input_shape)
    program = lower(network, **how)
    if settings.mixup is not None and dropout and mode in MIXED:
        program = mixed(program, Mix(settings.mixup))
    if mode == "train" and settings.averaging is not None:
        program = averaged(program, settings.averaging.count, settings.averaging.per_step)
    return program


def _rules(settings: Settings, rule: Rule, rows: int) -> dict[str, Rule]:
    """The rule of each trained parameter. `rows` is the number of rows of the training set."""
    check_trainable(settings.model)
    rules: dict[str, Rule] = {}
    for layer, name, kind in _trained(settings.model):
        own = replace(rule, lr_scale=layer.option("lr_scale", 1.0))
        rules[name] = (
            _rule_of_weight(settings, layer, own, rows) if kind == "weight" else replace(own, weight_decay=0.0)
        )
    return rules


def _trained(model: Model) -> Iterator[tuple[Layer, str, str]]:
    """The parameters that a fit changes: layer, name and kind of each."""
    for layer, (before, _) in zip(model.layers, model.layer_shapes(model.known_shape), strict=True):
        for key, parameter in layer.parameters(before).items() if layer.is_trained else ():
            if parameter.kind != "kept":
                yield layer, f"{layer.name}.{key}", parameter.kind


def _rule_of_weight(settings: Settings, layer: Layer, rule: Rule, rows: int) -> Rule:
    """With its penalties and constraints. Where there is no step, nothing is left for the constraints to do."""
    penalty = settings.penalty_of(layer, rows)
    if rule.kind == "gradient":
        return replace(rule, penalty=penalty.in_gradient)
    by_row = isinstance(layer, Embedding)  # a row of its weight is a vector, where others have columns
    return replace(
        rule,
        penalty=penalty,
        non_negative=layer.option("non_negative", False),
        max_norm=0.0 if by_row else layer.option("max_norm") or 0.0,
        row_norm=layer.option("max_norm") or 0.0 if by_row else 0.0,
        max_frobenius=layer.option("max_frobenius") or 0.0,
    )


def penalty_value(settings: Settings, rows: int, weight: float = 0.0) -> float:
    """The penalties of the trained weights. `rows` stands for m="batch" and m="train", and for m="weights" if `weight`
    is 0."""
    model, total = settings.model, 0.0
    for layer, name, kind in _trained(model):
        if kind == "weight":
            total += penalty_of(model.parameters[name], *settings.penalty_of(layer, rows).at(rows, weight))
    for a, b, penalty in settings.couplings(rows):
        difference = model.parameters[a] - model.parameters[b]
        total += penalty_of(difference, *penalty.at(rows, weight))
    return total
