"""Searches for good settings: a grid or random draws, each trained to the end or only while it is among the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fastreg.common import checking, html
from fastreg.common.attributes import Suggesting
from fastreg.common.names import advice
from fastreg.common.tables import table
from fastreg.distributed import Jobs
from fastreg.metrics.registry import largest_is_best
from fastreg.training.many.fits import Fits
from fastreg.training.many.folds import Pairs, splits
from fastreg.training.many.members import (
    SEARCHED,
    Common,
    Make,
    Member,
    arguments_of,
    checked_fit,
    checked_make,
    data_of,
    parted,
    takes,
    train,
)
from fastreg.training.many.space import Params, grid_points, random_points
from fastreg.training.trainer import Trainer

SHOWN = 10


@dataclass(frozen=True)
class Search(Suggesting):
    """What a search has found. Print it for a table, the best first.

    params        the values that were tried
    fits          the last fits of each of them, one for each fold
    epochs        how far each was trained
    monitor       the score that was compared, and `largest`, whether a large one is good
    best_index    the number of the best in `params`
    trainer       with `refit`: the best settings, trained on all rows
    """

    params: list[Params]
    fits: list[Fits] = field(repr=False)
    epochs: list[int]
    monitor: str
    largest: bool
    best_index: int
    trainer: Trainer | None = field(default=None, repr=False)

    @property
    def best_params(self) -> Params:
        """The best values."""
        return self.params[self.best_index]

    @property
    def best_score(self) -> float:
        """Their score, the mean over the folds."""
        return self.mean[self.best_index]

    @property
    def mean(self) -> list[float]:
        """The mean of the score over the folds, for each of `params`."""
        return [fits.mean(self.monitor) for fits in self.fits]

    @property
    def std(self) -> list[float]:
        """Its standard deviation over the folds."""
        return [fits.std(self.monitor) for fits in self.fits]

    def to_dict(self) -> dict[str, list]:
        """Columns for a data frame: `pandas.DataFrame(search.to_dict())`."""
        names = dict.fromkeys(name for point in self.params for name in point)
        columns: dict[str, list] = {name: [point.get(name) for point in self.params] for name in names}
        return columns | {"epochs": self.epochs, f"{self.monitor}": self.mean, f"{self.monitor} std": self.std}

    def __repr__(self) -> str:
        return f"{self._head()}\n{table(*self._table())}"

    def _repr_html_(self) -> str:
        """The best values and their scores, for a notebook."""
        return html.page(self._head(), html.table(*self._table()))

    def _head(self) -> str:
        return f"Search of {len(self.params)}, by {self.monitor}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """The heads and the rows of the table, the best first."""
        mean, std = self.mean, self.std
        order = sorted(range(len(mean)), key=lambda k: (-self.epochs[k], _rank(mean[k], self.largest)))
        rows = [[told(self.params[k]), str(self.epochs[k]), f"{mean[k]:.4g} ± {std[k]:.2g}"] for k in order[:SHOWN]]
        if len(order) > SHOWN:
            rows.append([f"and {len(order) - SHOWN} more", "", ""])
        return ["", "epochs", self.monitor], rows


def grid_search(
    make: Make,
    grid: Any,
    X: Any,
    y: Any = None,
    *,
    cv: Any = 5,
    monitor: str = "loss",
    mode: str = "auto",
    factor: int | None = None,
    refit: bool = True,
    groups: Any = None,
    seed: int = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
    **fit: Any,
) -> Search:
    """Trains with all combinations of some values, and compares them by cross-validation.

    Without joblib the fits run one after the other in this process. With `n_jobs`, or under
    `joblib.parallel_config(backend="loky")`, "dask", "ray" or another, they run on its workers, with the same bits.

    Parameters
    ----------
    make
        A function of the names in the grid that gives a new trainer. If it has a parameter `seed`, it gets the seed. Or
        a trainer that has not trained, whose arguments the grid names, such as "l2", "lr" or "optimizer".
    grid
        A dict of lists of values by name, or a list of such dicts. epochs, batch_size, shuffle and class_weight are
        for fit, unless `make` takes them.
    X, y
        As in `fastreg.Trainer.fit`, or paths of .npy files, which the workers open.
    cv
        As in `fastreg.cross_validate`. None compares by `validation_data`, which must then be given.
    monitor
        The score to compare: "loss" or one of the trainer's metrics.
    mode
        "min" or "max"; "auto" knows it by the name.
    factor
        Halving: all are trained for a share of the epochs, then the best 1/factor of them for `factor` times as many,
        and so on up to all epochs. They train on, they do not begin again, but callbacks begin again. None trains all
        to the end.
    refit
        Whether to train the best settings on all rows at the end: `search.trainer`.
    groups, seed, n_jobs, verbose, **fit
        As in `fastreg.cross_validate`.

    Returns
    -------
    Search
        `best_params`, `best_score`, `trainer`, and all that was tried.

    Raises
    ------
    ValueError, TypeError, DivergenceError
        An argument is not as described above, or as in `fastreg.Trainer.fit`.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> def make(width, l2):
    ...     return fr.Trainer(fr.Sequential([fr.Dense(width, "relu"), fr.Dense(2)]), optimizer=fr.Adam(0.01), l2=l2)
    >>> search = fr.grid_search(make, {"width": [1, 16], "l2": [0.0, 1e-3]}, X, y, cv=3, epochs=5)
    >>> len(search.params), search.best_params["width"]
    (4, 16)
    """
    points = grid_points(grid)
    how = _How(grid_search, make, cv, monitor, mode, factor, refit, groups, seed, n_jobs, verbose)
    return _search(how, points, X, y, fit)


def random_search(
    make: Make,
    space: Any,
    X: Any,
    y: Any = None,
    *,
    n_iter: int = 20,
    cv: Any = 5,
    monitor: str = "loss",
    mode: str = "auto",
    factor: int | None = None,
    refit: bool = True,
    groups: Any = None,
    seed: int = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
    **fit: Any,
) -> Search:
    """Trains with random values, and compares them by cross-validation. With `factor`, most of them only briefly.

    Parameters
    ----------
    make
        As in `fastreg.grid_search`.
    space
        A dict by name. A list is drawn from; (low, high) is uniform, for two whole numbers with both ends;
        (low, high, "log") is uniform in the logarithm. Or a distribution of `scipy.stats`, or a function of a
        `numpy.random.Generator`.
    X, y, cv, monitor, mode, factor, refit, groups, n_jobs, verbose, **fit
        As in `fastreg.grid_search`.
    n_iter
        The number of draws.
    seed
        Seed of the draws and of the folds.

    Returns
    -------
    Search
        `best_params`, `best_score`, `trainer`, and all that was tried.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> def make(width, lr):
    ...     return fr.Trainer(fr.Sequential([fr.Dense(width, "relu"), fr.Dense(2)]), optimizer=fr.Adam(lr))
    >>> space = {"width": (1, 32), "lr": (1e-3, 0.1, "log")}
    >>> search = fr.random_search(make, space, X, y, n_iter=9, factor=3, cv=2, epochs=9)
    >>> sorted(search.epochs)
    [1, 1, 1, 1, 1, 1, 3, 3, 9]
    """
    points = random_points(space, checking.integer("n_iter", n_iter), checking.seed(seed))
    how = _How(random_search, make, cv, monitor, mode, factor, refit, groups, seed, n_jobs, verbose)
    return _search(how, points, X, y, fit)


@dataclass(frozen=True)
class _How:
    """The arguments that both searches have."""

    who: Callable[..., Search]
    make: Make
    cv: Any
    monitor: str
    mode: str
    factor: int | None
    refit: bool
    groups: Any
    seed: int
    n_jobs: int | None
    verbose: int


def _search(how: _How, points: list[Params], X: Any, y: Any, fit: dict[str, Any]) -> Search:
    make, settings = checked_make(how.make), checked_fit(how.who, fit)
    seed, refit = checking.seed(how.seed), checking.flag("refit", how.refit)
    monitor = checking.text("monitor", how.monitor)
    largest = _largest(monitor, how.mode)
    factor = None if how.factor is None else checking.integer("factor", how.factor, 2)
    for name in dict.fromkeys(name for point in points for name in point):
        if not takes(make, name) and name not in SEARCHED:
            near = advice("keyword", name, (*arguments_of(make), *SEARCHED))
            who = how.who.__name__
            raise ValueError(f"{who}: got {name!r} among the values, which neither make nor fit takes{near}")
    if factor is not None and any("epochs" in point for point in points):
        raise ValueError("factor: got halving with 'epochs' among the values, expected one of the two")
    pairs = None
    if how.cv is None:
        if settings.get("validation_data") is None:
            raise ValueError("cv: got None without validation_data, expected one of the two")
    else:
        pairs = splits(X, y, how.cv, how.groups, seed)
    light, data = data_of(X, y, settings, folds=pairs)
    epochs = checking.integer("epochs", light.get("epochs", 1))
    rungs = [epochs] if factor is None else _rungs(epochs, len(points), factor)
    members = {k: _members(points[k], k, pairs, seed) for k in range(len(points))}
    reached, found, left, best = [0] * len(points), [Fits(())] * len(points), list(members), 0
    with Jobs(Common(make, light), data, how.n_jobs, how.verbose) as jobs:
        for before, upto in zip([0, *rungs], rungs, strict=False):
            more, keep = None if factor is None else upto - before, "scores" if upto == epochs else "trainers"
            tasks = [replace(member, epochs=more, keep=keep) for k in left for member in members[k]]
            fits = iter(jobs.run(train, tasks, [member.name for member in tasks]))
            for k in left:
                own = [next(fits) for _ in members[k]]
                members[k] = [replace(member, trainer=fit.trainer) for member, fit in zip(members[k], own, strict=True)]
                found[k], reached[k] = Fits(replace(fit, trainer=None) for fit in own), upto
            monitor = _known(monitor, found[left[0]])
            left.sort(key=lambda k: _rank(found[k].mean(monitor), largest))
            best = left[0]
            left = sorted(left[: max(len(left) // (factor or 1), 1)])
    if factor is None:
        reached = [parted(make, point)[1].get("epochs", epochs) for point in points]
    search = Search(points, found, reached, monitor, largest, best)
    if not refit:
        return search
    last = Member(f"the best, {told(points[best])}", 0, "trainers", seed, points[best])
    with Jobs(Common(make, light), data, 1) as jobs:
        (fit_of_all,) = jobs.run(train, [last], [last.name])
    return replace(search, trainer=fit_of_all.trainer)


def _members(point: Params, k: int, pairs: Pairs | None, seed: int) -> list[Member]:
    """The fits of one point: one for each fold."""
    if pairs is None:
        return [Member(told(point), k, "scores", seed, point)]
    count = len(pairs)
    return [
        Member(f"{told(point)}, fold {fold + 1} of {count}", k * count + fold, "scores", seed, point, fold)
        for fold in range(count)
    ]


def _rungs(epochs: int, points: int, factor: int) -> list[int]:
    """After how many epochs the best 1/factor go on: as often as there are points and epochs for it."""
    rungs = [epochs]
    while rungs[0] >= factor and points >= factor:
        rungs.insert(0, rungs[0] // factor)
        points //= factor
    return rungs


def _known(monitor: str, fits: Fits) -> str:
    """The name of the score, as the trainers call it."""
    scores = fits.scores
    name = monitor if monitor in scores else monitor.removeprefix("val_").removeprefix("test_")
    if name not in scores:
        near = advice("monitor", monitor, scores)
        raise ValueError(f"monitor: got {monitor!r}, expected one of {', '.join(scores)}{near}")
    return name


def _largest(monitor: str, mode: str) -> bool:
    """Whether a large score is good."""
    mode = checking.choice("mode", mode, ("auto", "min", "max"))
    known = largest_is_best(monitor) if mode == "auto" else mode == "max"
    if known is None:
        raise ValueError(f"mode: got 'auto' for {monitor!r}, expected 'min' or 'max'")
    return known


def _rank(score: float, largest: bool) -> float:
    """A number by which the best score comes first, and NaN last."""
    return math.inf if math.isnan(score) else -score if largest else score


def told(point: Params) -> str:
    """The values in one line."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in point.items()
    )
