"""Losses. Each says what is minimized, which targets it takes and what predictions are. All start from logits.

The loss of a batch is sum(w_i l_i) / sum(w_i) over its rows, with sample weights w_i.

A new one: see docs/architecture.md (C, NumPy and both engines).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastreg.common import calls, checking, specs
from fastreg.common.description import Description, from_config, later
from fastreg.common.transforms import TRANSFORMS
from fastreg.losses import targets as checked_targets
from fastreg.program.riders import PLAIN, Terms

if TYPE_CHECKING:
    from fastreg.program.ops import RowLoss

KERNELS = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse", "mae", "huber")  # functions in fastreg.kernels
CODE = frozenset(("call", "forward"))  # what Keras and PyTorch call in a loss


class Loss(Description):
    """Base of the losses.

    name            its name in programs
    transform       from logits to predictions: a name in `fastreg.common.transforms`
    counts_hits     whether predictions can be correct or wrong, so that there is an accuracy
    forbids         activations of the last layer that would apply the transform twice
    label_smoothing the share of a target that is spread evenly over all classes
    power           the power of the unit of y in the value of the loss. None if there is no such power
    missing_targets whether NaN means that there is no target

    Examples
    --------
    >>> import fastreg as fr
    >>> isinstance(fr.losses.mse, fr.losses.Loss)
    True
    """

    def __init_subclass__(cls, **kwargs):
        if not CODE.isdisjoint(vars(cls)):
            raise TypeError(
                f"class {cls.__name__}({cls.__bases__[0].__name__}): the engines call no methods of a loss; "
                "fr.losses.Custom(function) is a loss written in Python, with its gradient"
            )
        super().__init_subclass__(**kwargs)

    name: str
    transform: str
    counts_hits = True
    forbids: tuple[str, ...] = ()
    label_smoothing = 0.0
    missing_targets: bool = False
    power: int | None = None

    def __call__(self, *args: Any) -> Any:
        known = f"fr.kernels.{self.name}(outputs, targets) gives it and its gradient; " if self.name in KERNELS else ""
        raise TypeError(
            f"{type(self).__name__}: got a call, expected to be the loss of a trainer; {known}"
            "trainer.evaluate(X, y)['loss'] is its value, trainer.row_losses(X, y) that of each row"
        )

    @property
    def in_program(self) -> str | RowLoss:
        """What `lower` takes: a name that the engines know, or the loss itself, for them to call."""
        return self.name

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        """`y`, checked, in the form that the engines read. It is copied only if its form must change."""
        raise NotImplementedError

    def terms(self, outputs: int) -> Terms:
        """How the outputs of a row count, for the engines."""
        return PLAIN

    def told_terms(self, outputs: int, scale: tuple[float, ...] | None) -> Terms:
        """`terms`, with the value of the loss in the units of y where training sees targets divided by `scale`. The
        value stays as training sees it if the loss has no `power`."""
        terms = self.terms(outputs)
        if scale is None or self.power is None:
            return terms
        return replace(terms, units=tuple(value**self.power for value in scale))

    def taking_missing(self, value: bool) -> Loss:
        """The same loss with this `missing_targets`."""
        if "missing_targets" not in self.__dataclass_fields__:
            takes = ", ".join(kind.name for kind in KINDS)
            raise ValueError(
                f"missing_targets: got {value} under {self.name!r}, which has no such option, unlike {takes}"
            )
        return replace(self, missing_targets=checking.flag("missing_targets", value))

    def shares_there(self, y: np.ndarray) -> np.ndarray | None:
        """For each row of checked targets, the share of the outputs that have one, by which the sample weight is
        multiplied. None if all have."""
        return checked_targets.shares_there(y) if self.missing_targets else None


@dataclass(frozen=True, repr=False)
class SoftmaxCrossEntropy(Loss):
    """l = -log softmax(z)[label]: one of several classes.

    Targets are labels (n,) from 0 to outputs - 1, or one-hot rows (n, outputs), or rows of probabilities t (n,
    outputs): then l = -sum of t log softmax(z), as in torch.nn.functional.cross_entropy, for a teacher's predictions or
    mixed rows. Accuracy takes the class of the largest probability as the label. Predictions are probabilities.

    Parameters
    ----------
    label_smoothing
        e from 0 to 1: the loss uses the targets (1 - e) onehot + e / outputs, so that growing logits without end does
        not pay (Szegedy et al., Rethinking the Inception Architecture, 2016, sec. 7; the formula of
        torch.nn.functional.cross_entropy). It is part of the loss in evaluation too, as in PyTorch and Keras. Accuracy
        does not change. Rows of probabilities stand in the place of onehot.
    missing_targets
        Whether a label of NaN or -1, or a row of NaN, means "no target". Such a row has weight 0, in metrics too.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.SoftmaxCrossEntropy(label_smoothing=0.1)
    SoftmaxCrossEntropy(label_smoothing=0.1)
    """

    label_smoothing: float = 0.0
    missing_targets: bool = later(False)

    name = "softmax_cross_entropy"
    transform = "softmax"
    forbids = ("sigmoid",)

    def __post_init__(self):
        self._set(
            label_smoothing=checking.number("label_smoothing", self.label_smoothing, 0, 1),
            missing_targets=checking.flag("missing_targets", self.missing_targets),
        )

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        return checked_targets.classes(argument, y, rows, outputs, working, self.missing_targets)

    def terms(self, outputs: int) -> Terms:
        return Terms(holes=self.missing_targets)


@dataclass(frozen=True, repr=False)
class OfOutputs(Loss, saved=False):
    """Base of the losses that are a mean over outputs: l = sum over j of w_j l_j / N, for N outputs.

    Where targets are missing, sum and N are those of the outputs of the row that have a target, and the sample weight
    of the row is multiplied by their share. So with weights of 1 the loss of all rows is the mean over all targets that
    are there, np.nanmean.

    output_weights  w_j of each output, at least 0 and not all 0. None for 1
    missing_targets whether NaN means that there is no target
    """

    output_weights: tuple[float, ...] | None = later(None)
    missing_targets: bool = later(False)

    transform = "linear"
    counts_hits = False

    @property
    def shape(self) -> float:
        """The number in the formula of the loss."""
        return 0.0

    def __post_init__(self):
        weights = _numbers("output_weights", self.output_weights)
        if weights is not None and not any(weights):
            raise ValueError(f"output_weights: got {checking.shown(weights)}, expected at least one weight above 0")
        self._set(output_weights=weights, missing_targets=checking.flag("missing_targets", self.missing_targets))

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        self.terms(outputs)
        return checked_targets.values(argument, y, rows, outputs, working, self.missing_targets)

    def terms(self, outputs: int) -> Terms:
        weights = _for_each("output_weights", self.output_weights, outputs)
        return Terms(weights=weights, holes=self.missing_targets, shape=self.shape)


def _numbers(name: str, value) -> tuple[float, ...] | None:
    """Numbers of at least 0, one for each output."""
    if value is None:
        return None
    if isinstance(value, (Mapping, Set)):  # has no order of outputs
        raise TypeError(f"{name}: got {checking.shown(value)}, expected a sequence: one number for each output")
    numbers = checking.iterate(name, value, "one number for each output")
    found = tuple(checking.number(f"{name}[{j}]", number) for j, number in enumerate(numbers))
    if not found:
        raise ValueError(f"{name}: got no number, expected one for each output")
    return found


def _for_each(name: str, numbers: tuple[float, ...] | None, outputs: int) -> tuple[float, ...] | None:
    """The numbers, if there is one for each output."""
    if numbers is not None and len(numbers) != outputs:
        raise ValueError(f"{name}: got {len(numbers)} numbers, expected {outputs}, one for each output of the model")
    return numbers


@dataclass(frozen=True, repr=False)
class YesNo(OfOutputs, saved=False):
    """Base of the losses of yes or no in each output: l = mean of q t yes(z) + (1 - t) no(z), for t from 0 to 1."""

    pos_weight: float | tuple[float, ...] | None = later(None)

    transform = "sigmoid"
    forbids = ("sigmoid",)
    counts_hits = True
    of_classes = "softmax_cross_entropy"  # the like of it for one of several classes
    signs = False  # whether -1 and 1 stand for no and yes, too

    def __post_init__(self):
        super().__post_init__()
        one = isinstance(self.pos_weight, Real)
        positive = checking.number("pos_weight", self.pos_weight) if one else _numbers("pos_weight", self.pos_weight)
        smoothing = checking.number("label_smoothing", self.label_smoothing, 0, 1)
        self._set(label_smoothing=smoothing, pos_weight=positive)

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        self.terms(outputs)
        try:
            y = checked_targets.values(argument, y, rows, outputs, working, self.missing_targets)
        except ValueError as error:
            if np.ndim(y) == 1 and outputs > 1 and len(y) == rows and "shape" in str(error):
                raise ValueError(f"{error}; one class per row needs loss={self.of_classes!r}") from None
            raise
        return checked_targets.between_0_and_1(argument, y, self.signs)

    def weighing(self, no: np.ndarray, yes: np.ndarray) -> YesNo:
        """The same loss where a target of 0 counts `no` (above 0) and one of 1 counts `yes`, two numbers per output."""
        own = _for_each("output_weights", self.output_weights, len(no))
        positive = self._positive(len(no))
        weights = no * (1.0 if own is None else np.array(own))
        ratio = yes / no * (1.0 if positive is None else np.array(positive))
        return replace(self, output_weights=tuple(weights.tolist()), pos_weight=tuple(ratio.tolist()))

    def _positive(self, outputs: int) -> tuple[float, ...] | None:
        positive = (self.pos_weight,) * outputs if isinstance(self.pos_weight, float) else self.pos_weight
        return _for_each("pos_weight", positive, outputs)

    def terms(self, outputs: int) -> Terms:
        return replace(super().terms(outputs), positive=self._positive(outputs))


@dataclass(frozen=True, repr=False)
class SigmoidCrossEntropy(YesNo):
    """l = mean over outputs of -t log p - (1 - t) log(1 - p) with p = sigmoid(z): one or more yes-or-no questions.

    Targets lie in [0, 1] and have the shape (n, outputs), or (n,) for one output. Predictions are probabilities.

    Parameters
    ----------
    label_smoothing
        e from 0 to 1: the loss uses the targets (1 - e) t + e / 2, in evaluation too. See `SoftmaxCrossEntropy`.
    pos_weight
        q, a number of at least 0 or one for each output: l = -q t log p - (1 - t) log(1 - p), as in
        torch.nn.BCEWithLogitsLoss. Above 1 it makes up for a yes that is rare.
    output_weights
        w_j of at least 0 for each output: l = sum of w_j l_j / outputs.
    missing_targets
        Whether NaN means "no target". The mean is then over the targets that are there: a row counts with its sample
        weight times the share of its outputs that have a target.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.SigmoidCrossEntropy(label_smoothing=0.1)
    SigmoidCrossEntropy(label_smoothing=0.1)
    """

    label_smoothing: float = 0.0

    name = "sigmoid_cross_entropy"


@dataclass(frozen=True, repr=False)
class SigmoidFocal(YesNo):
    """l = mean over outputs of -t (1 - p)^gamma log p - (1 - t) p^gamma log(1 - p) with p = sigmoid(z): the sigmoid
    cross-entropy in which answers that are right already count less (Lin et al., Focal Loss, 2017).

    Targets and predictions are those of `SigmoidCrossEntropy`. For targets of 0 and 1 it is the mean of
    torchvision.ops.sigmoid_focal_loss, and Keras's BinaryFocalCrossentropy from logits.

    Parameters
    ----------
    gamma
        At least 0. The larger, the less do easy answers count. 0 is the sigmoid cross-entropy.
    alpha
        Above 0 and below 1: a yes counts alpha times, a no 1 - alpha times. The paper and torchvision take 0.25. By
        default both count once.
    label_smoothing, pos_weight, output_weights, missing_targets
        As in `SigmoidCrossEntropy`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.SigmoidFocal(gamma=2.0, alpha=0.25)
    SigmoidFocal(alpha=0.25)
    """

    gamma: float = 2.0
    alpha: float | None = None
    label_smoothing: float = 0.0

    name = "sigmoid_focal"
    of_classes = "softmax_focal"

    def __post_init__(self):
        super().__post_init__()
        alpha = None if self.alpha is None else checking.number("alpha", self.alpha, 0, 1, above=True, below=True)
        self._set(gamma=checking.number("gamma", self.gamma), alpha=alpha)

    @property
    def shape(self) -> float:
        return self.gamma

    def terms(self, outputs: int) -> Terms:
        terms, alpha = super().terms(outputs), self.alpha
        if alpha is None:
            return terms
        weights, positive = terms.weights or (1.0,) * outputs, terms.positive or (1.0,) * outputs
        return replace(
            terms,
            weights=tuple((1 - alpha) * weight for weight in weights),
            positive=tuple(alpha / (1 - alpha) * q for q in positive),
        )


@dataclass(frozen=True, repr=False)
class Hinge(YesNo):
    """l = mean over outputs of max(0, 1 - s z), with s = 1 for yes and -1 for no: the loss of support vector machines.

    Targets are 0 and 1 or -1 and 1, and have the shape (n, outputs), or (n,) for one output; what lies between 0 and 1
    is the share of yes. It is scikit-learn's hinge_loss. Predictions are the outputs z, which are no probabilities:
    above 0 is yes. An l2 penalty keeps them small.

    Parameters
    ----------
    squared
        Whether it is max(0, 1 - s z)^2, as in scikit-learn's LinearSVC by default.
    label_smoothing, pos_weight, output_weights, missing_targets
        As in `SigmoidCrossEntropy`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> fr.losses.Hinge(squared=True)
    Hinge(squared=True)
    >>> X = np.array([[0.0], [1.0], [4.0], [5.0]])
    >>> model = fr.Sequential([fr.Dense(1)])
    >>> history = fr.Trainer(model, "hinge", fr.SGD(0.1), l2=0.01).fit(X, [-1, -1, 1, 1], epochs=200)
    >>> model.predict_labels(X)
    array([0, 0, 1, 1])
    """

    squared: bool = False
    label_smoothing: float = 0.0

    name = "hinge"
    transform = "yes_scores"
    of_classes = "categorical_hinge"
    signs = True

    def __post_init__(self):
        super().__post_init__()
        self._set(squared=checking.flag("squared", self.squared))

    @property
    def shape(self) -> float:
        return 2.0 if self.squared else 1.0


@dataclass(frozen=True, repr=False)
class SoftmaxFocal(Loss):
    """l = -(1 - p)^gamma log p with p = softmax(z)[label]: the softmax cross-entropy in which rows that are right
    already count less (Lin et al., Focal Loss, 2017).

    Targets and predictions are those of `SoftmaxCrossEntropy`. Of rows of probabilities t it is the sum of
    -t_j (1 - p_j)^gamma log p_j, as Keras's CategoricalFocalCrossentropy has it.

    Parameters
    ----------
    gamma
        At least 0. The larger, the less do easy rows count. 0 is the softmax cross-entropy.
    alpha
        A number of at least 0 for each class, by which l is multiplied. By default 1.
    label_smoothing, missing_targets
        As in `SoftmaxCrossEntropy`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.SoftmaxFocal(gamma=1.5)
    SoftmaxFocal(gamma=1.5)
    """

    gamma: float = 2.0
    alpha: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    missing_targets: bool = later(False)

    name = "softmax_focal"
    transform = "softmax"
    forbids = ("sigmoid",)

    def __post_init__(self):
        alpha = _numbers("alpha", self.alpha)
        if alpha is not None and not any(alpha):
            raise ValueError(f"alpha: got {checking.shown(alpha)}, expected at least one weight above 0")
        self._set(
            gamma=checking.number("gamma", self.gamma),
            alpha=alpha,
            label_smoothing=checking.number("label_smoothing", self.label_smoothing, 0, 1),
            missing_targets=checking.flag("missing_targets", self.missing_targets),
        )

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        self.terms(outputs)
        return checked_targets.classes(argument, y, rows, outputs, working, self.missing_targets)

    def terms(self, outputs: int) -> Terms:
        weights = _for_each("alpha", self.alpha, outputs)
        return Terms(weights=weights, holes=self.missing_targets, shape=self.gamma)


@dataclass(frozen=True, repr=False)
class CategoricalHinge(Loss):
    """l = max(0, 1 + max of the other z_j - z_label): one of several classes, whose output must win by 1 (Crammer and
    Singer, 2001).

    Targets are labels or one-hot rows, as in `SoftmaxCrossEntropy`. It is scikit-learn's hinge_loss of several classes,
    and Keras's categorical_hinge. Predictions are the outputs, which are no probabilities: the class is that of the
    largest.

    Parameters
    ----------
    squared
        Whether it is the square of that.
    missing_targets
        As in `SoftmaxCrossEntropy`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.CategoricalHinge()
    CategoricalHinge()
    """

    squared: bool = False
    missing_targets: bool = later(False)

    name = "categorical_hinge"
    transform = "class_scores"
    forbids = ("sigmoid",)

    def __post_init__(self):
        self._set(
            squared=checking.flag("squared", self.squared),
            missing_targets=checking.flag("missing_targets", self.missing_targets),
        )

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        return checked_targets.classes(argument, y, rows, outputs, working, self.missing_targets, shares=False)

    def terms(self, outputs: int) -> Terms:
        return Terms(holes=self.missing_targets, shape=2.0 if self.squared else 1.0)


@dataclass(frozen=True, repr=False)
class MSE(OfOutputs):
    """l = mean over outputs of (y - t)^2.

    Targets are numbers of the shape (n, outputs), or (n,) for one output. Predictions are the outputs themselves.

    Parameters
    ----------
    output_weights
        w_j of at least 0 for each output: l = sum of w_j (y_j - t_j)^2 / outputs.
    missing_targets
        Whether NaN means "no target". The mean is then over the targets that are there: a row counts with its sample
        weight times the share of its outputs that have a target.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> fr.losses.MSE()
    MSE()
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), fr.losses.MSE(missing_targets=True))
    >>> trainer.evaluate(np.zeros((2, 1)), [[1, np.nan], [3, 2]])  # (1 + 9 + 4) / 3
    {'loss': 4.666666666666667}
    """

    name = "mse"
    power = 2


@dataclass(frozen=True, repr=False)
class MAE(OfOutputs):
    """l = mean over outputs of |y - t|: tends to the median, and outliers pull no more than others.

    Targets and parameters are those of `MSE`. The gradient is the sign of y - t, and 0 where they are equal.

    Parameters
    ----------
    output_weights, missing_targets
        As in `MSE`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.MAE()
    MAE()
    """

    name = "mae"
    power = 1


@dataclass(frozen=True, repr=False)
class Huber(OfOutputs):
    """l = mean over outputs of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = y - t.

    Squares for small errors, sizes for large ones (Huber, 1964; torch.nn.HuberLoss). Targets are those of `MSE`.

    Parameters
    ----------
    delta
        Above 0, in the unit of the targets.
    output_weights, missing_targets
        As in `MSE`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.Huber(delta=2.0)
    Huber(delta=2)
    """

    delta: float = 1.0

    name = "huber"

    def __post_init__(self):
        super().__post_init__()
        self._set(delta=checking.positive("delta", self.delta))

    @property
    def shape(self) -> float:
        return self.delta


@dataclass(frozen=True, repr=False)
class LogCosh(OfOutputs):
    """l = mean over outputs of log(cosh(y - t)): about d^2 / 2 for small errors d, |d| - log 2 for large ones.

    Targets and parameters are those of `MSE`.

    Parameters
    ----------
    output_weights, missing_targets
        As in `MSE`.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.LogCosh()
    LogCosh()
    """

    name = "log_cosh"


@dataclass(frozen=True, repr=False)
class Quantile(OfOutputs):
    """l = mean over outputs of q (t - y) where t > y, else (1 - q) (y - t): tends to the quantile q of the targets.

    It is the pinball loss (Koenker and Bassett, 1978; sklearn.metrics.mean_pinball_loss). Targets are those of `MSE`.

    Parameters
    ----------
    q
        Above 0 and below 1. 0.9: nine of ten targets lie below the prediction.
    output_weights, missing_targets
        As in `MSE`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.losses.Quantile(0.9)
    Quantile(q=0.9)
    """

    q: float = 0.5

    name = "quantile"
    power = 1

    def __post_init__(self):
        super().__post_init__()
        self._set(q=checking.number("q", self.q, 0, 1, above=True, below=True))

    @property
    def shape(self) -> float:
        return self.q


@dataclass(frozen=True, repr=False)
class Poisson(OfOutputs):
    """l = mean over outputs of exp(z) - t z: counts, whose logarithm of the mean the outputs are.

    Targets are numbers of at least 0, of the shape (n, outputs), or (n,) for one output. Predictions are exp(z), the
    means. It is torch.nn.PoissonNLLLoss from log_input, and half of scikit-learn's mean_poisson_deviance but for terms
    that the outputs do not change.

    Parameters
    ----------
    output_weights, missing_targets
        As in `MSE`.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> model = fr.Sequential([fr.Dense(1)])
    >>> history = fr.Trainer(model, "poisson", fr.SGD(0.1)).fit(X, [1, 2, 4], epochs=500, batch_size=3)
    >>> model.predict(X).round(2).ravel()
    array([1., 2., 4.], dtype=float32)
    """

    name = "poisson"
    transform = "exp"
    forbids = ("relu", "softplus")

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        return checked_targets.counts(argument, super().targets(argument, y, rows, outputs, working))


@dataclass(frozen=True, repr=False, init=False)
class Custom(Loss, saved=False):
    """A loss written in Python: the loss (M,) and the gradient (M, N) of each row.

    Outputs come first, then targets: the other way round than in Keras and in metrics. A function whose parameters are
    called (y_true, y_pred) or the like is refused, since its gradient would lead uphill.

    The engine weights and averages the rows: the loss of a batch is sum(w_i l_i) / sum(w_i). The result of `function`
    for a row must not depend on other rows. It has the same bits as a built-in loss if it computes each row by the same
    formula in the same order. For sums over several outputs, that is the order of `fastreg.kernels.mse` and similar
    functions on single rows. One thread calls it while the others wait.

    Parameters
    ----------
    function
        (outputs (M, N), targets) -> (losses (M,), gradients (M, N)), with gradients dl_i/d(outputs of row i). Arrays
        are in the working dtype and must not be written to. M is the number of rows of the batch, or in evaluation of
        those processed together.
    targets
        "values": numbers of shape (n, outputs), or (n,) for one output. The function gets them as (M, N).
        "labels": integers (n,) from 0 to outputs - 1, or one-hot rows. The function gets them as integers (M,).
    transform
        How predict transforms the outputs: "linear", "exp", "sigmoid" or "softmax". "yes_scores" and "class_scores"
        leave them as they are, and say what they are.
    name
        The name in errors and files. By default that of the function, or "custom" if it has none, such as a lambda.

    Raises
    ------
    TypeError, ValueError
        An argument is not as described above. While running: the function returned something else.

    Notes
    -----
    A model file has only the `name` of this loss. The model predicts without it. To evaluate or to train on, give the
    function again, as `fastreg.load(path, custom={name: function})` or as the trainer's `loss=`. A checkpoint has only
    the name, too. A trainer with this function can resume it.

    If the function raises, the exception ends the fit unchanged. The parameters are those of the start of the epoch.
    `fastreg.check_gradients` tells whether the gradients are correct.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> def log_cosh(y, t):
    ...     return np.log(np.cosh(y - t)).mean(axis=1), np.tanh(y - t) / y.shape[1]
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> y = X @ [1.0, -2.0, 0.5] + 3
    >>> model = fr.Sequential([fr.Dense(1)])
    >>> trainer = fr.Trainer(model, loss=fr.losses.Custom(log_cosh), optimizer=fr.SGD(0.5))
    >>> history = trainer.fit(X, y, epochs=20, batch_size=20)
    >>> history["loss"][-1] < 1e-6
    True
    >>> fr.check_gradients(trainer, X[:20], y[:20] + 1).ok
    True
    """

    function: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    kind: Literal["values", "labels"]
    transform: str
    name: str
    counts_hits = False

    def __init__(self, function, targets: str = "values", transform: str = "linear", name: str | None = None):
        calls.takes("function", function, "outputs, targets")
        if name is None:
            name = getattr(function, "__name__", "custom")
            name = "custom" if name == "<lambda>" else name
        if not isinstance(name, str):
            raise TypeError(f"name: got {checking.shown(name)}, expected a string")
        _check_order(function)
        self._set(
            function=function,
            kind=checking.choice("targets", targets, ("values", "labels")),
            transform=checking.choice("transform", transform, TRANSFORMS),
            name=name,
        )

    @property
    def in_program(self) -> Custom:
        return self

    @property
    def target_columns(self) -> int | None:
        """Columns of the targets in the program. None for as many as outputs."""
        return 1 if self.kind == "labels" else None

    def targets(self, argument: str, y, rows: int, outputs: int, working: str) -> np.ndarray:
        if self.kind == "labels":
            return checked_targets.classes(argument, y, rows, outputs, working, None, shares=False)
        return checked_targets.values(argument, y, rows, outputs, working, None)

    def __call__(self, outputs: np.ndarray, targets: np.ndarray, row_loss: np.ndarray, gradient: np.ndarray) -> None:
        """Fills row_loss (M,) and gradient (M, N). The engines call this."""
        seen = targets[:, 0].astype(np.int64) if self.kind == "labels" else calls.read_only(targets)
        result = self.function(calls.read_only(outputs), seen)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"loss {self.name!r} returned {type(result).__name__}, expected (losses, gradients)")
        calls.fill(f"loss {self.name!r} (losses)", result[0], row_loss)
        calls.fill(f"loss {self.name!r} (gradients)", result[1], gradient)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function))
        return f"Custom({name}, targets={self.kind!r}, transform={self.transform!r}, name={self.name!r})"

    def config(self) -> dict[str, Any]:
        """All but the function, which no file can hold."""
        return {"type": "Custom", "targets": self.kind, "transform": self.transform, "name": self.name}


TARGETS_FIRST = {"y_true", "true", "target", "targets", "label", "labels"}
OUTPUTS_SECOND = {"y_pred", "pred", "preds", "prediction", "predictions", "output", "outputs", "logits", "y_hat"}


def _check_order(function) -> None:
    """Refuses a function whose parameters say that it takes targets first, as Keras's losses and all metrics do."""
    try:
        first, second = list(inspect.signature(function).parameters)[:2]
    except (TypeError, ValueError):  # it has no signature that can be read, or takes other arguments
        return
    if first.lower() in TARGETS_FIRST and second.lower() in OUTPUTS_SECOND:
        raise ValueError(
            f"function: got the parameters ({first}, {second}), expected ({second}, {first}): outputs come first, the "
            "gradient is that of the outputs"
        )


