"""`errors`: the rows that a model is most wrong about, as images or as rows of a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.plots.answers import Answers, answers, known, table_of
from fastreg.plots.figure import INK, SIGNED, Display, cells, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 16  # of a table that are drawn: those in which a row is most unusual
CUT = 3.0  # standard deviations at which colours end
LONGEST = 14  # characters of a name


class ErrorsDisplay(Display):
    """A grid of the worst mistakes. `fastreg.plots.errors` makes it.

    Parameters
    ----------
    rows : ndarray of int
        The rows of X, the worst first.
    told : list of str
        What is said of each: the target, and the prediction.
    drawn : ndarray
        The rows themselves: images (k, height, width) or (k, height, width, 3), or numbers (k, columns).
    title
        How many mistakes there are.
    names, usual :
        Of numbers: the names of the columns, and their means and standard deviations in all rows (2, columns).

    Attributes
    ----------
    images_ :
        What was drawn.
    ax_, figure_ :
        Where.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("digits")
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(10)]))
    >>> history = trainer.fit(X, y)
    >>> display = fr.plots.ErrorsDisplay.from_estimator(trainer, X, y, image_shape=(8, 8), count=4)
    >>> len(display.rows), len(display.images_)
    (4, 4)
    """

    def __init__(
        self,
        rows: np.ndarray,
        told: list[str],
        drawn: np.ndarray,
        title: str,
        names: list[str] | None = None,
        usual: np.ndarray | None = None,
    ):
        self.rows, self.told, self.drawn, self.title = rows, told, drawn, title
        self.names, self.usual = names, usual

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        X: Any,
        y: Any,
        *,
        count: int = 25,
        image_shape: tuple[int, ...] | None = None,
        output: int | None = None,
        ax: Axes | None = None,
    ) -> ErrorsDisplay:
        """See `fastreg.plots.errors`."""
        count = checking.integer("count", count, 1, 1000)
        found = answers(model, X, output)
        targets = found.targets(y)
        rows, title = _worst(found, targets, count)
        told = [_told(found, targets, row) for row in rows]
        data, names = table_of(X)
        shape = data.shape[1:] if image_shape is None else checking.sample_shape(image_shape)
        if len(shape) in (2, 3):
            if math.prod(shape) != math.prod(data.shape[1:]) or (len(shape) == 3 and shape[2] not in (1, 3)):
                raise ValueError(
                    f"image_shape: got {shape} for rows of shape {data.shape[1:]}, expected (height, width) or "
                    "(height, width, channels) with 1 or 3 channels, of as many values"
                )
            drawn = data[rows].reshape(len(rows), *(shape[:2] if shape[2:] == (1,) else shape))
            return cls(rows, told, drawn, title).plot(ax)
        if data.ndim != 2 or image_shape is not None:
            raise ValueError(f"image_shape: got {image_shape}, expected (height, width) or (height, width, channels)")
        numbers, names = _numbers(data, names)
        usual = np.stack([numbers.mean(axis=0), numbers.std(axis=0)])
        return cls(rows, told, numbers[rows], title, names, usual).plot(ax)

    def plot(self, ax: Axes | None = None) -> ErrorsDisplay:
        """Draws it, on axes or on a new figure."""
        images = self.drawn.ndim > 2
        across = min(math.ceil(math.sqrt(len(self.rows))), 12) if images and len(self.rows) else 1
        down = math.ceil(len(self.rows) / across)
        shown = min(self.drawn.shape[1], COLUMNS)
        size = (
            (max(3.6, 1.05 * across), 0.6 + 1.25 * down) if images else (max(5.6, 2.2 + 0.55 * shown), 1.6 + 0.3 * down)
        )
        axes = self._begin(ax, *size)
        self.images_: list[Any] = []
        if not len(self.rows):
            axes.set_axis_off()
            axes.text(0.5, 0.5, "no mistakes", ha="center", va="center", color=INK)
        elif images:
            self._draw_images(axes, down, across)
        else:
            self._draw_table(axes, shown)
        how = "\ntrue → predicted, how sure" if images and len(self.rows) else ""
        axes.set_title(f"{self.title}{how}", fontsize=10, color=INK, parse_math=False)
        return self

    def _draw_images(self, axes: Axes, down: int, across: int) -> None:
        low, high = float(self.drawn.min()), float(self.drawn.max())
        rgb = self.drawn.ndim == 4
        drawn = (self.drawn - low) / ((high - low) or 1.0) if rgb else self.drawn
        style: Any = {} if rgb else {"cmap": "gray_r", "vmin": low, "vmax": high}
        for place, cell in enumerate(cells(axes, down, across, heading=0.2)):
            if place >= len(self.rows):
                cell.set_axis_off()
                continue
            self.images_.append(cell.imshow(drawn[place], **style))
            cell.set_title(self.told[place], fontsize=8, color=INK, pad=2, parse_math=False)

    def _draw_table(self, axes: Axes, shown: int) -> None:
        assert self.usual is not None and self.names is not None
        mean, std = self.usual
        scores = (self.drawn - mean) / np.where(std > 0, std, 1.0)
        order = np.sort(np.argsort(-np.abs(scores).mean(axis=0), kind="stable")[:shown])
        style: Any = {"cmap": SIGNED, "vmin": -CUT, "vmax": CUT, "aspect": "auto", "interpolation": "nearest"}
        self.images_.append(axes.imshow(scores[:, order], **style))
        for place, row in enumerate(self.drawn):
            for across, column in enumerate(order):
                ink = "white" if abs(scores[place, column]) > 0.6 * CUT else INK
                axes.text(across, place, _figure(row[column]), ha="center", va="center", fontsize=7, color=ink)
        label(axes, "column (red: above its mean, blue: below)", "row: its target → the prediction")
        axes.grid(False)
        told = [f"{row}: {text}" for row, text in zip(self.rows, self.told, strict=True)]
        axes.set_yticks(range(len(told)), told, fontsize=8, parse_math=False)
        named = [_short(self.names[column]) for column in order]
        axes.set_xticks(range(shown), named, fontsize=8, rotation=40, ha="right", parse_math=False)


def _worst(found: Answers, targets: np.ndarray, count: int) -> tuple[np.ndarray, str]:
    """The rows of the worst mistakes, and how many mistakes there are."""
    if found.classes is None:
        wrong = np.abs(found.values[:, 0] - targets)
        rows = np.argsort(-wrong, kind="stable")[:count]
        return rows, f"the {len(rows)} largest errors of {len(targets):,} rows"
    every = np.arange(len(targets))
    lead = found.values[every, found.codes] - found.values[every, targets]
    mistakes = np.flatnonzero(found.codes != targets)
    rows = mistakes[np.argsort(-lead[mistakes], kind="stable")][:count]
    what = f"{len(mistakes):,} mistakes in {len(targets):,} rows"
    return rows, what if len(rows) == len(mistakes) else f"the worst {len(rows)} of {what}"


def _told(found: Answers, targets: np.ndarray, row: int) -> str:
    if found.classes is None:
        return f"{targets[row]:.4g} → {found.values[row, 0]:.4g}"
    names, code = known(found.classes), int(found.codes[row])
    sure = f", {100 * found.values[row, code]:.0f} %" if found.probabilities else ""
    return f"{_short(names[int(targets[row])])} → {_short(names[code])}{sure}"


def _numbers(data: np.ndarray, names: list[str] | None) -> tuple[np.ndarray, list[str]]:
    """The columns that are numbers."""
    names = [str(place) for place in range(data.shape[1])] if names is None else names
    if data.dtype.kind != "O":
        return data.astype(np.float64), names
    found = {}
    for name, column in zip(names, data.T, strict=True):
        try:
            found[name] = column.astype(np.float64)
        except (TypeError, ValueError):
            continue
    if not found:
        raise TypeError("X: got no column of numbers, expected at least one")
    return np.stack(list(found.values()), axis=1), list(found)


def _figure(value: float) -> str:
    """A number in few characters, without an exponent where it has up to five digits."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e5 else f"{value:.3g}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


@understood
def errors(
    model: Any,
    X: Any,
    y: Any,
    *,
    count: int = 25,
    image_shape: tuple[int, ...] | None = None,
    output: int | None = None,
    ax: Axes | None = None,
) -> ErrorsDisplay:
    """Draw the rows that a model is most wrong about, the worst first, each with its target → the prediction.

    Of classes these are the wrong ones of which the model is surest: by how far the probability of the predicted class
    is above that of the true one. Of numbers, the largest distances from the target.

    Parameters
    ----------
    model : Model, Trainer, Bagging or estimator
        What predicts.
    X, y
        Rows and their targets.
    count : int
        How many mistakes to draw.
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels) of rows that are flat images. Rows that are no images are drawn as
        a table of the columns in which they are most unusual.
    output : int, optional
        Of several numbers, or of several labels that are each yes or no: which one.
    ax : matplotlib axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    ErrorsDisplay
        What was drawn, with `ax_` and `figure_`; `rows` are the rows of X.

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
    >>> history = trainer.fit(X, y)
    >>> len(fr.plots.errors(trainer, X, y, image_shape=(8, 8), count=9).rows)
    9
    """
    return ErrorsDisplay.from_estimator(model, X, y, count=count, image_shape=image_shape, output=output, ax=ax)
