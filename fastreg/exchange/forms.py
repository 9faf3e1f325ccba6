"""How parameters and images lie here and in PyTorch.

Here an image is (height, width, channels), and a weight has a row for each input. In PyTorch an image is (channels,
height, width), and a weight has a row for each output. After a `Flatten` the columns of the two are in different
orders, so what comes next has its rows in another order, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Form:
    """How a parameter lies in PyTorch: the tensor is p[order].reshape(view).transpose(axes).

    shape   of the parameter
    order   the rows of the parameter in PyTorch's order. None for the same
    """

    shape: Shape
    view: Shape
    axes: Shape
    order: np.ndarray | None = None

    @property
    def tensor_shape(self) -> Shape:
        """The shape of the tensor."""
        return tuple(self.view[axis] for axis in self.axes)

    def out(self, parameter: np.ndarray) -> np.ndarray:
        """The tensor of a parameter: a copy with its own memory."""
        rows = parameter if self.order is None else parameter[self.order]
        return np.array(rows.reshape(self.view).transpose(self.axes), order="C")

    def back(self, tensor: np.ndarray) -> np.ndarray:
        """The parameter of a tensor."""
        rows = tensor.transpose(np.argsort(self.axes)).reshape(self.shape)
        if self.order is None:
            return rows
        parameter = np.empty_like(rows)
        parameter[self.order] = rows
        return parameter


@dataclass(frozen=True, eq=False)
class Flow:
    """A value as it flows from layer to layer.

    shape   of a sample here
    image   whether it is an image. Then it is (channels, height, width) in PyTorch
    order   of columns that were an image: PyTorch's column j is column order[j] here. None for the same order
    """

    shape: Shape
    image: bool = False
    order: np.ndarray | None = None

    @property
    def torch_shape(self) -> Shape:
        """The shape of a sample in PyTorch."""
        if not self.image:
            return self.shape
        height, width, channels = (*self.shape, 1)[:3]
        return channels, height, width

    @property
    def size(self) -> int:
        """The number of values in a sample."""
        return math.prod(self.shape)

    def flat(self) -> Flow:
        """The value after a `Flatten` on both sides."""
        if not self.image:
            return self if len(self.shape) == 1 else Flow((self.size,))
        height, width, channels = (*self.shape, 1)[:3]
        if channels == 1 or height * width == 1:
            return Flow((self.size,))
        places = np.arange(self.size).reshape(height, width, channels)
        return Flow((self.size,), order=places.transpose(2, 0, 1).ravel())

    def same_order(self, other: Flow) -> bool:
        """Whether the columns of both are in the same order."""
        if self.order is None or other.order is None:
            return self.order is other.order
        return np.array_equal(self.order, other.order)


def weight(flow: Flow, units: int) -> Form:
    """The weight of a dense layer on a value."""
    return Form((flow.size, units), (flow.size, units), (1, 0), flow.order)


def filters(size: Shape, channels: int, units: int) -> Form:
    """The weight of a convolution."""
    return Form((size[0] * size[1] * channels, units), (*size, channels, units), (3, 2, 0, 1))


def plain(*shape: int) -> Form:
    """What lies the same way in both."""
    return Form(shape, shape, tuple(range(len(shape))))


def each_value(flow: Flow) -> Form:
    """A number for each value of a sample."""
    if flow.image:
        height, width, channels = (*flow.shape, 1)[:3]
        return Form((flow.size,), (height, width, channels), (2, 0, 1))
    return Form((flow.size,), flow.shape, tuple(range(len(flow.shape))), flow.order)


def joined(flows: list[Flow]) -> Flow:
    """The columns of several values side by side."""
    total = sum(flow.size for flow in flows)
    if all(flow.order is None for flow in flows):
        return Flow((total,))
    orders, first = [], 0
    for flow in flows:
        own = np.arange(flow.size) if flow.order is None else flow.order
        orders.append(own + first)
        first += flow.size
    return Flow((total,), order=np.concatenate(orders))
