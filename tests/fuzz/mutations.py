"""Ways to damage a safetensors file, for fuzz_files.py: of its bytes, and of the JSON in it."""

from __future__ import annotations

import json
import random
from json.encoder import encode_basestring_ascii

NUMBERS = (0, 1, 2, 3, 7, 8, 64, 65, 255, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64)
VALUES = (None, True, False, -1, -(2**63), 0.5, 1e308, 1e-320, "", "F32", "x" * 300, [], {}, [0], [[0]], "\ud800", "\0")
DTYPES = ("BOOL", "U8", "I8", "U16", "I32", "U64", "F16", "F32", "F64", "BF16", "F8_E4M3", "f32", "C64", "")
WIDTHS = (("BOOL", "U8", "I8"), ("U16", "I16", "F16"), ("U32", "I32", "F32"), ("U64", "I64", "F64"))
WORDS = (
    *(
        "0.weight",
        "hidden.weight",
        "hidden.bias",
        "2.weight",
        "__metadata__",
        "fastreg.format",
        "fastreg.model",
        "dtype",
    ),
    *(
        "fastreg.checkpoint",
        "checkpoint/state/hidden.weight/m",
        "checkpoint/epochs",
        "checkpoint/history",
        "shape",
    ),
    *("relu", "softmax", "Dense", "Dropout", "Function", "Sequential", "os.system", "../../etc/passwd", "float64", "1"),
)
RAW = ("1e999", "NaN", "-Infinity", "01", "9" * 400, "1.0", "-0", "[" * 5000, '{"a":' * 3000, '"\\ud800"', "'a'", "//")
BYTES = b'\0\x01\x7f\x80\xff "{}[]:,\\0123456789eE-.ntfu\n'


class Pairs(list):
    """A JSON object as pairs, which may repeat a key."""


class Raw(str):
    """Text that goes into the JSON as it is."""


def mutate(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """`content`, damaged in one way or in several."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(WAYS)(rng, content, others)
    return content


# --- Bytes ---------------------------------------------------------------------------------------------------------


def flip(rng, content, others):
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(data)


def put(rng, content, others):
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4)) if data else 0):
        data[_place(rng, data)] = rng.choice(BYTES)
    return bytes(data)


def splice(rng, content, others):
    other = rng.choice(others)
    return content[: rng.randint(0, len(content))] + other[rng.randint(0, len(other)) :]


def copy_range(rng, content, others):
    start, at = rng.randint(0, len(content)), rng.randint(0, len(content))
    return content[:at] + content[start : start + rng.randint(1, 64)] + content[at + rng.choice((0, 0, 1, 8)) :]


def drop_range(rng, content, others):
    start = rng.randint(0, len(content))
    return content[:start] + content[start + rng.choice((1, 2, 8, 64)) :]


def cut(rng, content, others):
    return content[: rng.choice((rng.randint(0, 16), rng.randint(0, len(content)), max(0, len(content) - 1)))]


def extend(rng, content, others):
    return content + rng.randbytes(rng.choice((1, 8, 300)))


def set_length(rng, content, others):
    length = int.from_bytes(content[:8], "little")
    near = (length + rng.randint(-9, 9), len(content) - 8, len(content), 10**8, 10**8 + 1, rng.choice(NUMBERS))
    return (rng.choice(near) % 2**64).to_bytes(8, "little") + content[8:]


def _place(rng, data) -> int:
    """More often in the header than in the tensors."""
    length = min(len(data), 8 + int.from_bytes(data[:8], "little"))
    return rng.randrange(length or 1) if rng.random() < 0.8 else rng.randrange(len(data))


# --- JSON ----------------------------------------------------------------------------------------------------------


def of_json(rng, content, others):
    """A change of the header that leaves it JSON, more or less, with the right length."""
    length = int.from_bytes(content[:8], "little")
    try:
        tree = json.loads(content[8 : 8 + length], object_pairs_hook=Pairs)
        for _ in range(rng.choice((1, 1, 2))):
            tree = change(rng, tree)
        text = dumps(tree).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return put(rng, content, others)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def plausible(rng, content, others):
    """A header that follows the format, or nearly, but has other contents."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        names = [name for name in header if name != "__metadata__"]
        one, two = rng.choice(names), rng.choice(names)
        roll = rng.random()
        if roll < 0.3:
            header[one], header[two] = header[two], header[one]
        elif roll < 0.5:
            header[one]["dtype"] = rng.choice(next(g for g in WIDTHS if header[one]["dtype"] in g))
        elif roll < 0.8:
            rng.shuffle(header[one]["shape"])
            header[one]["shape"].insert(0, 1) if rng.random() < 0.5 else None
        elif roll < 0.9:
            header[rng.choice(WORDS)] = header.pop(one)
        else:
            header["__metadata__"][rng.choice(WORDS)] = rng.choice(WORDS)
        text = json.dumps(header).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError, StopIteration):
        return flip(rng, content, others)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def values(rng, content, others):
    """Other numbers in the tensors."""
    data, length = bytearray(content), 8 + int.from_bytes(content[:8], "little")
    for _ in range(rng.choice((1, 1, 8)) if length < len(data) else 0):
        data[rng.randrange(length, len(data))] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))
    return bytes(data)


