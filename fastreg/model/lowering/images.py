"""Layers of images: products on windows, and pools."""

from __future__ import annotations

from fastreg.layers import Conv2D
from fastreg.layers.pooling import Pooling
from fastreg.model.lowering.build import RAW, Forward, Place, Step, Way
from fastreg.program.images import Conv, ConvDw, ConvDx, Flip, Pool, PoolDx, flipped
from fastreg.program.riders import Through
from fastreg.reference.activations import ACTIVATIONS


class ConvStep(Step):
    """A dense op on the windows of an image."""

    def __init__(self, op: Conv, below: Step, flip: Flip):
        super().__init__([op], op.out, (below,), (op.weight, op.bias) if op.bias else (op.weight,))
        self.flip = flip

    @property
    def takes_mask(self) -> bool:
        return self.op.mask is None

    @property
    def takes_noise(self) -> bool:
        return self.op.activation == "linear" and self.op.mask is None and self.op.noise is None

    @property
    def takes_activation(self) -> bool:
        return self.op.activation == "linear" and self.op.mask is None

    @property
    def folds(self) -> bool:
        return self.takes_activation and self.op.noise is None and self.op.folded is None

    @property
    def through(self) -> Through:
        return Through(self.out, self.op.activation, self.op.mask, self.op.z)

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
    width = window.count * layer.filters
    out = forward.buffer(f"{place.name}.y", width)
    activation = layer.activation or "linear"
    z = forward.buffer(f"{place.name}.z", width) if ACTIVATIONS[activation].needs_z else None
    weight, bias = f"{layer.name}.weight", f"{layer.name}.bias" if layer.use_bias else None
    op = Conv(out, below.out, weight, bias, activation, z=z, window=window)
    return forward.add(ConvStep(op, below, Flip(flipped(weight), weight, window)))


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
