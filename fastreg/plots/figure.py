"""What all plots share: the figure, its colours, its axes, and how it is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg.common import checking
from fastreg.common.fileio import PathLike, atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito's palette, which colour-blind people can tell apart.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, GRID, EDGE = "#333333", "#dddddd", "#999999"


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """An empty figure, `width` by `height` inches, with a title above it."""
    title = None if title is None else checking.text("title", title)
    try:
        from matplotlib.figure import Figure  # without pyplot, which would look for a display
    except ImportError:
        raise ImportError('pictures need matplotlib, which is missing: pip install "fastreg[plot]"') from None
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


def legend_below(figure: Figure, axes: Axes, side: str = "center", columns: int | None = None) -> None:
    """Puts the legend of the axes below the plot. Its texts are drawn as they are: a dollar sign begins no formula."""
    handles, labels = axes.get_legend_handles_labels()
    place: Any = f"outside lower {side}"
    legend = figure.legend(handles, labels, loc=place, ncols=columns or len(labels), frameon=False, fontsize=10)
    for text in legend.get_texts():
        text.set_parse_math(False)


def saved(figure: Figure, path: PathLike | None) -> Figure:
    """The figure, after it was saved as PNG if there is a path."""
    if path is not None:
        with atomic_write(path) as file:
            figure.savefig(file, format="png")
    return figure
