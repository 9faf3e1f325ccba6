"""Optimizers and schedules: how parameters follow their gradients."""

from fastreg.optimizers.optimizers import BY_NAME, SGD, Adam, AdamW, Optimizer, RMSprop, get

__all__ = ["BY_NAME", "SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "get"]