softmax_cross_entropy = SoftmaxCrossEntropy()
sigmoid_cross_entropy = SigmoidCrossEntropy()
mse = MSE()
mae = MAE()
huber = Huber()
log_cosh = LogCosh()
quantile = Quantile()
poisson = Poisson()
softmax_focal = SoftmaxFocal()
sigmoid_focal = SigmoidFocal()
hinge = Hinge()
categorical_hinge = CategoricalHinge()

KINDS = (
    *(SoftmaxCrossEntropy, SigmoidCrossEntropy, MSE, MAE, Huber, LogCosh, Quantile, Poisson),
    *(SoftmaxFocal, SigmoidFocal, Hinge, CategoricalHinge),
)
BY_NAME = {kind.name: kind for kind in KINDS}


def get(value: str | Loss, name: str = "loss") -> Loss:
    """The loss of a name or of a spec such as "softmax_cross_entropy(label_smoothing=0.1)". Objects pass unchanged.
    `name` is that of the argument, for errors."""
    if isinstance(value, str):
        return specs.make(name, value, BY_NAME)
    if isinstance(value, Loss):
        return value
    checking.made(name, value)
    advice = "; fr.losses.Custom(function) takes a loss written in Python" if callable(value) else ""
    if isinstance(value, (list, tuple)):
        advice = "; of several heads give a dict by their names"
    if "optimizers" in type(value).__module__:
        advice = f"; an optimizer is given by name: optimizer={value!r}"
    raise TypeError(f"{name}: got {checking.shown(value)}, expected one of {', '.join(BY_NAME)}{advice}")