def change(rng, tree):
    """The tree with one node changed."""
    places = list(walk(tree))
    if rng.random() < 0.5:  # rather in the JSON that is text in it
        places = [place for place in places if isinstance(place[2], str) and place[2][:1] in ("{", "[")] or places
    if not places:
        return rng.choice(VALUES)
    parent, key, value = rng.choice(places)
    roll = rng.random()
    if isinstance(value, str) and value[:1] in ("{", "[") and roll < 0.95:
        try:
            parent[key] = as_item(parent, key, dumps(change(rng, json.loads(value, object_pairs_hook=Pairs))))
            return tree
        except (ValueError, RecursionError):
            pass
    if isinstance(parent, Pairs):
        name = parent[key][0]
        if roll < 0.12:
            parent.insert(rng.randint(0, len(parent)), (name, value))
        elif roll < 0.22:
            del parent[key]
        elif roll < 0.32:
            parent[key] = (rng.choice((*WORDS, name + "x", name.upper(), name[:-1])), value)
        elif roll < 0.4:
            rng.shuffle(parent)
        else:
            parent[key] = (name, other(rng, value, name))
    elif roll < 0.15:
        parent.insert(key, value)
    elif roll < 0.3:
        del parent[key]
    elif roll < 0.45:
        rng.shuffle(parent)
    else:
        parent[key] = other(rng, value)
    return tree


def as_item(parent, key, value):
    return (parent[key][0], value) if isinstance(parent, Pairs) else value


def other(rng, value, name=""):
    """A value to replace another."""
    if rng.random() < 0.1:
        return Raw(rng.choice(RAW))
    if rng.random() < 0.1:
        return rng.choice(VALUES)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int) and abs(value) < 2**65:
        near = (value + 1, value - 1, value * 2, value // 2, value + 4, -value, value + 0.5, float(value), str(value))
        return rng.choice((*near, rng.choice(NUMBERS)))
    if isinstance(value, float):
        return rng.choice((0.0, 1.0, -value, value * 2, 1.5, value + 1e-9, value - 1, 1e300))
    if isinstance(value, str):
        return rng.choice(DTYPES) if name == "dtype" and rng.random() < 0.9 else rng.choice((*WORDS, value[:-1]))
    return rng.choice((*VALUES, *NUMBERS))


def walk(node):
    """Every (parent, key, value) below a node."""
    if isinstance(node, list):
        for key, item in enumerate(node):
            value = item[1] if isinstance(node, Pairs) else item
            yield node, key, value
            yield from walk(value)


def dumps(node) -> str:
    if isinstance(node, Raw):
        return node
    if isinstance(node, Pairs):
        return "{" + ",".join(f"{encode_basestring_ascii(name)}:{dumps(value)}" for name, value in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(dumps, node)) + "]"
    if type(node) is str:
        return encode_basestring_ascii(node)
    return str(node) if type(node) is int else json.dumps(node)


WAYS = (flip, put, splice, copy_range, drop_range, cut, extend, set_length, *(plausible, values) * 3, *(of_json,) * 8)
