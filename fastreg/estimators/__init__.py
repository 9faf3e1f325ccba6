"""Estimators with scikit-learn's manners. scikit-learn is imported when one of them is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from fastreg.common import names

if TYPE_CHECKING:
    from fastreg.estimators.classifier import MLPClassifier
    from fastreg.estimators.logistic import LogisticRegression
    from fastreg.estimators.regressor import MLPRegressor

__all__ = ["LogisticRegression", "MLPClassifier", "MLPRegressor"]

_HOMES = {"LogisticRegression": "logistic", "MLPClassifier": "classifier", "MLPRegressor": "regressor"}


def __getattr__(name: str):
    if name not in _HOMES:
        names.missing("fastreg.estimators", __all__)(name)
    found = getattr(import_module(f"fastreg.estimators.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
