"""Normalization, and activations alone: riders on the step before where that can carry them.

Training uses the moments of the batch, and so do gradients and objectives. Predictions use the running moments; there a
batch norm is folded into the dense op or convolution before it. One that is frozen always uses the running moments.
"""

from __future__ import annotations

import math

from fastreg.layers import Activation, BatchNorm, LayerNorm
from fastreg.model.lowering.build import Forward, OpenStep, Place, Step, Way
from fastreg.program import normalize as N
from fastreg.program.ops import Elementwise, Op
from fastreg.program.rules import Rule


class ActivationStep(OpenStep):
    """An activation alone."""

    def back(self, way: Way) -> None:
        way.ops.append(Elementwise(x=way.dz(self), **way.into(self.inputs[0])))


class BatchNormStep(OpenStep):
    """A batch norm. `running`: by the running moments, which are constants."""

    def __init__(self, ops: list[Op], below: Step, params: tuple[str, ...], table: N.Table, running: bool):
        super().__init__(ops, ops[-1].out, (below,), params)  # type: ignore[attr-defined]
        self.table, self.running = table, running

    def back(self, way: Way) -> None:
        """One op where columns are channels, else three: the sums of the columns, those of the channels, the rows."""
        below, dz, x = self.inputs[0], way.dz(self), self.inputs[0].out
        table = self.table
        if self.running:
            if way.needs(below):
                way.ops.append(N.AffineDx(dz=dz, x=x, table=table, running=True, **way.into(below)))
            return
        gamma, beta = _trained(way, self.params)
        way.catch_up()
        into = way.into(below) if way.needs(below) else None
        if table.channels == table.width:
            how = into or {"out": None, "through": None}
            way.ops.append(N.BatchNormDx(dz=dz, x=x, table=table, gamma=gamma, beta=beta, **how))
            return
        way.ops += [N.NormSums(table, dz, x), N.ScaleDw(table, gamma, beta)]
        if into:
            way.ops.append(N.AffineDx(dz=dz, x=x, table=table, **into))


class LayerNormStep(OpenStep):
    """A layer norm."""

    def __init__(self, op: N.LayerNorm, below: Step):
        super().__init__([op], op.out, (below,), tuple(name for name in (op.gamma, op.beta) if name))

    def back(self, way: Way) -> None:
        op, below, dz = self.op, self.inputs[0], way.dz(self)
        if way.needs(below):
            how = way.into(below)
            way.ops.append(N.LayerNormDx(dz=dz, x=op.x, moments=op.moments, gamma=op.gamma, **how))
        gamma, beta = _trained(way, self.params)
        if gamma or beta:
            way.put_off(N.LayerNormDw(dz, op.x, op.moments, gamma, beta))


def _trained(way: Way, params: tuple[str, ...]) -> list[tuple[str, Rule] | None]:
    """gamma and beta with their rules, None for one that is not trained."""
    found: dict[str, tuple[str, Rule]] = {}
    for name in params:
        if name in way.rules:
            found[name.rpartition(".")[2]] = (name, way.rule(name))
    return [found.get(key) for key in ("gamma", "beta")]


def batch_norm(forward: Forward, layer: BatchNorm, place: Place) -> Step:
    below, shared = place.inputs[0]
    own = {key: f"{layer.name}.{key}" for key in (*layer.trained, "mean", "var")}
    gamma, beta = own.get("gamma"), own.get("beta")
    table = N.Table(f"{place.name}.table", math.prod(place.before[0]), place.before[0][-1])
    running = forward.moments == "running" or not layer.trainable
    moving = N.Moving(own["mean"], own["var"], layer.momentum, moves=forward.moments == "moving" and not running)
    if forward.folds and not shared and below.folds:
        fixed = N.NormScale(table, gamma, beta, moving, layer.eps, running=True, folded=True, bias=below.op.bias)
        forward.first.append(fixed)
        below.ride(folded=table.name, bias=None)
        return forward.activate(below, layer.activation)
    x, width = below.out, table.width
    out = forward.buffer(f"{place.name}.y", width)
    ops: list[Op]
    if running:
        forward.first.append(N.NormScale(table, gamma, beta, moving, layer.eps, running=True))
        ops = [N.Affine(out, x, table)]
    elif table.channels == width:
        ops = [N.BatchNorm(out, x, table, gamma, beta, moving, layer.eps)]
    else:
        ops = [N.Moments(table, x), N.NormScale(table, gamma, beta, moving, layer.eps), N.Affine(out, x, table)]
    params = tuple(name for name in (gamma, beta) if name)
    return forward.activate(forward.add(BatchNormStep(ops, below, params, table, running)), layer.activation)


def layer_norm(forward: Forward, layer: LayerNorm, place: Place) -> Step:
    below = place.inputs[0].step
    own = {key: f"{layer.name}.{key}" for key in layer.trained}
    out = forward.buffer(f"{place.name}.y", forward.buffers[below.out])
    moments = forward.buffer(f"{place.name}.moments", 3)
    op = N.LayerNorm(out, below.out, moments, own.get("gamma"), own.get("beta"), layer.eps)
    return forward.activate(forward.add(LayerNormStep(op, below)), layer.activation)


def activation(forward: Forward, layer: Activation, place: Place) -> Step:
    below, shared = place.inputs[0]
    if below.takes_activation and not shared:
        return forward.activate(below, layer.activation)
    out = forward.buffer(f"{place.name}.y", forward.buffers[below.out])
    step = ActivationStep([Elementwise(out, below.out)], out, (below,))
    return forward.activate(forward.add(step), layer.activation)
