"""Classification, as the classifiers share it: labels and what stands for them, weights of classes, answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from fastreg.common import checking
from fastreg.common.transforms import TRANSFORMS
from fastreg.common.understood import understood
from fastreg.estimators.base import Estimator, Head, available_if
from fastreg.intake.classes import Classes
from fastreg.intake.schema import Schema, Target
from fastreg.losses import losses
from fastreg.losses.losses import Loss, SigmoidCrossEntropy, SigmoidFocal, SoftmaxCrossEntropy, SoftmaxFocal
from fastreg.model.model import Model

LOSSES: dict[str, tuple[type[Loss], type[Loss]]] = {  # of yes or no, of one of several classes
    "log_loss": (SigmoidCrossEntropy, SoftmaxCrossEntropy),
    "focal": (SigmoidFocal, SoftmaxFocal),
}


def exact_match(y_true, y_pred, sample_weight=None) -> float:
    """The share of rows all of whose labels are right: scikit-learn's accuracy of several labels a row."""
    right = ((np.asarray(y_pred) > 0.5) == (np.asarray(y_true) > 0.5)).all(axis=1)
    return float(np.average(right, weights=sample_weight))


def _gives_probabilities(estimator: Any) -> bool:
    loss = estimator._given_loss
    if isinstance(loss, str) and "(" in loss:
        loss = losses.get(loss)
    if isinstance(loss, Loss) and not TRANSFORMS[loss.transform].probabilities:
        raise AttributeError(f"predict_proba: {loss.name} gives scores, which are no probabilities")
    return True


def _check_kinds(y: np.ndarray) -> None:
    """Refuses objects among the labels that are no texts: they cannot be put in order with the others."""
    if y.dtype == object:
        for row, label in enumerate(y.ravel() if y.ndim == 1 or y.shape[1:] == (1,) else ()):
            if not isinstance(label, str):
                raise ValueError(
                    f"Unknown label type: y has {checking.shown(label)} in row {row}, expected texts alone or "
                    f"numbers alone; y.astype(str) or y.astype(int) makes them"
                )


