"""The single transforms of an image, and what range of them is drawn from.

Their formulas say where a pixel comes from: the one at (y, x) has the value that was at (y', x') before, both counted
in pixels from the image's centre, ((H - 1) / 2, (W - 1) / 2), down and to the right.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastreg.common import checking
from fastreg.data.augment.base import Augmentation
from fastreg.program.riders import Displacement, Transform

Range = float | tuple[float, float]


@dataclass(frozen=True, repr=False)
class Rotate(Augmentation, saved=False):
    """Turns the image about its centre, by an angle a drawn evenly from a range.

    y' = y cos a + x sin a and x' = x cos a - y sin a, in pixels from the centre.

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

    y' = y - s H and x' = x - t W, with the shares s and t.

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

    y' = y / factor and x' = x / factor, in pixels from the centre.

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
        self._set(factor=_range("factor", self.factor, 0.1, 10, alone=(0, 0.9)))

    @property
    def transforms(self):
        pair = self.factor if isinstance(self.factor, tuple) else (1 - self.factor, 1 + self.factor)
        return (Transform("resize", *pair),)


@dataclass(frozen=True, repr=False)
class Crop(Augmentation, saved=False):
    """Cuts out a window somewhere in the image and enlarges it to the whole.

    y' = s y + (1 - s) H u and x' = s x + (1 - s) W v, in pixels from the centre, with the share s and even draws u and
    v from -1/2 to 1/2.

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
        self._set(share=_range("share", self.share, 0.1, 1, alone=(0.1, 1)))

    @property
    def transforms(self):
        return (Transform("crop", *(self.share if isinstance(self.share, tuple) else (self.share, 1.0))),)


@dataclass(frozen=True, repr=False)
class Shear(Augmentation, saved=False):
    """Slants the image about its centre: rows move sideways, by the tangent of an angle a times their height above it.

    y' = y and x' = x + y tan a, in pixels from the centre.

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
    """Mirrors the image about its centre, or not: x' = -x, or y' = -y.

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


def _range(name: str, value, low: float, high: float, alone: tuple[float, float] | None = None) -> Range:
    """A pair in order, from `low` to `high`, or a number: within `alone`, by default from 0 to `high`."""
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
