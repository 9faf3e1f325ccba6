"""What compare.sh compiles fits the C core. That script needs an emulator and minutes, so it runs seldom."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = HERE.parents[1] / "csrc" / "targets"


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.parametrize("source", [["driver.c"], ["vmath.c", "-DREAL_BITS=32", "-include", TARGETS / "generic.h"]])
def test_the_driver_compiles(source):
    command = ["cc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-fsyntax-only", *source]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
