"""What the estimators share: from checked arguments and data to a trainer, and back to scikit-learn's attributes."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

try:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        f'fastreg.estimators need scikit-learn 1.6 or later, which is missing ({error}): pip install "fastreg[sklearn]"'
    ) from None

from fastreg.callbacks.argument import listed
from fastreg.callbacks.history import History
from fastreg.common import checking, names
from fastreg.common.attributes import Suggesting, UnknownAttribute
from fastreg.common.sparse import rows_at_once
from fastreg.common.understood import understood
from fastreg.engines.session import ROWS
from fastreg.estimators import arguments
from fastreg.estimators.arguments import Arguments
from fastreg.estimators.course import Course, Rules
from fastreg.estimators.lbfgs import FAILED, INTERRUPTED, minimize
from fastreg.intake.schema import Column, Schema
from fastreg.layers import Dense
from fastreg.losses.losses import Loss
from fastreg.losses.penalties import L1, L2
from fastreg.machine import _core
from fastreg.machine.threads import checked as checked_threads
from fastreg.model.model import Model
from fastreg.model.sequential import Sequential
from fastreg.training.epochs import DivergenceError
from fastreg.training.trainer import Trainer
from fastreg.training.undo import before

CALLER = 6  # levels of the stack from a warning below `_train` to the caller of `fit`
AUTO_ROWS = 200  # of a batch, if there are as many
ANEW = "; fit with warm_start=False begins anew"
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


@dataclass(frozen=True)
class Head:
    """What an estimator is trained for.

    activation   what turns outputs into predictions, in scikit-learn's words
    score        the validation score: its name in the logs, and the metric of the trainer
    report       from the mean loss to the value that scikit-learn reports
    """

    outputs: int
    loss: Loss
    activation: str
    score: str
    metric: Any
    report: Callable[[float], float] = float


@dataclass(frozen=True)
class Held:
    """Data to validate on: what `fit` has got as X_val, y_val and sample_weight_val."""

    X: Any = None
    y: Any = None
    weight: Any = None


def is_stochastic(estimator: Any) -> bool:
    """Whether the solver takes its steps on batches, so that there is a `partial_fit`."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit: solver='lbfgs' has none, since each step reads all rows; solver='adam' has")
    return True


