"""`compare_engines`: the native engine against the reference, op by op on one batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg import plots
from fastreg.checks.parts import Part, by_part, parts_of
from fastreg.checks.twin import make_twin
from fastreg.common import checking
from fastreg.common.attributes import Suggesting
from fastreg.common.fileio import PathLike
from fastreg.common.tables import percent, table
from fastreg.common.understood import understood
from fastreg.engines.base import Feed
from fastreg.engines.make import make_engine
from fastreg.engines.memory import padded
from fastreg.engines.native import NativeEngine
from fastreg.program import images as I
from fastreg.program import ops as O
from fastreg.program.embedding import EmbedDw
from fastreg.program.normalize import WITH_TABLE, Affine, BatchNorm, BatchNormDx, LayerNorm, LayerNormDw, Norm
from fastreg.program.program import Program

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Any rate would do, but errors show better when parameters move noticeably.
RATE = 0.1
VELOCITY = {"momentum": "v", "nesterov": "v", "rmsprop_momentum": "m"}  # the slot that holds past steps


@dataclass(frozen=True)
class OpComparison(Suggesting):
    """The comparison of one op of the program.

    index, op   its place and kind
    writes      the array with the largest error
    ulp         the largest error, in units in the last place of a magnitude. This magnitude is the largest of the
                reference value, the largest value in its row and the root mean square of its array, because sums
                cancel. All sums of a product may, so they include one of its terms. Updates cancel too, so they also
                include the value before
    relative    the largest error over the same magnitude
    limit       the largest error allowed, in ulp; it grows with the length of the sums, as rounding errors do
    part        the layer that it belongs to, or the data, the loss, or clipping
    """

    index: int
    op: str
    writes: str
    ulp: float
    relative: float
    limit: float
    part: Part

    @property
    def layer(self) -> str | None:
        """The name of its layer; None if it belongs to no layer."""
        return self.part.layer

    @property
    def ok(self) -> bool:
        return self.ulp <= self.limit

    @property
    def of_limit(self) -> float:
        """The error over its limit. What is not a number counts as infinite."""
        return float(np.nan_to_num(self.ulp / self.limit, nan=np.inf))

    @property
    def place(self) -> str:
        """Where it is, as text: "Dense of layer 2"."""
        return self.op if self.layer is None else f"{self.op} of {self.part.short}"


@dataclass(frozen=True, repr=False)
class EngineComparison(Suggesting):
    """The result of `compare_engines`. Print it for a table.

    ops       one `OpComparison` per op
    dtype     in which both engines computed
    ok        whether all ops agree
    worst     the op whose error is largest, measured by its limit
    verdict   in one sentence, whether the engines agree, and if not, where they differ first
    """

    ops: list[OpComparison]
    dtype: str

    @property
    def ok(self) -> bool:
        return all(op.ok for op in self.ops)

    @property
    def worst(self) -> OpComparison:
        return max(self.ops, key=lambda op: op.of_limit)

    @property
    def verdict(self) -> str:
        differ = [op for op in self.ops if not op.ok]
        if differ:
            first = differ[0]
            error = f"{first.writes}: {first.ulp:.3g} ulp, where rounding explains {first.limit:.0f}"
            return f"engines differ in {len(differ)} of {len(self.ops)} ops, first in {first.place} ({error})"
        error = f"the largest error is {percent(self.worst.of_limit)} of what rounding explains, in {self.worst.place}"
        return f"engines agree in all {len(self.ops)} ops; {error}"

    def plot(self, path: PathLike | None = None, title: str | None = None) -> Figure:
        """Draws the error of each op next to its limit. See `fastreg.plots.plot_comparison`."""
        return plots.plot_comparison(self, path, title)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.verdict}>"

    def __str__(self) -> str:
        rows = []
        for part, ops in by_part(self.ops, lambda op: op.part):
            rows.append([part.title, *[""] * 5])
            rows += [
                [
                    *(f"{op.index:>4}  {op.op}", op.writes, f"{op.ulp:.2f}", f"{op.limit:.1f}"),
                    *(f"{op.relative:.1e}", "" if op.ok else "differs"),
                ]
                for op in ops
            ]
        heads = ["op", "largest error in", "ulp", "limit", "relative", ""]
        eps = np.finfo(self.dtype).eps
        return "\n".join(
            [
                f"{self.verdict}\n",
                f"{table(heads, rows, left=2)}\n",
                f"ulp: the largest error, in units of the last place ({self.dtype}: {eps:.1e}) of the values it is in",
                "limit: the most that rounding explains, in ulp; it grows with the length of the sums",
                "relative: the largest error over the magnitude of these values; it has no unit",
            ]
        )


@understood
def compare_engines(trainer, X, y, sample_weight=None, step: int = 0) -> EngineComparison:
    """Runs one training batch through both engines, op by op, and compares the results.

    Before each op, the reference takes over the arrays of the native engine. So an error comes from that op alone. The
    trainer's parameters stay as they are. It takes about as long as two steps of the reference engine.

    Parameters
    ----------
    trainer
        A `fastreg.Trainer`, before or after training.
    X, y, sample_weight
        One batch.
    step
        The global step, on which the dropout masks depend.

    Returns
    -------
    EngineComparison
        It has `verdict`, a sentence, `ok`, `ops` and `plot`. Print it for a table.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(8, activation="tanh"), fr.Dense(2)]))
    >>> fr.compare_engines(trainer, np.eye(4), [0, 1, 0, 1]).ok
    True
    """
    step = checking.integer("step", step, 0)
    trainer, data = make_twin(trainer, X, y, sample_weight)
    feed = data.feed(data.size, seed=trainer.seed, step=step, rates=np.array([RATE]), decays=np.array([RATE]))
    rows, dtype = feed.rows, np.dtype(trainer.dtype)
    program = trainer.program("train", rows)
    native, reference = (_Side(name, trainer, program, rows) for name in ("native", "reference"))
    compared = []
    parts = parts_of(program, trainer.model)
    assert isinstance(native.engine, NativeEngine)
    unwritten = native.engine.unwritten(feed)
    for index, op in enumerate(program.ops):
        if not native.written_by(op):
            continue
        for name in reference.arrays.keys() - unwritten.keys():
            array = reference.arrays[name]
            array[...] = native.arrays[name].reshape(array.shape)
        if unwritten.keys() & op.writes:  # only the reference does it
            reference.engine.run_op(feed, 0, index)
            continue
        written = reference.written_by(op)
        floors = {name: _floor(op, name, feed, reference) for name in written}
        for side in (native, reference):
            side.engine.run_op(feed, 0, index)
        sides = {name: _without_holes(op, native.arrays[name], reference.arrays[name]) for name in written}
        errors = [(*_error(*sides[name], floors[name], dtype), name) for name in written]
        ulp, relative, name = max(errors, key=lambda error: np.nan_to_num(error[0], nan=np.inf))
        limit = _limit(op, reference, rows)
        compared.append(OpComparison(index, type(op).__name__, name, ulp, relative, limit, parts[index]))
    return EngineComparison(compared, dtype.name)


class _Side:
    """An engine with its own parameters and state."""

    def __init__(self, name: str, trainer, program: Program, rows: int):
        self.params = {key: _copy(value, trainer.dtype) for key, value in trainer.model.parameters.items()}
        self.state: dict[str, tuple[np.ndarray, ...]] = {}
        for key, rule in program.rules.items():
            self.state[key] = tuple(padded(self.params[key].shape, trainer.dtype) for _ in rule.slots)
            for slot in self.state[key]:
                slot[...] = 1  # from zero, Adam's first step is the sign of g, and only the rounding of g would show
        self.engine = make_engine(name, program, self.params, self.state, rows, np.dtype(trainer.dtype).name)
        slots = {
            f"{key}.{slot}": array
            for key, rule in program.rules.items()
            for slot, array in zip(rule.slots, self.state[key], strict=True)
        }
        gradients = {O.gradient(key): array for key, array in self.engine.gradients.items()}
        buffers = {key: self.engine.buffers[key] for key in program.buffers}
        self.params = self.engine.params
        self.arrays = {**self.params, **slots, **gradients, **buffers, "clip": self.engine.clip}

    def written_by(self, op: O.Op) -> list[str]:
        """What the op writes: parameters with their slots, and buffers."""
        return [name for name in self.arrays if name in op.writes or name.rpartition(".")[0] in op.writes]


def _copy(array: np.ndarray, dtype) -> np.ndarray:
    copy = padded(array.shape, dtype)
    copy[...] = array
    return copy


def _without_holes(op: O.Op, native: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a gather takes NaN as a missing target, both have it in the same places: it counts as 0 there."""
    if isinstance(op, O.Gather) and op.holes:
        native = native.reshape(reference.shape)
        both = np.isnan(native) & np.isnan(reference)
        return np.where(both, 0, native), np.where(both, 0, reference)
    return native, reference


