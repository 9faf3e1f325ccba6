"""Safetensors files and the models in them: round trips, other readers, and files of bad will."""

import json
import os
import stat

import numpy as np
import pytest

import fastreg as fr
from fastreg import safetensors
from fastreg.fileio import atomic_write
from fastreg.files import FORMAT_KEY, MODEL_KEY, FileFormatError, read_tensors, write_tensors

TENSORS = {
    "bool": np.array([True, False, True]),
    "empty": np.zeros((0, 3), np.int16),
    "half": np.arange(3, dtype=np.float16),
    "scalar": np.array(2.5),
    "strided": np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3].T,
    "swapped": np.arange(5, dtype=">i4"),
    "ä ö": np.arange(4, dtype=np.uint64),
}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype.newbyteorder("=") and array.shape == other[name].shape
        np.testing.assert_array_equal(array, other[name])


# --- Round trips -----------------------------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    path = tmp_path / "a"
    metadata = {"made by": "hand", "é": '"\n'}
    write_tensors(path, TENSORS, metadata)
    tensors, read_metadata = read_tensors(path)
    assert_same(tensors, TENSORS)
    assert read_metadata == metadata
    assert all(array.dtype.isnative and array.flags.writeable for array in tensors.values())
    content = path.read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0
    write_tensors(path, tensors, metadata)
    assert path.read_bytes() == content


def test_nothing(tmp_path):
    write_tensors(tmp_path / "a", {})
    assert read_tensors(tmp_path / "a") == ({}, {})


def test_the_safetensors_package_reads_ours(tmp_path):
    package = pytest.importorskip("safetensors")
    numpy = pytest.importorskip("safetensors.numpy")
    write_tensors(tmp_path / "a", TENSORS, {"key": "value"})
    assert_same(numpy.load_file(tmp_path / "a"), TENSORS)
    with package.safe_open(tmp_path / "a", "np") as file:
        assert file.metadata() == {"key": "value"}


