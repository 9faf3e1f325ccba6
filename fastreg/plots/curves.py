"""`history` and `plot_history`: the learning curves of trainings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.callbacks.history import UNJUDGED, History
from fastreg.common import checking
from fastreg.common.fileio import PathLike
from fastreg.common.understood import understood
from fastreg.metrics.registry import largest_is_best, meaning_of
from fastreg.plots.figure import (
    BLUE,
    COLORS,
    INK,
    VERMILION,
    Display,
    label,
    legend_below,
    new_figure,
    own_figure,
    plain,
    saved,
)
from fastreg.plots.trained import inside, refusal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TRAINING, HELD_BACK = BLUE, VERMILION  # in grey, dashes tell them apart
VALUES = ("loss", "accuracy")
LOG_RANGE = 30.0  # of largest to smallest value; from here on a linear axis hides the small ones
DASHES = (0, (4, 1.5))
MEANINGS = {"lr": "learning rate", "seconds": "seconds of an epoch"}  # of columns whose name is short
STYLES = ("-", "-.", ":")  # of several held-back sets of one of several runs
MOST = 4  # values that are drawn if none are named


class HistoryDisplay(Display):
    """Learning curves. `fastreg.plots.history` makes it.

    Parameters
    ----------
    runs : dict
        By the name of each run: its history, or a dict of columns.
    values : sequence of str
        What is drawn: a value for each of the axes. By default the loss and the metrics.

    Attributes
    ----------
    lines_ : dict
        What was drawn: the line of each curve, by the name of its column, of several runs by (run, column).
    axes_ : list
        The axes of each value. `ax_` is the first.
    figure_ :
        Their figure.

    Examples
    --------
    >>> import fastreg as fr
    >>> history = fr.History()
    >>> for epoch in range(3):
    ...     history.append(epoch, {"loss": 1 / (epoch + 1), "val_loss": 1.1 / (epoch + 1)})
    >>> display = fr.plots.HistoryDisplay.from_history(history)
    >>> list(display.lines_)
    ['loss', 'val_loss']
    """

    def __init__(self, runs: Mapping[str, Any], values: str | Iterable[str] | None = None):
        self.runs = {checking.text("runs: a name", name): _columns_of(one) for name, one in runs.items()}
        if not self.runs or not all(len(epochs) for epochs, _ in self.runs.values()):
            raise ValueError("history: got none, or one without epochs, expected a run of at least one epoch")
        every = list(dict.fromkeys(name for _, columns in self.runs.values() for name in columns))
        if isinstance(values, str):
            values = (values,)
        known = list(dict.fromkeys(_value_of(name) for name in every))
        wanted = None if values is None else list(checking.iterate("values", values, "a list of names"))
        self.values = [name for name in known if name not in UNJUDGED][:MOST] if wanted is None else wanted
        for name in self.values:
            if not isinstance(name, str) or (name not in known and name not in every):
                near = checking.nearest(str(name), known, "monitor")
                raise ValueError(f"values: got {checking.shown(name)}, expected some of {', '.join(known)}{near}")
        if not self.values:
            raise ValueError(f"values: got none in {checking.shown(every)}, expected a loss or a metric")

    @classmethod
    def from_history(cls, history: Any, *, values: str | Iterable[str] | None = None, ax: Any = None) -> HistoryDisplay:
        """See `fastreg.plots.history`."""
        return cls(_runs_of(history), values).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, values: str | Iterable[str] | None = None, ax: Any = None
    ) -> HistoryDisplay:
        """The curves of a trainer or of an estimator that is fitted, which have a history."""
        return cls({"": estimator}, values).plot(ax)

    def plot(self, ax: Any = None) -> HistoryDisplay:
        """Draws them. On one axes only the first value is drawn; a list has axes for each."""
        if ax is None:
            figure = own_figure(0.6 + 4.4 * len(self.values), 3.6)
            self.axes_ = list(np.ravel(figure.subplots(1, len(self.values))))
        else:
            self.axes_ = list(np.ravel(np.asarray(ax, object)))
        values = self.values if len(self.axes_) > 1 or ax is None else self.values[:1]
        if len(self.axes_) != len(values):
            raise ValueError(f"ax: got {len(self.axes_)} axes, expected one, or {len(values)}: one for each value")
        self.lines_: dict[Any, Any] = {}
        for one, value in zip(self.axes_, values, strict=True):
            self._draw(self._begin(one, 0, 0), value, legend=ax is not None)
        self.ax_ = self.axes_[0]
        if ax is None and any(one.get_legend_handles_labels()[1] for one in self.axes_):
            across = 3 * len(self.axes_) if len(self.runs) == 1 else 2
            legend_below(self.figure_, self.axes_, columns=across, size=9)
        return self

    def _draw(self, axes: Axes, value: str, legend: bool) -> None:
        drawn, judged = [], []
        alone = len(self.runs) == 1
        for place, (run, (epochs, columns)) in enumerate(self.runs.items()):
            held_back = 0
            for name, curve in columns.items():
                if value not in (_value_of(name), name) or not np.isfinite(curve).any():
                    continue
                part = _set_of(name, value)
                style: Any = {"color": COLORS[place % len(COLORS)], "linewidth": 1.8}
                style["marker"] = "o" if len(epochs) == 1 else ""
                if part:
                    style["linestyle"] = "-" if alone else STYLES[held_back % len(STYLES)]
                    held_back += 1
                    style["color"] = COLORS[held_back % len(COLORS)] if alone else style["color"]
                elif value not in UNJUDGED:
                    style["linestyle"] = DASHES
                told = part or ("" if value in UNJUDGED else "training, as it went")
                told = told if alone else f"{run}: {told}".removesuffix(": ")
                (line,) = axes.plot([epoch + 1 for epoch in epochs], curve, label=told, **style)
                self.lines_[name if alone else (run, name)] = line
                drawn.append(list(curve))
                if part and len(epochs) > 1:
                    judged.append((line, largest_is_best(name)))
        for line, largest in judged:  # after all lines, also in the legend
            _dot(axes, line, largest)
        label(axes, "epoch", MEANINGS.get(value, value), legend=legend)
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
        _scale(axes, value, drawn)


def _dot(axes: Axes, line: Any, largest: bool | None) -> None:
    """Marks the best value of a curve, if its name says what is good."""
    epochs, curve = (np.asarray(values, np.float64) for values in line.get_data())
    if largest is None:
        return
    at = int(np.nanargmax(curve) if largest else np.nanargmin(curve))
    style: Any = {"linestyle": "", "markersize": 7, "markeredgecolor": "white", "label": "the best"}
    axes.plot(epochs[at], curve[at], "o", color=line.get_color(), **style)


def _value_of(column: str) -> str:
    """What a column is of: "loss" for "val_loss"."""
    meaning = meaning_of(column)
    if meaning is not None:
        return meaning[1]
    return column.removeprefix("val_")


def _set_of(column: str, value: str) -> str:
    """The data that a column is of: "val" for "val_loss". Empty for the training set."""
    return "" if column == value else column.removesuffix(value).rstrip("_")


def _runs_of(history: Any) -> dict[str, Any]:
    """The argument `history`: one run, or a dict of several by name."""
    if isinstance(history, Mapping) and not isinstance(history, History):
        columns = not any(isinstance(one, Mapping) or _has_history(one) for one in history.values())
        return {"": history} if columns else dict(history)
    return {"": history}


def _has_history(value: Any) -> bool:
    return any(hasattr(inside(value), name) for name in ("history", "history_", "loss_curve_"))


def _columns_of(one: Any) -> tuple[Sequence[int], dict[str, np.ndarray]]:
    """Epochs and columns of a history, or of what has one: a trainer, an estimator, Keras's History."""
    if isinstance(one, type):
        raise TypeError(f"history: got {checking.shown(one)}, expected what fit returned, or a trainer")
    one = inside(one)
    for name in ("history_", "history"):
        if not isinstance(one, (History, Mapping)) and isinstance(getattr(one, name, None), Mapping):
            one = getattr(one, name)
    if not isinstance(one, Mapping) and hasattr(one, "loss_curve_"):
        found = {"loss": one.loss_curve_}
        if getattr(one, "validation_scores_", None) is not None:
            found["val_score"] = one.validation_scores_
        one = found
    if not isinstance(one, Mapping):
        raise refusal("history", one, "what fit returned, a trainer or an estimator")
    columns = {str(name): np.asarray(checking.array(f"history[{name!r}]", curve)) for name, curve in one.items()}
    epochs = columns.pop("epoch", None)
    if len({curve.shape for curve in columns.values()}) > 1 or any(curve.ndim != 1 for curve in columns.values()):
        raise ValueError("history: got columns of different lengths, expected one value an epoch in each")
    if isinstance(one, History):
        return list(one.epochs), columns
    count = len(next(iter(columns.values()), ()))
    return list(range(count)) if epochs is None else [int(epoch) for epoch in epochs], columns


