"""Embeddings: rows of a table, named by codes that an input holds."""

from __future__ import annotations

from fastreg.layers import Embedding
from fastreg.model.lowering.build import Forward, Place, Step, Way
from fastreg.program.embedding import Embed, EmbedDw
from fastreg.program.riders import Through


class EmbedStep(Step):
    """The vectors of the codes of an input."""

    def __init__(self, op: Embed, below: Step):
        super().__init__([op], op.out, (below,), (op.weight,))

    @property
    def takes_mask(self) -> bool:
        return self.op.mask is None

    @property
    def through(self) -> Through:
        return Through(self.op.out, mask=self.op.mask)

    def back(self, way: Way) -> None:
        """No gradient goes to the codes."""
        op = self.op
        if op.weight in way.rules:
            way.put_off(EmbedDw(op.weight, op.x, way.dz(self), op.codes, way.rule(op.weight)))


def embedding(forward: Forward, layer: Embedding, place: Place) -> Step:
    below = place.inputs[0].step
    out = forward.buffer(f"{place.name}.y", place.after[0])
    op = Embed(out, below.out, f"{layer.name}.weight", layer.codes(place.before[0][0]))
    return forward.add(EmbedStep(op, below))
