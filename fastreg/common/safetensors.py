"""The safetensors format: a strict reader and a writer.

A file holds the length of a JSON header (8 bytes, little-endian), the header, and the bytes of the tensors end to end.

The reader trusts nothing. It checks every number against the size of the file before it allocates memory. It refuses
what other readers may interpret differently: duplicate keys, overlaps, holes and trailing bytes.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from fastreg.common import checking
from fastreg.common.fileio import (
    MAX_BYTES,
    FileFormatError,
    PathLike,
    array_bytes,
    atomic_write,
    naming,
    open_regular,
    read_bytes,
    read_into,
)

LOOKED_AT = 120  # bytes of a file of another format that are looked at
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors package too
MAX_PARTS = 4_000_000  # of a JSON text: strings, commas and brackets. The largest model has fewer, trained by Adam

UNUSUAL_NUMBER = re.compile(r"-\d|\d{21}")  # in a JSON text, maybe
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half of a pair, as JSON escapes it

# NumPy has no dtype for BF16 and the format's 8-bit floats. They are refused, and the error names them. BF16 may be
# read as F32, of which it is the upper half.
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
BFLOAT16 = "BF16"
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_tensors(path: PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays to a safetensors file, atomically.

    Parameters
    ----------
    path : str or path
        The file to write or replace.
    tensors : mapping of str to array
        Boolean, integer (8 to 64 bits) and float (16 to 64 bits) arrays of any shape, strides and byte order.
    metadata : mapping of str to str, optional
        Free text to store with the arrays.

    Raises
    ------
    TypeError, ValueError
        A name or metadata are not text, or the format lacks a dtype. Nothing is written.
    OSError
        The file cannot be written. What was at `path` is still there.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
    >>> write_tensors(path, {"x": np.arange(3.0)}, {"made by": "hand"})
    >>> read_tensors(path)
    ({'x': array([0., 1., 2.])}, {'made by': 'hand'})
    """
    header: dict[str, Any] = {}
    for argument, given in (("tensors", tensors), ("metadata", {} if metadata is None else metadata)):
        if not isinstance(given, Mapping):
            raise TypeError(f"{argument}: got {checking.shown(given)}, expected a mapping of names")
    if metadata:
        for key, value in metadata.items():
            _check_text(key, "a key of metadata")
            _check_text(value, f"metadata[{key!r}]")
        header["__metadata__"] = dict(metadata)
    arrays = []
    for name, array in tensors.items():
        _check_text(name, "the name of a tensor")
        if name == "__metadata__":
            raise ValueError("a tensor cannot be named '__metadata__'")
        array = np.asarray(checking.as_array(f"tensors[{name!r}]", array), order="C")
        dtype = array.dtype.newbyteorder("<")
        if dtype not in DTYPE_NAMES:
            raise TypeError(f"tensors[{name!r}] has dtype {array.dtype}; a file holds {', '.join(DTYPES)}")
        arrays.append((name, array.astype(dtype, copy=False)))
    # Wide elements first, so that each tensor is aligned to its own element in a memory map.
    arrays.sort(key=lambda item: -item[1].itemsize)
    end = 0
    for name, array in arrays:
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": DTYPE_NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"names and metadata take {len(text)} bytes; a file holds {MAX_HEADER}")
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, array in arrays:
            file.write(array.reshape(-1).view(np.uint8).data)


