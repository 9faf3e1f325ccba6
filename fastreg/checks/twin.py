"""What every check starts from: a copy of the trainer, which itself stays as it is, and a checked batch."""

from __future__ import annotations

from fastreg.common import checking
from fastreg.model.dataset import Data
from fastreg.model.model import check_trainable
from fastreg.training.trainer import Trainer


def make_twin(trainer, X, y, sample_weight, dtype: str | None = None) -> tuple[Trainer, Data]:
    """A copy of `trainer` and the batch as its engine reads it. Parameters are drawn if there are none yet."""
    if not isinstance(trainer, Trainer):
        raise TypeError(f"trainer: got {checking.shown(trainer)}, expected a fastreg.Trainer")
    check_trainable(trainer.model)
    trainer.arguments.check()
    twin = trainer.copy(dtype)
    if not twin.model.built:
        twin.model.schema = twin.arguments.seen(X, y)
    data = twin.arguments.checked(X, y, sample_weight)
    twin.arguments.build(data.sample_shape)
    return twin, data
