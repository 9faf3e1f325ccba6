"""What a bug report needs: the facts are those of the machine, found without an import of other libraries."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys

import numpy as np

import fastreg as fr
from fastreg.machine import versions


def printed(capsys) -> dict[str, str]:
    fr.show_versions()
    lines = capsys.readouterr().out.splitlines()
    return {line[:13].strip(): line[14:] for line in lines}


def test_the_lines_say_what_is_so(capsys):
    found = printed(capsys)
    assert found["fastreg"] == fr.__version__ and found["numpy"] == np.__version__
    assert found["python"] == platform.python_version() and found["platform"] == platform.platform()
    assert found["simd"].startswith(fr.simd()["current"]) and fr.simd()["available"][-1] in found["simd"]
    assert found["cores"] == str(os.cpu_count())
    assert re.match("(GCC|.*[Cc]lang) .*[0-9]", found["compiler"])
    assert re.fullmatch("[0-9.]+(e[+][0-9]+)? GiB.*", found["memory"])
    installed = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    assert {name for name in versions.LIBRARIES if name in found} == installed & set(versions.LIBRARIES)
    if "scipy" in found:
        assert found["scipy"] == importlib.metadata.version("scipy")


def test_why_there_are_so_many_threads(capsys, monkeypatch):
    monkeypatch.delenv("FASTREG_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert printed(capsys)["threads"].startswith("1 (") and "OMP_NUM_THREADS is 1" in printed(capsys)["threads"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert f"affinity allows {len(os.sched_getaffinity(0))}" in printed(capsys)["threads"]
    monkeypatch.setenv("FASTREG_NUM_THREADS", "3")
    found = printed(capsys)
    assert found["threads"] == "3 (FASTREG_NUM_THREADS)" and "FASTREG_NUM_THREADS=3" in found["environment"]
    fr.set_num_threads(2)
    try:
        assert printed(capsys)["threads"] == "2 (fastreg.set_num_threads)"
    finally:
        fr.set_num_threads(None)


def test_nothing_is_imported_for_it():
    script = (
        "import fastreg as fr, sys; fr.show_versions(); print(sorted({'scipy', 'torch', 'sklearn'} & {*sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
