"""`filters`: the weights of a layer as images, of the windows of a `Conv2D` or of the units of a `Dense`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.layers import Conv2D, Dense
from fastreg.model.model import Model
from fastreg.plots.figure import INK, SIGNED, Display, cells
from fastreg.plots.trained import inside, refusal

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class FiltersDisplay(Display):
    """The weights of a layer as images. `fastreg.plots.filters` makes it.

    Parameters
    ----------
    filters : ndarray
        (k, height, width), or (k, height, width, 3) in colours.
    title
        What they are.

    Attributes
    ----------
    images_ :
        What was drawn.
    ax_, figure_ :
        Where.

    Examples
    --------
    >>> import fastreg as fr
    >>> model = fr.Sequential([fr.Conv2D(6, 3), fr.Flatten(), fr.Dense(2)])
    >>> model.build((8, 8))
    >>> fr.plots.FiltersDisplay.from_estimator(model).filters.shape
    (6, 3, 3)
    """

    def __init__(self, filters: np.ndarray, title: str = ""):
        self.filters, self.title = np.asarray(filters), checking.text("title", title)

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        layer: str | int | None = None,
        *,
        count: int = 64,
        image_shape: tuple[int, ...] | None = None,
        channel: int | None = None,
        ax: Axes | None = None,
    ) -> FiltersDisplay:
        """See `fastreg.plots.filters`."""
        count = checking.integer("count", count, 1, 1024)
        name, weight, shape = _weight(model, layer)
        shape = shape if image_shape is None else checking.sample_shape(image_shape)
        if shape is None or len(shape) not in (2, 3) or math.prod(shape) != len(weight):
            raise ValueError(
                f"image_shape: got {image_shape} for units of {len(weight)} inputs, expected (height, width) or "
                "(height, width, channels) of as many values"
            )
        images = weight.T.reshape(weight.shape[1], *shape)
        what = f"weights of layer {name}" if name else "weights"
        if images.ndim == 4 and (channel is not None or images.shape[3] == 1):
            place = 0 if channel is None else checking.integer("channel", channel, 0, images.shape[3] - 1)
            what += f", channel {place}" if images.shape[3] > 1 else ""
            images = images[..., place]
        elif images.ndim == 4 and images.shape[3] != 3:
            what += f", mean of {images.shape[3]} channels"
            images = images.mean(axis=3)
        if len(images) > count:
            what += f": {count} of {len(images)}"
        return cls(images[:count], what).plot(ax)

    def plot(self, ax: Axes | None = None) -> FiltersDisplay:
        """Draws it, on axes or on a new figure. Each image has its own scale."""
        across = math.ceil(math.sqrt(len(self.filters) * 1.6))
        down = math.ceil(len(self.filters) / across)
        axes = self._begin(ax, max(3.6, 0.75 * across), 0.7 + 0.8 * down)
        self.images_: list[Any] = []
        for place, cell in enumerate(cells(axes, down, across)):
            if place >= len(self.filters):
                cell.set_axis_off()
                continue
            own = self.filters[place]
            reach = float(np.abs(own).max()) or 1.0
            if own.ndim == 3:
                self.images_.append(cell.imshow(0.5 + own / (2 * reach)))
            else:
                self.images_.append(cell.imshow(own, cmap=SIGNED, vmin=-reach, vmax=reach))
        how = "grey is 0" if self.filters.ndim == 4 else "red above 0, blue below"
        axes.set_title(f"{self.title}\n{how}".strip(), fontsize=9, color=INK, parse_math=False)
        return self


def _weight(model: Any, layer: str | int | None) -> tuple[str, np.ndarray, tuple[int, ...] | None]:
    """The name of a layer, its weight (inputs, units), and the shape of what a unit sees if it is known."""
    model = inside(getattr(model, "model", model))
    if not isinstance(model, Model):
        if hasattr(model, "coefs_") and not isinstance(model, type):  # an estimator
            place = 0 if layer is None else checking.integer("layer", layer, 0, len(model.coefs_) - 1)
            return str(place), np.asarray(model.coefs_[place]), None
        raise refusal("model", model, "a model, a trainer or an estimator")
    if layer is None:
        own = [one for one in model.layers if isinstance(one, (Conv2D, Dense)) and _has(model, one)]
        if not own:
            raise ValueError("model: got one without a Conv2D and a Dense, expected a layer with a weight")
        found = own[0]
    else:
        found = _layer(model, layer)
        if not isinstance(found, (Conv2D, Dense)) or not _has(model, found):
            raise ValueError(f"layer: got {found!r}, expected a Conv2D or a Dense with a weight of its own")
    weight = np.asarray(model.parameters[f"{found.name}.weight"])
    before, _ = model.layer_shapes(model.known_shape)[[one is found for one in model.layers].index(True)]
    if isinstance(found, Conv2D):
        window = found.window(before)
        size = found.kernel_size if isinstance(found.kernel_size, tuple) else (found.kernel_size,) * 2
        return str(found.name), weight, (*size, window.image[2])
    return str(found.name), weight, _image_of(model, before)


def _layer(model: Model, index: str | int) -> Any:
    try:
        return model.layers[index]
    except (LookupError, TypeError):
        names = [str(one.name) for one in model.layers]
        expected = f"one of {', '.join(names)}, or a place below {len(names)}{checking.nearest(index, names)}"
        raise ValueError(f"layer: got {checking.shown(index)}, expected {expected}") from None


def _has(model: Model, layer: Any) -> bool:
    return f"{layer.name}.weight" in model.parameters


def _image_of(model: Model, before: tuple[int, ...]) -> tuple[int, ...] | None:
    """The image that a Dense sees: that of the samples, or a square of as many values."""
    shape = model.input_shape
    if isinstance(shape, tuple) and len(shape) in (2, 3) and math.prod(shape) == before[0]:
        return shape
    side = math.isqrt(before[0])
    return (side, side) if side * side == before[0] else None


@understood
def filters(
    model: Any,
    layer: str | int | None = None,
    *,
    count: int = 64,
    image_shape: tuple[int, ...] | None = None,
    channel: int | None = None,
    ax: Axes | None = None,
) -> FiltersDisplay:
    """Draw the weights of a layer as images: of a `Conv2D` its filters, of a `Dense` what each unit looks for.

    Each image has its own scale, from its largest distance from 0. Three channels are drawn as red, green and blue.

    Parameters
    ----------
    model : Model, Trainer or estimator
        Whose weights.
    layer : str or int, optional
        The name or the index of the layer. By default the first with a weight.
    count : int
        At most so many filters are drawn.
    image_shape : tuple of int, optional
        The shape of what a unit of a `Dense` sees. By default that of the samples, or a square.
    channel : int, optional
        The channel to draw. By default the mean of all, unless there are 1 or 3.
    ax : matplotlib axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    FiltersDisplay
        What was drawn, with `ax_` and `figure_`; `filters` are the images.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above, or the layer has no weight that is an image.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import fastreg as fr
    >>> model = fr.Sequential([fr.Dense(16), fr.Dense(10)])
    >>> model.build(64)
    >>> fr.plots.filters(model).filters.shape
    (16, 8, 8)
    """
    return FiltersDisplay.from_estimator(model, layer, count=count, image_shape=image_shape, channel=channel, ax=ax)
