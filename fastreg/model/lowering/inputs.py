"""Inputs of a network, and what rides on the gather: standardization."""

from __future__ import annotations

from fastreg.layers import Layer
from fastreg.model.graph import Entry
from fastreg.model.lowering.build import Forward, Place, Step, Way
from fastreg.program.ops import Gather


class InputStep(Step):
    """The rows of the batch of one input."""

    def __init__(self, op: Gather, open_: bool):
        super().__init__([op], op.out)
        self.open = open_  # whether draws may ride on it

    @property
    def takes_mask(self) -> bool:
        return self.open and self.op.mask is None

    @property
    def takes_noise(self) -> bool:
        return self.open and self.op.mask is None and self.op.noise is None

    def back(self, way: Way) -> None:
        """Nothing comes before it."""


def begin(forward: Forward, entry: Entry, width: int, only: bool) -> Step:
    """The step of an input. The only one of a model is called "inputs"."""
    name = "inputs" if only else f"inputs:{entry.name}"
    source = "inputs" if entry.columns is not None else name
    out = forward.buffer(name, width)
    op = Gather(out=out, source=source, augment=forward.augment, columns=entry.columns)
    return forward.add(InputStep(op, forward.rides_on_gather))


def standardize(forward: Forward, layer: Layer, place: Place) -> Step:
    step = place.inputs[0].step
    if not isinstance(step, InputStep) or place.inputs[0].shared or step.op.mask or step.op.noise:
        raise ValueError(f"layer {layer.name!r}: got Standardize after other layers, expected it on an input alone")
    step.ride(standardize=(f"{layer.name}.mean", f"{layer.name}.scale"))
    return step
