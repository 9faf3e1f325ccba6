"""Augmentation: other views of the same images, drawn anew for every epoch while training reads its data.

`fastreg.Trainer(..., augment=...)` takes one of these, or a `Compose` of several. Labels stay. Evaluation, prediction
and validation see the images as they are.

Images are (H, W), (H, W, C) or (C, H, W), of any dtype and strides that training reads, and are never copied whole. All
affine transforms of a `Compose` become one matrix, and with it, and the displacements of an `Elastic`, each pixel is
found once: bilinear between its four neighbours; pixels outside of the image are 0. That equals
`scipy.ndimage.affine_transform(order=1, mode="grid-constant", cval=0)` with that matrix.

The draws of an image are a pure function of the trainer's seed, the epoch and the image's position in the epoch: they
depend neither on the batch size nor on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fastreg import checking, specs
from fastreg.description import Description
from fastreg.engines import Feed, Tally, make_engine
from fastreg.ops import Emit, Gather
from fastreg.program import Program, with_waits
from fastreg.riders import MAX_TRANSFORMS, Augment, Displacement, Transform
from fastreg.session import ROWS, run_through

Range = float | tuple[float, float]

CHANNELS = ("first", "last")
COMMON = (1, 3, 4)  # numbers of channels by which they are told from sides
MOST_PIXELS = 1 << 28  # of an image, channels included: indices have 32 bits
EXPECTED = "expected images (H, W), (H, W, C) or (C, H, W)"


class Augmentation(Description, saved=False):
    """Base of all of them: a description, and `apply` to look at what it does.

    Attributes
    ----------
    channels
        "last", "first" or None, as in `Compose`.

    Examples
    --------
    >>> import fastreg as fr
    >>> isinstance(fr.data.augment.Rotate(15), fr.data.augment.Augmentation)
    True
    """

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The affine ones, in order."""
        return ()

    @property
    def elastic(self) -> Displacement | None:
        """What displaces pixels one by one, behind the affine ones."""
        return None

    channels: str | None = None

    def on(self, shape: tuple[int, ...]) -> Augment:
        """What the engines do to samples of this shape.

        Raises
        ------
        ValueError
            They are no images, or it cannot be told where their channels are.
        """
        return Augment(self.transforms, self.elastic, _layout(shape, self.channels))

    def apply(self, images, seed: int = 0, epoch: int = 0, *, dtype: str = "float32", engine: str = "native"):
        """The images as training sees them, to look at: image i as that at position i of the epoch.

        Parameters
        ----------
        images
            (n, H, W), (n, H, W, C) or (n, C, H, W) finite real numbers.
        seed, epoch
            Of the trainer, and its number, from 0.
        dtype, engine
            As of a trainer.

        Returns
        -------
        ndarray
            In the shape of `images`.

        Raises
        ------
        ValueError, TypeError
            An argument is not what it says above.

        Examples
        --------
        >>> import numpy as np, fastreg as fr
        >>> images = np.arange(12).reshape(1, 3, 4)
        >>> fr.data.augment.Flip(p=1.0).apply(images)[0, 0]
        array([3., 2., 1., 0.], dtype=float32)
        """
        dtype = checking.dtype(dtype)
        images = checking.inputs("images", images, dtype)
        try:
            augment = self.on(images.shape[1:])
        except ValueError as error:
            raise ValueError(f"images: {error}") from None
        buffers = {"x": int(np.prod(images.shape[1:]))}
        ops = with_waits([Gather("x", "inputs", augment=augment), Emit("x", "linear")], buffers)
        rows = min(len(images), ROWS)
        made = make_engine(checking.engine(engine), Program(ops, buffers), {}, {}, rows, dtype)
        out = np.empty((len(images), buffers["x"]), dtype)
        seed, epoch = checking.seed(seed), checking.integer("epoch", epoch, 0)
        run_through(made, Feed(images, rows, seed=seed, epoch=epoch, out=out), Tally(), "images")
        return out.reshape(images.shape)


@dataclass(frozen=True, repr=False)
class Rotate(Augmentation, saved=False):
    """Turns the image about its centre, by an angle drawn evenly from a range.

    Parameters
    ----------
    degrees
        A number for angles of -degrees to degrees, or a pair (lowest, highest); within -360 to 360, counterclockwise.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> image = np.arange(9.0).reshape(1, 3, 3)
    >>> turned = fr.data.augment.Rotate((90, 90)).apply(image)
    >>> bool((turned[0] == np.rot90(image[0])).all())
    True
    """

    degrees: Range

    def __post_init__(self):
        self._set(degrees=_range("degrees", self.degrees, -360, 360))

    @property
    def transforms(self):
        return (Transform("rotate", *_both(self.degrees)),)


