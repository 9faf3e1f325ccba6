"""Cross-validation: each fold is held back once, and judges a model that has trained on the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastreg.common import checking
from fastreg.data.split import folds_of
from fastreg.distributed import Jobs
from fastreg.training.many.fits import KEPT, Fits
from fastreg.training.many.members import (
    Common,
    Make,
    Member,
    checked_fit,
    checked_make,
    count_and_labels,
    data_of,
    opened,
    train,
)

Pairs = list[tuple[np.ndarray, np.ndarray]]


def cross_validate(
    make: Make,
    X: Any,
    y: Any = None,
    *,
    cv: Any = 5,
    groups: Any = None,
    seed: int = 0,
    keep: str = "scores",
    n_jobs: int | None = None,
    verbose: int = 0,
    **fit: Any,
) -> Fits:
    """Trains once for each fold on all other rows, and evaluates on the fold. The data are not copied.

    Without joblib the folds run one after the other in this process. With `n_jobs`, or under
    `joblib.parallel_config(backend="loky")`, "dask", "ray" or another, they run on its workers, with the same bits.

    Parameters
    ----------
    make
        A trainer that has not trained, of which each fold trains a copy. Or a function that gives a new one, of no
        argument or of the seed.
    X, y
        As in `fastreg.Trainer.fit`, or paths of .npy files, which the workers open.
    cv
        The number of folds, as `fastreg.data.folds` makes them: shuffled, stratified if y holds labels. Or one of
        scikit-learn's splitters, or pairs (rows to train on, rows held back).
    groups
        (n,) Rows of the same group are held back together.
    seed
        Seed of the folds. A function of the seed gets it too: all folds start from the same parameters.
    keep
        What comes back beside scores and histories: "states", "trainers", or "scores" for nothing more.
    n_jobs, verbose, **fit
        As in `fastreg.fit_seeds`.

    Returns
    -------
    Fits
        A sequence in the order of the folds. `fits.scores["accuracy"]` has one value for each; `fits.mean("loss")`.

    Raises
    ------
    ValueError, TypeError, DivergenceError
        As in `fastreg.Trainer.fit`. The message begins with the fold.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(16, "relu"), fr.Dense(2)]), optimizer=fr.Adam(0.01))
    >>> fits = fr.cross_validate(trainer, X, y, cv=4, epochs=5)
    >>> [fit.name for fit in fits][:2], len(fits.scores["accuracy"])
    (['fold 1 of 4', 'fold 2 of 4'], 4)
    """
    make = checked_make(make)
    checking.choice("keep", keep, KEPT)
    seed = checking.seed(seed)
    pairs = splits(X, y, cv, groups, seed)
    settings, data = data_of(X, y, checked_fit(cross_validate, fit), folds=pairs)
    own = None if not callable(make) else seed
    members = [Member(f"fold {k + 1} of {len(pairs)}", k, keep, own, fold=k) for k in range(len(pairs))]
    with Jobs(Common(make, settings), data, n_jobs, verbose) as jobs:
        return Fits(jobs.run(train, members, [member.name for member in members]))


def splits(X: Any, y: Any, cv: Any, groups: Any, seed: int) -> Pairs:
    """The rows to train on and those held back, for each fold."""
    count, labels = count_and_labels(X, y)
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        try:
            return folds_of(count, labels, int(cv), None, groups, seed)
        except ValueError as error:
            raise ValueError(f"cv{str(error)[1:]}" if str(error).startswith("k:") else str(error)) from None
    if callable(getattr(cv, "split", None)) and not isinstance(cv, (str, bytes)):  # which have a method of this name
        found: Iterable[Any] = cv.split(np.empty((count, 1)), opened(y) if labels is None else labels, groups)
    else:
        if groups is not None:
            raise ValueError("groups: got groups with pairs of rows as cv, expected one of the two")
        found = checking.iterate("cv", cv, "a number of folds, a splitter, or pairs of rows")
    pairs = []
    for pair in found:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"cv: got {checking.shown(pair)}, expected pairs (rows to train on, rows held back)")
        pairs.append((_rows(pair[0], count), _rows(pair[1], count)))
    if not pairs:
        raise ValueError("cv: got no folds, expected at least one")
    return pairs


def _rows(value: Any, count: int) -> np.ndarray:
    rows = checking.rows("cv", value, count)
    if rows is None:
        raise TypeError("cv: got None as rows, expected integers")
    return rows
