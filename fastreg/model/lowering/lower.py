"""The whole of a program: forward ops, losses, the way back, updates, and perturbed copies of the rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastreg.model.graph import Network
from fastreg.model.lowering.build import GRADIENT, Forward, Made, Place, Step, Way
from fastreg.model.lowering.draws import DrawStep
from fastreg.model.lowering.inputs import InputStep, begin
from fastreg.model.lowering.table import forward_of
from fastreg.program.ops import (
    OF_CLASSES,
    Append,
    Call,
    ClipNorm,
    Dense,
    Elementwise,
    Emit,
    Gather,
    Loss,
    MaxNorm,
    Op,
    Penalize,
    RowLoss,
    RowNorm,
    Totals,
    Update,
)
from fastreg.program.program import Program, with_waits
from fastreg.program.riders import PLAIN, Attack, Augment, Penalty, Terms
from fastreg.program.rules import Rule

__all__ = ["GRADIENT", "Head", "lower"]


@dataclass(frozen=True)
class Head:
    """The loss of a head.

    loss        the name of a loss that the engines know, or a loss in Python
    smoothing   of labels, for a loss that the engines know
    terms       how the outputs of a row count, for the same losses
    weight      of the head in the sum of the losses
    """

    loss: str | RowLoss
    smoothing: float = 0.0
    terms: Terms = PLAIN
    weight: float = 1.0


def lower(
    network: Network,
    *,
    losses: Mapping[str, Head] | None = None,
    rules: dict[str, Rule] | None = None,
    dropout: bool = False,
    transforms: Mapping[str, str] | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    couplings: Iterable[tuple[str, str, Penalty]] = (),
    augment: Augment | None = None,
    attack: Attack | None = None,
    input_gradient: bool = False,
    moments: Literal["moving", "batch", "running"] = "running",
) -> Program:
    """The program of one batch.

    Parameters
    ----------
    network
        The layers, their graph and the shapes of the inputs.
    losses
        The loss of each head. With it the program ends in losses.
    rules
        The update rule of each trained parameter. With them the program trains, or writes gradients under the rule
        "gradient".
    dropout
        Whether masks and noise are drawn.
    transforms
        With it the program emits predictions: "softmax", "sigmoid" or "linear" for each head.
    clip_norm, accumulate
        The largest norm of all gradients together, and the batches per step. Both need the gradients stored before the
        updates.
    couplings
        Penalties on the distance between two weights.
    augment
        Transforms of the images that are gathered.
    attack
        With it each batch also has perturbed copies of its rows.
    input_gradient
        Whether to compute only the gradient of the loss of each row at the inputs. It is left in "d:inputs".
    moments
        What batch norms normalize by: "batch", the moments of the batch; "moving", the same, and the running moments
        follow; "running", the running moments.
    """
    rides = attack is None and not input_gradient
    penalized, folds = losses is not None and not input_gradient, rides and not rules and moments == "running"
    forward = Forward(dropout, augment, penalized, rides, moments, folds)
    heads = _heads(forward, network)
    ops = forward.ops
    if transforms is not None:
        ops += _emits(heads, transforms)
    first: list[Op] = []  # ops that run before the rows have their perturbed copies
    if input_gradient and losses is not None:
        begun = _losses(forward, heads, ops, losses, wanted=True, by_row=True)
        _back(Way(forward, ops, {}, everything=True), begun)
        ops += _totals(ops, losses)
    elif losses is not None:
        if attack is not None:
            first = _perturbed(forward, heads, losses, attack)
        begun = _losses(forward, heads, ops, losses, wanted=bool(rules))
        if rules:
            two_passes = clip_norm is not None or accumulate > 1
            way = Way(forward, ops, rules, stored=two_passes, couplings=couplings)
            _back(way, begun)
            way.couple()
            if two_passes:
                _second_pass(ops, rules, clip_norm)
            else:
                way.update()
            limited = [(name, rule) for name, rule in rules.items() if rule.limits_norms]
            ops += [MaxNorm(name, rule.max_norm, rule.max_frobenius) for name, rule in limited]
            ops += [RowNorm(name, rule.row_norm) for name, rule in rules.items() if rule.row_norm]
        ops += _totals(ops, losses)
    if attack is None or losses is None:
        return Program(with_waits(forward.first + ops, forward.buffers), forward.buffers, accumulate)
    keeps, after = _keeps(forward, attack), list[Op]()
    for op in ops:
        if not isinstance(op, Gather):  # an op on rows writes buffers; others sum over the rows and their copies
            after.append(replace(op, span="copies" if keeps and op.writes & forward.buffers.keys() else "both"))
    every = forward.first + first + after
    return Program(with_waits(every, forward.buffers), forward.buffers, accumulate, attack.clean)


def _heads(forward: Forward, network: Network) -> dict[str, Step]:
    """Adds the steps of all nodes. Returns the step that makes the value of each head."""
    graph, shapes = network.graph, network.shapes()
    made: list[Made] = []
    for value, entry in enumerate(graph.inputs):
        step = begin(forward, entry, math.prod(shapes[value]), only=len(graph.inputs) == 1)
        made.append(Made(step, graph.users[value] > 1))
    for index, (name, node) in enumerate(zip(network.names, graph.nodes, strict=True)):
        layer, inputs = network.layers[node.layer], tuple(made[value] for value in node.inputs)
        before, after = tuple(shapes[value] for value in node.inputs), shapes[len(made)]
        step = forward_of(layer)(forward, layer, Place(index, name, inputs, before, after))
        same = any(one.step is step and one.shared for one in inputs)  # it reads the value of a step with more users
        made.append(Made(step, same or graph.users[len(made)] > 1))
    heads: dict[str, Step] = {}
    for name, value in graph.outputs.items():
        step = made[value].step
        if any(step is other for other in heads.values()):  # each loss writes a gradient of its own
            out = forward.buffer(f"{step.out}:{name}", forward.buffers[step.out])
            step = forward.add(DrawStep([Elementwise(out, step.out)], out, (step,)))
        heads[name] = step
    return heads


def _emits(heads: Mapping[str, Step], transforms: Mapping[str, str]) -> list[Op]:
    if len(heads) == 1:
        return [Emit(x=step.out, transform=transforms[name]) for name, step in heads.items()]
    return [
        Emit(x=step.out, transform=transforms[name], head=number, source=f"out:{name}")
        for number, (name, step) in enumerate(heads.items())
    ]


def _losses(
    forward: Forward,
    heads: Mapping[str, Step],
    ops: list[Op],
    losses: Mapping[str, Head],
    wanted: bool,
    by_row: bool = False,
) -> list[str]:
    """Adds the loss of each head, and with `wanted` the gradient at its z. Returns the buffers of these gradients."""
    buffers, begun, gathers = forward.buffers, list[str](), list[Op]()
    for number, (name, step) in enumerate(heads.items()):
        head, loss = losses[name], losses[name].loss
        # The buffers and the data of a head have its name, if there are several.
        tail = "" if len(heads) == 1 else f":{name}"
        row_loss, row_hit, source = f"row_loss{tail}", f"row_hit{tail}", f"targets{tail}"
        y, targets, dz = step.out, None, None
        if loss not in OF_CLASSES:
            targets = source
            buffers[targets] = buffers[y] if isinstance(loss, str) else loss.target_columns or buffers[y]
            gathers.append(Gather(out=targets, source=source, holes=head.terms.holes))
        buffers[row_loss] = buffers[row_hit] = 1
        if not isinstance(loss, str):
            gradient = f"row_gradient{tail}"
            buffers[gradient] = buffers[y]
            ops.append(Call(loss, (y, source), (row_loss, gradient)))
            loss, targets = "given", gradient
        if wanted:
            dz = "d:" + y
            buffers[dz] = buffers[y]
            begun.append(dz)
        place: dict[str, Any] = {"head": number, "source": source, "rows": (row_loss, row_hit), "weight": head.weight}
        ops.append(Loss(loss, dz, step.through, targets, head.smoothing, by_row, head.terms, **place))
    ops[:0] = gathers
    return begun


def _back(way: Way, begun: list[str]) -> None:
    """The way back from the gradients that the losses have written."""
    way.begin(begun)
    way.run()


def _keeps(forward: Forward, attack: Attack) -> bool:
    """Whether what an attack computes on the batch's own rows is what training needs of them, to the bit.

    It is not under a penalty on activations, which is no part of the loss that is attacked. And if these rows have no
    share of the loss, their gradients in training are 0, which is no direction.
    """
    return attack.clean > 0.0 and not any(getattr(op, "activity", None) for op in forward.ops)


def _perturbed(forward: Forward, heads: Mapping[str, Step], losses: Mapping[str, Head], attack: Attack) -> list[Op]:
    """The ops that compute the gradient at the inputs and append the perturbed copies of the rows.

    The gradient uses the masks of the batch's own rows. Their copies draw their own masks.
    """
    keeps, copies = _keeps(forward, attack), {id(step): step for step in forward.steps}
    if not keeps:
        forward, copies = forward.without_activity()
    ops = forward.ops
    begun = _losses(forward, {name: copies[id(step)] for name, step in heads.items()}, ops, losses, True, not keeps)
    _back(Way(forward, ops, {}, everything=True), begun)
    for step in forward.steps:
        if isinstance(step, InputStep):
            ops.append(Append(step.out, f"d:{step.out}", attack, step.op.standardize))
    return ops + [Append(name) for name in forward.buffers if name.partition(":")[0] == "targets"]


def _totals(ops: list[Op], losses: Mapping[str, Head]) -> list[Op]:
    activity = tuple((op.activity, op.activity_l1) for op in ops if isinstance(op, Dense) and op.activity)
    if len(losses) == 1:
        return [Totals(activity)]
    return [
        Totals(() if number else activity, head=number, rows=(f"row_loss:{name}", f"row_hit:{name}"))
        for number, name in enumerate(losses)
    ]


def _second_pass(ops: list[Op], rules: dict[str, Rule], clip_norm: float | None) -> None:
    """Adds the updates from stored gradients, with clip_norm after clipping by their common norm. The last layer comes
    first, as in the fused updates, so that penalties add up to the same bits."""
    backwards = list(reversed(rules.items()))
    if clip_norm is None:
        ops += [Update(name, rule) for name, rule in backwards]
        return
    ops += [Penalize(name, rule) for name, rule in backwards]
    ops.append(ClipNorm(clip_norm, tuple(rules)))
    for name, rule in backwards:
        rest = replace(rule, penalty=rule.penalty.after_gradient, clip_value=0.0, counted=False)
        ops.append(Update(name, rest, scaled=True))
