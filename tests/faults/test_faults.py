"""Faults, one at a time: some of those of inject.py. FASTREG_FAULTS=all tries all, which takes some minutes."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or not shutil.which("cc"):
    pytest.skip("needs Linux, glibc and a C compiler", allow_module_level=True)
if os.environ.get("LD_PRELOAD"):
    pytest.skip("a sanitizer is loaded before the C library, too", allow_module_level=True)


def test_each_fault_ends_in_its_error_and_leaves_all_usable():
    few = [] if os.environ.get("FASTREG_FAULTS") == "all" else ["--most", "6"]
    script = Path(__file__).with_name("inject.py")
    done = subprocess.run([sys.executable, script, *few], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 wrong") == 16 and "\ncheckpoint: " in done.stdout