def to_config(loss: Loss) -> dict[str, Any]:
    """The loss as a model file keeps it. One of a user's own class is kept by its name and its transform."""
    if type(loss) in (*KINDS, Custom):
        return loss.config()
    return Custom(calls.Absent(loss.name), transform=loss.transform, name=loss.name).config()


def of_config(config: Any, transform: str, custom: Mapping[str, Any]) -> Loss:
    """The loss that a model file keeps.

    A loss that is written in Python is looked up in `custom`, which has its function or a loss under its name. If it is
    not there, the loss has an `Absent` as its function, and `transform` if nothing else tells.
    """
    if not isinstance(config, dict):
        raise ValueError(f"loss: got {checking.shown(config)}, expected the config of a loss")
    if config.get("type") in {kind.__name__ for kind in KINDS}:
        return from_config(config)
    if config.get("type") != "Custom" or not config.keys() <= {"type", "targets", "transform", "name"}:
        raise ValueError(
            f"loss: got {checking.shown(config)}, expected one that there is, or one in Python by its name"
        )
    name: Any = config.get("name")
    found = custom.get(name, calls.Absent(name)) if isinstance(name, str) else None
    if isinstance(found, Loss):
        return found
    return Custom(found, config.get("targets", "values"), config.get("transform", transform), name)
