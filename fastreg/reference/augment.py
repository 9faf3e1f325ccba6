"""The specification of augmentation, in NumPy: random affine maps, displacement fields, resampling, cutouts."""

from __future__ import annotations

import numpy as np

from fastreg.program.riders import Augment, Displacement, Transform
from fastreg.reference import functions as R


def augmented(rows: np.ndarray, augment: Augment, seed: int, epoch: int, position: int) -> np.ndarray:
    """The images of these rows, augmented as those at `position`, `position` + 1, ... of the epoch. Keeps the dtype."""
    planes, H, W, channels = augment.layout
    out = np.empty_like(rows)
    y, x = np.mgrid[0:H, 0:W].astype(np.float64)
    for number, row in enumerate(rows):
        key = R.Key(seed, epoch & R.WORD, augment.stream, position + number)
        matrix, offset = affine_map(augment.transforms, H, W, key)
        dy, dx = displacements(augment.elastic, H, W, key) if augment.elastic else (0.0, 0.0)
        source = np.tensordot(matrix, np.stack([y + dy, x + dx]), axes=1) + offset[:, None, None]
        image = row.reshape(planes, H, W, channels).astype(np.float64)
        view = bilinear(image, *source)
        for height, width in cutouts(augment.transforms, H, W, key):
            view[:, height, width] = 0
        out[number] = view.reshape(-1)
    return out


def affine_map(transforms: tuple[Transform, ...], H: int, W: int, key: R.Key) -> tuple[np.ndarray, np.ndarray]:
    """(matrix, offset): the pixel at p = (y, x) comes from the stored image at matrix @ p + offset.

    Transforms map positions relative to the centre. The last one is inverted first.
    """
    product = np.eye(3)
    for number, transform in enumerate(transforms):
        u = [(word + 0.5) / 2**32 for word in words_of(number, key)]
        product = product @ inverse(transform, u, H, W)
    matrix, centre = product[:2, :2], np.array([(H - 1) / 2, (W - 1) / 2])
    return matrix, product[:2, 2] + centre - matrix @ centre


def words_of(number: int, key: R.Key) -> list[int]:
    """The four draws of 32 bits of the transform with this number."""
    words = R.philox((number, key.row & R.WORD, key.step, key.stream), (key.seed & R.WORD, key.seed >> 32))
    return [int(word) for word in words]


def cutouts(transforms: tuple[Transform, ...], H: int, W: int, key: R.Key) -> list[tuple[slice, slice]]:
    """The rows and columns of each square that is set to 0. Its middle is any pixel, so it may hang over the border."""
    found = []
    for number, transform in enumerate(transforms):
        words, size = words_of(number, key), int(transform.high)
        if transform.kind == "cutout" and (words[0] + 0.5) / 2**32 < transform.low:
            y, x = (words[1] * H >> 32) - size // 2, (words[2] * W >> 32) - size // 2
            found.append((slice(max(y, 0), max(y + size, 0)), slice(max(x, 0), max(x + size, 0))))
    return found


def inverse(transform: Transform, u: list[float], H: int, W: int) -> np.ndarray:
    """The map from positions (y, x, 1) after a transform to those before it. u are uniform draws in (0, 1)."""
    low, high = transform.low, transform.high
    amount = low + (high - low) * u[0]
    map = np.eye(3)
    match transform.kind:
        case "rotate":  # counterclockwise; y points down
            sine, cosine = np.sin(np.deg2rad(amount)), np.cos(np.deg2rad(amount))
            map[:2, :2] = [[cosine, sine], [-sine, cosine]]
        case "translate":  # down, to the right
            map[:2, 2] = -amount * H, -(low + (high - low) * u[1]) * W
        case "resize":
            map[0, 0] = map[1, 1] = 1 / amount
        case "crop":  # the centre of the window is drawn so that the window lies inside the image
            map[0, 0] = map[1, 1] = amount
            map[:2, 2] = (1 - amount) * H * (u[1] - 0.5), (1 - amount) * W * (u[2] - 0.5)
        case "shear":  # the top to the right
            map[1, 0] = np.tan(np.deg2rad(amount))
        case "cutout":
            pass
        case "flip_horizontal":
            map[1, 1] = -1 if u[0] < low else 1
        case "flip_vertical":
            map[0, 0] = -1 if u[0] < low else 1
        case kind:
            raise ValueError(f"transform.kind: got {kind!r}")
    return map


def displacements(elastic: Displacement, H: int, W: int, key: R.Key) -> list[np.ndarray]:
    """Two fields (H, W) in pixels: down and to the right. Outside the image the draws count as 0."""
    weights, fields = elastic.weights, []
    for number in (1, 2):
        draws = R.draws(key._replace(stream=key.stream + number), 1, H * W).reshape(H, W)
        field = (2.0 * draws - 65535) / 65536
        for axis in (1, 0):
            field = np.apply_along_axis(_smoothed, axis, field, weights)
        fields.append(elastic.alpha * field)
    return fields


def _smoothed(line: np.ndarray, weights: np.ndarray) -> np.ndarray:
    radius = len(weights) // 2
    return np.convolve(line, weights)[radius : radius + len(line)]


def bilinear(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`image` (planes, H, W, channels) at positions (H, W), interpolated from four pixels. Pixels outside are 0."""
    H, W = image.shape[1:3]
    bordered = np.pad(image, ((0, 0), (1, 2), (1, 2), (0, 0)))
    y, x = np.clip(y, -1, H), np.clip(x, -1, W)
    row, column = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = (y - row)[..., None], (x - column)[..., None]
    a, b, c, d = (bordered[:, row + 1 + i, column + 1 + j] for i in (0, 1) for j in (0, 1))
    return (a * (1 - fx) + b * fx) * (1 - fy) + (c * (1 - fx) + d * fx) * fy
