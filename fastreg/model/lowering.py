"""Lowering: from layers, loss, penalties and optimizer to a program.

Only this module decides what rides on what. Dropout rides on the gather or dense op before it, bias and activation on
the dense op, the derivative of the layer below on dense_dx, penalty and optimizer on dense_dw. A rider that finds no
neighbour becomes an elementwise op.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from fastreg import layers as L
from fastreg.program.ops import (
    Append,
    Call,
    ClipNorm,
    Dense,
    DenseDw,
    DenseDx,
    Elementwise,
    Emit,
    Gather,
    Loss,
    MaxNorm,
    Op,
    Penalize,
    Perturb,
    RowLoss,
    Totals,
    Update,
    noisy,
)
from fastreg.program.program import Program, with_waits
from fastreg.program.riders import (
    PANEL,
    PLAIN,
    PURPOSE_DROPOUT,
    PURPOSE_NOISE,
    PURPOSE_WEIGHT_NOISE,
    Attack,
    Augment,
    Mask,
    Noise,
    Terms,
    Through,
    stream,
)
from fastreg.program.rules import Rule
from fastreg.reference.activations import ACTIVATIONS

GRADIENT = Rule(kind="gradient")
RAW = Rule(kind="raw")

# Up to this many elements, a weight stays in the nearest cache of each worker. Then workers divide the rows of a batch,
# all the way from the data to the gradients. Dividing the columns would need a barrier between two layers.
SMALL = 1 << 14


def lower(
    layers: Sequence[L.Layer],
    n_inputs: int,
    *,
    loss: str | RowLoss | None = None,
    rules: dict[str, Rule] | None = None,
    dropout: bool = False,
    transform: str | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    smoothing: float = 0.0,
    terms: Terms = PLAIN,
    augment: Augment | None = None,
    attack: Attack | None = None,
    input_gradient: bool = False,
) -> Program:
    """The program of one batch.

    Parameters
    ----------
    layers
        The layers of the model, with `name` and `units` known.
    n_inputs
        Width of the input.
    loss
        The name of a loss that the engines know, or a loss in Python. With it the program ends in a loss.
    rules
        The update rule of each trained parameter. With them the program trains, or writes gradients under the rule
        "gradient".
    dropout
        Whether masks and noise are drawn.
    transform
        With it the program emits predictions: "softmax", "sigmoid" or "linear".
    clip_norm, accumulate
        The largest norm of all gradients together, and the batches per step. Both need the gradients stored before the
        updates.
    smoothing
        Label smoothing, for a loss that the engines know.
    terms
        How the outputs of a row count, for the same losses.
    augment
        Transforms of the images that are gathered.
    attack
        With it each batch also has perturbed copies of its rows.
    input_gradient
        Whether to compute only the gradient of the loss of each row at the inputs. It is left in "d:inputs".
    """
    rides = attack is None and not input_gradient
    forward = _Forward(
        n_inputs, dropout, augment, penalized=loss is not None and not input_gradient, rides_on_gather=rides
    )
    for index, layer in enumerate(layers):
        forward.add(index, layer)
    ops: list[Op] = [step.op for step in forward.steps]

    if transform is not None:
        ops.append(Emit(x=forward.y, transform=transform))
    first: list[Op] = []  # ops that run before the batch has its perturbed rows
    if input_gradient and loss is not None:
        _loss(forward, ops, loss, smoothing, terms, wanted=True, by_row=True)
        _backward(forward, ops, {}, lowest=0)
        ops.append(_totals(ops))
    elif loss is not None:
        if attack is not None:
            first, ops = _perturbed(forward, ops, loss, smoothing, terms, attack)
        _loss(forward, ops, loss, smoothing, terms, wanted=bool(rules))
        if rules:
            two_passes = clip_norm is not None or accumulate > 1
            _backward(forward, ops, dict.fromkeys(rules, RAW) if two_passes else rules)
            if two_passes:
                _second_pass(ops, rules, clip_norm)
            limited = [(name, rule) for name, rule in rules.items() if rule.limits_norms]
            ops += [MaxNorm(name, rule.max_norm, rule.max_frobenius) for name, rule in limited]
        ops.append(_totals(ops))
    if attack is None or loss is None:
        return Program(with_waits(forward.perturbs + ops, forward.buffers), forward.buffers, accumulate)
    ops = forward.perturbs + first + [replace(op, doubled=True) for op in ops if not isinstance(op, Gather)]
    return Program(with_waits(ops, forward.buffers), forward.buffers, accumulate, attack.clean)


class _Step:
    """A forward op that made a buffer, and the way back through it. `weight` is the parameter of a dense op, even if
    the op multiplies by a noisy copy."""

    def __init__(
        self, op: Gather | Dense | Elementwise | Call, layer: L.Function | None = None, weight: str | None = None
    ):
        self.op, self.layer, self.weight = op, layer, weight

    @property
    def out(self) -> str:
        return self.op.writes_[0] if isinstance(self.op, Call) else self.op.out

    @property
    def through(self) -> Through:
        op = self.op
        if isinstance(op, Dense):
            return Through(op.out, op.activation, op.mask, op.z, op.activity_l1)
        return Through(self.out)  # elementwise and call ops have their own step on the way back


class _Forward:
    """Collects forward steps. The last one stays open, so that noise and dropout can still ride on it."""

    def __init__(
        self, n_inputs: int, dropout: bool, augment: Augment | None, penalized: bool, rides_on_gather: bool = True
    ):
        self.dropout, self.penalized, self.rides_on_gather = dropout, penalized, rides_on_gather
        self.buffers = {"inputs": n_inputs}
        self.steps = [_Step(Gather(out="inputs", source="inputs", augment=augment))]
        self.perturbs: list[Op] = []

    @property
    def y(self) -> str:
        """The buffer that the next layer reads."""
        return self.steps[-1].out

    def add(self, index: int, layer: L.Layer) -> None:
        if isinstance(layer, L.Dense):
            self._dense(index, layer)
        elif isinstance(layer, L.Dropout):
            kind = layer.kind if self.dropout else "expected"
            if layer.keep_prob < 1.0 and (self.dropout or layer.kind == "standard"):
                mask = Mask(layer.keep_prob, stream(PURPOSE_DROPOUT, index), kind, layer.per == "unit")
                self._mask(layer.name, mask)
        elif isinstance(layer, L.GaussianNoise):
            if self.dropout and layer.std > 0.0:
                self._noise(layer.name, Noise(layer.std, stream(PURPOSE_NOISE, index)))
        elif isinstance(layer, L.Standardize):
            names = f"{layer.name}.mean", f"{layer.name}.scale"
            self._ride(standardize=names)
        elif isinstance(layer, L.Function):
            out = self._new_buffer(f"{layer.name}.y", layer.width(self.buffers[self.y]))
            self.steps.append(_Step(Call(layer.run_forward, (self.y,), (out,)), layer))
        elif not isinstance(layer, L.Flatten):
            raise TypeError(
                f"layers[{index}]: got {type(layer).__name__}, which fastreg cannot train; derive from Function"
            )

    def _new_buffer(self, name: str, width: int) -> str:
        self.buffers[name] = width
        return name

    def _ride(self, **fields) -> None:
        """Adds riders to the op that is still open."""
        last = self.steps[-1]
        self.steps[-1] = _Step(replace(last.op, **fields), weight=last.weight)

    def _dense(self, index: int, layer: L.Dense) -> None:
        out = self._new_buffer(f"{layer.name}.y", layer.units)
        activation = layer.activation or "linear"
        z = self._new_buffer(f"{layer.name}.z", layer.units) if ACTIVATIONS[activation].needs_z else None
        bias = f"{layer.name}.bias" if layer.use_bias else None
        rowwise = self.buffers[self.y] * layer.units <= SMALL
        weight = factor = f"{layer.name}.weight"
        if self.dropout and layer.weight_noise > 0.0:
            factor = noisy(weight)
            self.perturbs.append(
                Perturb(factor, weight, Noise(layer.weight_noise, stream(PURPOSE_WEIGHT_NOISE, index)))
            )
        op = Dense(out, self.y, factor, bias, activation, z=z, rowwise=rowwise)
        if self.dropout and layer.preactivation_noise > 0.0:
            op = replace(op, noise=Noise(layer.preactivation_noise, stream(PURPOSE_NOISE, index)))
        if layer.activity_l1 and self.penalized:
            activity = self._new_buffer(f"{layer.name}.activity", -(-layer.units // PANEL))
            op = replace(op, activity=activity, activity_l1=layer.activity_l1)
        self.steps.append(_Step(op, weight=weight))

    def _takes(self, op: Op) -> bool:
        """Whether draws may ride on the op. They may not on a gather whose rows will be perturbed."""
        return self.rides_on_gather or not isinstance(op, Gather)

    def _mask(self, name: str | None, mask: Mask) -> None:
        last = self.steps[-1].op
        if self._takes(last) and not isinstance(last, Call) and last.mask is None:
            self._ride(mask=mask)
        else:
            self._elementwise(name, mask=mask)

    def _noise(self, name: str | None, noise: Noise) -> None:
        last = self.steps[-1].op
        linear = last if isinstance(last, Gather) or (isinstance(last, Dense) and last.activation == "linear") else None
        if isinstance(linear, Dense) and linear.activity:
            linear = None  # its penalty is on the values before the noise
        if linear and self._takes(linear) and linear.mask is None and linear.noise is None:
            self._ride(noise=noise)
        else:
            self._elementwise(name, noise=noise)

    def _elementwise(self, name: str | None, **fields) -> None:
        x = self.y
        self.steps.append(_Step(Elementwise(self._new_buffer(f"{name}.y", self.buffers[x]), x, **fields)))


def _loss(
    forward: _Forward,
    ops: list[Op],
    loss: str | RowLoss,
    smoothing: float,
    terms: Terms,
    wanted: bool,
    by_row: bool = False,
) -> None:
    """Adds the loss, and with `wanted` the gradient at the z of the last step, named "d:" plus the buffer's name."""
    buffers, y = forward.buffers, forward.y
    targets, dz = None, None
    if loss != "softmax_cross_entropy":
        targets = "targets"
        buffers[targets] = buffers[y] if isinstance(loss, str) else loss.target_columns or buffers[y]
        ops.insert(0, Gather(out=targets, source="targets", holes=terms.holes))
    buffers["row_loss"] = buffers["row_hit"] = 1
    if not isinstance(loss, str):
        buffers["row_gradient"] = buffers[y]
        ops.append(Call(loss, (y, "targets"), ("row_loss", "row_gradient")))
        loss, targets = "given", "row_gradient"
    if wanted:
        dz = "d:" + y
        buffers[dz] = buffers[y]
    through = forward.steps[-1].through
    ops.append(Loss(loss, dz, through, targets, smoothing, by_row, terms))