class Classifier(ClassifierMixin, Estimator):
    """Base of the classifiers."""

    label_smoothing: Any
    class_weight: Any
    classes_: np.ndarray
    _several: bool  # whether a row has several labels, each yes or no
    _labels_are_sparse = False  # whether those of the training data were, so that answers are, too

    @property
    def _given_loss(self) -> Any:
        """The argument `loss`, if there is one."""
        return getattr(self, "loss", "log_loss")

    # --- Training ------------------------------------------------------------------------------------------------

    def _begin(self, y, classes) -> None:
        """The classes of all calls of `partial_fit`, which the first one must tell."""
        known = getattr(self, "classes_", None)
        if known is None and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is None:
            return
        classes = unique_labels(classes)
        if known is None:
            self.classes_, self._several = classes, type_of_target(y).startswith("multilabel")
        elif not np.array_equal(known, classes):
            raise ValueError(f"classes: got {checking.shown(classes)}, expected {known}, as in the calls before")

    def _checked(self, X, y, reset: bool):
        if hasattr(y, "isna") and np.any(holes := np.asarray(y.isna())):  # of pandas, which cannot compare them
            row = np.argwhere(holes)[0, 0]
            raise ValueError(f"Input y contains NaN: row {row} holds no label, expected one per row")
        X, y = super()._checked(X, y, reset)
        _check_kinds(y)
        sparse = hasattr(y, "toarray")
        if reset:
            self._labels_are_sparse = sparse
        if sparse:
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if (kind := type_of_target(y)) == "multiclass-multioutput":
            raise ValueError(f"y: got {kind} targets of shape {y.shape}, expected (n,), or several labels of 0 and 1")
        return X, y

    def _encoded(self, y, fresh: bool, incremental: bool) -> np.ndarray:
        several = type_of_target(y).startswith("multilabel")
        classes = np.arange(y.shape[1]) if several else np.unique(y)
        if not hasattr(self, "classes_") or (fresh and not incremental):
            self.classes_, self._several = classes, several
        elif several != self._several:
            raise ValueError(f"y: got {type_of_target(y)} targets, expected the kind of those of the first fit")
        elif self.warm_start and not incremental and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        elif not set(classes) <= set(self.classes_):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )
        if several:
            return (np.asarray(y) != 0).astype(np.uint8)
        return np.searchsorted(self.classes_, y)

    def _weights(self, y, weights, incremental: bool):
        if self.class_weight is None:
            return weights, None
        if isinstance(self.class_weight, str):
            checking.choice("class_weight", self.class_weight, ("balanced",))
            if incremental:
                raise ValueError(
                    "class_weight: got 'balanced' in partial_fit, which sees a part of the data, expected a dict; "
                    "sklearn.utils.class_weight.compute_class_weight makes one of all labels"
                )
        else:
            self._check_class_weight(self.class_weight)
        if self._several:
            return weights, self.class_weight
        if self.class_weight == "balanced":  # as if a row of weight 2 were there twice
            codes = np.searchsorted(self.classes_, y)
            sums = np.bincount(codes, weights, len(self.classes_))
            of_rows = (sums.sum() / (np.count_nonzero(sums) * np.where(sums > 0, sums, 1)))[codes]
        else:
            of_rows = compute_sample_weight(self.class_weight, y)
        product = of_rows if weights is None else of_rows * weights
        if not product.any():
            raise ValueError(f"class_weight: got {self.class_weight}, expected a weight above 0 for some row")
        return product, None

    def _check_class_weight(self, given) -> None:
        """Refuses what is no dict of weights by class."""
        if not isinstance(given, Mapping):
            raise TypeError(
                f"class_weight: got {checking.shown(given)}, expected 'balanced' or a dict of weights by class"
            )
        known = self.classes_.tolist()
        for label, weight in given.items():
            if not any(label == one for one in known):
                what = "labels" if self._several else "classes"
                raise ValueError(
                    f"class_weight: got {label!r}, expected one of the {what} "
                    f"{checking.shown(known)}{checking.nearest(label, known)}"
                )
            checking.number(f"class_weight[{label!r}]", weight)

    def _schema(self) -> Schema:
        values = tuple(self.classes_.tolist())
        if self._several or len(values) < 2:
            return Schema()
        try:
            return Schema(target=Target(task="classes", classes=values))
        except (TypeError, ValueError):  # such as 2 and "2", which are the same in a file
            return Schema()

    def _named(self, targets: np.ndarray, model: Model) -> np.ndarray:
        known = model.classes
        return targets if known is None or Classes(known).plain else self.classes_[targets]

    def _head(self, targets, weights) -> Head:
        count = targets.shape[1] if self._several else len(self.classes_)
        yes_or_no = self._several or count <= 2
        loss = self._loss(yes_or_no)
        transform = TRANSFORMS[loss.transform]
        activation = {"sigmoid": "logistic", "linear": "identity"}.get(transform.function, transform.function)
        if transform.answers == "classes":
            if self._several:
                raise ValueError(
                    f"loss: got {loss!r} for several labels a row, expected one of yes or no, as 'log_loss'"
                )
            return Head(max(count, 2), loss, activation, "accuracy", "accuracy")
        if transform.answers != "yes" or not yes_or_no:
            expected = "one of yes or no" if yes_or_no else "one of several classes"
            raise ValueError(f"loss: got {loss!r}, expected {expected}, as 'log_loss' is")
        if not self._several:
            return Head(1, loss, activation, "accuracy", "accuracy")
        if self._given_loss == "log_loss":  # scikit-learn adds the outputs up
            loss = SigmoidCrossEntropy(label_smoothing=loss.label_smoothing, output_weights=(float(count),) * count)
        return Head(count, loss, activation, "exact_match", ("exact_match", exact_match))

    def _loss(self, yes_or_no: bool) -> Loss:
        smoothing = checking.number("label_smoothing", self.label_smoothing, 0, 1)
        if isinstance(given := self._given_loss, str) and "(" not in given:
            name = checking.choice("loss", given, LOSSES)
            return LOSSES[name][0 if yes_or_no else 1](label_smoothing=smoothing)  # type: ignore[call-arg]
        if smoothing:
            raise ValueError(f"label_smoothing: got {smoothing:g} with a loss that has its own, expected it there")
        return losses.get(given)

    def _stratified(self, targets):
        return targets.astype(bool).reshape(-1, 1) if not self._several and len(self.classes_) == 2 else None

    # --- Answers -------------------------------------------------------------------------------------------------

    @understood
    def decision_function(self, X):
        """What the last layer gives for the rows of X: the larger, the more does it speak for a class.

        Parameters
        ----------
        X
            (n, features) numbers, dense or sparse.

        Returns
        -------
        ndarray
            (n, classes); (n,) for two classes, where above 0 is the second one; (n, labels) for several labels a row.
        """
        outputs = self._outputs(X, "linear")
        if self._several or len(self.classes_) > 2:
            return outputs
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]

    @understood
    def predict(self, X):
        """The class of each row of X.

        Parameters
        ----------
        X
            (n, features) numbers, dense or sparse.

        Returns
        -------
        ndarray
            (n,) classes as they were in the training data; (n, labels) 0 and 1 for several labels a row. A sparse
            matrix if the labels of the training data were one, as in scikit-learn.
        """
        scores = self.decision_function(X)
        if self._several:
            labels = (scores > 0).astype(int)
            return csr_matrix(labels) if self._labels_are_sparse else labels
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(scores))
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    @available_if(_gives_probabilities)
    @understood
    def predict_proba(self, X):
        """The probability of each class.

        Parameters
        ----------
        X
            (n, features) numbers, dense or sparse.

        Returns
        -------
        ndarray
            (n, classes) in the order of `classes_`; (n, labels) probabilities of yes for several labels a row.
        """
        found = self._outputs(X)
        if self._several or found.shape[1] > 1:
            return found
        if len(self.classes_) == 1:
            return np.ones_like(found)
        return np.hstack([1 - found, found])

    @available_if(_gives_probabilities)
    @understood
    def predict_log_proba(self, X):
        """The logarithms of `predict_proba`.

        Parameters
        ----------
        X
            (n, features) numbers, dense or sparse.

        Returns
        -------
        ndarray
            As of `predict_proba`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))
