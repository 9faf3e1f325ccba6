"""The same training from several seeds: how much of a result is luck, and members for an ensemble."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastreg.common import checking
from fastreg.distributed import Jobs
from fastreg.training.many.fits import KEPT, Fits
from fastreg.training.many.members import Common, Make, Member, checked_fit, checked_make, data_of, train


def fit_seeds(
    make: Make,
    X: Any,
    y: Any = None,
    seeds: int | Iterable[int] = 5,
    *,
    test_data: tuple | None = None,
    keep: str = "states",
    n_jobs: int | None = None,
    verbose: int = 0,
    **fit: Any,
) -> Fits:
    """Trains from several seeds: how far do the results spread?

    Without joblib the fits run one after the other in this process, each on all threads. With `n_jobs`, or under
    `joblib.parallel_config(backend="loky")`, "dask", "ray" or another, they run on its workers, with the same bits.

    Parameters
    ----------
    make
        A function of the seed that gives a new `fastreg.Trainer`. Or a trainer that has not trained; copies of it get
        the seeds.
    X, y
        As in `fastreg.Trainer.fit`, or paths of .npy files, which the workers open.
    seeds
        The seeds, or their number: 0, 1, ...
    test_data
        (X, y) or (X, y, sample_weight) for the scores. None takes `validation_data` of fit, if it is one set, else the
        last values of the history.
    keep
        What comes back beside scores and histories: "states" for the parameters, "trainers" for the trainers, "scores"
        for nothing more.
    n_jobs
        The number of joblib's workers, -1 for one per processor. None for the active backend of joblib.
    verbose
        1 tells the progress on standard error.
    **fit
        Arguments of `fastreg.Trainer.fit`, such as epochs. Each fit gets its own copies of `callbacks`; these may also
        be a function of the number of the fit that gives a list.

    Returns
    -------
    Fits
        A sequence with `scores`, `histories`, `states` and `trainers`, in the order of the seeds.

    Raises
    ------
    ValueError, TypeError, DivergenceError
        As in `fastreg.Trainer.fit`. The message begins with the seed.
    RuntimeError
        Workers died again and again. The tasks of a worker that dies are run again a few times.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> def make(seed):
    ...     return fr.Trainer(fr.Sequential([fr.Dense(16, "relu"), fr.Dense(2)]), optimizer=fr.Adam(0.01), seed=seed)
    >>> fits = fr.fit_seeds(make, X[:1500], y[:1500], 3, epochs=10, test_data=(X[1500:], y[1500:]))
    >>> fits["accuracy"].shape, bool(fits.mean("accuracy") > 0.8)
    ((3,), True)
    """
    make = checked_make(make)
    if isinstance(seeds, (int,)) and not isinstance(seeds, bool):
        seeds = range(checking.integer("seeds", seeds))
    found = [checking.seed(seed) for seed in checking.iterate("seeds", seeds, "seeds, or their number")]
    checking.choice("keep", keep, KEPT)
    settings, data = data_of(X, y, checked_fit(fit_seeds, fit), test_data=test_data)
    members = [Member(f"seed {seed}", number, keep, seed) for number, seed in enumerate(found)]
    with Jobs(Common(make, settings), data, n_jobs, verbose) as jobs:
        return Fits(jobs.run(train, members, [member.name for member in members]))
