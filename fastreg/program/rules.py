"""Rules: how a parameter follows its gradient. An optimizer and its penalties become a rule, which engines apply.

A new rule gets a row in `UPDATE_SLOTS` and its formula in `reference/updates.py`. In C see csrc/kernels/update.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastreg.program.riders import NO_PENALTY, Penalty


@dataclass(frozen=True)
class Rule:
    """How a parameter follows its gradient g, to which the penalties' part is first added.

    kind       a name in UPDATE_SLOTS. "gradient" does not change the parameter but writes g to the engine's gradients.
               "raw" adds the gradient of the data loss to them (the first batch of a step overwrites). "add" does so
               in the first batch too
    penalty    what the parameter costs in the objective
    clip_value     g is then cut to [-clip_value, clip_value]. 0 means no limit
    beta1, beta2   the shares of the moments that are kept. That of the first may grow: in step t it is
               mu_t = beta1 (1 - warm_up^t / 2), so a `warm_up` of 0 means beta1 from the start
    weight_decay   decoupled: w <- w - lr * weight_decay * w before the step
    scheduled  then the decay of the batch stands in place of lr. Like lr it is multiplied by `lr_scale`
    counted    whether the penalty's value is added to the tally here (once per step, while w is still the old one)
    non_negative   the updated parameter is projected onto w >= 0: w <- max(0, w)
    max_norm, max_frobenius   the largest norm of a column, and of the whole, after the update. 0 means no limit. A
               MaxNorm op applies them
    row_norm   the largest norm of a row, which a RowNorm op applies
    """

    kind: str = "sgd"
    penalty: Penalty = NO_PENALTY
    momentum: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    warm_up: float = 0.0
    eps: float = 0.0
    weight_decay: float = 0.0
    scheduled: bool = False
    clip_value: float = 0.0
    lr_scale: float = 1.0
    counted: bool = True
    non_negative: bool = False
    max_norm: float = 0.0
    max_frobenius: float = 0.0
    row_norm: float = 0.0

    @property
    def limits_norms(self) -> bool:
        return bool(self.max_norm or self.max_frobenius)

    @property
    def slots(self) -> tuple[str, ...]:
        return UPDATE_SLOTS[self.kind]

    def mu(self, step: int) -> float:
        """The share of the first moment that is kept in step 1, 2, ..."""
        return self.beta1 * (1 - self.warm_up**step / 2)

    def powers(self, steps: int) -> list[float]:
        """The running numbers after t = `steps` steps: mu_1 ... mu_t, beta2^t, warm_up^t."""
        product = self.beta1**steps
        if self.warm_up and product > VANISHED:
            product = math.prod(self.mu(step) for step in range(1, steps + 1))
        return [product, self.beta2**steps, self.warm_up**steps]


VANISHED = 1e-20  # 1 minus a smaller number is 1

# The state that an update keeps for each parameter, in the order in which the engines take it.
UPDATE_SLOTS: dict[str, tuple[str, ...]] = {
    "gradient": (),
    "raw": (),
    "add": (),
    "sgd": (),
    "momentum": ("v",),
    "nesterov": ("v",),
    "rmsprop": ("v",),
    "rmsprop_momentum": ("v", "m"),
    "adam": ("m", "v"),
    "nadam": ("m", "v"),
    "lion": ("m",),
}

# Rules that write to the engine's gradients instead of to the parameter.
STORES_GRADIENT = frozenset({"gradient", "raw", "add"})
