"""What all augmentations have in common: a description that the gather op understands, and a way to look at it."""

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
