"""Fits in many processes that share a folder. `python parallel_fits.py 40` does the same with forty."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_fits_that_share_a_folder_do_not_disturb_each_other():
    script = Path(__file__).with_name("parallel_fits.py")
    done = subprocess.run([sys.executable, script, "12"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
