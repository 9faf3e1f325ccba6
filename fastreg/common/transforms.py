"""How predict transforms the outputs of the last layer, and what its predictions then are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Transform:
    """
    function        what is done to the outputs: "linear" (nothing), "exp", "sigmoid" or "softmax"
    answers         "classes": a column for each class. "yes": yes or no in each column. "numbers"
    told            what the predictions are, in words
    probabilities   whether they are probabilities; else scores without a scale, or numbers
    """

    function: str
    answers: Literal["classes", "yes", "numbers"]
    told: str
    probabilities: bool = False

    @property
    def threshold(self) -> float:
        """What a prediction of yes is above."""
        return 0.5 if self.probabilities else 0.0


TRANSFORMS = {
    "linear": Transform("linear", "numbers", "values"),
    "exp": Transform("exp", "numbers", "positive values"),
    "sigmoid": Transform("sigmoid", "yes", "probabilities of yes", probabilities=True),
    "softmax": Transform("softmax", "classes", "probabilities of classes", probabilities=True),
    "yes_scores": Transform("linear", "yes", "scores of yes"),
    "class_scores": Transform("linear", "classes", "scores of classes"),
}
