"""100 trainings end with the bits on record, so a changed order of sums does not go unnoticed.

The digests guard bits only. That the numbers are right is shown against formulas, PyTorch and the reference elsewhere.
Targets with fused multiply-add share one column of `golden_bits.json`, because they promise the same bits.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest

import fastreg as fr
from fastreg.machine import _core

EXPECTED = json.loads((Path(__file__).parent / "golden_bits.json").read_text())
AVAILABLE = _core.simd_available()


@pytest.mark.parametrize("target", AVAILABLE)
def test_trainings_end_with_the_bits_on_record(target):
    environment = os.environ | {"FASTREG_SIMD": target, "PYTHONPATH": str(Path(fr.__file__).parents[1])}
    command = [sys.executable, golden.__file__]
    found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    expected = EXPECTED["generic" if target == "generic" else "fused"]
    assert len(expected) >= 80 and found.keys() == expected.keys()
    assert {name for name in expected if found[name] != expected[name]} == set()