def _error(
    native: np.ndarray, reference: np.ndarray, floor: float | np.ndarray, dtype: np.dtype
) -> tuple[float, float]:
    """The largest error, in ulp and relative. Values count as at least `floor` large. NaN in both is no error: it is a
    missing target, or both engines diverge."""
    reference = np.atleast_2d(reference).astype(np.float64)
    native = native.reshape(reference.shape).astype(np.float64)
    gone = np.isnan(reference) & np.isnan(native)
    reference[gone] = native[gone] = 0
    size = np.maximum(np.abs(reference), floor)
    root_mean_square = math.sqrt(np.mean(reference**2)) if reference.size else 0.0
    size = np.maximum(size.max(axis=1, keepdims=True, initial=0.0), root_mean_square)
    error = np.abs(native - reference)
    ulp = np.maximum(np.spacing(size.astype(dtype)).astype(np.float64), np.finfo(dtype).smallest_subnormal)
    with np.errstate(divide="ignore"):  # infinite if all should be zero
        relative = np.divide(error, size, out=np.zeros_like(error), where=error != 0)
    return float((error / ulp).max(initial=0.0)), float(relative.max(initial=0.0))


def _floor(op: O.Op, name: str, feed: Feed, side: _Side) -> float | np.ndarray:
    """The least magnitude that errors are measured by: a difference is only as exact as the numbers subtracted.

    A sum of products is as exact as one of its products, and a gradient as the one that it is made of. Losses subtract
    numbers of about one. Updates subtract a step from the parameter, or add one to their state. (The step itself lies
    between the two, so its root and its division are not checked; they are right to a few ulp of it.)
    """
    if isinstance(op, (O.DenseDw, O.Update, O.BiasDw, EmbedDw)):
        return _subtracted(op, name, feed, side)
    if isinstance(op, Norm):
        return _centred(op, name, feed, side)
    if isinstance(op, (O.Dense, O.DenseDx)):  # all its terms may cancel, such as after a normalization
        factor = op.dz if isinstance(op, O.DenseDx) else op.x
        return float(np.abs(side.arrays[factor][op.rows_of(feed.rows)]).max() * np.abs(side.arrays[op.weight]).max())
    if isinstance(op, O.Elementwise) and op.through is not None:  # slopes, such as 1 - y², are differences
        terms = [op.x, op.out] if op.add else [op.x]
        return float(sum(np.abs(side.arrays[term][op.rows_of(feed.rows)]).max() for term in terms))
    if not isinstance(op, O.Loss):
        return 0.0
    weights = feed.find(op.source.replace("targets", "weights", 1))
    weights = np.ones(feed.rows) if weights is None else weights
    share = op.weight / (weights.sum() or 1.0) if name == op.dz else 1.0
    return float(weights.max() * share)


