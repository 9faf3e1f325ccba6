"""Riders, which ops carry along: masks, noise, penalties, augmentation, attacks, the way back through an activation.

They are plain descriptions, like the ops, and compute nothing. The streams of their random draws are here too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

# Purposes of random numbers: the high half of the fourth word of the Philox counter. The low half is the index of the
# layer that draws. The words of the counter are column / 8, row, global step, purpose and layer.
PURPOSE_DROPOUT = 0
PURPOSE_INIT = 1
PURPOSE_SHUFFLE = 2
PURPOSE_NOISE = 3
PURPOSE_AUGMENT = 4  # it has other counters: see Augment
PURPOSE_WEIGHT_NOISE = 5
PURPOSE_BOOTSTRAP = 8
PURPOSE_MIXUP = 9  # it has other counters: see Mix


def stream(purpose: int, layer: int) -> int:
    """The fourth word of the Philox counter."""
    return purpose << 16 | layer


ALL_ROWS = 2**32 - 1  # as a group: what the engines count


@dataclass(frozen=True)
class Mask:
    """The factors of dropout: `scale` if an element's 16-bit draw is below `threshold`, else 0.

    The draw of (row, column) in a global step is a pure function of the seed and these coordinates. So a mask is never
    stored: the backward pass draws it again.

    kind       "inverted": the scale is 1 / keep_prob, with keep_prob as rounded for the draws. "standard": the scale is
               1. "expected": the scale is keep_prob, and nothing is drawn. "gaussian": the factor is 1 + std n, with
               normal draws n and the variance of the inverted mask, std^2 = (1 - keep_prob) / keep_prob
    group      how many rows in order share their draws: group g has those of row g. 0: each row has its own
    """

    keep_prob: float
    stream: int
    kind: Literal["inverted", "standard", "expected", "gaussian"] = "inverted"
    group: int = 0

    @property
    def threshold(self) -> int:
        return round(self.keep_prob * 65536) if self.kind in ("inverted", "standard") else 65536

    @property
    def scale(self) -> float:
        if self.kind == "inverted":
            return 65536 / self.threshold if self.threshold else 0.0
        return round(self.keep_prob * 65536) / 65536 if self.kind == "expected" else 1.0

    @property
    def drops_units(self) -> bool:
        """Whether it drops elements in all rows of a group alike."""
        return self.group > 1 and self.threshold < 65536

    @property
    def std(self) -> float:
        return math.sqrt((1 - self.keep_prob) / self.keep_prob) if self.kind == "gaussian" else 0.0


@dataclass(frozen=True)
class Noise:
    """Additive normal noise: x + std * n, with the n of (row, column) in a global step from the normal draws."""

    std: float
    stream: int


@dataclass(frozen=True)
class Penalty:
    """What a parameter costs in the objective, l1 |W|_1 + l2/2 |W|^2, which adds l1 sign(W) + l2 W to its gradient.

    l1, l2     coefficients, divided by the rows of the step where `l1_per_row`, `l2_per_row` say so, or by the sum of
               their weights in the first head where `l1_per_weight`, `l2_per_weight` do
    proximal   L1 is a soft threshold after the step, and no part of the gradient
    """

    l1: float = 0.0
    l2: float = 0.0
    l1_per_row: bool = False
    l2_per_row: bool = False
    proximal: bool = True
    l1_per_weight: bool = False
    l2_per_weight: bool = False

    def __bool__(self) -> bool:
        return bool(self.l1 or self.l2)

    def at(self, rows: int, weight: float = 0.0) -> tuple[float, float]:
        """The coefficients of L1 and L2 in a step. `weight` is the total weight of its rows; 0 if they have none."""
        weight = weight if weight > 0 else rows
        l1 = self.l1 / (rows if self.l1_per_row else weight if self.l1_per_weight else 1)
        return l1, self.l2 / (rows if self.l2_per_row else weight if self.l2_per_weight else 1)

    @property
    def in_gradient(self) -> Penalty:
        """The same, L1 by its subgradient."""
        return replace(self, proximal=False)

    @property
    def after_gradient(self) -> Penalty:
        """What is left for the step where the rest is in the gradient already."""
        return replace(self, l1=self.l1 if self.proximal else 0.0, l2=0.0)


NO_PENALTY = Penalty()


@dataclass(frozen=True)
class Transform:
    """A random affine transform of an image, by an amount between `low` and `high`. A flip has the probability `low`.

    kind   "rotate" and "shear" (degrees), "translate" (of the sides), "resize" and "crop" (factors), "flip_horizontal",
           "flip_vertical". Or "cutout": a square of `high` pixels a side is set to 0, with the probability `low`
    """

    kind: str
    low: float
    high: float


MAX_TRANSFORMS = 16  # FR_MAX_TRANSFORMS of csrc/fastreg.h


@dataclass(frozen=True)
class Displacement:
    """A random displacement of every pixel: uniform draws in (-1, 1), smoothed by a Gaussian of `sigma` pixels, times
    `alpha` (Simard et al., 2003)."""

    alpha: float
    sigma: float

    @property
    def weights(self) -> np.ndarray:
        """The Gaussian, cut off at four sigma, with sum 1."""
        x = np.arange(-int(4 * self.sigma + 0.5), int(4 * self.sigma + 0.5) + 1)
        gaussian = np.exp(-0.5 * (x / self.sigma) ** 2)
        return gaussian / gaussian.sum()


@dataclass(frozen=True)
class Augment:
    """Random transforms one after the other, then a displacement, all in one pass of bilinear resampling. Outside is 0.
    Cutouts are the last of the transforms, and come after the displacement.

    The draws of an image are a pure function of the seed, the epoch and the image's position in the epoch. Transform
    number i uses the four words of the counter (i, position, epoch, stream). The pixel at (y, x) is displaced down by
    the draw at row `position` and column y width + x of (epoch, stream + 1), and to the right by the draw there of
    (epoch, stream + 2).

    layout   planes, height, width, interleaved channels: how the columns of a row make an image
    """

    transforms: tuple[Transform, ...]
    elastic: Displacement | None
    layout: tuple[int, int, int, int]
    stream: int = PURPOSE_AUGMENT << 16

    @property
    def resamples(self) -> bool:
        """Whether there is more to do than to cut out."""
        return self.elastic is not None or any(transform.kind != "cutout" for transform in self.transforms)


@dataclass(frozen=True)
class Mix:
    """Mixes each row of a batch of M with another: share x_i + (1 - share) x_j with j = (i + shift) mod M, and targets
    likewise (Zhang et al., 2018).

    One share and one shift hold for a batch, for all its inputs and heads: a share from the distribution Beta(alpha,
    alpha), and a shift from 1 to M - 1. Both are a pure function of the seed and the global step. A batch of one row
    stays as it is.
    """

    alpha: float
    stream: int = PURPOSE_MIXUP << 16


@dataclass(frozen=True)
class Attack:
    """Adds a perturbed copy of each row x of a batch: clip(x + epsilon sign(dl/dx), low, high).

    clean   the share of the unperturbed rows in the loss. The perturbed rows have the rest
    """

    epsilon: float
    low: float = -math.inf
    high: float = math.inf
    clean: float = 0.5

    @property
    def clips(self) -> bool:
        """Whether there are limits."""
        return self.low > -math.inf or self.high < math.inf


@dataclass(frozen=True)
class Terms:
    """How the outputs of a row count in its loss: l = sum over j of weights_j l_j / N, for N outputs.

    weights    one number of at least 0 for each output, of softmax_focal the alpha_j of each class. None for 1
    positive   q_j for each output, of losses of yes or no: what a yes costs is multiplied by it. None for 1
    units      factors of the l_j in the value of the loss alone: its gradient does not have them. None for 1
    holes      whether NaN among the targets, or a label below 0, stands for no target. Then sum and N are those of the
               targets that are there. A row without any has loss and gradient 0, and should have weight 0
    shape      the number in the formula of the loss: delta of huber, q of quantile, gamma of a focal loss, power
               of a hinge
    """

    weights: tuple[float, ...] | None = None
    positive: tuple[float, ...] | None = None
    units: tuple[float, ...] | None = None
    holes: bool = False
    shape: float = 0.0


PLAIN = Terms()


@dataclass(frozen=True)
class Through:
    """The way back through the layer that made `y`: dz = dy * m * activation'(y / m), with m from the mask.

    `y` is the stored output (after dropout). `z` is the stored pre-activation, for activations whose derivative does
    not follow from the output. An activity penalty first adds its own gradient at y to dy:
    activity_l1 * w_i / sum(w) * sign(y) in row i. With several heads, all w_i are 1 here: it belongs to none of them.
    """

    y: str
    activation: str = "linear"
    mask: Mask | None = None
    z: str | None = None
    activity_l1: float = 0.0

    @property
    def reads(self) -> set[str]:
        return {self.y} | ({self.z} if self.z else set())


PANEL = 64  # FR_PANEL of csrc/fastreg.h
