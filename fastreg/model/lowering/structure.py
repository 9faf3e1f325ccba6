"""Layers that join values, and layers written in Python."""

from __future__ import annotations

from fastreg.layers import Add, Concatenate, Function
from fastreg.model.lowering.build import Forward, OpenStep, Place, Step, Way
from fastreg.program.ops import Call, Elementwise


class SumStep(OpenStep):
    """A sum of values, with an activation."""

    def back(self, way: Way) -> None:
        for below in self.inputs:
            if way.needs(below):
                way.ops.append(Elementwise(x=way.dz(self), **way.into(below)))


def add(forward: Forward, layer: Add, place: Place) -> Step:
    steps = tuple(made.step for made in place.inputs)
    out = forward.buffer(f"{place.name}.y", forward.buffers[steps[0].out])
    ops = [Elementwise(out, steps[0].out, plus=steps[1].out)]
    ops += [Elementwise(out, out, plus=step.out) for step in steps[2:]]
    return forward.activate(forward.add(SumStep(ops, out, steps)), layer.activation)


class ConcatenateStep(Step):
    """Columns of several values side by side."""

    def back(self, way: Way) -> None:
        column = 0
        for below in self.inputs:
            if way.needs(below):
                way.ops.append(Elementwise(x=way.dz(self), x_column=column, **way.into(below)))
            column += way.buffers[below.out]


def concatenate(forward: Forward, layer: Concatenate, place: Place) -> Step:
    steps = tuple(made.step for made in place.inputs)
    out = forward.buffer(f"{place.name}.y", sum(forward.buffers[step.out] for step in steps))
    ops, column = [], 0
    for step in steps:
        ops.append(Elementwise(out, step.out, out_column=column))
        column += forward.buffers[step.out]
    return forward.add(ConcatenateStep(ops, out, steps))


class FunctionStep(Step):
    """A layer written in Python."""

    def __init__(self, layer: Function, below: Step, out: str):
        super().__init__([Call(layer.run_forward, (below.out,), (out,))], out, (below,))
        self.layer = layer

    def back(self, way: Way) -> None:
        below = self.inputs[0]
        how = way.into(below)
        dx = f"{how['out']}:raw"
        way.buffers[dx] = way.buffers[below.out]
        way.ops.append(Call(self.layer.run_backward, (way.dz(self), below.out, self.out), (dx,)))
        way.ops.append(Elementwise(x=dx, **how))


def function(forward: Forward, layer: Function, place: Place) -> Step:
    below = place.inputs[0].step
    out = forward.buffer(f"{place.name}.y", layer.width(forward.buffers[below.out]))
    return forward.add(FunctionStep(layer, below, out))
