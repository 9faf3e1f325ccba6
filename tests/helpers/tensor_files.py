"""What the tests of files share: tensors, a model, and safetensors files written by hand."""

import json

import numpy as np

import fastreg as fr

TENSORS = {
    "bool": np.array([True, False, True]),
    "empty": np.zeros((0, 3), np.int16),
    "half": np.arange(3, dtype=np.float16),
    "scalar": np.array(2.5),
    "strided": np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3].T,
    "swapped": np.arange(5, dtype=">i4"),
    "ä ö": np.arange(4, dtype=np.uint64),
}


def small_model():
    layers = [fr.Dropout(keep_prob=0.8), fr.Dense(5, activation="relu", l2=0.1, name="hidden"), fr.Dense(3)]
    model = fr.Sequential(layers)
    model.build(4, seed=1)
    return model


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="U8", shape=(2,), offsets=(0, 2), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


TWO = {"a": entry(), "b": entry(offsets=(2, 4))}
