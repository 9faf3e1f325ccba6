"""Graphs: which layer reads what. The structure of a model, without its layers' options and without parameters.

Values are numbered: first the inputs, then what each node makes, in the order of the nodes. A node reads values with
smaller numbers only, so the order of the nodes is one in which they can run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

from fastreg.common import checking
from fastreg.layers import Dense, Embedding, Layer
from fastreg.layers.base import Parameter
from fastreg.layers.values import Input, Value, plain_shape, shape_after

Shape = tuple[int, ...]

MAX_NODES = 1 << 15


class Node(NamedTuple):
    """One use of a layer: its place among the layers, and the numbers of the values that it reads."""

    layer: int
    inputs: tuple[int, ...]


class Entry(NamedTuple):
    """An input: its name, and what it reads of a table. `shape` is None where the data decide."""

    name: str
    shape: Shape | None = None
    columns: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Graph:
    """Inputs, nodes in order, and the value of each head by name."""

    inputs: tuple[Entry, ...]
    nodes: tuple[Node, ...]
    outputs: Mapping[str, int]

    @property
    def is_chain(self) -> bool:
        """Whether every layer reads what the one before it made."""
        row = all(node == (i, (i,)) for i, node in enumerate(self.nodes))
        return row and len(self.inputs) == 1 and list(self.outputs.values()) == [len(self.nodes)]

    @cached_property
    def users(self) -> Counter:
        """How many nodes and heads read each value."""
        return Counter([value for node in self.nodes for value in node.inputs] + list(self.outputs.values()))

    @cached_property
    def first_uses(self) -> dict[int, int]:
        """The first node of each layer."""
        first: dict[int, int] = {}
        for index, node in enumerate(self.nodes):
            first.setdefault(node.layer, index)
        return first

    def config(self) -> dict[str, Any]:
        """The graph as a dict for JSON."""
        inputs = [
            {
                "name": entry.name,
                "shape": None if entry.shape is None else list(entry.shape),
                "columns": None if entry.columns is None else list(entry.columns),
            }
            for entry in self.inputs
        ]
        nodes = [[node.layer, list(node.inputs)] for node in self.nodes]
        return {"inputs": inputs, "nodes": nodes, "outputs": dict(self.outputs)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], layers: int) -> Graph:
        """The graph that `config` describes, if it is one of so many layers."""
        _check_keys("graph", config, ("inputs", "nodes", "outputs"))
        check_uses(len(config["nodes"]))
        inputs = tuple(_entry(entry) for entry in config["inputs"])
        nodes = tuple(Node(_number(layer), tuple(map(_number, values))) for layer, values in config["nodes"])
        outputs = {_name(name): _number(value) for name, value in config["outputs"].items()}
        graph = cls(inputs, nodes, outputs)
        graph.check(layers)
        return graph

    def check(self, layers: int) -> None:
        """Refuses what is no graph of so many layers: cycles, values and layers that are not there or not used."""
        count = len(self.inputs)
        for index, (layer, values) in enumerate(self.nodes):
            if not 0 <= layer < layers:
                raise ValueError(f"node {index}: got layer {layer}, expected one of 0 to {layers - 1}")
            for value in values:
                if not 0 <= value < count + index:
                    what = "which it or a later node makes: a cycle" if value >= count + index else "which is none"
                    raise ValueError(f"node {index}: got value {value}, {what}; expected 0 to {count + index - 1}")
        total = count + len(self.nodes)
        for name, value in self.outputs.items():
            if not 0 <= value < total:
                raise ValueError(f"output {name!r}: got value {value}, expected 0 to {total - 1}")
        names = [entry.name for entry in self.inputs]
        if len(set(names)) < len(names):
            raise ValueError(f"inputs: got the names {checking.shown(names)}, expected different ones")
        _check_columns(self.inputs)
        if not self.outputs or not self.inputs:
            raise ValueError("graph: got no inputs or no outputs, expected at least one of each")
        unused = [value for value in range(total) if not self.users[value]]
        if unused:
            what = f"input {self.inputs[unused[0]].name!r}" if unused[0] < count else f"node {unused[0] - count}"
            raise ValueError(f"{what}: got no user, expected that an output depends on it")
        if missing := set(range(layers)) - {node.layer for node in self.nodes}:
            raise ValueError(f"layer {min(missing)}: got no node, expected each layer in at least one")


def _entry(config: Mapping[str, Any]) -> Entry:
    _check_keys("input", config, Entry._fields)
    name, shape, columns = _name(config["name"]), config["shape"], config["columns"]
    if any(value is not None and not isinstance(value, list) for value in (shape, columns)) or (shape and columns):
        got = f"shape={checking.shown(shape)} and columns={checking.shown(columns)}"
        raise ValueError(f"input {name!r}: got {got}, expected one of the two, a list")
    return Entry(
        name,
        None if shape is None else checking.sample_shape(shape),
        None if columns is None else tuple(map(_number, columns)),
    )


def _check_columns(entries: Iterable[Entry]) -> None:
    if len({entry.columns is None for entry in entries}) > 1:
        raise ValueError("inputs: got some with columns and some without, expected all or none: they read one table")


def _check_keys(what: str, config: Mapping[str, Any], expected: tuple[str, ...]) -> None:
    if config.keys() != set(expected):
        raise ValueError(f"{what}: got {checking.shown(list(config))}, expected {', '.join(expected)}")


def _number(value) -> int:
    """A number of a layer, a value or a column."""
    return checking.integer("graph", value, 0, checking.MAX_WIDTH)


def _name(value) -> str:
    """The name of an input or a head."""
    if not (isinstance(value, str) and value.isascii() and value.replace("_", "").replace("-", "").isalnum()):
        raise ValueError(f"graph: got the name {checking.shown(value)}, expected letters, digits, '_' and '-'")
    return value


def check_uses(count: int) -> None:
    """Refuses more nodes than the streams of the random draws have room for."""
    if count > MAX_NODES:
        raise ValueError(f"layers: got {count} uses of layers, expected at most {MAX_NODES}")


ONE_INPUT, ONE_HEAD = "inputs", "output"  # the names in a Sequential


def chain(count: int) -> Graph:
    """The graph of so many layers in a row."""
    nodes = tuple(Node(index, (index,)) for index in range(count))
    return Graph((Entry(ONE_INPUT),), nodes, {ONE_HEAD: count})


def node_names(layers: Sequence[Layer], graph: Graph) -> list[str]:
    """The name of each node: that of its layer, for later uses with their number."""
    seen: Counter = Counter()
    names = []
    for node in graph.nodes:
        name = str(layers[node.layer].name)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}@{seen[name]}")
    return names


class Network(NamedTuple):
    """Layers with names, their graph, and the shape of a sample of each input."""

    layers: Sequence[Layer]
    graph: Graph
    input_shapes: tuple[Shape, ...]

    @property
    def names(self) -> list[str]:
        """The name of each node."""
        return node_names(self.layers, self.graph)

    def shapes(self) -> list[Shape]:
        """The shape of a sample of each value. An error names the node whose values do not fit."""
        shapes = list(self.input_shapes)
        for name, node in zip(self.names, self.graph.nodes, strict=True):
            shapes.append(shape_after(self.layers[node.layer], [shapes[value] for value in node.inputs], name))
        return shapes

    def layer_shapes(self) -> list[tuple[Shape, Shape]]:
        """The shapes before and after each layer, at its first use."""
        shapes, count = self.shapes(), len(self.input_shapes)
        first = self.graph.first_uses
        nodes = [(first[layer], self.graph.nodes[first[layer]]) for layer in range(len(self.layers))]
        return [(shapes[node.inputs[0]], shapes[count + index]) for index, node in nodes]

    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name, "<layer>.<part>". Refuses a layer used on different shapes, and ties that do not
        fit."""
        shapes = self.shapes()
        found: dict[int, dict[str, Parameter]] = {}
        first: dict[int, Shape] = {}
        by_name = {layer.name: index for index, layer in enumerate(self.layers)}
        for name, node in zip(self.names, self.graph.nodes, strict=True):
            layer, shape = self.layers[node.layer], shapes[node.inputs[0]]
            own = layer.parameters(shape)
            before, meant = found.setdefault(node.layer, own), first.setdefault(node.layer, shape)
            if [p.shape for p in own.values()] != [p.shape for p in before.values()]:
                raise ValueError(
                    f"layer {name!r}: got samples of shape {shape}, expected {meant} as at its first use, whose "
                    f"parameters it shares"
                )
            if isinstance(layer, Embedding) and node.inputs[0] >= len(self.input_shapes):
                raise ValueError(
                    f"layer {name!r}: got an Embedding after another layer, expected it on an input of codes"
                )
            if isinstance(layer, Dense) and layer.tied_to:
                self._check_tie(name, layer, by_name, math.prod(shape), shapes)
        parts = ((self.layers[index].name, own) for index, own in sorted(found.items()))
        return {f"{name}.{key}": parameter for name, own in parts for key, parameter in own.items()}

    def _check_tie(
        self, name: str, layer: Dense, by_name: Mapping[str | None, int], inputs: int, shapes: list[Shape]
    ) -> None:
        other = self.layers[by_name[layer.tied_to]] if layer.tied_to in by_name else None
        if not isinstance(other, Dense) or other.tied_to or other is layer:
            dense = [str(d.name) for d in self.layers if isinstance(d, Dense) and not d.tied_to]
            raise ValueError(
                f"layer {name!r}: tied_to: got {layer.tied_to!r}, expected a Dense with a weight of its own: "
                f"{', '.join(dense) or 'there is none'}"
            )
        use = self.graph.nodes[self.graph.first_uses[by_name[layer.tied_to]]]
        weight, own = other.weight_shape(math.prod(shapes[use.inputs[0]])), layer.weight_shape(inputs)
        if weight != own:
            advice = "; transposed=True uses it the other way round" if weight == own[::-1] else ""
            raise ValueError(
                f"layer {name!r}: got {inputs} inputs and {layer.units} units, which ask for a weight {own}, "
                f"expected {weight}, that of {layer.tied_to!r}{advice}"
            )


