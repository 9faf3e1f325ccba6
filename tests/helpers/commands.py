"""Runs the command as users do: in its own process."""

import subprocess
import sys


def run(*arguments, cwd, **more):
    command = [sys.executable, "-m", "fastreg", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False, **more)


def complaint(result):
    """The one line of a failed command."""
    assert result.returncode != 0 and result.stdout == ""
    assert result.stderr.startswith("fastreg: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr
