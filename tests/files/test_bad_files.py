"""Malicious files: each is refused in one line."""

import json
import os

import numpy as np
import pytest
from tensor_files import TWO, entry, file_of, small_model

import fastreg as fr
from fastreg.common import safetensors
from fastreg.model.files import FORMAT_KEY, MODEL_KEY, FileFormatError, model_of, read_tensors, write_tensors


def text_of(dtype='"U8"', shape="[2]", offsets="[0,2]"):
    return f'{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'.encode()


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
    with pytest.raises(IsADirectoryError) as error:  # the folder, not a temporary file beside it
        write_tensors(tmp_path, {"a": np.zeros(2)})
    assert error.value.filename == str(tmp_path) and error.value.filename2 is None
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
        "loss_weights a number": change(config, loss_weights=1.0),
        "loss_weights all 0": change(config, loss_weights=dict.fromkeys(model.heads, 0.0)),
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tensors_of_another_dtype_than_the_config(tmp_path, dtype):
    """They would be converted, and saved as a different file."""
    model = small_model()
    config = {FORMAT_KEY: "1", MODEL_KEY: change(model.config(), dtype=dtype)}
    state = {name: tensor.astype(dtype) for name, tensor in model.state_dict().items()}
    write_tensors(tmp_path / "a", state, config)
    assert fr.load(tmp_path / "a").dtype == dtype
    for name in state:
        for other in {"float16", "float32", "float64", "int32"} - {dtype}:
            write_tensors(tmp_path / "a", {**state, name: state[name].astype(other)}, config)
            with pytest.raises(FileFormatError, match=rf"config says {dtype}, but \['{name}'\] are of another dtype"):
                fr.load(tmp_path / "a")


def header_of_empty(count):
    one = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return ("{" + ",".join(one % number for number in range(count)) + "}").encode()


def test_headers_of_millions_of_parts_are_refused_before_they_are_parsed(tmp_path, monkeypatch):
    def parsed(*_, **__):
        raise AssertionError("it is parsed")

    path = tmp_path / "bad-file"
    for text in (header_of_empty(400_000), b'{"a":[' + b"0," * 4_000_000 + b"0]}", b'{"a":[' + b'"\\"",' * 4_000_000):
        path.write_bytes(file_of(text, b""))
        with monkeypatch.context() as patched, pytest.raises(FileFormatError, match="more than 4000000 parts"):
            patched.setattr(safetensors.json, "loads", parsed)
            read_tensors(path)
    with monkeypatch.context() as patched, pytest.raises(FileFormatError, match="config has more than 4000000 parts"):
        patched.setattr(safetensors.json, "loads", parsed)
        model_of({}, {FORMAT_KEY: "1", MODEL_KEY: "[" + "0," * 4_000_000 + "0]"})


def test_long_texts_are_no_parts(tmp_path):
    """Such as names of categories with commas, brackets and quotes in them."""
    text = ',[{"\\' * 1_000_000
    write_tensors(tmp_path / "a", {"x": np.zeros(2)}, {"text": text})
    assert read_tensors(tmp_path / "a")[1] == {"text": text}
