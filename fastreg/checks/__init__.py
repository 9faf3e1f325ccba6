"""Checks of a trainer: its gradients, the native engine against the reference, where its time goes, what it lacks."""

from fastreg.checks.diagnosis import diagnose
from fastreg.checks.engines import compare_engines
from fastreg.checks.gradients import check_gradients
from fastreg.checks.profile import profile

__all__ = ["check_gradients", "compare_engines", "diagnose", "profile"]
