"""Turns the ops of `fastreg.program` into what C reads: numbers, and the arrays behind the names of the program.

This is the only way from an op to the structs of csrc/fastreg.h. The native engine and the functions of
`fastreg.kernels` both use it. A new op gets a case here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastreg.common.transforms import TRANSFORMS
from fastreg.engines.memory import padded
from fastreg.machine import _core
from fastreg.program import embedding as E
from fastreg.program import images as I
from fastreg.program import ops as O
from fastreg.program.normalize import SCALE, SHIFT, Norm
from fastreg.program.program import Source
from fastreg.program.riders import Through
from fastreg.program.rules import STORES_GRADIENT, Rule


@dataclass
class Binding:
    """The arrays of a program: buffers, parameters, the optimizer state of trained parameters, stored gradients.

    Stored gradients that are not given are allocated here. `sources` are those of the program, in C by their number,
    and `direct` names the buffers that products need not read where they are sparse (`Program.direct`).
    """

    dtype: np.dtype
    buffers: Mapping[str, np.ndarray]
    params: Mapping[str, np.ndarray]
    state: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    direct: Mapping[str, Source] = field(default_factory=dict)
    _norms: dict[str, np.ndarray] = field(default_factory=dict)  # sums of squares of the columns, by row group

    def fields(self, op: O.Op) -> dict[str, object]:
        """All fields of the op, as `_core.Program` takes them."""
        head = {"kind": type(op).__name__, "wait": op.wait, "rowwise": op.rowwise, "span": op.span}
        return head | self._own(op)

    def _own(self, op: O.Op) -> dict[str, object]:
        match op:
            case E.Embed():
                arrays = {"out": self.buffers[op.out], "weight": self.params[op.weight]}
                return arrays | {"codes": self._codes(op), "mask": op.mask}
            case E.EmbedDw():
                param = self._param(op.weight, op.rule)
                return {"weight": param, "dz": self.buffers[op.dz], "codes": self._codes(op)}
            case O.RowNorm():
                return {"param": self._param(op.weight), "limit": op.limit}
            case I.Conv():
                return self._dense(op) | {"window": op.window}
            case I.Flip():
                weight = self.params[op.weight]
                return {"out": self.params[op.out], "weight": weight, "N": weight.shape[1], "window": op.window}
            case I.ConvDx():
                K, N = op.window.values, self.buffers[op.dz].shape[1] // op.window.count
                return self._dense_dx(op) | {"K": K, "N": N, "window": op.window}
            case I.ConvDw():
                return self._dense_dw(op) | {"window": op.window}
            case I.Pool():
                arrays = {"out": self.buffers[op.out], "x": self.buffers[op.x]}
                return arrays | {"mask": op.mask, "window": op.window, "average": op.kind == "mean"}
            case I.PoolDx():
                arrays = {"out": self.buffers[op.out], "dz": self.buffers[op.dz], "x": self.buffers[op.x]}
                fields = {"window": op.window, "average": op.kind == "mean", "add": op.add}
                return arrays | fields | {"through": self._through(op.through)}
            case O.Gather():
                return self._gather(op)
            case O.Dense():
                return self._dense(op)
            case O.Perturb():
                return {"out": self.params[op.out], "weight": self.params[op.weight], "noise": op.noise}
            case O.Loss():
                return self._loss(op)
            case O.Append():
                return self._append(op)
            case O.DenseDx():
                return self._dense_dx(op)
            case O.DenseDw():
                return self._dense_dw(op)
            case O.BiasDw():
                dz = self.buffers[op.dz]
                return {"dz": dz, "N": dz.shape[1], "bias": self._param(op.bias, op.rule)}
            case O.Couple():
                return self._couple(op)
            case Norm():
                return self._norm(op)
            case O.Update():
                gradient, param = self.gradients[op.param], self._param(op.param, op.rule)
                return {"gradient": gradient, "param": param, "scaled": op.scaled}
            case O.Penalize():
                return {"param": self._param(op.param, replace(op.rule, kind="gradient"))}
            case O.ClipNorm():
                return {"limit": op.limit}
            case O.MaxNorm():
                return {"param": self._param(op.weight), "limit": op.limit, "whole": op.whole}
            case O.Count():
                return {"count": self.params[op.count]}
            case O.Average():
                arrays = {"out": self.params[op.out], "param": self.params[op.param], "count": self.params[op.count]}
                return arrays | {"decay": op.decay}
            case O.Elementwise():
                return self._elementwise(op)
            case O.Emit():
                x = self.buffers[op.x]
                return {"x": x, "N": x.shape[1], "transform": TRANSFORMS[op.transform].function, "head": op.head}
            case O.Totals():
                return self._row_values(op.rows) | {"head": op.head, "activity": bool(op.activity)}
            case O.Round():
                x = self.buffers[op.x]
                return {"out": self.buffers[op.out], "x": x, "N": x.shape[1]}
            case O.Call():
                return {}
            case _:
                raise TypeError(f"op: got {type(op).__name__}, which the native engine does not know")

    def _codes(self, op: E.Embed | E.EmbedDw) -> tuple:
        starts, counts = (np.array(each, np.int64) for each in (op.codes.starts, op.codes.counts))
        return self.buffers[op.x], starts, counts, self.params[op.weight].shape[1]

    def _gather(self, op: O.Gather) -> dict[str, object]:
        out, (mean, scale) = self.buffers[op.out], self._standardize(op)
        return {
            "out": out,
            "columns": out.shape[1],
            "source": self.sources.index((op.source, op.columns)),
            "mean": mean,
            "scale": scale,
            "mask": op.mask,
            "noise": op.noise,
            "augment": op.augment,
            "mix": op.mix,
            "holes": op.holes,
            "rounded": self._buffer(op.rounded),
            "direct": op.out in self.direct,
        }

    def _source(self, buffer: str) -> int:
        """The number of the source that a product may read in place of a buffer, or -1."""
        return self.sources.index(self.direct[buffer]) if buffer in self.direct else -1

    def _dense(self, op: O.Dense) -> dict[str, object]:
        K, N = _shape(self.params[op.weight], op.transposed)
        bias, scale = self.params[op.bias] if op.bias else None, None
        if op.folded:
            scale, bias = self.params[op.folded][SCALE], self.params[op.folded][SHIFT]
        return {
            "out": self.buffers[op.out],
            "x": self.buffers[op.x],
            "transposed": op.transposed,
            "z": self.buffers[op.z] if op.z else None,
            "weight": self.params[op.weight],
            "bias": bias,
            "scale": scale,
            "K": K,
            "N": N,
            "activation": op.activation,
            "mask": op.mask,
            "x_mask": op.x_mask,
            "noise": op.noise,
            "activity": self.buffers[op.activity] if op.activity else None,
            "activity_l1": op.activity_l1,
            "bf16": op.bf16,
            "rounded": self._buffer(op.rounded),
            "source": self._source(op.x),
        }

    def _loss(self, op: O.Loss) -> dict[str, object]:
        return {
            "loss": op.kind,
            "smoothing": op.smoothing,
            "shape": op.terms.shape,
            "holes": op.terms.holes,
            "weights": self._numbers(op.terms.weights),
            "positive": self._numbers(op.terms.positive),
            "units": self._numbers(op.terms.units),
            "dz": self.buffers[op.dz] if op.dz else None,
            "rounded": self._buffer(op.rounded),
            "targets": self.buffers[op.targets] if op.targets else None,
            "through": self._through(op.through),
            "N": self.buffers[op.through.y].shape[1],
            "by_row": op.by_row,
            "mix": op.mix,
            "head": op.head,
            "head_weight": op.weight,
        } | self._row_values(op.rows)

    def _row_values(self, rows: tuple[str, str]) -> dict[str, object]:
        return {"row_loss": self.buffers[rows[0]], "row_hit": self.buffers[rows[1]]}

    def _buffer(self, name: str | None) -> np.ndarray | None:
        return self.buffers[name] if name else None

    def _numbers(self, values: tuple[float, ...] | None) -> np.ndarray | None:
        """One number for each column."""
        if values is None:
            return None
        array = padded((len(values),), self.dtype)
        array[...] = values
        return array

    def _append(self, op: O.Append) -> dict[str, object]:
        out, (mean, scale) = self.buffers[op.out], self._standardize(op)
        return {
            "out": out,
            "gradient": self.buffers[op.gradient] if op.gradient else None,
            "N": out.shape[1],
            "mean": mean,
            "scale": scale,
            "attack": op.attack,
        }

    def _dense_dx(self, op: O.DenseDx) -> dict[str, object]:
        K, N = _shape(self.params[op.weight], op.transposed)
        arrays = {"out": self.buffers[op.out], "dz": self.buffers[op.dz], "weight": self.params[op.weight]}
        how = {"add": op.add, "transposed": op.transposed, "through": self._through(op.through), "bf16": op.bf16}
        how |= {"rounded": self._buffer(op.rounded), "dz_mask": op.dz_mask}
        return arrays | {"K": K, "N": N} | how

    def _dense_dw(self, op: O.DenseDw) -> dict[str, object]:
        K, N = self.params[op.weight].shape
        return {
            "x": self.buffers[op.x],
            "dz": self.buffers[op.dz],
            "K": K,
            "N": N,
            "weight": self._param(op.weight, op.weight_rule),
            "bias": self._param(op.bias, op.bias_rule) if op.bias else None,
            "bf16": op.bf16,
            "x_mask": op.x_mask,
            "dz_mask": op.dz_mask,
            "source": self._source(op.x),
        }

    def _elementwise(self, op: O.Elementwise) -> dict[str, object]:
        out, x = self.buffers[op.out], self.buffers[op.x]
        return {
            "out": out,
            "x": x,
            "plus": self.buffers[op.plus] if op.plus else None,
            "z": self.buffers[op.z] if op.z else None,
            "N": min(x.shape[1], out.shape[1]),
            "x_column": op.x_column,
            "out_column": op.out_column,
            "within": x.shape[1] != out.shape[1],
            "activation": op.activation,
            "mask": op.mask,
            "noise": op.noise,
            "through": self._through(op.through) if op.through else None,
            "add": op.add,
        }

    def _couple(self, op: O.Couple) -> dict[str, object]:
        shape, (a_trained, b_trained) = self.params[op.a].shape, op.trained
        for name, trained in zip((op.a, op.b), op.trained, strict=True):
            if trained and name not in self.gradients:
                self.gradients[name] = padded(shape, self.dtype)
        a = self.params[op.a]
        return {
            "a": (a, (), Rule(kind="gradient", penalty=op.penalty), self._sums(a), None),
            "b": self.params[op.b],
            "gradient_a": self.gradients[op.a] if a_trained else None,
            "gradient_b": self.gradients[op.b] if b_trained else None,
        }

    def _norm(self, op: Norm) -> dict[str, object]:
        """The fields of an op of `fastreg.program.normalize`. What it does not have stays empty."""
        have = vars(op)
        table = have.get("table")
        x: Any = self.buffers[have["x"]] if "x" in have else None
        moving = have.get("moving")
        width = table.width if table else x.shape[1]
        return {
            **{name: self._scaling(have.get(name)) for name in ("gamma", "beta")},
            **{name: self.buffers[have[name]] if have.get(name) else None for name in ("out", "z", "dz")},
            "x": x,
            "table": self.params[op.kept] if table else self.buffers[op.kept],
            "bias": self.params[have["bias"]] if have.get("bias") else None,
            "mean": self.params[moving.mean] if moving else None,
            "variance": self.params[moving.variance] if moving else None,
            "N": width,
            "channels": table.channels if table else width,
            "period": table.period if table else width,
            "eps": have.get("eps", 0.0),
            "momentum": moving.momentum if moving else 0.0,
            "moves": moving is not None and moving.moves,
            "activation": have.get("activation", "linear"),
            "mask": have.get("mask"),
            "through": self._through(have["through"]) if have.get("through") else None,
            **{name: have.get(name, False) for name in ("add", "running", "folded")},
        }

    def _scaling(self, given: str | tuple[str, Rule] | None) -> tuple | None:
        """gamma or beta, with the rule that it follows on the way back."""
        if given is None:
            return None
        return self._param(given) if isinstance(given, str) else self._param(*given)

    def _standardize(self, op: O.Gather | O.Append) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Mean and scale."""
        if op.standardize is None:
            return None, None
        mean, scale = op.standardize
        return self.params[mean], self.params[scale]

    def _through(self, through: Through) -> tuple:
        z = self.buffers[through.z] if through.z else None
        return self.buffers[through.y], z, through.activation, through.activity_l1, through.mask

    def _param(self, name: str, rule: Rule | None = None) -> tuple:
        """A parameter with what its updates need: value, slots, rule, sums of the penalty and of the squares.

        A parameter without a rule is not updated.
        """
        value, penalty = self.params[name], None
        slots: tuple[np.ndarray, ...] = ()
        if rule is not None:
            slots = self.state.get(name, ())
            if rule.kind in STORES_GRADIENT:
                if name not in self.gradients:
                    self.gradients[name] = padded(value.shape, self.dtype)
                slots = (self.gradients[name],)
            if rule.counted and rule.kind not in ("raw", "add") and rule.penalty:
                penalty = self._sums(value)
            if rule.limits_norms and rule.kind not in STORES_GRADIENT:
                self._norms[name] = self._sums(value)
            # The padding after the last column is zero and must stay zero, so nothing may be divided by 0 there.
            tiny = float(np.finfo(self.dtype).tiny)
            rule = replace(rule, eps=tiny) if rule.eps < tiny else rule
        return value, slots, rule, penalty, self._norms.get(name)

    def _sums(self, value: np.ndarray) -> np.ndarray:
        """Room for a sum over each row group of each column."""
        rows = value.shape[0] if value.ndim == 2 else 1
        return padded((-(-rows // _core.ROW_GROUP), value.shape[-1]), self.dtype)


def _shape(weight: np.ndarray, transposed: bool) -> tuple[int, int]:
    """Inputs and units of a dense op."""
    rows, columns = weight.shape
    return (columns, rows) if transposed else (rows, columns)
