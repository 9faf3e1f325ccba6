"""The arguments of an estimator, checked in `fit`, as the layers and the optimizer that they stand for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastreg.common import checking, names, specs
from fastreg.layers import BatchNorm, Dense, Dropout, GaussianNoise, Layer
from fastreg.losses import penalties
from fastreg.losses.penalties import L1
from fastreg.optimizers import SGD, Adam, AdamW, Lion, NAdam, RMSprop, schedules
from fastreg.optimizers.optimizers import Optimizer
from fastreg.optimizers.schedules import Schedule
from fastreg.reference.activations import ACTIVATIONS

STOCHASTIC = ("sgd", "adam", "adamw", "rmsprop", "nadam", "lion")
SOLVERS = ("lbfgs", *STOCHASTIC)
USUAL: dict[str, Any] = {  # arguments that not every estimator has
    **{"activation": "relu", "learning_rate": "constant", "power_t": 0.5, "shuffle": True, "nesterovs_momentum": True},
    **{"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "max_fun": 15000, "l1": 0.0, "batch_norm": False},
}
# as messages list them: those that scikit-learn has under its names
OFFERED = ("identity", "logistic", *(name for name in ACTIVATIONS if name not in ("linear", "sigmoid")))
RATES = ("constant", "invscaling", "adaptive")


@dataclass(frozen=True)
class Network:
    """The layers of an estimator. Those with parameters have names, so that a warm start may add dropout.

    keep   the keep probability of the inputs, and of the outputs of each hidden layer
    """

    hidden: tuple[int, ...]
    activation: str
    keep: tuple[float, ...]
    noise: float
    batch_norm: bool
    max_norm: float | None
    bias: bool = True

    def layers(self, outputs: int) -> list[Layer]:
        """New layers, for so many outputs."""
        made: list[Layer] = [GaussianNoise(self.noise)] if self.noise else []
        made += _dropout(self.keep[0])
        for number, (units, keep) in enumerate(zip(self.hidden, self.keep[1:], strict=True), 1):
            activation = None if self.batch_norm else self.activation
            made.append(Dense(units, activation, max_norm=self.max_norm, name=f"hidden{number}"))
            if self.batch_norm:
                made.append(BatchNorm(self.activation, name=f"norm{number}"))
            made += _dropout(keep)
        return [*made, Dense(outputs, max_norm=self.max_norm, use_bias=self.bias, name="output")]


def _dropout(keep: float) -> list[Layer]:
    return [Dropout(keep_prob=keep)] if keep < 1 else []


@dataclass(frozen=True)
class Arguments:
    """Checked arguments.

    optimizer   None for "lbfgs"
    schedule    how the rate goes: one of RATES, or "schedule" for an object that the optimizer has
    patience    `n_iter_no_change`, which may be infinite
    """

    network: Network
    solver: str
    optimizer: Optimizer | None
    schedule: str
    rate: float
    power: float
    l1: L1
    batch_size: int | None
    epochs: int
    shuffle: bool
    tol: float
    patience: float
    early: bool
    share: float
    evaluations: int
    verbose: int
    warm: bool

    @property
    def full_batch(self) -> bool:
        """Whether each step reads all rows."""
        return self.solver == "lbfgs"


def checked(arguments: Mapping[str, Any], bias: bool = True) -> Arguments:
    """The arguments of an estimator, checked. `bias` is whether layers have intercepts."""
    given = SimpleNamespace(**(USUAL | dict(arguments)))
    solver = checking.choice("solver", given.solver, SOLVERS)
    schedule, rate = _schedule(given, solver)
    network = _network(given, bias)
    batch_size = given.batch_size
    if isinstance(batch_size, str):
        checking.choice("batch_size", batch_size, ("auto",))
        batch_size = None
    else:
        batch_size = checking.integer("batch_size", batch_size)
    patience = given.n_iter_no_change
    if not (isinstance(patience, float) and patience == math.inf):
        patience = checking.integer("n_iter_no_change", patience)
    found = Arguments(
        network=network,
        solver=solver,
        optimizer=None if solver == "lbfgs" else _optimizer(given, solver, rate),
        schedule=schedule,
        rate=0.0 if isinstance(rate, Schedule) else rate,
        power=checking.number("power_t", given.power_t),
        l1=penalties.l1("l1", given.l1),
        batch_size=batch_size,
        epochs=checking.integer("max_iter", given.max_iter),
        shuffle=checking.flag("shuffle", given.shuffle),
        tol=checking.number("tol", given.tol),
        patience=patience,
        early=checking.flag("early_stopping", given.early_stopping),
        share=checking.number("validation_fraction", given.validation_fraction, 0, 1, below=True),
        evaluations=checking.integer("max_fun", given.max_fun),
        verbose=_verbose(given.verbose),
        warm=checking.flag("warm_start", given.warm_start),
    )
    if found.full_batch:
        _refuse_for_lbfgs(given, found)
    return found


def _verbose(value) -> int:
    return int(value) if isinstance(value, (bool, np.bool_)) else checking.integer("verbose", value, 0)


def _network(given: SimpleNamespace, bias: bool) -> Network:
    sizes = given.hidden_layer_sizes
    if not isinstance(sizes, Iterable) or isinstance(sizes, (str, bytes)):
        sizes = (sizes,)
    for size in sizes:
        if isinstance(size, Integral) and size <= 0:
            raise ValueError(f"hidden_layer_sizes must be > 0, got {[*sizes]}.")  # in scikit-learn's words
    name = "hidden_layer_sizes"
    hidden = tuple(checking.integer(name, size, 1, checking.MAX_WIDTH) for size in sizes)
    return Network(
        hidden=hidden,
        activation=_activation(given.activation),
        keep=_keep(given, len(hidden)),
        noise=checking.number("input_noise", given.input_noise),
        batch_norm=checking.flag("batch_norm", given.batch_norm),
        max_norm=None if given.max_norm is None else checking.positive("max_norm", given.max_norm),
        bias=bias,
    )


def _activation(value) -> str:
    """The activation of the hidden layers. scikit-learn's names come first."""
    if value is None or (isinstance(value, str) and value == "softmax"):
        raise ValueError(
            f"activation: got {value!r}, expected one of {', '.join(OFFERED)}: it is that of the hidden layers; "
            "that of the outputs follows from the loss"
        )
    meant = names.own("activation", value, tuple(ACTIVATIONS)) if isinstance(value, str) else None
    return meant or checking.choice("activation", value, OFFERED)


