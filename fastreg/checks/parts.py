"""The part of a training step that an op belongs to: a layer, or the data, the loss, and clipping, which have none.

Tables of ops are grouped by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastreg.layers import Conv2D, Dense, Embedding, Layer, Pooling
from fastreg.model.model import Model
from fastreg.program import images as I
from fastreg.program import ops as O
from fastreg.program.embedding import Embed, EmbedDw
from fastreg.program.normalize import Norm
from fastreg.program.program import Program

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class Part:
    """A part of a training step.

    index   its place: -1 for the data, then that of the layer, then the loss, clipping and averages
    layer   the name of the layer; None for what belongs to no layer
    title   for a table, such as "layer 2: Dense 64 to 256, relu"
    """

    index: int
    layer: str | None
    title: str

    @property
    def short(self) -> str:
        """For a sentence, such as "layer 2" or "the loss"."""
        return f"the {self.title}" if self.layer is None else f"layer {self.layer}"


def parts_of(program: Program, model: Model) -> list[Part]:
    """The part of each op. `model` has seen the shape of its samples."""
    count = len(model.layers)
    shapes = model.layer_shapes(model.known_shape)
    named = {
        str(layer.name): Part(index, str(layer.name), f"layer {layer.name}: {_described(layer, *shapes[index])}")
        for index, layer in enumerate(model.layers)
    }
    others = {
        O.Gather: Part(-1, None, "data"),
        O.Append: Part(-1, None, "data"),
        O.ClipNorm: Part(count + 1, None, "clipping"),
        O.Count: Part(count + 2, None, "averages"),
    }
    loss, owners = Part(count, None, "loss"), _owners(program.ops)
    return [
        others.get(type(op), loss) if owner is None else named[owner]
        for op, owner in zip(program.ops, owners, strict=True)
    ]


def by_part(rows: Iterable[T], part: Callable[[T], Part]) -> list[tuple[Part, list[T]]]:
    """The rows of each part, in the order of the parts."""
    groups: dict[Part, list[T]] = {}
    for row in rows:
        groups.setdefault(part(row), []).append(row)
    return [(part, groups[part]) for part in sorted(groups)]


def _owners(ops: Sequence[O.Op]) -> list[str | None]:
    """The name of the layer of each op, or None."""
    owners: list[str | None] = []
    wrote: dict[str, str | None] = {}  # the layer that wrote the buffer last
    for op in ops:
        owner: str | None = None
        match op:
            case O.Dense() | O.DenseDx() | O.DenseDw() | O.Perturb() | O.MaxNorm() | O.RowNorm() | Embed() | EmbedDw():
                owner = _layer(op.weight)
            case O.BiasDw():
                owner = _layer(op.bias)
            case I.Flip():
                owner = _layer(op.weight)
            case I.Pool():
                owner = _layer(op.out)
            case I.PoolDx():
                owner = _layer(op.dz)
            case O.Couple():
                owner = _layer(op.a)
            case Norm():
                owner = _layer(op.kept)
            case O.Penalize() | O.Update() | O.Average():
                owner = _layer(op.param)
            case O.Call() if not any(name.startswith("row_loss") for name in op.writes):
                owner = _layer(op.reads_[0] if op.reads_[0].startswith("d:") else op.writes_[0])
            case O.Elementwise() if op.x.endswith(":raw"):  # the rest of the way back through a Function
                owner = wrote[op.x]
            case O.Elementwise():
                owner = _layer(op.x if op.x.startswith("d:") else op.out)
        owners.append(owner)
        wrote |= dict.fromkeys(op.writes, owner)
    return owners


def _layer(name: str) -> str:
    """The layer of a parameter or a buffer, such as "2.weight", "2.y" or "d:2.y". Names of layers have no dots."""
    return name.removeprefix("d:").partition(".")[0].partition("@")[0]


def _described(layer: Layer, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    kind = type(layer).__name__
    if isinstance(layer, Embedding):
        return f"{kind} {before[0]} to {after[0]}"
    if not isinstance(layer, (Conv2D, Dense, Pooling)):
        return kind
    activation = layer.option("activation")
    used = f", {activation}" if activation not in (None, "linear") else ""
    return f"{kind} {' x '.join(map(str, before))} to {' x '.join(map(str, after))}{used}"