@dataclass(frozen=True, repr=False)
class Translate(Augmentation, saved=False):
    """Moves the image down and to the right, by shares of its height and width that are drawn evenly, one for each.

    Parameters
    ----------
    fraction
        A number for shares of -fraction to fraction, or a pair (lowest, highest); within -1 to 1. 2 pixels of 28 are
        2 / 28.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> image = np.arange(1.0, 10.0).reshape(1, 3, 3)
    >>> fr.data.augment.Translate((1 / 3, 1 / 3)).apply(image)[0].round(4)  # by one pixel each way
    array([[0., 0., 0.],
           [0., 1., 2.],
           [0., 4., 5.]], dtype=float32)
    """

    fraction: Range

    def __post_init__(self):
        self._set(fraction=_range("fraction", self.fraction, -1, 1))

    @property
    def transforms(self):
        return (Transform("translate", *_both(self.fraction)),)


@dataclass(frozen=True, repr=False)
class Resize(Augmentation, saved=False):
    """Makes what is in the image larger or smaller about its centre, by a factor drawn evenly; its shape stays.

    Parameters
    ----------
    factor
        A pair (lowest, highest), within 0.1 to 10: above 1 is larger. Or a number below 1: 0.1 for (0.9, 1.1).

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> image = np.arange(1.0, 10.0).reshape(1, 3, 3)
    >>> fr.data.augment.Resize((2, 2)).apply(image)[0]  # twice as large about the 5
    array([[3. , 3.5, 4. ],
           [4.5, 5. , 5.5],
           [6. , 6.5, 7. ]], dtype=float32)
    """

    factor: Range

    def __post_init__(self):
        if isinstance(self.factor, (tuple, list)):
            self._set(factor=_range("factor", self.factor, 0.1, 10))
        else:
            self._set(factor=checking.number("factor", self.factor, 0.0, 0.9))

    @property
    def transforms(self):
        pair = self.factor if isinstance(self.factor, tuple) else (1 - self.factor, 1 + self.factor)
        return (Transform("resize", *pair),)


@dataclass(frozen=True, repr=False)
class Crop(Augmentation, saved=False):
    """Cuts out a window somewhere in the image and enlarges it to the whole.

    Parameters
    ----------
    share
        The window's height and width as a share of the image's, drawn evenly: the smallest (the largest is 1), or a
        pair (smallest, largest); within 0.1 to 1. Its place is drawn evenly, too.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> images = np.ones((2, 8, 8))
    >>> bool((fr.data.augment.Crop(1.0).apply(images) == images).all())  # the whole is the only window
    True
    >>> fr.data.augment.Crop((0.5, 0.8)).apply(images).shape
    (2, 8, 8)
    """

    share: Range

    def __post_init__(self):
        if isinstance(self.share, (tuple, list)):
            self._set(share=_range("share", self.share, 0.1, 1))
        else:
            self._set(share=checking.number("share", self.share, 0.1, 1))

    @property
    def transforms(self):
        return (Transform("crop", *(self.share if isinstance(self.share, tuple) else (self.share, 1.0))),)


@dataclass(frozen=True, repr=False)
class Shear(Augmentation, saved=False):
    """Slants the image about its centre: rows move sideways, by the tangent of an angle times their height above it.

    Parameters
    ----------
    degrees
        A number for angles of -degrees to degrees, or a pair (lowest, highest), drawn evenly; within -80 to 80. A
        positive one moves the top to the right.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> image = np.zeros((1, 3, 3))
    >>> image[0, :, 1] = 1
    >>> fr.data.augment.Shear((45, 45)).apply(image)[0].round(4)  # the tangent is 1
    array([[0., 0., 1.],
           [0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """

    degrees: Range

    def __post_init__(self):
        self._set(degrees=_range("degrees", self.degrees, -80, 80))

    @property
    def transforms(self):
        return (Transform("shear", *_both(self.degrees)),)


@dataclass(frozen=True, repr=False)
class Flip(Augmentation, saved=False):
    """Mirrors the image, or not.

    Parameters
    ----------
    axis
        "horizontal" exchanges left and right, "vertical" top and bottom.
    p
        The probability.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> image = np.arange(4.0).reshape(1, 2, 2)
    >>> fr.data.augment.Flip("vertical", p=1.0).apply(image)[0]
    array([[2., 3.],
           [0., 1.]], dtype=float32)
    """

    axis: str = "horizontal"
    p: float = 0.5

    def __post_init__(self):
        checking.choice("axis", self.axis, ("horizontal", "vertical"))
        self._set(p=checking.number("p", self.p, 0, 1))

    @property
    def transforms(self):
        return (Transform(f"flip_{self.axis}", self.p, self.p),)


