"""Metrics: how good predictions are. scikit-learn's values, from targets and what `predict` gives.

Each is a function of (y_true, y_pred, sample_weight=None), and a name for `Trainer(metrics=...)`. `BY_NAME` has all of
them. The averages of f1, precision and recall, and each top_K_accuracy, are functions too: `fr.metrics.f1_macro`.
"""

from fastreg.common.names import missing as _missing
from fastreg.metrics.classes import accuracy, balanced_accuracy, f1, precision, recall, top_k_accuracy
from fastreg.metrics.ranking import average_precision, log_loss, roc_auc
from fastreg.metrics.registry import BY_NAME, find
from fastreg.metrics.values import mae, mape, max_error, median_absolute_error, mse, r2, rmse

__all__ = [
    "BY_NAME",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "f1",
    "log_loss",
    "mae",
    "mape",
    "max_error",
    "median_absolute_error",
    "mse",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "top_k_accuracy",
]


def __getattr__(name: str):
    measure = None if name.startswith("_") else find(name)
    return _missing(__name__, [*__all__, *BY_NAME])(name) if measure is None else measure
