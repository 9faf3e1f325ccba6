"""The base class of layers, and how a layer declares the parameters that it needs."""

from __future__ import annotations

import copy
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from fastreg.common import checking
from fastreg.common.description import Description

Self = TypeVar("Self", bound="Layer")


class Start(Protocol):
    """Where a parameter starts: an Initializer, or known values."""

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int) -> np.ndarray: ...


class Parameter(NamedTuple):
    """The shape of a parameter and where it starts."""

    shape: tuple[int, ...]
    initializer: Start
    fan_in: int
    fan_out: int


@dataclass(frozen=True, repr=False)
class Layer(Description):
    """Base class of the layers.

    Parameters
    ----------
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.
    """

    _: KW_ONLY
    name: str | None = None

    def __post_init__(self):
        if self.name is not None and not (
            isinstance(self.name, str) and self.name.isascii() and self.name.replace("_", "").replace("-", "").isalnum()
        ):
            raise ValueError(f"name: got {checking.shown(self.name)}, expected letters, digits, '_' and '-'")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a sample after this layer, given the shape before it."""
        return shape

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """The parameters that the layer learns or keeps, for samples of `shape`."""
        return {}

    def named(self: Self, name: str | None) -> Self:
        """A copy with another name."""
        layer = copy.copy(self)
        layer._set(name=name)
        return layer


def one_dimension(layer: Layer, shape: tuple[int, ...]) -> int:
    """The number of columns of samples of `shape`, which must have one dimension."""
    if len(shape) != 1:
        kind = type(layer).__name__
        raise ValueError(f"{kind}: got samples of shape {shape}, expected one dimension; put a Flatten() before it")
    return shape[0]
