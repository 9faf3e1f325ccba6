"""Modules of PyTorch, each as the layers that it is: what `plan.py` says, the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastreg import layers as L
from fastreg.common import names
from fastreg.exchange import activations, forms
from fastreg.exchange.forms import Flow, Form, Shape
from fastreg.exchange.states import array_of
from fastreg.program.images import window

LEAST_THRESHOLD = 15.0  # of a Softplus: above it z and log(1 + e^z) are the same to 3e-7
Border = tuple[int, int, int, int]  # left, right, top, bottom
NO_BORDER: Border = (0, 0, 0, 0)
OWN_HOME = "fastreg.exchange.torch_modules"


@dataclass(eq=False)
class Made:
    """A layer that a module became.

    kind      the class of the layer
    options   what it is made with
    arrays    its parameters
    path      of the module
    tied      the tensor that is its weight, if that of another layer is too
    """

    kind: type[L.Layer]
    options: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    path: str = ""
    tied: Any = None


@dataclass(eq=False)
class Known:
    """What is known of a value of a module.

    flow     how it lies. `flow.shape` is that of the model
    layers   that make it, one after the other, from `sources`
    sources  the values that the first layer reads
    torch    the shape of a sample in the module, if that is not the one of the flow: the value is flat here already,
    and
             a Flatten follows there
    border   zeros or -inf around an image, and which of them. The next layer takes them over
    columns  of the table, if it is an input that reads one
    """

    flow: Flow
    layers: list[Made] = field(default_factory=list)
    sources: tuple[int, ...] = ()
    torch: Shape | None = None
    border: tuple[Border, float] | None = None
    columns: tuple[int, ...] | None = None

    @property
    def torch_shape(self) -> Shape:
        """The shape of a sample in the module."""
        return self.flow.torch_shape if self.torch is None else self.torch


@dataclass(frozen=True, eq=False)
class Use:
    """A module that is called on a value.

    flattened   whether a Flatten follows, with nothing before it that depends on the shape
    columns     what a view says about the number of columns
    owners      tensors that are the weight of a layer before, by their ids
    """

    module: Any
    path: str
    value: Known
    flattened: bool
    columns: tuple[int, ...]
    owners: dict[int, tuple[Any, str, Flow]]

    @property
    def flow(self) -> Flow:
        """The value."""
        return self.value.flow

    def refuse(self, why: str) -> ValueError:
        """The error that it cannot be converted."""
        return ValueError(f"module {self.path!r}: got {shown(self.module)}, {why}")

    def array(self, name: str, form: Form) -> np.ndarray:
        """A parameter or buffer as that of a layer."""
        tensor = array_of(f"{self.path}.{name}", getattr(self.module, name))
        if tensor.shape != form.tensor_shape:
            raise self.refuse(
                f"whose {name} has shape {tensor.shape}, on samples of shape {self.value.torch_shape}, expected "
                f"{form.tensor_shape}; is input_shape right?"
            )
        return form.back(tensor)

    def is_trained(self) -> bool:
        """Whether its parameters are trained. A layer here is frozen as a whole."""
        flags = {p.requires_grad for p in self.module.parameters(recurse=False)}
        if len(flags) == 2:
            raise self.refuse(
                "of which one parameter is frozen, expected all or none: fastreg freezes layers as a whole"
            )
        return flags != {False}

    def one(self, *layers: Made, flow: Flow | None = None, torch: Shape | None = None) -> Known:
        """The value after layers that leave its shape as it is, unless a flow is given."""
        return Known(
            self.flow if flow is None else flow, list(layers), torch=self.value.torch if flow is None else torch
        )


def shown(module: Any) -> str:
    """A module in one short line."""
    line = " ".join(str(module).split())
    return line if len(line) <= 80 else f"{line[:77]}..."


def kind_of(module: Any) -> str | None:
    """The class in the table that a module is, or derives from without another forward function."""
    for kind in type(module).__mro__:
        if kind.__name__ in TABLE and kind.__module__.startswith(("torch.nn.", OWN_HOME)):
            return kind.__name__ if type(module).forward is getattr(kind, "forward", None) else None
    return None


ENDS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid", "Exp": "exp", "Unscale": None}


def unknown(module: Any, path: str) -> ValueError:
    """The error about a module that has no layer."""
    return ValueError(f"module {path!r}: got {shown(module)}, which fastreg has no layer for{nearest(module)}")


def nearest(module: Any) -> str:
    """The end of an error about a module that has no layer: what is near."""
    kind = type(module).__name__
    for pattern, told in NEAREST.items():
        if kind.startswith(pattern):
            return f"; {told}"
    told = names.advice("activation", kind, activations.MODULES)
    return told or f", expected one of {', '.join(name for name in TABLE if name not in _OWN)}"


NEAREST = {
    "Softmax": "it is taken as the last one of a head alone, along dim=1",
    "LogSoftmax": "it is taken as the last one of a head alone, along dim=1",
    "Exp": "it is taken as the last one of a head alone",
    "GroupNorm": "the nearest is LayerNorm",
    "InstanceNorm": "the nearest is BatchNorm2d or LayerNorm",
    "RMSNorm": "the nearest is LayerNorm",
    "BatchNorm3d": "the nearest is BatchNorm2d",
    "Conv1d": "the nearest is Conv2d with a kernel of (1, k)",
    "Conv3d": "the nearest is Conv2d",
    "ConvTranspose": "the nearest is Conv2d",
    "Dropout1d": "the nearest is Dropout",
    "Dropout2d": "the nearest is Dropout",
    "AlphaDropout": "the nearest is Dropout",
    "FeatureAlphaDropout": "the nearest is Dropout",
    "AdaptiveMaxPool2d": "the nearest is MaxPool2d",
    "LPPool2d": "the nearest is AvgPool2d",
    "Bilinear": "the nearest is Linear",
    "EmbeddingBag": "the nearest is Embedding and Flatten",
    "ReflectionPad2d": "the nearest is Conv2d(padding=...)",
    "ReplicationPad2d": "the nearest is Conv2d(padding=...)",
    "Softmin": "the nearest is Softmax",
}


def check(use: Use) -> None:
    """Refuses what makes a module compute something else than its class."""
    module = use.module
    if hasattr(module, "has_uninitialized_params") and module.has_uninitialized_params():
        raise use.refuse("whose parameters have no shapes yet, expected a call of the module on data before")
    if getattr(module, "parametrizations", None):
        raise use.refuse("whose weight is computed, expected torch.nn.utils.parametrize.remove_parametrizations before")
    if module._forward_hooks or module._forward_pre_hooks:
        raise use.refuse("with hooks on its forward function, expected none")


# --- Modules ----------------------------------------------------------------------------------------------------------


def activation(use: Use) -> Known:
    kind = kind_of(use.module) or ""
    options = {name: getattr(use.module, name) for name in activations.options_of(kind)}
    name = activations.name_of(kind, options)
    if name is None:
        usual = dict(activations.MODULES.values())[kind]
        told = ", ".join(f"{key}={value!r}" for key, value in usual.items())
        raise use.refuse(f"expected {kind}({told}), the nearest that fastreg has")
    if kind == "Softplus" and use.module.threshold < LEAST_THRESHOLD:
        raise use.refuse(f"expected a threshold of at least {LEAST_THRESHOLD:g}, such as the usual 20")
    return use.one(Made(L.Activation, {"activation": name}))


def linear(use: Use) -> Known:
    module, flow = use.module, use.flow
    if len(flow.shape) != 1:
        raise use.refuse(f"on samples of shape {use.value.torch_shape}, expected an nn.Flatten() before it")
    if module.in_features != flow.size:
        raise use.refuse(f"on samples of {flow.size} columns, expected in_features; is input_shape right?")
    units = module.out_features
    form = forms.weight(flow, units)
    options: dict[str, Any] = {"units": units, "use_bias": module.bias is not None}
    made = Made(L.Dense, options)
    if module.bias is not None:
        made.arrays["bias"] = use.array("bias", forms.plain(units))
    owner = use.owners.get(id(module.weight))
    if owner is not None and owner[0] is not module:
        return tied(use, made, module.weight, False)
    options["trainable"] = use.is_trained()
    made.arrays["weight"] = use.array("weight", form)
    use.owners[id(module.weight)] = module, use.path, flow
    return Known(Flow((units,)), [made])


def tied(use: Use, made: Made, weight: Any, transposed: bool) -> Known:
    """A linear layer with the weight of one before it."""
    owner, path, flow = use.owners.get(id(weight), (None, "", use.flow))
    if type(owner).__name__ != "Linear":
        what = "of no layer before it" if owner is None else f"that {path!r}, a {type(owner).__name__}, has too"
        raise use.refuse(f"with a weight {what}, expected one of its own, or that of a Linear before it")
    if flow.order is not None or use.flow.order is not None:
        raise use.refuse(f"with the weight of {path!r} after a flattened image, expected a weight of its own")
    made.tied = weight
    made.options |= {"transposed": transposed}
    if use.module.bias is not None:
        made.options["trainable"] = use.module.bias.requires_grad
    return Known(Flow((made.options["units"],)), [made])


def tied_linear(use: Use) -> Known:
    module = use.module
    owner = module.tied[0]
    made = Made(L.Dense, {"use_bias": module.bias is not None})
    made.options["units"] = owner.in_features if module.transposed else owner.out_features
    if module.bias is not None:
        made.arrays["bias"] = use.array("bias", forms.plain(made.options["units"]))
    return tied(use, made, owner.weight, module.transposed)


def dropout(use: Use) -> Known:
    return use.one(Made(L.Dropout, {"rate": use.module.p}))


def other_dropout(use: Use) -> Known:
    module = use.module
    return use.one(Made(L.Dropout, {name: getattr(module, name) for name in ("keep_prob", "kind", "per", "rows")}))


def noise(use: Use) -> Known:
    return use.one(Made(L.GaussianNoise, {"std": use.module.std}))


def flatten(use: Use) -> Known:
    module, shape = use.module, use.value.torch_shape
    if module.start_dim != 1 or module.end_dim not in (-1, len(shape)):
        raise use.refuse("expected start_dim=1 and end_dim=-1: all dimensions of a sample")
    size = math.prod(shape)
    if use.columns and use.columns != (size,):
        raise use.refuse(f"of samples of shape {shape} to {use.columns[0]} columns, expected {size}")
    if use.value.torch is not None:  # it is flat already
        return Known(use.flow)
    return Known(use.flow.flat(), [Made(L.Flatten)])


def batch_norm(use: Use) -> Known:
    module, flow = use.module, use.flow
    kind = kind_of(module) or ""
    wanted = 3 if kind.endswith("2d") else 1
    if len(use.value.torch_shape) != wanted:
        told = "images" if wanted == 3 else "columns"
        raise use.refuse(f"on samples of shape {use.value.torch_shape}, expected {told}")
    if not module.track_running_stats or module.running_mean is None:
        raise use.refuse("expected track_running_stats=True: fastreg predicts by the running moments")
    if module.momentum is None:
        raise use.refuse("expected a number as momentum, such as the usual 0.1")
    channels = flow.shape[-1]
    form = Form((channels,), (channels,), (0,), flow.order)
    arrays = {"mean": use.array("running_mean", form), "var": use.array("running_var", form)}
    options: dict[str, Any] = {"momentum": module.momentum, "eps": module.eps}
    _scale_and_shift(use, form, options, arrays)
    if kind.startswith("Frozen"):
        options["trainable"] = False
        options.pop("lr_scale", None)
    return use.one(Made(L.BatchNorm, options, arrays))


def layer_norm(use: Use) -> Known:
    module, flow = use.module, use.flow
    shape = use.value.torch_shape
    if tuple(module.normalized_shape) != shape:
        raise use.refuse(f"on samples of shape {shape}, expected normalized_shape={shape}: all of a sample")
    options: dict[str, Any] = {"eps": module.eps}
    arrays: dict[str, np.ndarray] = {}
    _scale_and_shift(use, forms.each_value(flow), options, arrays)
    return use.one(Made(L.LayerNorm, options, arrays))


def _scale_and_shift(use: Use, form: Form, options: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """gamma and beta of a norm. One that is frozen at the value that does nothing is left out, since that is how
    `to_torch` writes it. A batch norm whose others are frozen still moves its moments, so its rate is 0."""
    frozen = set()
    for name, own, option, nothing in (("weight", "gamma", "scale", 1.0), ("bias", "beta", "shift", 0.0)):
        tensor = getattr(use.module, name, None)
        options[option] = False
        if tensor is None:
            continue
        array = use.array(name, form)
        fixed = not tensor.requires_grad
        if fixed and np.all(array == nothing) and not type(use.module).__name__.startswith("Frozen"):
            continue
        options[option] = True
        arrays[own] = array
        frozen.add(fixed)
    if len(frozen) == 2:
        raise use.refuse("of which one parameter is frozen, expected all or none: fastreg freezes layers as a whole")
    if frozen == {True}:
        options["lr_scale"] = 0.0


def standardize(use: Use) -> Known:
    form = forms.each_value(use.flow)
    arrays = {name: use.array(name, form) for name in ("mean", "scale")}
    known = {name: tuple(array.tolist()) for name, array in arrays.items()}
    return use.one(Made(L.Standardize, known, arrays))


def embedding(use: Use) -> Known:
    module, flow = use.module, use.flow
    if module.max_norm is not None:
        raise use.refuse("expected max_norm=None: PyTorch changes the vectors as it reads them")
    if module.padding_idx is not None:
        raise use.refuse("expected padding_idx=None: fastreg trains all vectors")
    if module.scale_grad_by_freq:
        raise use.refuse("expected scale_grad_by_freq=False")
    if len(flow.shape) != 1:
        raise use.refuse(f"on samples of shape {use.value.torch_shape}, expected columns of codes")
    if id(module.weight) in use.owners and use.owners[id(module.weight)][0] is not module:
        raise use.refuse("with the weight of another module, expected a weight of its own")
    use.owners[id(module.weight)] = module, use.path, flow
    rows, width = module.num_embeddings, module.embedding_dim
    arrays = {"weight": use.array("weight", forms.plain(rows, width))}
    made = Made(L.Embedding, {"categories": rows, "width": width, "trainable": use.is_trained()}, arrays)
    return Known(Flow((flow.size * width,)), [made], torch=(flow.size, width))


def column_embedding(use: Use) -> Known:
    module = use.module
    arrays = {"weight": use.array("weight", forms.plain(sum(module.categories), module.width))}
    options = {"categories": module.categories, "width": module.width, "trainable": use.is_trained()}
    return Known(Flow((len(module.categories) * module.width,)), [Made(L.Embedding, options, arrays)])


# --- Images -----------------------------------------------------------------------------------------------------------


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _image(use: Use) -> tuple[int, int, int]:
    """Height, width and channels."""
    if not use.flow.image:
        raise use.refuse(f"on samples of shape {use.value.torch_shape}, expected images; is input_shape right?")
    height, width, channels = (*use.flow.shape, 1)[:3]
    return height, width, channels


def pad(use: Use) -> Known:
    """A border, for the layer that follows."""
    image, border = _image(use), tuple(use.module.padding)
    value = float(getattr(use.module, "value", 0.0))
    if len(border) != 4 or min(border) < 0 or value not in (0.0, -math.inf):
        raise use.refuse("expected a border of zeros of at least 0, or of -inf before a MaxPool2d")
    return Known(Flow(image, image=True), border=((border[0], border[1], border[2], border[3]), value))


def _padding(use: Use, size: tuple[int, int], strides: tuple[int, int], own: Border, ceil: bool = False) -> str:
    """Which padding of fastreg gives the windows of a module with this border."""
    image = _image(use)
    on = f"on images of {image[0]} x {image[1]}"
    given = NO_BORDER if use.value.border is None else use.value.border[0]
    left, right, top, bottom = (a + b for a, b in zip(own, given, strict=True))
    places = []
    for side, k, step, before, after in zip(image, size, strides, (top, left), (bottom, right), strict=False):
        room = side + before + after - k
        if room < 0:
            raise use.refuse(f"{on}, which are smaller than its kernel")
        n = room // step + 1
        if ceil and room % step and n * step < side + before:  # a last window that reaches over the border
            n += 1
        places.append(n)
    for how in ("valid", "same"):
        found = window(image, size, strides, how)
        if found.places == tuple(places) and found.before == (top, left) and min(places) > 0:
            return how
    windows = _Windows(image, size, strides, tuple(places), (top, left))
    raise use.refuse(
        f"{on}, whose windows lie as neither padding='valid' nor padding='same' of fastreg has them, expected padding=0"
        f"{_same(use, windows)}{_with_zeros(use, windows)}"
    )


class _Windows(NamedTuple):
    """Windows that no padding of fastreg has: how many there are, and how far the first reaches over the border."""

    image: tuple[int, int, int]
    size: tuple[int, int]
    strides: tuple[int, int]
    places: tuple[int, ...]
    before: tuple[int, int]


def _same(use: Use, windows: _Windows) -> str:
    """How PyTorch writes what padding="same" of fastreg is."""
    from fastreg.exchange.plan import borders

    border = left, right, top, bottom = borders(window(windows.image, windows.size, windows.strides, "same"))
    kind = kind_of(use.module)
    if (left, top) == (right, bottom):
        counts = ", count_include_pad=False" if kind == "AvgPool2d" and (left or top) else ""
        return f", or padding={(top, left)}{counts}" if left or top else ""
    if kind == "AvgPool2d":
        return ""
    before = f"nn.ConstantPad2d({border}, -math.inf)" if kind == "MaxPool2d" else f"nn.ZeroPad2d({border})"
    return f" (with {before} before it, that is padding='same')"


def _with_zeros(use: Use, windows: _Windows) -> str:
    """A larger kernel that computes the same with zeros in its last rows and columns, where it has padding="same"."""
    if kind_of(use.module) != "Conv2d":
        return ""
    for more in ((0, 1), (1, 0), (1, 1)):
        size = windows.size[0] + more[0], windows.size[1] + more[1]
        found = window(windows.image, size, windows.strides, "same")
        if found.places == windows.places and found.before == windows.before:
            what = " and ".join(word for word, one in zip(("row", "column"), more, strict=True) if one)
            return f"; kernel_size={size} with zeros in the last {what} of its weight gives the same values"
    return ""


def conv(use: Use) -> Known:
    module = use.module
    height, width, channels = _image(use)
    if module.groups != 1 or _pair(module.dilation) != (1, 1):
        raise use.refuse("expected groups=1 and dilation=1")
    if module.padding_mode != "zeros" or (use.value.border is not None and use.value.border[1] != 0):
        raise use.refuse("expected a border of zeros")
    if module.in_channels != channels:
        raise use.refuse(f"on images of {channels} channels, expected in_channels; is input_shape right?")
    size, strides = _pair(module.kernel_size), _pair(module.stride)
    if module.padding == "same":
        (down, across) = (k - 1 for k in size)
        own: Border = (across // 2, across - across // 2, down // 2, down - down // 2)
    else:
        down, across = (0, 0) if module.padding == "valid" else _pair(module.padding)
        own = (across, across, down, down)
    how = _padding(use, size, strides, own)
    units = module.out_channels
    arrays = {"weight": use.array("weight", forms.filters(size, channels, units))}
    if module.bias is not None:
        arrays["bias"] = use.array("bias", forms.plain(units))
    options = {
        "filters": units,
        "kernel_size": size,
        "strides": strides,
        "padding": how,
        "use_bias": module.bias is not None,
        "trainable": use.is_trained(),
    }
    places = window((height, width, channels), size, strides, how).places
    return Known(Flow((*places, units), image=True), [Made(L.Conv2D, options, arrays)])


def _pool(use: Use, kind: type[L.Layer], size: Any, strides: Any, own: Border, ceil: bool = False) -> Known:
    image = _image(use)
    size, strides = _pair(size), _pair(strides)
    how = _padding(use, size, strides, own, ceil)
    places = window(image, size, strides, how).places
    made = Made(kind, {"pool_size": size, "strides": strides, "padding": how})
    return Known(Flow((*places, image[2]), image=True), [made])


def max_pool(use: Use) -> Known:
    module = use.module
    if _pair(module.dilation) != (1, 1) or module.return_indices:
        raise use.refuse("expected dilation=1 and return_indices=False")
    if use.value.border is not None and use.value.border[1] == 0:
        raise use.refuse(
            "on an image with a border of zeros, expected nn.ConstantPad2d(..., -inf): the border never counts"
        )
    down, across = _pair(module.padding)
    own = across, across, down, down
    return _pool(use, L.MaxPool2D, module.kernel_size, module.stride, own, module.ceil_mode)


def avg_pool(use: Use) -> Known:
    module = use.module
    down, across = _pair(module.padding)
    if module.divisor_override is not None:
        raise use.refuse("expected divisor_override=None")
    if use.value.border is not None or ((down or across) and module.count_include_pad):
        raise use.refuse("expected count_include_pad=False: the border never counts")
    own = across, across, down, down
    return _pool(use, L.AvgPool2D, module.kernel_size, module.stride, own, module.ceil_mode)


def bordered_avg_pool(use: Use) -> Known:
    return _pool(use, L.AvgPool2D, use.module.kernel_size, use.module.stride, use.module.border)


def adaptive_avg_pool(use: Use) -> Known:
    height, width, channels = _image(use)
    wanted = use.module.output_size
    given = (wanted, wanted) if not isinstance(wanted, (tuple, list)) else wanted
    down, across = (side if n is None else int(n) for n, side in zip(given, (height, width), strict=True))
    if height % down or width % across:
        raise use.refuse(f"on images of {height} x {width}, expected sizes that divide these, or 1")
    if (down, across) == (1, 1) and use.flattened:
        return Known(Flow((channels,)), [Made(L.GlobalAvgPool2D)], torch=(channels, 1, 1))
    return _pool(use, L.AvgPool2D, (height // down, width // across), (height // down, width // across), NO_BORDER)


TABLE: dict[str, Callable[[Use], Known]] = {
    "Linear": linear,
    **dict.fromkeys(sorted(activations.CLASSES), activation),
    "Dropout": dropout,
    "Flatten": flatten,
    "BatchNorm1d": batch_norm,
    "BatchNorm2d": batch_norm,
    "LayerNorm": layer_norm,
    "Conv2d": conv,
    "MaxPool2d": max_pool,
    "AvgPool2d": avg_pool,
    "AdaptiveAvgPool2d": adaptive_avg_pool,
    "Embedding": embedding,
    "ZeroPad2d": pad,
    "ConstantPad2d": pad,
    "Standardize": standardize,
    "GaussianNoise": noise,
    "OtherDropout": other_dropout,
    "TiedLinear": tied_linear,
    "ColumnEmbedding": column_embedding,
    "BorderedAvgPool2d": bordered_avg_pool,
    "FrozenBatchNorm1d": batch_norm,
    "FrozenBatchNorm2d": batch_norm,
}
_OWN = {
    "Standardize",
    "GaussianNoise",
    "OtherDropout",
    "TiedLinear",
    "ColumnEmbedding",
    "BorderedAvgPool2d",
    "FrozenBatchNorm1d",
    "FrozenBatchNorm2d",
}
PASSING = activations.CLASSES | {"Dropout", "OtherDropout", "GaussianNoise"}  # the same for samples of any shape
