"""to_onnx: a model as an ONNX file, which other programs run."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from fastreg import layers as L
from fastreg.common import checking
from fastreg.common.fileio import PathLike, atomic_write
from fastreg.common.understood import understood
from fastreg.exchange import onnx_layers
from fastreg.exchange.needs import package
from fastreg.exchange.onnx_layers import Out, Writer
from fastreg.exchange.plan import checked
from fastreg.intake.schema import Column
from fastreg.machine.release import __version__
from fastreg.model.model import Model

OPSET = 17  # of the operators of ONNX, the first with LayerNormalization
ML_OPSET = 3  # of its operators for tables
IR = 8  # the version of the file format that came with both
MOST = (1 << 31) - (1 << 20)  # bytes that a file of protocol buffers can hold, but for the graph
ROWS = "n"  # the first dimension of inputs and outputs, which may have any size


@understood
def to_onnx(model: Model, path: PathLike | None = None, *, logits: bool = False, encoded: bool = False) -> Any:
    """A model as an ONNX model, which computes what `model.predict` does.

    Parameters
    ----------
    model : Sequential or Model
        A built model.
    path : str or path, optional
        Where to write it, atomically. None writes no file.
    logits : bool
        False for what `model.predict` gives: probabilities under a cross-entropy, scaled targets in their own units.
        True
        for the values before that.
    encoded : bool
        False: a model whose schema has texts or holes has an input (n, 1) for each column of the table, of text or of
        numbers, where NaN is a hole. True: it has one input, of what `model.schema.inputs("X", X)` gives.

    Returns
    -------
    onnx.ModelProto
        Of opset 17. Inputs have the names and shapes of the model's, images with the channels last, and the dtype of
        the model; those that only an `Embedding` reads are int64. The first dimension, "n", is free. Outputs have the
        names of the heads, "output" in a model with one. Nodes and weights are called after the layers.

    Raises
    ------
    ValueError
        A layer cannot be converted, or the model is too large. The error names the layer.
    ImportError
        The package onnx is missing.
    OSError
        The file cannot be written.

    Notes
    -----
    In float64 the erf of "gelu" is computed in float32, since onnxruntime has no other.

    Examples
    --------
    >>> import fastreg as fr
    >>> model = fr.Sequential([fr.Dense(8, "relu"), fr.Dense(3)])
    >>> model.build(4)
    >>> proto = fr.to_onnx(model)
    >>> [node.name for node in proto.graph.node]
    ['0/Gemm', '0/Relu', '1/Gemm', 'output/Identity']
    """
    checked(model)
    logits, encoded = checking.flag("logits", logits), checking.flag("encoded", encoded)
    path = None if path is None else checking.path("path", path)
    network = model.network(model.known_shape)
    size = sum(array.nbytes for array in model.parameters.values())
    if size > MOST:
        raise ValueError(
            f"model: got {size} bytes of parameters, expected at most {MOST}, which one ONNX file can hold"
        )
    package("to_onnx", "onnx")
    writer = Writer(model)
    values = _inputs(model, writer, encoded)
    for number, (name, node) in enumerate(zip(network.names, network.graph.nodes, strict=True), len(values)):
        layer = network.layers[node.layer]
        writer.layer = name
        values.append(onnx_layers.of(layer)(writer, layer, [values[value] for value in node.inputs]))
        assert values[-1].shape == network.shapes()[number]
    for head, number in model.graph.outputs.items():
        _output(model, writer, head, values[number], logits)
    proto = writer.proto(opset=OPSET, ml_opset=ML_OPSET, ir=IR, producer=__version__, metadata=_metadata(model))
    if path is not None:
        with atomic_write(path) as file:
            file.write(proto.SerializeToString())
    return proto


def _metadata(model: Model) -> dict[str, str]:
    """What a program that runs the model may want to know, as JSON."""
    classes = {head: target.classes for head, target in model.targets.items() if target.classes is not None}
    told = {"fastreg.classes": classes, "fastreg.columns": model.schema.names}
    return {key: json.dumps(value) for key, value in told.items() if value}


# --- Inputs ---------------------------------------------------------------------------------------------------------


def _inputs(model: Model, writer: Writer, encoded: bool) -> list[Out]:
    """The values that the graph begins with."""
    entries, shape = model.graph.inputs, model.known_shape
    codes = _read_as_codes(model)
    if model.many_inputs:
        assert isinstance(shape, dict)
        return [
            writer.input(entry.name, shape[entry.name], "int64" if number in codes else model.dtype)
            for number, entry in enumerate(entries)
        ]
    assert isinstance(shape, tuple)
    if model.schema.is_plain or encoded:
        name = entries[0].name if entries[0].columns is None else "inputs"
        table = writer.input(name, shape, "int64" if len(codes) == len(entries) else model.dtype)
    else:
        table = _table(model, writer)
    if entries[0].columns is None:
        return [table]
    values = []
    for entry in entries:
        writer.layer = entry.name
        values.append(writer.columns(table, entry.columns or ()))
    return values


def _read_as_codes(model: Model) -> set[int]:
    """The inputs that only embeddings read."""
    users: dict[int, list[L.Layer]] = {}
    for node in model.graph.nodes:
        for value in node.inputs:
            users.setdefault(value, []).append(model.layers[node.layer])
    count = len(model.graph.inputs)
    return {n for n in range(count) if all(isinstance(layer, L.Embedding) for layer in users.get(n, ()))}


def _table(model: Model, writer: Writer) -> Out:
    """The numbers of a table, from an input for each of its columns."""
    columns = model.schema.columns or ()
    for column in columns:
        if column.kind == "date":
            raise ValueError(
                f"model: its schema has the column {column.name!r} of dates, which ONNX has no type for, expected "
                f"encoded=True: the file then takes model.schema.inputs('X', X)"
            )
    parts = [_column(writer, column) for column in columns if column.width]
    return writer.side_by_side(parts)


def _column(writer: Writer, column: Column) -> Out:
    """The numbers of a column, as `Column.write` makes them."""
    writer.layer = column.name
    if column.kind == "category":
        texts = writer.input(column.name, (1,), "str")
        if column.coded:
            count = len(column.values)
            codes = writer.node(
                "LabelEncoder",
                [texts],
                domain="ai.onnx.ml",
                keys_strings=list(column.values),
                values_floats=[float(code) for code in range(count)],
                default_float=float(count),
            )
            return writer.cast(codes)
        ones = writer.node("OneHotEncoder", [texts], domain="ai.onnx.ml", cats_strings=list(column.values), zeros=1)
        return writer.cast(writer.node("Flatten", [ones], axis=1, shape=(len(column.values),)))
    values = writer.input(column.name, (1,), writer.dtype)
    if column.fill is None:
        return values
    holes = writer.node("IsNaN", [values])
    fill = writer.constant("fill", np.array(column.fill))
    filled = writer.node("Where", [holes, fill, values])
    return writer.side_by_side([filled, writer.cast(holes)])


# --- Outputs --------------------------------------------------------------------------------------------------------


def _output(model: Model, writer: Writer, head: str, value: Out, logits: bool) -> None:
    """What a model predicts of a value."""
    writer.layer = head
    value = writer.rows(value)
    dtype = model.dtype
    if not logits:
        value = onnx_layers.transformed(writer, value, model.transforms[head])
        target = model.targets[head]
        if target.mean is not None and target.scale is not None:
            dtype = "float64"  # as predict: large numbers have few digits left in float32
            value = writer.node("Cast", [value], to=writer.kinds["float64"])
            value = writer.node("Mul", [value, writer.constant("scale", np.array(target.scale), "float64")])
            value = writer.node("Add", [value, writer.constant("mean", np.array(target.mean), "float64")])
    writer.output(head, value, math.prod(value.shape), dtype)
