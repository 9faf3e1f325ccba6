"""Files with a few bytes changed: refused, or read to the last byte as other parsers read them."""

import json

import numpy as np
import pytest
from tensor_files import TENSORS, TWO, file_of, small_model

import fastreg as fr
from fastreg.common import safetensors
from fastreg.model.files import FORMAT_KEY, MODEL_KEY, FileFormatError, read_tensors, write_tensors

# What turns a header into another plausible one: digits, JSON's marks, and pieces of our own header.
PIECES = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"-",
    b"0",
    b"9",
    b"1e9",
    b"true",
    b"null",
    b"NaN",
    b" ",
    b"\\ud800",
]
PIECES += [b'"shape":[2]', b'"data_offsets":[0,4]', b'"a":{}', b"__metadata__", b"9" * 30, b"[" * 2000, b"\0", b"\xff"]


def mutate(random, content):
    """A few changes of the kinds a fuzzer makes; most of them in the header."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(len(content) if random.random() < 0.3 else min(len(content), 400)))
        span = int(random.integers(1, 16))
        kind = random.integers(6)
        if kind == 0:
            content[place] ^= 1 << random.integers(8)
        elif kind == 1:
            content[place] = random.integers(256)
        elif kind == 2:
            del content[place : place + span]
        elif kind == 3:
            content[place:place] = content[place : place + span]
        elif kind == 4:
            content[place : place + int(random.integers(4))] = PIECES[random.integers(len(PIECES))]
        else:
            del content[place:]
        if not content:
            return b""
    if random.random() < 0.7 and len(content) > 8:  # else few mutants would get past the length of the header
        end = content.rfind(b"}") + 1
        content[:8] = max(end - 8, 0).to_bytes(8, "little")
    return bytes(content)


@pytest.mark.slow
def test_mutated_files(tmp_path):
    """Only FileFormatError is raised. What is accepted follows the format to the last byte."""
    random = np.random.default_rng(20)
    path = tmp_path / "a"
    small_model().save(path)
    write_tensors(tmp_path / "b", TENSORS, {"key": "value"})
    seeds = [path.read_bytes(), (tmp_path / "b").read_bytes(), file_of(TWO, b"abcd")]
    accepted = 0
    for _ in range(6000):
        content = mutate(random, seeds[random.integers(len(seeds))])
        path.write_bytes(content)
        try:
            tensors, _ = read_tensors(path)
        except FileFormatError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
            continue
        accepted += 1
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        header.pop("__metadata__", None)
        assert header.keys() == tensors.keys()
        data = content[8 + int.from_bytes(content[:8], "little") :]
        spans = sorted(header[name]["data_offsets"] for name in header)
        assert [start for start, _ in spans] == [0, *(end for _, end in spans)][: len(spans)]
        assert (spans[-1][1] if spans else 0) == len(data)
        for name, array in tensors.items():
            start, end = header[name]["data_offsets"]
            assert list(array.shape) == header[name]["shape"]
            assert array.astype(safetensors.DTYPES[header[name]["dtype"]]).tobytes() == data[start:end]
    assert 20 < accepted < 3000  # the mutants are neither all hopeless nor all harmless


def test_mutated_files_agree_with_the_safetensors_package(tmp_path):
    """It accepts what we accept, with the same tensors: no file has two meanings."""
    numpy = pytest.importorskip("safetensors.numpy")
    random = np.random.default_rng(21)
    write_tensors(tmp_path / "a", TENSORS, {"key": "value"})
    seeds = [(tmp_path / "a").read_bytes(), file_of(TWO, b"abcd")]
    for _ in range(2000):
        content = mutate(random, seeds[random.integers(len(seeds))])
        (tmp_path / "a").write_bytes(content)
        try:
            tensors, _ = read_tensors(tmp_path / "a")
        except FileFormatError:
            continue
        other = numpy.load(content)
        assert other.keys() == tensors.keys()
        for name, array in tensors.items():
            assert array.tobytes() == other[name].tobytes() and array.shape == other[name].shape


@pytest.mark.slow
def test_mutated_models(tmp_path):
    """The config in the header gives a model that predicts, or a FileFormatError."""
    random = np.random.default_rng(22)
    model = small_model()
    state, text = model.state_dict(), json.dumps(model.config()).encode()
    for _ in range(1500):
        config = mutate(random, b" " * 8 + text)[8:].decode(errors="replace")
        write_tensors(tmp_path / "a", state, {FORMAT_KEY: "1", MODEL_KEY: config})
        try:
            loaded = fr.load(tmp_path / "a")
        except FileFormatError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
        else:
            loaded.engine = "reference"
            assert np.isfinite(loaded.predict(np.ones((2, 4)))).all()