def test_we_read_the_safetensors_package(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    tensors = {name: np.ascontiguousarray(array) for name, array in TENSORS.items() if name != "swapped"}
    numpy.save_file(tensors, tmp_path / "a", {"key": "value"})
    read, metadata = read_tensors(tmp_path / "a")
    assert_same(read, tensors)
    assert metadata == {"key": "value"}


def small_model():
    layers = [fr.Dropout(keep_prob=0.8), fr.Dense(5, activation="relu", l2=0.1, name="hidden"), fr.Dense(3)]
    model = fr.Sequential(layers)
    model.build(4, seed=1)
    return model


def test_model(tmp_path):
    X = np.random.default_rng(0).normal(size=(6, 4))
    model = small_model()
    model.output_transform = "softmax"
    model.save(tmp_path / "m.safetensors")
    again = fr.load(tmp_path / "m.safetensors")
    assert again.config() == model.config() and repr(again) == repr(model)
    assert_same(again.state_dict(), model.state_dict())
    model.engine = again.engine = "reference"
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_allclose(again.predict(X).sum(axis=1), 1, rtol=1e-6)


# --- Writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "tensors", "metadata"),
    [
        (TypeError, {"a": np.array([1j])}, {}),
        (TypeError, {"a": np.array(["text"])}, {}),
        (TypeError, {"a": np.array([None])}, {}),
        (TypeError, {3: np.zeros(1)}, {}),
        (TypeError, {}, {"a": 3}),
        (ValueError, {"__metadata__": np.zeros(1)}, {}),
        (ValueError, {"\ud800": np.zeros(1)}, {}),
        (ValueError, {}, {"a": "x" * safetensors.MAX_HEADER}),
    ],
)
def test_what_cannot_be_written(tmp_path, error, tensors, metadata):
    (tmp_path / "a").write_text("old")
    with pytest.raises(error):
        write_tensors(tmp_path / "a", tensors, metadata)
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_a_failed_write_leaves_no_trace(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(tmp_path / "a", TENSORS)
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_written_file_has_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_tensors(tmp_path / "a", TENSORS)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


# --- Bad files -------------------------------------------------------------------------------------------------------


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="U8", shape=(2,), offsets=(0, 2), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def text_of(dtype='"U8"', shape="[2]", offsets="[0,2]"):
    return f'{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'.encode()


TWO = {"a": entry(), "b": entry(offsets=(2, 4))}
BAD_FILES = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "no header": b"\0" * 8,
    "header longer than the file": file_of({})[:-1],
    "header longer than the limit": (100_000_001).to_bytes(8, "little") + b"{}",
    "header of 2**64 - 1": b"\xff" * 8 + b"{}",
    "header a list": file_of([]),
    "header a number": file_of(b"3"),
    "space before the header": file_of(b" {}"),
    "byte order mark": file_of(b"\xef\xbb\xbf{}"),
    "UTF-16": file_of("{}".encode("utf-16")),
    "not UTF-8": file_of(b'{"\xff": 1}'),
    "half a surrogate pair": file_of({"\ud800": entry()}, b"ab"),
    "not JSON": file_of(b"{'a': 1}"),
    "text after the header": file_of(b"{} {}"),
    "NUL after the header": file_of(b"{}\0"),
    "trailing bytes": file_of({}, b"x"),
    "trailing bytes after a tensor": file_of({"a": entry()}, b"abc"),
    "data cut": file_of({"a": entry()}, b"a"),
    "nesting bomb": file_of(b'{"a":' + b"[" * 100_000),
    "nesting bomb of objects": file_of(b'{"a":' * 100_000),
    "duplicate tensor": file_of(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), b"ab"),
    "duplicate field": file_of(b'{"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}}', b"ab"),
    "duplicate metadata": file_of(b'{"__metadata__":{"a":"b","a":"b"}}'),
    "metadata twice": file_of(b'{"__metadata__":{},"__metadata__":{}}'),
    "metadata a list": file_of({"__metadata__": []}),
    "metadata null": file_of({"__metadata__": None}),
    "metadata not text": file_of({"__metadata__": {"a": 1}}),
    "entry a list": file_of({"a": []}),
    "entry null": file_of({"a": None}),
    "field missing": file_of({"a": {"dtype": "U8", "shape": [2]}}, b"ab"),
    "field unknown": file_of({"a": entry(path="/etc/passwd")}, b"ab"),
    "dtype unknown": file_of({"a": entry("U9")}, b"ab"),
    "dtype without NumPy": file_of({"a": entry("BF16", (1,))}, b"ab"),
    "dtype a number": file_of({"a": entry(8)}, b"ab"),
    "dtype a list": file_of({"a": entry(["U8"])}, b"ab"),
    "bool beyond 1": file_of({"a": entry("BOOL")}, b"\1\2"),
    "shape a number": file_of(text_of(shape="2"), b"ab"),
    "shape true": file_of(text_of(shape="[2,true]"), b"ab"),
    "shape a fraction": file_of(text_of(shape="[2.0]"), b"ab"),
    "shape an exponent": file_of(text_of(shape="[2e0]"), b"ab"),
    "shape text": file_of(text_of(shape='["2"]'), b"ab"),
    "shape negative": file_of(text_of(shape="[-2]"), b"ab"),
    "shape doubly negative": file_of(text_of(shape="[-2,-1]"), b"ab"),
    "shape minus zero": file_of(text_of(shape="[-0]", offsets="[0,0]")),
    "shape NaN": file_of(text_of(shape="[NaN]"), b"ab"),
    "shape infinite": file_of(text_of(shape="[Infinity]"), b"ab"),
    "shape too small": file_of(text_of(shape="[1]"), b"ab"),
    "shape too large": file_of(text_of(shape="[3]"), b"ab"),
    "shape overflows 64 bits": file_of(text_of(shape="[4294967296,4294967296,2]"), b"ab"),
    "shape overflows to 2": file_of(text_of(shape="[9223372036854775809,2]"), b"ab"),
    "shape empty but huge": file_of(text_of(shape="[0,4294967296,4294967296]", offsets="[0,0]")),
    "shape of 65 dimensions": file_of(text_of(shape=str([1] * 64 + [2])), b"ab"),
    "number of 5000 digits": file_of(text_of(shape="[" + "9" * 5000 + "]"), b"ab"),
    "offsets a number": file_of(text_of(offsets="2"), b"ab"),
    "offsets one": file_of(text_of(offsets="[2]"), b"ab"),
    "offsets three": file_of(text_of(offsets="[0,2,2]"), b"ab"),
    "offsets true": file_of(text_of(shape="[]", offsets="[false,true]"), b"a"),
    "offsets reversed": file_of(text_of(offsets="[2,0]"), b"ab"),
    "offsets negative": file_of(text_of(offsets="[-2,0]"), b"ab"),
    "offsets beyond the file": file_of(text_of(offsets="[1000000000000,1000000000002]"), b"ab"),
    "offsets of 2**64": file_of(text_of(offsets="[18446744073709551614,18446744073709551616]"), b"ab"),
    "hole at the start": file_of({"a": entry(offsets=(1, 3))}, b"abc"),
    "hole between": file_of({"a": entry(), "b": entry(offsets=(3, 5))}, b"abcde"),
    "overlap": file_of({"a": entry(), "b": entry(offsets=(1, 3))}, b"abc"),
    "the same bytes": file_of({"a": entry(), "b": entry()}, b"ab"),
    "the second tensor cut": file_of(TWO, b"abc"),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(tmp_path, content):
    path = tmp_path / "bad-file"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"bad-file: [^\n]{1,400}\Z"):
        read_tensors(path)


