"""Trainer: a model, a loss, penalties and an optimizer, brought together on an engine."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.callbacks.argument import gather
from fastreg.callbacks.base import Callback
from fastreg.callbacks.history import History
from fastreg.callbacks.training import Best
from fastreg.common import checking
from fastreg.engines.arena import Arena
from fastreg.engines.session import Claim, Session, Sessions, bind, make_state
from fastreg.losses import penalties
from fastreg.losses.adversarial import FGSM
from fastreg.losses.losses import Loss
from fastreg.losses.penalties import L1, L2, ElasticNet
from fastreg.model.dataset import Data, check_data, check_validation
from fastreg.model.sequential import Sequential
from fastreg.optimizers.optimizers import Optimizer
from fastreg.program.program import Program
from fastreg.training.epochs import make_plan, run_epochs
from fastreg.training.questions import Questions
from fastreg.training.recipe import ALL_FROZEN, Recipe, trained_layers
from fastreg.training.refit import refit as second_round
from fastreg.training.weighting import weigh_classes

if TYPE_CHECKING:
    from fastreg.data.augment import Augmentation

MODES = ("train", "gradients", "probe", "input_gradient", "evaluate", "predict")


class Trainer(Questions):
    """Trains a model: J = data loss + sum of l2/2 |W|^2 + sum of l1 |W|_1, the sums over the weights of the layers.

    Parameters
    ----------
    model
        A `Sequential`. Where it has no parameters yet, they are drawn from `seed` at the first sight of data. Its
        predictions become those of the loss: probabilities under a cross-entropy.
    loss
        "softmax_cross_entropy", "sigmoid_cross_entropy", "mse" or an object of `fastreg.losses`. This and every other
        object may be given by a spec, a call as text such as "sgd(lr=0.01)" (`fastreg.specs`).
    optimizer
        "sgd", "rmsprop", "adam", "adamw" or an object such as `fastreg.SGD(0.1)`.
    l1, l2
        Penalties on every weight: a number, `fastreg.L1`, `fastreg.L2`. A layer's own `l1=`, `l2=` win. Biases are
        never penalized.
    penalty
        Both in one, instead of them: a `fastreg.ElasticNet`, or an L1 or L2, beside which the other is 0. It is kept as
        `l1` and `l2`, also when it is set later. (Read, `trainer.penalty` is a method: the penalties' value.)
    metrics
        ("accuracy",) or (). There is no accuracy under "mse".
    clip_norm
        The gradients of a step, penalties included, are scaled down where their norm (of all of them together) is
        over this limit (Pascanu et al., 2013). A proximal L1 is no part of them.
    clip_value
        Every element of the gradients is cut to +- this limit, before clip_norm.
    accumulate
        Batches whose gradients make one step, that of one batch as large as all of them; at the end of an epoch,
        those that are left.
    augment
        An object of `fastreg.data.augment` (or "compose([rotate(15), flip()])"): other views of the images, fresh for
        every epoch, in training alone.
    adversarial
        `fastreg.FGSM`: every step is on the rows of the batch and on perturbed ones beside them.
    engine
        "native" (C) or "reference" (NumPy).
    dtype
        "float32" or "float64".
    seed
        Of parameters, dropout and the order of the samples. The same seed, data and settings give the same bits
        for any number of threads.
    threads
        For this trainer; None for the default (`fastreg.set_num_threads`).

    Attributes
    ----------
    model, loss, optimizer, ... :
        Every argument but `penalty`, under its name. It may be changed between fits, not by a callback within one
        (rates are: `Callback.on_rates`); what the constructor refuses is refused then.
    step, epoch, updates : int
        Batches and epochs seen and steps of the optimizer taken, since the start or `reset`.
    stop_training : bool
        A callback sets it to end the training behind the epoch.
    best : fastreg.stopping.Best or None
        The best epoch of the last fit that a stopping rule has watched; None where it had none.

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

    def __init__(
        self,
        model: Sequential,
        loss: str | Loss = "softmax_cross_entropy",
        optimizer: str | Optimizer = "sgd",
        *,
        l1: float | L1 = 0.0,
        l2: float | L2 = 0.0,
        penalty: L1 | L2 | ElasticNet | None = None,
        metrics: Iterable[str] = ("accuracy",),
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        augment: str | Augmentation | None = None,
        adversarial: FGSM | None = None,
        engine: str = "native",
        dtype: str = "float32",
        seed: int = 0,
        threads: int | None = None,
    ):
        given: dict[str, Any] = {
            "model": model,
            "loss": loss,
            "optimizer": optimizer,
            "l1": l1,
            "l2": l2,
            "metrics": metrics,
        }
        given |= {"clip_norm": clip_norm, "clip_value": clip_value, "accumulate": accumulate, "augment": augment}
        given |= {"adversarial": adversarial, "engine": engine, "dtype": dtype, "seed": seed, "threads": threads}
        for name, value in given.items():
            setattr(self, name, value)  # checked there
        if penalty is not None:
            penalties.alone("penalty", penalty, self.l1.lam, self.l2.lam)
            self.l1, self.l2 = penalties.pair("penalty", penalty)
        self.check_model()
        model.output_transform = self.loss.transform
        self.step = self.epoch = self.updates = 0
        self.stop_training = False
        self.best: Best | None = None
        self._state: Arena | None = None  # of the optimizer,
        self._trained: Arena | None = None  # for these parameters
        self._sessions = Sessions()
        self._fitting = Claim()

    # --- Training ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X,
        y,
        *,
        epochs: int = 1,
        batch_size: int = 128,
        shuffle: bool = True,
        rows=None,
        sample_weight=None,
        class_weight=None,
        validation_data: tuple | None = None,
        callbacks: Iterable[Callback] = (),
        verbose: int = 0,
        resume=None,
    ) -> History:
        """Trains for some epochs; called again, it goes on where it was.

        Parameters
        ----------
        X
            (n, ...) finite real numbers of any strides, or a memory map; never copied whole, but where the dtype is
            float16, long double, unsigned of 32 or 64 bits, or of another byte order.
        y
            Targets, as the loss wants them: labels (n,) or one-hot rows (n, outputs) for "softmax_cross_entropy",
            else (n, outputs), or (n,) for one output.
        epochs
            How many more; under `resume` how many in total, counted from the start of the trainer.
        batch_size
            Rows a step. The last, smaller batch of an epoch is trained on, too.
        shuffle
            Whether the rows are put into a new order every epoch: one that follows from the seed and the epoch.
        rows
            Integers: the rows of X and y to train on, None for all; nothing of the data is copied. One that comes
            twice is trained on twice. An epoch is then so many rows, those of a bootstrap set or of a fold of
            cross-validation; everything else, `sample_weight` too, still has all rows of X.
        sample_weight
            (n,) weights w of at least 0: the loss of a batch is sum(w_i l_i) / sum(w_i). A batch of zero weight
            takes no step.
        class_weight
            A dict {label: weight}, 1 for those not in it, or "balanced": n / (k count) for a label that `count` of the
            n rows have, with k labels among them (King and Zeng, 2001; scikit-learn's formula). It multiplies
            `sample_weight`: a weight of 2 counts like the row twice, 0 like no row. Targets have to be labels;
            `validation_data` is not weighted by it.
        validation_data
            (X, y) or (X, y, sample_weight): evaluated behind every epoch, dropout off, penalty not in the loss.
        callbacks
            Objects of `fastreg.callbacks`.
        verbose
            1 shows progress, 0 is silent.
        resume
            The path of a file of `fastreg.Checkpoint`: the fit goes on from there, to the same bits as one that never
            stopped. Model, settings, sizes of data and batches and callbacks have to be those of the checkpoint; the
            trainer may be fresh or not. What it has learned since is replaced.

        Returns
        -------
        History
            "loss" (mean over the samples), "penalty" (mean over the steps), "accuracy", "val_loss", "val_accuracy",
            and "seconds" of training: lists, one value an epoch.

        Raises
        ------
        ValueError, TypeError
            Arguments that do not fit, before anything changes. A value that is not finite, found in a memory map:
            the parameters are those of the start of the epoch.
        DivergenceError
            The loss or a parameter is no longer finite; the parameters are those of the last finished epoch.
        RuntimeError
            The model is being fitted: by another thread, or the call comes from a callback.
        KeyboardInterrupt
            Ctrl-C, behind the slice in work: the parameters are those of the last finished slice. A batch that takes
            longer than half a slice, 0.05 s, may not be waited for, and one of more than 0.1 s is not: the parameters
            are then those of the start of the epoch.
        """
        resume = None if resume is None else checking.path("resume", resume)
        count = checking.integer("epochs", epochs)
        batch_size = checking.integer("batch_size", batch_size)
        shuffle = checking.flag("shuffle", shuffle)
        callbacks = gather(callbacks, verbose)
        if not any(trained_layers(self.model)):
            raise ValueError(ALL_FROZEN)
        data, repeat = self.training_data(X, y, sample_weight, class_weight, rows)
        self.check_augment(data.inputs.shape[1:])
        validation = check_validation(self.model, self.loss, self.dtype, validation_data, data.inputs.shape[1:])
        plan, saved = make_plan(self, data, validation, count, batch_size, shuffle, callbacks, repeat), None
        if resume is not None:
            from fastreg.training import resume as resuming  # and with it all that reads files: only where it is needed

            plan, saved = resuming.resume(resume, self, plan, count, data.inputs.shape[1:])
        for callback in callbacks:
            callback.check_fit(self, plan)
        self._build(data.inputs)
        n = data.size
        with (
            self._fitting.held("fit"),
            self.model.claim.held("fit"),
            self.session("train", min(batch_size, n), n, True) as session,
        ):
            return run_epochs(self, session, data, validation, plan, saved)

    refit = second_round

    def reset(self) -> None:
        """Optimizer state, step and epoch counters back to the start; the parameters stay."""
        self.model.claim.check_free("reset")
        self.step = self.epoch = self.updates = 0
        self.best = None
        if self._state is not None:
            self._state.flat[...] = 0

    @property
    def optimizer_state(self) -> dict[str, np.ndarray]:
        """What the optimizer keeps for every parameter, by "<parameter>/<slot>"; live, and empty before the first fit.

        Slots have the letters of the optimizer's formulas: "v" of SGD's momentum, "m" and "v" of Adam.
        """
        return {} if self._state is None else self._state.arrays

    def copy(self, dtype: str | None = None, engine: str | None = None) -> Trainer:
        """An independent trainer with a copy of the model, the optimizer's state and the counters.

        Parameters
        ----------
        dtype, engine
            Others for the copy.
        """
        settings = self.settings()
        settings["engine"] = self.engine if engine is None else engine
        settings["dtype"] = self.dtype if dtype is None else dtype
        other = Trainer(self.model.copy(dtype), **settings, threads=self.threads)
        other.step, other.epoch, other.updates, other.best = self.step, self.epoch, self.updates, self.best
        if self._state is not None and self._trained is self.model.arena:
            other._state = Arena({name: slot.shape for name, slot in self._state.items()}, other.dtype)
            other._state.take(self._state)
            other._trained = other.model.arena
        return other

    __copy__ = copy

    # --- Programs ------------------------------------------------------------------------------------------------

    def program(self, mode: str, rows: int = 1, dropout: bool | None = None) -> Program:
        """What the engines run for a batch.

        Parameters
        ----------
        mode
            "train", "gradients", "probe" (the same without the rows of an attack), "input_gradient", "evaluate" or
            "predict".
        rows
            Of the training set: the m of penalties with m="train".
        dropout
            Whether anything is drawn: masks, noise, augmentation; by default only in training.
        """
        checking.choice("mode", mode, MODES)
        dropout = mode == "train" if dropout is None else checking.flag("dropout", dropout)
        return self.recipe.program(self.model, mode, checking.integer("rows", rows), dropout)

    @cached_property
    def recipe(self) -> Recipe:
        """The settings that programs depend on. (The learning rate is none of them.)"""
        steps = self.clip_norm, self.clip_value, self.accumulate, self.augment, self.adversarial
        return Recipe(self.loss, self.optimizer.rule(), self.l1, self.l2, *steps)

    @cached_property
    def _follows_rows(self) -> bool:
        return self.recipe.follows_rows(self.model)

    def session(self, mode: str, batch_size: int, rows: int, dropout: bool) -> AbstractContextManager[Session]:
        """The program of `mode`, bound to the engine, for who enters; kept until something it depends on changes."""
        rows = rows if self._follows_rows else 1
        key = (batch_size, rows, dropout, id(self.model.arena), self.engine, self.threads, self.recipe)
        return self._sessions.hold(mode, key, lambda key: self._bind(key, mode))

    def _bind(self, key: tuple, mode: str) -> Session:
        batch_size, rows, dropout, *_ = key
        program = self.program(mode, rows, dropout)
        arena, state = self.model.arena, None
        if mode == "train":
            fresh = make_state(program, arena, self.dtype)
            if self._state is None or self._trained is not arena or self._state.keys() != fresh.keys():
                # the first fit, the model was built again, or the optimizer has become another one
                self._state, self._trained = fresh, arena
            state = self._state
        return bind(key, program, arena, state, batch_size, self.engine, self.threads)

    # --- Running -------------------------------------------------------------------------------------------------

    def training_data(self, X, y, sample_weight=None, class_weight=None, rows=None) -> tuple[Data, dict[str, Any]]:
        """The arguments of fit with all weights of the rows, if model and loss can take them; and what of them a
        resumed fit has to repeat."""
        data = self._data(X, y, sample_weight, rows)
        if class_weight is None:
            return data, {}
        data, noted = weigh_classes(data, self.loss, self.model.outputs, self.dtype, class_weight)
        return data, {"class_weight": noted}

    def _data(self, X, y, sample_weight, rows=None) -> Data:
        self.check_model()
        return check_data(self.model, self.loss, self.dtype, ("X", "y", "sample_weight"), X, y, sample_weight, rows)

    def _build(self, X: np.ndarray) -> None:
        if not self.model.built:
            self.model.build(X.shape[1:], self.seed, self.dtype)
        self.model.output_transform = self.loss.transform  # of the present loss
