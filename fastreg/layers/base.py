"""The base class of layers, and how a layer declares the parameters that it needs."""

from __future__ import annotations

import copy
from dataclasses import KW_ONLY, FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import numpy as np

from fastreg.common import checking
from fastreg.common.description import Description
from fastreg.common.understood import keywords
from fastreg.layers.values import Value, called

OF_MODEL = {  # what layers of Keras have, and models have here
    "build": "a model builds its layers: model.build(input_shape)",
    "call": "a model computes: model.predict(X)",
    **dict.fromkeys(
        ("input", "output"),
        "a layer holds no values; fr.Sequential(model.layers[:-1]) is a model of the layers before the last one, which "
        "takes their parameters by load_state_dict",
    ),
}
CODE = frozenset(("build", "call", "forward", "backward"))  # what Keras and PyTorch call in a layer
Self = TypeVar("Self", bound="Layer")


class Start(Protocol):
    """Where a parameter starts: an Initializer, or known values."""

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int) -> np.ndarray: ...


class Parameter(NamedTuple):
    """The shape of a parameter and where it starts.

    kind   "weight": trained, with penalties, weight decay and constraints. "bias": trained, without them. "kept": no
           optimizer changes it
    """

    shape: tuple[int, ...]
    initializer: Start
    fan_in: int
    fan_out: int
    kind: Literal["weight", "bias", "kept"] = "weight"


class Owner(Protocol):
    """A model, as its layers see it."""

    def _set_option(self, layer: Layer, name: str, value) -> None: ...


Kind = TypeVar("Kind", bound=type)


def live(kind: Kind) -> Kind:
    """Lets options of a layer be set where the layer is part of a model, which then obeys. Alone, layers are fixed."""
    kind.__setattr__ = _set_option  # type: ignore[assignment]
    return kind


def _set_option(self: Layer, name: str, value) -> None:
    owner = self.__dict__["_owner"]() if "_owner" in self.__dict__ else None
    if owner is None:
        kind = type(self).__name__
        if name not in (known := keywords(type(self))):
            near = checking.nearest(name, known, "keyword")
            raise AttributeError(f"{kind}.{name}: there is no such option, expected one of {', '.join(known)}{near}")
        raise FrozenInstanceError(
            f"{kind}.{name}: a layer can be changed in its model only, as model.layers[0].{name} = ...; "
            f"dataclasses.replace(layer, {name}=...) makes another one"
        )
    owner._set_option(self, name, value)


@live
@dataclass(frozen=True, repr=False)
class Layer(Description):
    """Base class of the layers.

    Parameters
    ----------
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.
    """

    _: KW_ONLY
    name: str | None = None

    def __init_subclass__(cls, **kwargs):
        own = cls.__module__.partition(".")[0] == "fastreg"
        if not own and (Layer in cls.__bases__ or not CODE.isdisjoint(vars(cls))):
            raise TypeError(
                f"class {cls.__name__}({cls.__bases__[0].__name__}): the engines run fastreg's own layers alone; "
                "fr.Function(forward, backward) is a layer written in Python, a Dense before it has the weights"
            )
        super().__init_subclass__(**kwargs)

    instead: ClassVar[dict[str, tuple[str, ...]]] = {}  # option -> the options whose place it takes
    passes: ClassVar[bool] = False  # whether it only passes a value on, as dropout does in prediction

    def __post_init__(self):
        if self.name is not None and not (
            isinstance(self.name, str) and self.name.isascii() and self.name.replace("_", "").replace("-", "").isalnum()
        ):
            raise ValueError(f"name: got {checking.shown(self.name)}, expected letters, digits, '_' and '-'")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a sample after this layer, given the shape before it."""
        return shape

    def merged_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        """The shape of a sample after this layer, given those of the values it is called on."""
        if len(shapes) != 1:
            kind = type(self).__name__
            raise TypeError(f"{kind}: got {len(shapes)} values, expected one; Concatenate or Add joins several")
        return self.output_shape(shapes[0])

    def __call__(self, *values: Value | list[Value]) -> Value:
        """The value of this layer on others, in the functional style. Called twice, it has one set of parameters."""
        return called(self, values)

    @property
    def is_trained(self) -> bool:
        """Whether a fit changes its parameters."""
        return bool(self.option("trainable", False))

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """The parameters that the layer learns or keeps, for samples of `shape`."""
        return {}

    def changed(self: Self, name: str, value) -> Self:
        """A layer like this one with another value of one option, checked."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        for other in self.instead.get(name, ()):
            del options[other]
        known = keywords(type(self))
        if name not in known:
            raise AttributeError(
                f"layer {self.name!r}: {type(self).__name__} has no option {name!r}, "
                f"expected one of {', '.join(known)}{checking.nearest(name, known, 'keyword')}"
            )
        return type(self)(**options | {name: value})

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # only for what does not exist
            if name in ("weight", "bias", "kernel", "weights", "get_weights", "set_weights"):
                key = f"{'NAME' if self.name is None else self.name}.{'bias' if name == 'bias' else 'weight'}"
                raise AttributeError(
                    f"{type(self).__name__}.{name}: a model keeps the parameters: model.parameters[{key!r}]"
                )
            if told := OF_MODEL.get(name):
                raise AttributeError(f"{type(self).__name__}.{name}: {told}")
            return super().__getattr__(name)

    def option(self, name: str, default: Any = None) -> Any:
        """An option, if layers of this kind have it, else the default."""
        return getattr(self, name) if name in self.__dict__ or hasattr(type(self), name) else default

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_owner"}

    def named(self: Self, name: str | None) -> Self:
        """A copy with another name."""
        layer = copy.copy(self)
        layer._set(name=name)
        return layer


def one_dimension(layer: Layer, shape: tuple[int, ...]) -> int:
    """The number of columns of samples of `shape`, which must have one dimension."""
    if len(shape) != 1:
        kind = type(layer).__name__
        raise ValueError(f"{kind}: got samples of shape {shape}, expected one dimension; put a Flatten() before it")
    return shape[0]
