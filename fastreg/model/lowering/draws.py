"""Dropout and noise: riders on the step before, or an elementwise op where that carries no more."""

from __future__ import annotations

from fastreg.layers import Dropout, GaussianNoise, Layer
from fastreg.model.lowering.build import Forward, Place, Step, Way
from fastreg.program.ops import Elementwise
from fastreg.program.riders import ALL_ROWS, PURPOSE_DROPOUT, PURPOSE_NOISE, Mask, Noise, stream


class DrawStep(Step):
    """An elementwise op with noise or a mask, which has its own step on the way back."""

    @property
    def takes_mask(self) -> bool:
        return self.op.mask is None

    def back(self, way: Way) -> None:
        way.ops.append(Elementwise(x=way.dz(self), mask=self.op.mask, **way.into(self.inputs[0])))


def dropout(forward: Forward, layer: Dropout, place: Place) -> Step:
    kind = layer.kind if forward.dropout else "expected"
    if layer.keep_prob == 1.0 or not (forward.dropout or layer.kind == "standard"):
        return place.inputs[0].step
    group = 0 if layer.per == "element" else layer.rows or ALL_ROWS
    mask = Mask(layer.keep_prob, stream(PURPOSE_DROPOUT, place.index), kind, group)
    step, shared = place.inputs[0]
    return _ride(forward, place, step.takes_mask and not shared, mask=mask)


def noise(forward: Forward, layer: GaussianNoise, place: Place) -> Step:
    if not forward.dropout or layer.std == 0.0:
        return place.inputs[0].step
    step, shared = place.inputs[0]
    drawn = Noise(layer.std, stream(PURPOSE_NOISE, place.index))
    return _ride(forward, place, step.takes_noise and not shared, noise=drawn)


def flatten(forward: Forward, layer: Layer, place: Place) -> Step:
    """The same value: buffers are flat."""
    return place.inputs[0].step


def _ride(forward: Forward, place: Place, rides: bool, **rider) -> Step:
    below = place.inputs[0].step
    if rides:
        below.ride(**rider)
        return below
    out = forward.buffer(f"{place.name}.y", forward.buffers[below.out])
    return forward.add(DrawStep([Elementwise(out, below.out, **rider)], out, (below,)))
