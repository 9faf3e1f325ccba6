"""Dicts of results by name: an error says which name is meant."""

from __future__ import annotations

import opcode
import sys
from collections.abc import Iterator
from typing import Any

from fastreg.common.names import advice

UNPACKING = frozenset(opcode.opmap[name] for name in ("UNPACK_SEQUENCE", "UNPACK_EX"))


class ByName(dict):
    """A dict whose keys are names."""

    def __missing__(self, name: Any) -> Any:
        near = advice("monitor", name, self) if isinstance(name, str) else ""
        raise KeyError(f"got {name!r}, expected one of {', '.join(self)}{near}")


class Scores(ByName):
    """Values of a loss and of metrics. Keras gives a list of them, which scripts unpack; a dict would give its keys.

    Examples
    --------
    >>> scores = Scores(loss=0.5, accuracy=0.75)
    >>> scores["loss"], list(scores), scores == {"loss": 0.5, "accuracy": 0.75}
    (0.5, ['loss', 'accuracy'], True)
    >>> loss, accuracy = scores
    Traceback (most recent call last):
    TypeError: evaluate: gives a dict, whose values are scores['loss'], scores['accuracy'], or all of scores.values()
    """

    def __iter__(self) -> Iterator[str]:
        frame = sys._getframe(1)  # whoever goes through the names: `for` and list() may, an unpacking means the values
        if frame.f_code.co_code[frame.f_lasti] in UNPACKING:
            values = ", ".join(f"scores[{name!r}]" for name in self.keys())
            raise TypeError(f"evaluate: gives a dict, whose values are {values}, or all of scores.values()")
        return super().__iter__()
