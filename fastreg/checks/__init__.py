"""Checks of trainers and engines: gradients, engines against each other, where time goes, bias and variance.

Arguments are checked elsewhere: in `common/checking.py`.
"""

from fastreg.checks.diagnosis import diagnose
from fastreg.checks.engines import compare_engines
from fastreg.checks.gradients import check_gradients
from fastreg.checks.profile import profile

__all__ = ["check_gradients", "compare_engines", "diagnose", "profile"]
