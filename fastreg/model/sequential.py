"""Sequential: a model whose layers are in a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.intake.schema import Schema, Target
from fastreg.layers import Flatten, Input, Layer, Residual, Standardize
from fastreg.layers.values import plain_shape
from fastreg.model.graph import ONE_HEAD, ONE_INPUT, Entry, Graph, Node
from fastreg.model.model import MAX_LAYERS, Layers, Model, check_count, listed, named


class Sequential(Model):
    """Layers, one after the other.

    Parameters
    ----------
    layers
        Objects of `fastreg.layers`, a `fastreg.Residual`, or specs of them such as "dropout(keep_prob=0.5)"
        (`fastreg.specs`). An `fastreg.Input` may come first, where the shape of a sample shall be known before there
        are data. A `fastreg.data.Schema` or a fitted `fastreg.data.Standardizer` may come first, a fitted
        `fastreg.data.TargetScaler` last. The model keeps named copies of the layers. The default name of a layer is its
        index ("0", "1", ...).

    Attributes
    ----------
    layers : tuple of Layer
        The layers with their names. An option of a layer can be set between fits: `model.layers[0].trainable = False`,
        `model.layers["hidden"].activation = "tanh"`. So can all layers, if they have the same parameters. Trainers,
        predictions and the file obey at once.
    input_shape : tuple of int or None
        The shape of a sample. None until the model is built.
    dtype : str
        "float32" or "float64".
    loss : fastreg.losses.Loss or None
        The loss that the model was last trained under, also in the file. `evaluate` uses it, and a trainer without
        `loss=` takes it. None in a new model. To train a model for something else, set it to None first.
    output_transform : str
        How predict transforms the output of the last layer: "softmax", "sigmoid", "exp" or "linear"; "yes_scores" and
        "class_scores" leave it as it is, and say that the largest class or a yes above 0 is meant. `fit` sets it to the
        transform of the loss. So does `model.loss = ...`.
    schema : fastreg.data.Schema
        What the columns of X and the targets are: names, kinds, classes, scaling. The first fit adds the column names
        of a frame and the names of classes.
    engine, threads
        The engine of predict, "native" or "reference", and its number of threads, or None for the default.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> model = fr.Sequential([fr.Dense(8, activation="relu"), fr.Dense(3)])
    >>> model.build(4, seed=1)
    >>> model.predict(np.ones((2, 4))).shape
    (2, 3)
    """

    _another = "fr.Sequential(layers)"

    @understood
    def __init__(self, layers: Iterable[Layer | Residual]):
        if isinstance(layers, Layer):
            raise TypeError(f"layers: got {checking.shown(layers)}, expected a list of layers: [{layers!r}]")
        schema, given = _with_schema(layers)
        row, graph = _row(given)
        self._begin(schema, _in_row(row), graph)
        if graph.inputs[0].shape is not None:
            self._shapes_of_parameters(self._shape(None))  # refuses at once what does not fit

    def _given_layers(self, value: Iterable[Layer]) -> tuple[Schema, Layers, Graph]:
        schema, given = _with_schema(value)
        row, graph = _row(given)
        same = graph.is_chain and len(row) == len(self.layers)  # all layers of a model with residual blocks, say
        return schema, Layers(_in_row(row)), self.graph if same else graph

    def __repr__(self) -> str:
        if not self.graph.is_chain:
            return Model.__repr__(self)
        shape = self.graph.inputs[0].shape
        return f"Sequential([{'' if shape is None else f'Input({plain_shape(shape)}), '}{listed(self.layers)}])"


def _row(given: list) -> tuple[list[Layer], Graph]:
    """The layers of a list, those of residual blocks included, and their graph."""
    layers: list[Layer] = []
    nodes: list[Node] = []
    entry = Entry(ONE_INPUT)
    if given and isinstance(given[0], Input):
        if given[0].name is not None or given[0].columns is not None:
            raise ValueError(
                f"layers[0]: got {given[0]!r}, expected an Input with a shape alone; names and columns are for "
                "fr.Model(inputs, outputs)"
            )
        entry, given = Entry(ONE_INPUT, given[0].shape), given[1:]

    def add(layer: Layer, *values: int) -> int:
        """The value of a layer on others."""
        nodes.append(Node(len(layers), values))
        layers.append(layer)
        return len(layers)

    def go(elements: Iterable, value: int) -> int:
        """The value after a row of layers."""
        for element in elements:
            if isinstance(element, Residual):
                end = go(element.layers, value)
                around = value if element.shortcut is None else go([element.shortcut], value)
                value = add(element.add, around, end)
            else:
                value = add(element, value)
        return value

    end = go(given, 0)
    return layers, Graph((entry,), tuple(nodes), {ONE_HEAD: end})


def _in_row(row: list) -> tuple[Layer, ...]:
    """Named copies of the layers of a row."""
    check_count(len(row))
    layers = named(row)
    for index, layer in enumerate(layers):
        if isinstance(layer, Standardize) and not all(isinstance(before, Flatten) for before in layers[:index]):
            raise ValueError(f"layers[{index}]: got {layer!r}, expected it as the first layer, or after a Flatten()")
    return layers


def _with_schema(layers) -> tuple[Schema, list]:
    """The schema in a list of layers, and the layers without it: a Schema may come first, a TargetScaler last."""
    given = list(islice(checking.iterate("layers", layers, "a list of layers"), MAX_LAYERS + 1))
    schema = Schema()
    if given and isinstance(given[0], Schema):
        schema = given.pop(0)
        if any(column.coded for column in schema.columns or ()):
            raise ValueError(
                "layers: got a schema whose texts are codes, expected fr.Model of what fr.data.inputs_of(schema) gives"
            )
        if schema.mean is not None and schema.factor is not None:
            given.insert(0, Standardize(schema.mean, schema.factor))
        elif schema.scaling != "none" and not (given and isinstance(given[0], Standardize)):
            raise ValueError(
                "layers: got a schema without the numbers of its scaling, which a loaded model has in its first layer; "
                "fr.data.fit_schema(schema, X, y) makes them"
            )
    if late := [i for i, layer in enumerate(given) if isinstance(layer, Schema)]:
        raise TypeError(f"layers[{late[0]}]: got a Schema after another layer, expected it as the first element")
    if given and hasattr(given[-1], "target") and not isinstance(given[-1], type):
        scaled: Target = given.pop().target()
        schema = replace(schema, target=replace(schema.target, task="numbers", mean=scaled.mean, scale=scaled.scale))
    return schema, given