@dataclass(frozen=True, repr=False)
class Elastic(Augmentation, saved=False):
    """Displaces every pixel a little, and its neighbours likewise: handwriting by another hand.

    Two fields of even draws in (-1, 1), one for each direction, are smoothed by a Gaussian (outside of the image they
    are 0) and multiplied by alpha: pixels (Simard, Steinkraus and Platt, Best Practices for Convolutional Neural
    Networks, ICDAR 2003, who take sigma 4 and alpha 34 for MNIST). In a `Compose` it is the last.

    Parameters
    ----------
    alpha
        Pixels, at least 0. The displacements' standard deviation is about alpha / (6 sigma).
    sigma
        Of the Gaussian, in pixels, from 0.1 to 100; it is cut off at four of it.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> images = np.random.default_rng(0).integers(0, 256, (2, 28, 28), np.uint8)
    >>> fr.data.augment.Elastic(alpha=34, sigma=4).apply(images).shape
    (2, 28, 28)
    >>> bool((fr.data.augment.Elastic(alpha=0, sigma=4).apply(images) == images).all())
    True
    """

    alpha: float
    sigma: float

    def __post_init__(self):
        self._set(alpha=checking.number("alpha", self.alpha, 0, 1e6))
        self._set(sigma=checking.number("sigma", self.sigma, 0.1, 100))

    @property
    def elastic(self):
        return Displacement(self.alpha, self.sigma)


@dataclass(frozen=True, repr=False)
class Compose(Augmentation, saved=False):
    """Several, one after the other, in one pass over the image.

    Parameters
    ----------
    parts
        At most 16, objects or specs; an `Elastic` only as the last.
    channels
        "last" for (H, W, C), "first" for (C, H, W). None: the side of 1, 3 or 4 holds them, if just one of the two
        is such.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> from fastreg.data.augment import Compose, Resize, Rotate, Translate
    >>> augment = Compose([Rotate(15), Translate(0.1), Resize(0.1)])
    >>> X, y = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8), np.arange(20) % 2
    >>> model = fr.Sequential([fr.Flatten(), fr.Dense(2)])
    >>> history = fr.Trainer(model, augment=augment).fit(X, y)
    >>> augment.apply(X).shape
    (20, 8, 8)
    """

    parts: Sequence[Augmentation]
    channels: str | None = field(default=None, kw_only=True)

    def __post_init__(self):
        parts = self.parts
        if isinstance(parts, (str, Augmentation)) or not isinstance(parts, Iterable):
            raise TypeError(f"parts: got {checking.shown(parts)}, expected a list such as [Rotate(15), Flip()]")
        parts = tuple(get(f"parts[{index}]", part) for index, part in enumerate(parts))
        if not parts:
            raise ValueError("parts: got none, expected at least one")
        if any(part.elastic for part in parts[:-1]):
            raise ValueError("parts: got Elastic before another, expected it as the last")
        count = sum(len(part.transforms) for part in parts)
        if count > MAX_TRANSFORMS:
            raise ValueError(f"parts: got {count} transforms, expected at most {MAX_TRANSFORMS}")
        if self.channels is not None:
            checking.choice("channels", self.channels, CHANNELS)
        self._set(parts=parts)

    @property
    def transforms(self):
        return tuple(transform for part in self.parts for transform in part.transforms)

    @property
    def elastic(self):
        return self.parts[-1].elastic


BY_NAME = {kind.__name__.lower(): kind for kind in (Rotate, Translate, Resize, Crop, Shear, Flip, Elastic, Compose)}


def get(name: str, value) -> Augmentation:
    """The argument `name`, as it is or a spec of it."""
    if isinstance(value, str):
        return specs.make(name, value, BY_NAME)
    if not isinstance(value, Augmentation):
        text = "expected an object of fastreg.data.augment such as Rotate(15) or Compose([...])"
        raise TypeError(f"{name}: got {checking.shown(value)}, {text}")
    return value


def _range(name: str, value, low: float, high: float) -> Range:
    """A number of at least 0, or a pair in order."""
    if not isinstance(value, (tuple, list)):
        return checking.number(name, value, 0, high)
    if len(value) != 2:
        raise ValueError(f"{name}: got {checking.shown(value)}, expected a number or a pair (lowest, highest)")
    first, last = (checking.number(name, end, low, high) for end in value)
    if first > last:
        raise ValueError(f"{name}: got {checking.shown(value)}, expected the lowest first")
    return first, last


def _both(value: Range) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (-value, value)


def _layout(shape: tuple[int, ...], channels: str | None) -> tuple[int, int, int, int]:
    """Planes, height, width, interleaved channels."""
    if len(shape) == 2:
        layout = 1, *shape, 1
    elif len(shape) == 3:
        if channels is None:
            first, last = shape[0] in COMMON, shape[2] in COMMON
            if first == last:
                raise ValueError(
                    f"got samples of shape {shape}, where channels may be first or last, "
                    'expected augment=Compose([...], channels="first" or "last")'
                )
            channels = "first" if first else "last"
        layout = (*shape, 1) if channels == "first" else (1, *shape)
    else:
        raise ValueError(f"got samples of shape {shape}, {EXPECTED}, as X.reshape(-1, H, W) makes of rows")
    if np.prod([side + 3 for side in layout], dtype=float) > MOST_PIXELS:
        raise ValueError(f"got samples of shape {shape}, expected images of at most {MOST_PIXELS} values")
    return layout
