"""Layers as operators of ONNX, and the writer that collects them.

Images have the channels last at inputs, and first between convolutions and pools, as ONNX wants them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastreg import layers as L
from fastreg.common.transforms import TRANSFORMS
from fastreg.exchange.needs import package
from fastreg.exchange.plan import borders
from fastreg.model.model import Model
from fastreg.reference import activations as reference

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Out:
    """A value: its name, the shape of a sample in fastreg, and whether it is an image with the channels first."""

    name: str
    shape: Shape
    first: bool = False


class Writer:
    """Collects the nodes and the constants of a graph."""

    def __init__(self, model: Model):
        self.model, self.dtype = model, model.dtype
        self.onnx = package("to_onnx", "onnx")
        kinds = self.onnx.TensorProto
        self.kinds = {
            "float32": kinds.FLOAT,
            "float64": kinds.DOUBLE,
            "int64": kinds.INT64,
            "str": kinds.STRING,
        }
        self.layer = ""  # whose nodes are written
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.names: set[str] = set()
        self.moved: dict[tuple[str, bool], Out] = {}  # images by name, and by whether their channels are now first

    # --- What is written ----------------------------------------------------------------------------------------------

    def free(self, name: str) -> str:
        """A name that nothing else has."""
        found, number = name, 1
        while found in self.names:
            number += 1
            found = f"{name}_{number}"
        self.names.add(found)
        return found

    def input(self, name: str, shape: Shape, dtype: str) -> Out:
        """An input of the graph."""
        name = self.free(name)
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, self.kinds[dtype], ["n", *shape]))
        return Out(name, shape)

    def output(self, name: str, value: Out, units: int, dtype: str) -> None:
        """An output of the graph, under its own name."""
        own = self.free(name)
        self.nodes.append(self.onnx.helper.make_node("Identity", [value.name], [own], name=f"{own}/Identity"))
        self.outputs.append(self.onnx.helper.make_tensor_value_info(own, self.kinds[dtype], ["n", units]))

    def node(
        self,
        operator: str,
        values: Sequence[Out | str],
        shape: Shape | None = None,
        first: bool | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Out:
        """The value of an operator. Unless they are told, shape and layout are those of the first value."""
        given = [value.name if isinstance(value, Out) else value for value in values]
        name = self.free(f"{self.layer}/{operator}")
        made = self.onnx.helper.make_node(operator, given, [f"{name}:0"], name=name, domain=domain, **attributes)
        self.nodes.append(made)
        like = next((value for value in values if isinstance(value, Out)), Out("", ()))
        return Out(f"{name}:0", like.shape if shape is None else shape, like.first if first is None else first)

    def constant(self, name: str, array: np.ndarray, dtype: str | None = None) -> str:
        """A constant of the layer, in the dtype of the model unless another is told."""
        full = f"{self.layer}/{name}"
        array = np.asarray(array, self.dtype if dtype is None else dtype)
        known = self.constants.get(full)
        if known is not None and not (known.dtype == array.dtype and np.array_equal(known, array)):
            full = self.free(full)
        self.constants[full] = array
        self.names.add(full)
        return full

    def parameter(self, name: str, array: np.ndarray | None = None) -> str:
        """A parameter of the model, under its own name, maybe with its elements in another order."""
        if name not in self.constants:
            self.constants[name] = np.ascontiguousarray(self.model.parameters[name] if array is None else array)
            self.names.add(name)
        return name

    def proto(self, opset: int, ml_opset: int, ir: int, producer: str, metadata: dict[str, str]) -> Any:
        """The model of all that was written."""
        helper, arrays = self.onnx.helper, self.onnx.numpy_helper
        constants = [arrays.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, type(self.model).__name__, self.inputs, self.outputs, constants)
        sets = [helper.make_opsetid("", opset)]
        if any(node.domain for node in self.nodes):
            sets.append(helper.make_opsetid("ai.onnx.ml", ml_opset))
        proto = helper.make_model(
            graph, opset_imports=sets, ir_version=ir, producer_name="fastreg", producer_version=producer
        )
        helper.set_model_props(proto, metadata)
        self.onnx.checker.check_model(proto, full_check=True)
        return proto

    # --- Shapes and layouts -------------------------------------------------------------------------------------------

    def own(self, value: Out) -> Out:
        """A value as it lies in fastreg: the channels of an image are last."""
        if not value.first:
            return value
        return self._moved(value, False, [0, 2, 3, 1])

    def images(self, value: Out) -> Out:
        """An image with the channels first. One of two dimensions gets its one channel."""
        if value.first:
            return value
        if len(value.shape) == 2:
            axes = self.constant("axes", np.array([1]), "int64")
            return self.node("Unsqueeze", [value, axes], (*value.shape, 1), first=True)
        return self._moved(value, True, [0, 3, 1, 2])

    def _moved(self, value: Out, first: bool, perm: list[int]) -> Out:
        key = value.name, first
        if key not in self.moved:
            self.moved[key] = self.node("Transpose", [value], first=first, perm=perm)
        return self.moved[key]

    def rows(self, value: Out) -> Out:
        """A value with one dimension a sample."""
        if len(value.shape) == 1:
            return value
        return self.node("Flatten", [self.own(value)], (math.prod(value.shape),), first=False, axis=1)

    def cast(self, value: Out) -> Out:
        """A value in the dtype of the model."""
        return self.node("Cast", [value], to=self.kinds[self.dtype])

    def columns(self, table: Out, columns: Sequence[int]) -> Out:
        """Some columns of a table."""
        numbers = self.constant("columns", np.array(columns), "int64")
        return self.node("Gather", [table, numbers], (len(columns),), axis=1)

    def side_by_side(self, parts: list[Out]) -> Out:
        """The columns of several values."""
        if len(parts) == 1:
            return parts[0]
        return self.node("Concat", parts, (sum(part.shape[0] for part in parts),), axis=1)


# --- Activations ------------------------------------------------------------------------------------------------------

SINGLE: dict[str, tuple[str, dict[str, Any]]] = {  # activations that are one operator in both dtypes
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
}
FLOAT: dict[
    str, tuple[str, dict[str, Any]]
] = {  # in float32. Runtimes have them in no other, and attributes are float32
    "leaky_relu": ("LeakyRelu", {"alpha": reference.LEAK}),
    "elu": ("Elu", {"alpha": 1.0}),
    "selu": ("Selu", {"alpha": reference.ALPHA, "gamma": reference.SCALE}),
    "softplus": ("Softplus", {}),
    "hard_swish": ("HardSwish", {}),
}


def activate(w: Writer, x: Out, name: str) -> Out:
    """activation(x)."""
    one = SINGLE.get(name) or (FLOAT.get(name) if w.dtype == "float32" else None)
    if one is not None:
        operator, options = one
        return w.node(operator, [x], **options)
    return {"linear": _same, **COMPOSED}[name](w, x)


def _same(w: Writer, x: Out) -> Out:
    return x


def _number(w: Writer, value: float) -> str:
    """A number as a constant. Its name tells it."""
    return w.constant(f"{value:.6g}", np.array(value))


def _by(w: Writer, operator: str, x: Out | str, y: Out | str | float) -> Out:
    """An operator on two values, the second of which may be a number."""
    return w.node(operator, [x, _number(w, y) if isinstance(y, float) else y])


def _silu(w: Writer, x: Out) -> Out:
    return _by(w, "Mul", x, w.node("Sigmoid", [x]))


def _gelu(w: Writer, x: Out) -> Out:
    """x (1 + erf(x / sqrt 2)) / 2."""
    z = _by(w, "Mul", x, math.sqrt(0.5))
    if w.dtype == "float64":
        z = w.node("Cast", [z], to=w.kinds["float32"])
    erf = w.node("Erf", [z])
    erf = w.cast(erf) if w.dtype == "float64" else erf
    return _by(w, "Mul", _by(w, "Mul", x, 0.5), _by(w, "Add", erf, 1.0))


def _gelu_tanh(w: Writer, x: Out) -> Out:
    """x sigmoid(x (A + B x^2))."""
    squares = _by(w, "Mul", _by(w, "Mul", x, x), reference.B)
    inner = _by(w, "Mul", x, _by(w, "Add", squares, reference.A))
    return _by(w, "Mul", x, w.node("Sigmoid", [inner]))


def _expm1_below(w: Writer, x: Out) -> Out:
    return _by(w, "Sub", w.node("Exp", [_by(w, "Min", x, 0.0)]), 1.0)


def _leaky_relu(w: Writer, x: Out) -> Out:
    return _by(w, "Max", x, _by(w, "Mul", x, reference.LEAK))


def _elu(w: Writer, x: Out) -> Out:
    return _by(w, "Add", _by(w, "Max", x, 0.0), _expm1_below(w, x))


def _selu(w: Writer, x: Out) -> Out:
    below = _by(w, "Mul", _expm1_below(w, x), reference.ALPHA)
    return _by(w, "Mul", _by(w, "Add", _by(w, "Max", x, 0.0), below), reference.SCALE)


def _softplus(w: Writer, x: Out) -> Out:
    """max(x, 0) + log(1 + e^-|x|)."""
    small = w.node("Exp", [w.node("Neg", [w.node("Abs", [x])])])
    return _by(w, "Add", _by(w, "Max", x, 0.0), w.node("Log", [_by(w, "Add", small, 1.0)]))


def _mish(w: Writer, x: Out) -> Out:
    return _by(w, "Mul", x, w.node("Tanh", [activate(w, x, "softplus")]))


def _hard_swish(w: Writer, x: Out) -> Out:
    gate = w.node("Clip", [_by(w, "Add", x, 3.0), _number(w, 0.0), _number(w, 6.0)])
    return _by(w, "Mul", x, _by(w, "Div", gate, 6.0))


COMPOSED: dict[str, Callable[[Writer, Out], Out]] = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "softplus": _softplus,
    "mish": _mish,
    "hard_swish": _hard_swish,
}


def transformed(w: Writer, x: Out, transform: str) -> Out:
    """What predictions are made of outputs."""
    function = TRANSFORMS[transform].function
    if function == "linear":
        return x
    options: dict[str, Any] = {"axis": 1} if function == "softmax" else {}
    return w.node(function.capitalize(), [x], **options)


# --- Layers -----------------------------------------------------------------------------------------------------------


def dense(w: Writer, layer: L.Dense, values: list[Out]) -> Out:
    inputs: list[Out | str] = [values[0], w.parameter(layer.weight_name)]
    if layer.use_bias:
        inputs.append(w.parameter(f"{layer.name}.bias"))
    out = w.node("Gemm", inputs, (layer.units,), transB=int(layer.transposed))
    return activate(w, out, layer.activation or "linear")


def activation(w: Writer, layer: L.Activation, values: list[Out]) -> Out:
    return activate(w, values[0], layer.activation)


def nothing(w: Writer, layer: L.Layer, values: list[Out]) -> Out:
    return values[0]


def dropout(w: Writer, layer: L.Dropout, values: list[Out]) -> Out:
    """Nothing, but for the first form of dropout, which multiplies by the probability as it is drawn."""
    if layer.kind != "standard" or layer.keep_prob == 1:
        return values[0]
    return _by(w, "Mul", values[0], round(layer.keep_prob * 65536) / 65536)


def flatten(w: Writer, layer: L.Layer, values: list[Out]) -> Out:
    return w.rows(values[0])


def standardize(w: Writer, layer: L.Layer, values: list[Out]) -> Out:
    x = w.own(values[0])
    mean, scale = (
        w.parameter(f"{layer.name}.{key}", w.model.parameters[f"{layer.name}.{key}"].reshape(x.shape))
        for key in ("mean", "scale")
    )
    return w.node("Mul", [w.node("Sub", [x, mean]), scale])


def _scale_and_shift(w: Writer, layer: L.Norm, shape: Shape) -> list[str]:
    """gamma and beta, or what does nothing."""
    found = []
    for key, has, usual in (("gamma", layer.scale, 1.0), ("beta", layer.shift, 0.0)):
        name = f"{layer.name}.{key}"
        if has:
            found.append(w.parameter(name, w.model.parameters[name].reshape(shape)))
        else:
            found.append(w.constant(key, np.full(shape, usual)))
    return found


def batch_norm(w: Writer, layer: L.BatchNorm, values: list[Out]) -> Out:
    x = values[0]
    channels = x.shape[-1]
    mean, var = (f"{layer.name}.{key}" for key in ("mean", "var"))
    beyond = layer.eps - float(np.float32(layer.eps))  # eps is a float32 in the file
    moments = [
        w.parameter(mean),
        w.parameter(var, w.model.parameters[var] + w.model.parameters[var].dtype.type(beyond)),
    ]
    constants = [*_scale_and_shift(w, layer, (channels,)), *moments]
    if len(x.shape) == 2:  # the columns of a sample of two dimensions, to where ONNX has the channels
        turned = w.node("Transpose", [w.own(x)], perm=[0, 2, 1])
        out = w.node(
            "Transpose", [w.node("BatchNormalization", [turned, *constants], epsilon=layer.eps)], perm=[0, 2, 1]
        )
    else:
        x = w.images(x) if len(x.shape) == 3 else x
        out = w.node("BatchNormalization", [x, *constants], epsilon=layer.eps)
    return activate(w, out, layer.activation or "linear")


def layer_norm(w: Writer, layer: L.LayerNorm, values: list[Out]) -> Out:
    x = w.own(values[0])
    out = w.node("LayerNormalization", [x, *_scale_and_shift(w, layer, x.shape)], axis=1, epsilon=layer.eps)
    return activate(w, out, layer.activation or "linear")


def _pads(layer: Any, shape: Shape) -> tuple[Any, list[int]]:
    """The windows of a layer, and the border that they reach over, as ONNX has it."""
    found = layer.window(shape)
    left, right, top, bottom = borders(found)
    return found, [top, left, bottom, right]


def _windows(w: Writer, x: Out, found: Any, border: float) -> Out:
    """The pixels of all windows: (n, windows, places, channels). They are gathered by index, since runtimes have no
    convolution in float64. Places outside the image read one more pixel, put after the last, which holds `border`."""
    height, width, channels = found.image
    pixels = w.constant("pixels", np.array([0, height * width, channels]), "int64")
    flat = w.node("Reshape", [w.own(x), pixels])
    ends = w.constant("ends", np.array([0, 0, 0, 0, 1, 0]), "int64")
    flat = w.node("Pad", [flat, ends, _number(w, border)])
    down, across = (np.arange(n) * step for n, step in zip(found.places, found.strides, strict=True))
    r, q = (np.arange(k) for k in found.size)
    row = (down[:, None] + r - found.before[0])[:, None, :, None]
    column = (across[:, None] + q - found.before[1])[None, :, None, :]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    places = np.where(inside, row * width + column, height * width).reshape(found.count, -1)
    return w.node("Gather", [flat, w.constant("windows", places, "int64")], axis=1)


def conv(w: Writer, layer: L.Conv2D, values: list[Out]) -> Out:
    found, pads = _pads(layer, values[0].shape)
    shape = (*found.places, layer.filters)
    weight, channels = w.model.parameters[f"{layer.name}.weight"], found.image[2]
    if w.dtype == "float32":
        filters = weight.reshape(*found.size, channels, layer.filters).transpose(3, 2, 0, 1)
        inputs: list[Out | str] = [w.images(values[0]), w.parameter(f"{layer.name}.weight", filters)]
        if layer.use_bias:
            inputs.append(w.parameter(f"{layer.name}.bias"))
        out = w.node("Conv", inputs, shape, True, kernel_shape=found.size, strides=found.strides, pads=pads)
        return activate(w, out, layer.activation or "linear")
    seen = _windows(w, values[0], found, 0.0)
    sizes = w.constant("rows", np.array([0, found.count, found.values]), "int64")
    out = w.node("MatMul", [w.node("Reshape", [seen, sizes]), w.parameter(f"{layer.name}.weight")])
    if layer.use_bias:
        out = w.node("Add", [out, w.parameter(f"{layer.name}.bias")])
    out = w.node("Reshape", [out, w.constant("image", np.array([0, *shape]), "int64")], shape, False)
    return activate(w, out, layer.activation or "linear")


def max_pool(w: Writer, layer: L.MaxPool2D, values: list[Out]) -> Out:
    found, pads = _pads(layer, values[0].shape)
    shape = (*found.places, found.image[2])
    options = {"kernel_shape": found.size, "strides": found.strides, "pads": pads}
    return w.node("MaxPool", [w.images(values[0])], shape, True, **options)


def avg_pool(w: Writer, layer: L.AvgPool2D, values: list[Out]) -> Out:
    found, pads = _pads(layer, values[0].shape)
    shape = (*found.places, found.image[2])
    if w.dtype == "float32":
        options = {"kernel_shape": found.size, "strides": found.strides, "pads": pads, "count_include_pad": 0}
        return w.node("AveragePool", [w.images(values[0])], shape, True, **options)
    seen = _windows(w, values[0], found, 0.0)
    axes = w.constant("places", np.array([2]), "int64")
    sums = w.node("ReduceSum", [seen, axes], keepdims=0)
    means = w.node("Div", [sums, w.constant("counts", _covered(found)[:, np.newaxis])])
    return w.node("Reshape", [means, w.constant("image", np.array([0, *shape]), "int64")], shape, False)


def _covered(found: Any) -> np.ndarray:
    """The number of pixels of the image in each window."""
    sides = []
    for n, step, k, before, side in zip(
        found.places, found.strides, found.size, found.before, found.image, strict=False
    ):
        begin = np.arange(n) * step - before
        sides.append(np.minimum(begin + k, side) - np.maximum(begin, 0))
    return np.outer(*sides).ravel()


def global_pool(w: Writer, layer: L.Layer, values: list[Out]) -> Out:
    x = w.images(values[0])
    return w.node("ReduceMean", [x], (x.shape[-1],), False, axes=[2, 3], keepdims=0)


def embedding(w: Writer, layer: L.Embedding, values: list[Out]) -> Out:
    codes = w.node("Cast", [values[0]], to=w.kinds["int64"])
    columns = values[0].shape[0]
    if not isinstance(layer.categories, int):
        first = np.cumsum([0, *layer.categories[:-1]])
        codes = w.node("Add", [codes, w.constant("first", first, "int64")])
    vectors = w.node("Gather", [w.parameter(f"{layer.name}.weight"), codes], (columns, layer.width), axis=0)
    return w.node("Flatten", [vectors], (columns * layer.width,), axis=1)


def add(w: Writer, layer: L.Add, values: list[Out]) -> Out:
    first = all(value.first for value in values)
    values = values if first else [w.own(value) for value in values]
    return activate(w, w.node("Sum", values), layer.activation or "linear")


def concatenate(w: Writer, layer: L.Concatenate, values: list[Out]) -> Out:
    return w.side_by_side(values)


def function(w: Writer, layer: L.Function, values: list[Out]) -> Out:
    raise ValueError(
        f"layer {layer.name!r}: got a Function, which is written in Python for NumPy, expected layers that ONNX has too"
    )


TABLE: dict[type[L.Layer], Callable[[Writer, Any, list[Out]], Out]] = {
    L.Activation: activation,
    L.Add: add,
    L.AvgPool2D: avg_pool,
    L.BatchNorm: batch_norm,
    L.Concatenate: concatenate,
    L.Conv2D: conv,
    L.Dense: dense,
    L.Dropout: dropout,
    L.Embedding: embedding,
    L.Flatten: flatten,
    L.Function: function,
    L.GaussianNoise: nothing,
    L.GlobalAvgPool2D: global_pool,
    L.LayerNorm: layer_norm,
    L.MaxPool2D: max_pool,
    L.Standardize: standardize,
}


def of(layer: L.Layer) -> Callable[[Writer, Any, list[Out]], Out]:
    """The function of a layer, or of the one that it derives from."""
    for kind in type(layer).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    raise TypeError(f"layer {layer.name!r}: got {type(layer).__name__}, expected a layer of fastreg")
