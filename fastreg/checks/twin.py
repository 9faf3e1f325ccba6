"""What every check begins with: a copy of the trainer, so that the trainer stays as it is, and a batch that fits it."""

from __future__ import annotations

from fastreg.common import checking
from fastreg.model.dataset import Data, check_data
from fastreg.training.recipe import ALL_FROZEN, trained_layers
from fastreg.training.trainer import Trainer


def make_twin(trainer, X, y, sample_weight, dtype: str | None = None) -> tuple[Trainer, Data]:
    """A copy of `trainer` with parameters, drawn where it has none, and the batch as its engine reads it."""
    if not isinstance(trainer, Trainer):
        raise TypeError(f"trainer: got {checking.shown(trainer)}, expected a fastreg.Trainer")
    if not any(trained_layers(trainer.model)):
        raise ValueError(ALL_FROZEN)
    trainer.check_model()
    twin = trainer.copy(dtype)
    data = check_data(twin.model, twin.loss, twin.dtype, ("X", "y", "sample_weight"), X, y, sample_weight)
    if not twin.model.built:
        twin.model.build(data.inputs.shape[1:], twin.seed, twin.dtype)
    return twin, data
