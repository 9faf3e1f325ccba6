"""Optimizers and schedules: how parameters follow their gradients."""

from fastreg.optimizers import optimizers
from fastreg.optimizers.optimizers import *  # noqa: F403  its __all__ is static

__all__: list[str] = []
__all__ += optimizers.__all__
