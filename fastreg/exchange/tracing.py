"""What a module of PyTorch computes, as a list of calls: `torch.fx` traces its forward function.

Functions and methods, such as F.relu(x) and x.flatten(1), become the modules that do the same. Only `from_torch`
imports this.
"""

from __future__ import annotations

import inspect
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from fastreg.exchange import torch_layers
from fastreg.exchange.torch_modules import OWN

LEAVES = (*OWN,)


class Tracer(fx.Tracer):
    """Goes into modules of users and into nn.Sequential, not into other layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, nn.Sequential):
            return False
        return isinstance(m, LEAVES) or type(m).__module__.startswith("torch.nn") or _overrides_nothing(m)


def _overrides_nothing(module: nn.Module) -> bool:
    """Whether a class of a user only derives from a layer, and computes as that does."""
    forward = type(module).forward
    return (getattr(forward, "__module__", None) or "").startswith("torch.nn.modules")


@dataclass(frozen=True, eq=False)
class Call:
    """A step of a module.

    module   what is called on the values: a layer, or the name of a join: "add", "concatenate", "columns"
    inputs   the numbers of the values it reads
    path     where it is in the module, for errors
    extra    the columns of a "columns"
    """

    module: nn.Module | str
    inputs: tuple[int, ...]
    path: str
    extra: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Trace:
    """The names of the inputs, the calls in order (values are numbered as in a graph), and the outputs by name."""

    inputs: list[str]
    calls: list[Call]
    outputs: dict[str, int]


def trace(module: nn.Module) -> Trace:
    """The calls of a module. It is traced in eval mode, and left in its own."""
    if Tracer().is_leaf_module(module, ""):  # a layer alone
        module = nn.Sequential(module)
    before = {part: part.training for part in module.modules()}
    for part in before:
        part.training = False
    try:
        graph = Tracer().trace(module, concrete_args=_defaults(module) or None)
    except MemoryError:
        raise
    except Exception as error:  # a forward function may raise anything if it gets no numbers
        line = " ".join(str(error).split())[:160]
        raise ValueError(
            f"module: its forward function cannot be traced ({type(error).__name__}: {line}), expected one without "
            f"branches that depend on values, such as that of an nn.Sequential"
        ) from error
    finally:
        for part, mode in before.items():
            part.training = mode
    return _Reader(module).read(graph)


# function or method -> the class of the module that does the same, and the names of the arguments after the value
SAME: dict[Any, tuple[type[nn.Module], tuple[str, ...]]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, "relu", "relu_"), (nn.ReLU, ("inplace",))),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid"), (nn.Sigmoid, ())),
    **dict.fromkeys((F.tanh, torch.tanh, "tanh"), (nn.Tanh, ())),
    F.leaky_relu: (nn.LeakyReLU, ("negative_slope", "inplace")),
    F.gelu: (nn.GELU, ("approximate",)),
    F.silu: (nn.SiLU, ("inplace",)),
    F.elu: (nn.ELU, ("alpha", "inplace")),
    F.selu: (nn.SELU, ("inplace",)),
    **dict.fromkeys((F.softplus,), (nn.Softplus, ("beta", "threshold"))),
    F.mish: (nn.Mish, ("inplace",)),
    F.hardswish: (nn.Hardswish, ("inplace",)),
    **dict.fromkeys((F.softmax, torch.softmax, "softmax"), (nn.Softmax, ("dim",))),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, "log_softmax"), (nn.LogSoftmax, ("dim",))),
    **dict.fromkeys((torch.exp, "exp"), (next(kind for kind in OWN if kind.__name__ == "Exp"), ())),
    F.dropout: (nn.Dropout, ("p", "training", "inplace")),
    **dict.fromkeys((torch.flatten, "flatten"), (nn.Flatten, ("start_dim", "end_dim"))),
    **dict.fromkeys(
        (F.max_pool2d, torch.max_pool2d),
        (nn.MaxPool2d, ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")),
    ),
    F.avg_pool2d: (
        nn.AvgPool2d,
        ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    F.adaptive_avg_pool2d: (nn.AdaptiveAvgPool2d, ("output_size",)),
}
LEFT_OUT = ("training", "inplace", "_stacklevel", "dtype")  # without effect in prediction
NOTHING = {"contiguous", "float", "long", "clone", "double", "int"}  # methods that only change how numbers lie
ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}
CATS = {torch.cat, torch.concat, torch.concatenate}


class _Reader:
    """Reads the graph of torch.fx."""

    def __init__(self, module: nn.Module):
        self.module = module
        self.values: dict[fx.Node, int] = {}
        self.sizes: set[fx.Node] = set()  # the number of rows, and the shapes of values
        self.calls: list[Call] = []
        self.names: list[str] = []

    def read(self, graph: fx.Graph) -> Trace:
        nodes = _needed(graph)
        for node in nodes:
            if node.op == "placeholder":
                if str(node.target).startswith("*"):
                    raise ValueError(
                        f"module: its forward function takes {node.target}, expected one argument for each input"
                    )
                self.values[node] = len(self.names)
                self.names.append(str(node.target))
        outputs: dict[str, int] = {}
        for node in nodes:
            if node.op == "output":
                outputs = self.outputs(node.args[0])
            elif node.op != "placeholder":
                getattr(self, node.op)(node)
        return Trace(self.names, self.calls, outputs)

    def outputs(self, given: Any) -> dict[str, int]:
        if isinstance(given, fx.Node):
            given = {"output": given}
        elif isinstance(given, (tuple, list)):
            given = {f"output{place}": value for place, value in enumerate(given)}
        if not isinstance(given, dict) or not given:
            raise ValueError("module: got a forward function that returns no tensors, expected one, several or a dict")
        return {str(name): self.number(value, "output") for name, value in given.items()}

    def number(self, value: Any, path: str) -> int:
        """The number of a value."""
        if not isinstance(value, fx.Node) or value not in self.values:
            raise ValueError(f"module {path!r}: got {value}, expected a value that a layer made of an input")
        return self.values[value]

    def add(self, node: fx.Node, call: Call) -> None:
        self.values[node] = len(self.names) + len(self.calls)
        self.calls.append(call)

    def refuse(self, node: fx.Node) -> ValueError:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        return ValueError(
            f"module {node.name!r}: got the {'method' if node.op == 'call_method' else 'function'} {name}, expected a "
            f"layer of torch.nn, an activation, flatten, + or torch.cat"
        )

    # --- The kinds of nodes -------------------------------------------------------------------------------------------

    def get_attr(self, node: fx.Node) -> None:
        raise ValueError(
            f"module {str(node.target)!r}: got a tensor that the forward function uses itself, expected layers of "
            f"torch.nn"
        )

    def call_module(self, node: fx.Node) -> None:
        path = str(node.target)
        module = self.module.get_submodule(path)
        if torch_layers.kind_of(module) is None and type(module).__name__ not in torch_layers.ENDS:
            raise torch_layers.unknown(module, path)
        if len(node.args) != 1 or node.kwargs:
            raise ValueError(f"module {path!r}: got a call with several arguments, expected one value")
        self.add(node, Call(module, (self.number(node.args[0], path),), path))

    def call_function(self, node: fx.Node) -> None:
        target: Any = node.target
        if target in ADDS and len(node.args) == 2 and not node.kwargs:
            numbers = tuple(self.number(value, node.name) for value in node.args)
            self.add(node, Call("add", numbers, node.name))
        elif target in CATS:
            self.concatenate(node)
        elif target is getattr and node.args[1] == "shape":
            self.sizes.add(node)
        elif target is operator.getitem:
            self.item(node)
        else:
            self.same(node)

    def call_method(self, node: fx.Node) -> None:
        if node.target == "size":
            self.sizes.add(node)
        elif node.target in NOTHING:
            self.values[node] = self.number(node.args[0], node.name)
        elif node.target in ("view", "reshape"):
            self.view(node)
        elif node.target in ADDS and len(node.args) == 2 and not node.kwargs:
            self.add(node, Call("add", tuple(self.number(value, node.name) for value in node.args), node.name))
        elif node.target == "mean":
            self.mean(node)
        else:
            self.same(node)

    def same(self, node: fx.Node) -> None:
        """A function that a module does, too."""
        target: Any = node.target
        if target not in SAME:
            raise self.refuse(node)
        kind, names = SAME[target]
        given: dict[str, Any] = dict(zip(names, node.args[1:], strict=False))
        given.update(node.kwargs)
        value = given.pop("input", node.args[0] if node.args else None)
        options = {name: option for name, option in given.items() if name not in LEFT_OUT}
        if any(isinstance(option, fx.Node) for option in options.values()):
            raise self.refuse(node)
        if kind is nn.Flatten:  # torch.flatten begins with the rows, nn.Flatten behind them
            options.setdefault("start_dim", 0)
        self.add(node, Call(kind(**options), (self.number(value, node.name),), node.name))

    def concatenate(self, node: fx.Node) -> None:
        given = node.args[0] if node.args else node.kwargs.get("tensors")
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if dim not in (1, -1) or not isinstance(given, (list, tuple)):
            raise ValueError(
                f"module {node.name!r}: got torch.cat along dimension {dim}, expected 1: columns side by side"
            )
        self.add(node, Call("concatenate", tuple(self.number(value, node.name) for value in given), node.name))

    def item(self, node: fx.Node) -> None:
        """A part of a shape, or columns of a table."""
        value, index = node.args
        if value in self.sizes:
            self.sizes.add(node)
            return
        columns = index[1] if isinstance(index, tuple) and len(index) == 2 and index[0] == slice(None) else None
        if isinstance(columns, slice):
            columns = _listed(columns)
        if not isinstance(columns, (list, tuple)) or not all(isinstance(c, int) and c >= 0 for c in columns):
            raise ValueError(f"module {node.name!r}: got [{index}], expected columns of an input, as in x[:, [0, 2]]")
        number = self.number(value, node.name)
        if number >= len(self.names):
            raise ValueError(f"module {node.name!r}: got columns of what a layer made, expected those of an input")
        self.add(node, Call("columns", (number,), node.name, tuple(columns)))

    def view(self, node: fx.Node) -> None:
        """x.view(len, -1): a Flatten. What else it may be is refused when the shape is known."""
        value, *sizes = node.args
        if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)):
            sizes = list(sizes[0])
        rows = sizes and (sizes[0] == -1 or (isinstance(sizes[0], fx.Node) and sizes[0] in self.sizes))
        if not rows or len(sizes) != 2 or not isinstance(sizes[1], int) or (sizes[0] == -1 and sizes[1] == -1):
            raise ValueError(f"module {node.name!r}: got {node.target}, expected one to columns: x.flatten(1)")
        columns = () if sizes[1] == -1 else (sizes[1],)
        self.add(node, Call(nn.Flatten(), (self.number(value, node.name),), node.name, columns))

    def mean(self, node: fx.Node) -> None:
        """x.mean((2, 3)): the mean of each channel."""
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if not isinstance(dims, (tuple, list)) or sorted(d % 4 for d in dims) != [2, 3] or node.kwargs.get("keepdim"):
            raise ValueError(f"module {node.name!r}: got mean over {dims}, expected (2, 3): over all pixels")
        number = self.number(node.args[0], node.name)
        self.values[node] = len(self.names) + len(self.calls)
        self.calls.append(Call(nn.AdaptiveAvgPool2d(1), (number,), node.name))
        self.calls.append(Call(nn.Flatten(), (self.values[node],), node.name))
        self.values[node] += 1


def _needed(graph: fx.Graph) -> list[fx.Node]:
    """The nodes that the output depends on, in order."""
    found: set[fx.Node] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return [node for node in graph.nodes if node in found]


def _defaults(module: nn.Module) -> dict[str, Any]:
    """The arguments of a forward function that have a default, which they then have."""
    parameters = inspect.signature(module.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def _listed(columns: slice) -> list[int] | None:
    """The columns of a slice that has an end, counted from the first."""
    parts = columns.start or 0, columns.stop, columns.step or 1
    if not all(isinstance(part, int) and part >= 0 for part in parts):
        return None
    return list(range(*parts))
