"""Trainer: fits a model by a loss, penalties and an optimizer, on an engine. The loop itself is in `epochs`."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.callbacks.argument import gather
from fastreg.callbacks.base import Callback
from fastreg.callbacks.history import History
from fastreg.callbacks.training import Best
from fastreg.common import checking, html
from fastreg.common.attributes import Settable
from fastreg.common.understood import understood
from fastreg.engines import averages
from fastreg.engines.arena import Arena
from fastreg.engines.base import Tally, Total, buffer_bytes
from fastreg.engines.session import ROWS, Claim, Session, Sessions, bind, make_state
from fastreg.intake.schema import Schema
from fastreg.losses import penalties
from fastreg.losses.adversarial import FGSM
from fastreg.losses.losses import Loss
from fastreg.losses.penalties import L1, L2, Distance, ElasticNet
from fastreg.machine import _core
from fastreg.model.dataset import Data
from fastreg.model.model import Model, check_trainable
from fastreg.model.tasks import means, of_each, total_loss, unwrapped
from fastreg.optimizers.optimizers import Optimizer
from fastreg.program.program import Program
from fastreg.training import questions
from fastreg.training.epochs import make_plan, run_epochs
from fastreg.training.heldback import SINGLE, held_back_sets, split_off
from fastreg.training.programs import MODES, make_program
from fastreg.training.refit import refit as second_round
from fastreg.training.settings import Settings
from fastreg.training.weighting import weigh_heads

if TYPE_CHECKING:
    from fastreg.data.augment import Augmentation
    from fastreg.model.summary import Summary
    from fastreg.optimizers.averaging import Averaging
    from fastreg.optimizers.schedules import Schedule

ARGUMENTS = tuple(row.name for row in fields(Settings))
COUNTERS = frozenset(("epoch", "batches", "step", "updates"))


class Trainer(Settable):
    """Trains a model to minimize J = data loss + sum of l2/2 |W|^2 + sum of l1 |W|_1 + the layers' activity penalties.

    The sums are over all weights W, except those of frozen layers.

    Parameters
    ----------
    model
        A `Sequential` or a `Model`. If it has no parameters yet, they are drawn from `seed` when the trainer first sees
        data. The loss decides what the model predicts from the first fit on: probabilities under a cross-entropy.
    loss
        "softmax_cross_entropy", "sigmoid_cross_entropy", "mse", another name in `fastreg.losses.BY_NAME` or an object
        of `fastreg.losses`. Keras's, PyTorch's and scikit-learn's names are understood, such as "binary_crossentropy".
        None takes the loss that the model keeps from its last training, also in its file; for a new model
        "softmax_cross_entropy". For a model with several heads a dict by head; one loss is for all of them. Each head
        then has its own loss, targets and sample weights, and the sum of the losses takes the place of the data loss.
        Instead of an object you can give a spec: text such as "sgd(lr=0.01)"
        (`fastreg.specs`), here and for the other arguments.
    optimizer
        A name in `fastreg.optimizers.BY_NAME`, such as "adam", or an object such as `fastreg.SGD(0.1)`.
    l1, l2
        Penalties on all weights: a number, a `fastreg.L1`, a `fastreg.L2`. A layer's own `l1=` and `l2=` take
        precedence. Biases are never penalized.
    penalty
        Both penalties in one argument: a `fastreg.ElasticNet`, or an L1 or L2 alone; the other is then 0. The trainer
        stores it as `l1` and `l2`. `trainer.penalty` can also be set later. To read the penalties, use `l1` and `l2`:
        `penalty(rows)` is a method.
    distance
        A `fastreg.penalties.Distance` between the weights of two layers, or a list of them.
    missing_targets
        Whether NaN among the targets, or a label of -1, means "no target here", as `fastreg.losses.MSE` and the other
        losses describe. It is an option of the loss, so the trainer stores it there. None leaves it as the loss has it.
    loss_weights
        For several heads: a dict of factors of their losses in the sum, of at least 0. 1 where it has none.
    metrics
        Names such as ("accuracy", "f1", "roc_auc"), all in `fastreg.metrics.BY_NAME`, and functions of (y_true,
        y_pred); pairs (name, function), or a dict of them, give names. The accuracy under the
        cross-entropies is counted as training runs. All others are computed on whole predictions, so they exist for
        `evaluate` and for the held-back data of fit, not for the training set ("val_f1"). y_pred is what predict gives.
        y_true has the targets in their own units: classes (n,) as the columns of y_pred count them, else (n, outputs).
        Rows without a target are left out. A function with a parameter `sample_weight` gets the weights, or None. The
        default is ignored under losses without an accuracy. With several heads a dict by head, such as {"digit":
        ["accuracy"]}; a list is for all heads whose loss its metrics fit.
    clip_norm
        Limit on the norm of all gradients of a step together. Above it, they are scaled down to it (Pascanu et al.,
        2013): multiplied by clip_norm / (norm + 1e-6), as in PyTorch. The gradients include the penalties, except a
        proximal L1.
    clip_value
        Each element of the gradients is cut to +- this limit, before clip_norm.
    accumulate
        Number of batches per optimizer step. Their gradients combine as if they were one large batch. The last step of
        an epoch may have fewer. Refused above 1 with a `BatchNorm`, whose moments are those of one batch.
    augment
        An object of `fastreg.data.augment`, or a spec such as "compose([rotate(15), flip()])". It changes the images at
        random, anew in each epoch, and only in training.
    adversarial
        A `fastreg.FGSM`: each step trains on the rows of the batch and on a perturbed copy of each.
    mixup
        The alpha of mixup (Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018), such as 0.2. Training sees,
        in place of row i of a batch of M, share x_i + (1 - share) x_j with j = (i + shift) mod M, and targets that are
        mixed likewise: labels become shares of two classes, whose loss is share l(y_i) + (1 - share) l(y_j). Each batch
        draws its share from Beta(alpha, alpha), and its shift from 1 to M - 1, from the seed and the number of the
        batch. A mixed row has the sample weight of row i. In the accuracy of the training set the class of the larger
        share counts as correct. Held-back data are not mixed. None or 0 for none.
    averaging
        A `fastreg.EMA` or a `fastreg.SWA`: the model holds averages of the weights that training goes through.
        Validation, callbacks, `evaluate`, `predict` and files see the averages. The next fit goes on from the raw
        weights, "<parameter>/raw" of `optimizer_state`, or from what has been set meanwhile.
    engine
        "native" (C) or "reference" (NumPy).
    dtype
        "float32" or "float64".
    precision
        That of the products of dense layers, forward and back. "float32" leaves them in the dtype. "bfloat16" rounds
        both operands to 8 bits and sums in float32; all else stays as it is, weights and optimizer included. It needs
        the dtype "float32" and a model without `Conv2D`. See "Precision" in the guide.
    seed
        Seed of the parameters, of dropout and of the order of the samples. The same seed, data and settings give the
        same bits for any number of threads.
    threads
        Number of threads of this trainer. None takes the default (`fastreg.set_num_threads`).

    Attributes
    ----------
    model, loss, optimizer, ... :
        Each argument except `penalty`, under its name. You can change it between fits, and it is checked as in the
        constructor. It cannot change during a fit; callbacks can only set learning rates (`Callback.on_rates`).
    epoch, batches : int
        Epochs and batches seen since the start or the last `reset`.
    updates : int
        Optimizer steps taken since then. One step may take several batches (`accumulate`). Schedules with per="step"
        count these steps. This is also the t of Adam.
    step : int
        An older name of `batches`. The dropout masks depend on it. Schedules do not.
    arguments : Settings
        All checked arguments in one object. Setting one of them replaces the object.
    lr, learning_rate : float or schedule
        The rate of the optimizer. Setting it keeps the optimizer's state.
    stop_training : bool
        A callback sets it to end training after the current epoch.
    best : fastreg.stopping.Best or None
        The best epoch of the last fit with a stopping rule. None if that fit had no best epoch.
    history : History
        The results of all epochs since the trainer was made or reset, over all its fits. It grows with each epoch, so
        it also has those of a fit that Ctrl-C or a divergence has ended.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(1.0), l2=1e-4)
    >>> history = trainer.fit(X, y, epochs=20, batch_size=20)
    >>> trainer.evaluate(X, y)["accuracy"] > 0.95
    True
    """

    _taken: np.ndarray | None = None  # which steps of the current epoch are taken; None for all

    @understood
    def __init__(
        self,
        model: Model,
        loss: str | Loss | Mapping[str, str | Loss] | None = None,
        optimizer: str | Optimizer = "sgd",
        *,
        l1: float | L1 = 0.0,
        l2: float | L2 = 0.0,
        penalty: L1 | L2 | ElasticNet | None = None,
        distance: Distance | Iterable[Distance] = (),
        missing_targets: bool | None = None,
        loss_weights: Mapping[str, float] | None = None,
        metrics: Any = ("accuracy",),
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        augment: str | Augmentation | None = None,
        adversarial: FGSM | None = None,
        mixup: float | None = None,
        averaging: str | Averaging | None = None,
        engine: str = "native",
        dtype: str = "float32",
        precision: str = "float32",
        seed: int = 0,
        threads: int | None = None,
    ):
        given = dict(locals())
        del given["self"], given["missing_targets"]
        self.arguments = Settings(**_with_early(given, self.__dict__.pop("_early", {})))
        if missing_targets is not None:
            self.arguments = replace(self.arguments, loss=self._taking_missing(missing_targets))
        self.arguments.check()
        self.epoch = self.batches = self.updates = 0
        self.stop_training = False
        self.best: Best | None = None
        self.history = History()
        self._state: Arena | None = None  # of the optimizer
        self._trained: Arena | None = None  # the parameters that the state belongs to
        self._state_of = ""  # and the kind of its optimizer
        self._sessions = Sessions()
        self._fitting = Claim()
        self._complete = True

    _tally: Tally | None = None  # of the last epoch

    # --- Arguments -----------------------------------------------------------------------------------------------

    if TYPE_CHECKING:  # the arguments are properties, made below
        model: Model
        loss: Any
        loss_weights: dict[str, float] | None
        optimizer: Optimizer
        l1: L1
        l2: L2
        distance: tuple[Distance, ...]
        metrics: tuple[str, ...]
        clip_norm: float | None
        clip_value: float | None
        accumulate: int
        augment: Augmentation | None
        adversarial: FGSM | None
        mixup: float | None
        averaging: Averaging | None
        engine: str
        dtype: str
        precision: str
        seed: int
        threads: int | None

    def __setattr__(self, name: str, value) -> None:
        """Checks an argument as the constructor does. During a fit no argument may change: the program is already
        made, so the epoch loop, validation and checkpoints would disagree about it."""
        if name in COUNTERS:  # the loop sets them after every slice
            self.__dict__["batches" if name == "step" else name] = checking.integer(name, value, 0)
            return
        if name in (*ARGUMENTS, "penalty") and "arguments" not in self.__dict__:
            # a derived class sets it before it calls this constructor, which takes it from here
            self.__dict__.setdefault("_early", {})[name] = value
            return
        if name in ARGUMENTS or name in ("penalty", "missing_targets"):
            self._fitting.check_free(name)
            changed: dict[str, Any] = {name: value}
            if name == "missing_targets":
                changed = {"loss": self._taking_missing(value)}
            elif name == "penalty":
                changed = dict(zip(("l1", "l2"), penalties.pair(name, value), strict=True))
            name, value = "arguments", replace(self.arguments, **changed)
        elif name == "arguments":
            if not isinstance(value, Settings):
                raise TypeError(f"arguments: got {checking.shown(value)}, expected the Settings of a trainer")
            if "_fitting" in self.__dict__:  # not yet in the constructor
                self._fitting.check_free(name)
        if name in ("arguments", "stop_training", "best"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def lr(self) -> float | Schedule:
        """The learning rate of the optimizer: a number or a schedule. Setting it keeps the optimizer's state. Between
        fits only: in a fit, `Callback.on_rates` sets rates. `learning_rate` is the same."""
        return self.optimizer.lr

    @lr.setter
    def lr(self, value: float | Schedule) -> None:
        try:
            self.optimizer = replace(self.optimizer, lr=value)
        except RuntimeError:
            raise RuntimeError("lr: the model is being fitted; a callback sets rates in on_rates") from None

    learning_rate = lr

    @property
    def step(self) -> int:
        """An older name of `batches`. The steps of the optimizer are `updates`."""
        return self.batches

    @property
    def missing_targets(self):
        """Whether NaN among the targets means "no target": an option of the loss, which can also be set here. Of
        several heads a dict."""
        return unwrapped({head: loss.missing_targets for head, loss in self.arguments.losses.items()})

    def _taking_missing(self, value) -> dict[str, Loss]:
        """The losses with this `missing_targets`, which may be a dict by head."""
        losses = self.arguments.losses
        given = of_each("missing_targets", value, list(losses), None) if isinstance(value, Mapping) else None
        if given is None:
            return {head: loss.taking_missing(value) for head, loss in losses.items()}
        return {
            head: loss if given[head] is None else loss.taking_missing(given[head]) for head, loss in losses.items()
        }

    def _means(self, tally: Tally) -> dict[str, float]:
        """Loss and counted metrics of what a run has added up."""
        return means(self.arguments.tasks, tally)

    def _loss_since(self, tally: Tally, before: Sequence[Total] | None = None) -> float:
        """The mean loss of the rows since the totals were `before`."""
        return total_loss(self.arguments.tasks, tally.totals, before)

    def settings(self) -> dict[str, Any]:
        """The arguments that decide the result of training: all but the model and the number of threads."""
        return self.arguments.deciding()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics that exist for the loss."""
        return self.arguments.metric_names

    @property
    def _counted_metrics(self) -> tuple[str, ...]:
        """Those of them that an engine counts as it runs, so that they exist for the training set, too."""
        return self.arguments.counted_metrics

    # --- Training ------------------------------------------------------------------------------------------------

    @understood
    def fit(
        self,
        X,
        y=None,
        *,
        epochs: int = 1,
        batch_size: int = 128,
        shuffle: bool = True,
        rows=None,
        sample_weight=None,
        class_weight=None,
        validation_data: tuple | Mapping[str, tuple] | None = None,
        validation_split: float | None = None,
        callbacks: Callback | str | Iterable[Callback | str] = (),
        verbose: int = 0,
        resume=None,
        resume_missing: str = "error",
        changed: str | Iterable[str] = (),
    ) -> History:
        """Trains for some epochs. Another call continues where the last one ended.

        Parameters
        ----------
        X
            (n, ...) finite real numbers of any strides, or a memory map. X is copied as a whole only if its dtype is
            float16, long double, unsigned of 32 or 64 bits, or of another byte order. Or a frame of numbers, or a
            sparse matrix of SciPy's, which is read row by row. With several inputs a dict of such by input, or a list
            in the order of the inputs.
        y
            The targets of the loss: None if X is a table with the columns of the model's targets. Labels (n,), integers
            or names of classes, or one-hot rows or rows of probabilities (n, outputs) for "softmax_cross_entropy", else
            (n, outputs), or (n,) for one output. With several heads a dict by head; None says that no row has a target
            in that head.
        epochs
            The number of epochs to add. With `resume`, the total number, counted from the start of the trainer.
        batch_size
            Rows per batch. The last batch of an epoch may be smaller; it is used, too.
        shuffle
            Whether each epoch has a new order of the rows. The order follows from the seed and the epoch.
        rows
            The rows of X and y to train on, as integers, such as a bootstrap set or a fold of cross-validation. None
            for all. The data are not copied. An epoch has that many rows, and a row that comes twice is trained on
            twice. All other arguments, including `sample_weight`, still cover all rows of X.
        sample_weight
            (n,) weights w of at least 0. The loss of a batch is sum(w_i l_i) / sum(w_i). A batch whose weights are all
            0 takes no step. A row of weight 0 needs no target: NaN, or a label of -1, will do. With several heads one
            array for all of them, or a dict by head, each with its own sums.
        class_weight
            A dict {label: weight}, with weight 1 for all other labels. Or "balanced": n / (k c) for a label that c
            of the n rows have, with k different labels (King and Zeng, 2001; scikit-learn's formula).
            It multiplies `sample_weight`: weight 2 counts the row twice, weight 0 drops it. The targets must be labels.
            With several labels per row, each yes or no, {output: w} counts a yes in that output w times, a no once, and
            "balanced" counts n / (2 c) for each yes of an output with c of them among n, n / (2 (n - c)) for each no.
            The loss of a row stays the mean over its outputs. It does not apply to `validation_data`. With several
            heads a dict of these by head.
        validation_data
            (X, y) or (X, y, sample_weight), to evaluate after each epoch, without dropout and without the penalty. Or a
            table that holds the targets too, or a dict of several such sets: {"val": (X, y), "test": (X, y)} gives
            "val_loss", "test_loss" and so on.
        validation_split
            Instead of validation_data: the share of the rows to hold back, below 1. They are drawn by the trainer's
            seed, and each class keeps its share. Nothing is copied, as with `rows`. 0 and None hold back none.
        callbacks
            A `fastreg.Callback` object or a spec, or a list of them.
        verbose
            0 is silent, 1 shows progress, 2 prints a line per epoch.
        resume
            The path of a file of `fastreg.Checkpoint`. The fit continues from there and ends with the same bits as a
            fit that never stopped. Model, settings, callbacks and the sizes of data and batches must be those of the
            checkpoint, except what `changed` names. The trainer may be a new one or a used one, whose training so far
            is then replaced.
        resume_missing
            What to do if there is no such file: "error", or "start" to train from the start, so that the same line
            serves the first run and all later ones.
        changed
            With `resume`: the arguments that may differ from those of the checkpoint, such as ("optimizer",) for
            another rate, or ("callbacks", "rows"). The fit goes on with what is given now. Callbacks of the same kind
            and monitor go on from their state in the file. A warning says what starts afresh, such as the state of
            another kind of optimizer.

        Returns
        -------
        History
            The results of this fit: "loss" (mean over the samples), "penalty" (mean over the steps), "accuracy",
            "val_loss", "val_accuracy" and other metrics, "seconds" of training, "lr" (the rate of the last batch), and
            what callbacks have added. Each is a list with one value per epoch. `trainer.history` has all fits.

        Raises
        ------
        ValueError, TypeError
            An argument is not as described above. Nothing has changed.
        ValueError
            A row of a memory map has a value that is not finite. The parameters are those of the start of the epoch.
        DivergenceError
            The loss or a parameter is no longer finite. The parameters are those of the last finished epoch, and
            `error.history` has the finished epochs.
        RuntimeError
            The model is already being fitted: by another thread, or the call comes from a callback.
        KeyboardInterrupt
            Ctrl-C. Training first finishes the current slice of about 0.1 s, and the parameters are those at its end.
            If the slice takes longer than 0.15 to 0.2 s, its batch is broken off, and the parameters are those of the
            start of the epoch. `error.history` has the finished epochs.
        """
        resume = None if resume is None else checking.path("resume", resume)
        checking.choice("resume_missing", resume_missing, ("error", "start"))
        if resume is None:
            for name, value, default in (("changed", changed, ()), ("resume_missing", resume_missing, "error")):
                if not isinstance(value, type(default)) or value != default:
                    raise ValueError(
                        f"{name}: got {checking.shown(value)} without resume, expected a resume=path with it"
                    )
        count = checking.integer("epochs", epochs)
        batch_size = checking.integer("batch_size", batch_size)
        shuffle = checking.flag("shuffle", shuffle)
        callbacks = gather(callbacks, verbose)
        settings = self.arguments
        check_trainable(settings.model)
        if y is None and type(X) is tuple and len(X) == 2:
            raise TypeError("X: got a pair, expected two arguments: fit(X, y)")
        schema = settings.seen(X, y)
        data = settings.checked(X, y, sample_weight, rows, schema=schema)
        shape = data.sample_shape
        settings.check_augment(shape)
        validation = held_back_sets(settings, validation_data, shape, schema)
        share = checking.number("validation_split", validation_split or 0.0, 0, 1, below=True)
        if share:
            if validation:
                raise ValueError(f"validation_split: got {share:g} with validation_data, expected one of the two")
            data, validation[SINGLE] = split_off(data, share, self.seed)
        data, repeat = self._weighed(data, class_weight)
        plan, saved = make_plan(self, data, validation, count, batch_size, shuffle, callbacks, repeat), None
        plan = replace(plan, whole=self.history, fitting=settings.fitting_metrics)
        if resume is not None and resume_missing == "start" and not os.path.lexists(resume):
            if count < self.epoch:
                raise ValueError(f"epochs: got {count}, expected at least the {self.epoch} that the trainer has run")
            plan = replace(plan, last_epoch=count)
        elif resume is not None:
            from fastreg.training import resume as resuming  # imports all that reads files, so only if needed

            plan, saved = resuming.resume(resume, self, plan, count, shape, changed, schema)
            schema = saved.schema
        for callback in callbacks:
            callback.check_fit(self, plan)
        settings.build(shape)
        n = data.size
        settings.check_batches(n, batch_size)

        def run() -> History:
            with self._session("train", min(batch_size, n), n, True, data.losses) as session:
                settings.keep(schema)
                return run_epochs(self, session, data, validation, plan, saved)

        return self._fitting.during("fit", lambda: settings.model._claim.during("fit", run))

    def _training_data(
        self, X, y, sample_weight=None, class_weight=None, rows=None, schema: Schema | None = None
    ) -> tuple[Data, dict[str, Any]]:
        """The checked data of fit, with class weights multiplied in, and the facts about them that a resumed fit must
        share. `schema` is that of the model, unless given."""
        return self._weighed(self.arguments.checked(X, y, sample_weight, rows, schema=schema), class_weight)

    def _weighed(self, data: Data, class_weight) -> tuple[Data, dict[str, Any]]:
        """The data of fit with class weights multiplied in, and the facts about them that a resumed fit must share."""
        if class_weight is None:
            return data, {}
        data, noted = weigh_heads(data, self.arguments.tasks, self.model.widths, self.dtype, class_weight)
        return data, {"class_weight": noted}

    refit = second_round

    def reset(self) -> None:
        """Sets the optimizer state, all counters and the history back to the start. The parameters stay.

        Callbacks of earlier fits then start afresh, too.
        """
        self.model._claim.check_free("reset")
        state = [] if self._state is None else [(self._state.flat, np.zeros((), self._state.flat.dtype))]
        counters = dict.fromkeys(("epoch", "batches", "updates"), 0)
        _core.replace(state, self.__dict__, {**counters, "best": None, "history": History()})

    @property
    def optimizer_state(self) -> dict[str, np.ndarray]:
        """The arrays that the optimizer keeps, by "<parameter>/<slot>"; not copies. Empty before the first fit.

        Slots have the letters of the optimizer's formulas: "v" for SGD's momentum, "m" and "v" for Adam.
        """
        return {} if self._state is None else self._state.arrays

    @understood
    def copy(self, dtype: str | None = None, engine: str | None = None) -> Trainer:
        """An independent trainer with a copy of the model, the optimizer's state and the counters.

        Parameters
        ----------
        dtype, engine
            Those of the copy. None keeps those of this trainer.
        """
        settings = self.settings()
        settings["engine"] = self.engine if engine is None else engine
        settings["dtype"] = self.dtype if dtype is None else dtype
        other = Trainer(self.model.copy(dtype), **settings, threads=self.threads)
        other.epoch, other.batches, other.updates, other.best = self.epoch, self.batches, self.updates, self.best
        other.history = self.history.copy()
        if self._state is not None and self._trained is self.model._arena:
            other._state = Arena({name: slot.shape for name, slot in self._state.items()}, other.dtype)
            other._state.fill(self._state)
            other._trained = other.model._arena
            if averages.is_known(self.model._arena, self._state):  # in another dtype they have another mark
                averages.note(other.model._arena, other._state)
        return other

    __copy__ = copy

    def __repr__(self) -> str:
        """The arguments that differ from their defaults, and how long it has trained."""
        told = [repr(self.model), *(f"{name}={value!r}" for name, value in self._unusual())]
        lines: list[str] = []
        margin = " " * 8
        for part in told:
            if lines and len(lines[-1]) + len(part) < 100 and len(lines) > 1:
                lines[-1] += f", {part}"
            else:
                lines.append(part)
        return f"Trainer({f',{chr(10)}{margin}'.join(lines)})\n{margin}{self._progress()}"

    def _unusual(self) -> list[tuple[str, Any]]:
        """The arguments that differ from their defaults, always with loss and optimizer."""
        usual = {name: p.default for name, p in inspect.signature(Trainer).parameters.items()}
        usual |= {"l1": L1(0.0), "l2": L2(0.0), "loss": None, "optimizer": None}
        return [(name, getattr(self, name)) for name in ARGUMENTS[1:] if getattr(self, name) != usual[name]]

    def _progress(self) -> str:
        if not self.batches:
            return "not trained yet"
        epochs = "1 epoch" if self.epoch == 1 else f"{self.epoch} epochs"
        steps = "1 step" if self.updates == 1 else f"{self.updates} steps"
        return f"{epochs} trained, {steps} of the optimizer"

    @understood
    def summary(self, batch_size: int = 128) -> Summary:
        """`model.summary()`, and the memory that training takes: the optimizer's state, and buffers for batches of so
        many rows.

        Parameters
        ----------
        batch_size
            As in fit.

        Examples
        --------
        >>> import fastreg as fr
        >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer="adam")
        >>> trainer.model.build(4)
        >>> print(trainer.summary().splitlines()[-1])
        training in batches of 128 by Adam: 120 B of state, 25.12 KiB of buffers
        """
        from fastreg.model.summary import summary  # few ask, and it is not needed to train

        rows = checking.integer("batch_size", batch_size)
        return summary(self.model, [self._memory(rows)] if self.model.built else [])

    def _memory(self, rows: int) -> str:
        """The memory of training, in words."""
        from fastreg.model.summary import memory

        program = make_program(self.arguments, "train", rows, True)
        parameters, itemsize = self.model.parameters, np.dtype(self.dtype).itemsize
        shapes = [parameters[name].shape for name, rule in program.rules.items() for _ in rule.slots]
        shapes += averages.shapes(program, parameters).values()
        state = memory(sum(math.prod(shape) for shape in shapes) * itemsize)
        buffers = memory(buffer_bytes(program, rows, self.dtype))
        name = type(self.optimizer).__name__
        return f"training in batches of {rows:,} by {name}: {state} of state, {buffers} of buffers"

    def _repr_html_(self) -> str:
        """Settings and model, for a notebook."""
        told = html.table(["argument", "value"], [[name, repr(value)] for name, value in self._unusual()], left=2)
        return html.page("Trainer", self._progress(), told) + self.summary().html

    # --- Questions -----------------------------------------------------------------------------------------------

    @understood
    def evaluate(self, X, y=None, sample_weight=None, *, rows=None) -> dict[str, float]:
        """Loss and metrics, without dropout and without the penalty. `rows` selects rows as in fit.

        Returns
        -------
        dict
            "loss" and the `metrics`, weighted by `sample_weight`. The accuracy of "sigmoid_cross_entropy" is the share
            of outputs on the correct side of 1/2. A metric that is not defined for these data, such as "roc_auc" of a
            single class, is scikit-learn's value for that, with a warning. With several heads "loss" is the sum of
            weight * "<head>_loss", and metrics have names such as "<head>_accuracy".
        """
        return questions.evaluate_data(self, self.arguments.checked(X, y, sample_weight, rows), "X, y", quiet=False)

    @understood
    def predict(self, X, batch_size: int = ROWS, *, rows=None, samples: int | None = None, seed: int = 0):
        """`model.predict` on the engine and in the precision of this trainer. `rows` selects rows as in fit.

        With `samples`, it returns (mean, std) of that many passes with dropout and noise on.
        """
        how = self.arguments.transforms, self.engine, self.threads
        return self.model._run_forward(X, batch_size, *how, rows, samples, seed, self.precision)

    def gradients(self, X, y, sample_weight=None, step: int | None = None) -> dict[str, np.ndarray]:
        """The gradients of `objective`. Nothing is updated. L1 adds its subgradient l1 sign(W).

        A `BatchNorm` normalizes by the moments of these rows, here and in `objective` and `row_losses`, as in training.

        Parameters
        ----------
        X, y, sample_weight
            One batch.
        step
            None for no dropout. A number for the dropout masks of that batch, as counted by `batches`.

        Returns
        -------
        dict
            The gradient of each trained parameter, by name. They are not clipped.
        """
        return questions.gradients(self, X, y, sample_weight, step)

    def objective(self, X, y, sample_weight=None, step: int | None = None) -> float:
        """The data loss of X as one batch, plus the penalties: what the optimizer minimizes. `step` as in gradients."""
        return questions.objective(self, X, y, sample_weight, step)

    def row_losses(self, X, y, sample_weight=None, step: int | None = None, *, activity: bool = False):
        """The loss of each row, float64 (n,), of several heads by name. The weights are checked but not applied. `step`
        is as in gradients.

        With `activity`, the loss of a row includes its activity penalties. Where the model scales its targets, the loss
        is that of scaled targets, as in `objective`.
        """
        return questions.row_losses(self, X, y, sample_weight, step, activity)

    def input_gradient(self, X, y, *, rows=None):
        """The gradient of the data loss of each row at its inputs, dl_i/dx_i: how sensitive the loss is to each input.

        Dropout and noise are off. The gradient excludes the penalties, and rows are neither weighted nor averaged. x is
        the input before any standardization. The sign of the gradient is the direction of the fast gradient sign method
        (Goodfellow et al., Explaining and Harnessing Adversarial Examples, 2015; `fastreg.FGSM`).

        Parameters
        ----------
        X, y
            As in evaluate.
        rows
            Selects rows, as in fit.

        Returns
        -------
        ndarray of the shape of X
            In the working dtype. With several inputs a dict of them. With `rows`, the selected rows only.

        Raises
        ------
        ValueError, TypeError
            An argument is not as described above.
        DivergenceError
            A loss is not finite.

        Examples
        --------
        >>> import numpy as np, fastreg as fr
        >>> model = fr.Sequential([fr.Dense(1)])
        >>> model.build(2)
        >>> model.load_state_dict({"0.weight": [[3.0], [-1.0]], "0.bias": [0.0]})
        >>> trainer = fr.Trainer(model, "mse")
        >>> trainer.input_gradient(np.array([[1.0, 1.0]]), [0.0])  # 2 (y - t) w with y = 2
        array([[12., -4.]], dtype=float32)
        """
        return questions.input_gradient(self, X, y, rows)

    def penalty(self, rows: int) -> float:
        """The value of the penalties at the current parameters, without frozen ones. `rows` is the number that
        m="batch" and m="train" divide by."""
        return questions.penalty(self, rows)

    def _checked(self, *given, names: tuple[str, str, str], shape: Any) -> Data:
        """X, y and maybe sample weights, checked. `names` are theirs in an error, `shape` that of a sample."""
        return self.arguments.checked(*given, names=names, shape=shape)

    # The same for data that are already checked.

    def _evaluate_data(self, data: Data, names: str = "X, y") -> dict[str, float]:
        """`evaluate` for data that are already checked, without its warnings. `names` are their names in an error."""
        return questions.evaluate_data(self, data, names, quiet=True)

    def _perturbed(self, data: Data, step: int | None = None) -> np.ndarray:
        """The rows of `data` as the attack perturbs them at the current parameters. `step` is as in gradients."""
        return questions.perturbed(self, data, step)

    def _run_batch(self, mode: str, data: Data, step: int | None) -> AbstractContextManager[tuple[Session, Tally]]:
        """Runs all rows of the checked `data` as one batch, with dropout if there is a step."""
        return questions.run_batch(self, mode, data, step)

    # --- Programs ------------------------------------------------------------------------------------------------

    def program(self, mode: str, rows: int = 1, dropout: bool | None = None) -> Program:
        """The program that the engines run for a batch.

        Parameters
        ----------
        mode
            "train", "gradients", "probe" (gradients without the perturbed rows of an attack), "input_gradient",
            "losses", "evaluate" or "predict".
        rows
            The number of rows of the training set: the m of penalties with m="train".
        dropout
            Whether to draw masks, noise, augmentation and mixup. By default only for "train".
        """
        checking.choice("mode", mode, MODES)
        dropout = mode == "train" if dropout is None else checking.flag("dropout", dropout)
        return make_program(self.arguments, mode, checking.integer("rows", rows), dropout)

    def _session(
        self, mode: str, batch_size: int, rows: int, dropout: bool, losses: Mapping[str, Loss] | None = None
    ) -> AbstractContextManager[Session]:
        """A context with the program of `mode`, bound to the engine. It is kept until what it depends on changes.
        `losses` take the place of those of the trainer for some heads."""
        settings = self.arguments
        if losses:
            settings = replace(settings, loss=settings.losses | dict(losses))
        rows = rows if settings.follows_rows else 1
        model = settings.model
        bound_to = id(model._arena), model._changes, settings.engine, settings.threads, settings.in_programs
        units = settings.model.scales
        key = batch_size, rows, dropout, units, *bound_to
        return self._sessions.hold(mode, key, partial(self._bind, mode, settings))

    def _bind(self, mode: str, settings: Settings, key: tuple) -> Session:
        batch_size, rows, dropout, *_ = key
        program = make_program(settings, mode, rows, dropout)
        arena, state, kind = settings.model._arena, None, settings.optimizer.rule().kind
        if mode == "train":
            state = make_state(program, arena, settings.dtype)
            if self._state is not None and self._trained is arena and self._state.keys() == state.keys():
                state = self._state
            elif self._state is not None and self._trained is arena:  # another optimizer, or a layer frozen or thawed
                same = self._state_of == kind
                kept = {name: slot for name, slot in self._state.items() if same or averages.belongs(name)}
                state.take({**state, **{name: slot for name, slot in kept.items() if name in state}})
        session = bind(key, program, arena, state, batch_size, settings.engine, settings.threads)
        if mode == "train":
            self.__dict__.update(_state=state, _trained=arena, _state_of=kind)
        return session


def _with_early(given: dict[str, Any], early: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the constructor, with those that a derived class has set before it called the constructor."""
    for name, value in early.items():
        usual = inspect.signature(Trainer).parameters[name].default
        if given[name] is not usual and given[name] != value:
            got = f"got {checking.shown(given[name])} in Trainer.__init__"
            raise ValueError(
                f"{name}: {got}, and {checking.shown(value)} as an attribute before it, expected one value"
            )
        given[name] = value
    return given


for _name in ARGUMENTS:
    setattr(Trainer, _name, property(attrgetter(f"arguments.{_name}"), doc=f"The argument `{_name}`."))
