"""The file that the workers of this machine map: it goes with its run, also if that is killed."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from fastreg.distributed import sharing
from fastreg.distributed.sharing import InFile

RUN = """
import sys
import numpy as np
from fastreg.distributed.sharing import InFile
shared = InFile((None, {"X": np.ones(1000)}))
print(shared.folder, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    return tmp_path


def share():
    shared = InFile((None, {"X": np.arange(5.0)}))
    assert shared.way.get(None)[1]["X"].tolist() == [0, 1, 2, 3, 4]
    shared.close()


def test_a_file_goes_with_its_run(folder):
    share()
    assert os.listdir(folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_next_run_removes_the_file_of_a_killed_one(folder):
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        left = process.stdout.readline().strip()
        os.utime(os.path.join(left, "data"), (0, 0))
        share()
        assert [str(folder / name) for name in os.listdir(folder)] == [left]  # it is in use
        process.send_signal(signal.SIGKILL)
        process.wait()
    share()
    assert os.listdir(folder) == []


def test_a_file_that_may_not_be_locked_yet_stays(folder):
    (folder / f"{sharing.PREFIX}begun").mkdir()
    (folder / f"{sharing.PREFIX}begun" / "data").touch()
    share()
    assert os.listdir(folder) == [f"{sharing.PREFIX}begun"]
