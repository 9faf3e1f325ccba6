"""The modules of PyTorch that a model is, and the tensors of each: a plan, made without PyTorch.

`to_torch` builds its modules, `torch_state` and `load_torch_state` read and write its tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastreg import layers as L
from fastreg.common import checking
from fastreg.common.transforms import TRANSFORMS
from fastreg.exchange import activations, forms
from fastreg.exchange.forms import Flow, Form
from fastreg.model.graph import Network
from fastreg.model.model import Model
from fastreg.program.images import Window


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a module.

    own     the parameter of the model that it is. None for one that has a known value
    form    how the parameter lies in it
    value   the known value, such as 1 for the weight of a norm without gamma; one number, or one for each element
    """

    own: str | None
    form: Form
    value: float | tuple[float, ...] = 0.0


@dataclass(frozen=True, eq=False)
class Part:
    """A module.

    kind       its class in `torch.nn`, or in `fastreg.exchange.torch_modules`
    options    what it is made with
    tensors    its parameters and buffers by name
    frozen     whether training leaves its parameters as they are
    tied       the layer whose weight it uses
    suffix     what its name ends with, if the layer has a name and several modules
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    frozen: bool = False
    tied: str | None = None
    suffix: str = ""


@dataclass(frozen=True, eq=False)
class Step:
    """A node of the graph: the names of its modules, one after the other, and the numbers of the values it reads.
    Without modules it joins values: "add" or "concatenate"."""

    modules: tuple[str, ...]
    inputs: tuple[int, ...]
    joins: str | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """
    parts     the modules by name
    steps     of the graph
    heads     the numbers of the values that are outputs, by name
    after     the modules behind each head, which make predictions of its values
    flows     the inputs of the model, as the modules take them
    chain     whether the modules are in a row
    """

    parts: dict[str, Part]
    steps: list[Step]
    heads: dict[str, int]
    after: dict[str, tuple[str, ...]]
    flows: list[Flow]
    chain: bool

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by their key in a state dictionary."""
        return {f"{name}.{leaf}": tensor for name, part in self.parts.items() for leaf, tensor in part.tensors.items()}


class Place:
    """What a layer is converted from: the layer, and the values before and after it."""

    def __init__(self, layer: L.Layer, flows: list[Flow], shape: forms.Shape, what: str):
        self.layer, self.flows, self.shape, self.what = layer, flows, shape, what

    @property
    def flow(self) -> Flow:
        """The only value before the layer."""
        return self.flows[0]

    def refuse(self, why: str) -> ValueError:
        """The error that the layer cannot be converted."""
        return ValueError(f"layer {self.layer.name!r}: got {self.what}, {why}")

    def own(self, key: str) -> str:
        """The name of a parameter of the layer."""
        return f"{self.layer.name}.{key}"

    def tensor(self, key: str, form: Form) -> Tensor:
        """The tensor of a parameter of the layer."""
        return Tensor(self.own(key), form)


Made = tuple[list[Part], Flow]


def checked(model: Any) -> Model:
    """The model that is to be converted."""
    if not isinstance(model, Model):
        told = ""
        for name in ("model", "model_"):  # of a trainer, of an estimator
            if isinstance(getattr(model, name, None), Model):
                told = f"; its .{name} is one"
        if isinstance(getattr(model, "steps", None), list):  # a pipeline of scikit-learn
            told = "; its [-1].model_ is one, which takes what the steps before it give"
        raise TypeError(f"model: got {checking.shown(model)}, expected a Sequential or a Model{told}")
    return model


def plan_of(model: Model, *, logits: bool = True, encoded: bool = True, who: str = "torch_state") -> Plan:
    """The plan of a model. `logits` leaves out what `predict` does to the outputs. `encoded`: the modules take what the
    schema makes of a table."""
    if not encoded and not model.schema.is_plain:
        raise ValueError(
            f"{who}: got a model whose schema encodes the columns of a table, which PyTorch cannot, expected "
            f"encoded=True; the module then takes model.schema.inputs('X', X)"
        )
    network = model.network(model.known_shape)
    return _Planner(model, network).plan(logits)