def _subtracted(op: O.DenseDw | O.Update | O.BiasDw | EmbedDw, name: str, feed: Feed, side: _Side) -> np.ndarray:
    """The size of the values before an update. Proximal L1 adds its threshold, at most about 2 lr l1 (Nesterov's), and
    the velocity is then a difference of parameters over lr."""
    match op:
        case O.DenseDw():
            param, rule = op.weight, op.weight_rule
        case O.BiasDw():
            param, rule = op.bias, op.rule
        case EmbedDw():
            param, rule = op.weight, op.rule
        case _:
            param, rule = op.param, op.rule
    before = np.abs(side.arrays[name]).astype(np.float64)
    if isinstance(op, (O.DenseDw, O.BiasDw)) and op.bias and name.startswith(op.bias):
        dz = side.arrays[op.dz][op.rows_of(feed.rows)]
        before += np.abs(dz).max()  # the sum of a bias before a BatchNorm cancels
    rate, (l1, _) = RATE * rule.lr_scale, rule.penalty.at(feed.rows)
    if not (rule.penalty.proximal and l1 and rate):
        return before
    if name == param:
        return before + 2 * rate * l1
    if name == f"{param}.{VELOCITY.get(rule.kind)}":
        return np.maximum(before, np.abs(side.arrays[param]) / rate + 2 * l1)
    return before


