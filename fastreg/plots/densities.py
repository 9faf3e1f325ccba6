"""`weights`: how the weights of a model are distributed, before and after training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.plots.figure import BLUE, COLORS, EDGE, Display, label
from fastreg.plots.trained import inside, refusal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = (21, 81)  # the least and the most that are chosen, an odd number: one of them has 0 in its middle
LEAST = 0.5  # of a value in a bin, so that an empty one has a place on a logarithmic axis


def density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The share of the values between two edges, per unit of width.

    >>> density(np.array([0.1, 0.2, 1.5, 9.0]), np.array([0.0, 1.0, 3.0])).tolist()
    [0.5, 0.125]
    """
    counts, _ = np.histogram(values, edges)
    return counts / max(np.size(values), 1) / np.diff(edges)


class WeightsDisplay(Display):
    """The densities of weights. `fastreg.plots.weights` makes it.

    Parameters
    ----------
    after : dict of str to ndarray
        The weights that are drawn, each dict entry as a curve.
    before : ndarray or None
        The weights before training, drawn as an area.
    bins
        Number of bins. None chooses it by the number of weights.

    Attributes
    ----------
    edges : ndarray
        The edges of the bins.
    densities : dict of str to ndarray
        The density in each bin, by curve, that before training as "before".
    lines_, area_ :
        What was drawn.
    ax_, figure_ :
        Where.

    Examples
    --------
    >>> import fastreg as fr
    >>> model = fr.Sequential([fr.Dense(8)])
    >>> model.build(4)
    >>> fr.plots.WeightsDisplay.from_estimator(model).ax_.get_ylabel()
    'density'
    """

    def __init__(self, after: Mapping[str, np.ndarray], before: np.ndarray | None = None, bins: int | None = None):
        self.after, self.before = {name: np.ravel(values) for name, values in after.items()}, before
        every = [values for values in [*self.after.values(), before] if values is not None]
        reach = max((float(np.abs(values).max(initial=0.0)) for values in every), default=0.0)
        if not np.isfinite(reach):
            raise ValueError("model: got weights that are not finite, expected finite ones")
        reach = reach or 1.0
        fewest = min((values.size for values in every), default=1)
        chosen = min(max(int(np.sqrt(fewest)), BINS[0]), BINS[1]) // 2 * 2 + 1
        self.bins = chosen if bins is None else checking.integer("bins", bins, 2, 10_000)
        self.edges = np.linspace(-reach, reach, self.bins + 1)
        self.densities = {name: density(values, self.edges) for name, values in self.after.items()}
        if before is not None:
            self.densities["before"] = density(before, self.edges)

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        before: Any = None,
        *,
        layers: Sequence[str] | None = None,
        bins: int | None = None,
        ax: Axes | None = None,
    ) -> WeightsDisplay:
        """See `fastreg.plots.weights`."""
        now = _weights("model", model)
        start = None if before is None else _weights("before", before)
        if layers is not None:
            wanted = [str(name) for name in checking.iterate("layers", layers, "a list of names of layers")]
            for name in wanted:
                if name not in now:
                    near = checking.nearest(name, now)
                    raise ValueError(f"layers: got {name!r}, expected some of {', '.join(now)}{near}")
            if not wanted:
                raise ValueError(f"layers: got none, expected some of {', '.join(now)}")
            curves = {f"layer {name}": now[name] for name in wanted}
            start = start and {name: values for name, values in start.items() if name in wanted}
        else:
            curves = {"after training" if start else "weights": _together(now)}
        return cls(curves, _together(start) if start else None, bins).plot(ax)

    def plot(self, ax: Axes | None = None) -> WeightsDisplay:
        """Draws it, on axes or on a new figure."""
        axes = self._begin(ax, 6.4, 4.2)
        middles = (self.edges[1:] + self.edges[:-1]) / 2
        every = [*self.after.values(), *([] if self.before is None else [self.before])]
        low = LEAST / max(values.size for values in every) / (self.edges[1] - self.edges[0])
        self.area_ = None
        if self.before is not None:
            shown = np.maximum(self.densities["before"], low)
            name = _named("before training", self.before)
            self.area_ = axes.fill_between(
                middles, shown, low, step="mid", color=EDGE, alpha=0.45, linewidth=0, label=name
            )
        self.lines_ = []
        for place, (name, values) in enumerate(self.after.items()):
            shown = np.maximum(self.densities[name], low)
            style: Any = {"color": COLORS[place % len(COLORS)] if len(self.after) > 1 else BLUE}
            style["linestyle"] = ("-", "--", "-.", ":")[place // len(COLORS) % 4]
            self.lines_ += axes.step(middles, shown, where="mid", linewidth=1.6, label=_named(name, values), **style)
        axes.set_yscale("log")
        axes.set_ylim(bottom=low)
        label(axes, "value of a weight", "density")
        return self


def _named(name: str, values: np.ndarray) -> str:
    zeros = float(np.mean(values == 0)) if values.size else 0.0
    return f"{name} ({100 * zeros:.3g} % exact zeros)" if zeros else name


def _together(weights: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(values) for values in weights.values()])


def _weights(name: str, model: Any) -> dict[str, np.ndarray]:
    """The weights of each layer, without biases."""
    model = inside(getattr(model, "model", model))
    if hasattr(model, "coefs_") and not isinstance(model, type):
        return {str(place): np.asarray(values) for place, values in enumerate(model.coefs_)}
    state = model if isinstance(model, Mapping) else getattr(model, "parameters", None)
    if not isinstance(state, Mapping):
        raise refusal(name, model, "a model, a trainer, an estimator, or what state_dict() gave")
    found = {key.removesuffix(".weight"): np.asarray(value) for key, value in _matrices(state)}
    if not found:
        raise ValueError(f"{name}: got {checking.shown(list(state))}, expected some '<layer>.weight'")
    return found


def _matrices(state: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((key, value) for key, value in state.items() if str(key).endswith(".weight") and np.ndim(value) > 1)


@understood
def weights(
    model: Any,
    before: Any = None,
    *,
    layers: Sequence[str] | None = None,
    bins: int | None = None,
    ax: Axes | None = None,
) -> WeightsDisplay:
    """Draw how the weights of a model are distributed, before and after training.

    The axis of densities is logarithmic, so that a spike at 0 does not hide the rest. The legend says which share is
    exactly 0, as L1 leaves it. Biases are not in it.

    Parameters
    ----------
    model : Model, Trainer, estimator or mapping
        Whose weights; or the result of `state_dict()`.
    before : Model, Trainer, estimator or mapping, optional
        The weights before training: what `model.state_dict()` gave then.
    layers : list of str, optional
        The names of layers, each of which gets a curve of its own. By default all weights together are one curve.
    bins : int, optional
        Number of bins. By default one that suits the number of weights.
    ax : matplotlib axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    WeightsDisplay
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
    >>> X, y = fr.data.load("digits")
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(10)]), optimizer=fr.SGD(0.1), l1=1e-3)
    >>> trainer.model.build(64)
    >>> before = trainer.model.state_dict()
    >>> history = trainer.fit(X, y)
    >>> fr.plots.weights(trainer, before).ax_.get_xlabel()
    'value of a weight'
    """
    return WeightsDisplay.from_estimator(model, before, layers=layers, bins=bins, ax=ax)
