"""From layers, loss, penalties and optimizer to a program.

Here, and only here, it is decided what rides on what: a dropout folds into the gather or dense op before it,
bias and activation into the dense op, the derivative of the layer below into dense_dx, penalty and optimizer
into dense_dw. What finds no neighbour becomes an elementwise op.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastreg import layers as L
from fastreg.program import (
    NEEDS_Z,
    PURPOSE_DROPOUT,
    Dense,
    DenseDw,
    DenseDx,
    Elementwise,
    Emit,
    Gather,
    Loss,
    Mask,
    Op,
    Program,
    Rule,
    Through,
    Totals,
    stream,
    with_waits,
)

GRADIENT = Rule(kind="gradient")


def lower(
    layers: Sequence[L.Layer],
    n_inputs: int,
    *,
    loss: str | None = None,
    rules: dict[str, Rule] | None = None,
    dropout: bool = False,
    transform: str | None = None,
) -> Program:
    """The program of one batch.

    Parameters
    ----------
    layers
        The layers of the model, with `name` and `units` known.
    n_inputs
        Width of the input.
    loss
        Name of the loss; with it the program ends in a loss.
    rules
        The update rule of every parameter; with them the program trains (or, under the rule
        "gradient", writes gradients).
    dropout
        Whether masks are drawn.
    transform
        With it the program emits predictions: "softmax", "sigmoid" or "linear".
    """
    forward = _Forward(n_inputs, dropout)
    for index, layer in enumerate(layers):
        forward.add(index, layer)
    forward.close()
    ops, buffers = forward.ops, forward.buffers

    if transform is not None:
        ops.append(Emit(x=forward.y, transform=transform))
    if loss is not None:
        targets = None
        if loss != "softmax_cross_entropy":
            targets = "targets"
            buffers[targets] = buffers[forward.y]
            ops.insert(0, Gather(out=targets, source="targets"))
        buffers["row_loss"] = buffers["row_hit"] = 1
        dz = None
        if rules is not None:
            dz = "d:" + forward.y
            buffers[dz] = buffers[forward.y]
        ops += [Loss(kind=loss, dz=dz, through=forward.steps[-1].through, targets=targets), Totals()]
        if rules is not None:
            _backward(forward, ops, rules)
    return Program(with_waits(ops), buffers)


class _Step:
    """A forward op that made a buffer, and the way back through it."""

    def __init__(self, op: Gather | Dense | Elementwise):
        self.op = op

    @property
    def through(self) -> Through:
        op = self.op
        if isinstance(op, Dense):
            return Through(op.out, op.activation, op.mask, op.z)
        return Through(op.out)  # an elementwise op applies its own mask on the way back


class _Forward:
    """Collects forward steps; the last one stays open so that a dropout can still ride on it."""

    def __init__(self, n_inputs: int, dropout: bool):
        self.dropout = dropout
        self.buffers = {"inputs": n_inputs}
        self.steps = [_Step(Gather(out="inputs", source="inputs"))]
        self.ops: list[Op] = []

    @property
    def y(self) -> str:
        """The buffer that the next layer reads."""
        return self.steps[-1].op.out

    def add(self, index: int, layer: L.Layer) -> None:
        if isinstance(layer, L.Dense):
            self._dense(layer)
        elif isinstance(layer, L.Dropout):
            if self.dropout and layer.keep_prob < 1.0:
                self._mask(layer.name, Mask(layer.keep_prob, stream(PURPOSE_DROPOUT, index)))
        elif not isinstance(layer, L.Flatten):
            raise TypeError(f"layers[{index}]: no lowering for {type(layer).__name__}")

    def close(self) -> None:
        self.ops = [step.op for step in self.steps]

    def _dense(self, layer: L.Dense) -> None:
        out, z = f"{layer.name}.y", None
        self.buffers[out] = layer.units
        if layer.activation in NEEDS_Z:
            z = f"{layer.name}.z"
            self.buffers[z] = layer.units
        bias = f"{layer.name}.bias" if layer.use_bias else None
        op = Dense(out, self.y, f"{layer.name}.weight", bias, activation=layer.activation, z=z)
        self.steps.append(_Step(op))

    def _mask(self, name: str, mask: Mask) -> None:
        last = self.steps[-1].op
        if last.mask is None:
            self.steps[-1] = _Step(replace(last, mask=mask))
            return
        out = f"{name}.y"
        self.buffers[out] = self.buffers[last.out]
        self.steps.append(_Step(Elementwise(out, last.out, mask)))


def _backward(forward: _Forward, ops: list[Op], rules: dict[str, Rule]) -> None:
    """From the last step down to the first dense layer. dense_dx of a layer comes before its dense_dw changes W;
    dense_dw may overlap the dense_dx of the layer below, which with_waits allows."""
    first_dense = next(i for i, step in enumerate(forward.steps) if isinstance(step.op, Dense))
    for i in range(len(forward.steps) - 1, first_dense - 1, -1):
        op, below = forward.steps[i].op, forward.steps[i - 1]
        dy, dz = "d:" + op.out, "d:" + below.op.out
        if i > first_dense:
            forward.buffers[dz] = forward.buffers[below.op.out]
        if isinstance(op, Elementwise):
            ops.append(Elementwise(dz, dy, op.mask, below.through))
        elif isinstance(op, Dense):
            if i > first_dense:
                ops.append(DenseDx(dz, dy, op.weight, below.through))
            bias_rule = rules[op.bias] if op.bias else GRADIENT
            ops.append(DenseDw(op.weight, op.bias, op.x, dy, rules[op.weight], bias_rule))
