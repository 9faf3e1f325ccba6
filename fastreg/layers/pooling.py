"""Pooling: the layers that make one pixel of each window of an image, and none of its weights."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal, cast

from fastreg.layers import images
from fastreg.layers.base import Layer, live
from fastreg.program.images import Window, window


class Pooling(Layer, saved=False):
    """Base class of the layers that pool the windows of an image."""

    kind: ClassVar[Literal["maximum", "mean"]]

    def window(self, shape: tuple[int, ...]) -> Window:
        """The windows on images of `shape`."""
        raise NotImplementedError


@live
@dataclass(frozen=True, repr=False)
class Pool2D(Pooling, saved=False):
    """Base class of MaxPool2D and AvgPool2D."""

    pool_size: int | tuple[int, int] = 2
    _: KW_ONLY
    strides: int | tuple[int, int] | None = None
    padding: images.Padding = "valid"
    name: str | None = None

    def __post_init__(self):
        super().__post_init__()
        size = images.pair("pool_size", self.pool_size)
        strides = size if self.strides is None else images.pair("strides", self.strides)
        self._set(pool_size=size, strides=strides, padding=images.padding(self.padding))

    def window(self, shape: tuple[int, ...]) -> Window:
        sizes = cast(images.Pair, self.pool_size), cast(images.Pair, self.strides)
        return images.window_of(self, shape, *sizes, self.padding)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        found = self.window(shape)
        return (*found.places, found.image[2])

    def __repr__(self) -> str:
        parts = [str(self.pool_size)]
        if self.strides != self.pool_size:
            parts.append(f"strides={self.strides}")
        for field in ("padding", "name"):
            if getattr(self, field) != getattr(Pool2D, field):
                parts.append(f"{field}={getattr(self, field)!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


@live
@dataclass(frozen=True, repr=False)
class MaxPool2D(Pool2D):
    """Max-pooling: the largest value of each window, channel by channel.

    Parameters
    ----------
    pool_size
        Height and width of the windows; one number for both.
    strides
        How far windows are apart, down and to the right. By default the size of a window.
    padding
        "valid": only windows within the image. "same": windows may reach over its border, as in `Conv2D`. What lies
        outside does not count.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Notes
    -----
    The gradient of a window goes to the first of its largest values.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.MaxPool2D(2).output_shape((28, 28, 32))
    (14, 14, 32)
    """

    kind = "maximum"


@live
@dataclass(frozen=True, repr=False)
class AvgPool2D(Pool2D):
    """Average-pooling: the mean of each window, channel by channel.

    Parameters
    ----------
    pool_size
        Height and width of the windows; one number for both.
    strides
        How far windows are apart, down and to the right. By default the size of a window.
    padding
        "valid": only windows within the image. "same": windows may reach over its border, as in `Conv2D`. As in Keras,
        what lies outside does not count, so the mean is that of fewer values there.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.AvgPool2D(3, strides=2, padding="same").output_shape((28, 28, 32))
    (14, 14, 32)
    """

    kind = "mean"


@live
@dataclass(frozen=True, repr=False)
class GlobalAvgPool2D(Pooling):
    """The mean of each channel over all pixels of the image.

    Parameters
    ----------
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.GlobalAvgPool2D().output_shape((7, 7, 64))
    (64,)
    """

    kind = "mean"

    def window(self, shape: tuple[int, ...]) -> Window:
        image = images.image_of(self, shape)
        return window(image, image[:2], image[:2], "valid")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (images.image_of(self, shape)[2],)
