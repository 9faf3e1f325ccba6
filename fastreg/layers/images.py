"""What the layers of images share: shapes of images, sizes of windows, and how windows lie."""

from __future__ import annotations

from typing import Literal, cast

from fastreg.common import checking
from fastreg.layers.base import Layer
from fastreg.program.images import Window, window

Pair = tuple[int, int]
Padding = Literal["valid", "same"]


def pair(name: str, value) -> Pair:
    """A size of windows, or how far they are apart: one number, or two for height and width."""
    if not isinstance(value, (tuple, list)):
        number = checking.integer(name, value)
        return number, number
    if len(value) != 2:
        raise ValueError(f"{name}: got {checking.shown(value)}, expected a whole number or two, for height and width")
    return checking.integer(name, value[0]), checking.integer(name, value[1])


def padding(value) -> Padding:
    """The argument `padding`."""
    return cast(Padding, checking.choice("padding", value, ("valid", "same")))


def image_of(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels of samples of `shape`. Two dimensions are an image of one channel."""
    if len(shape) not in (2, 3):
        advice = ""
        if len(shape) == 1:
            advice = "; reshape X, such as X.reshape(-1, 28, 28)"
        raise ValueError(
            f"{type(layer).__name__}: got samples of shape {shape}, expected images (height, width, channels) or "
            f"(height, width){advice}"
        )
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def window_of(layer: Layer, shape: tuple[int, ...], size: Pair, strides: Pair, how: Padding) -> Window:
    """The windows of a layer on images of `shape`. Refuses windows that the image has no room for."""
    image = image_of(layer, shape)
    found = window(image, size, strides, how)
    if 0 in found.places:
        raise ValueError(
            f"{type(layer).__name__}: got images of {image[0]} x {image[1]} pixels, expected at least the size of a "
            f"window, {size[0]} x {size[1]}; padding='same' takes smaller ones"
        )
    return found