def read_tensors(path: PathLike, *, bfloat16: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file, strictly.

    Parameters
    ----------
    path : str or path
        The file.
    bfloat16 : bool
        Whether tensors of BF16 are read, as float32 of the same values. False refuses them.

    Returns
    -------
    tensors : dict of str to array
        In native byte order. Each array has its own memory.
    metadata : dict of str to str
        Empty if the file has none.

    Raises
    ------
    FileFormatError
        The file breaks the format in any way, or uses a dtype that NumPy lacks.
    OSError
        The file cannot be opened.

    Examples
    --------
    See `write_tensors`.
    """
    with naming(path), open_regular(path) as (file, size):
        if size < 8:
            raise FileFormatError(f"has {size} bytes, too few for a safetensors file")
        start = read_bytes(file, 8)
        length = int.from_bytes(start, "little")
        if length > min(MAX_HEADER, size - 8):
            refuse_others(start + read_bytes(file, min(size - 8, LOOKED_AT)))
        if length > MAX_HEADER:
            raise FileFormatError(
                f"is no safetensors file, or claims a header of {length} bytes; the limit is {MAX_HEADER}"
            )
        if length > size - 8:
            raise FileFormatError(f"claims a header of {length} bytes but ends after {size - 8}")
        text = read_bytes(file, length)
        if not text.startswith(b"{"):
            refuse_others(start + text[:LOOKED_AT])
        header = _parse_header(text)
        metadata = _check_metadata(header.pop("__metadata__", {}))
        halves = {name for name, entry in header.items() if bfloat16 and _is_bfloat16(entry)}
        for name in halves:
            header[name] = header[name] | {"dtype": "U16"}
        layout = _check_layout(header, size - 8 - length)
        tensors = {}
        for name, (dtype, shape) in layout.items():
            array = np.empty(shape, dtype)
            read_into(file, array)
            if name in halves:
                tensors[name] = (array.astype(np.uint32) << 16).view(np.float32)
                continue
            if dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
                raise FileFormatError(f"tensor {brief(name)} is BOOL but holds a byte that is neither 0 nor 1")
            tensors[name] = array.astype(dtype.newbyteorder("="), copy=False)
        if file.read(1):
            raise FileFormatError("grew while it was read")
        return tensors, metadata


def _is_bfloat16(entry: Any) -> bool:
    """Whether a tensor is BF16. What else is wrong with its entry is found later."""
    return isinstance(entry, dict) and entry.get("dtype") == BFLOAT16


def refuse_others(start: bytes) -> None:
    """Refuses a file by the format that its first bytes show, if it is one that people keep models in."""
    expected = "expected a safetensors file, as model.save and fr.Checkpoint write them"
    arrays = "; fastreg takes its arrays by model.load_state_dict"
    found = None
    if start.startswith(b"PK\x03\x04"):
        found = "a zip archive"
        if b"data.pkl" in start:
            found = f"a PyTorch file, {expected}; fr.load_torch_state(model, torch.load(path)) takes a state dictionary"
        elif b".npy" in start:
            found = f"an .npz file of arrays, {expected}{arrays}"
        elif b"metadata.json" in start or b"config.json" in start or b".weights.h5" in start:
            found = f"a Keras file, {expected}{arrays}"
    elif start.startswith(b"\x89HDF\r\n\x1a\n"):
        found = f"an HDF5 file, as Keras wrote, {expected}{arrays}"
    elif start.startswith(b"\x93NUMPY"):
        found = "an .npy file of one array"
    elif start.startswith(b"\x1f\x8b"):
        found = "a compressed file (gzip)"
    elif start[:1] == b"\x80" and 2 <= start[1] <= 5:
        found = "a pickle"
    elif start.startswith((b"SQLite format 3", b"GGUF", b"%PDF", b"PAR1", b"<!DOCTYPE", b"<html")):
        found = "a file of another kind"
    elif all(32 <= byte < 127 or byte in b"\r\n\t" for byte in start):
        found = "a file of text"
    if found is not None:
        raise FileFormatError(f"is {found}" + ("" if expected in found else f", {expected}"))


def _parse_header(data: bytes) -> dict[str, Any]:
    if not data.startswith(b"{"):
        raise FileFormatError("the header is not a JSON object: this is not a safetensors file")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"the header is not UTF-8 (byte {error.start})") from None
    header = parse_json(text, "the header", floats=False)
    assert isinstance(header, dict)  # it starts with a brace
    return header


def parse_json(text: str, what: str, *, floats: bool) -> Any:
    """Parses JSON. Refuses what Python's parser accepts: duplicate keys, NaN, infinity, numbers of any length."""

    def number(literal: str) -> int:
        if not floats and literal.startswith("-"):
            raise FileFormatError(f"{what} has the negative number {brief(literal)}")
        if len(literal) > 20:
            raise FileFormatError(f"{what} has a number of {len(literal)} digits")
        return int(literal)

    def real(literal: str) -> float:
        if not floats:
            raise FileFormatError(f"{what} has a fraction, {brief(literal)}, where whole numbers belong")
        value = float(literal)
        if not math.isfinite(value):
            raise FileFormatError(f"{what} has the number {brief(literal)}, which is too large")
        return value

    def constant(literal: str) -> NoReturn:
        raise FileFormatError(f"{what} has {literal}, which is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise FileFormatError(f"{what} has the key {brief(twice)} twice")
        return result

    _check_parts(text, what)
    try:
        whole = number if UNUSUAL_NUMBER.search(text) else None  # a function in Python for each takes its time
        value = json.loads(text, object_pairs_hook=unique, parse_int=whole, parse_float=real, parse_constant=constant)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # fails at a lone one, which is not text
        return value
    except json.JSONDecodeError as error:
        raise FileFormatError(f"{what} is not JSON: {error.msg} (character {error.pos})") from None
    except UnicodeEncodeError:
        raise FileFormatError(f"{what} has half of a surrogate pair in a string") from None
    except RecursionError:
        raise FileFormatError(f"{what} is nested too deeply") from None


def _check_parts(text: str, what: str) -> None:
    """Refuses JSON of more parts than any model has, before they take their time and ten times their memory."""
    if len(text) <= MAX_PARTS:
        return
    plain = text.replace("\\\\", "").replace('\\"', "") if "\\" in text else text  # without quotes within strings
    parts = plain.count('"') // 2
    if parts <= MAX_PARTS:
        outside = "".join(plain.split('"')[::2])
        parts += sum(map(outside.count, ",[{"))
    if parts > MAX_PARTS:
        raise FileFormatError(f"{what} has more than {MAX_PARTS} parts, which no model has")


def _check_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict):
        raise FileFormatError("__metadata__ is not a JSON object")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise FileFormatError(f"the metadata {brief(key)} is not a string")
    return metadata


def _check_layout(header: dict[str, Any], size: int) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Dtype and shape of every tensor, in the order of their bytes. These must fill `size` bytes exactly."""
    spans = []
    for name, entry in header.items():
        dtype, shape, start, end = _check_entry(name, entry)
        spans.append((start, end, name, dtype, shape))
    spans.sort(key=lambda span: span[:2])
    position = 0
    for start, end, name, _, _ in spans:
        if start != position:
            kind = "overlaps the one before" if start < position else "leaves a hole before it"
            raise FileFormatError(f"tensor {brief(name)} {kind}: it starts at byte {start}, expected {position}")
        position = end
    if position != size:
        raise FileFormatError(f"the tensors take {position} bytes but the file holds {size} for them")
    return {name: (dtype, shape) for _, _, name, dtype, shape in spans}


def _check_entry(name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise FileFormatError(f"tensor {brief(name)} is not described by exactly dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise FileFormatError(
            f"tensor {brief(name)} has dtype {brief(entry['dtype'])}; fastreg reads {', '.join(DTYPES)}"
        )
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _is_sizes(shape):
        raise FileFormatError(f"tensor {brief(name)} has the shape {brief(shape)}, expected whole numbers")
    if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FileFormatError(f"tensor {brief(name)} has the data_offsets {brief(offsets)}, expected [start, end]")
    count = array_bytes(shape, dtype.itemsize)
    if count != offsets[1] - offsets[0]:
        raise FileFormatError(
            f"tensor {brief(name)} needs {count} bytes by its shape but has {offsets[1] - offsets[0]}"
        )
    return dtype, tuple(shape), offsets[0], offsets[1]


def _is_sizes(value: Any) -> bool:
    """Whether it is a list of whole numbers of at least 0. True is an int in Python, but not here."""
    if not isinstance(value, list) or not set(map(type, value)) <= {int}:
        return False
    return not value or 0 <= min(value) <= max(value) <= MAX_BYTES


def _check_text(value: Any, what: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, got {brief(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} has half of a surrogate pair: {brief(value)}") from None


def brief(value: Any) -> str:
    """A repr short enough for an error message, whatever the file says."""
    return reprlib.repr(value)
