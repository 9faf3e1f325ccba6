"""The base class of augmentations: a description that the gather op understands, and `apply` to look at it."""

from __future__ import annotations

import numpy as np

from fastreg.common import checking
from fastreg.common.description import Description
from fastreg.engines.base import Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.engines.session import ROWS, run_through
from fastreg.program.ops import Emit, Gather
from fastreg.program.program import Program, with_waits
from fastreg.program.riders import Augment, Displacement, Transform

COMMON = (1, 3, 4)  # sizes that are taken for a number of channels
MOST_PIXELS = 1 << 28  # in an image, all channels counted: indices have 32 bits
EXPECTED = "expected images (H, W), (H, W, C) or (C, H, W)"


class Augmentation(Description, saved=False):
    """Base class of the augmentations. `apply` shows what one does.

    Attributes
    ----------
    channels
        "last", "first" or None: see `Compose`.

    Examples
    --------
    >>> import fastreg as fr
    >>> isinstance(fr.data.augment.Rotate(15), fr.data.augment.Augmentation)
    True
    """

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The affine transforms, in order, and then the cutouts."""
        return ()

    @property
    def elastic(self) -> Displacement | None:
        """The displacement of single pixels, which comes after the affine transforms and before the cutouts."""
        return None

    channels: str | None = None

    def on(self, shape: tuple[int, ...]) -> Augment:
        """What the engines do to samples of this shape.

        Raises
        ------
        ValueError
            They are not images, or it is unclear which dimension holds the channels.
        """
        return Augment(self.transforms, self.elastic, _layout(shape, self.channels))

    def apply(self, images, seed: int = 0, epoch: int = 0, *, dtype: str = "float32", engine: str = "native"):
        """The images as training sees them. Image i is taken to be at position i of the epoch.

        Parameters
        ----------
        images
            (n, H, W), (n, H, W, C) or (n, C, H, W) finite real numbers.
        seed, epoch
            The trainer's seed, and the number of the epoch, from 0.
        dtype, engine
            As for a trainer.

        Returns
        -------
        ndarray
            The augmented images, in the shape of `images`.

        Raises
        ------
        ValueError, TypeError
            An argument is not as described above.

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


def _layout(shape: tuple[int, ...], channels: str | None) -> tuple[int, int, int, int]:
    """Numbers of planes, rows, columns and interleaved channels."""
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
        raise ValueError(f"got samples of shape {shape}, {EXPECTED}; X.reshape(-1, H, W) makes images of rows")
    if np.prod([side + 3 for side in layout], dtype=float) > MOST_PIXELS:
        raise ValueError(f"got samples of shape {shape}, expected images of at most {MOST_PIXELS} values")
    return layout
