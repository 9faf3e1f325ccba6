"""Checks of trainers and engines: gradients, engines against each other, where time goes, bias and variance.

Arguments are checked elsewhere: in `common/checking.py`.
"""

from fastreg.checks.diagnosis import diagnose
from fastreg.checks.engines import compare_engines
from fastreg.checks.gradients import check_gradients
from fastreg.checks.profile import profile
from fastreg.common.names import missing as _missing

__all__ = ["check_gradients", "compare_engines", "diagnose", "profile"]

__getattr__ = _missing(__name__, __all__)
