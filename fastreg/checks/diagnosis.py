"""`diagnose`: bias or variance? Which of the two keeps a model from the best possible error, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastreg.common import checking
from fastreg.common.attributes import Suggesting
from fastreg.common.understood import understood

LIMIT = 0.05  # of an error rate: five more errors per hundred samples

BIAS_ADVICE = (
    "make the model fit its training set first; more data would not help with that",
    "use a larger network: more hidden units, more layers",
    "train longer; it does not always help, but it does no harm",
    "try another optimizer or schedule, other initial weights, another kind of network",
    "use less regularization: too large a lambda or too small a keep_prob makes a large network act like a small one",
)
VARIANCE_ADVICE = (
    "get more training data: the surest way",
    "if there are no more data, regularize: l2, dropout (a smaller keep_prob in the widest layers), max_norm",
    "make new samples from the old ones by data augmentation",
    "stop early, at the lowest validation error, or average several models (Bagging)",
    "try another kind of network, one that suits the data better",
)
NEITHER_ADVICE = ("keep this model; measure it once on a test set that played no part in any choice",)
BOTH_ADVICE = ("lower the bias first, then check the variance again",)
ODD_DEV = (
    "the validation error is far below the train error: check whether dropout or noise was on when the train error was "
    "measured, and whether both sets are drawn from the same data"
)
ODD_BEST = "the train error is far below the best possible one: that is too high a guess, or some data are in both"


@dataclass(frozen=True)
class Diagnosis(Suggesting):
    """The result of `diagnose`. Print it.

    case                "high bias", "high variance", "high bias and high variance" or "neither"
    bias                train error - best possible error: what a better fit could still gain
    variance            validation error - train error: what is lost on samples that the model has not seen
    train, validation, best   the errors
    bias_limit, variance_limit   the limits for bias and variance; what is above its limit is high
    advice              what to try next, most promising first
    """

    case: str
    bias: float
    variance: float
    train: float
    validation: float
    best: float
    bias_limit: float
    variance_limit: float
    advice: tuple[str, ...]

    @property
    def dev(self) -> float:
        """An older name of `validation`."""
        return self.validation

    @property
    def high_bias(self) -> bool:
        return self.bias > self.bias_limit

    @property
    def high_variance(self) -> bool:
        return self.variance > self.variance_limit

    def __str__(self) -> str:
        lines = [
            self.case,
            f"  bias      {self.bias:.4g}  (train {self.train:.4g} - best {self.best:.4g}, limit {self.bias_limit:g})",
            f"  variance  {self.variance:.4g}  (validation {self.validation:.4g} - train {self.train:.4g}, "
            f"limit {self.variance_limit:g})",
            "what to try next:",
            *(f"  - {line}" for line in self.advice),
        ]
        return "\n".join(lines)


@understood
def diagnose(
    errors: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    best: float = 0.0,
    epoch: int = -1,
    bias_limit: float | None = None,
    variance_limit: float | None = None,
) -> Diagnosis:
    """Sorts train, validation and best possible error into one of four cases, and says what to try next.

    Bias is the train error minus the best possible error. Variance is the validation error minus the train error. Each
    is high if it is above its limit.

    Parameters
    ----------
    errors
        Either (train, validation), such as 1 - accuracy from `trainer.evaluate` on each set. Or the history of a fit
        with `validation_data`: the error is then 1 - accuracy if the history has it, else the loss.
    best
        The best possible error, an estimate of the Bayes error: that of a careful human, or of the best known method.
        0 if the samples leave no doubt.
    epoch
        Which epoch of a history to use, as an index into its lists. -1 is the last one.
    bias_limit, variance_limit
        The largest values that are not high yet, in the unit of the errors. The default for rates (errors of at most
        1) is 0.05. For a history without accuracy both are required: the size of a loss says nothing by itself.

    Returns
    -------
    Diagnosis
        It has `case`, `bias`, `variance` and `advice`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Notes
    -----
    The train accuracy in a history is the mean over an epoch, while dropout is on and parameters change. If that
    matters, give (train, validation) from `trainer.evaluate`.

    The method is that of A. Ng, "Machine Learning Yearning" (2018), chapters 20 to 27.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.checks.diagnose((0.01, 0.11)).case
    'high variance'
    >>> fr.checks.diagnose((0.15, 0.16)).case
    'high bias'
    >>> fr.checks.diagnose((0.15, 0.16), best=0.14).case
    'neither'
    >>> print(fr.checks.diagnose((0.005, 0.01)))
    neither
      bias      0.005  (train 0.005 - best 0, limit 0.05)
      variance  0.005  (validation 0.01 - train 0.005, limit 0.05)
    what to try next:
      - keep this model; measure it once on a test set that played no part in any choice
    """
    best = checking.number("best", best)
    train, validation, rates = _of_history(errors, epoch) if isinstance(errors, Mapping) else _of_pair(errors)
    if rates and best > 1:
        raise ValueError(f"best: got {best!r}, expected a rate from 0 to 1, as the errors are rates")
    limits = _limit("bias_limit", bias_limit, rates), _limit("variance_limit", variance_limit, rates)
    bias, variance = train - best, validation - train
    high = bias > limits[0], variance > limits[1]
    case, advice = {
        (True, False): ("high bias", BIAS_ADVICE),
        (False, True): ("high variance", VARIANCE_ADVICE),
        (True, True): ("high bias and high variance", BOTH_ADVICE + BIAS_ADVICE + VARIANCE_ADVICE),
        (False, False): ("neither", NEITHER_ADVICE),
    }[high]
    odd = (ODD_BEST,) * (bias < -limits[0]) + (ODD_DEV,) * (variance < -limits[1])
    return Diagnosis(case, bias, variance, train, validation, best, *limits, odd + advice)


def _of_history(history: Mapping[str, Sequence[float]], epoch: int) -> tuple[float, float, bool]:
    names = [name for name in ("accuracy", "loss") if name in history and f"val_{name}" in history]
    if not names:
        expected = "'loss' and 'val_loss', or 'accuracy' and 'val_accuracy' (give validation_data to fit)"
        raise ValueError(f"errors: got a history of {checking.shown(list(history))}, expected one with {expected}")
    keys = names[0], f"val_{names[0]}"
    for key in keys:
        if not _is_list(history[key]) or len(history[key]) != len(history[keys[0]]):
            got = checking.shown(history[key])
            raise TypeError(f"errors[{key!r}]: got {got}, expected a list of numbers, as long as the other one")
    count = len(history[keys[0]])
    if not count:
        raise ValueError("errors: got a history without epochs, expected at least one")
    index = checking.integer("epoch", epoch, -count, count - 1)
    train, validation = (checking.number(f"errors[{key!r}]", history[key][index]) for key in keys)
    return (1 - train, 1 - validation, True) if names[0] == "accuracy" else (train, validation, False)


def _is_list(value) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _of_pair(errors: Sequence[float]) -> tuple[float, float, bool]:
    if not _is_list(errors) or len(errors) != 2:
        raise TypeError(f"errors: got {checking.shown(errors)}, expected (train, validation) or a history")
    train, validation = (checking.number(f"errors[{index}]", error) for index, error in enumerate(errors))
    return train, validation, max(train, validation) <= 1


def _limit(name: str, value: float | None, rates: bool) -> float:
    if value is not None:
        return checking.number(name, value)
    if not rates:
        raise ValueError(f"{name}: got None, expected a number: only errors that are rates have a limit by default")
    return LIMIT
