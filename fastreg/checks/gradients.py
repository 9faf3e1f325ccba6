"""`check_gradients`: the gradients of a trainer against two-sided differences of its objective, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import nlargest

import numpy as np

from fastreg.checks.twin import make_twin
from fastreg.common import checking
from fastreg.common.attributes import Suggesting
from fastreg.common.understood import understood
from fastreg.training.questions import row_parts

GOOD, WRONG = 1e-7, 1e-3
SHOWN = 5  # entries that are named if a check fails
BEND, ROUNDING = 1e-3, 1e-14  # shares of a difference and of a loss: a bend above both is a kink


@dataclass(frozen=True)
class Entry(Suggesting):
    """One entry of a parameter: its gradient, and the approximation by differences."""

    parameter: str
    index: tuple[int, ...]
    gradient: float
    approx: float

    @property
    def error(self) -> float:
        return abs(self.approx - self.gradient)

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        return f"{self.parameter}[{place}]: gradient {self.gradient:.6g}, differences say {self.approx:.6g}"


@dataclass(frozen=True, repr=False)
class GradientCheck(Suggesting):
    """The result of `check_gradients`.

    ratio           |approx - gradient| / (|approx| + |gradient|) over all parameters, in the Euclidean norm
    per_parameter   the same for each parameter alone
    errors          |approx - gradient| of each parameter
    entries         how many entries of each parameter were compared
    kinks           number of entries where the objective has no single slope (a ReLU at exactly 0): any slope
                    between those of the two sides counts as right
    epsilon         half the distance between the two points of a difference
    worst_entries   the few entries with the largest errors, worst first, each with `parameter`, `index`,
                    `gradient`, `approx` and `error`
    """

    ratio: float
    per_parameter: dict[str, float]
    errors: dict[str, float]
    entries: dict[str, int]
    kinks: int
    epsilon: float
    worst_entries: list[Entry]

    @property
    def ok(self) -> bool:
        return self.ratio < GOOD

    @property
    def verdict(self) -> str:
        """ "good" below 1e-7, "look" below 1e-3, else "wrong", also if the ratio is not a number."""
        if self.ok:
            return "good"
        return "look" if self.ratio < WRONG else "wrong"

    @property
    def worst(self) -> str:
        """The parameter with the largest error. It may not have the largest ratio: if a gradient is almost zero, its
        ratio compares the rounding of the differences with nothing."""
        return max(self.errors, key=lambda name: np.nan_to_num(self.errors[name], nan=np.inf))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._sentence()}>"

    def _sentence(self) -> str:
        """The verdict in one sentence."""
        found = f"ratio {self.ratio:.2e} at epsilon {self.epsilon:g}"
        if self.ok:
            return f"good: gradients agree with differences of the objective, {found}"
        does = "deserve a look" if self.verdict == "look" else "disagree with differences of the objective"
        return f"{self.verdict}: gradients {does}, most in {self.worst}, {found}"

    def __str__(self) -> str:
        width = max(map(len, self.per_parameter))
        lines = [f"gradient check: {self._sentence()}"]
        for name, ratio in self.per_parameter.items():
            mark = "  <- worst" if name == self.worst and not self.ok else ""
            lines.append(f"  {name:{width}}  ratio {ratio:.2e}  error {self.errors[name]:.2e}{mark}")
        lines.append("  ratio: of lengths, no unit, good below 1e-7; error: in units of the gradient")
        if not self.ok:
            lines += [f"  {entry}" for entry in self.worst_entries]
        if self.kinks:
            lines.append(
                f"  {self.kinks} entries on a kink of an activation: any slope between its sides counts as right"
            )
        return "\n".join(lines)


@understood
def check_gradients(trainer, X, y, sample_weight=None, *, epsilon=1e-7, step=None, max_entries=None) -> GradientCheck:
    """Compares the gradients of a trainer with differences of its objective: data loss and penalties.

    approx_i = (J(theta_i + epsilon) - J(theta_i - epsilon)) / (2 epsilon). The ratio of lengths |approx - gradient| /
    (|approx| + |gradient|) is good below 1e-7, deserves a look from there on, and is wrong from 1e-3 on. All of this
    works on a float64 copy, so the trainer stays as it is.

    Under `fastreg.FGSM` the perturbed rows x' of the current parameters are held fixed. The gradient takes them as
    given, while J~ jumps where a component of dJ/dx changes its sign.

    Check before training and again after some epochs: a mistake may show only once parameters are no longer small. The
    check takes two evaluations per entry, so do not run it in every epoch.

    Parameters
    ----------
    trainer
        A `fastreg.Trainer`, before or after training.
    X, y, sample_weight
        The batch. A few dozen rows are enough.
    epsilon
        Every entry moves up and down by this much. At most 1, and enough to change every parameter as a float64.
    step
        The global step whose dropout masks and noise are held fixed. Required if the model has any: new masks in every
        evaluation would make the differences meaningless.
    max_entries
        For large models: compare at most this many entries of each parameter, chosen at random.

    Returns
    -------
    GradientCheck
        It has `ratio`, `per_parameter`, `worst`, `worst_entries`, `ok` and `verdict`. Print it.

    Raises
    ------
    ValueError, TypeError
        The model has dropout or noise and no `step` is given, or an argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    >>> model = fr.Sequential([fr.Dense(4, "tanh"), fr.Dropout(keep_prob=0.8), fr.Dense(2)])
    >>> trainer = fr.Trainer(model, l2=0.01)
    >>> fr.check_gradients(trainer, X, y, step=0).verdict  # the masks of step 0, held fixed
    'good'
    """
    epsilon = checking.positive("epsilon", epsilon, 1.0)
    max_entries = None if max_entries is None else checking.integer("max_entries", max_entries)
    step = None if step is None else checking.integer("step", step, 0)
    copy, data = make_twin(trainer, X, y, sample_weight, "float64")
    live = [str(layer.name) for layer in trainer.model.layers if _draws(layer)]
    if live and step is None:
        raise ValueError(
            f"step: got None, but dropout or noise is live in {', '.join(live)}; masks and noise are a pure function "
            "of the step, so pass step=k to hold those of step k fixed (or set keep_prob=1, std=0)"
        )
    _check_moves(epsilon, copy.model.parameters)
    gradients = copy.gradients(X, y, sample_weight, step=step)
    rows, weight = data.size, data.total_weight
    share = np.full(rows, 1 / rows)
    rules = copy.program("gradients", rows).rules
    if copy.adversarial is not None:  # the same objective, as that of a batch of twice the size with the perturbed rows
        own, clean = data.only, copy.adversarial.weight
        twice = np.concatenate([data.inputs, copy._perturbed(data, step)])
        weights = np.ones(rows) if own.weights is None else own.weights
        weights = np.concatenate([clean * weights, (1 - clean) * weights])
        copy.adversarial, share = None, np.full(2 * rows, 1 / (2 * rows))
        data = data._replace(inputs=twice).with_head(
            *data.heads, targets=np.concatenate([own.targets, own.targets]), weights=weights
        )

    def losses() -> np.ndarray:
        return row_parts(copy, data, step)

    approximate, exact, compared, kinks = {}, {}, [], 0
    for name, gradient in gradients.items():
        entries = _entries(gradient.shape, max_entries)
        pulls = _pulls(name, copy, rows, weight)
        slopes = _Slopes(
            copy.model.parameters[name], losses, share, *rules[name].penalty.at(rows, weight), pulls, epsilon
        )
        bounds = np.array([slopes.at(entry) for entry in entries]).reshape(len(entries), 2)
        exact[name] = np.array([gradient[entry] for entry in entries], np.float64)
        approximate[name] = np.clip(exact[name], bounds[:, 0], bounds[:, 1])
        compared += [
            Entry(name, *row) for row in zip(entries, exact[name].tolist(), approximate[name].tolist(), strict=True)
        ]
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
        worst_entries=nlargest(SHOWN, compared, key=lambda entry: np.nan_to_num(entry.error, nan=np.inf)),
    )


def _check_moves(epsilon: float, parameters: Mapping[str, np.ndarray]) -> None:
    """Refuses an epsilon that is lost in rounding: there would be no difference to divide by."""
    for name, values in parameters.items():
        largest = np.abs(values).max(initial=0.0)
        if largest + epsilon == largest or largest - epsilon == largest:
            text = f"got {epsilon:g}, expected more: it moves no number of the size {largest:g}, as in {name!r}"
            raise ValueError(f"epsilon: {text}")


class _Slopes:
    """Two-sided differences of the objective by one parameter.

    Three things keep the digits. The distance is that between the stored numbers, not 2 epsilon. Losses are subtracted
    row by row before they are added up. Of the penalties only the part that changes counts. Otherwise the rounding of a
    large sum would drown a difference in its last digits.
    """

    def __init__(self, parameter, losses, share, l1, l2, pulls, epsilon):
        self.parameter, self.losses, self.share = parameter, losses, share
        self.l1, self.l2, self.pulls, self.epsilon = l1, l2, pulls, epsilon
        self.here = losses()

    def at(self, entry) -> tuple[float, float]:
        """The slope, twice. If rows are on a kink, the smallest and the largest slope that are right.

        A ReLU whose input is exactly 0 has one slope on each side, and any slope between them is right. This happens
        when the bias is 0 and dropout has dropped a whole row.
        """
        value = self.parameter[entry]
        above, below = value + self.epsilon, value - self.epsilon
        losses_above, losses_below = self._losses_with(entry, above), self._losses_with(entry, below)
        bend = np.abs(losses_above - 2 * self.here + losses_below)
        change = np.abs(losses_above - self.here) + np.abs(self.here - losses_below)
        bend[bend < BEND * change + ROUNDING * (1 + np.abs(self.here))] = 0  # only curvature or rounding
        distance = above - below
        penalty = self.l2 / 2 * (above + below) * distance + self.l1 * (abs(above) - abs(below))
        for other, l2 in self.pulls:
            penalty += l2 / 2 * (above + below - 2 * other[entry]) * distance
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


def _pulls(name: str, trainer, rows: int, weight: float) -> list[tuple[np.ndarray, float]]:
    """The weights from which the distance of a parameter has a penalty, and its coefficient."""
    found = []
    for a, b, penalty in trainer.arguments.couplings(rows):
        if name in (a, b):
            found.append((trainer.model.parameters[b if name == a else a], penalty.at(rows, weight)[1]))
    return found


def _draws(layer) -> bool:
    """Whether the layer uses random numbers in training."""
    stds = (getattr(layer, name, 0.0) for name in ("std", "preactivation_noise", "weight_noise"))
    return getattr(layer, "keep_prob", 1.0) < 1.0 or any(std > 0.0 for std in stds)


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
