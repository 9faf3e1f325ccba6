"""Ensembles: several models that predict together."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastreg.callbacks.argument import listed
from fastreg.callbacks.base import Callback
from fastreg.callbacks.history import History
from fastreg.common import checking
from fastreg.common.attributes import Suggesting
from fastreg.common.showing import function_name
from fastreg.common.tables import table
from fastreg.common.transforms import TRANSFORMS
from fastreg.common.understood import understood
from fastreg.distributed import Jobs, Watch, checked_n_jobs
from fastreg.engines.native import flops_between_barriers
from fastreg.machine import threads
from fastreg.machine.threads import checked as checked_threads
from fastreg.program import random
from fastreg.program.ops import Call
from fastreg.program.riders import PURPOSE_BOOTSTRAP, stream
from fastreg.training.sidebyside import side_by_side
from fastreg.training.trainer import Trainer

MOST = (1 << 16) - 1  # members: the streams of the random draws have no room for more
SEEDS = 1 << 53  # seeds of members are below it
MIN_EPOCH_FLOPS = 5e6  # below it Python takes most of an epoch, and only one thread at a time can run Python


@dataclass(frozen=True)
class EnsembleVariance(Suggesting):
    """What `Bagging.variance` measured. Print it for a table.

    v           mean squared error of a member
    c           mean product of the errors of two members on the same sample
    predicted   v/j + c (j-1)/j for j = 1, ..., k members
    measured    mean squared error of the mean of the first j members
    """

    v: float
    c: float
    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    def __str__(self) -> str:
        rows = [
            [str(j + 1), f"{predicted:.6g}", f"{measured:.6g}"]
            for j, (predicted, measured) in enumerate(zip(self.predicted, self.measured, strict=True))
        ]
        return f"v = {self.v:.6g}, c = {self.c:.6g}\n" + table(["members", "v/j + c(j-1)/j", "measured"], rows, left=0)


class Bagging(Suggesting):
    """Trains k models on k bootstrap sets. They predict by averaging or by voting.

    A bootstrap set is n of the n samples, drawn with replacement: about 63 % of the samples, some of them several
    times. It is an array of indices. The data are not copied.

    Parameters
    ----------
    builder
        seed -> a new `fastreg.Trainer` with its own model. The seed is an integer, a different one for each member.
        Pass it to the trainer, so that members start from different parameters and draw different masks.
    k
        Number of members. 5 to 10 are usual.
    combine
        "mean" of the predictions, or "vote". Each member votes for its class (under "sigmoid_cross_entropy", for yes or
        no in each output), and predictions are shares of the votes. Values, as under "mse", cannot be voted on.
    seed
        Seed of the bootstrap sets and of the members' seeds. With the same seed, a larger ensemble starts with the
        members of a smaller one.
    threads
        Number of threads for training all members together. None for the default (`fastreg.set_num_threads`).
    parallel
        True trains members at the same time, with one thread each. False trains one after the other, with all threads.
        None chooses what is faster. The bits are the same.
    n_jobs
        The number of joblib's workers to train the members on, -1 for one per processor. None for the active backend of
        joblib, as in `joblib.parallel_config(backend="loky")`, "dask" or "ray"; without one, and with `parallel`, the
        members are trained in this process. The bits are the same. Callbacks of members on other processes are copies,
        and what they collect stays there.

    Attributes
    ----------
    members : list of Trainer
        The members of the last fit. `members[i].model.save(path)` saves one.
    rows : list of ndarray
        The bootstrap sets of the members: int64 (n,), indices into the data of the fit.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above, or fit finds that the trainers of the builder do not fit together.

    Notes
    -----
    L. Breiman, "Bagging predictors", Machine Learning 24 (1996). For errors with variance v and covariance c, the mean
    of k members has the variance v/k + c (k-1)/k. See `variance`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> def builder(seed):
    ...     return fr.Trainer(fr.Sequential([fr.Dense(8, "relu"), fr.Dense(2)]), optimizer=fr.Adam(0.01), seed=seed)
    >>> bagging = fr.Bagging(builder, 5)
    >>> histories = bagging.fit(X, y, epochs=20, batch_size=20)
    >>> bagging.oob_score(X, y) > 0.9  # each sample is predicted by members that have not seen it
    True
    """

    @understood
    def __init__(
        self,
        builder: Callable[[int], Trainer],
        k: int,
        *,
        combine: str = "mean",
        seed: int = 0,
        threads: int | None = None,
        parallel: bool | None = None,
        n_jobs: int | None = None,
    ):
        if not _takes_one(builder):
            raise TypeError(
                f"builder: got {checking.shown(builder)}, expected a function of a seed that gives a Trainer"
            )
        self.builder = builder
        self.k = checking.integer("k", k, 1, MOST)
        self.combine = checking.choice("combine", combine, ("mean", "vote"))
        self.seed = checking.seed(seed)
        self.threads = checked_threads(threads)
        self.parallel = None if parallel is None else checking.flag("parallel", parallel)
        self.n_jobs = checked_n_jobs(n_jobs)
        if n_jobs is not None and parallel is not None:
            raise ValueError(f"n_jobs: got {n_jobs} with parallel={parallel}, expected one of the two")
        self.members: list[Trainer] = []
        self.rows: list[np.ndarray] = []

    # --- Training ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X,
        y,
        *,
        epochs: int = 1,
        batch_size: int = 128,
        shuffle: bool = True,
        sample_weight=None,
        class_weight=None,
        validation_data: tuple | None = None,
        callbacks: Callable[[int], Iterable[Callback]] | None = None,
    ) -> list[History]:
        """Trains k new members. At the end they replace those of an earlier fit.

        Parameters
        ----------
        X, y, epochs, batch_size, shuffle, sample_weight, class_weight, validation_data
            As in `fastreg.Trainer.fit`, the same for all members.
        callbacks
            A function of the member's number (from 0) that returns a list of new callbacks. Members cannot share
            callbacks, since they keep state. All are made before the first member is trained.

        Returns
        -------
        list of History
            One for each member.

        Raises
        ------
        ValueError, TypeError, DivergenceError, KeyboardInterrupt
            As in `fastreg.Trainer.fit`. The ensemble has not changed. The message from a worker
            begins with the member.
        """
        watchers = self._watchers(callbacks)
        members = self._build()
        arguments = members[0].arguments
        checked = arguments.checked(X, y, sample_weight, schema=arguments.seen(X, y)).inputs
        n = len(checked)
        rows = [_bootstrap(n, self.seed, i) for i in range(self.k)]
        settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle}
        settings |= {"sample_weight": sample_weight, "class_weight": class_weight, "validation_data": validation_data}

        def train(i: int, limit: int | None, *more: Callback) -> History:
            own, trainer = members[i].threads, members[i]
            trainer.threads = limit or own
            try:
                return trainer.fit(X, y, rows=rows[i], callbacks=[*watchers[i], *more], **settings)
            finally:
                trainer.threads = own

        if self.parallel is None:
            data = {"X": X, "y": y} | {name: settings.pop(name) for name in ("sample_weight", "validation_data")}
            with Jobs((settings, n, self.seed), data, self.n_jobs) as jobs:
                if jobs.elsewhere:
                    limit = None if self.threads is None else max(1, self.threads // jobs.workers)
                    tasks = [(i, members[i], watchers[i], limit) for i in range(self.k)]
                    trained = jobs.run(_train, tasks, [f"member {i}" for i in range(self.k)])
                    self.__dict__.update(members=[trainer for trainer, _ in trained], rows=rows)
                    return [history for _, history in trained]
            settings |= {name: data[name] for name in ("sample_weight", "validation_data")}
        count = self.threads or threads.get_num_threads()
        together = self._together(members[0], checked, checking.integer("batch_size", batch_size), count)
        histories = side_by_side([partial(train, i, 1) for i in range(together)], count) if together else []
        histories += [train(i, self.threads) for i in range(together, self.k)]
        self.__dict__.update(members=members, rows=rows)
        return histories

    def _build(self) -> list[Trainer]:
        """New members, checked to fit together."""
        seeds = random.integers(self.k, SEEDS, self.seed, stream(PURPOSE_BOOTSTRAP, MOST)).tolist()
        members = [self.builder(seed) for seed in seeds]
        for member in members:
            if not isinstance(member, Trainer):
                raise TypeError(f"builder: got a {type(member).__name__} as its result, expected a new Trainer")
        if len({id(member.model) for member in members}) < self.k:
            raise ValueError("builder: got the same model twice, expected a new Trainer with a new model at every call")
        if any(len(member.model.heads) > 1 or member.model.many_inputs for member in members):
            raise ValueError("builder: got a model of several inputs or heads, expected one of each")
        if len({(member.model.outputs, member.loss.transform, member.dtype) for member in members}) > 1:
            raise ValueError("builder: got models that differ in outputs, loss or dtype, expected all alike")
        if self.combine == "vote" and TRANSFORMS[members[0].loss.transform].answers == "numbers":
            raise ValueError(
                f"combine: got 'vote' under {members[0].loss.name!r}, expected 'mean': values cannot be voted on"
            )
        return members

    def _watchers(self, callbacks: Callable[[int], Iterable[Callback]] | None) -> list[list[Callback]]:
        """The callbacks of each member. Members do not share them, since a callback keeps weights and its trainer."""
        if callbacks is None:
            return [[] for _ in range(self.k)]
        if not _takes_one(callbacks):
            raise TypeError(f"callbacks: got {checking.shown(callbacks)}, expected a function of a member's number")
        watchers = [listed(callbacks(i)) for i in range(self.k)]
        known: set[int] = set()
        for own in watchers:
            for callback in own:
                if id(callback) in known:
                    raise ValueError(f"callbacks: got {checking.shown(callback)} twice, expected new ones per member")
                known.add(id(callback))
        return watchers

    def _together(self, trainer: Trainer, X: np.ndarray, batch_size: int, n: int) -> int:
        """How many members train at the same time. After them, each of the others trains alone, with all threads.

        n members on one thread each keep n threads busy without waiting for each other. The remaining r < n members
        take the time of one member if they train at the same time, and r / speed-up of it one after the other.
        """
        if self.parallel is not None:
            return self.k if self.parallel else 0
        trainer.arguments.build(X.shape[1:])
        rows = min(batch_size, len(X))
        program = trainer.program("train", len(X))
        flops = flops_between_barriers(program, trainer.model.parameters, rows)
        python = trainer.engine != "native" or any(isinstance(op, Call) for op in program.ops)
        epoch = flops * (1 + sum(op.wait for op in program.ops)) * len(X) / rows
        if n == 1 or python or epoch < MIN_EPOCH_FLOPS:
            return 0
        left = self.k % n
        fastest = max(flops / (flops / t + threads.MIN_FLOPS * (t - 1)) for t in range(1, n + 1))
        return self.k if left > fastest else self.k - left

    # --- Answers -------------------------------------------------------------------------------------------------

    def predict(self, X) -> np.ndarray:
        """The mean of the members' predictions, or the shares of their votes: (n, outputs).

        The class of a sample is that of the largest value. If several are equal, the first one counts.
        """
        members = self._trained()
        total = np.zeros(())
        for member in members:
            total = total + self._answer(member, X)
        return (total / len(members)).astype(members[0].dtype)

    def oob_predict(self, X) -> np.ndarray:
        """Predicts each sample of the fit with the members that have not seen it. NaN if all have seen it.

        Parameters
        ----------
        X
            The X that was given to fit.
        """
        members = self._trained()
        n, given = len(self.rows[0]), len(members[0].model._check_inputs("X", X))
        if given != n:
            raise ValueError(f"X: got {given} rows, expected the {n} of the fit")
        total, votes = np.zeros((n, members[0].model.outputs)), np.zeros((n, 1))
        for member, rows in zip(members, self.rows, strict=True):
            new = np.flatnonzero(np.bincount(rows, minlength=n) == 0)
            if len(new):
                total[new] += self._answer(member, X, new)
                votes[new] += 1
        return np.divide(total, votes, out=np.full_like(total, np.nan), where=votes > 0).astype(members[0].dtype)

    def oob_score(self, X, y) -> float:
        """The `score` of the predictions of `oob_predict`: an estimate for new data.

        Parameters
        ----------
        X, y
            The X and y that were given to fit. Samples that all members have seen are left out.
        """
        predictions = self.oob_predict(X)
        known = ~np.isnan(predictions[:, 0])
        if not known.any():
            raise ValueError(f"k: got {self.k}; every member has seen every sample, expected more members")
        return self._score(predictions[known], self._targets(y, len(predictions))[known])

    def score(self, X, y) -> float:
        """The accuracy of `predict`. If targets are values, R^2 = 1 - sum (y - p)^2 / sum (y - mean y)^2.

        R^2 is the mean over outputs. Under "sigmoid_cross_entropy" the accuracy is the share of outputs on the correct
        side of one half.
        """
        predictions = self.predict(X)
        return self._score(predictions, self._targets(y, len(predictions)))

    def variance(self, X, y) -> EnsembleVariance:
        """The mean squared error of 1, ..., k members, measured and by the formula v/j + c (j-1)/j.

        An error is prediction - target (for classes, probability - one-hot label), over all samples and outputs. v is
        the mean of its square, and c the mean product of the errors of two members. If all members have the same
        errors, c = v, and averaging does not help. If errors are independent, c = 0, and the error falls as 1/k. For
        j = k, formula and measurement agree by algebra. For smaller j they agree better if the errors of all members
        have similar moments.

        Parameters
        ----------
        X, y
            Samples. Take some that no member has seen, to learn about the error on new data.

        Returns
        -------
        EnsembleVariance
        """
        members = self._trained()
        k = len(members)
        if k < 2:
            raise ValueError("k: got 1, expected at least 2 members: one has no covariance")
        total, squares, measured = np.zeros(()), 0.0, []
        for j, member in enumerate(members, 1):
            predictions = member.predict(X).astype(np.float64)
            errors = predictions - _one_hot(self._targets(y, len(predictions)), predictions.shape)
            total = total + errors
            squares += float(np.nanmean(errors**2))  # of the targets that are there
            measured.append(float(np.nanmean((total / j) ** 2)))
        v = squares / k
        c = (measured[-1] * k * k - squares) / (k * (k - 1))  # the square of a sum: k squares and k (k-1) products
        return EnsembleVariance(v, c, tuple(v / j + c * (j - 1) / j for j in range(1, k + 1)), tuple(measured))

    def _trained(self) -> list[Trainer]:
        if not self.members:
            raise ValueError("members: got none; call fit first")
        return self.members

    def _answer(self, member: Trainer, X, rows: np.ndarray | None = None) -> np.ndarray:
        """What one member adds to the sum, in float64."""
        predictions = member.predict(X, rows=rows).astype(np.float64)
        if self.combine == "mean":
            return predictions
        transform = TRANSFORMS[member.loss.transform]
        if transform.answers == "classes":
            return _one_hot(predictions.argmax(axis=1), predictions.shape)
        return (predictions > transform.threshold).astype(np.float64)

    def _targets(self, y, rows: int) -> np.ndarray:
        member = self.members[0]
        target = member.model.schema.target
        encoded = target.encode("y", y, member.loss.missing_targets)
        return target.decode(member.loss.targets("y", encoded, rows, member.model.outputs, member.dtype))

    def _score(self, predictions: np.ndarray, targets: np.ndarray) -> float:
        """The score over the targets that are there."""
        transform = TRANSFORMS[self.members[0].loss.transform]
        if transform.answers == "classes":
            labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
            there = labels >= 0 if targets.ndim == 1 else ~np.isnan(targets[:, 0])
            return float(np.mean(predictions.argmax(axis=1)[there] == labels[there]))
        targets = targets.reshape(predictions.shape).astype(np.float64)
        there = ~np.isnan(targets)
        if transform.answers == "yes":
            threshold = 0.5 if self.combine == "vote" else transform.threshold
            return float(np.mean(((predictions > threshold) == (targets > 0.5))[there]))
        rest = np.nansum((targets - predictions) ** 2, axis=0)
        whole = np.nansum((targets - np.nanmean(targets, axis=0)) ** 2, axis=0)
        # a target that never changes: 1 for the exact answer, 0 for any other, as in scikit-learn
        share = np.divide(rest, whole, out=(rest > 0).astype(np.float64), where=whole > 0)
        return float(np.mean(1 - share))

    def __repr__(self) -> str:
        return f"Bagging({function_name(self.builder)}, {self.k}, combine={self.combine!r}, seed={self.seed})"


def _train(common: tuple, data: dict[str, Any], task: tuple, watch: Watch) -> tuple[Trainer, History]:
    """Trains a member on a worker."""
    settings, n, seed = common
    i, member, watchers, limit = task
    own = member.threads
    member.threads = limit or own
    try:
        return member, member.fit(**data, rows=_bootstrap(n, seed, i), callbacks=[*watchers, watch], **settings)
    finally:
        member.threads = own


def _bootstrap(n: int, seed: int, i: int) -> np.ndarray:
    """The rows of member i: n of n, drawn with replacement."""
    return random.integers(n, n, seed, stream(PURPOSE_BOOTSTRAP, i))


def _one_hot(targets: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels as one-hot rows (NaN for no label), values unchanged, in float64 of this shape."""
    if len(shape) == 2 and targets.ndim == 1 and targets.dtype.kind == "i" and shape[1] > 1:
        return np.where(targets[:, np.newaxis] < 0, np.nan, np.eye(shape[1])[targets])
    return targets.reshape(shape).astype(np.float64)


def _takes_one(function: Any) -> bool:
    """Whether a function can be called with one argument, as far as Python knows."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(0)
    except ValueError:  # from a C function without a signature
        return True
    except TypeError:
        return False
    return True
