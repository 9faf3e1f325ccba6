"""Checks of a trainer: its gradients, its engines against each other, where its time goes, its bias and variance."""

from fastreg.checks.diagnosis import diagnose
from fastreg.checks.engines import compare_engines
from fastreg.checks.gradients import check_gradients
from fastreg.checks.profile import profile

__all__ = ["check_gradients", "compare_engines", "diagnose", "profile"]