def test_good_files_by_hand(tmp_path):
    for header, data in ((TWO, b"abcd"), (b"{}      ", b""), ({"a": entry(shape=())}, b"")):
        (tmp_path / "a").write_bytes(file_of(header, data))
        if data or header == b"{}      ":
            read_tensors(tmp_path / "a")
    (tmp_path / "a").write_bytes(
        file_of({"b": entry(offsets=(2, 4)), "a": entry(), "": entry("F64", (0,), (2, 2))}, b"abcd")
    )
    tensors, _ = read_tensors(tmp_path / "a")
    assert {name: array.tolist() for name, array in tensors.items()} == {"a": [97, 98], "": [], "b": [99, 100]}


def test_not_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read_tensors(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileFormatError, match="not a regular file"):
            read_tensors(tmp_path / "pipe")


def change(config, **values):
    return json.dumps({**config, **values})


def test_bad_models(tmp_path):
    model = small_model()
    state, config = model.state_dict(), model.config()
    path = tmp_path / "bad-file"
    dense = config["layers"][2]
    bad_configs = {
        "no config": None,
        "not JSON": "layers",
        "a list": "[]",
        "nothing in it": "{}",
        "NaN": json.dumps(config)[:-1] + ',"x":NaN}',
        "infinite": json.dumps(config)[:-1] + ',"x":1e999}',
        "duplicate key": json.dumps(config)[:-1] + ',"dtype":"float32"}',
        "nesting bomb": '{"layers":' + "[" * 100_000,
        "nested layers": '{"layers":[' + '{"type":"Dense","units":' * 300 + "1" + "}" * 300 + "]}",
        "layers a number": change(config, layers=5),
        "layers none": change(config, layers=[]),
        "layer unknown": change(config, layers=[{**dense, "type": "os.system"}]),
        "layer's type a list": change(config, layers=[{**dense, "type": ["Dense"]}]),
        "layer's type a base": change(config, layers=[{"type": "Layer"}]),
        "layer not a layer": change(config, layers=[{"type": "Adam"}]),
        "argument unknown": change(config, layers=[{**dense, "path": "/etc/passwd"}]),
        "argument wrong": change(config, layers=[{**dense, "units": True}]),
        "units beyond memory": change(config, layers=[{**dense, "units": 10**15}]),
        "inputs beyond memory": change(config, input_shape=[10**15]),
        "one layer less": change(config, layers=config["layers"][:-1]),
        "never built": change(config, input_shape=None),
        "input_shape text": change(config, input_shape="4"),
        "input_shape a bool": change(config, input_shape=[True]),
        "dtype": change(config, dtype="object"),
        "transform": change(config, output_transform="eval"),
    }
    for what, text in bad_configs.items():
        write_tensors(path, state, {FORMAT_KEY: "1"} if text is None else {FORMAT_KEY: "1", MODEL_KEY: text})
        with pytest.raises(FileFormatError, match=r"bad-file: [^\n]{1,400}\Z"):
            fr.load(path)
            pytest.fail(what)
    text = json.dumps(config)
    bad_states = {
        "one less": {name: array for name, array in state.items() if name != "2.bias"},
        "one more": {**state, "3.weight": np.zeros((2, 2))},
        "shape": {**state, "2.bias": np.zeros(4)},
        "NaN": {**state, "2.bias": np.full(3, np.nan)},
    }
    for what, tensors in bad_states.items():
        write_tensors(path, tensors, {FORMAT_KEY: "1", MODEL_KEY: text})
        with pytest.raises(FileFormatError, match=r"bad-file: [^\n]{1,400}\Z"):
            fr.load(path)
            pytest.fail(what)
    write_tensors(path, state, {FORMAT_KEY: "2", MODEL_KEY: text})
    with pytest.raises(FileFormatError, match="is of fastreg format '2'"):
        fr.load(path)
    write_tensors(path, state)
    with pytest.raises(FileFormatError, match="no fastreg model"):
        fr.load(path)


# --- Mutated files ---------------------------------------------------------------------------------------------------

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


def test_mutated_files(tmp_path):
    """No crash, nothing but FileFormatError, and what is accepted is a file of the format to the last byte."""
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
    """What we accept, it accepts, with the same tensors: no file means two things."""
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


def test_mutated_models(tmp_path):
    """The config behind the header: a model that predicts, or a FileFormatError."""
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
