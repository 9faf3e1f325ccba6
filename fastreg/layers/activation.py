"""Activation: a layer that applies an activation alone."""

from __future__ import annotations

from dataclasses import dataclass

from fastreg.common import checking
from fastreg.layers.base import Layer, live
from fastreg.reference.activations import ACTIVATIONS


@live
@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """An activation alone, for places where no layer has one, such as after an `Add`.

    Where the layer before has none, and nothing else reads its values, the two are computed as one.

    Parameters
    ----------
    activation
        As for `Dense`: "relu", "tanh", "gelu" or another name in `fastreg.layers.ACTIVATIONS`.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Sequential([fr.Dense(8), fr.Dropout(rate=0.1), fr.Activation("relu"), fr.Dense(1)])
    Sequential([Dense(8), Dropout(keep_prob=0.9), Activation('relu'), Dense(1)])
    """

    activation: str

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.activation, str) and self.activation == "softmax":
            raise ValueError(
                "activation: got 'softmax', expected none: the loss 'softmax_cross_entropy' takes logits, "
                "and predict gives probabilities"
            )
        self._set(activation=checking.choice("activation", self.activation, ACTIVATIONS))

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Activation({self.activation!r}{name})"
