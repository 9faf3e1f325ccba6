"""Compose: several transforms in one pass. And `get`, which reads the trainer's argument `augment`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fastreg.common import checking, specs
from fastreg.data.augment.base import Augmentation
from fastreg.data.augment.parts import Crop, Cutout, Elastic, Flip, Resize, Rotate, Shear, Translate
from fastreg.program.riders import MAX_TRANSFORMS

CHANNELS = ("first", "last")


@dataclass(frozen=True, repr=False)
class Compose(Augmentation, saved=False):
    """Several transforms, one after the other, in one pass over the image.

    Parameters
    ----------
    parts
        At most 16 transforms, as objects or specs. After an `Elastic` only a `Cutout` may follow, and after a `Cutout`
        only others.
    channels
        "last" for (H, W, C), "first" for (C, H, W). By default (None), what a `Compose` among the parts says. Failing
        that, the first or last dimension, if exactly one of them is 1, 3 or 4.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

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
        _check_order(parts)
        count = sum(len(part.transforms) for part in parts)
        if count > MAX_TRANSFORMS:
            raise ValueError(f"parts: got {count} transforms, expected at most {MAX_TRANSFORMS}")
        channels = self.channels
        if channels is not None:
            checking.choice("channels", channels, CHANNELS)
        for part in parts:  # all of them see the same image
            if channels and part.channels and part.channels != channels:
                raise ValueError(f"channels: got {channels!r} with {part.channels!r} in a part, expected the same")
            channels = channels or part.channels
        self._set(parts=parts, channels=channels)

    @property
    def transforms(self):
        return tuple(transform for part in self.parts for transform in part.transforms)

    @property
    def elastic(self):
        return next((part.elastic for part in self.parts if part.elastic), None)


def _check_order(parts: tuple[Augmentation, ...]) -> None:
    """Refuses what would not be done in the order given: a displacement or a cutout before another transform."""
    before = ""
    for part in parts:
        kinds = [transform.kind for transform in part.transforms]
        moves, cuts = any(kind != "cutout" for kind in kinds), "cutout" in kinds
        if before and (moves or part.elastic):
            raise ValueError(f"parts: got {before} before another transform, expected {before} last")
        before = "Cutout" if cuts else "Elastic" if part.elastic else before


KINDS = (Rotate, Translate, Resize, Crop, Shear, Flip, Elastic, Cutout, Compose)
BY_NAME = {kind.__name__.lower(): kind for kind in KINDS}


def get(name: str, value) -> Augmentation:
    """The argument `name`: an augmentation, or a spec of one."""
    if isinstance(value, str):
        return specs.make(name, value, BY_NAME)
    if not isinstance(value, Augmentation):
        text = "expected an object of fastreg.data.augment such as Rotate(15) or Compose([...])"
        raise TypeError(f"{name}: got {checking.shown(value)}, {text}")
    return value
