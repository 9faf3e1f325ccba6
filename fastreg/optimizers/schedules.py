"""Schedules: the learning rate as a function of the epoch or of the step, in the forms of torch.optim.lr_scheduler.

A schedule can be given wherever a rate can, as in `SGD(schedules.Cosine(0.1, 50))`. In a fit, `LRScheduler` replaces
the rate by a schedule.

Time is counted in epochs, `trainer.epoch`, or in steps of the optimizer, `trainer.updates`. The number of batches,
`trainer.batches`, is another count: with `accumulate=`, a step takes several batches. per="update" is the same as
per="step". Epochs and steps are counted from 0 when the trainer is made or `reset`, and the counts go on from fit to
fit.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import numpy as np

from fastreg.common import checking, names, specs
from fastreg.common.description import Description
from fastreg.common.names import missing as _missing

UNITS = ("epoch", "step", "update")


@dataclass(frozen=True, repr=False)
class Schedule(Description):
    """Base class of schedules. A subclass gives the rate `at` a time, and says in `per` what unit time has.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import fastreg as fr
    >>> @dataclass(frozen=True)
    ... class Harmonic(fr.schedules.Schedule):
    ...     lr: float
    ...     per: str = "step"
    ...
    ...     def at(self, time):
    ...         return self.lr / (1 + time)
    >>> Harmonic(0.5).rates(0, 4)
    array([0.5       , 0.25      , 0.16666667, 0.125     ])
    """

    per = "epoch"

    def at(self, time: int) -> float:
        """The rate of the epoch or step `time`, counted from 0."""
        raise NotImplementedError

    def rates(self, start: int, stop: int) -> np.ndarray:
        """The rates of the epochs or steps `start` to `stop` - 1, float64 (stop - start,)."""
        # One by one in plain Python: the last bits of NumPy's cos and power vary between processors.
        return np.array([self.at(time) for time in range(start, stop)], np.float64)


@dataclass(frozen=True, repr=False)
class Given(Schedule, saved=False):
    """A function of the user's: the rate of each epoch.

    A function can be given wherever a rate or a schedule can, as in `fr.SGD(lambda epoch: 0.1 / (epoch + 1))`.

    Parameters
    ----------
    function
        (epoch) -> the rate of this epoch, at least 0. The first epoch is 0, as in Keras and PyTorch.

    Raises
    ------
    TypeError
        `function` does not take one argument.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.schedules.Given(lambda epoch: 0.1 / (epoch + 1)).rates(0, 2)
    array([0.1 , 0.05])
    """

    function: Callable[[int], float]

    def __post_init__(self):
        if not callable(self.function) or isinstance(self.function, type):
            raise TypeError(f"function: got {checking.shown(self.function)}, expected a function of the epoch")
        try:
            inspect.signature(self.function).bind(0)
        except TypeError:
            name = checking.shown(self.function)
            raise TypeError(
                f"function: got {name}, expected one that takes one argument, the epoch: lambda epoch: 0.1 * 0.9**epoch"
            ) from None
        except ValueError:  # of a C function without a signature
            pass

    def at(self, time: int) -> float:
        return checking.number(f"{self!r} at {time}", self.function(time))

    def __repr__(self) -> str:
        return f"Given({getattr(self.function, '__name__', checking.shown(self.function))})"


@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    """Always `lr`.

    Parameters
    ----------
    lr
        Learning rate, at least 0.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.schedules.Constant(0.1).rates(0, 3)
    array([0.1, 0.1, 0.1])
    """

    lr: float

    def __post_init__(self):
        self._set(lr=checking.number("lr", self.lr))

    def at(self, time: int) -> float:
        return self.lr


@dataclass(frozen=True, repr=False)
class Step(Schedule):
    """lr gamma^floor(t / every): torch's StepLR.

    Parameters
    ----------
    lr
        The first rate, at least 0.
    every
        Number of epochs (steps) between two changes.
    gamma
        Factor on the rate at each change, at least 0.
    per
        What t counts: "epoch" (usual for StepLR) or "step" (of the optimizer).

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.schedules.Step(1.0, every=2, gamma=0.5).rates(0, 6)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    """

    lr: float
    every: int
    gamma: float = 0.1
    _: KW_ONLY
    per: str = "epoch"

    def __post_init__(self):
        self._set(
            lr=checking.number("lr", self.lr),
            every=checking.integer("every", self.every),
            gamma=checking.number("gamma", self.gamma),
            per=_unit(self.per),
        )

    def at(self, time: int) -> float:
        return _scaled(self.lr, self.gamma, time // self.every)


@dataclass(frozen=True, repr=False)
class Exponential(Schedule):
    """lr gamma^t: torch's ExponentialLR.

    Parameters
    ----------
    lr
        The first rate, at least 0.
    gamma
        Factor from one epoch (step) to the next, at least 0.
    per
        What t counts: "epoch" (usual for ExponentialLR) or "step" (of the optimizer).

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.schedules.Exponential(1.0, 0.5).rates(0, 4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """

    lr: float
    gamma: float
    _: KW_ONLY
    per: str = "epoch"

    def __post_init__(self):
        self._set(
            lr=checking.number("lr", self.lr),
            gamma=checking.number("gamma", self.gamma),
            per=_unit(self.per),
        )

    def at(self, time: int) -> float:
        return _scaled(self.lr, self.gamma, time)


@dataclass(frozen=True, repr=False)
class Cosine(Schedule):
    """min_lr + (lr - min_lr) (1 + cos(pi t / period)) / 2: torch's CosineAnnealingLR.

    The rate reaches min_lr at t = period, and rises again after that, as in torch. (Loshchilov and Hutter, SGDR, 2017,
    without its restarts.)

    Parameters
    ----------
    lr
        The first rate, at least 0.
    period
        Number of epochs (steps) to the lowest rate. Usually that of the whole training.
    min_lr
        The lowest rate, at least 0.
    per
        What t counts: "epoch" (usual for CosineAnnealingLR) or "step" (of the optimizer).

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.schedules.Cosine(1.0, 4).rates(0, 5).round(3)
    array([1.   , 0.854, 0.5  , 0.146, 0.   ])
    """

    lr: float
    period: int
    min_lr: float = 0.0
    _: KW_ONLY
    per: str = "epoch"

    def __post_init__(self):
        self._set(
            lr=checking.number("lr", self.lr),
            period=checking.integer("period", self.period),
            min_lr=checking.number("min_lr", self.min_lr),
            per=_unit(self.per),
        )

    def at(self, time: int) -> float:
        return _cosine(self.lr, self.min_lr, time % (2 * self.period) / self.period)


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """Up from max_lr / div_factor to max_lr, then down to max_lr / div_factor / final_div_factor: torch's OneCycleLR.

    The top is at t = pct_start total - 1, the end at t = total - 1; both parts follow half a cosine, a + (b - a)
    (1 - cos(pi s)) / 2 for s from 0 to 1. After the end the rate stays. Momentum is not cycled. (Smith and Topin,
    Super-convergence, 2018.)

    Parameters
    ----------
    max_lr
        The highest rate, at least 0.
    total
        Number of steps (epochs) of the whole cycle. A whole training has epochs * ceil(n / batch_size) steps.
    pct_start
        The share of the cycle in which the rate rises, from 0 to below 1.
    div_factor, final_div_factor
        The first rate is max_lr / div_factor. The last rate is the first rate / final_div_factor. At least 1.
    per
        What t counts: "step" (of the optimizer, usual for OneCycleLR) or "epoch".

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.schedules.OneCycle(1.0, 6, pct_start=0.5, div_factor=4).rates(0, 6).round(3)
    array([0.25 , 0.625, 1.   , 0.75 , 0.25 , 0.   ])
    """

    max_lr: float
    total: int
    _: KW_ONLY
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    per: str = "step"

    def __post_init__(self):
        self._set(
            max_lr=checking.number("max_lr", self.max_lr),
            total=checking.integer("total", self.total),
            pct_start=checking.number("pct_start", self.pct_start, 0, 1, below=True),
            div_factor=checking.number("div_factor", self.div_factor, 1),
            final_div_factor=checking.number("final_div_factor", self.final_div_factor, 1),
            per=_unit(self.per),
        )

    def at(self, time: int) -> float:
        first = self.max_lr / self.div_factor
        top, end = self.pct_start * self.total - 1, self.total - 1
        if time < top:
            return _cosine(first, self.max_lr, time / top)
        return _cosine(self.max_lr, first / self.final_div_factor, (min(time, end) - top) / (end - top))


@dataclass(frozen=True, repr=False)
class Warmup(Schedule):
    """Rises linearly from start_factor r to r, the first rate of another schedule, which then begins.

    The rate is r (start_factor + (1 - start_factor) t / steps) while t < steps, then that of `then` at t - steps. This
    is torch's SequentialLR of a LinearLR and another schedule. Time is counted as in `then`.

    Parameters
    ----------
    steps
        Number of steps in which the rate rises (or of epochs, if `then` counts epochs).
    then
        The schedule that follows, or a number for a constant rate. With a number, `steps` are steps, not epochs.
    start_factor
        Where the rate starts, as a share of r, from 0 to 1. The default is a third, as in torch.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.schedules.Warmup(4, 0.4, start_factor=0.25).rates(0, 6)
    array([0.1  , 0.175, 0.25 , 0.325, 0.4  , 0.4  ])
    >>> fr.SGD(fr.schedules.Warmup(100, fr.schedules.OneCycle(0.1, 1000)), momentum=0.9)
    SGD(lr=Warmup(100, OneCycle(0.1, 1000)), momentum=0.9)
    """

    steps: int
    then: Schedule | float
    _: KW_ONLY
    start_factor: float = 1 / 3

    def __post_init__(self):
        self._set(
            steps=checking.integer("steps", self.steps),
            then=rate("then", self.then),
            start_factor=checking.number("start_factor", self.start_factor, 0, 1),
            per=self.then.per if isinstance(self.then, Schedule) else "step",
        )

    def at(self, time: int) -> float:
        if time >= self.steps:
            return _at(self.then, time - self.steps)
        return _at(self.then, 0) * (self.start_factor + (1 - self.start_factor) * time / self.steps)


BY_NAME = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "warmup": Warmup,
}


def rate(name: str, value) -> Schedule | float:
    """The argument `name`: a learning rate of at least 0, a schedule, a spec of one, or a function of the epoch."""
    if isinstance(value, Schedule):
        return value
    if specs.is_call(value):
        return specs.make(name, value, BY_NAME)
    checking.made(name, value)
    if isinstance(value, str):
        meant = names.own("lr", value, BY_NAME)
        near = f": {meant}(...)" if meant else f" such as cosine(0.1, 50){names.advice('lr', value, BY_NAME)}"
        raise TypeError(f"{name}: got {checking.shown(value)}, expected a number or a schedule{near}")
    if callable(value):
        return Given(value)
    return checking.number(name, value)


def fill(
    rates: np.ndarray,
    lr: Schedule | float,
    epoch: int,
    step: int,
    accumulate: int = 1,
    taken: np.ndarray | None = None,
) -> None:
    """Writes the rates of an epoch's batches. The first `accumulate` of them make up step `step`, and so on. `taken`
    says of each step whether it is taken: one of zero weight is not, and the next one has its rate. None for all."""
    if isinstance(lr, Schedule) and lr.per in ("step", "update"):  # a user's schedule may say either
        if taken is None:
            own = lr.rates(step, step + -(-len(rates) // accumulate))
        else:
            before = np.cumsum(taken) - taken
            count = max(1, int(taken.sum()))
            own = lr.rates(step, step + count)[np.minimum(before, count - 1)]
        rates[...] = own.repeat(accumulate)[: len(rates)]
    else:
        rates.fill(_at(lr, epoch))


def _unit(per) -> str:
    """The argument `per`: "epoch" or "step"."""
    return "step" if checking.choice("per", per, UNITS) == "update" else per


def _at(lr: Schedule | float, time: int) -> float:
    return lr.at(time) if isinstance(lr, Schedule) else lr


def _cosine(start: float, end: float, part: float) -> float:
    """Half a cosine from `start` (part = 0) to `end` (part = 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _scaled(lr: float, gamma: float, exponent: int) -> float:
    """lr gamma^exponent."""
    try:
        return lr * gamma**exponent
    except OverflowError:
        return math.inf if lr else 0.0  # a fit refuses inf when it gets there; a rate of 0 stays 0


__getattr__ = _missing(__name__)
