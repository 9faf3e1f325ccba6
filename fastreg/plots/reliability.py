"""`calibration`: whether events that a model gives a probability of 0.8 happen in 8 of 10 cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.plots.answers import answers
from fastreg.plots.figure import BLUE, EDGE, INK, VERMILION, Display, label, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRATEGIES = ("uniform", "quantile")
ROUNDING = 1e-6  # of probabilities in float32: a point that is so near to the diagonal lies on it


class CalibrationDisplay(Display):
    """A reliability curve. `fastreg.plots.calibration` makes it.

    Parameters
    ----------
    prob_true, prob_pred, share : ndarray
        Of each bin that has rows: the share of the rows where it happened, the mean of the probabilities that were
        predicted, and how many of all rows it has.
    event
        What the probabilities are of, in words.
    edges : ndarray
        The edges of all bins.

    Attributes
    ----------
    error : float
        The expected calibration error: the mean of abs(prob_true - prob_pred), weighted by share.
    line_, bars_ :
        What was drawn.
    ax_, figure_ :
        Where.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> display = fr.plots.CalibrationDisplay.from_predictions([0, 0, 1, 1], [0.1, 0.3, 0.9, 0.9], bins=2)
    >>> display.prob_true.tolist(), round(display.error, 6)
    ([0.0, 1.0], 0.15)
    """

    def __init__(self, prob_true: np.ndarray, prob_pred: np.ndarray, share: np.ndarray, event: str, edges: np.ndarray):
        self.prob_true, self.prob_pred, self.share, self.event, self.edges = prob_true, prob_pred, share, event, edges
        self.error = float(np.sum(share * np.abs(prob_true - prob_pred)))

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        X: Any,
        y: Any,
        *,
        label: Any = None,
        output: int | None = None,
        bins: int = 10,
        strategy: str = "uniform",
        ax: Axes | None = None,
    ) -> CalibrationDisplay:
        """See `fastreg.plots.calibration`."""
        found = answers(model, X, output)
        if found.classes is None or not found.probabilities:
            raise ValueError("model: got one that predicts no probabilities, expected one under a cross-entropy")
        codes = found.targets(y)
        if label is not None or len(found.classes) == 2:
            place = 1 if label is None else _place(label, found.classes)
            happened, told = codes == place, found.values[:, place]
            event = f"class {found.classes[place]}"
        else:
            happened, told, event = codes == found.codes, found.values.max(axis=1), "the predicted class"
        return cls.from_predictions(happened, told, bins=bins, strategy=strategy, event=event, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_prob: Any,
        *,
        bins: int = 10,
        strategy: str = "uniform",
        event: str = "the event",
        ax: Axes | None = None,
    ) -> CalibrationDisplay:
        """The curve of probabilities `y_prob` (n,), and whether it happened, `y_true` (n,)."""
        happened = np.asarray(checking.array("y_true", y_true), np.float64).ravel()
        told = np.asarray(checking.array("y_prob", y_prob, "float64"), np.float64).ravel()
        count, strategy = checking.integer("bins", bins, 1, 10_000), checking.choice("strategy", strategy, STRATEGIES)
        if happened.shape != told.shape or not told.size:
            got = f"got {happened.size} and {told.size} values"
            raise ValueError(f"y_true, y_prob: {got}, expected as many of one as of the other, at least one")
        if not ((told >= 0) & (told <= 1)).all():
            raise ValueError(f"y_prob: got {told.min():g} to {told.max():g}, expected probabilities from 0 to 1")
        if not np.isin(happened, (0, 1)).all():
            raise ValueError(f"y_true: got {checking.shown(np.unique(happened)[:5])}, expected 0 and 1")
        edges = np.linspace(0, 1, count + 1)
        if strategy == "quantile":
            edges = np.quantile(told, edges)
        place = np.searchsorted(edges[1:-1], told)  # a bin has its upper edge
        rows = np.bincount(place, minlength=count)
        full = rows > 0
        true = np.bincount(place, happened, count)[full] / rows[full]
        pred = np.bincount(place, told, count)[full] / rows[full]
        return cls(true, pred, rows[full] / len(told), checking.text("event", event), edges).plot(ax)

    def plot(self, ax: Axes | None = None) -> CalibrationDisplay:
        """Draws it, on axes or on a new figure."""
        axes = self._begin(ax, 5.0, 5.2)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 2)), label="perfectly calibrated")
        width = np.minimum(0.8 / (len(self.edges) - 1), 0.08)
        self.bars_ = axes.bar(
            self.prob_pred, self.share, width, color=EDGE, alpha=0.4, linewidth=0, label="share of the rows"
        )
        name = f"the model (mean distance {self.error:.3f})"
        (self.line_,) = axes.plot(
            self.prob_pred, self.prob_true, color=BLUE, marker="o", markersize=5, linewidth=1.8, label=name
        )
        outside = self.prob_pred - self.prob_true > ROUNDING
        if outside.any():
            own = self.prob_pred[outside], self.prob_true[outside]
            axes.plot(*own, "v", color=VERMILION, markersize=7, label="probability too high")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        label(axes, f"predicted probability of {self.event}", "share of the rows where it is so", legend=ax is not None)
        if ax is None:
            legend_below(self.figure_, axes, columns=2, size=9)
        return self


def _place(label: Any, classes: tuple) -> int:
    named = [str(name) for name in classes]
    if str(label) not in named:
        near = checking.nearest(str(label), named)
        raise ValueError(f"label: got {checking.shown(label)}, expected one of {', '.join(named[:20])}{near}")
    return named.index(str(label))


@understood
def calibration(
    model: Any,
    X: Any,
    y: Any,
    *,
    label: Any = None,
    output: int | None = None,
    bins: int = 10,
    strategy: str = "uniform",
    ax: Axes | None = None,
) -> CalibrationDisplay:
    """Draw a reliability curve: the share of rows where something is so, over the probability that the model gives it.

    Where the curve is below the diagonal, the probability is too high. Above 1/2, and where the predicted class is
    judged, that is a model that is too confident; below 1/2 one that is not confident enough.

    Parameters
    ----------
    model : Model, Trainer, Bagging or estimator
        It predicts probabilities.
    X, y
        Rows that it was not trained on, and their classes.
    label : optional
        The class whose probability is drawn. By default the second of two; of more than two classes, whichever is the
        predicted one.
    output : int, optional
        Of several labels that are each yes or no: which one.
    bins : int
        Number of bins.
    strategy : str
        "uniform": bins of one width. "quantile": of one number of rows.
    ax : matplotlib axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    CalibrationDisplay
        What was drawn, with `ax_` and `figure_`; `error` is the expected calibration error.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above, or the model predicts no probabilities.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("breast-cancer")
    >>> scaled = fr.data.Standardizer().fit(X)
    >>> trainer = fr.Trainer(fr.Sequential([scaled, fr.Dense(2)]))
    >>> history = trainer.fit(X, y, epochs=5)
    >>> fr.plots.calibration(trainer, X, y).ax_.get_xlabel()
    'predicted probability of class 1'
    """
    return CalibrationDisplay.from_estimator(
        model, X, y, label=label, output=output, bins=bins, strategy=strategy, ax=ax
    )
