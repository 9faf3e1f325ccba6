"""Gradient checking: the gradients of a trainer against two-sided differences of its objective, in float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

GOOD, WRONG = 1e-7, 1e-3
BEND, ROUNDING = 1e-3, 1e-14  # of a difference, and of a loss: what is above both is a kink


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradients` found.

    ratio           |approx - gradient| / (|approx| + |gradient|) over all parameters, in the Euclidean norm
    per_parameter   the same for every parameter alone
    errors          |approx - gradient| of every parameter
    entries         how many entries of every parameter were compared
    kinks           entries where the objective has no single slope (a ReLU at exactly 0): any between the slopes
                    of the two sides counts as right
    epsilon         half the distance of a difference
    """

    ratio: float
    per_parameter: dict[str, float]
    errors: dict[str, float] = field(repr=False)
    entries: dict[str, int] = field(repr=False)
    kinks: int
    epsilon: float

    @property
    def ok(self) -> bool:
        return self.ratio < GOOD

    @property
    def verdict(self) -> str:
        """ "good" under 1e-7, "look" under 1e-3, "wrong" from there on and where it is not a number."""
        if self.ok:
            return "good"
        return "look" if self.ratio < WRONG else "wrong"

    @property
    def worst(self) -> str:
        """The parameter that is furthest off. Not the one with the largest ratio: where a gradient is all but zero,
        the ratio compares the rounding of the differences with nothing."""
        return max(self.errors, key=lambda name: np.nan_to_num(self.errors[name], nan=np.inf))

    def __str__(self) -> str:
        width = max(map(len, self.per_parameter))
        lines = [f"gradient check: {self.verdict}, ratio {self.ratio:.2e} at epsilon {self.epsilon:g}"]
        for name, ratio in self.per_parameter.items():
            mark = "  <- worst" if name == self.worst and not self.ok else ""
            lines.append(f"  {name:{width}}  ratio {ratio:.2e}  error {self.errors[name]:.2e}{mark}")
        if self.kinks:
            lines.append(
                f"  {self.kinks} entries on a kink of an activation: any slope between its sides counts as right"
            )
        return "\n".join(lines)


def check_gradients(trainer, X, y, sample_weight=None, *, epsilon=1e-7, step=None, max_entries=None) -> GradientCheck:
    """Compares the gradients of a trainer with differences of its objective: data loss and penalties.

    Works on a float64 copy; the trainer stays as it is.

    Parameters
    ----------
    trainer
        A `fastreg.Trainer`, before or after training.
    X, y, sample_weight
        The batch: a few dozen rows will do.
    epsilon
        Every entry is moved by this much both ways.
    step
        The global step whose dropout masks and noise are held fixed. Needed where the model has any of them live,
        since new ones at every evaluation would make the differences meaningless.
    max_entries
        Compare at most so many entries of each parameter, spread over it at random, for large models.

    Returns
    -------
    GradientCheck
        With `ratio`, `per_parameter`, `worst`, `ok` and `verdict`; print it.
    """
    if epsilon <= 0:
        raise ValueError(f"epsilon: got {epsilon!r}, expected a number above 0")
    if max_entries is not None and max_entries < 1:
        raise ValueError(f"max_entries: got {max_entries!r}, expected at least 1")
    live = [str(layer.name) for layer in trainer.model.layers if _draws(layer)]
    if live and step is None:
        raise ValueError(
            f"step: got None, but dropout or noise is live in {', '.join(live)}; masks and noise are a pure function "
            "of the step, so pass step=k to hold those of step k fixed (or set keep_prob=1, std=0)"
        )
    copy = trainer.copy(dtype="float64")
    gradients = copy.gradients(X, y, sample_weight, step=step)
    share = _shares(len(X), sample_weight)

    rules = copy.program("gradients", len(X)).rules

    def losses() -> np.ndarray:
        return copy.row_losses(X, y, step=step)

    approximate, exact, kinks = {}, {}, 0
    for name, gradient in gradients.items():
        entries = _entries(gradient.shape, max_entries)
        slopes = _Slopes(copy.model.parameters[name], losses, share, *_coefficients(rules[name], len(X)), epsilon)
        bounds = np.array([slopes.at(entry) for entry in entries]).reshape(len(entries), 2)
        exact[name] = np.array([gradient[entry] for entry in entries], np.float64)
        approximate[name] = np.clip(exact[name], bounds[:, 0], bounds[:, 1])
        kinks += int(np.count_nonzero(bounds[:, 0] < bounds[:, 1]))
    errors = {name: _norm(approximate[name] - exact[name]) for name in exact}
    sizes = {name: _norm(approximate[name]) + _norm(exact[name]) for name in exact}
    everything = np.concatenate(list(approximate.values())), np.concatenate(list(exact.values()))
    return GradientCheck(
        ratio=_ratio(_norm(everything[0] - everything[1]), _norm(everything[0]) + _norm(everything[1])),
        per_parameter={name: _ratio(errors[name], sizes[name]) for name in exact},
        errors=errors,
        entries={name: len(exact[name]) for name in exact},
        kinks=kinks,
        epsilon=epsilon,
    )