def _perturbed(
    forward: _Forward, ops: list[Op], loss: str | RowLoss, smoothing: float, terms: Terms, attack: Attack
) -> tuple[list[Op], list[Op]]:
    """The ops that append the perturbed rows to the batch, and the forward ops that then run on all rows.

    The gradient at the inputs uses the masks of the batch's own rows. The perturbed rows draw their own masks.
    """
    forward = _without_activity(forward)
    first: list[Op] = [step.op for step in forward.steps]
    _loss(forward, first, loss, smoothing, terms, wanted=True, by_row=True)
    _backward(forward, first, {}, lowest=0)
    gather = forward.steps[0].op
    standardize = gather.standardize if isinstance(gather, Gather) else None
    first.append(Append("inputs", "d:inputs", attack, standardize))
    if "targets" in forward.buffers:
        first.append(Append("targets"))
    return first, ops


def _without_activity(forward: _Forward) -> _Forward:
    """The same steps and buffers without penalties on activations, which do not belong to the data loss."""
    quiet = copy(forward)
    quiet.steps = [
        _Step(replace(step.op, activity=None, activity_l1=0.0), step.layer, step.weight)
        if isinstance(step.op, Dense)
        else step
        for step in forward.steps
    ]
    return quiet


def _totals(ops: list[Op]) -> Totals:
    return Totals(tuple((op.activity, op.activity_l1) for op in ops if isinstance(op, Dense) and op.activity))


