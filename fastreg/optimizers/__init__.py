"""Optimizers (`optimizers`) and schedules of learning rates (`schedules`)."""

from fastreg.common.names import missing as _missing
from fastreg.optimizers import optimizers
from fastreg.optimizers.optimizers import *  # noqa: F403  its __all__ is static

__all__: list[str] = []
__all__ += optimizers.__all__

__getattr__ = _missing(__name__, __all__)