def _off(value, none: float) -> bool:
    """Whether a keep probability or a share to drop is not given, or says that nothing is dropped."""
    return value is None or (isinstance(value, Real) and value == none)


def _keep(given: SimpleNamespace, hidden: int) -> tuple[float, ...]:
    """The keep probabilities of inputs and hidden layers."""
    if not _off(given.keep_prob, 1) and not _off(given.dropout, 0):
        raise ValueError(
            f"keep_prob: got {checking.shown(given.keep_prob)} with dropout={checking.shown(given.dropout)}, "
            "expected one of the two; dropout is 1 - keep_prob"
        )
    name = "keep_prob" if _off(given.dropout, 0) else "dropout"
    value = getattr(given, name)
    if value is None:
        return (1.0,) * (hidden + 1)
    if isinstance(value, Real):
        one = checking.number(name, value, 0, 1)
        found = [one] * hidden if hidden else [one]
    else:
        found = [checking.number(f"{name}[{i}]", one, 0, 1) for i, one in enumerate(_sequence(name, value))]
    if len(found) == hidden and hidden:
        found = [1.0 if name == "keep_prob" else 0.0, *found]
    if len(found) != hidden + 1:
        expected = f"{hidden}, one for each hidden layer, or {hidden + 1}, the first for the inputs" if hidden else "1"
        raise ValueError(f"{name}: got {len(found)} numbers, expected {expected}")
    keep = tuple(found) if name == "keep_prob" else tuple(1 - one for one in found)
    if not min(keep) > 0:
        raise ValueError(f"{name}: got {checking.shown(value)}, expected a keep probability above 0 in each layer")
    return keep


def _sequence(name: str, value) -> Iterable:
    return checking.iterate(name, value, "a number, or one for each layer")


def _schedule(given: SimpleNamespace, solver: str) -> tuple[str, float | Schedule]:
    """How the rate goes, and the rate or the schedule of the optimizer. As in scikit-learn, "invscaling" and "adaptive"
    are for "sgd"; a schedule is for every solver."""
    first = schedules.rate("learning_rate_init", given.learning_rate_init)
    if not isinstance(first, Schedule):
        checking.positive("learning_rate_init", given.learning_rate_init)
    how = given.learning_rate
    if isinstance(how, str) and not specs.is_call(how):
        how = checking.choice("learning_rate", how, RATES)
        if isinstance(first, Schedule):
            if how != "constant":
                raise ValueError(
                    f"learning_rate: got {how!r} with a schedule as learning_rate_init, expected one of them"
                )
            return "schedule", first
        return how if solver == "sgd" else "constant", first
    if isinstance(how, Real) or not (callable(how) or isinstance(how, (str, Schedule))):
        raise TypeError(
            f"learning_rate: got {checking.shown(how)}, expected one of {', '.join(RATES)} or a schedule; "
            "learning_rate_init is the number"
        )
    if isinstance(first, Schedule):
        raise ValueError("learning_rate: got a schedule, as learning_rate_init is one too, expected one of them")
    return "schedule", schedules.rate("learning_rate", how)


def _optimizer(given: SimpleNamespace, solver: str, rate: float | Schedule) -> Optimizer:
    more: dict[str, Any] = {}
    if given.weight_decay is not None:
        more["weight_decay"] = schedules.rate("weight_decay", given.weight_decay)
    momentum = checking.number("momentum", given.momentum, 0, 1, below=solver == "sgd")
    nesterov = checking.flag("nesterovs_momentum", given.nesterovs_momentum)
    beta1 = checking.number("beta_1", given.beta_1, 0, 1, below=True)
    beta2 = checking.number("beta_2", given.beta_2, 0, 1, below=True)
    eps = checking.positive("epsilon", given.epsilon)
    if solver == "sgd":
        return SGD(rate, momentum, nesterov and momentum > 0, **more)
    if solver == "rmsprop":
        return RMSprop(rate, alpha=beta2, eps=eps, **more)
    if solver == "lion":
        return Lion(rate, beta1=beta1, beta2=beta2, **more)
    kind = {"adam": Adam, "adamw": AdamW, "nadam": NAdam}[solver]
    return kind(rate, beta1=beta1, beta2=beta2, eps=eps, **more)


def _refuse_for_lbfgs(given: SimpleNamespace, found: Arguments) -> None:
    """Refuses what a full-batch solver would ignore."""
    network = found.network
    for name, asked in (
        ("dropout" if given.keep_prob is None else "keep_prob", min(network.keep) < 1),
        ("input_noise", network.noise),
        ("batch_norm", network.batch_norm),
        ("max_norm", network.max_norm),
        ("weight_decay", given.weight_decay),
        ("callbacks", given.callbacks),
    ):
        if asked:
            got = checking.shown(getattr(given, name))
            raise ValueError(f"{name}: got {got} with solver='lbfgs', expected none; solver='adam' takes it")
