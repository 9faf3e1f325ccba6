"""Layers that multiply by random numbers in training."""

from __future__ import annotations

from dataclasses import dataclass

from fastreg import checking
from fastreg.layers.base import Layer


@dataclass(frozen=True, repr=False, init=False)
class Dropout(Layer):
    """Inverted dropout: in training an element is kept with `keep_prob` and divided by it, else it becomes 0.

    At prediction the layer does nothing, and the expectation of its output is the same (Srivastava et al., 2014).
    In front of the first Dense it drops inputs.

    Parameters
    ----------
    keep_prob
        Probability to keep an element, from 0 to 1, honoured to 2**-16.
    rate
        1 - keep_prob: the probability to drop. Give one of the two, by name.
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dropout(rate=0.2)
    Dropout(keep_prob=0.8)
    """

    keep_prob: float

    def __init__(self, *, keep_prob: float | None = None, rate: float | None = None, name: str | None = None):
        if (keep_prob is None) == (rate is None):
            got = f"keep_prob={checking.shown(keep_prob)} and rate={checking.shown(rate)}"
            raise ValueError(f"Dropout: got {got}, expected one of the two")
        if rate is not None:
            keep_prob = 1.0 - checking.number("rate", rate, 0, 1)
        self._set(keep_prob=checking.number("keep_prob", keep_prob, 0, 1), name=name)
        super().__post_init__()

    @property
    def rate(self) -> float:
        """The probability to drop an element."""
        return 1.0 - self.keep_prob

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Dropout(keep_prob={self.keep_prob:.12g}{name})"