class Estimator(Suggesting, BaseEstimator):
    """Base of the estimators."""

    alpha: Any
    solver: Any
    random_state: Any
    callbacks: Any
    threads: Any
    dtype: Any

    _precision = 2.220446049250313e-09  # SciPy's own for L-BFGS-B
    _trainer: Trainer
    _course: Course

    _later = (
        *("history_", "n_iter_", "t_", "loss_curve_", "loss_", "best_loss_", "validation_scores_"),
        *("best_validation_score_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"),
    )

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = understood(cls.__init__)  # type: ignore[method-assign]

    def _unknown(self, name: str) -> AttributeError:
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        if name in self._later:
            return AttributeError(f"{text}: it is not fitted yet")
        return UnknownAttribute(text, self, name)

    def set_params(self, **params):
        """Sets arguments of the constructor, as everywhere in scikit-learn. Another `fit` obeys them."""
        known = self.get_params(deep=False)
        for name in params:
            if name.partition("__")[0] not in known:
                _, near = names.about(type(self).__name__, name, known)
                raise ValueError(f"set_params: got {name!r}, expected one of {', '.join(known)}{near}")
        return super().set_params(**params)

    def _store(self, given: dict[str, Any]) -> None:
        """Stores the arguments of a constructor as they are: `fit` checks them."""
        self.__dict__.update({name: value for name, value in given.items() if name != "self"})

    # --- What a kind of estimator says ---------------------------------------------------------------------------

    def _encoded(self, y, fresh: bool, incremental: bool) -> np.ndarray:
        """The targets as the trainer takes them, of y that scikit-learn has checked."""
        raise NotImplementedError

    def _head(self, targets: np.ndarray, weights: np.ndarray | None) -> Head:
        """What is trained for."""
        raise NotImplementedError

    def _weights(self, y, weights: np.ndarray | None, incremental: bool) -> tuple[np.ndarray | None, Any]:
        """The sample weights with those of the classes in them, and class weights for the trainer."""
        return weights, None

    def _penalties(self, given: Arguments, total: float, weighted: bool) -> tuple[L1, L2]:
        """The penalties. `total` is the sum of the weights of the training rows; `weighted`, whether there are any."""
        return given.l1, L2(checking.number("alpha", self.alpha), m="weights" if weighted else "batch")

    def _begin(self, y, classes) -> None:
        """What `partial_fit` is told before it trains."""

    def _named(self, targets: np.ndarray, model: Model) -> np.ndarray:
        """The targets as the trainer takes them, where the model knows the classes by name."""
        return targets

    def _schema(self) -> Schema:
        """What a new model is told about the targets."""
        return Schema()

    def _stratified(self, targets: np.ndarray) -> np.ndarray | None:
        """The labels whose shares a validation set keeps, as in scikit-learn."""
        return None

    # --- Training ------------------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight, held: Held, incremental: bool = False, classes=None):
        """`fit` and `partial_fit`. If they are refused, the estimator is as it was."""
        trainer = vars(self).get("_trainer")
        undone = {"pairs": [], "wholes": []} if trainer is None else before(trainer)
        undone["wholes"].append((vars(self), dict(vars(self))))
        train = partial(self._train, X, y, sample_weight, held, incremental, classes)
        return _core.all_or_nothing(train, **undone)

    def _train(self, X, y, sample_weight, held: Held, incremental: bool, classes):
        """Trains on what it has checked."""
        if incremental:
            self._begin(y, classes)
        given = self._arguments()
        if incremental and given.early:
            raise ValueError("partial_fit does not support early_stopping=True")
        watchers = [] if self.callbacks is None else listed(self.callbacks)
        threads = checked_threads(self.threads)
        if given.early and not given.full_batch and held.X is None and not given.share:
            raise ValueError(
                "validation_fraction: got 0 with early_stopping=True, expected more, or X_val and y_val in fit"
            )
        fresh = "_trainer" not in vars(self) or not (given.warm or incremental)
        _refuse_masked(X, y)
        X, y = self._checked(X, y, fresh)
        count = X.shape[0]
        if given.network.batch_norm and count < 2:
            raise ValueError(f"X: got {count} sample, expected at least 2 with batch_norm=True, which needs a variance")
        dtype = self._working(X) if fresh else self._trainer.dtype
        if self.dtype is not None and dtype != checking.dtype(self.dtype):
            raise ValueError(f"dtype: got {self.dtype!r}, expected {dtype!r} as in the fits before{ANEW}")
        weights = _weights_of("sample_weight", sample_weight, count, dtype)
        targets = self._encoded(y, fresh, incremental)
        weights, class_weight = self._weights(y, weights, incremental)
        head = self._head(targets, weights)
        random = self._random()
        trainer = self._new(given, head, X.shape[1], dtype, random) if fresh else self._trainer
        course = Course() if fresh else self._course.copy()
        rows, validation = self._validation(given, held, X, targets, weights, random if fresh else None)
        size = count if rows is None else len(rows)
        chosen = None if weights is None else weights if rows is None else weights[rows]
        total = float(size if chosen is None else chosen.sum(dtype=np.float64))
        l1, l2 = self._penalties(given, total, chosen is not None)
        self._update(trainer, given, head, l1, l2, threads)
        if given.full_batch:
            named = self._named(targets, trainer.model)
            of_all = [penalty.value(total if penalty.per_weight else size) for penalty in (l1, l2)]
            self._minimize(given, trainer, course, X, named, weights, class_weight, of_all[0], of_all[1])
        else:
            rules = Rules(course, given, size, head.report, f"val_{head.score}" if validation else None)
            targets = self._named(targets, trainer.model)
            if validation is not None:
                validation = (validation[0], self._named(validation[1], trainer.model), *validation[2:])
            try:
                self._epochs(
                    given,
                    trainer,
                    rules,
                    incremental,
                    {"X": X, "y": targets, "rows": rows, "sample_weight": weights, "class_weight": class_weight}
                    | {"validation_data": validation, "callbacks": [rules, *watchers]}
                    | {"batch_size": self._batch(given, size), "shuffle": given.shuffle},
                )
            finally:
                for (
                    watcher
                ) in watchers:  # else copies and pickles of the estimator would have the training data in them
                    for name in ("trainer", "plan"):
                        vars(watcher).pop(name, None)
        self._trainer, self._course = trainer, course
        self._publish(given, head)
        return self

    def _arguments(self) -> Arguments:
        """The checked arguments."""
        return arguments.checked(self.get_params(deep=False))

    def _checked(self, X, y, reset: bool):
        """X and y as scikit-learn checks them. X keeps its type of number, since the engine reads it as it is."""
        return validate_data(self, X, y, accept_sparse="csr", multi_output=True, dtype="numeric", reset=reset)

    def _working(self, X) -> str:
        """The type of number to compute in: that of X, as in scikit-learn."""
        if self.dtype is not None:
            return checking.dtype(self.dtype)
        return "float32" if X.dtype in (np.float32, np.float16) else "float64"

    def _random(self) -> np.random.RandomState:
        """A generator. None as the `random_state` never touches NumPy's global one."""
        if self.random_state is None:
            return np.random.RandomState(int.from_bytes(os.urandom(4), "little"))
        return check_random_state(self.random_state)

    def _new(self, given: Arguments, head: Head, features: int, dtype: str, random: np.random.RandomState) -> Trainer:
        """A trainer, whose parameters are those that scikit-learn would draw."""
        model = Sequential(given.network.layers(head.outputs))
        model.schema = self._with_features(self._schema())
        model._build(model._shape(features), 0, dtype, zeros=_dense(model))
        drawn = self._start(model, random)
        for name, values in drawn.items():
            model.parameters[name][...] = values
        self._split_random = copy.deepcopy(random) if given.early else None
        return Trainer(model, head.loss, dtype=dtype, metrics=[head.metric], seed=int(random.randint(2**31 - 1)))

    def _with_features(self, schema: Schema) -> Schema:
        """The schema with the names of the features, so that `model_` finds the columns of a frame by name."""
        names = getattr(self, "feature_names_in_", None)
        if names is None or len(set(names)) < len(names):
            return schema
        return replace(schema, columns=tuple(Column(str(name), "number") for name in names))

    def _start(self, model: Model, random: np.random.RandomState) -> dict[str, np.ndarray]:
        """The first values of the parameters, by name, drawn in scikit-learn's order (Glorot and Bengio, 2010)."""
        found: dict[str, np.ndarray] = {}
        logistic = self.get_params(deep=False).get("activation") == "logistic"
        for name in _dense(model):
            fan_in, fan_out = model.parameters[f"{name}.weight"].shape
            limit = math.sqrt((2 if logistic else 6) / (fan_in + fan_out))
            found[f"{name}.weight"] = random.uniform(-limit, limit, (fan_in, fan_out))
            found[f"{name}.bias"] = random.uniform(-limit, limit, (fan_out,))
        return found

    def _update(self, trainer: Trainer, given: Arguments, head: Head, l1: L1, l2: L2, threads: int | None) -> None:
        """Gives the trainer the arguments as they are now; a warm start may have others than the fit before."""
        layers = given.network.layers(head.outputs)
        model = trainer.model
        if model.outputs != head.outputs:
            raise ValueError(f"y: needs {head.outputs} outputs, expected {model.outputs} as in the fits before{ANEW}")
        if Sequential(layers).layers != model.layers:
            try:
                model.layers = layers  # type: ignore[assignment]
            except ValueError:
                raise ValueError(
                    f"hidden_layer_sizes: got {given.network.hidden} with batch_norm={given.network.batch_norm} and "
                    "warm_start=True, expected the parameters of the fit before; warm_start=False begins anew"
                ) from None
        none = given.full_batch  # which has the penalties in its objective
        changed: dict[str, Any] = {"l1": L1(0.0) if none else l1, "l2": L2(0.0) if none else l2}
        changed |= {"loss": head.loss, "threads": threads}
        if given.optimizer is not None:
            changed["optimizer"] = given.optimizer
        if any(getattr(trainer, name) != value for name, value in changed.items()):
            if trainer.loss.transform != head.loss.transform:
                raise ValueError(
                    f"loss: got {head.loss!r}, expected {trainer.loss!r} as in the fits before, or one that predicts "
                    f"alike{ANEW}"
                )
            trainer.arguments = replace(trainer.arguments, **changed)

    def _batch(self, given: Arguments, rows: int) -> int:
        """The rows of a batch."""
        if given.batch_size is None:
            size = min(AUTO_ROWS, rows)
            while given.network.batch_norm and size > 2 and rows % size == 1:
                size -= 1  # a batch of one row has no variance
            return size
        if given.batch_size > rows:
            text = f"batch_size: got {given.batch_size}, more than the {rows} rows to train on, which are taken instead"
            warnings.warn(text, UserWarning, stacklevel=CALLER)
        return min(given.batch_size, rows)

    def _validation(self, given: Arguments, held: Held, X, targets, weights, random):
        """The rows to train on, None for all, and the validation data of the trainer."""
        if held.X is not None or held.y is not None:
            return None, self._given_validation(given, held, X, targets)
        if held.weight is not None:
            raise ValueError("sample_weight_val: got weights without X_val and y_val, expected both")
        if not given.early or given.full_batch:
            return None, None
        random = copy.deepcopy(self._split_random or random or self._random())
        stratify = self._stratified(targets)
        count = X.shape[0]
        try:
            rows, out = train_test_split(
                np.arange(count), random_state=random, test_size=given.share, stratify=stratify
            )
        except ValueError as error:
            what = f"early_stopping holds back validation_fraction={given.share:g} of {count} rows"
            raise ValueError(f"{error} {what}, or X_val and y_val in fit take their place") from None
        if len(out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return rows, (X[out], targets[out], *(() if weights is None else (weights[out],)))

    def _given_validation(self, given: Arguments, held: Held, X, targets):
        """X_val and y_val, checked."""
        if held.X is None or held.y is None:
            missing, other = ("X_val", "y_val") if held.X is None else ("y_val", "X_val")
            raise ValueError(f"{missing}: got None with {other}, expected both")
        if given.full_batch:
            raise ValueError("X_val: got data with solver='lbfgs', which looks at none; solver='adam' takes them")
        try:
            X_val, y_val = self._checked(held.X, held.y, False)
            encoded = self._encoded(y_val, False, True)
        except ValueError as error:
            raise ValueError(f"X_val, y_val: {error}") from None
        dtype = self._working(X)
        weights = _weights_of("sample_weight_val", held.weight, X_val.shape[0], dtype)
        return (X_val, encoded, *(() if weights is None else (weights,)))

    def _epochs(
        self, given: Arguments, trainer: Trainer, rules: Rules, incremental: bool, data: dict[str, Any]
    ) -> None:
        """Trains in batches, until scikit-learn's rules or the user end it."""
        course = rules.course
        try:
            trainer.fit(data.pop("X"), data.pop("y"), epochs=1 if incremental else given.epochs, **data)
        except KeyboardInterrupt:
            warnings.warn(INTERRUPTED, stacklevel=CALLER)
            return
        except DivergenceError as error:
            if not (given.early and course.scores):
                raise ValueError(f"{NOT_FINITE} ({error})") from error
            course.scores.append(math.nan)
            text = f"training diverged after {course.epochs} epochs; the weights are those of the best score"
            warnings.warn(text, ConvergenceWarning, stacklevel=CALLER)
            return
        if course.epochs == given.epochs and not course.stopped and not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({given.epochs}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=CALLER,
            )

    def _minimize(self, given: Arguments, trainer: Trainer, course: Course, X, targets, weights, class_weight, l1, l2):
        """Trains by L-BFGS over all rows, with the coefficients of |W|_1 and |W|^2 / 2."""
        settings = trainer.arguments
        schema = settings.seen(X, targets)
        data, _ = trainer._training_data(X, targets, weights, class_weight, schema=schema)
        settings.keep(schema)
        found = minimize(
            trainer,
            data,
            l1,
            l2,
            tol=given.tol,
            iterations=given.epochs,
            evaluations=given.evaluations,
            precision=self._precision,
            say=print if given.verbose else lambda text: None,
        )
        if found.ended == FAILED:
            raise ValueError(NOT_FINITE)
        for loss in found.curve:
            trainer.history.record(len(trainer.history.epochs), {"loss": loss})
        course.losses += found.curve
        course.epochs, course.stopped = found.iterations, not found.ended
        course.best_loss = min(course.best_loss, found.loss)
        if found.ended == INTERRUPTED:
            warnings.warn(INTERRUPTED, stacklevel=CALLER)
        elif found.ended:
            warnings.warn(
                f"lbfgs failed to converge after {found.iterations} iterations: {found.ended}. "
                "More iterations (max_iter) or scaled inputs may help.",
                ConvergenceWarning,
                stacklevel=CALLER,
            )

    def _publish(self, given: Arguments, head: Head) -> None:
        """scikit-learn's attributes."""
        course = self._course
        scored = bool(course.scores)
        self.history_: History = self._trainer.history
        self.n_iter_: Any = course.epochs
        self.t_ = course.samples
        self.loss_curve_ = course.losses
        self.loss_ = course.losses[-1] if course.losses else math.nan
        self.best_loss_ = None if given.early else course.best_loss
        self.validation_scores_ = course.scores if scored else None
        self.best_validation_score_ = course.best_score if scored else None
        self.n_layers_ = len(given.network.hidden) + 2
        self.n_outputs_ = head.outputs
        self.out_activation_ = head.activation

    # --- The fitted estimator ------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a trained model."""
        return "_trainer" in vars(self)

    @property
    def model_(self) -> Model:
        """The trained `fastreg.Sequential`: `model_.save(path)` writes it."""
        return self._fitted("model_").model

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The weight of each layer, (inputs, units). Changing values changes the model."""
        return self._arrays("coefs_", "weight")

    @coefs_.setter
    def coefs_(self, values) -> None:
        self._set("coefs_", values, "weight")

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The bias of each layer, (units,). Changing values changes the model."""
        return self._arrays("intercepts_", "bias")

    @intercepts_.setter
    def intercepts_(self, values) -> None:
        self._set("intercepts_", values, "bias")

    def _fitted(self, name: str) -> Trainer:
        if "_trainer" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}: it is not fitted yet")
        return self._trainer

    def _arrays(self, name: str, part: str) -> list[np.ndarray]:
        model = self._fitted(name).model
        return [model.parameters[f"{layer}.{part}"] for layer in _dense(model)]

    def _set(self, name: str, values, part: str) -> None:
        own = self._arrays(name, part)
        if len(values) != len(own):
            raise ValueError(f"{name}: got {len(values)} arrays, expected {len(own)}")
        for i, (array, value) in enumerate(zip(own, values, strict=True)):
            if np.shape(value) != array.shape:
                raise ValueError(f"{name}[{i}]: got shape {np.shape(value)}, expected {array.shape}")
            array[...] = value

    def _outputs(self, X, transform: str | None = None) -> np.ndarray:
        """The outputs for the rows of X, (n, outputs): predictions, or by another transform of the last layer."""
        check_is_fitted(self)
        _refuse_masked(X)
        X = validate_data(self, X, accept_sparse="csr", dtype="numeric", reset=False)
        model = self._trainer.model
        transforms = model.transforms if transform is None else dict.fromkeys(model.transforms, transform)
        return model._run_forward(X, rows_at_once(X, ROWS), transforms, "native", checked_threads(self.threads))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _refuse_masked(*arrays) -> None:
    """Refuses masked arrays: the numbers under the mask would count."""
    for name, array in zip("Xy", arrays, strict=False):
        if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array).any():
            raise ValueError(f"{name}: got masked values, expected none: filled() replaces them, and NaN is refused")


def _weights_of(name: str, value, rows: int, dtype: str) -> np.ndarray | None:
    """The weights of the rows, also of one number for all, as in scikit-learn."""
    if isinstance(value, Real):
        value = np.full(rows, value)
    return checking.sample_weight(name, value, rows, dtype)


def _dense(model: Model) -> list[str]:
    """The names of the layers with weights."""
    return [str(layer.name) for layer in model.layers if isinstance(layer, Dense)]


__all__ = ["Estimator", "Head", "Held", "available_if", "is_stochastic"]
