"""What the lowering builds: steps on the way forward, and the ops of the way back.

A `Step` is what one layer does, and knows its own way back. A step stays open while its value has one user: noise and
dropout can still ride on it. `Forward` collects the steps, `Way` the ops on the way back.

Names: the value of layer "h" is in the buffer "h.y", its gradient in "d:h.y". This is the gradient at the z of the
step, before its activation and its mask: each op that writes there goes `through` them by itself. The first one writes,
later ones add. So the order of the ops decides the order of the sum, which is part of the contract of same bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from fastreg.program.ops import Couple, Op, Update
from fastreg.program.riders import Augment, Mask, Penalty, Through
from fastreg.program.rules import Rule
from fastreg.reference.activations import ACTIVATIONS

GRADIENT = Rule(kind="gradient")
RAW = Rule(kind="raw")  # the first contribution of a step to a stored gradient
ADD = Rule(kind="add")  # later ones

Shape = tuple[int, ...]


class Step:
    """The forward ops of one layer, in order, and the way back through them.

    ops      the last one made the value
    out      the buffer of the value
    inputs   the steps that made what it reads
    params   the parameters for which it has gradients
    """

    def __init__(self, ops: Iterable[Op], out: str, inputs: tuple[Step, ...] = (), params: tuple[str, ...] = ()):
        self.ops, self.out, self.inputs, self.params = list(ops), out, inputs, params

    @property
    def op(self) -> Any:
        """The op that made the value."""
        return self.ops[-1]

    def ride(self, **riders) -> None:
        """Adds riders to the op that made the value."""
        self.ops[-1] = replace(self.op, **riders)

    @property
    def dropped(self) -> Mask | None:
        """The mask that drops units of its value for whole groups of rows."""
        mask = getattr(self.op, "mask", None)
        return mask if mask and mask.drops_units else None

    @property
    def takes_mask(self) -> bool:
        """Whether a mask may ride on it."""
        return False

    @property
    def takes_noise(self) -> bool:
        """Whether noise may ride on it."""
        return False

    @property
    def takes_activation(self) -> bool:
        """Whether an activation may ride on it."""
        return False

    @property
    def folds(self) -> bool:
        """Whether a batch norm after it may become a part of it, in predictions."""
        return False

    @property
    def through(self) -> Through:
        """The way back through activation and mask of the op that made the value."""
        return Through(self.out)

    def back(self, way: Way) -> None:
        """Adds the ops on the way back: gradients of what it reads, and of its parameters."""
        raise NotImplementedError

    def without_activity(self) -> Step:
        """A copy of this step without a penalty on its value."""
        return copy(self)


class OpenStep(Step):
    """A step whose last op has an activation, a mask and a z, on which an activation and a mask may ride."""

    @property
    def takes_mask(self) -> bool:
        return self.op.mask is None

    @property
    def takes_activation(self) -> bool:
        return self.op.activation == "linear" and self.op.mask is None

    @property
    def through(self) -> Through:
        return Through(self.out, self.op.activation, self.op.mask, self.op.z)


class Made(NamedTuple):
    """What a value is made by. `shared`: more than one user reads the buffer, so nothing may ride on the step."""

    step: Step
    shared: bool


@dataclass(frozen=True)
class Place:
    """A node to be lowered.

    index    its number, a coordinate of the random draws
    name     for its buffers
    inputs   what it reads
    before   the shapes of a sample of each
    after    the shape of a sample of its value
    """

    index: int
    name: str
    inputs: tuple[Made, ...]
    before: tuple[Shape, ...]
    after: Shape


class Forward:
    """Collects the steps of a program on the way forward.

    dropout     whether masks and noise are drawn
    penalized   whether penalties on activations count
    moments     what batch norms normalize by: the moments of the batch, which the running ones may follow, or these
    folds       whether batch norms may become part of the dense op before them: there is no way back
    rides_on_gather   whether draws may ride on a gather. They may not if its rows will be perturbed
    """

    def __init__(
        self,
        dropout: bool,
        augment: Augment | None,
        penalized: bool,
        rides_on_gather: bool = True,
        moments: Literal["moving", "batch", "running"] = "running",
        folds: bool = False,
    ):
        self.dropout, self.augment = dropout, augment
        self.penalized, self.rides_on_gather = penalized, rides_on_gather
        self.moments, self.folds = moments, folds
        self.buffers: dict[str, int] = {}
        self.steps: list[Step] = []
        self.first: list[Op] = []  # ops that run before all others: copies of parameters for one batch

    def buffer(self, name: str, width: int) -> str:
        """A new buffer."""
        self.buffers[name] = width
        return name

    def add(self, step: Step) -> Step:
        """A new step at the end."""
        self.steps.append(step)
        return step

    def activate(self, step: Step, name: str | None) -> Step:
        """An activation as a rider on a step, with a buffer for z if its way back needs that."""
        name = name or "linear"
        z = None
        if ACTIVATIONS[name].needs_z:
            z = self.buffer(f"{step.out.removesuffix('.y')}.z", self.buffers[step.out])
        step.ride(activation=name, z=z)
        return step

    @property
    def ops(self) -> list[Op]:
        """The ops of all steps in order."""
        return [op for step in self.steps for op in step.ops]

    def without_activity(self) -> tuple[Forward, dict[int, Step]]:
        """The same steps and buffers without penalties on activations, which do not belong to the data loss. Also the
        new step by the id of the old one."""
        quiet, same = copy(self), dict[int, Step]()
        for step in self.steps:
            same[id(step)] = copied = step.without_activity()
            copied.inputs = tuple(same[id(below)] for below in step.inputs)
        quiet.steps = list(same.values())
        return quiet, same


class Way:
    """Collects the ops on the way back.

    rules       the update rule of each trained parameter
    stored      whether all gradients are stored before the updates
    couplings   penalties on the distance between two weights
    everything  whether gradients go back to the inputs, and not just to the trained parameters
    """

    def __init__(
        self,
        forward: Forward,
        ops: list[Op],
        rules: Mapping[str, Rule],
        *,
        stored: bool = False,
        couplings: Iterable[tuple[str, str, Penalty]] = (),
        everything: bool = False,
    ):
        self.steps, self.buffers = forward.steps, forward.buffers
        self.ops, self.rules, self.everything = ops, rules, everything
        self.couplings = [pull for pull in couplings if pull[0] in rules or pull[1] in rules]
        self._put_off: list[Op] = []
        self._needed: dict[int, bool] = {}
        self._written: set[str] = set()  # buffers and gradients that have a contribution
        for step in self.steps:
            below = any(self._needed[id(one)] for one in step.inputs)
            self._needed[id(step)] = everything or below or any(name in rules for name in step.params)
        uses = Counter(name for step in self.steps for name in step.params if name in rules)
        self.kept = {name for name, count in uses.items() if stored or count > 1}
        self.kept |= {name for a, b, _ in self.couplings for name in (a, b) if name in rules}

    def begin(self, written: Iterable[str]) -> None:
        """Takes note of the gradients that the losses have written."""
        self._written.update(written)

    def needs(self, step: Step) -> bool:
        """Whether the gradient at a step is needed."""
        return self._needed[id(step)]

    def dz(self, step: Step) -> str:
        """The buffer of the gradient at a step."""
        name = "d:" + step.out
        self.buffers[name] = self.buffers[step.out]
        return name

    def into(self, below: Step) -> dict[str, Any]:
        """How an op writes its contribution to the gradient at a step: its `out`, `through` and `add`."""
        name = self.dz(below)
        add = name in self._written
        self._written.add(name)
        through = below.through
        return {"out": name, "through": replace(through, activity_l1=0.0) if add else through, "add": add}

    def rule(self, name: str) -> Rule:
        """What becomes of a contribution to the gradient of a parameter."""
        if name not in self.kept:
            return self.rules[name]
        first = name not in self._written
        self._written.add(name)
        return RAW if first else ADD

    def put_off(self, op: Op) -> None:
        """Adds an op that changes a parameter, but later, so that it does not come between ops that need no barrier.

        It must come after all ops that read the parameter, and may overlap the way back of the layer below."""
        self._put_off.append(op)

    def catch_up(self) -> None:
        """Adds what was put off."""
        self.ops += self._put_off
        self._put_off = []

    def run(self) -> None:
        """Adds the ops of all steps, then those that were put off."""
        for step in reversed(self.steps):
            if self.needs(step):
                step.back(self)
        self.catch_up()

    def couple(self) -> None:
        """Adds the penalties on distances between weights."""
        self.ops += [Couple(a, b, penalty, (a in self.rules, b in self.rules)) for a, b, penalty in self.couplings]

    def update(self) -> None:
        """Adds the updates from gradients that are stored for a reason of their own."""
        self.ops += [Update(name, self.rules[name]) for name in reversed(list(self.rules)) if name in self.kept]