def _backward(forward: _Forward, ops: list[Op], rules: dict[str, Rule], lowest: int | None = None) -> None:
    """Adds the backward ops, from the last step down to the lowest trained layer, or to the step `lowest`.

    dense_dx of a layer comes before its dense_dw, which changes W. dense_dw may overlap the dense_dx of the layer
    below, as with_waits allows. It is put off until then, so that it does not come between ops that need no barrier.
    """
    steps, buffers = forward.steps, forward.buffers
    put_off: list[Op] = []
    if lowest is None:
        lowest = next(i for i, step in enumerate(steps) if step.weight in rules)
    for i in range(len(steps) - 1, max(lowest, 1) - 1, -1):
        step, below = steps[i], steps[i - 1]
        op, dy, dz = step.op, "d:" + step.out, "d:" + below.out
        if i > lowest:
            buffers[dz] = buffers[below.out]
        if isinstance(op, Elementwise):
            ops.append(Elementwise(dz, dy, op.mask, below.through))
        elif isinstance(op, Call) and step.layer:
            dx = f"{dz}:raw"
            buffers[dx] = buffers[dz]
            ops.append(Call(step.layer.run_backward, (dy, below.out, step.out), (dx,)))
            ops.append(Elementwise(dz, dx, None, below.through))
        elif isinstance(op, Dense):
            if i > lowest:
                if not op.rowwise:
                    ops += put_off
                    put_off = []
                ops.append(DenseDx(dz, dy, op.weight, below.through, rowwise=op.rowwise))
            if step.weight in rules:
                bias_rule = rules[op.bias] if op.bias else RAW
                put_off.append(DenseDw(step.weight, op.bias, op.x, dy, rules[step.weight], bias_rule))
    ops += put_off


def _second_pass(ops: list[Op], rules: dict[str, Rule], clip_norm: float | None) -> None:
    """Adds the updates from stored gradients, with clip_norm after clipping by their common norm. The last layer comes
    first, as in the fused updates, so that penalties add up to the same bits."""
    backwards = list(reversed(rules.items()))
    if clip_norm is None:
        ops += [Update(name, rule) for name, rule in backwards]
        return
    ops += [Penalize(name, rule) for name, rule in backwards]
    ops.append(ClipNorm(clip_norm, tuple(rules)))
    for name, rule in backwards:
        rest = replace(rule, penalty=rule.penalty.after_gradient, clip_value=0.0, counted=False)
        ops.append(Update(name, rest, scaled=True))