class _Planner:
    """Goes through the graph of a model once."""

    def __init__(self, model: Model, network: Network):
        self.model, self.network = model, network
        self.graph, self.shapes = network.graph, network.shapes()
        self.chain = self.graph.is_chain
        self.parts: dict[str, Part] = {}
        self.count = 0  # modules so far: their positions

    def plan(self, logits: bool) -> Plan:
        images = _images(self.network, self.shapes)
        first = len(self.graph.inputs)
        flows = [Flow(shape, image) for shape, image in zip(self.shapes[:first], images, strict=False)]
        steps: list[Step] = []
        known: dict[int, tuple[tuple[str, ...], Flow]] = {}  # what the first use of a layer made
        for number, node in enumerate(self.graph.nodes):
            layer = self.network.layers[node.layer]
            place = Place(layer, [flows[value] for value in node.inputs], self.shapes[first + number], repr(layer))
            if isinstance(layer, L.Standardize):
                place.what = "Standardize"
            parts, flow = _of(layer)(place)
            joins = JOINS.get(type(layer))
            if node.layer not in known:
                known[node.layer] = self._named(node.layer, layer, parts), place.flow
            names, before = known[node.layer]
            if not before.same_order(place.flow):
                raise place.refuse("used on an image once and on columns once, expected columns in one order")
            steps.append(Step(names, node.inputs, joins))
            flows.append(flow)
        self._check_ties(known)
        after = {head: () if logits else self._after(head, flows[value]) for head, value in self.graph.outputs.items()}
        for head, value in self.graph.outputs.items():
            if flows[value].order is not None:
                raise ValueError(
                    f"head {head!r}: got the columns of a flattened image as outputs, which PyTorch has in another "
                    f"order, expected a Dense after the Flatten"
                )
        return Plan(self.parts, steps, dict(self.graph.outputs), after, flows[:first], self.chain)

    def _named(self, index: int, layer: L.Layer, parts: list[Part]) -> tuple[str, ...]:
        """Adds the modules of a layer. The one with the tensors has the name of the layer, if that was given. In a row
        of modules all others have their positions, as in an `nn.Sequential`."""
        given = layer.name if layer.name != str(index) or not self.chain else None
        main = max(range(len(parts)), key=lambda i: bool(parts[i].tensors), default=0)
        names = []
        for place, part in enumerate(parts):
            name = str(self.count)
            if given is not None:
                name = given if place == main else f"{given}_{part.suffix or place}"
            if name in self.parts:
                raise ValueError(
                    f"layer {layer.name!r}: got the name {name!r}, which another module has, expected another name"
                )
            self.parts[name] = part
            self.count += 1
            names.append(name)
        return tuple(names)

    def _check_ties(self, known: dict[int, tuple[tuple[str, ...], Flow]]) -> None:
        """Ties share one tensor, so its rows cannot be in two orders."""
        by_name = {layer.name: index for index, layer in enumerate(self.network.layers)}
        for index, layer in enumerate(self.network.layers):
            if not isinstance(layer, L.Dense) or not layer.tied_to:
                continue
            if any(known[own][1].order is not None for own in (index, by_name[layer.tied_to])):
                raise ValueError(
                    f"layer {layer.name!r}: got a weight tied to that of {layer.tied_to!r} after a flattened image, "
                    f"whose columns PyTorch has in another order, expected a weight of its own"
                )

    def _after(self, head: str, flow: Flow) -> tuple[str, ...]:
        """The modules that make predictions of the values of a head."""
        function = TRANSFORMS[self.model.transforms[head]].function
        target = self.model.targets[head]
        if function == "softmax" and flow.image:
            raise ValueError(
                f"head {head!r}: got the softmax of an image, expected a Flatten before it, or logits=True"
            )
        parts = []
        if function != "linear":
            kind, options = TRANSFORM_MODULES[function]
            parts.append(Part(kind, options, suffix=function))
        if target.mean is not None and target.scale is not None:
            form = forms.plain(len(target.mean))
            tensors = {"mean": Tensor(None, form, target.mean), "scale": Tensor(None, form, target.scale)}
            parts.append(Part("Unscale", {"outputs": len(target.mean)}, tensors, suffix="unscale"))
        names = []
        for part in parts:
            name = str(self.count) if self.chain else f"{head}_{part.suffix}"
            if name in self.parts:
                raise ValueError(f"layer {name!r}: got the name of another module, expected another name")
            self.parts[name] = part
            self.count += 1
            names.append(name)
        return tuple(names)


TRANSFORM_MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("Softmax", {"dim": 1}),
    "sigmoid": ("Sigmoid", {}),
    "exp": ("Exp", {}),
}


def _images(network: Network, shapes: list[forms.Shape]) -> list[bool]:
    """Which values are images: those of three dimensions, and those of two that a layer of images reads."""
    images = [len(shape) == 3 for shape in shapes]
    first = len(network.graph.inputs)
    for number in reversed(range(len(network.graph.nodes))):
        node = network.graph.nodes[number]
        layer, after = network.layers[node.layer], first + number
        for value in node.inputs:
            if isinstance(layer, (L.Conv2D, L.Pooling)):
                images[value] = True
            elif shapes[value] == shapes[after] and len(shapes[value]) == 2:
                images[value] |= images[after]
    for number, node in enumerate(network.graph.nodes):  # the others that are added to one of them
        after = first + number
        if len(shapes[after]) == 2:
            images[after] |= any(images[value] for value in node.inputs)
    return images