class _Slopes:
    """Two-sided differences of the objective by one parameter.

    Three things keep the digits. The distance is the one between the numbers that were stored, not 2 epsilon.
    Losses are subtracted row by row before they are added, and of the penalties only the part that changes is
    looked at: the rounding of a large sum would drown a difference in its last digits.
    """

    def __init__(self, parameter, losses, share, l1, l2, epsilon):
        self.parameter, self.losses, self.share = parameter, losses, share
        self.l1, self.l2, self.epsilon = l1, l2, epsilon
        self.here = losses()

    def at(self, entry) -> tuple[float, float]:
        """The slope, twice; where rows stand on a kink, the least and the largest that may be called one.

        A ReLU whose input is exactly 0 has a slope on either side, and any between them is right. It happens: with
        a bias of 0, when dropout has left a row nothing.
        """
        value = self.parameter[entry]
        above, below = value + self.epsilon, value - self.epsilon
        losses_above, losses_below = self._losses_with(entry, above), self._losses_with(entry, below)
        bend = np.abs(losses_above - 2 * self.here + losses_below)
        change = np.abs(losses_above - self.here) + np.abs(self.here - losses_below)
        bend[bend < BEND * change + ROUNDING * (1 + np.abs(self.here))] = 0  # curvature, or nothing but rounding
        distance = above - below
        penalty = self.l2 / 2 * (above + below) * distance + self.l1 * (abs(above) - abs(below))
        middle = np.dot(self.share, losses_above - losses_below) + penalty
        either_way = np.dot(self.share, bend)
        return float((middle - either_way) / distance), float((middle + either_way) / distance)

    def _losses_with(self, entry, value) -> np.ndarray:
        kept = self.parameter[entry]
        self.parameter[entry] = value
        try:
            return self.losses()
        finally:
            self.parameter[entry] = kept


def _draws(layer) -> bool:
    """Whether what the layer does in training depends on random numbers."""
    return getattr(layer, "keep_prob", 1.0) < 1.0 or getattr(layer, "std", 0.0) > 0.0


def _coefficients(rule, rows: int) -> tuple[float, float]:
    return rule.l1 / (rows if rule.l1_per_row else 1), rule.l2 / (rows if rule.l2_per_row else 1)


def _shares(rows: int, sample_weight) -> np.ndarray:
    """What every row counts in the mean."""
    if sample_weight is None:
        return np.full(rows, 1 / rows)
    weight = np.asarray(sample_weight, np.float64)
    return weight / weight.sum()


def _entries(shape: tuple[int, ...], most: int | None) -> list[tuple[int, ...]]:
    entries = list(np.ndindex(shape))
    if most is None or len(entries) <= most:
        return entries
    chosen = np.random.default_rng(0).choice(len(entries), most, replace=False)
    return [entries[i] for i in sorted(chosen)]


def _norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x))


def _ratio(error: float, size: float) -> float:
    return error / size if size else 0.0
