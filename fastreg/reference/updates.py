"""The updates of the optimizers in NumPy: how a parameter follows its gradient, in place. The specification.

The signature of an update says what can be set. The body returns the rule and the state that it changes. `follow`
applies the rule, both for these functions and for the engine. `fastreg.kernels` has the same functions, applied by C.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from fastreg.common import checking
from fastreg.program.riders import Penalty
from fastreg.program.rules import UPDATE_SLOTS, Rule
from fastreg.reference import arguments
from fastreg.reference.small import small_to_zero, without_small

__all__ = ["adam_update", "lion_update", "momentum_update", "nadam_update", "rmsprop_update", "sgd_update"]

Given = ParamSpec("Given")
Described = tuple[Rule, dict[str, np.ndarray]]  # a rule, and the state that it changes, by the names of the arguments
DESCRIPTIONS: dict[str, Callable[..., Described]] = {}


def in_place(describe: Callable[Given, Described], carry_out: Callable[..., None]) -> Callable[Given, None]:
    """The update that `describe` describes. It checks its arguments, then calls
    carry_out(rule, w, g, state, lr, step)."""
    signature = inspect.signature(describe)
    names = tuple(signature.parameters)
    usual = {name: p.default for name, p in signature.parameters.items() if p.default is not p.empty}

    @wraps(describe)
    def update(*args: Given.args, **kwargs: Given.kwargs) -> None:
        rule, state = describe(*args, **kwargs)
        named: dict[str, Any] = {**usual, **dict(zip(names, args, strict=False)), **kwargs}
        settings = {name: named[name] for name in named if name in arguments.SETTINGS and name != "lr"}
        g, lr = arguments.update(named["w"], named["g"], named["lr"], state, **settings)
        carry_out(rule, named["w"], g, state, lr, named.get("step", 1))

    update.__signature__ = signature.replace(return_annotation=None)  # type: ignore[attr-defined]
    return update


def described(describe: Callable[Given, Described]) -> Callable[Given, None]:
    """Makes the NumPy update from its description, and keeps the description for `fastreg.kernels`."""
    DESCRIPTIONS[describe.__name__] = describe
    return in_place(describe, _penalized_step)


def _penalized_step(rule: Rule, w, g, state: dict[str, np.ndarray], lr: float, step: int) -> None:
    penalty = rule.penalty
    g = penalized(w, g, 0.0 if penalty.proximal else penalty.l1, penalty.l2)
    follow(w, g, tuple(state.values()), lr, rule, step, penalty.l1 if penalty.proximal else 0.0)


# --- The functions ---------------------------------------------------------------------------------------------


@described
def sgd_update(w, g, lr, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True) -> Described:
    """g <- g + l2 w, then w <- w - lr weight_decay w, then w <- soft(w - lr g, lr l1).

    Parameters
    ----------
    w, g
        The parameter, changed in place, and the gradient of the data loss. Both have the same shape.
    lr
        Learning rate, at least 0.
    l1, l2
        Coefficients of l1 |W|_1 + l2/2 |W|^2.
    weight_decay
        Coefficient of the weight decay, which is decoupled from the gradient.
    proximal
        True: L1 by soft-thresholding after the step, so that zeros are exact. False: l1 sign(w) is added to g.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w = np.array([1.0, 0.01])
    >>> fr.reference.sgd_update(w, [1.0, 0.0], lr=0.1, l1=0.5)
    >>> w
    array([0.85, 0.  ])
    """
    return Rule("sgd", Penalty(l1, l2, proximal=proximal), weight_decay=weight_decay), {}


@described
def momentum_update(
    w, g, v, lr, momentum=0.9, nesterov=False, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True
) -> Described:
    """v <- momentum v + g, then a step by v (nesterov: by g + momentum v). The rest is as in `sgd_update`.

    Nesterov's threshold is lr (1 + momentum) l1: at rest it steps by (1 + momentum) g, and g and l1 must balance.
    After a proximal step the velocity becomes the step that was taken: v <- (w_old - w_new) / lr.

    Parameters
    ----------
    w, g, lr
        As in `sgd_update`.
    v
        The velocity, an array like w, changed in place.
    momentum
        At least 0 and below 1.
    nesterov
        Whether to take Nesterov's step.
    l1, l2, weight_decay, proximal
        As in `sgd_update`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w, v = np.ones(1), np.ones(1)
    >>> fr.reference.momentum_update(w, [1.0], v, lr=0.5, momentum=0.5)
    >>> w, v
    (array([0.25]), array([1.5]))
    """
    kind = "nesterov" if nesterov else "momentum"
    rule = Rule(kind, Penalty(l1, l2, proximal=proximal), momentum=momentum, weight_decay=weight_decay)
    return rule, {"v": v}


@described
def rmsprop_update(
    w, g, v, lr, alpha=0.99, eps=1e-8, momentum=0.0, m=None, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True
) -> Described:
    """v <- alpha v + (1 - alpha) g**2 and d = g / (sqrt(v) + eps), then w <- w - lr d. The rest is as in `sgd_update`.

    With `m`, an array like w: m <- momentum m + d, then w <- w - lr m. The threshold of L1 is lr l1 / (sqrt(v) + eps)
    for each element. After a proximal step m becomes the step that was taken, as in `momentum_update`. Tieleman and
    Hinton, Neural Networks for Machine Learning, lecture 6.5 (2012), in the form of torch.optim.RMSprop.

    Parameters
    ----------
    w, g, lr
        As in `sgd_update`.
    v
        The mean square of g, an array like w, changed in place.
    alpha
        The share of v that is kept, at least 0 and below 1.
    eps
        Added to the root, at least 0. A smaller value than the smallest normal number of the dtype is raised to it, so
        that nothing is divided by 0. That does not change a root that is not 0.
    momentum, m
        The share of m that is kept, at least 0 and below 1, and the array, changed in place.
    l1, l2, weight_decay, proximal
        As in `sgd_update`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w, v = np.ones(1), np.zeros(1)
    >>> fr.reference.rmsprop_update(w, [4.0], v, lr=0.1, alpha=0.75)
    >>> w.round(6), v
    (array([0.8]), array([4.]))
    """
    kind = "rmsprop" if m is None else "rmsprop_momentum"
    penalty = Penalty(l1, l2, proximal=proximal)
    return Rule(kind, penalty, momentum, beta2=alpha, eps=eps, weight_decay=weight_decay), arguments.rmsprop_state(
        v, m, momentum
    )


@described
def adam_update(
    w, g, m, v, lr, step, beta1=0.9, beta2=0.999, eps=1e-8, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True
) -> Described:
    """w <- w - lr m' / (sqrt(v') + eps), with m', v' the bias-corrected moments of g. With weight_decay it is AdamW.

    The threshold of L1 is lr l1 / (sqrt(v') + eps) for each element.

    Parameters
    ----------
    w, g, lr
        As in `sgd_update`.
    m, v
        The moments, arrays like w, changed in place.
    step
        The number of this step: 1, 2, ...
    beta1, beta2
        The shares of m and v that are kept, at least 0 and below 1.
    eps
        Added to the root, at least 0. A smaller value than the smallest normal number of the dtype is raised to it, so
        that nothing is divided by 0. That does not change a root that is not 0.
    l1, l2, weight_decay, proximal
        As in `sgd_update`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w, m, v = np.ones(1), np.zeros(1), np.zeros(1)
    >>> fr.reference.adam_update(w, [4.0], m, v, lr=0.1, step=1)
    >>> w.round(6), m.round(6), v.round(6)
    (array([0.9]), array([0.4]), array([0.016]))
    """
    penalty = Penalty(l1, l2, proximal=proximal)
    return Rule("adam", penalty, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay), {"m": m, "v": v}


@described
def nadam_update(
    w,
    g,
    m,
    v,
    lr,
    step,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    momentum_decay=4e-3,
    l1=0.0,
    l2=0.0,
    weight_decay=0.0,
    proximal=True,
) -> Described:
    """Adam with Nesterov's momentum (Dozat, 2016, in the form of torch.optim.NAdam).

    With mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2) and P = mu_1 ... mu_t, w <- w - lr s / (sqrt(v') + eps), where
    s = mu_(t+1) m / (1 - P mu_(t+1)) + (1 - mu_t) g / (1 - P), and m, v, v' are those of `adam_update`. So is the
    threshold of L1.

    Parameters
    ----------
    w, g, lr
        As in `sgd_update`.
    m, v, step, beta1, beta2, eps
        As in `adam_update`.
    momentum_decay
        How fast mu_t grows from beta1 / 2 to beta1, at least 0.
    l1, l2, weight_decay, proximal
        As in `sgd_update`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w, m, v = np.ones(1), np.zeros(1), np.zeros(1)
    >>> fr.reference.nadam_update(w, [4.0], m, v, lr=0.1, step=1)
    >>> w.round(6), m.round(6), v.round(6)
    (array([0.894355]), array([0.4]), array([0.016]))
    """
    penalty = Penalty(l1, l2, proximal=proximal)
    moments = {"beta1": beta1, "beta2": beta2, "warm_up": growth(momentum_decay)}
    return Rule("nadam", penalty, eps=eps, **moments, weight_decay=weight_decay), {"m": m, "v": v}


@described
def lion_update(w, g, m, lr, beta1=0.9, beta2=0.99, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True) -> Described:
    """w <- w - lr sign(beta1 m + (1 - beta1) g), then m <- beta2 m + (1 - beta2) g. The rest is as in `sgd_update`.

    Each element moves by lr, whatever the size of the gradient (Chen et al., Symbolic discovery of optimization
    algorithms, 2023). The threshold of L1 is lr l1, so l1 is in units of that step and not of the gradient.

    Parameters
    ----------
    w, g, lr
        As in `sgd_update`.
    m
        The mean of g, an array like w, changed in place.
    beta1, beta2
        The share of m in the direction of the step, and the share of m that is kept. Both are at least 0 and below 1.
    l1, l2, weight_decay, proximal
        As in `sgd_update`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w, m = np.ones(2), np.zeros(2)
    >>> fr.reference.lion_update(w, [4.0, -0.5], m, lr=0.25)
    >>> w, m
    (array([0.75, 1.25]), array([ 0.04 , -0.005]))
    """
    penalty = Penalty(l1, l2, proximal=proximal)
    return Rule("lion", penalty, beta1=beta1, beta2=beta2, weight_decay=weight_decay), {"m": m}


# --- The rules -------------------------------------------------------------------------------------------------


class Move(NamedTuple):
    """What a rule takes from w, the threshold that its step gives l1, and the velocity, if it has one."""

    change: np.ndarray
    threshold: np.ndarray | float
    velocity: np.ndarray | None = None


def follow(
    w, g, slots: tuple[np.ndarray, ...], lr: float, rule: Rule, step: int, l1: float, decay: float = 0.0
) -> None:
    """Moves w along g by a rule, in step 1, 2, ... Then applies the proximal operator of l1, after which a velocity
    becomes the step that was taken. `decay` is that of the step, for a rule with a schedule of it."""
    if rule.kind not in RULES:
        raise ValueError(f"rule.kind: got {rule.kind!r}, expected one of {', '.join(UPDATE_SLOTS)}")
    g = without_small(g)
    for array in (w, *slots):
        small_to_zero(array)
    if rule.weight_decay:
        w -= (decay if rule.scheduled else lr) * rule.weight_decay * w
    old = w.copy()
    move = RULES[rule.kind](g, slots, lr, rule, step, l1)
    w -= move.change
    if l1:
        w[...] = soft_threshold(w, move.threshold)
        if move.velocity is not None and lr > 0:
            move.velocity[...] = (old - w) / lr
            small_to_zero(move.velocity)
    small_to_zero(w)


def _decay(slot, kept, added) -> None:
    """slot <- kept slot + added."""
    slot *= kept
    slot += added
    small_to_zero(slot)


def _sgd(g, slots, lr, rule, step, l1) -> Move:
    return Move(lr * g, lr * l1)


def _momentum(g, slots, lr, rule, step, l1) -> Move:
    (v,) = slots
    _decay(v, rule.momentum, g)
    return Move(lr * v, lr * l1, v)


def _nesterov(g, slots, lr, rule, step, l1) -> Move:
    _, threshold, v = _momentum(g, slots, lr, rule, step, l1)
    return Move(lr * (g + rule.momentum * v), threshold * (1 + rule.momentum), v)


def _rmsprop(g, slots, lr, rule, step, l1) -> Move:
    v = slots[0]
    _decay(v, rule.beta2, (1 - rule.beta2) * g * g)
    root = np.sqrt(v) + _above_zero(rule.eps, v)
    return Move(lr * (g / root), lr * l1 / root)


def _rmsprop_momentum(g, slots, lr, rule, step, l1) -> Move:
    v, m = slots
    _decay(v, rule.beta2, (1 - rule.beta2) * g * g)
    root = np.sqrt(v) + _above_zero(rule.eps, v)
    _decay(m, rule.momentum, g / root)
    return Move(lr * m, lr * l1 / root, m)


def _adam(g, slots, lr, rule, step, l1) -> Move:
    m, v = slots
    _decay(m, rule.beta1, (1 - rule.beta1) * g)
    _decay(v, rule.beta2, (1 - rule.beta2) * g * g)
    rate = lr / (np.sqrt(v / (1 - rule.beta2**step)) + _above_zero(rule.eps, v))
    return Move(rate * (m / (1 - rule.beta1**step)), rate * l1)


def growth(momentum_decay) -> float:
    """The `warm_up` of a rule under NAdam."""
    return 0.96 ** checking.number("momentum_decay", momentum_decay)


def _nadam(g, slots, lr, rule, step, l1) -> Move:
    m, v = slots
    _decay(m, rule.beta1, (1 - rule.beta1) * g)
    _decay(v, rule.beta2, (1 - rule.beta2) * g * g)
    rate = lr / (np.sqrt(v / (1 - rule.beta2**step)) + _above_zero(rule.eps, v))
    mu, following, product = rule.mu(step), rule.mu(step + 1), rule.powers(step)[0]
    return Move(rate * ((1 - mu) / (1 - product) * g + following / (1 - product * following) * m), rate * l1)


def _lion(g, slots, lr, rule, step, l1) -> Move:
    (m,) = slots
    direction = np.sign(without_small(rule.beta1 * m + (1 - rule.beta1) * g))
    _decay(m, rule.beta2, (1 - rule.beta2) * g)
    return Move(lr * direction, lr * l1)


RULES: dict[str, Callable[..., Move]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "rmsprop": _rmsprop,
    "rmsprop_momentum": _rmsprop_momentum,
    "adam": _adam,
    "nadam": _nadam,
    "lion": _lion,
}


def soft_threshold(w, threshold) -> np.ndarray:
    """The proximal operator of threshold * |w|: moves w towards zero by `threshold`, but not past zero."""
    return np.sign(w) * np.maximum(np.abs(w) - threshold, 0)


def penalized(w, g, l1=0.0, l2=0.0) -> np.ndarray:
    """g + l2 w + l1 sign(w): the gradient with the penalties."""
    if l2:
        g = g + l2 * w
    return g + l1 * np.sign(w) if l1 else g


def penalty_of(w, l1, l2) -> float:
    """l2/2 |W|^2 + l1 |W|_1, added in float64. A coefficient of 0 takes no part, however large the weights are."""
    w = w.astype(np.float64)
    squares = l2 / 2 * float((w * w).sum()) if l2 else 0.0
    return squares + l1 * float(np.abs(w).sum()) if l1 else squares


def _above_zero(eps, v) -> float:
    return max(float(eps), float(np.finfo(v.dtype).tiny))