def _centred(op: Any, name: str, feed: Feed, side: _Side) -> float | np.ndarray:
    """The size of what a normalization subtracts: means from values, and mean gradients from gradients. Parameters and
    running moments step from their values before."""
    arrays, rows = side.arrays, feed.rows
    if name not in side.engine.buffers:
        if isinstance(op, WITH_TABLE) and name == op.table.name:
            return 0.0
        summed = np.abs(arrays[op.dz][:rows]).max() if isinstance(op, (BatchNormDx, LayerNormDw)) else 0.0
        return np.abs(arrays[name]).astype(np.float64) + summed
    x, axis = arrays[op.x][:rows].astype(np.float64), 1
    if isinstance(op, WITH_TABLE):
        x, axis = x.reshape(-1, op.table.channels), 0
    gamma = getattr(op, "gamma", None)
    gamma = gamma[0] if isinstance(gamma, tuple) else gamma
    scale = (np.abs(arrays[gamma]).max() if gamma else 1.0) / (x.std(axis=axis) + 1e-6)
    if isinstance(op, (LayerNorm, BatchNorm, Affine)):
        return float((np.abs(x.mean(axis=axis)) * scale).max())
    return float(scale.max() * np.abs(arrays[op.dz]).max())


def _limit(op: O.Op, side: _Side, rows: int) -> float:
    """The limit in ulp: elementwise functions differ by a few; for sums of n terms it grows like the root of n."""
    if isinstance(op, I.ConvDx):
        terms = side.params[op.weight].shape[0]
    elif isinstance(op, O.Dense):
        terms = side.params[op.weight].shape[int(op.transposed)]
    elif isinstance(op, O.DenseDx):
        terms = side.params[op.weight].shape[1 - int(op.transposed)]
    elif isinstance(op, EmbedDw):
        terms = rows * len(op.codes.counts)
    elif isinstance(op, (O.DenseDw, O.BiasDw)):
        terms = rows * (op.window.count if isinstance(op, I.ConvDw) else 1)
    elif isinstance(op, O.ClipNorm):
        terms = max(side.params[name].shape[-1] for name in op.params)
    elif isinstance(op, (O.MaxNorm, O.RowNorm)):
        terms = max(side.params[op.weight].shape)
    elif isinstance(op, O.Loss):
        terms = side.engine.buffers[op.through.y].shape[1]
    elif isinstance(op, Norm):
        terms = max(rows, *(array.shape[-1] for array in side.engine.buffers.values()))
    elif isinstance(op, O.Gather) and op.augment:
        terms = 1024  # how exactly a pixel's place is known, in ulp of its neighbours' difference
    else:
        terms = 1
    return 16 + 4 * math.sqrt(terms)
