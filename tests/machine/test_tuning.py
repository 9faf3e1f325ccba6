"""Which tuning a processor gets, and how FASTREG_TUNING replaces it."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastreg.machine import _core, tuning

MIB = 2**20


def processor(vendor: str, family: int, second_level: int = MIB, **more) -> dict:
    given = {"vendor": vendor, "family": family, "model": 1, "avx512": True, "demotes": False}
    return given | {"cache": (49152, second_level, 32 * MIB)} | more


def test_this_processor_says_what_it_is():
    found = _core.processor()
    assert set(found) == set(processor("", 0))
    path = Path("/proc/cpuinfo")
    if not path.exists():
        pytest.skip("no /proc/cpuinfo")
    lines = dict(line.split(":", 1) for line in path.read_text().split("\n\n")[0].splitlines())
    facts = {name.strip(): value.strip() for name, value in lines.items()}
    if "vendor_id" not in facts:
        pytest.skip("not x86-64")
    assert found["vendor"] == facts["vendor_id"] and found["family"] == int(facts["cpu family"])
    assert found["model"] == int(facts["model"])
    assert found["avx512"] == ("avx512f" in facts["flags"].split())
    assert found["demotes"] == ("cldemote" in facts["flags"].split())
    assert all(size == 0 or 4096 <= size <= 2**31 for size in found["cache"])


def test_unknown_processors_get_what_suits_all():
    for other in (processor("", 0), processor("CentaurHauls", 7), processor("GenuineIntel", 6, avx512=False)):
        assert _core.tuning_for(other) == ["skip"]


def test_large_processors_of_intel_copy_what_they_multiply():
    """Small second-level caches have no room for the copies."""
    assert _core.tuning_for(processor("GenuineIntel", 6, 2 * MIB, demotes=True)) == list(tuning.ALL)
    assert _core.tuning_for(processor("GenuineIntel", 6, MIB // 2, demotes=True)) == ["skip"]
    for family in (25, 26):
        assert _core.tuning_for(processor("AuthenticAMD", family)) == ["skip"]


def test_only_what_has_the_instruction_demotes():
    for family in range(1, 30):
        for vendor in ("GenuineIntel", "AuthenticAMD"):
            without = _core.tuning_for(processor(vendor, family, 2 * MIB))
            assert "demote" not in without
            assert set(_core.tuning_for(processor(vendor, family, 2 * MIB, demotes=True))) - set(without) <= {"demote"}


def test_the_current_one_is_that_of_this_processor(monkeypatch):
    assert told("") == ",".join(_core.tuning_for(_core.processor())) or "none"


def told(text: str) -> str:
    script = "from fastreg.machine import tuning; print(tuning.current())"
    environment = {"FASTREG_TUNING": text, "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_variable_replaces_it():
    assert told("none") == "none"
    assert told("all") == ",".join(tuning.ALL)
    assert told("demote, pack_dw") == "pack_dw,demote"


def test_what_is_unknown_is_refused():
    before = tuning.current()
    with pytest.raises(ValueError, match=r"FASTREG_TUNING: got 'pack', expected some of pack_dw, .*, or all, or none"):
        tuning.use("pack")
    assert tuning.current() == before


def test_it_ends_with_the_block():
    before = tuning.current()
    with tuning.using("pack_weight"):
        assert tuning.current() == "pack_weight"
    assert tuning.current() == before
