"""The parameters of a trained model, as numbers that experiments report."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

import fastreg as fr


def weights(model: fr.Model) -> list[np.ndarray]:
    """The weights of all layers, without the biases."""
    return [value for name, value in model.state_dict().items() if name.endswith(".weight")]


def squared_norm(arrays: Iterable[np.ndarray]) -> float:
    """The sum of all squares."""
    return float(sum(np.sum(np.square(array, dtype=float)) for array in arrays))
