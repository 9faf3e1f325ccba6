"""`plot_history`: the learning curves of trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastreg.callbacks.history import History
from fastreg.common import checking
from fastreg.common.fileio import PathLike
from fastreg.common.understood import understood
from fastreg.plots.figure import BLUE, INK, VERMILION, legend_below, new_figure, plain, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TRAINING, HELD_BACK = BLUE, VERMILION  # in grey, dashes tell them apart
VALUES = ("loss", "accuracy")
LOG_RANGE = 30.0  # of largest to smallest value; from here on a linear axis hides the small ones


@understood
def plot_history(
    histories: Mapping[str, History],
    path: PathLike | None = None,
    title: str | None = None,
    validation: str = "validation",
) -> Figure:
    """Draw the learning curves of one or more runs, side by side on shared axes.

    The upper row shows the loss, the lower row the accuracy if there is one. The best value on the validation data is
    marked. Curves of the training set are means over each epoch, taken during training, so with dropout on. Texts are
    drawn as they are: a dollar sign does not begin a formula.

    Parameters
    ----------
    histories : mapping of str to History
        The results of `Trainer.fit`, by the name of the run.
    path : str or path, optional
        Where to save the plot, as PNG.
    title : str, optional
        A title above the plot.
    validation : str
        The name of the validation data.

    Returns
    -------
    matplotlib.figure.Figure
        The plot, for `savefig` or a notebook.

    Raises
    ------
    ValueError, TypeError
        There are no histories, one has no epochs, none has a loss or an accuracy, or an argument is not as
        described above.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> from fastreg.callbacks.history import History
    >>> history = History()
    >>> for epoch in range(3):
    ...     history.append(epoch, {"loss": 1 / (epoch + 1), "val_loss": 1.1 / (epoch + 1)})
    >>> figure = plot_history({"plain": history})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss']
    """
    if not isinstance(histories, Mapping) or not all(isinstance(history, History) for history in histories.values()):
        raise TypeError(f"histories: got {checking.shown(histories)}, expected a mapping of names to what fit returned")
    if not histories or not all(history.epochs for history in histories.values()):
        raise ValueError("histories: got none, or one without epochs, expected at least one run of at least one epoch")
    for name in histories:
        checking.text("histories: the name of a run", name)
    values = [name for name in VALUES if any(_curves(name) & set(history) for history in histories.values())]
    if not values:
        got = sorted({name for history in histories.values() for name in history})
        raise ValueError(f"histories: got curves of {checking.shown(got)}, expected loss or accuracy among them")
    validation = checking.text("validation", validation)
    path = None if path is None else checking.path("path", path)
    figure = new_figure(1.2 + 4.0 * len(histories), 0.9 + 2.7 * len(values), title)
    grid = figure.subplots(len(values), len(histories), sharex="col", sharey="row", squeeze=False)
    for row, value in zip(grid, values, strict=True):
        for axes, (name, history) in zip(row, histories.items(), strict=True):
            _draw(axes, history, value, validation)
            if value == values[0]:
                axes.set_title(name, fontsize=11, color=INK, parse_math=False)
            if value == values[-1]:
                axes.set_xlabel("epoch", color=INK)
        row[0].set_ylabel(value, color=INK)
        _scale(row[0], value, [line.get_ydata() for axes in row for line in axes.lines])
    legend_below(figure, grid[0][0])
    return saved(figure, path)


def _curves(value: str) -> set[str]:
    """The names of the curves in a history that are drawn for `value`."""
    return {value, f"val_{value}"}


def _draw(axes: Axes, history: History, value: str, validation: str) -> None:
    epochs = [epoch + 1 for epoch in history.epochs]
    marker = "o" if len(epochs) == 1 else ""
    common: dict[str, Any] = {"linewidth": 1.8, "marker": marker}
    if value in history:
        axes.plot(
            epochs,
            history[value],
            color=TRAINING,
            linestyle=(0, (4, 1.5)),
            label="training, as it went (dropout on)",
            **common,
        )
    if f"val_{value}" in history:
        axes.plot(epochs, history[f"val_{value}"], color=HELD_BACK, label=validation, **common)
        _mark_best(axes, epochs, history[f"val_{value}"], f"{validation} {value}")
    plain(axes)
    axes.locator_params(axis="x", integer=True)


def _mark_best(axes: Axes, epochs: list[int], curve: list[float], name: str) -> None:
    is_loss = name.endswith("loss")
    best = (min if is_loss else max)((number for number in curve if math.isfinite(number)), default=None)
    if best is None:
        return
    epoch = epochs[curve.index(best)]
    axes.plot([epoch], [best], marker="o", markersize=6, color=HELD_BACK, markeredgecolor="white", linestyle="")
    height, corner = (0.97, "top") if is_loss else (0.04, "bottom")  # away from the curves
    text = f"best {name}: {best:.3g} in epoch {epoch}" if is_loss else f"best {name}: {best:.2%} in epoch {epoch}"
    axes.text(
        0.98,
        height,
        text,
        transform=axes.transAxes,
        ha="right",
        va=corner,
        fontsize=9,
        color=HELD_BACK,
        parse_math=False,
    )


def _scale(axes: Axes, value: str, curves: list[Sequence[float]]) -> None:
    """Scales one of the axes of a row; the others share its scale."""
    curves = [[number for number in curve if math.isfinite(number)] for curve in curves]
    numbers = [number for curve in curves for number in curve]
    if value == "accuracy":
        axes.yaxis.set_major_formatter(lambda number, _: f"{100 * number:.4g}%")
        # The first epochs may lie outside the plot: otherwise they would squeeze the rest to its upper edge.
        early = [min(curve[len(curve) // 10 :]) for curve in curves if curve]
        if early:
            low = min(early)
            axes.set_ylim(max(0, low - 0.1 * (1 - low)), 1 + 0.05 * (1 - low) + 1e-3)
    elif numbers and min(numbers) > 0 and max(numbers) / min(numbers) > LOG_RANGE:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda number, _: f"{number:g}")
    elif numbers:
        axes.set_ylim(bottom=0)
