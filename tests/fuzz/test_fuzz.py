"""A slice of the fuzzer of model files and checkpoints, and all that longer runs of it have kept."""

import os
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the fuzzer limits memory by what Linux tells", allow_module_level=True)

import fuzz_files

CORPUS = Path(__file__).parent / "corpus"


def test_every_kept_file(tmp_path):
    """Each file is a test, so that an error names it."""
    fuzz_files.seeds(tmp_path)
    readers = fuzz_files.Readers(tmp_path / "file")
    for path in sorted(CORPUS.glob("*.safetensors")):
        try:
            readers.answer(path.read_bytes())
        except Exception as error:
            raise AssertionError(path.name) from error


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.slow
def test_a_slice(seed):
    answers = fuzz_files.fuzz(1500, 60, seed + int(os.environ.get("FASTREG_FUZZ_SEED", "0")))
    assert len(answers) > 20 and answers["checkpoint"]


def test_the_fuzzer_finds_what_is_wrong(monkeypatch, tmp_path):
    """A reader that forgets the tensors of every file after the first twenty."""
    calls, read = [], fuzz_files.read_tensors

    def forgetful(path):
        calls.append(path)
        tensors, metadata = read(path)
        return (tensors if len(calls) < 20 else {}), metadata

    monkeypatch.setattr(fuzz_files, "read_tensors", forgetful)
    with pytest.raises(fuzz_files.Broken, match="other names"):
        fuzz_files.fuzz(500, 60, 0, tmp_path)
    assert list(tmp_path.glob("bad-*.safetensors"))
