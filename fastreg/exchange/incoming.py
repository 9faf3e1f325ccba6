"""from_torch: a module of PyTorch as a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastreg import layers as L
from fastreg.common import checking
from fastreg.common.transforms import TRANSFORMS
from fastreg.common.understood import understood
from fastreg.exchange import forms
from fastreg.exchange import torch_layers as T
from fastreg.exchange.forms import Flow, Shape
from fastreg.exchange.needs import package
from fastreg.exchange.states import array_of
from fastreg.exchange.torch_layers import Known, Made, Use
from fastreg.intake.schema import Target
from fastreg.losses import losses
from fastreg.losses.losses import Loss
from fastreg.model.model import Model
from fastreg.model.sequential import Sequential
from fastreg.model.tasks import of_heads, unwrapped

FUSING = (L.Dense, L.Conv2D, L.BatchNorm, L.LayerNorm, L.Add)  # layers with an activation of their own
WRAPPERS = ("OptimizedModule", "DataParallel", "DistributedDataParallel")


@understood
def from_torch(module: Any, input_shape: Any = None, *, loss: Any = None, dtype: str | None = None) -> Model:
    """A module of PyTorch as a model, with copies of its parameters.

    It takes an `nn.Sequential`, nested ones too, and any module whose forward function is made of layers that fastreg
    has, activations, flattening, sums and `torch.cat`: `torch.fx` traces it. What cannot be converted is refused, and
    the error names it.

    Parameters
    ----------
    module : torch.nn.Module
        Wrappers of `torch.compile` and `nn.DataParallel` are taken off. Arguments of its forward function that have a
        default have this default.
    input_shape : int or tuple of int, or dict of them by argument
        The shape of a sample as the module takes it: images are (channels, height, width). Not needed where the first
        layer tells it, as an `nn.Linear` does.
    loss : str or Loss, or dict of them by head
        What the module was trained for: "softmax_cross_entropy" for `nn.CrossEntropyLoss`. Then the model keeps this
        loss, and predicts probabilities under a cross-entropy. None: `model.predict` gives what the module gives. A
        last `nn.Softmax` or `nn.Sigmoid` then means a cross-entropy; loss="mse" keeps a last `nn.Sigmoid` as an
        activation. After a last `nn.LogSoftmax` predictions are the probabilities, not their logarithms.
    dtype : str
        "float32" or "float64". None for that of the module; half precision becomes float32.

    Returns
    -------
    Sequential or Model
        Built, with the same outputs as the module in eval mode. Samples that are images have the channels last, (n,
        height, width, channels), as everywhere in fastreg.

    Raises
    ------
    ValueError, TypeError
        Something cannot be converted.
    ImportError
        PyTorch is missing.

    Examples
    --------
    >>> import numpy as np, fastreg as fr, torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> model = fr.from_torch(module)
    >>> [layer.units for layer in model.layers], model.layers[0].activation
    ([8, 3], 'relu')
    >>> X = np.ones((2, 4), np.float32)
    >>> np.allclose(model.predict(X), module(torch.tensor(X)).detach(), atol=1e-6)
    True
    """
    torch = package("from_torch", "torch")
    tracing = package("from_torch", "fastreg.exchange.tracing")
    if not isinstance(module, torch.nn.Module):
        told = "; fr.load_torch_state(model, state) takes a state dictionary" if isinstance(module, Mapping) else ""
        raise TypeError(f"module: got {checking.shown(module)}, expected a torch.nn.Module{told}")
    while type(module).__name__ in WRAPPERS:
        module = module._orig_mod if hasattr(module, "_orig_mod") else module.module
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError("module: got a ScriptModule, expected the nn.Module that it was made of")
    working = _dtype(module) if dtype is None else checking.dtype(dtype)
    trace = tracing.trace(module)
    kept = None if loss is None else of_heads("loss", loss, list(trace.outputs), _loss)
    reader = _Reader(trace, input_shape, kept)
    reader.read()
    return reader.model(working)


def _loss(name: str, value) -> Loss:
    return losses.get(value, name)


def _dtype(module: Any) -> str:
    """float64 if a parameter or buffer is, else float32."""
    kinds = {str(tensor.dtype) for tensor in [*module.parameters(), *module.buffers()]}
    return "float64" if "torch.float64" in kinds else "float32"


class _Reader:
    """Goes through the calls of a module once, and makes a model of them."""

    def __init__(self, trace: Any, input_shape: Any, kept: dict[str, Loss] | None):
        self.trace, self.given, self.losses = trace, input_shape, kept
        self.first = len(trace.inputs)  # the number of the value of the first call
        self.users: list[list[int]] = [[] for _ in range(self.first + len(trace.calls))]  # the values made of each
        for number, call in enumerate(trace.calls, self.first):
            for value in call.inputs:
                self.users[value].append(number)
        self.known: list[Known] = []
        self.seen: dict[int, Made] = {}  # the layer of each module
        self.owners: dict[int, tuple[Any, str, Flow]] = {}
        self.made_of: dict[int, Made] = {}  # the layer whose weight a tensor is
        self.heads: dict[str, int] = dict(trace.outputs)
        self.transforms: dict[str, str] = {}
        self.targets: dict[str, Target] = {}
        self.cut: set[int] = set()

    def call(self, number: int) -> Any:
        """The call that makes a value."""
        return self.trace.calls[number - self.first]

    # --- Inputs and outputs -------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Finds the layers of each call."""
        self._cut_ends()
        for number, call in enumerate(self.trace.calls, self.first):  # before errors about shapes
            if number not in self.cut and not isinstance(call.module, str) and T.kind_of(call.module) is None:
                raise T.unknown(call.module, call.path)
        for name, shape in self._input_shapes().items():
            if len(shape) > 3:
                raise ValueError(f"input_shape: got {shape} for {name!r}, expected at most three dimensions")
            self.known.append(Known(Flow((*shape[1:], shape[0]), image=True) if len(shape) == 3 else Flow(shape)))
        for number in range(self.first, len(self.users)):
            call = self.call(number)
            values = [self.known[value] for value in call.inputs]
            if number in self.cut:
                known = Known(values[0].flow)
            elif isinstance(call.module, str):
                known = self._joined(call, values)
            else:
                known = self._module(number, call, values[0])
            known.sources = call.inputs
            self.known.append(known)
        for head, number in self.heads.items():
            self._check_end(head, self.known[number])

    def _check_end(self, head: str, value: Known) -> None:
        if value.flow.order is not None:
            raise ValueError(
                f"module: output {head!r} has the columns of a flattened image, which fastreg has in another order, "
                f"expected a Linear after the Flatten"
            )
        if value.border is not None:
            raise ValueError(
                f"module: output {head!r} is a padded image, expected a Conv2d or a pool after the padding"
            )
        if self.transforms.get(head) == "softmax" and len(value.torch_shape) != 1:
            raise ValueError(f"module: output {head!r} is the softmax of an image, expected one of columns")

    def _cut_ends(self) -> None:
        """Takes softmax, sigmoid and the units of the targets off the ends. The model transforms its predictions so."""
        for head, number in self.trace.outputs.items():
            wanted = None if self.losses is None else TRANSFORMS[self.losses[head].transform].function
            while number >= self.first and len(self.users[number]) + self._outputs(number) == 1:
                call = self.call(number)
                kind = type(call.module).__name__
                transform = T.ENDS.get(kind)
                if kind == "Unscale" and head not in self.targets and head not in self.transforms:
                    mean, scale = (
                        tuple(array_of(key, getattr(call.module, key)).tolist()) for key in ("mean", "scale")
                    )
                    self.targets[head] = Target(task="numbers", mean=mean, scale=scale)
                elif transform and head not in self.transforms and wanted in (None, transform):
                    if getattr(call.module, "dim", 1) not in (1, -1, None):  # None is 1 for rows
                        told = f"got {call.module}, expected dim=1: the softmax of each row"
                        raise ValueError(f"module {call.path!r}: {told}")
                    self.transforms[head] = transform
                else:
                    break
                self.cut.add(number)
                number = self.heads[head] = call.inputs[0]
                if self.users[number] and self._outputs(number):  # the end now is the one that was cut
                    self.users[number] = [user for user in self.users[number] if user not in self.cut]

    def _outputs(self, number: int) -> int:
        """How many heads a value is."""
        return list(self.heads.values()).count(number)

    def _input_shapes(self) -> dict[str, Shape]:
        """The shape of a sample of each input, as the module takes it."""
        inputs, given = self.trace.inputs, self.given
        if isinstance(given, Mapping):
            if odd := [name for name in given if name not in inputs]:
                expected = ", ".join(map(repr, inputs))
                raise ValueError(f"input_shape: got the input {checking.shown(odd[0])}, expected one of {expected}")
            told = {name: checking.sample_shape(shape) for name, shape in given.items()}
        elif given is not None and len(inputs) > 1:
            raise ValueError(f"input_shape: got {checking.shown(given)}, expected a dict by input: {', '.join(inputs)}")
        else:
            told = {} if given is None else {inputs[0]: checking.sample_shape(given)}
        return {name: told[name] if name in told else self._guess(number) for number, name in enumerate(inputs)}

    def _guess(self, number: int) -> Shape:
        """The shape of an input that the layers tell."""
        columns = [self.call(user).extra for user in self.users[number] if self.call(user).module == "columns"]
        if columns:
            return (max(map(max, columns)) + 1,)
        waiting, needs = [number], ""
        while waiting:
            for user in self.users[waiting.pop(0)]:
                module = self.call(user).module
                told = self._told(user, module)
                if told is not None:
                    return told
                needs = needs or f", which its {type(module).__name__} needs"
                if isinstance(module, str) or T.kind_of(module) in PASSING_OR_FLAT:
                    waiting.append(user)
        many = f" for {self.trace.inputs[number]!r}" if self.first > 1 else ""
        raise ValueError(
            f"input_shape: got none{many}, expected the shape of a sample as the module takes it, such as "
            f"(1, 28, 28){needs}"
        )

    def _told(self, number: int, module: Any) -> Shape | None:
        """The shape of a sample that a layer takes, where it takes one alone."""
        kind = None if isinstance(module, str) else T.kind_of(module)
        if kind == "Linear":
            return (module.in_features,)
        if kind in ("BatchNorm1d", "FrozenBatchNorm1d"):
            return (module.num_features,)
        if kind == "LayerNorm":
            return tuple(module.normalized_shape)
        if kind == "Standardize":
            return tuple(module.mean.shape)
        if kind == "ColumnEmbedding":
            return (len(module.categories),)
        if kind == "Embedding":
            while self.users[number] and T.kind_of(self.call(self.users[number][0]).module) in PASSING_OR_FLAT:
                number = self.users[number][0]
            after = self.call(self.users[number][0]).module if self.users[number] else None
            if after is not None and not isinstance(after, str) and T.kind_of(after) == "Linear":
                return (after.in_features // module.embedding_dim,)
        return None

    def _flattened(self, number: int) -> bool:
        """Whether a value is flattened before anything depends on its shape."""
        after = [self.call(user).module for user in self.users[number]]
        kinds = [None if isinstance(module, str) else T.kind_of(module) for module in after]
        return bool(kinds) and all(
            kind == "Flatten" or (kind in T.PASSING and self._flattened(user))
            for kind, user in zip(kinds, self.users[number], strict=True)
        )

    # --- Calls --------------------------------------------------------------------------------------------------------

    def _joined(self, call: Any, values: list[Known]) -> Known:
        """A sum, columns side by side, or columns of an input."""
        if call.module == "columns":
            return Known(Flow((len(call.extra),)), columns=call.extra)
        shapes = [value.torch_shape for value in values]
        told = ", ".join(map(str, shapes))
        if any(value.border is not None for value in values):
            raise ValueError(f"module {call.path!r}: got a padded image, expected a Conv2d or a pool after the padding")
        flows = [value.flow for value in values]
        if call.module == "add":
            if len(set(shapes)) > 1 or not all(flow.same_order(flows[0]) for flow in flows):
                raise ValueError(f"module {call.path!r}: got a sum of samples of shapes {told}, expected one shape")
            return Known(flows[0], [Made(L.Add, path=call.path)], torch=values[0].torch)
        if any(len(shape) != 1 for shape in shapes):
            raise ValueError(
                f"module {call.path!r}: got torch.cat of samples of shapes {told}, expected columns; put an "
                f"nn.Flatten() before it"
            )
        return Known(forms.joined(flows), [Made(L.Concatenate, path=call.path)])

    def _module(self, number: int, call: Any, value: Known) -> Known:
        """A module as layers."""
        kind = str(T.kind_of(call.module))
        use = Use(call.module, call.path, value, self._flattened(number), call.extra, self.owners)
        T.check(use)
        if value.border is not None and kind not in ("Conv2d", "MaxPool2d", "AvgPool2d"):
            raise use.refuse("on a padded image, expected a Conv2d or a pool after the padding")
        if value.torch is not None and kind not in PASSING_OR_FLAT:
            raise use.refuse(f"on samples of shape {value.torch}, expected an nn.Flatten() before it")
        known = T.TABLE[kind](use)
        for made in known.layers:
            made.path = call.path
        if known.layers and (known.layers[0].arrays or known.layers[0].tied is not None):
            known.layers[0] = self._once(call, known.layers[0])
        if kind == "Linear" and known.layers[0].tied is None:
            self.made_of[id(call.module.weight)] = known.layers[0]
        return known

    def _once(self, call: Any, made: Made) -> Made:
        """The layer of a module. One that is called twice is one layer with one set of parameters."""
        first = self.seen.setdefault(id(call.module), made)
        if any(not np.array_equal(first.arrays[key], made.arrays[key]) for key in made.arrays):
            raise ValueError(
                f"module {call.path!r}: got columns in another order than at its first use, expected the same"
            )
        return first

    # --- The model ----------------------------------------------------------------------------------------------------

    def model(self, dtype: str) -> Model:
        """The model of what was read, built, with the parameters of the module."""
        row = self._is_row()
        self._fuse()
        used = list({id(layer): layer for known in self.known for layer in known.layers}.values())
        if not used:
            raise ValueError("module: got one without layers, expected at least a Linear")
        names = self._names(used)
        layers = {id(made): self._layer(made, names) for made in used}
        model: Model = Sequential([layers[id(made)] for made in used]) if row else self._graph(layers)
        shapes = {name: self.known[number].flow.shape for number, name in enumerate(self.trace.inputs)}
        model.build(shapes if model.many_inputs else next(iter(shapes.values())), dtype=dtype)
        state = {}
        for made in used:
            for part, array in made.arrays.items():
                state[f"{names[id(made)]}.{part}"] = array
        model.load_state_dict(state)
        alone = len(model.heads) == 1
        for own, target in zip(model.heads, self._in_order(self.targets), strict=True):
            if target is not None:
                model.schema = model.schema.with_target(own, alone, target)
        if self.losses is not None:
            model.loss = unwrapped(dict(zip(model.heads, self.losses.values(), strict=True)))
        elif self.transforms:
            transforms = [transform or "linear" for transform in self._in_order(self.transforms)]
            model.output_transform = unwrapped(dict(zip(model.heads, transforms, strict=True)))
        return model

    def _in_order(self, values: dict[str, Any]) -> list[Any]:
        """What each head has, None for nothing."""
        return [values.get(head) for head in self.heads]

    def _is_row(self) -> bool:
        """Whether the layers are in a row, each used once."""
        made = [id(layer) for known in self.known for layer in known.layers]
        joins = any(isinstance(call.module, str) for call in self.trace.calls)
        several = self.first > 1 or len(self.heads) > 1 or len(set(made)) < len(made)
        return not joins and not several and all(len(users) <= 1 for users in self.users)

    def _fuse(self) -> None:
        """Gives an activation to the layer before it, if nothing else reads what that makes."""
        uses: dict[int, int] = {}
        for known in self.known:
            for made in known.layers:
                uses[id(made)] = uses.get(id(made), 0) + 1
        for known in self.known:
            if len(known.layers) != 1 or known.layers[0].kind is not L.Activation:
                continue
            activation, source = known.layers[0].options["activation"], known.sources[0]
            before = self.known[source].layers
            readers = len(self.users[source]) + self._outputs(source)
            if not before or readers > 1 or uses[id(before[-1])] > 1 or not issubclass(before[-1].kind, FUSING):
                continue
            if activation != "linear" and "activation" not in before[-1].options:
                before[-1].options["activation"] = activation
                known.layers = []

    @staticmethod
    def _names(used: list[Made]) -> dict[int, str]:
        """The name of each layer: the path of its module, if that is one of words, else its position."""
        names: dict[int, str] = {}
        for place, made in enumerate(used):
            name = made.path.replace(".", "_")
            named = bool(made.arrays) and name.isascii() and not re.fullmatch(r"[\d_]*", name)
            names[id(made)] = name if named and name not in names.values() else str(place)
        return names

    def _layer(self, made: Made, names: dict[int, str]) -> L.Layer:
        """The layer itself."""
        options = dict(made.options)
        if made.tied is not None:
            options["tied_to"] = names[id(self.made_of[id(made.tied)])]
        return made.kind(**options, name=names[id(made)])

    def _graph(self, layers: dict[int, L.Layer]) -> Model:
        """A model in the functional style."""
        values: list[Any] = []
        inputs: list[L.Input] = []
        table = any(known.columns is not None for known in self.known)
        for number, known in enumerate(self.known):
            if number < self.first and table:
                values.append(None)
            elif number < self.first or known.columns is not None:
                name = self.trace.inputs[number] if number < self.first and self.first > 1 else None
                shape = None if known.columns is not None else known.flow.shape
                inputs.append(L.Input(shape, name=name, columns=known.columns))
                values.append(inputs[-1])
            else:
                values.append(self._value(known, [values[source] for source in known.sources], layers))
        ends = {head: values[number] for head, number in self.heads.items()}
        return Model(inputs if len(inputs) > 1 else inputs[0], ends if len(ends) > 1 else next(iter(ends.values())))

    @staticmethod
    def _value(known: Known, given: list[Any], layers: dict[int, L.Layer]) -> Any:
        """What layers make of values."""
        if any(value is None for value in given):
            raise ValueError("module: got an input that is read whole and by columns, expected columns everywhere")
        value: Any = given if len(given) > 1 else given[0]
        for made in known.layers:
            value = layers[id(made)](value)
        return value


PASSING_OR_FLAT = T.PASSING | {"Flatten"}
