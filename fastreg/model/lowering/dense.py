"""Dense layers: products, with bias, noise, activation and dropout; and the product's way back."""

from __future__ import annotations

import math
from dataclasses import replace

from fastreg.layers import Dense
from fastreg.model.lowering.build import RAW, Forward, OpenStep, Place, Step, Way
from fastreg.program import ops as O
from fastreg.program.riders import PANEL, PURPOSE_NOISE, PURPOSE_WEIGHT_NOISE, Noise, Through, stream

# Up to this many elements, a weight stays in the nearest cache of each worker. Then workers divide the rows of a batch,
# all the way from the data to the gradients. Dividing the columns would need a barrier between two layers.
SMALL = 1 << 14


class ProductStep(OpenStep):
    """A dense op, or one on windows. `weight` is its parameter, even if the op multiplies by a noisy copy."""

    def __init__(self, op: O.Dense, below: Step, weight: str):
        super().__init__([op], op.out, (below,), (weight, op.bias) if op.bias else (weight,))
        self.weight = weight

    @property
    def takes_noise(self) -> bool:
        return self.takes_activation and self.op.noise is None

    @property
    def takes_activation(self) -> bool:
        return super().takes_activation and not self.op.activity  # whose penalty is on the value as it is

    @property
    def folds(self) -> bool:
        return self.takes_noise and self.op.folded is None

    @property
    def through(self) -> Through:
        return replace(super().through, activity_l1=self.op.activity_l1)


class DenseStep(ProductStep):
    """A dense op."""

    def without_activity(self) -> Step:
        return DenseStep(replace(self.op, activity=None, activity_l1=0.0), self.inputs[0], self.weight)

    def back(self, way: Way) -> None:
        """dense_dx comes before dense_dw, which changes W. dense_dw may overlap the dense_dx of the layer below."""
        op, dy, below = self.op, way.dz(self), self.inputs[0]
        if way.needs(below):
            if not op.rowwise:
                way.catch_up()
            how = way.into(below)
            how |= {"transposed": op.transposed, "rowwise": op.rowwise, "dz_mask": self.dropped}
            way.ops.append(O.DenseDx(dz=dy, weight=op.weight, **how))
        weight, bias = (name if name in way.rules else None for name in (self.weight, op.bias))
        if weight and op.transposed:  # x.T @ dz is the gradient of the weight's transpose
            masks = {"x_mask": self.dropped, "dz_mask": op.x_mask}
            way.put_off(O.DenseDw(weight, None, dy, op.x, way.rule(weight), RAW, **masks))
        elif weight:
            rule = way.rule(weight)
            masks = {"x_mask": op.x_mask, "dz_mask": self.dropped}
            way.put_off(O.DenseDw(weight, bias, op.x, dy, rule, way.rule(bias) if bias else RAW, **masks))
        if bias and (op.transposed or not weight):
            way.put_off(O.BiasDw(bias, dy, way.rule(bias)))


def dense(forward: Forward, layer: Dense, place: Place) -> Step:
    below = place.inputs[0].step
    out = forward.buffer(f"{place.name}.y", layer.units)
    bias = f"{layer.name}.bias" if layer.use_bias else None
    rowwise = math.prod(place.before[0]) * layer.units <= SMALL
    weight = factor = layer.weight_name
    if forward.dropout and layer.weight_noise > 0.0:
        factor = O.noisy(f"{place.name}.weight")
        noise = Noise(layer.weight_noise, stream(PURPOSE_WEIGHT_NOISE, place.index))
        forward.first.append(O.Perturb(factor, weight, noise))
    op = O.Dense(out, below.out, factor, bias, rowwise=rowwise, transposed=layer.transposed, x_mask=below.dropped)
    if forward.dropout and layer.preactivation_noise > 0.0:
        op = replace(op, noise=Noise(layer.preactivation_noise, stream(PURPOSE_NOISE, place.index)))
    if layer.activity_l1 and forward.penalized:
        activity = forward.buffer(f"{place.name}.activity", -(-layer.units // PANEL))
        op = replace(op, activity=activity, activity_l1=layer.activity_l1)
    return forward.activate(forward.add(DenseStep(op, below, weight)), layer.activation)
