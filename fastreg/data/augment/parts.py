"""The single transforms of an image, each with the range that it is drawn from.

The formulas say where a pixel comes from: the pixel at (y, x) gets the value that was at (y', x'). Both are counted in
pixels from the image's centre, ((H - 1) / 2, (W - 1) / 2), downwards and to the right.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastreg.common import checking
from fastreg.data.augment.base import Augmentation
from fastreg.program.riders import Displacement, Transform

Range = float | tuple[float, float]


@dataclass(frozen=True, repr=False)
class Rotate(Augmentation, saved=False):
    """Rotates the image about its centre, by an angle a drawn uniformly from a range.

    y' = y cos a + x sin a and x' = x cos a - y sin a, in pixels from the centre.

    Parameters
    ----------
    degrees
        A number for angles from -degrees to degrees, or a pair (lowest, highest). From -360 to 360, counterclockwise.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

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
    """Moves the image down and to the right, each by its own uniformly drawn share of the height or width.

    y' = y - s H and x' = x - t W, with the shares s and t.

    Parameters
    ----------
    fraction
        A number for shares from -fraction to fraction, or a pair (lowest, highest). From -1 to 1. For 2 pixels of 28,
        give 2 / 28.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> image = np.arange(1.0, 10.0).reshape(1, 3, 3)
    >>> fr.data.augment.Translate((1 / 3, 1 / 3)).apply(image)[0].round(4)  # by one pixel in both directions
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
    """Enlarges or shrinks the content of the image about its centre, by a uniformly drawn factor.

    y' = y / factor and x' = x / factor, in pixels from the centre. The shape of the image stays the same.

    Parameters
    ----------
    factor
        A pair (lowest, highest), from 0.1 to 10; above 1 enlarges. Or a number below 1: 0.1 means (0.9, 1.1).

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> image = np.arange(1.0, 10.0).reshape(1, 3, 3)
    >>> fr.data.augment.Resize((2, 2)).apply(image)[0]  # twice as large, with the 5 at the centre
    array([[3. , 3.5, 4. ],
           [4.5, 5. , 5.5],
           [6. , 6.5, 7. ]], dtype=float32)
    """

    factor: Range

    def __post_init__(self):
        self._set(factor=_range("factor", self.factor, 0.1, 10, alone=(0, 0.9)))

    @property
    def transforms(self):
        pair = self.factor if isinstance(self.factor, tuple) else (1 - self.factor, 1 + self.factor)
        return (Transform("resize", *pair),)


@dataclass(frozen=True, repr=False)
class Crop(Augmentation, saved=False):
    """Cuts a window out of the image, at a random place, and enlarges it to the size of the image.

    y' = s y + (1 - s) H u and x' = s x + (1 - s) W v, in pixels from the centre, with the share s, and u and v drawn
    uniformly from -1/2 to 1/2.

    Parameters
    ----------
    share
        The window's height and width as a share of the image's, drawn uniformly. Give the smallest share (the largest
        is then 1), or a pair (smallest, largest). From 0.1 to 1.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> images = np.ones((2, 8, 8))
    >>> bool((fr.data.augment.Crop(1.0).apply(images) == images).all())  # the only window is the whole image
    True
    >>> fr.data.augment.Crop((0.5, 0.8)).apply(images).shape
    (2, 8, 8)
    """

    share: Range

    def __post_init__(self):
        self._set(share=_range("share", self.share, 0.1, 1, alone=(0.1, 1)))

    @property
    def transforms(self):
        return (Transform("crop", *(self.share if isinstance(self.share, tuple) else (self.share, 1.0))),)


@dataclass(frozen=True, repr=False)
class Shear(Augmentation, saved=False):
    """Slants the image about its centre. A row moves sideways by tan a times its height above the centre.

    y' = y and x' = x + y tan a, in pixels from the centre, with an angle a drawn uniformly from a range.

    Parameters
    ----------
    degrees
        A number for angles from -degrees to degrees, or a pair (lowest, highest). From -80 to 80. A positive angle
        moves the top to the right.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

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
    """Mirrors the image about its centre with probability p: x' = -x, or y' = -y.

    Parameters
    ----------
    axis
        "horizontal" swaps left and right, "vertical" swaps top and bottom.
    p
        The probability of mirroring, from 0 to 1.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

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
    """Displaces every pixel a little, and its neighbours in a similar way: handwriting by another hand.

    There is one field of uniform draws from (-1, 1) for each direction. A Gaussian smooths both fields (outside of the
    image they are 0). Multiplied by alpha, they are displacements in pixels. See Simard, Steinkraus and Platt, Best
    Practices for Convolutional Neural Networks, ICDAR 2003; they take sigma 4 and alpha 34 for MNIST. An `Elastic` must
    be the last part of a `Compose`.

    Parameters
    ----------
    alpha
        In pixels, at least 0. The standard deviation of the displacements is about alpha / (6 sigma).
    sigma
        Standard deviation of the Gaussian, in pixels, from 0.1 to 100. The Gaussian is cut off at 4 sigma.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

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
class Cutout(Augmentation, saved=False):
    """Sets a square of the image to 0, in all channels, at a random place (DeVries and Taylor, 2017).

    The middle of the square is any pixel of the image, so the square may hang over the border: of `size` rows from
    y - size // 2 on those inside the image, with y drawn uniformly from its rows, and likewise of its columns. The 0 is
    in the units of X, before a `Standardize`. A `Cutout` comes after all other parts of a `Compose`.

    See Improved Regularization of Convolutional Neural Networks with Cutout, 2017. They take a third to a half of the
    side.

    Parameters
    ----------
    size
        The side of the square in pixels, from 1 to 10,000.
    p
        The probability of a square, from 0 to 1.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> images = np.ones((1, 5, 5))
    >>> fr.data.augment.Cutout(3).apply(images, seed=1)[0]  # over the upper border
    array([[1., 0., 0., 0., 1.],
           [1., 0., 0., 0., 1.],
           [1., 1., 1., 1., 1.],
           [1., 1., 1., 1., 1.],
           [1., 1., 1., 1., 1.]], dtype=float32)
    """

    size: int
    p: float = 1.0

    def __post_init__(self):
        self._set(size=checking.integer("size", self.size, 1, 10_000), p=checking.number("p", self.p, 0, 1))

    @property
    def transforms(self):
        return (Transform("cutout", self.p, self.size),)


def _range(name: str, value, low: float, high: float, alone: tuple[float, float] | None = None) -> Range:
    """A pair in order, both from `low` to `high`. Or a number, within `alone`: by default from 0 to `high`."""
    if not isinstance(value, (tuple, list)):
        return checking.number(name, value, *(alone or (0, high)))
    if len(value) != 2:
        raise ValueError(f"{name}: got {checking.shown(value)}, expected a number or a pair (lowest, highest)")
    first, last = (checking.number(name, end, low, high) for end in value)
    if first > last:
        raise ValueError(f"{name}: got {checking.shown(value)}, expected the lowest first")
    return first, last


def _both(value: Range) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (-value, value)
