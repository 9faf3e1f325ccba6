"""The ops on images: products and pools of windows.

An image is a row of a buffer: lines of pixels with adjacent channels. The weight of a Conv has a row for each value of
a window, in the same order, and a column for each of its N units. A row of the result is an image with N channels,
whose pixels are the windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fastreg.program.ops import Dense, DenseDw, DenseDx, Op
from fastreg.program.riders import Mask, Through


@dataclass(frozen=True)
class Window:
    """Where windows lie on an image.

    image     height, width, channels
    size      height and width of a window
    strides   how far windows are apart, down and to the right
    before    lines above the image and pixels before it at which the first window begins
    places    the number of windows, down and across
    """

    image: tuple[int, int, int]
    size: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]
    places: tuple[int, int]

    @property
    def values(self) -> int:
        """The number of values in a window."""
        return math.prod(self.size) * self.image[2]

    @property
    def count(self) -> int:
        """The number of windows."""
        return math.prod(self.places)


def window(image: tuple[int, int, int], size: tuple[int, int], strides: tuple[int, int], padding: str) -> Window:
    """The windows of a layer. padding "valid": only those within the image. "same": one for each of the pixels that are
    the strides apart, with a border around the image. Where it is uneven, its larger part comes after the image."""
    if padding == "valid":
        places = tuple(max(0, (side - k) // step + 1) for side, k, step in zip(image, size, strides, strict=False))
        before: tuple[int, ...] = (0, 0)
    else:
        places = tuple(-(-side // step) for side, step in zip(image, strides, strict=False))
        before = tuple(
            max(0, (n - 1) * step + k - side) // 2
            for n, step, k, side in zip(places, strides, size, image, strict=False)
        )
    return Window(image, size, strides, (before[0], before[1]), (places[0], places[1]))


@dataclass(frozen=True)
class Conv(Dense):
    """A Dense on every window of x: z = the values of a window @ weight + bias. Border values are 0."""

    window: Window = field(kw_only=True)


@dataclass(frozen=True)
class Flip(Op):
    """out = the weight as ConvDx multiplies by it: out[r, q, f, c] = weight[height - 1 - r, width - 1 - q, c, f]."""

    out: str
    weight: str
    window: Window

    @property
    def reads(self) -> set[str]:
        return {self.weight}

    @property
    def writes(self) -> set[str]:
        return {self.out}


def flipped(weight: str) -> str:
    """The name of the flipped copy of a weight."""
    return f"{weight}/flipped"


@dataclass(frozen=True)
class ConvDx(DenseDx):
    """The gradient at the z of the layer below a Conv: for each window, dz @ weight.T is added to what it covers. The
    weight is a flipped one."""

    window: Window = field(kw_only=True)


@dataclass(frozen=True)
class ConvDw(DenseDw):
    """As DenseDw, with the values of all windows as the rows of x."""

    window: Window = field(kw_only=True)


@dataclass(frozen=True)
class Pool(Op):
    """out = dropout(the maximum, or the mean, of each channel of each window). The border counts in neither."""

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    x: str
    window: Window
    kind: Literal["maximum", "mean"]
    mask: Mask | None = None

    @property
    def reads(self) -> set[str]:
        return {self.x}

    @property
    def writes(self) -> set[str]:
        return {self.out}


@dataclass(frozen=True)
class PoolDx(Op):
    """out = through'(dx), and with `add` this is added to `out`. dx is the gradient at x, dz that at the windows.

    A maximum gives its gradient to the first place in its window that has it.
    """

    rowwise: bool = field(default=True, kw_only=True)
    out: str
    dz: str
    x: str
    window: Window
    kind: Literal["maximum", "mean"]
    through: Through
    add: bool = False

    @property
    def reads(self) -> set[str]:
        return {self.dz, self.x} | self.through.reads | ({self.out} if self.add else set())

    @property
    def writes(self) -> set[str]:
        return {self.out}
