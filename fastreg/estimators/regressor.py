"""MLPRegressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import column_or_1d, validate_data

from fastreg.common import checking, names
from fastreg.common.transforms import TRANSFORMS
from fastreg.common.understood import understood
from fastreg.estimators.base import Estimator, Head, Held, available_if, is_stochastic
from fastreg.losses import losses
from fastreg.losses.losses import MSE, Loss, Poisson

LOSSES = ("squared_error", "poisson", "absolute_error", "huber", "log_cosh", "quantile")


class MLPRegressor(RegressorMixin, Estimator):
    """A network that predicts numbers, as scikit-learn's `MLPRegressor`, with more regularizers and faster.

    y may have one or several columns. X may be dense or sparse; sparse rows are read one by one, and never dense as a
    whole. Scale y to about 1, as for scikit-learn's.

    Parameters
    ----------
    loss
        "squared_error" or "poisson", as in scikit-learn: half of the square, half of the deviance with exp as the last
        activation. "absolute_error", "huber", "log_cosh" or "quantile", or an object of `fastreg.losses` for numbers,
        such as `fastreg.losses.Quantile(0.9)`.
    hidden_layer_sizes
        The units of each hidden layer: a sequence, or an integer for one layer. () for none.
    activation
        "identity", "logistic", "tanh", "relu", or another name in `fastreg.layers.ACTIVATIONS`, such as "gelu".
    solver
        "adam", "sgd", "adamw", "rmsprop", "nadam" or "lion" (`fastreg.optimizers`), which read batches; "lbfgs", which
        reads all rows in each step, for small data.
    alpha
        The penalty alpha/2 |W|^2, divided by the rows of the batch, or by the sum of their weights.
    batch_size
        Rows of a batch. "auto" for min(200, rows).
    learning_rate
        "constant"; for solver="sgd" also "invscaling", learning_rate_init / (t + 1)^power_t with t rows seen, or
        "adaptive", which divides the rate by 5 instead of stopping, until it is below 1e-6. Or a schedule of
        `fastreg.schedules`, for every solver; then learning_rate_init is not used.
    learning_rate_init
        The rate, or a schedule of `fastreg.schedules`.
    power_t
        The exponent of "invscaling".
    max_iter
        The most epochs of a fit; of "lbfgs" the most iterations.
    shuffle
        Whether each epoch has a new order of the rows.
    random_state
        The seed of the first weights, the order of the rows, dropout and the rows that `early_stopping` holds back. The
        first weights and the held-back rows are those of scikit-learn for the same seed. NumPy's global generator is
        never touched: None takes a seed from the system.
    tol, n_iter_no_change
        Training stops after more than n_iter_no_change epochs in a row in which the training loss with the penalty, or
        with `early_stopping` the validation score, has not become better by at least tol. "lbfgs" stops where no part
        of the gradient is above tol.
    verbose
        True prints scikit-learn's lines, one an epoch.
    warm_start
        Whether another `fit` goes on from the last one: weights, optimizer, schedule and draws.
    momentum, nesterovs_momentum
        Of "sgd".
    early_stopping
        Whether to stop by the score of held-back rows, and to restore the best weights, however training ends: also by
        Ctrl-C or divergence.
    validation_fraction
        The share of the rows that `early_stopping` holds back, if `fit` gets no X_val.
    beta_1, beta_2, epsilon
        Of "adam", "adamw" and "nadam"; "lion" takes the first two, "rmsprop" the last two.
    max_fun
        The most evaluations of "lbfgs".
    keep_prob
        The probability of keeping the output of a hidden unit in training: dropout. A number for all hidden layers, one
        for each, or one more, of which the first is that of the inputs.
    dropout
        The same as the probability of dropping, 1 - keep_prob. Give one of the two.
    l1
        The penalty l1 |W|_1, a number or a `fastreg.L1`. It is not divided by rows. Weights become exactly 0.
    weight_decay
        Decoupled weight decay, w <- w - rate weight_decay w. None for that of the solver: 0.01 for "adamw", else 0.
    max_norm
        Limit on the norm of the weights into each unit.
    input_noise
        In training, normal noise of this standard deviation is added to the inputs.
    batch_norm
        Whether each hidden layer has a batch normalization before its activation.
    callbacks
        Objects of `fastreg.Callback`.
    threads
        The number of threads. None for the default, which obeys joblib, threadpoolctl and `set_num_threads`. The
        result has the same bits for any number.
    dtype
        "float32" or "float64": the numbers to compute in. None takes those of X, as scikit-learn does; float32 is
        faster.

    Attributes
    ----------
    coefs_, intercepts_
        The weight (inputs, units) and the bias (units,) of each layer. Changing values changes the model.
    loss_, loss_curve_, best_loss_
        The training loss with the penalty: of the last epoch, of all, and the least. best_loss_ is None with
        `early_stopping`.
    validation_scores_, best_validation_score_
        The score of the validation rows after each epoch, and the best. None without such rows.
    history_
        A `fastreg.History` of what training has measured: loss, penalty, rate, seconds, and what callbacks add.
    model_
        The trained `fastreg.Sequential`, which can be saved.
    n_iter_, t_
        Epochs of the last fit, and rows seen.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.
    n_layers_, n_outputs_, out_activation_
        Layers with the inputs, outputs, and "softmax", "logistic", "identity" or "exp".

    Raises
    ------
    ValueError, TypeError
        In `fit`: an argument is not as described above. Nothing has been trained.

    Notes
    -----
    scikit-learn's arguments have its names, order, defaults and meanings, and come first. With shuffle=False and
    solver="sgd" the weights agree with scikit-learn's to the last digits. What is different:

    ====================  =============================================================================================
    order of the rows     Another draw than scikit-learn's, from the seed and the number of the epoch.
    epsilon               Of Adam as in its paper's algorithm, after the correction of the bias: sqrt(v') + epsilon.
    warm_start            The optimizer goes on; scikit-learn starts a new one.
    partial_fit           Each call has its own order of the rows and its own masks; k calls equal k epochs of `fit`.
    sample_weight         Must not be negative.
    early_stopping        A score that is NaN is no improvement. `partial_fit` takes X_val instead.
    "lbfgs"               Has loss_curve_ and history_ too.
    several outputs       The loss that is minimized is the sum over the outputs, also for "lbfgs"; loss_ is the mean.
    ====================  =============================================================================================

    Examples
    --------
    >>> import numpy as np
    >>> from fastreg.estimators import MLPRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> y = np.sin(X[:, 0]) * X[:, 1]
    >>> model = MLPRegressor(hidden_layer_sizes=(64,), learning_rate_init=0.01, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: Any = 0.001,
        power_t: Any = 0.5,
        max_iter: Any = 200,
        shuffle: Any = True,
        random_state: Any = None,
        tol: Any = 1e-4,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: Any = 0.9,
        nesterovs_momentum: Any = True,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: Any = 15000,
        keep_prob: Any = None,
        dropout: Any = None,
        l1: Any = 0.0,
        weight_decay: Any = None,
        max_norm: Any = None,
        input_noise: Any = 0.0,
        batch_norm: Any = False,
        callbacks: Any = None,
        threads: Any = None,
        dtype: Any = None,
    ):
        self._store(locals())

    @understood
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Trains until the rules end it, or for `max_iter` epochs.

        Parameters
        ----------
        X
            (n, features) numbers: an array, a frame of numbers, or a sparse matrix of SciPy's.
        y
            (n,) or (n, outputs) numbers.
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
    def partial_fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Trains for one epoch. The next call goes on: optimizer, schedule and draws.

        Parameters
        ----------
        X
            (n, features) numbers: an array, a frame of numbers, or a sparse matrix of SciPy's.
        y
            (n,) or (n, outputs) numbers.
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
        return self._fit(X, y, sample_weight, Held(X_val, y_val, sample_weight_val), incremental=True)

    @understood
    def predict(self, X):
        """The predictions for the rows of X.

        Parameters
        ----------
        X
            (n, features) numbers, dense or sparse.

        Returns
        -------
        ndarray
            (n,), or (n, outputs) for several targets.
        """
        found = self._outputs(X)
        return found[:, 0] if found.shape[1] == 1 else found

    def _checked(self, X, y, reset: bool):
        how: dict[str, Any] = {"accept_sparse": "csr", "multi_output": True, "y_numeric": True, "dtype": "numeric"}
        X, y = validate_data(self, X, y, reset=reset, **how)
        if hasattr(y, "toarray"):
            y = y.toarray()
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _encoded(self, y, fresh: bool, incremental: bool) -> np.ndarray:
        return y

    def _head(self, targets, weights) -> Head:
        count = 1 if targets.ndim == 1 else targets.shape[1]
        loss = self._loss()
        activation = {"linear": "identity"}.get(loss.transform, loss.transform)

        def report(value: float) -> float:
            return value

        if loss == MSE():  # scikit-learn has half of the sum over outputs in the gradient, and reports its mean
            loss = MSE(output_weights=(count / 2,) * count)
            report = Shifted(count, 0.0)
        elif loss == Poisson():
            loss = Poisson(output_weights=(float(count),) * count) if count > 1 else loss
            report = Shifted(count, _entropy(targets, weights))
        return Head(count, loss, activation, "r2", "r2", report)

    def _loss(self) -> Loss:
        if isinstance(self.loss, str) and "(" not in self.loss:
            known = {"squared_error": "mse", "absolute_error": "mae"}
            meant = names.own("loss", self.loss, (*LOSSES, "mse", "mae"))
            name = known.get(meant or "", meant) or checking.choice("loss", self.loss, LOSSES)
            return losses.get(name)
        if isinstance(self.loss, (int, list, tuple)):
            raise TypeError(
                f"loss: got {checking.shown(self.loss)}, expected one of {', '.join(LOSSES)}, the first argument; "
                f"hidden_layer_sizes={checking.shown(self.loss)} is given by name"
            )
        loss = losses.get(self.loss)
        if TRANSFORMS[loss.transform].answers != "numbers" or getattr(loss, "kind", "values") != "values":
            raise ValueError(f"loss: got {loss!r}, expected one of numbers: {', '.join(LOSSES)}, or such an object")
        return loss

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class Shifted:
    """The value that scikit-learn reports, of a loss that is the sum over `outputs`, up to a constant."""

    def __init__(self, outputs: int, constant: float):
        self.outputs, self.constant = outputs, constant

    def __call__(self, value: float) -> float:
        return value / self.outputs + self.constant


def _entropy(targets: np.ndarray, weights: np.ndarray | None) -> float:
    """The mean of y log y - y: what half of the Poisson deviance has beyond exp(z) - y z."""
    y = np.asarray(targets, np.float64).reshape(len(targets), -1)
    if not (y >= 0).all():
        return 0.0  # the loss refuses them
    terms = y * np.log(np.where(y > 0, y, 1)) - y
    return float(np.average(terms, weights=weights, axis=0).mean())