def trace(inputs, outputs) -> tuple[list[Layer], Graph]:
    """The layers, once each and in the order of their first use, and the graph of a model in the functional style."""
    given, heads = _named_values("inputs", inputs), _named_values("outputs", outputs)
    for name, value in given.items():
        if not isinstance(value, Input):
            raise TypeError(f"inputs: got {value!r} for {name!r}, expected an fr.Input")
    for name, value in heads.items():
        if isinstance(value, Input):
            raise ValueError(f"outputs: got the input {value!r} for {name!r}, expected what a layer made of an input")
    found: dict[int, Value] = {}
    waiting = list(heads.values())
    while waiting:
        value = waiting.pop()
        if value.number not in found:
            found[value.number] = value
            waiting += value.inputs
    begins = {value.number for value in given.values()}
    for value in found.values():
        if isinstance(value, Input) and value.number not in begins:
            raise ValueError(f"inputs: got {', '.join(map(repr, given.values()))}, expected also {value!r}")
    for name, value in given.items():
        if value.number not in found:
            raise ValueError(f"inputs: got {name!r}, on which no output depends, expected only inputs that are used")
    made = [value for _, value in sorted(found.items()) if value.layer is not None]
    numbers = {value.number: place for place, value in enumerate([*given.values(), *made])}
    layers: dict[int, tuple[int, Layer]] = {}
    nodes = []
    for value in made:
        layer = cast(Layer, value.layer)
        place, _ = layers.setdefault(id(layer), (len(layers), layer))
        nodes.append(Node(place, tuple(numbers[source.number] for source in value.inputs)))
    entries = tuple(Entry(name, _shape_of(value), _columns_of(value)) for name, value in given.items())
    _check_columns(entries)
    outputs = {name: numbers[value.number] for name, value in heads.items()}
    return [layer for _, layer in layers.values()], Graph(entries, tuple(nodes), outputs)


