"""What was trained, inside of what people hold in their hands: the last step of a pipeline, the best of a search."""

from __future__ import annotations

from typing import Any

from fastreg.common import checking


def inside(given: Any) -> Any:
    """The estimator in a pipeline or a search of scikit-learn. Anything else as it is."""
    given = getattr(given, "best_estimator_", given)
    steps = getattr(given, "steps", None)
    return steps[-1][1] if isinstance(steps, list) and steps else given


def refusal(name: str, given: Any, expected: str) -> TypeError:
    """The error about an argument in which nothing is trained."""
    estimator = hasattr(given, "fit") and hasattr(given, "get_params") and not isinstance(given, type)
    told = "; it is not fitted yet" if estimator and not any(key.endswith("_") for key in vars(given)) else ""
    return TypeError(f"{name}: got {checking.shown(given)}, expected {expected}{told}")
