"""Trainer: a model, a loss, penalties and an optimizer, brought together on an engine."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.callbacks.argument import gather
from fastreg.callbacks.base import Callback
from fastreg.callbacks.history import History
from fastreg.callbacks.training import Best
from fastreg.common import checking
from fastreg.engines.arena import Arena
from fastreg.engines.base import Tally
from fastreg.engines.session import ROWS, Claim, Session, Sessions, bind, make_state
from fastreg.losses import penalties
from fastreg.losses.adversarial import FGSM
from fastreg.losses.losses import Loss
from fastreg.losses.penalties import L1, L2, ElasticNet
from fastreg.model.dataset import Data, held_back
from fastreg.model.sequential import Sequential, check_trainable
from fastreg.optimizers.optimizers import Optimizer
from fastreg.program.program import Program
from fastreg.training import questions
from fastreg.training.epochs import make_plan, run_epochs
from fastreg.training.programs import MODES, make_program
from fastreg.training.refit import refit as second_round
from fastreg.training.settings import Settings
from fastreg.training.weighting import weigh_classes

if TYPE_CHECKING:
    from fastreg.data.augment import Augmentation

ARGUMENTS = frozenset(row.name for row in fields(Settings))
COUNTERS = frozenset(("epoch", "batches", "step", "updates"))


class Trainer:
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
        A name of `fastreg.optimizers.BY_NAME`, such as "adam", or an object such as `fastreg.SGD(0.1)`.
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
    epoch, batches : int
        Epochs and batches seen since the start or `reset`.
    updates : int
        Steps that the optimizer has taken since then. One step may take several batches (`accumulate`). This is the
        time of a schedule that counts steps, per="step", and the t of Adam.
    step : int
        An older name of `batches`, and not the time of schedules: it is what the dropout masks depend on.
    arguments : Settings
        All arguments, checked, as one object. It is replaced when one of them is set.
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
        given = dict(locals())
        del given["self"]
        self.arguments = Settings(**given)
        self.arguments.check()
        self.model.output_transform = self.loss.transform
        self.epoch = self.batches = self.updates = 0
        self.stop_training = False
        self.best: Best | None = None
        self._state: Arena | None = None  # of the optimizer,
        self._trained: Arena | None = None  # for these parameters
        self._sessions = Sessions()
        self._fitting = Claim()

    # --- Arguments -----------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        """An argument, under its name."""
        if name in ARGUMENTS and "arguments" in self.__dict__:
            return getattr(self.arguments, name)
        raise AttributeError(f"'Trainer' object has no attribute {name!r}")

    def __setattr__(self, name: str, value) -> None:
        """Arguments may be changed between fits; they pass the same checks then. In a fit they may not: its program is
        made, and the epoch loop, validation and checkpoints would each see another half of the change."""
        if name in ARGUMENTS or name == "penalty":
            self._fitting.check_free(name)
            changed: dict[str, Any] = {name: value}
            if name == "penalty":
                changed = dict(zip(("l1", "l2"), penalties.pair(name, value), strict=True))
            name, value = "arguments", replace(self.arguments, **changed)
        elif name in COUNTERS:
            value = checking.integer(name, value, 0)
            name = "batches" if name == "step" else name
        super().__setattr__(name, value)

    @property
    def step(self) -> int:
        """An older name of `batches`; the steps of the optimizer are `updates`."""
        return self.batches

    def __dir__(self) -> Iterable[str]:
        return {*super().__dir__(), *ARGUMENTS}

    def settings(self) -> dict[str, Any]:
        """The arguments that decide what training comes to: all but the model and the number of threads."""
        return self.arguments.deciding()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that the loss has."""
        return self.arguments.metric_names

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
        settings = self.arguments
        check_trainable(settings.model)
        data, repeat = self.training_data(X, y, sample_weight, class_weight, rows)
        shape = data.inputs.shape[1:]
        settings.check_augment(shape)
        validation = held_back(settings.model, settings.loss, settings.dtype, validation_data, shape)
        plan, saved = make_plan(self, data, validation, count, batch_size, shuffle, callbacks, repeat), None
        if resume is not None:
            from fastreg.training import resume as resuming  # and with it all that reads files: only where it is needed

            plan, saved = resuming.resume(resume, self, plan, count, shape)
        for callback in callbacks:
            callback.check_fit(self, plan)
        settings.build(shape)
        n = data.size
        with (
            self._fitting.held("fit"),
            settings.model.claim.held("fit"),
            self.session("train", min(batch_size, n), n, True) as session,
        ):
            return run_epochs(self, session, data, validation, plan, saved)

    def training_data(self, X, y, sample_weight=None, class_weight=None, rows=None) -> tuple[Data, dict[str, Any]]:
        """The arguments of fit with all weights of the rows, if model and loss can take them; and what of them a
        resumed fit has to repeat."""
        data = self.arguments.checked(X, y, sample_weight, rows)
        if class_weight is None:
            return data, {}
        data, noted = weigh_classes(data, self.loss, self.model.outputs, self.dtype, class_weight)
        return data, {"class_weight": noted}

    refit = second_round

    def reset(self) -> None:
        """Optimizer state, step and epoch counters back to the start; the parameters stay."""
        self.model.claim.check_free("reset")
        self.epoch = self.batches = self.updates = 0
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
        other.epoch, other.batches, other.updates, other.best = self.epoch, self.batches, self.updates, self.best
        if self._state is not None and self._trained is self.model.arena:
            other._state = Arena({name: slot.shape for name, slot in self._state.items()}, other.dtype)
            other._state.take(self._state)
            other._trained = other.model.arena
        return other

    __copy__ = copy

    # --- Questions -----------------------------------------------------------------------------------------------

    def evaluate(self, X, y, sample_weight=None, *, rows=None) -> dict[str, float]:
        """Loss and metrics, dropout off, the penalty not in it; of some `rows` only, as in fit.

        Returns
        -------
        dict
            "loss" and, under a cross-entropy, "accuracy": means over the samples, weighted if need be. The accuracy
            of "sigmoid_cross_entropy" is the share of outputs on the right side of one half.
        """
        return self.evaluate_data(self.arguments.checked(X, y, sample_weight, rows))

    def predict(self, X, batch_size: int = ROWS, *, rows=None, samples: int | None = None, seed: int = 0):
        """`model.predict` on the engine of this trainer; of some `rows` only, as in fit. With `samples` (mean, std) of
        so many passes with dropout and noise live."""
        how = self.loss.transform, self.engine, self.threads
        return self.model.run_forward(X, batch_size, *how, rows, samples, seed)

    def gradients(self, X, y, sample_weight=None, step: int | None = None) -> dict[str, np.ndarray]:
        """The gradients of `objective`, (l1) sign(W) for L1; nothing is updated.

        Parameters
        ----------
        X, y, sample_weight
            One batch.
        step
            None: without dropout. A number: with the masks of that batch, as `batches` counts them.

        Returns
        -------
        dict
            An array for every parameter that is trained, under its name. Nothing is clipped.
        """
        return questions.gradients(self, X, y, sample_weight, step)

    def objective(self, X, y, sample_weight=None, step: int | None = None) -> float:
        """Data loss and penalties of X as one batch: what a step of the optimizer goes down. `step` as in gradients."""
        return questions.objective(self, X, y, sample_weight, step)

    def row_losses(self, X, y, sample_weight=None, step: int | None = None, *, activity: bool = False) -> np.ndarray:
        """The loss of every row, float64 (n,), not weighted. Weights are only checked; `step` as in gradients. With
        `activity` the activity penalties of the row are in it."""
        return questions.row_losses(self, X, y, sample_weight, step, activity)

    def input_gradient(self, X, y, *, rows=None) -> np.ndarray:
        """The gradient of the data loss of every row at its inputs, dl_i/dx_i: what the loss of a row is sensitive to.

        Dropout and noise are off, penalties not in it, rows neither weighted nor averaged; the x is that of X, before
        any standardization. Its sign is the direction of the fast gradient sign method (Goodfellow et al., Explaining
        and Harnessing Adversarial Examples, 2015; `fastreg.FGSM`).

        Parameters
        ----------
        X, y
            As in evaluate.
        rows
            Of some rows only, as in fit.

        Returns
        -------
        ndarray of the shape of X
            In the working dtype.

        Raises
        ------
        ValueError, TypeError
            Arguments that do not fit.
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
        """The penalties at the present parameters (frozen ones have none); `rows` stands for the m of "batch" and
        "train"."""
        return questions.penalty(self, rows)

    # The same of data that have passed the checks.

    def evaluate_data(self, data: Data, names: str = "X, y") -> dict[str, float]:
        """`evaluate` of data that have passed the checks; `names` of them in an error."""
        return questions.evaluate_data(self, data, names)

    def perturbed(self, data: Data, step: int | None = None) -> np.ndarray:
        """The rows that the attack puts behind these at the present parameters, as data. `step` as in gradients."""
        return questions.perturbed(self, data, step)

    def run_batch(self, mode: str, data: Data, step: int | None) -> AbstractContextManager[tuple[Session, Tally]]:
        """One batch of all rows, data that have passed the checks; with dropout if there is a step."""
        return questions.run_batch(self, mode, data, step)

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
        return make_program(self.arguments, mode, checking.integer("rows", rows), dropout)

    def session(self, mode: str, batch_size: int, rows: int, dropout: bool) -> AbstractContextManager[Session]:
        """The program of `mode`, bound to the engine, for who enters; kept until something it depends on changes."""
        settings = self.arguments
        rows = rows if settings.follows_rows else 1
        bound_to = id(settings.model.arena), settings.engine, settings.threads, settings.in_programs
        return self._sessions.hold(mode, (batch_size, rows, dropout, *bound_to), partial(self._bind, mode))

    def _bind(self, mode: str, key: tuple) -> Session:
        batch_size, rows, dropout, *_ = key
        settings = self.arguments
        program = self.program(mode, rows, dropout)
        arena, state = settings.model.arena, None
        if mode == "train":
            fresh = make_state(program, arena, settings.dtype)
            if self._state is None or self._trained is not arena or self._state.keys() != fresh.keys():
                # the first fit, the model was built again, or the optimizer has become another one
                self._state, self._trained = fresh, arena
            state = self._state
        return bind(key, program, arena, state, batch_size, settings.engine, settings.threads)
