"""Windows on images in NumPy: unfolding, products and pools, the formulas of the ops in `program/images.py`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastreg.program.images import Window


def framed(x: np.ndarray, window: Window, border: float = 0.0) -> np.ndarray:
    """The images (M, height, width, channels), with a border on all sides up to the ends of the windows."""
    (height, width, channels), M = window.image, len(x)
    high, wide = (
        max(before + side, (n - 1) * step + k)
        for before, side, n, step, k in zip(
            window.before, (height, width), window.places, window.strides, window.size, strict=True
        )
    )
    top, left = window.before
    frame = np.full((M, high, wide, channels), border, x.dtype)
    frame[:, top : top + height, left : left + width] = x.reshape(M, height, width, channels)
    return frame


def views(frame: np.ndarray, window: Window) -> np.ndarray:
    """A view (M, down, across, height, width, channels) of what the windows cover."""
    step_down, step_right = window.strides
    seen = np.lib.stride_tricks.sliding_window_view(frame, window.size, axis=(1, 2), writeable=True)
    return seen[:, ::step_down, ::step_right][:, : window.places[0], : window.places[1]].transpose(0, 1, 2, 4, 5, 3)


def unfolded(x: np.ndarray, window: Window) -> np.ndarray:
    """The values of all windows of all images, one window a row."""
    return views(framed(x, window), window).reshape(-1, window.values)


def folded(values: np.ndarray, window: Window, M: int) -> np.ndarray:
    """The sum over all windows of what lies at each place of an image: the way back through `unfolded`."""
    (height, width, channels), (top, left) = window.image, window.before
    frame = framed(np.zeros((M, height * width * channels), values.dtype), window)
    to = views(frame, window)
    parts = values.reshape(to.shape)
    for r in range(window.size[0]):
        for q in range(window.size[1]):
            to[:, :, :, r, q] += parts[:, :, :, r, q]
    return frame[:, top : top + height, left : left + width].reshape(M, -1)


def conv(x: np.ndarray, weight: np.ndarray, window: Window) -> np.ndarray:
    """The products of all windows with the weight: images (M, windows * units)."""
    return (unfolded(x, window) @ weight).reshape(len(x), -1)


def flip(weight: np.ndarray, window: Window) -> np.ndarray:
    """The weight with the places of the window the other way round, and units and channels exchanged."""
    places, channels = window.size[0] * window.size[1], window.image[2]
    return weight.reshape(places, channels, -1)[::-1].transpose(0, 2, 1).reshape(-1, channels)


def unflip(weight: np.ndarray, window: Window) -> np.ndarray:
    """The weight of which `flip` makes this."""
    places, channels = window.size[0] * window.size[1], window.image[2]
    return weight.reshape(places, -1, channels)[::-1].transpose(0, 2, 1).reshape(places * channels, -1)


def conv_dx(dz: np.ndarray, weight: np.ndarray, window: Window) -> np.ndarray:
    """The gradient at x, given that at the products."""
    values = dz.reshape(-1, weight.shape[1]) @ weight.T
    return folded(values, window, len(dz))


def conv_dw(x: np.ndarray, dz: np.ndarray, window: Window) -> np.ndarray:
    """The gradient of the weight."""
    return unfolded(x, window).T @ dz.reshape(len(x) * window.count, -1)


def covered(window: Window) -> np.ndarray:
    """The number of pixels of the image in each window (down, across)."""
    plain = replace(window, image=(*window.image[:2], 1))
    ones = np.ones((1, window.image[0] * window.image[1]))
    return views(framed(ones, plain), plain).sum(axis=(0, 3, 4, 5))


def pool(x: np.ndarray, window: Window, kind: str) -> np.ndarray:
    """The maximum or the mean of each channel of each window. The border counts in neither."""
    if kind == "maximum":
        return views(framed(x, window, -np.inf), window).max(axis=(3, 4)).reshape(len(x), -1)
    sums = views(framed(x, window), window).sum(axis=(3, 4))
    return (sums / covered(window)[:, :, np.newaxis].astype(x.dtype)).reshape(len(x), -1)


def pool_dx(x: np.ndarray, dz: np.ndarray, window: Window, kind: str) -> np.ndarray:
    """The gradient at x, given that at the windows. A maximum gives it to its first place in the window."""
    M, (down, across), channels = len(x), window.places, window.image[2]
    dz = dz.reshape(M, down, across, 1, channels)
    size = window.size[0] * window.size[1]
    if kind == "maximum":
        seen = views(framed(x, window, -np.inf), window).reshape(M, down, across, size, channels)
        shares = np.arange(size)[:, np.newaxis] == seen.argmax(axis=3)[:, :, :, np.newaxis]
    else:
        shares = (1 / covered(window)).astype(x.dtype)[:, :, np.newaxis, np.newaxis]
    return folded(np.broadcast_to(dz * shares, (M, down, across, size, channels)), window, M)
