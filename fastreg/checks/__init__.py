"""Checks of a trainer: its gradients, and the native engine against the reference."""

from fastreg.checks.engines import compare_engines
from fastreg.checks.gradients import check_gradients

__all__ = ["check_gradients", "compare_engines"]
