"""Dropout: the layer that multiplies by random numbers in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from fastreg.common import checking
from fastreg.common.showing import exact
from fastreg.layers.base import Layer, live
from fastreg.program.riders import ALL_ROWS

KINDS = ("inverted", "gaussian", "standard")
PER = ("element", "unit")


@live
@dataclass(frozen=True, repr=False, init=False)
class Dropout(Layer):
    """Dropout: in training, multiplies every element by a random m, so that no unit can rely on another.

    Before the first Dense, it drops inputs. The expected output is the same in training and in prediction. Except for
    "standard", it is also the same as without dropout (Srivastava et al., Dropout: A Simple Way to Prevent Neural
    Networks from Overfitting, JMLR 15, 2014).

    Parameters
    ----------
    keep_prob
        Probability of keeping an element, from 0 to 1. Except for "gaussian", it is exact to 2**-16.
    rate
        Probability of dropping an element: 1 - keep_prob. Give one of the two, by name.
    kind
        What m is, with k = keep_prob:

        "inverted"
            1 / k with probability k, else 0. In prediction, outputs pass unchanged.
        "gaussian"
            1 + sqrt((1 - k) / k) n, with normal draws n: mean and variance as for "inverted", but no zeros (the
            paper's section 10). In prediction, outputs pass unchanged.
        "standard"
            1 with probability k, else 0. Prediction multiplies outputs by k. The first form of dropout, for
            comparison.
    per
        "element": every element has its own draw. "unit": a column has one draw for all rows of the batch, or of a
        group of them (`rows`). A step then trains one thinned network, or one a group, and computes only what is left
        of it where that is faster. The noise averages out less over the rows.
    rows
        With per="unit": how many rows share a draw, taken in the order of the batch. The last group of a batch may be
        shorter. None: all rows of the batch share it.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above, keep_prob is 0 with kind="gaussian", or rows are given with
        per="element".

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dropout(rate=0.2)
    Dropout(keep_prob=0.8)
    >>> fr.Dropout(rate=0.5, kind="gaussian", per="unit")
    Dropout(keep_prob=0.5, kind='gaussian', per='unit')
    >>> fr.Dropout(rate=0.5, per="unit", rows=32)
    Dropout(keep_prob=0.5, per='unit', rows=32)
    """

    keep_prob: float
    kind: Literal["inverted", "gaussian", "standard"]
    per: Literal["element", "unit"]
    rows: int | None

    instead: ClassVar[dict[str, tuple[str, ...]]] = {"rate": ("keep_prob",)}
    passes: ClassVar[bool] = True

    def __init__(
        self,
        *args,
        keep_prob: float | None = None,
        rate: float | None = None,
        kind: str = "inverted",
        per: str = "element",
        rows: int | None = None,
        name: str | None = None,
    ):
        if args:
            got = ", ".join(map(checking.shown, args))
            raise TypeError(f"Dropout: got {got} without a name, expected keep_prob= (to keep) or rate= (to drop)")
        if (keep_prob is None) == (rate is None):
            got = f"keep_prob={checking.shown(keep_prob)} and rate={checking.shown(rate)}"
            raise ValueError(f"Dropout: got {got}, expected one of the two")
        if rate is not None:
            keep_prob = 1.0 - checking.number("rate", rate, 0, 1)
        keep_prob, kind = checking.number("keep_prob", keep_prob, 0, 1), checking.choice("kind", kind, KINDS)
        if kind == "gaussian" and keep_prob == 0:
            given, limit = ("keep_prob: got 0", "more") if rate is None else ("rate: got 1", "less")
            raise ValueError(
                f"{given} with kind='gaussian', expected {limit}: the variance is (1 - keep_prob) / keep_prob"
            )
        per = checking.choice("per", per, PER)
        if rows is not None:
            rows = checking.integer("rows", rows, 1, ALL_ROWS)
            if per == "element":
                raise ValueError(f"rows: got {rows} with per='element', expected per='unit': rows share draws of units")
        self._set(keep_prob=keep_prob, kind=kind, per=per, rows=rows, name=name)
        super().__post_init__()

    @property
    def rate(self) -> float:
        """The probability of dropping an element."""
        return 1.0 - self.keep_prob

    @property
    def options(self) -> str:
        """The arguments that differ from their defaults, as text."""
        usual = {"kind": "inverted", "per": "element", "rows": None, "name": None}
        given = {key: getattr(self, key) for key in usual}
        return "".join(f", {key}={value!r}" for key, value in given.items() if value != usual[key])

    def __repr__(self) -> str:
        told, short = f"keep_prob={exact(self.keep_prob)}", f"{self.rate:.12g}"
        if len(told) > len("keep_prob=") + 14 and 1.0 - float(short) == self.keep_prob:  # it was given as the rate
            told = f"rate={short}"
        return f"Dropout({told}{self.options})"
