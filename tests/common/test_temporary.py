"""Temporary files: whose they are, and which are left over."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fastreg.common import temporary as module
from fastreg.common.fileio import atomic_link, atomic_write
from fastreg.common.temporary import remove_leftovers, temporary, temporary_name

WRITER = """
import os, sys
from pathlib import Path
from fastreg.common.fileio import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("open", flush=True)
    sys.stdin.readline()
"""


def hidden(folder):
    return sorted(name for name in os.listdir(folder) if name.startswith("."))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_file_is_left_over_once_its_process_is_dead(tmp_path):
    path = tmp_path / "run.safetensors"
    writer = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(writer, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        remove_leftovers(path)
        (left,) = hidden(tmp_path)  # it is still written
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert hidden(tmp_path) == [left]
    remove_leftovers(tmp_path / "run.safetensor")
    assert hidden(tmp_path) == [left]
    with atomic_write(path) as file:
        file.write(b"whole")
    assert hidden(tmp_path) == [] and path.read_bytes() == b"whole"


def test_files_of_this_process_are_not_left_over(tmp_path):
    path = tmp_path / "a"
    with atomic_write(path) as file:
        remove_leftovers(path)
        file.write(b"whole")
    assert path.read_bytes() == b"whole" and hidden(tmp_path) == []


def test_a_file_is_known_by_the_whole_name(tmp_path):
    """Names that begin alike, and names that are patterns."""
    names = ["x" * 60 + end for end in ("", "1", "2")] + ["run.*", "run.1"]
    left = {name: temporary_name(tmp_path / name) for name in names}
    for name in left.values():
        name.touch()
    for done, name in enumerate(names, 1):
        remove_leftovers(tmp_path / name)
        assert hidden(tmp_path) == sorted(left[other].name for other in names[done:])


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (23, True), (25, False)])
def test_what_another_machine_writes_stays_for_a_day(tmp_path, monkeypatch, hours, stays):
    path = tmp_path / "a"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(module, "_machine", lambda: "0123abcd")
        name = temporary_name(path)
    name.touch()
    os.utime(name, (time.time() - hours * 3600,) * 2)
    remove_leftovers(path)
    assert name.exists() == stays


def test_without_locks_nothing_is_taken_for_left_over(tmp_path, monkeypatch):
    if module.fcntl is None:
        pytest.skip("no flock here")

    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(module.fcntl, "flock", none)
    path = tmp_path / "a"
    with atomic_write(path) as file:
        remove_leftovers(path)
        file.write(b"whole")
    atomic_link(path, tmp_path / "b")
    temporary_name(path).touch()
    remove_leftovers(path)
    assert path.samefile(tmp_path / "b") and path.read_bytes() == b"whole" and len(hidden(tmp_path)) == 1


def test_a_file_that_is_removed_before_its_lock_is_made_again(tmp_path, monkeypatch):
    """The moment between the making of a file and its lock, in which another process takes it for left over."""
    held, made = module._held, []

    def late(file):
        made.append(file.name)
        if len(made) == 1:
            remove_leftovers(path)
        return held(file)

    path = tmp_path / "a"
    monkeypatch.setattr(module, "_held", late)
    with temporary(path) as (_, name):
        assert hidden(tmp_path) == [name.name] and len(made) == 2
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("letter", ["n", "é", "€", "😀"])
def test_names_may_be_as_long_as_the_file_system_allows(tmp_path, letter):
    path = tmp_path / (letter * (255 // len(letter.encode())))
    with atomic_write(path) as file:
        file.write(b"1")
    assert os.listdir(tmp_path) == [path.name]