def _shape_of(value: Value) -> Shape | None:
    return None if _columns_of(value) else value.shape


def _columns_of(value: Value) -> tuple[int, ...] | None:
    return value.columns if isinstance(value, Input) else None


def _named_values(what: str, given) -> dict[str, Value]:
    """Inputs or outputs by name: their own, or those of a dict."""
    if isinstance(given, Mapping):
        named = [(name, value) for name, value in given.items()]
    else:
        values: Iterable = [given] if isinstance(given, Value) else checking.iterate(what, given, "values, or a dict")
        named = [(None, value) for value in values]
    if not named:
        raise ValueError(f"{what}: got none, expected at least one value")
    result: dict[str, Value] = {}
    for place, (name, value) in enumerate(named):
        if not isinstance(value, Value):
            raise TypeError(f"{what}: got {checking.shown(value)}, expected what a layer made of an fr.Input")
        own = _name_of(what, value, place, len(named)) if name is None else name
        if not (isinstance(own, str) and own.isascii() and own.replace("_", "").replace("-", "").isalnum()):
            raise ValueError(f"{what}: got the name {checking.shown(own)}, expected letters, digits, '_' and '-'")
        if own in result:
            raise ValueError(f"{what}: got the name {own!r} twice, expected different names")
        result[own] = value
    return result


def _name_of(what: str, value: Value, place: int, count: int) -> str:
    """The name of an input or of a head that was given none: its own, that of its layer, or the usual one."""
    if isinstance(value, Input):
        if value.name is None and value.columns is None and count > 1:
            raise ValueError(
                f"{what}: got {value!r} without a name, expected one for each of several inputs: "
                f"fr.Input({plain_shape(value.shape)}, name='a')"
            )
        usual = ONE_INPUT if value.columns is None else f"columns{place}"
        return usual if value.name is None else value.name
    owner = value
    while owner.layer is not None and owner.layer.passes and owner.layer.name is None:
        owner = owner.inputs[0]
    name = None if owner.layer is None else owner.layer.name
    if name is None and count > 1:
        raise ValueError(f"{what}: got a head without a name ({value!r}), expected Dense(..., name=...) or a dict")
    return ONE_HEAD if name is None else name
