"""Several interpreters in one process: NumPy and the extension work in one of them."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
try:
    import _interpreters as interpreters
    other = interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    other = interpreters.create(isolated=False)
root, first = sys.argv[1:]
if first == "main":
    import fastreg
source = f'''
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {root!r})
try:
    import fastreg
    print("loaded", flush=True)
except ImportError as error:
    print(error, flush=True)
'''
interpreters.run_string(other, source)
try:
    import fastreg
    print("loaded")
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("first", ["main", "other"])
def test_the_second_interpreter_gets_one_clear_line(first):
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[2]), first]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError: No module named '_xx" in done.stderr:
        pytest.skip("this Python has no subinterpreters to try it with")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    if first == "main":
        lines.reverse()
    assert lines[0] == "loaded" and lines[1].startswith("fastreg: NumPy and its own extension work in one interpreter")
