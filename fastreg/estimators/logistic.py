"""LogisticRegression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.estimators import arguments
from fastreg.estimators.arguments import SOLVERS, Arguments
from fastreg.estimators.base import Held, available_if, is_stochastic
from fastreg.estimators.labels import Classifier
from fastreg.losses.penalties import L1, L2

# scikit-learn's other solvers, which minimize the same objective as "lbfgs" does
SAME = ("newton-cg", "newton-cholesky", "sag", "saga")
RATIOS = {"l2": 0.0, "l1": 1.0}


class LogisticRegression(Classifier):
    """Logistic regression, as scikit-learn's `LogisticRegression`: the same minimum, with more regularizers.

    What is minimized is sum(w l) + ((1 - l1_ratio)/2 |W|^2 + l1_ratio |W|_1) / C, where l is the softmax cross-entropy,
    or for two classes the sigmoid cross-entropy of one output. X may be dense or sparse; sparse rows are never dense as
    a whole.

    Parameters
    ----------
    penalty
        "l2", "l1", "elasticnet" or None, which scikit-learn no longer advises. By default `C` and `l1_ratio` say all.
    C
        The inverse of the strength of the penalty, above 0. `numpy.inf` for no penalty.
    l1_ratio
        The share of L1: 0 for L2 alone, 1 for L1 alone, whose weights become exactly 0.
    dual, intercept_scaling, n_jobs
        Only for scripts written for scikit-learn. dual=True is refused; the others have no effect.
    tol
        "lbfgs" stops where no element of the gradient of the mean loss is above tol. For the others see
        `fastreg.estimators.MLPClassifier`.
    fit_intercept
        Whether there are intercepts, which are not penalized.
    class_weight
        A dict {class: weight}, 1 for all others, or "balanced": rows / (classes * rows of the class), where
        a row counts with its weight. It multiplies
        `sample_weight`.
    random_state
        The seed of the order of the rows and of dropout. "lbfgs" draws nothing.
    solver
        "lbfgs", for every penalty; so do scikit-learn's "newton-cg", "newton-cholesky", "sag" and "saga", which have
        the same minimum. Or "adam", "sgd", "adamw", "rmsprop", "nadam" or "lion" (`fastreg.optimizers`), which read
        batches, for data too large for many passes, and for dropout and noise.
    max_iter
        The most iterations, or epochs.
    verbose
        True prints a line an iteration.
    warm_start
        Whether another `fit` goes on from the last one.
    batch_size, learning_rate_init, momentum, early_stopping, validation_fraction, n_iter_no_change
        Of the solvers that read batches, as in `fastreg.estimators.MLPClassifier`.
    keep_prob, dropout
        The probability of keeping an input in training, or that of dropping it. Give one of the two.
    weight_decay, max_norm, label_smoothing, input_noise, callbacks, threads, dtype
        As in `fastreg.estimators.MLPClassifier`. The first two, noise and callbacks need a solver that reads batches.

    Attributes
    ----------
    classes_
        The classes, sorted.
    coef_, intercept_
        (1, features) and (1,) for two classes, else (classes, features) and (classes,). Changing values changes the
        model.
    n_iter_
        (1,) iterations or epochs of the last fit.
    loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_, history_, model_, t_
        As in `fastreg.estimators.MLPClassifier`. The loss is the mean over the rows, with the penalty.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Raises
    ------
    ValueError, TypeError
        In `fit`: an argument is not as described above. Nothing has been trained.

    Examples
    --------
    >>> from fastreg.estimators import LogisticRegression
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=200).fit(X, y)
    >>> model.coef_.shape, model.score(X, y) > 0.95
    ((3, 4), True)
    """

    _precision = 64 * float(np.finfo(np.float64).eps)

    def __init__(
        self,
        penalty: Any = "deprecated",
        *,
        C: Any = 1.0,
        l1_ratio: Any = 0.0,
        dual: Any = False,
        tol: Any = 1e-4,
        fit_intercept: Any = True,
        intercept_scaling: Any = 1,
        class_weight: Any = None,
        random_state: Any = None,
        solver: Any = "lbfgs",
        max_iter: Any = 100,
        verbose: Any = 0,
        warm_start: Any = False,
        n_jobs: Any = None,
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.001,
        momentum: Any = 0.9,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        n_iter_no_change: Any = 10,
        keep_prob: Any = None,
        dropout: Any = None,
        weight_decay: Any = None,
        max_norm: Any = None,
        label_smoothing: Any = 0.0,
        input_noise: Any = 0.0,
        callbacks: Any = None,
        threads: Any = None,
        dtype: Any = None,
    ):
        self._store(locals())

    @understood
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Trains until the rules end it, or for `max_iter` iterations or epochs.

        Parameters
        ----------
        X
            (n, features) numbers: an array, a frame of numbers, or a sparse matrix of SciPy's.
        y
            (n,) classes, numbers or texts.
        sample_weight
            (n,) weights of at least 0. The loss of a batch is sum(w l) / sum(w).
        X_val, y_val, sample_weight_val
            Rows to validate on after each epoch. With `early_stopping` they take the place of those held back.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            max_iter has come before the end.
        """
        return self._fit(X, y, sample_weight, Held(X_val, y_val, sample_weight_val))

    @available_if(is_stochastic)
    @understood
    def partial_fit(self, X, y, sample_weight=None, classes=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Trains for one epoch. The next call goes on: optimizer and draws.

        Parameters
        ----------
        X
            (n, features) numbers: an array, a frame of numbers, or a sparse matrix of SciPy's.
        y
            (n,) classes, numbers or texts.
        sample_weight
            (n,) weights of at least 0. The loss of a batch is sum(w l) / sum(w).
        classes
            All classes of all calls, in the first call.
        X_val, y_val, sample_weight_val
            Rows to validate on after each epoch. With `early_stopping` they take the place of those held back.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            max_iter has come before the end.
        """
        return self._fit(X, y, sample_weight, Held(X_val, y_val, sample_weight_val), True, classes)

    @property
    def coef_(self) -> Any:
        """The weights, (1, features) for two classes, else (classes, features). A copy in CSR after `sparsify`."""
        found = self._arrays("coef_", "weight")[0].T
        if not vars(self).get("_sparse", False):
            return found
        from scipy.sparse import csr_array

        return csr_array(found)

    @coef_.setter
    def coef_(self, values) -> None:
        self._set("coef_", [np.asarray(values.toarray() if hasattr(values, "toarray") else values).T], "weight")

    @property
    def intercept_(self) -> np.ndarray:
        """The intercepts, (1,) for two classes, else (classes,)."""
        if self._bias:
            return self._arrays("intercept_", "bias")[0]
        return np.zeros(self._fitted("intercept_").model.outputs)

    @intercept_.setter
    def intercept_(self, values) -> None:
        self._set("intercept_", [np.asarray(values)], "bias")

    def sparsify(self):
        """From now on `coef_` is a matrix in CSR. The model keeps its own weights, so predictions stay as they are.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self._sparse = True
        return self

    def densify(self):
        """From now on `coef_` is an array again: the weights of the model.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self._sparse = False
        return self

    # --- Where it differs from a network -------------------------------------------------------------------------

    @property
    def _bias(self) -> bool:
        """Whether there are intercepts."""
        return checking.flag("fit_intercept", self.fit_intercept)

    def _arguments(self) -> Arguments:
        solver = self.solver
        if solver in SAME:
            solver = "lbfgs"
        elif solver == "liblinear":
            raise ValueError(
                "solver: got 'liblinear', which penalizes the intercept and fits one class against the rest, expected "
                f"one of {', '.join(SOLVERS)}; 'lbfgs' takes every penalty"
            )
        if checking.flag("dual", self.dual):
            raise ValueError("dual: got True, expected False: solver='lbfgs' minimizes the objective itself")
        self._strengths()
        given = self.get_params(deep=False) | {"solver": solver, "hidden_layer_sizes": ()}
        return arguments.checked(given, self._bias)

    def _strengths(self) -> tuple[float, float]:
        """The coefficients of |W|_1 and |W|^2 / 2, for a loss that is the sum over the rows."""
        C, ratio = self.C, self.l1_ratio
        strength = 0.0 if isinstance(C, float) and math.isinf(C) and C > 0 else 1 / checking.positive("C", C)
        ratio = 0.0 if ratio is None else checking.number("l1_ratio", ratio, 0, 1)
        penalty = self.penalty
        if penalty is None:
            strength = 0.0
        elif penalty != "deprecated":
            ratio = RATIOS.get(checking.choice("penalty", penalty, ("l1", "l2", "elasticnet")), ratio)
        return ratio * strength, (1 - ratio) * strength

    def _penalties(self, given: Arguments, total: float, weighted: bool) -> tuple[L1, L2]:
        l1, l2 = self._strengths()
        return L1(l1 / total), L2(l2 / total)

    def _checked(self, X, y, reset: bool):
        X, y = super()._checked(X, y, reset)
        if y.ndim == 2:
            raise ValueError(
                f"y: got shape {y.shape}, expected (n,), one class a row; MLPClassifier takes several labels"
            )
        return X, y

    def _encoded(self, y, fresh: bool, incremental: bool) -> np.ndarray:
        encoded = super()._encoded(y, fresh, incremental)
        if len(self.classes_) < 2:
            raise ValueError(f"y: got one class, {self.classes_[0]}, expected at least two classes")
        return encoded

    def _start(self, model, random) -> dict[str, np.ndarray]:
        return {name: np.zeros(values.shape) for name, values in model.parameters.items()}

    def _publish(self, given: Arguments, head) -> None:
        super()._publish(given, head)
        self.n_iter_: Any = np.array([self._course.epochs], np.int32)
        self._sparse = False
