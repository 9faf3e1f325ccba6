"""What all plots share: the figure, its colours, its axes, how it is saved, and how a notebook shows it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.common import checking
from fastreg.common.attributes import Suggesting
from fastreg.common.fileio import PathLike, atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito's palette, which colour-blind people can tell apart.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PINK, SKY = "#CC79A7", "#56B4E9"
COLORS = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY)
MARKERS = "o^sDvP"  # with the colours they tell classes apart in grey, too
INK, GRID, EDGE = "#333333", "#dddddd", "#999999"
SIGNED = "RdBu_r"  # the colour map of values around 0
MISSING = 'pictures need matplotlib, which is missing: pip install "fastreg[plot]"'


class Display(Suggesting):
    """Base of what the functions here return, as scikit-learn's displays are: `plot(ax=)` draws it once more.

    ax_       the axes that were drawn on last
    figure_   their figure
    """

    ax_: Axes
    figure_: Figure

    def _begin(self, ax: Axes | None, width: float, height: float) -> Axes:
        """The axes to draw on: those given, or those of a new figure."""
        self.ax_ = _axes(ax) if ax is not None else own_figure(width, height).subplots()
        self.figure_ = self.ax_.figure  # type: ignore[assignment]
        return self.ax_

    def __repr__(self) -> str:
        axes = self.__dict__.get("ax_")
        if axes is None:
            return f"{type(self).__name__} that is not drawn"
        title = axes.get_title() or f"{axes.get_ylabel()} over {axes.get_xlabel()}"
        return f"{type(self).__name__}: {', '.join(title.splitlines())}"

    def _repr_png_(self) -> bytes | None:
        """The picture in a notebook. A figure of pyplot's is shown by that."""
        figure: Any = self.__dict__.get("figure_")
        if not hasattr(figure, "savefig") or hasattr(figure, "number"):  # none, a part of one, or pyplot's
            return None
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return file.getvalue()


def _axes(ax: Any) -> Axes:
    if not hasattr(ax, "inset_axes"):
        raise TypeError(f"ax: got {checking.shown(ax)}, expected axes of matplotlib or None")
    return ax


def own_figure(width: float, height: float) -> Figure:
    """A figure for a picture that was given no axes. It is one of pyplot's if that is loaded, so that `plt.show()`
    shows it."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return new_figure(width, height)
    return pyplot.figure(figsize=(width, height), layout="constrained", facecolor="white")


def label(axes: Axes, x: str, y: str, title: str = "", grid: str = "both", legend: bool = True) -> None:
    """Names the axes, with units, and gives them their plain look. A legend appears where curves have names, unless it
    comes later."""
    plain(axes, grid)
    axes.set_xlabel(x, fontsize=10, color=INK, parse_math=False)
    axes.set_ylabel(y, fontsize=10, color=INK, parse_math=False)
    if title:
        axes.set_title(title, fontsize=11, color=INK, parse_math=False)
    if legend and axes.get_legend_handles_labels()[1]:
        for text in axes.legend(framealpha=0.8, edgecolor="none", fontsize=9).get_texts():
            text.set_parse_math(False)


def ramp(count: int) -> list:
    """`count` colours from dark to light, for an ordered series."""
    from matplotlib import colormaps

    return [colormaps["viridis"](share) for share in np.linspace(0.0, 0.9, count)]


def cells(axes: Axes, rows: int, columns: int, heading: float = 0.0) -> Iterator[Axes]:
    """Small axes in a grid on others, row by row, of which nothing else stays visible. `heading` is the share of each
    that is left free above it, for a text."""
    axes.set_axis_off()
    width, height = 1 / columns, 1 / rows
    for place in range(rows * columns):
        left, bottom = place % columns * width, 1 - (place // columns + 1) * height
        cell = axes.inset_axes((left + 0.04 * width, bottom, 0.92 * width, (0.94 - heading) * height))
        cell.set_xticks([])
        cell.set_yticks([])
        for spine in cell.spines.values():
            spine.set_color(EDGE)
            spine.set_linewidth(0.5)
        yield cell


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """An empty figure, `width` by `height` inches, with a title above it."""
    title = None if title is None else checking.text("title", title)
    try:
        from matplotlib.figure import Figure  # without pyplot, which would look for a display
    except ImportError:
        raise ImportError(MISSING) from None
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    if title:
        figure.suptitle(title, fontsize=13, color=INK, parse_math=False)
    return figure


def plain(axes: Axes, grid: str = "both") -> None:
    """Gives the axes their colours, and a grid along "x", "y" or "both"."""
    axes.grid(color=GRID, linewidth=0.6, axis=grid)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(EDGE)


def legend_below(
    figure: Figure, axes: Axes | Iterable[Axes], side: str = "center", columns: int | None = None, size: int = 10
) -> None:
    """Puts the legend of the axes below the plot, each name once. Its texts are drawn as they are: a dollar sign begins
    no formula."""
    every = list(np.ravel(np.asarray(axes, object)))
    named = {name: handle for one in every for handle, name in zip(*one.get_legend_handles_labels(), strict=True)}
    place: Any = f"outside lower {side}"
    style: Any = {"ncols": columns or len(named), "frameon": False, "fontsize": size}
    legend = figure.legend(list(named.values()), list(named), loc=place, **style)
    for text in legend.get_texts():
        text.set_parse_math(False)


def saved(figure: Figure, path: PathLike | None) -> Figure:
    """The figure, after it was saved as PNG if there is a path."""
    if path is not None:
        with atomic_write(path) as file:
            figure.savefig(file, format="png")
    return figure
