"""Layers of images: products on windows, and pools."""

from __future__ import annotations

from fastreg.layers import Conv2D
from fastreg.layers.pooling import Pooling
from fastreg.model.lowering.build import RAW, Forward, Place, Step, Way
from fastreg.model.lowering.dense import ProductStep
from fastreg.program.images import Conv, ConvDw, ConvDx, Flip, Pool, PoolDx, flipped
from fastreg.program.riders import Through


class ConvStep(ProductStep):
    """A dense op on the windows of an image."""

    def __init__(self, op: Conv, below: Step, flip: Flip):
        super().__init__(op, below, op.weight)
        self.flip = flip

    def back(self, way: Way) -> None:
        """The weight is flipped before conv_dw changes it."""
        op, dz, below = self.op, way.dz(self), self.inputs[0]
        if way.needs(below):
            way.catch_up()
            way.ops.append(self.flip)
            way.ops.append(ConvDx(dz=dz, weight=self.flip.out, window=op.window, **way.into(below)))
        if op.weight in way.rules:
            rules = way.rule(op.weight), way.rule(op.bias) if op.bias else RAW
            way.put_off(ConvDw(op.weight, op.bias, op.x, dz, *rules, window=op.window))


def conv(forward: Forward, layer: Conv2D, place: Place) -> Step:
    below, window = place.inputs[0].step, layer.window(place.before[0])
    out = forward.buffer(f"{place.name}.y", window.count * layer.filters)
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias" if layer.use_bias else None
    op = Conv(out, below.out, weight, bias, window=window)
    step = ConvStep(op, below, Flip(flipped(weight), weight, window))
    return forward.activate(forward.add(step), layer.activation)


class PoolStep(Step):
    """The maxima or means of the windows of an image."""

    @property
    def takes_mask(self) -> bool:
        return self.op.mask is None

    @property
    def through(self) -> Through:
        return Through(self.out, mask=self.op.mask)

    def back(self, way: Way) -> None:
        op = self.op
        way.ops.append(PoolDx(dz=way.dz(self), x=op.x, window=op.window, kind=op.kind, **way.into(self.inputs[0])))


def pool(forward: Forward, layer: Pooling, place: Place) -> Step:
    below, window = place.inputs[0].step, layer.window(place.before[0])
    out = forward.buffer(f"{place.name}.y", window.count * window.image[2])
    return forward.add(PoolStep([Pool(out, below.out, window, layer.kind)], out, (below,)))