@understood
def history(history: Any, *, values: str | Iterable[str] | None = None, ax: Any = None) -> HistoryDisplay:
    """Draw learning curves: the loss and the metrics of the training set and of held-back data, epoch by epoch.

    Curves of the training set are dashed: they are means over each epoch, taken during training, so with dropout on.
    The best value of each held-back set is marked.

    Parameters
    ----------
    history : History, Trainer, estimator or mapping
        What `Trainer.fit` returned, or what has a history. A dict of names and these draws several runs, each in its
        own colour. A dict of lists, one value an epoch, will do.
    values : str or list of str, optional
        What to draw, such as "loss" or ["loss", "accuracy"]. By default the loss and the metrics.
    ax : matplotlib axes, or a list of them, optional
        Where to draw: axes for each value. On a single one, the first value. By default a new figure.

    Returns
    -------
    HistoryDisplay
        What was drawn, with `ax_`, `axes_` and `figure_`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("digits")
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(10)]))
    >>> display = fr.plots.history(trainer.fit(X, y, epochs=3, validation_split=0.2))
    >>> [axes.get_ylabel() for axes in display.axes_]
    ['loss', 'accuracy']
    """
    return HistoryDisplay.from_history(history, values=values, ax=ax)


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
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


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


def _scale(axes: Axes, value: str, curves: Sequence[Sequence[float]]) -> None:
    """Scales one of the axes of a row; the others share its scale."""
    finite = [[number for number in curve if math.isfinite(number)] for curve in curves]
    numbers = [number for curve in finite for number in curve]
    if value == "accuracy":
        axes.yaxis.set_major_formatter(lambda number, _: f"{100 * number:.4g}%")
        # The first epochs may lie outside the plot: otherwise they would squeeze the rest to its upper edge.
        early = [min(curve[len(curve) // 10 :]) for curve in finite if curve]
        if early:
            low = min(early)
            axes.set_ylim(max(0, low - 0.1 * (1 - low)), 1 + 0.05 * (1 - low) + 1e-3)
    elif numbers and min(numbers) > 0 and max(numbers) / min(numbers) > LOG_RANGE:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda number, _: f"{number:g}")
    elif numbers and min(numbers) >= 0 and not largest_is_best(value):
        axes.set_ylim(0, 1.05 * max(numbers) or 1.0)
