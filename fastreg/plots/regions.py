"""`boundary`: what a model predicts on a plane of two inputs, and where its classes meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.plots.answers import Answers, answers, known, like, table_of
from fastreg.plots.figure import COLORS, INK, MARKERS, Display, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EDGE = 0.08  # of the range of an input that is drawn beyond the data, on either side
STRONGEST = 0.5  # how much of its colour a region has where the model is certain
LEVELS = 14


class BoundaryDisplay(Display):
    """The regions of a model's classes, or its values, over two inputs. `fastreg.plots.boundary` makes it.

    Parameters
    ----------
    xx0, xx1 : ndarray of shape (m, m)
        The two inputs at the points of the grid.
    found : Answers
        What the model answers there.
    points, targets : ndarray or None
        Rows of data (n, 2) and their targets (n,).
    names : tuple of str
        The names of the two inputs.

    Attributes
    ----------
    response : ndarray
        (m, m): the column of the predicted class, or the predicted number, at each point of the grid.
    surface_, lines_, points_ :
        What was drawn.
    ax_, figure_ :
        Where.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(8, "relu"), fr.Dense(2)]))
    >>> history = trainer.fit(X, y)
    >>> fr.plots.BoundaryDisplay.from_estimator(trainer, X, y, grid_resolution=20).response.shape
    (20, 20)
    """

    def __init__(
        self,
        xx0: np.ndarray,
        xx1: np.ndarray,
        found: Answers,
        points: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        names: tuple[str, str] = ("first input", "second input"),
    ):
        self.xx0, self.xx1, self.found = xx0, xx1, found
        self.points, self.targets, self.names = points, targets, names
        values = found.values[:, 0] if found.classes is None else found.codes
        self.response = values.reshape(xx0.shape)

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        X: Any,
        y: Any = None,
        *,
        features: tuple[Any, Any] | None = None,
        output: int | None = None,
        grid_resolution: int = 200,
        ax: Axes | None = None,
    ) -> BoundaryDisplay:
        """See `fastreg.plots.boundary`."""
        rows, columns = table_of(X)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] < 2:
            raise ValueError(f"X: got shape {rows.shape}, expected rows of at least two numbers")
        if features is None and rows.shape[1] > 2:
            own = "two of their names" if columns is not None else "two places"
            got = f"X: got {rows.shape[1]} columns"
            raise ValueError(f"{got}, expected two, or features=({_two(columns)}): {own} of those that are drawn")
        features = (0, 1) if features is None else features
        given = checking.iterate("features", features, "two columns")
        places = tuple(_column(name, columns, rows.shape[1]) for name in given)
        if len(places) != 2 or places[0] == places[1]:
            raise ValueError(f"features: got {checking.shown(features)}, expected two different columns")
        count = checking.integer("grid_resolution", grid_resolution, 2, 4096)
        plane = np.asarray(rows[:, places], np.float64)
        low, high = plane.min(axis=0), plane.max(axis=0)
        reach = np.where(high > low, high - low, 1.0) * EDGE
        xx0, xx1 = np.meshgrid(*(np.linspace(a, b, count) for a, b in zip(low - reach, high + reach, strict=True)))
        grid = np.empty((xx0.size, rows.shape[1]), rows.dtype if rows.dtype.kind in "fO" else np.float64)
        grid[:] = _middle(rows)
        grid[:, places[0]], grid[:, places[1]] = xx0.ravel(), xx1.ravel()
        found = answers(model, like(X, grid, columns), output)
        targets = None
        if y is not None:
            targets = answers(model, X, output).targets(y)
        named = [str(place if columns is None else columns[place]) for place in places]
        names = (f"input {named[0]}", f"input {named[1]}") if columns is None else (named[0], named[1])
        return cls(xx0, xx1, found, plane, targets, names).plot(ax)

    def plot(self, ax: Axes | None = None) -> BoundaryDisplay:
        """Draws it, on axes or on a new figure."""
        axes = self._begin(ax, 5.6, 4.8)
        self.lines_: list[Any] = []
        self.points_: list[Any] = []
        self.surface_: Any
        if self.found.classes is None:
            self._draw_values(axes, own=ax is None)
        else:
            self._draw_classes(axes, self.found.classes)
        label(axes, *self.names)
        axes.grid(False)
        if legend := axes.get_legend():  # it lies on colours
            legend.set_frame_on(True)
            legend.get_frame().set(facecolor="white", alpha=0.85, linewidth=0)
        axes.set_xlim(self.xx0[0, 0], self.xx0[0, -1])
        axes.set_ylim(self.xx1[0, 0], self.xx1[-1, 0])
        return self

    def _draw_values(self, axes: Axes, own: bool) -> None:
        low, high = float(self.response.min()), float(self.response.max())
        if self.targets is not None:
            low, high = min(low, float(self.targets.min())), max(high, float(self.targets.max()))
        style: Any = {"vmin": low, "vmax": high, "cmap": "viridis"}
        levels = _levels(low, high) if high > low else LEVELS
        self.surface_ = axes.contourf(self.xx0, self.xx1, self.response, levels=levels, **style)
        if self.points is not None and self.targets is not None:
            style |= {"edgecolor": "white", "linewidth": 0.5, "s": _size(len(self.points))}
            self.points_.append(axes.scatter(self.points[:, 0], self.points[:, 1], c=self.targets, **style))
        if own:  # it takes room from the axes, and those that were given are the user's
            told = "predicted value; points: the target" if self.points_ else "predicted value"
            self.figure_.colorbar(self.surface_, ax=axes, label=told)

    def _draw_classes(self, axes: Axes, classes: tuple) -> None:
        """Each point has the colour of its class, the stronger the further it is above the others."""
        from matplotlib.colors import to_rgb

        shape = self.xx0.shape
        above = self.found.margins[np.arange(self.xx0.size), self.response.ravel()]
        if not self.found.probabilities:
            above = above / (above.max() or 1.0)
        strength = STRONGEST * (0.3 + 0.7 * np.clip(above, 0, 1))[:, np.newaxis]
        colours = np.array([to_rgb(COLORS[place % len(COLORS)]) for place in range(len(classes))])
        image = (1 - strength) + strength * colours[self.response.ravel()]
        half = (self.xx0[0, 1] - self.xx0[0, 0]) / 2, (self.xx1[1, 0] - self.xx1[0, 0]) / 2
        x, y = (self.xx0[0, 0], self.xx0[0, -1]), (self.xx1[0, 0], self.xx1[-1, 0])
        extent = (x[0] - half[0], x[1] + half[0], y[0] - half[1], y[1] + half[1])
        self.surface_ = axes.imshow(
            image.reshape(*shape, 3), extent=extent, origin="lower", aspect="auto", interpolation="nearest"
        )
        margins = self.found.margins.reshape(*shape, -1)
        for place in range(len(classes) if len(classes) > 2 else 1):
            one = margins[..., place]
            if one.min() < 0 < one.max():
                self.lines_.append(axes.contour(self.xx0, self.xx1, one, levels=[0.0], colors=INK, linewidths=1.3))
        for place, name in enumerate(known(classes)):
            turn = place + place // len(COLORS)  # the seventh has the colour of the first, and another marker
            style: Any = {"color": COLORS[place % len(COLORS)], "marker": MARKERS[turn % len(MARKERS)]}
            if self.points is None or self.targets is None:
                own = np.empty((0, 2))
            else:
                own = self.points[self.targets == place]
            told = name if isinstance(classes[place], str) else f"class {name}"
            style |= {"s": _size(len(own)), "edgecolor": "white", "linewidth": 0.5, "label": told}
            self.points_.append(axes.scatter(*own.T, **style))


def _size(count: int) -> float:
    """The area of a point: smaller where there are many, so that they do not hide each other."""
    return float(np.clip(24 * (400 / max(count, 1)) ** 0.5, 8, 24))


def _levels(low: float, high: float) -> np.ndarray:
    """Round numbers from one that is at most `low` to one that is at least `high`."""
    from matplotlib.ticker import MaxNLocator

    return np.asarray(MaxNLocator(LEVELS).tick_values(low, high))


def _two(columns: Any) -> str:
    """Two columns, as `features=` takes them."""
    return "0, 1" if columns is None else ", ".join(repr(str(name)) for name in list(columns)[:2])


def _column(name: Any, names: list[str] | None, count: int) -> int:
    """The place of a column that is given by its place or its name."""
    if isinstance(name, str):
        if names is None or name not in names:
            near = checking.nearest(name, names or ())
            raise ValueError(f"features: got {name!r}, expected some of {', '.join(names or ['0', '1'])}{near}")
        return names.index(name)
    return checking.integer("features", name, 0, count - 1)


def _middle(rows: np.ndarray) -> np.ndarray:
    """A typical row: the medians of numbers, the most frequent of others."""
    if rows.dtype.kind != "O":
        return np.median(rows, axis=0)
    middle = np.empty(rows.shape[1], object)
    for place, column in enumerate(rows.T):
        try:
            middle[place] = float(np.median(column.astype(np.float64)))
        except (TypeError, ValueError):
            values, counts = np.unique(column.astype(str), return_counts=True)
            middle[place] = values[counts.argmax()]
    return middle


@understood
def boundary(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    features: tuple[Any, Any] | None = None,
    output: int | None = None,
    grid_resolution: int = 200,
    ax: Axes | None = None,
) -> BoundaryDisplay:
    """Draw what a model predicts over two inputs: the regions of its classes and where they meet, or its values.

    The colour of a region is the stronger, the surer the model is.

    Parameters
    ----------
    model : Model, Trainer, Bagging or estimator
        What predicts.
    X
        Rows of data, which say what part of the plane is drawn.
    y : optional
        Their targets. With them, the rows are drawn as points.
    features : pair of int or str
        The two columns. All others have their median.
    output : int, optional
        Of several numbers, or of several labels that are each yes or no: which one.
    grid_resolution : int
        Points of the grid along each axis.
    ax : matplotlib axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    BoundaryDisplay
        What was drawn, with `ax_` and `figure_`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(8, "relu"), fr.Dense(2)]))
    >>> history = trainer.fit(X, y, epochs=5)
    >>> fr.plots.boundary(trainer, X, y).ax_.get_xlabel()
    'input 0'
    """
    return BoundaryDisplay.from_estimator(
        model, X, y, features=features, output=output, grid_resolution=grid_resolution, ax=ax
    )
