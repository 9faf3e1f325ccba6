"""Standardize: the layer that shifts and scales input columns by known numbers, as the data are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastreg.common import checking
from fastreg.layers.base import Layer, Parameter, live


@live
@dataclass(frozen=True, repr=False)
class Standardize(Layer):
    """y = (x - mean) scale, column by column, as the data are read. Only a Flatten may come before it.

    A `fastreg.data.Standardizer` at the start of a model becomes this layer. Mean and scale are parameters of the model
    that no optimizer changes. They are in its state_dict and its file, so a loaded model takes raw data.

    Parameters
    ----------
    mean, scale
        Numbers, one per column. None in a layer that was read from a file: the model loads them later.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.
    """

    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if values is not None:
                if not isinstance(values, (tuple, list, np.ndarray)):
                    raise TypeError(f"{name}: got {checking.shown(values)}, expected a number for every column")
                self._set(**{name: tuple(checking.number(name, v, -math.inf) for v in values)})
        if (self.mean is None) != (self.scale is None) or len(self.mean or ()) != len(self.scale or ()):
            raise ValueError("Standardize: got mean and scale of different lengths, expected one of each per column")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.mean is not None and math.prod(shape) != len(self.mean):
            raise ValueError(f"Standardize: got samples of shape {shape}, expected {len(self.mean)} columns, as fitted")
        return shape

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        columns = math.prod(shape)
        return {name: Parameter((columns,), _Known(getattr(self, name)), 1, 1, "kept") for name in ("mean", "scale")}

    def config(self) -> dict[str, Any]:
        """The config without the numbers, which are the model's parameters."""
        return {"type": "Standardize", "name": self.name}

    def __repr__(self) -> str:
        columns = "" if self.mean is None else f"{len(self.mean)} columns"
        return f"Standardize({columns})"


class _Known(NamedTuple):
    """Known values that a parameter starts from."""

    values: tuple[float, ...] | None

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int) -> np.ndarray:
        if self.values is None:
            raise ValueError("Standardize: got no mean and scale, expected those of a fitted fastreg.data.Standardizer")
        return np.array(self.values)