# --- Layers, each as the modules that it is ---------------------------------------------------------------------------


def _activation(name: str | None) -> list[Part]:
    if name in (None, "linear"):
        return []
    kind, options = activations.MODULES[str(name)]
    return [Part(kind, options, suffix=str(name))]


def dense(place: Place) -> Made:
    layer, flow = place.layer, place.flow
    assert isinstance(layer, L.Dense)
    form, units = forms.weight(flow, layer.units), layer.units
    bias = {"bias": place.tensor("bias", forms.plain(units))} if layer.use_bias else {}
    if layer.tied_to:
        options = {"units": units, "bias": layer.use_bias, "transposed": layer.transposed}
        part = Part("TiedLinear", options, bias, not layer.trainable, tied=layer.tied_to)
    else:
        options = {"in_features": flow.size, "out_features": units, "bias": layer.use_bias}
        part = Part("Linear", options, {"weight": place.tensor("weight", form), **bias}, not layer.trainable)
    return [part, *_activation(layer.activation)], Flow((units,))


def dropout(place: Place) -> Made:
    layer = place.layer
    assert isinstance(layer, L.Dropout)
    if (layer.kind, layer.per) == ("inverted", "element"):
        return [Part("Dropout", {"p": round(layer.rate, 12)})], place.flow  # 1 - 0.8 as 0.2
    options = {"keep_prob": layer.keep_prob, "kind": layer.kind, "per": layer.per}
    if layer.rows is not None:
        options["rows"] = layer.rows
    return [Part("OtherDropout", options)], place.flow


def noise(place: Place) -> Made:
    return [Part("GaussianNoise", {"std": place.layer.option("std")})], place.flow


def flatten(place: Place) -> Made:
    return [Part("Flatten")], place.flow.flat()


def activation(place: Place) -> Made:
    name = place.layer.option("activation")
    return _activation(name) or [Part("Identity")], place.flow


def _norm(place: Place, form: Form) -> dict[str, Tensor]:
    """weight and bias. PyTorch has both or none, so what is missing has a known value."""
    layer = place.layer
    assert isinstance(layer, L.Norm)
    weight = place.tensor("gamma", form) if layer.scale else Tensor(None, form, 1.0)
    bias = place.tensor("beta", form) if layer.shift else Tensor(None, form, 0.0)
    return {"weight": weight, "bias": bias} if layer.trained else {}


def batch_norm(place: Place) -> Made:
    layer, flow = place.layer, place.flow
    assert isinstance(layer, L.BatchNorm)
    if len(flow.shape) == 2:
        raise place.refuse(
            f"on samples of shape {flow.shape}, which PyTorch normalizes along another dimension, expected a "
            f"Flatten() before it"
        )
    channels = flow.shape[-1]
    form = Form((channels,), (channels,), (0,), flow.order)
    tensors = _norm(place, form)
    for key, own in (("running_mean", "mean"), ("running_var", "var")):
        tensors[key] = place.tensor(own, form)
    tensors["num_batches_tracked"] = Tensor(None, forms.plain(), 0.0)
    kind = "BatchNorm2d" if flow.image else "BatchNorm1d"
    options = {
        "num_features": channels,
        "eps": layer.eps,
        "momentum": layer.momentum,
        "affine": bool(layer.trained),
    }
    kind = kind if layer.trainable else f"Frozen{kind}"
    return [Part(kind, options, tensors, not layer.trainable), *_activation(layer.activation)], flow


def layer_norm(place: Place) -> Made:
    layer, flow = place.layer, place.flow
    assert isinstance(layer, L.LayerNorm)
    tensors = _norm(place, forms.each_value(flow))
    options: dict[str, Any] = {
        "normalized_shape": flow.torch_shape,
        "eps": layer.eps,
        "elementwise_affine": bool(layer.trained),
    }
    if tensors and not layer.shift:  # the one that PyTorch can leave out
        options["bias"] = False
        del tensors["bias"]
    part = Part("LayerNorm", options, tensors, not layer.trainable)
    return [part, *_activation(layer.activation)], flow


def standardize(place: Place) -> Made:
    form = forms.each_value(place.flow)
    tensors = {key: place.tensor(key, form) for key in ("mean", "scale")}
    return [Part("Standardize", {"shape": form.tensor_shape}, tensors)], place.flow


def borders(found: Window) -> tuple[int, int, int, int]:
    """The lines and pixels of the border that the windows reach over: left, right, top, bottom."""
    sides = []
    for n, step, k, side, before in zip(
        found.places, found.strides, found.size, found.image, found.before, strict=False
    ):
        sides.append((before, max(0, (n - 1) * step + k - side - before)))
    (top, bottom), (left, right) = sides
    return left, right, top, bottom


def even(border: tuple[int, int, int, int]) -> bool:
    """Whether the border is as wide on both sides, as PyTorch's padding is."""
    left, right, top, bottom = border
    return left == right and top == bottom


def conv(place: Place) -> Made:
    layer, flow = place.layer, place.flow
    assert isinstance(layer, L.Conv2D)
    found = layer.window(flow.shape)
    border = borders(found)
    channels = found.image[2]
    parts = [] if even(border) else [Part("ZeroPad2d", {"padding": border}, suffix="pad")]
    options = {
        "in_channels": channels,
        "out_channels": layer.filters,
        "kernel_size": found.size,
        "stride": found.strides,
        "padding": (border[2], border[0]) if even(border) else 0,
        "bias": layer.use_bias,
    }
    tensors = {"weight": place.tensor("weight", forms.filters(found.size, channels, layer.filters))}
    if layer.use_bias:
        tensors["bias"] = place.tensor("bias", forms.plain(layer.filters))
    parts.append(Part("Conv2d", options, tensors, not layer.trainable))
    return [*parts, *_activation(layer.activation)], Flow(place.shape, image=True)


def pool(place: Place) -> Made:
    layer, flow = place.layer, place.flow
    assert isinstance(layer, (L.MaxPool2D, L.AvgPool2D))
    found = layer.window(flow.shape)
    border = borders(found)
    after = Flow(place.shape, image=True)
    options: dict[str, Any] = {"kernel_size": found.size, "stride": found.strides}
    if even(border):
        options["padding"] = border[2], border[0]
        if isinstance(layer, L.MaxPool2D):
            return [Part("MaxPool2d", options)], after
        return [Part("AvgPool2d", options | {"count_include_pad": False})], after
    if isinstance(layer, L.MaxPool2D):
        pad = Part("ConstantPad2d", {"padding": border, "value": -float("inf")}, suffix="pad")
        return [pad, Part("MaxPool2d", options)], after
    return [Part("BorderedAvgPool2d", options | {"border": border})], after


def global_pool(place: Place) -> Made:
    return [Part("AdaptiveAvgPool2d", {"output_size": 1}), Part("Flatten", suffix="flat")], Flow(place.shape)


def embedding(place: Place) -> Made:
    layer, flow = place.layer, place.flow
    assert isinstance(layer, L.Embedding)
    rows = layer.codes(flow.size).rows
    tensors = {"weight": place.tensor("weight", forms.plain(rows, layer.width))}
    frozen = not layer.trainable
    if isinstance(layer.categories, int):
        options: dict[str, Any] = {"num_embeddings": rows, "embedding_dim": layer.width}
        parts = [Part("Embedding", options, tensors, frozen), Part("Flatten", suffix="flat")]
    else:
        options = {"categories": layer.categories, "width": layer.width}
        parts = [Part("ColumnEmbedding", options, tensors, frozen)]
    return parts, Flow(place.shape)


def add(place: Place) -> Made:
    if not all(flow.same_order(place.flow) for flow in place.flows):
        raise place.refuse("which adds a flattened image to other columns: PyTorch has these in another order")
    return _activation(place.layer.option("activation")), place.flow


def concatenate(place: Place) -> Made:
    return [], forms.joined(place.flows)


def function(place: Place) -> Made:
    raise place.refuse("which is written in Python for NumPy, expected layers that PyTorch has too")


TABLE: dict[type[L.Layer], Callable[[Place], Made]] = {
    L.Activation: activation,
    L.Add: add,
    L.BatchNorm: batch_norm,
    L.Concatenate: concatenate,
    L.Conv2D: conv,
    L.Dense: dense,
    L.Dropout: dropout,
    L.Embedding: embedding,
    L.Flatten: flatten,
    L.Function: function,
    L.GaussianNoise: noise,
    L.GlobalAvgPool2D: global_pool,
    L.LayerNorm: layer_norm,
    L.AvgPool2D: pool,
    L.MaxPool2D: pool,
    L.Standardize: standardize,
}
JOINS: dict[type[L.Layer], str] = {L.Add: "add", L.Concatenate: "concatenate"}


def _of(layer: L.Layer) -> Callable[[Place], Made]:
    """The function of a layer, or of the one that it derives from."""
    for kind in type(layer).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    raise TypeError(f"layer {layer.name!r}: got {type(layer).__name__}, expected a layer of fastreg")
