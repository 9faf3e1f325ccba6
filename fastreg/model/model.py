"""Model: a graph of layers, their parameters, and predictions."""

from __future__ import annotations

import json
import math
import pickle
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from fastreg.common import checking, checksum, pieces, specs
from fastreg.common.attributes import Settable
from fastreg.common.calls import Absent
from fastreg.common.description import from_config
from fastreg.common.named import Scores
from fastreg.common.safetensors import write_tensors
from fastreg.common.sparse import SparseRows
from fastreg.common.transforms import TRANSFORMS
from fastreg.common.understood import understood
from fastreg.engines.arena import Arena
from fastreg.engines.base import Engine, Feed, Tally, buffer_bytes, count_rows
from fastreg.engines.session import ROWS, Claim, Sessions, bind, run_through
from fastreg.intake.schema import Schema, Target
from fastreg.layers import BY_NAME, Embedding, Function, Layer, Standardize, Value
from fastreg.losses import losses
from fastreg.losses.losses import Loss
from fastreg.machine import _core
from fastreg.machine.threads import checked as checked_threads
from fastreg.model.codes import check_codes
from fastreg.model.dataset import checked
from fastreg.model.graph import MAX_NODES, Graph, Network, chain, check_uses, trace
from fastreg.model.lowering import lower
from fastreg.model.tasks import DEFAULT_METRICS, Task, loss_weights, means, of_heads, only, unwrapped
from fastreg.program.precision import in_bfloat16
from fastreg.program.riders import PURPOSE_INIT, stream

if TYPE_CHECKING:
    from fastreg.model.summary import Summary

FORMAT = "1"  # the version of model files
FORMAT_KEY = "fastreg.format"
MODEL_KEY = "fastreg.model"
MAX_LAYERS = MAX_NODES  # each layer has at least one use
SETTINGS: dict[str, Callable[[Any], Any]] = {
    "engine": checking.engine,
    "threads": checked_threads,
    "dtype": checking.dtype,
}
MAX_PARAMETERS = 1 << 40
CODE = frozenset(("call", "forward", "train_step", "test_step", "training_step"))  # of models in Keras and PyTorch
MOST_SHOWN, FIRST_SHOWN = 24, 6  # of the layers in the repr of a model, and of one that has more
NO_LOSS = "the model keeps no loss, since it is not trained or its file is of an older version"
Self = TypeVar("Self", bound="Model")
T = TypeVar("T")
InputShape = tuple[int, ...] | dict[str, tuple[int, ...]]

NOT_BUILT = "model: it has no parameters yet; call build(input_shape) or fit first"


class Model(Settable):
    """A graph of layers, their parameters, and predictions. `fastreg.Sequential` is one whose layers are in a row.

    Parameters
    ----------
    inputs
        The inputs: an `fastreg.Input`, a list or a dict of them.
    outputs
        What the layers made of them: one value, a list, or a dict of names. Each is a head of the model. Its name is
        that in the dict, else the name of its last layer.

    Attributes
    ----------
    layers : tuple of Layer
        The layers with their names, each once, in the order of their first use. Options can be set, as in a
        `fastreg.Sequential`. A layer that is used several times has one set of parameters.
    heads : tuple of str
        The names of the heads.
    input_shape : tuple of int, or dict
        The shape of a sample. A dict by input if there are several. None until the model is built, if the data decide.
    dtype, loss, output_transform, schema, engine, threads :
        As in a `fastreg.Sequential`. Of several heads, `loss` and `output_transform` are dicts by head.
    loss_weights : dict or None
        The weights of the losses of the heads that the model was last trained under. None for 1.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> x = fr.Input(8)
    >>> h = fr.Dense(16, "relu")(x)
    >>> y = fr.Dense(3)(fr.Add()([h, fr.Dense(16)(h)]))
    >>> model = fr.Model(x, y)
    >>> model.build(seed=1)
    >>> model.predict(np.ones((2, 8))).shape
    (2, 3)
    """

    layers: Layers
    loss: Any = None
    output_transform: Any
    loss_weights: dict[str, float] | None = None
    _told = True  # whether the loss is known. False for a model of values from a file that has no loss

    graph: Graph
    _another = "fr.Model(inputs, outputs)"
    _known_widths: tuple[Any, dict[str, int]] = (None, {})
    _seen_shape: tuple[int, ...] | None = None  # of the data that were checked last, before the model is built

    def __init_subclass__(cls, **kwargs):
        if not CODE.isdisjoint(vars(cls)):
            raise TypeError(
                f"class {cls.__name__}({cls.__bases__[0].__name__}): the engines run layers, not code of a model; "
                "fr.Sequential([...]) has layers in a row, fr.Model(inputs, outputs) any graph of them"
            )
        super().__init_subclass__(**kwargs)

    @understood
    def __init__(self, inputs, outputs):
        layers, graph = trace(inputs, outputs)
        self._begin(Schema(), named(layers), graph)
        if all(entry.shape is not None for entry in graph.inputs):
            self._shapes_of_parameters(self._shape(None))  # refuses at once what does not fit

    def _begin(self, schema: Schema, layers: Iterable[Layer], graph: Graph) -> None:
        """Everything but the input shape."""
        self._parameters: Arena | None = None
        self._changes = 0  # how often the layers have changed
        for what, many in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            if len(many) > _core.MAX_HEADS:
                raise ValueError(f"{what}: got {len(many)}, expected at most {_core.MAX_HEADS}")
        check_uses(len(graph.nodes))
        self.graph, self.schema = graph, schema
        self.layers = Layers(layers)
        self.input_shape: InputShape | None = None
        self.dtype = "float32"
        self.output_transform = "linear"
        self.engine = "native"
        self.threads: int | None = None
        self._sessions = Sessions()
        self._claim = Claim()
        self._complete = True

    def __setattr__(self, name: str, value) -> None:
        """Checks what is set."""
        if name == "layers":
            self._set_layers(value)
            return
        check = SETTINGS.get(name)
        value = value if check is None else check(value)
        if name == "loss":
            value = None if value is None else unwrapped(of_heads("loss", value, self.heads, _loss))
        elif name == "output_transform":
            value = unwrapped(of_heads("output_transform", value, self.heads, _transform))
        if name == "dtype" and self._parameters is not None and value != self._parameters.flat.dtype.name:
            raise ValueError(f"dtype: got {value!r} for a model that has parameters, expected copy(dtype={value!r})")
        if name == "loss":
            self.__dict__.update(self._of_loss(value))
            return
        super().__setattr__(name, value)

    def _of_loss(self, value, weights: dict[str, float] | None = None) -> dict[str, Any]:
        """The attributes of a model that keeps this loss, and weights of the losses of its heads."""
        transform = unwrapped(self._transforms_of(value))
        return {"loss": value, "loss_weights": weights, "output_transform": transform, "_told": True}

    def _transforms_of(self, loss) -> dict[str, str]:
        """The transform of each head under a loss, or under a dict of them."""
        if loss is None:
            return dict.fromkeys(self.heads, "linear")
        return {head: one.transform for head, one in self._by_head(loss).items()}

    def _by_head(self, value: T) -> dict[str, T]:
        """What is kept for each head: a dict, or the value itself for the only one."""
        return value if isinstance(value, dict) else {self.heads[0]: value}

    @property
    def transforms(self) -> dict[str, str]:
        """`output_transform` by head."""
        return self._by_head(self.output_transform)

    @property
    def targets(self) -> dict[str, Target]:
        """What the targets of each head are."""
        alone = len(self.heads) == 1
        return {head: self.schema.target_of(head, alone) for head in self.heads}

    def keeps(self, tasks: Sequence[Task]) -> bool:
        """Whether the model keeps these losses and weights already."""
        return all(kept is task.loss for kept, task in zip(self._by_head(self.loss).values(), tasks, strict=True)) and (
            (self.loss_weights or dict.fromkeys(self.heads, 1.0)) == {task.head: task.weight for task in tasks}
        )

    def keep(self, tasks: Sequence[Task]) -> None:
        """Keeps the losses that it is trained under, and their weights."""
        weights = {task.head: task.weight for task in tasks}
        weighted = any(weight != 1 for weight in weights.values())
        loss = unwrapped({task.head: task.loss for task in tasks})
        self.__dict__.update(self._of_loss(loss, weights if weighted else None))

    # --- Parameters ----------------------------------------------------------------------------------------------

    @understood
    def build(self, input_shape=None, seed: int = 0, dtype: str = "float32") -> None:
        """Draws the parameters. A trainer calls it when it first sees data. A model built again forgets its loss.

        Parameters
        ----------
        input_shape
            The shape of a sample, without the number of rows. A dict by input if there are several. Not needed if all
            inputs tell it.
        seed
            The draws are a pure function of the seed and of the position of the layer.
        dtype
            "float32" or "float64". Both start from the same draws.
        """
        self._build(self._shape(input_shape), checking.seed(seed), checking.dtype(dtype))

    def _build(self, shape: InputShape, seed: int, dtype: str, zeros: Collection[str] = ()) -> None:
        """`build`. The parameters of the layers `zeros` are zeros, since their values come from elsewhere."""
        self._claim.check_free("build")
        made = self._allocated(shape, dtype)
        arena = made["_parameters"]
        for index, (layer, (before, _)) in enumerate(zip(self.layers, self.layer_shapes(shape), strict=True)):
            parameters = {} if str(layer.name) in zeros else layer.parameters(before)
            for part, (key, p) in enumerate(parameters.items()):
                # Weight and bias of a layer draw from different streams.
                place = stream(PURPOSE_INIT, index + part * MAX_LAYERS)
                drawn = p.initializer.draw(p.shape, p.fan_in, p.fan_out, seed, place)
                pieces.copy(arena[f"{layer.name}.{key}"], drawn)
        if self.built:
            made |= self._of_loss(None)  # a new model, which nothing has trained
        self.__dict__.update(made)  # at once: a model that was interrupted is as it was

    def _allocated(self, shape: InputShape, dtype: str) -> dict[str, Any]:
        """The attributes of a model that is built, with parameters of zeros."""
        for layer in self.embeddings:
            layer.check_dtype(dtype)
        return {"_parameters": Arena(self._shapes_of_parameters(shape), dtype), "input_shape": shape, "dtype": dtype}

    def _shapes_of_parameters(self, shape: InputShape) -> dict[str, tuple[int, ...]]:
        shapes = {name: parameter.shape for name, parameter in self.network(shape).parameters().items()}
        count = sum(map(math.prod, shapes.values()))
        if count > MAX_PARAMETERS:
            raise ValueError(
                f"model: got {count} parameters, expected at most {MAX_PARAMETERS}: more than memory holds"
            )
        return shapes

    def _shape(self, given) -> InputShape:
        """The shape of a sample, as the argument `input_shape` gives it, if it suits the inputs."""
        entries = self.graph.inputs
        if given is None:
            unknown = [entry.name for entry in entries if entry.shape is None]
            if unknown:
                raise ValueError(f"input_shape: got None, expected the shape of a sample, which {unknown[0]!r} needs")
            given = {entry.name: entry.shape for entry in entries} if self.many_inputs else entries[0].shape
        if not self.many_inputs:
            return checking.sample_shape(given)
        if not isinstance(given, Mapping) or given.keys() != {entry.name for entry in entries}:
            names = ", ".join(entry.name for entry in entries)
            raise ValueError(f"input_shape: got {checking.shown(given)}, expected a shape for each of {names}")
        return {entry.name: checking.sample_shape(given[entry.name]) for entry in entries}

    @property
    def many_inputs(self) -> bool:
        """Whether data are given for each of several inputs."""
        return len(self.graph.inputs) > 1 and self.graph.inputs[0].columns is None

    def network(self, input_shape: InputShape) -> Network:
        """Layers, graph and the shapes of the inputs, for samples of this shape."""
        shapes = []
        for entry in self.graph.inputs:
            given = input_shape[entry.name] if isinstance(input_shape, dict) else input_shape
            if entry.shape is not None and given != entry.shape:
                raise ValueError(f"input {entry.name!r}: got samples of shape {given}, expected {entry.shape}")
            if entry.columns is not None:
                if len(given) != 1 or given[0] <= max(entry.columns):
                    raise ValueError(
                        f"input {entry.name!r}: got samples of shape {given}, expected a table with at least "
                        f"{max(entry.columns) + 1} columns"
                    )
                given = (len(entry.columns),)
            shapes.append(given)
        return Network(self.layers, self.graph, tuple(shapes))

    def shapes(self, input_shape: InputShape) -> list[tuple[int, ...]]:
        """The shape of a sample of each value: of the inputs, then of what each node makes."""
        return self.network(input_shape).shapes()

    def layer_shapes(self, input_shape: InputShape) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The shapes of a sample before and after each layer, at its first use."""
        return self.network(input_shape).layer_shapes()

    @property
    def built(self) -> bool:
        """Whether the model has parameters."""
        return self._parameters is not None

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters that the engines work on, by "<layer>.weight" (inputs, units) and "<layer>.bias" (units,).

        Changing their values changes the model. `state_dict` gives copies.
        """
        return self._arena.arrays

    @parameters.setter
    def parameters(self, values: Mapping[str, np.ndarray]) -> None:
        self.load_state_dict(values)

    @property
    def _arena(self) -> Arena:
        """The memory of the parameters."""
        if self._parameters is None:
            raise ValueError(NOT_BUILT)
        return self._parameters

    @property
    def known_shape(self) -> InputShape:
        """The shape of a sample of a model that has parameters."""
        if self.input_shape is None:
            raise ValueError(NOT_BUILT)
        return self.input_shape

    @property
    def inputs(self) -> int:
        """The number of columns of a sample."""
        shape = self.known_shape
        shapes = shape.values() if isinstance(shape, dict) else [shape]
        return sum(map(math.prod, shapes))

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads."""
        return tuple(self.graph.outputs)

    @property
    def outputs(self) -> int:
        """The number of outputs of the first head, the only one of most models."""
        return self.widths[self.heads[0]]

    @property
    def widths(self) -> dict[str, int]:
        """The number of outputs of each head."""
        graph, shape = self.graph, self.input_shape
        key = shape, self._seen_shape, self._changes
        if self._known_widths[0] != key:  # they are asked for several times a fit
            network = self.network_so_far
            shapes = None if network is None else network.shapes()
            widths = {}
            for name, value in graph.outputs.items():
                width = self._units(value) if shapes is None else math.prod(shapes[value])
                if width is None:
                    raise ValueError(NOT_BUILT)
                widths[name] = width
            self._known_widths = key, widths
        return self._known_widths[1]

    @property
    def tells_widths(self) -> bool:
        """Whether the number of outputs is known before the model is built, without the data."""
        if self.input_shape is not None or all(entry.shape or entry.columns for entry in self.graph.inputs):
            return True
        return all(self._units(value) is not None for value in self.graph.outputs.values())

    @property
    def network_so_far(self) -> Network | None:
        """The network for samples of the shape that is known, or that was seen last. None without one."""
        if self.input_shape is not None:
            return self.network(self.input_shape)
        own = [entry.shape if entry.columns is None else (len(entry.columns),) for entry in self.graph.inputs]
        if None not in own:
            return Network(self.layers, self.graph, tuple(cast(list[tuple[int, ...]], own)))
        return None if self.tells_widths or self._seen_shape is None else self.network(self._seen_shape)

    def _units(self, value: int) -> int | None:
        """The number of columns of a value, if the layers of a chain tell it without the shape of the data."""
        count = len(self.graph.inputs)
        if value < count:
            return None
        node = self.graph.nodes[value - count]
        units = getattr(self.layers[node.layer], "units", None)
        return self._units(node.inputs[0]) if units is None else units

    @property
    def embeddings(self) -> list[Embedding]:
        """The layers that read codes."""
        return [layer for layer in self.layers if isinstance(layer, Embedding)]

    @property
    def last_layers(self) -> dict[str, Layer]:
        """The layer of each head that makes its value, before dropout and the like."""
        found = {}
        for name, value in self.graph.outputs.items():
            node = self.graph.nodes[value - len(self.graph.inputs)]
            while self.layers[node.layer].passes and node.inputs[0] >= len(self.graph.inputs):
                node = self.graph.nodes[node.inputs[0] - len(self.graph.inputs)]
            found[name] = self.layers[node.layer]
        return found

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the parameters by name."""
        return self._arena.copies()

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Copies parameters in. Names, shapes and values are checked before anything changes.

        Parameters
        ----------
        state
            A mapping like that of `state_dict`: all parameters of this model and nothing else, real and finite.
        """
        own = self.parameters
        if not isinstance(state, Mapping):
            raise TypeError(f"state: got {type(state).__name__}, expected a mapping of names to arrays")
        missing, unknown = own.keys() - state.keys(), state.keys() - own.keys()
        if missing or unknown:
            lists = (checking.shown(sorted(names, key=str)) for names in (missing, unknown, own))
            near = checking.nearest(str(min(unknown, key=str)), missing or own) if unknown else ""
            raise ValueError("state: missing {}, unknown {}, expected {}".format(*lists) + near)
        values = {}
        for name, array in own.items():
            value = checking.array(f"state[{name!r}]", state[name], self.dtype)
            if value.shape != array.shape:
                raise ValueError(f"state[{name!r}]: got shape {value.shape}, expected {array.shape}")
            with np.errstate(over="ignore"):
                value = value.astype(self.dtype, copy=False)
            if not checking.all_finite(value):
                raise ValueError(f"state[{name!r}]: got values that are not finite in {self.dtype}")
            values[name] = value
        self._arena.take(values)

    # --- Layers --------------------------------------------------------------------------------------------------

    def _set_layers(self, value: Iterable[Layer]) -> None:
        """Sets all layers. Those of a model that has parameters must have the same ones."""
        if "layers" in self.__dict__:
            self._claim.check_free("layers")
            schema, layers, graph = self._given_layers(value)
            self._check_layers(layers, graph)
            self._adopt(layers, graph=graph, schema=schema or self.schema)
        else:
            self._adopt(Layers(value))

    def _given_layers(self, value: Iterable[Layer]) -> tuple[Schema, Layers, Graph]:
        """What is set as `layers`: as many as the graph has."""
        layers = Layers(named(value))
        if len(layers) != len(self.layers):
            raise ValueError(f"layers: got {len(layers)}, expected {len(self.layers)}, one for each layer of the graph")
        return Schema(), layers, self.graph

    def _adopt(self, layers: Layers, **more) -> None:
        """Takes layers, and what goes with them. This drops the programs of the layers before."""
        for layer in layers:
            layer._set(_owner=weakref.ref(self))
        self.__dict__.update(more, layers=layers, _changes=self._changes + 1, _sessions=Sessions())

    def _set_option(self, layer: Layer, name: str, value) -> None:
        """Sets an option of one layer, for all that use the model."""
        index = next((i for i, own in enumerate(self.layers) if own is layer), None)
        if index is None:
            raise AttributeError(
                f"layer {layer.name!r}: its model has other layers by now; set model.layers[{layer.name!r}].{name}"
            )
        self._claim.check_free(f"layer {layer.name!r}: {name}")
        if name == "name" and value is None:
            value = str(index)
        changed = layer.changed(name, value)
        layers = Layers(changed if own is layer else own for own in self.layers)
        if len({own.name for own in layers}) < len(layers):
            raise ValueError(f"layers: got the name {value!r} twice, expected different names")
        self._check_layers(layers, self.graph)
        self._adopt(self.layers)  # first: should Ctrl-C come now, the programs are made anew for nothing
        layer._set(**changed.__dict__)

    def _check_layers(self, layers: Layers, graph: Graph) -> None:
        """Refuses layers that do not fit the parameters of this model."""
        if self.input_shape is None:
            return
        network = self.network(self.input_shape)
        own, other = (
            {name: parameter.shape for name, parameter in some.parameters().items()}
            for some in (network, network._replace(layers=layers, graph=graph))
        )
        if own != other:
            changed = [name for name in {**own, **other} if own.get(name) != other.get(name)]
            raise ValueError(
                f"layers: got {checking.shown({name: other.get(name) for name in changed})}, expected the parameters "
                f"{checking.shown({name: own.get(name) for name in changed})} of this model; "
                f"{self._another} makes a new model"
            )
        for before, after in zip(self.layers, layers, strict=False):
            if isinstance(after, Standardize) and after.mean is not None and after != before:
                raise ValueError(
                    f"layers: got another mean or scale for {after.name!r}, which are parameters of this model; "
                    f"model.load_state_dict(...) sets them"
                )

    # --- Predictions ---------------------------------------------------------------------------------------------

    @understood
    def predict(self, X, batch_size: int = ROWS, *, samples: int | None = None, seed: int = 0):
        """Predictions for the rows of X. Dropout and noise are off, unless `samples` asks for random passes.

        Parameters
        ----------
        X
            (n, ...) real numbers: samples of `input_shape`. A dict by input, or a list in their order, if there are
            several.
        batch_size
            Rows to process at a time. The prediction of a row does not depend on it.
        samples
            None, or a number of passes with dropout and noise on. Their mean and standard deviation are returned. A
            large deviation shows what the network does not know (Gal and Ghahramani, Dropout as a Bayesian
            Approximation, 2016).
        seed
            Seed of the passes. The draws of a pass follow from it, the number of the pass and the position of the row
            in X.

        Returns
        -------
        ndarray of shape (n, outputs)
            Probabilities under a cross-entropy, values otherwise. Of several heads a dict of such arrays.
        mean, std
            With `samples`: two such arrays, the mean of the passes' predictions and their standard deviation,
            sqrt(mean of (p - mean)^2) as in numpy.std. It is 0 if nothing is random.

        Examples
        --------
        >>> import numpy as np, fastreg as fr
        >>> model = fr.Sequential([fr.Dropout(rate=0.5), fr.Dense(1)])
        >>> model.build(3)
        >>> mean, std = model.predict(np.ones((4, 3)), samples=100)
        >>> mean.shape, bool((std > 0).all())
        ((4, 1), True)
        """
        how = self.transforms, self.engine, self.threads
        return self._run_forward(X, batch_size, *how, samples=samples, seed=seed)

    def _run_forward(
        self,
        X,
        batch_size: int,
        transforms: Mapping[str, str],
        engine: str,
        threads: int | None,
        rows=None,
        samples: int | None = None,
        seed: int = 0,
        precision: str = "float32",
    ):
        """`predict` with everything it depends on as arguments. `rows` selects rows."""
        assert self._arena is not None  # raises if there are no parameters
        X = self._check_inputs("X", X)
        count = count_rows(X)
        batch_size = min(checking.integer("batch_size", batch_size), max(count, ROWS))
        samples, seed = None if samples is None else checking.integer("samples", samples), checking.seed(seed)
        rows = checking.rows("rows", rows, count)
        return self._forward_checked(X, batch_size, transforms, engine, threads, rows, samples, seed, precision)

    def _forward_checked(
        self,
        X,
        batch_size: int,
        transforms: Mapping[str, str],
        engine: str,
        threads: int | None,
        rows: np.ndarray | None = None,
        samples: int | None = None,
        seed: int = 0,
        precision: str = "float32",
    ):
        """`_run_forward` of inputs and arguments that are checked already."""
        how = transforms, engine, threads, samples is not None, precision
        key = (batch_size, id(self._arena), self._changes, *how)
        feed = Feed(X, batch_size, order=rows, seed=seed, by_position=True)
        out = {head: np.empty((feed.rows, width), self.dtype) for head, width in self.widths.items()}
        feed.out, targets = unwrapped(out), self.targets
        with self._sessions.hold("predict", key, self._bind) as session:
            if samples is not None:
                found = _mean_and_std(session.engine, feed, out, samples)
                means = {head: targets[head].decode(mean) for head, (mean, _) in found.items()}
                stds = {head: targets[head].spread(std) for head, (_, std) in found.items()}
                return unwrapped(means), unwrapped(stds)
            run_through(session.engine, feed, Tally(), "X")
        return unwrapped({head: targets[head].decode(values) for head, values in out.items()})

    @understood
    def predict_labels(self, X, batch_size: int = ROWS):
        """The predicted class of each row, by name.

        Parameters
        ----------
        X, batch_size
            As in predict.

        Returns
        -------
        ndarray
            (n,) the most probable classes: texts or numbers as they were in the training data, else the index of the
            output. (n, outputs) yes or no, for several outputs under a sigmoid. Of several heads a dict by head, of
            those that predict classes.

        Raises
        ------
        ValueError
            The model predicts numbers.

        Examples
        --------
        >>> import numpy as np, fastreg as fr
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0]] * 20)
        >>> model = fr.Sequential([fr.Dense(2)])
        >>> history = fr.Trainer(model, optimizer=fr.SGD(1.0)).fit(X, ["no", "yes"] * 20, epochs=20)
        >>> model.predict_labels(X[:2])
        array(['no', 'yes'], dtype='<U3')
        """
        predicted, schema = self._by_head(self.predict(X, batch_size)), self.schema
        if len(predicted) > 1:
            how = self.transforms
            named = {head: values for head, values in predicted.items() if TRANSFORMS[how[head]].answers != "numbers"}
            if not named:
                raise ValueError("predict_labels: all heads predict numbers, which have no names; predict gives them")
            schemas = {head: replace(schema, target=self.targets[head]) for head in named}
            return {head: schemas[head].labels(values, how[head]) for head, values in named.items()}
        return schema.labels(predicted[self.heads[0]], self.output_transform)

    @property
    def classes(self):
        """The class of each output, as in the training data. None if labels are the indices of the outputs. Of several
        heads a dict by head."""
        return unwrapped({head: target.classes for head, target in self.targets.items()})

    @understood
    def evaluate(self, X, y=None, sample_weight=None) -> dict[str, float]:
        """The loss on data, without dropout and without penalties, and the accuracy if the model predicts classes.

        Parameters
        ----------
        X, y, sample_weight
            As in `Trainer.fit`.

        Returns
        -------
        dict
            What `Trainer.evaluate` returns under the loss that the model was trained under, which its file keeps. For
            other metrics: `fastreg.Trainer(model, metrics=[...]).evaluate(X, y)`.

        Raises
        ------
        ValueError, TypeError
            An argument is not as described above, or the model keeps no loss: a new one, or one of an older file.

        Examples
        --------
        >>> import numpy as np, fastreg as fr
        >>> model = fr.Sequential([fr.Dense(1)])
        >>> model.build(2)
        >>> model.load_state_dict({"0.weight": [[1.0], [2.0]], "0.bias": [0.0]})
        >>> model.loss = "mse"
        >>> model.evaluate(np.eye(2), [1.0, 4.0])
        {'loss': 2.0}
        """
        tasks = self._tasks()
        arena = self._arena
        data = checked(self, tasks, self.dtype, X, y, sample_weight)
        tally, key = Tally(), (ROWS, id(arena), self._changes, tasks, self.engine, self.threads, self.scales)
        with self._sessions.hold("evaluate", key, self._bind_loss) as session:
            run_through(session.engine, data.feed(ROWS), tally)
        found = means(tasks, tally)
        return Scores(dict.fromkeys(found, math.nan) if tally.diverged else found)

    def _tasks(self) -> tuple[Task, ...]:
        """What each head was trained for, with the accuracy where there is one."""
        heads, alone, tasks = kept_losses(self), len(self.heads) == 1, []
        for head, loss in heads.items():
            if loss is None:
                raise ValueError(f"evaluate: {NO_LOSS}, expected model.loss = 'mse' or another loss first")
            metrics = DEFAULT_METRICS if loss.counts_hits else ()
            tasks.append(Task(head, alone, present(loss), (self.loss_weights or {}).get(head, 1.0), metrics))
        return tuple(tasks)

    @property
    def scales(self) -> tuple[tuple[float, ...] | None, ...]:
        """What the targets of each head are divided by."""
        return tuple(target.scale for target in self.targets.values())

    def _bind_loss(self, key: tuple):
        batch_size, _, _, tasks, engine, threads, scales = key
        widths = self.widths
        lowered = {task.head: task.lowered(widths[task.head], scale) for task, scale in zip(tasks, scales, strict=True)}
        program = lower(self.network(self.known_shape), losses=lowered)
        return bind(key, program, self._arena, None, batch_size, engine, threads)

    def _bind(self, key: tuple):
        batch_size, _, _, transforms, engine, threads, live, precision = key
        program = lower(self.network(self.known_shape), transforms=transforms, dropout=live)
        program = in_bfloat16(program) if precision == "bfloat16" else program
        return bind(key, program, self._arena, None, batch_size, engine, threads)

    def own_input(self, X):
        """What is given for the only input, which may come by its name."""
        expected = self.graph.inputs[0].name
        if isinstance(X, Mapping) and list(X) != [expected] and any(np.ndim(part) > 1 for part in X.values()):
            raise ValueError(f"X: got the inputs {checking.shown(list(X))}, expected one array, or {{{expected!r}: X}}")
        own = only(X, expected)
        return X if own is X or np.ndim(own) < 2 else own  # a table may have one column of that name

    def _check_inputs(self, name: str, X, schema: Schema | None = None, dtype: str | None = None) -> Any:
        """X as an array of finite rows, or a dict of them by input, if this model can take them. Schema and dtype are
        its own, unless given."""
        schema = self.schema if schema is None else schema
        dtype = self.dtype if dtype is None else dtype
        if self.many_inputs:
            return self._check_each_input(name, X, dtype)
        numbers = schema.inputs(name, self.own_input(X), dtype)
        names = schema.encoded_names if schema.columns is not None else None
        shape = None if isinstance(self.input_shape, dict) else self.input_shape
        X = checking.inputs(name, numbers, dtype, shape, names)
        if isinstance(X, SparseRows) and self.graph.inputs[0].columns is not None:
            expected = "expected an array, of which the inputs of the model read columns"
            raise TypeError(f"{name}: got a sparse matrix, {expected}; {name}.toarray() makes one")
        if self.input_shape is None:
            self.network(X.shape[1:]).parameters()
            self._seen_shape = X.shape[1:]
        self._check_codes(name, X, names)
        return X

    def _check_each_input(self, name: str, X, dtype: str) -> dict[str, Any]:
        """Several inputs by name: of a dict, or of a list in their order."""
        entries = self.graph.inputs
        names = [entry.name for entry in entries]
        if isinstance(X, (list, tuple)) and len(X) == len(entries):
            X = dict(zip(names, X, strict=True))
        told = ", ".join(map(repr, names))
        if not isinstance(X, Mapping):
            raise TypeError(f"{name}: got {checking.shown(X)}, expected a dict with the inputs {told}")
        for other in X:
            if other not in names:
                raise ValueError(f"{name}: got the input {checking.shown(other)}, expected one of {told}")
        shapes = self.input_shape if isinstance(self.input_shape, dict) else {}
        found: dict[str, Any] = {}
        for entry in entries:
            own = entry.name
            if own not in X:
                raise ValueError(f"{name}: got no input {own!r}, expected all of {told}")
            found[own] = checking.inputs(f"{name}[{own!r}]", X[own], dtype, shapes.get(own, entry.shape))
            if len(found[own]) != len(found[names[0]]):
                got = f"got {len(found[own])} rows"
                expected = f"expected {len(found[names[0]])}, as many as {name}[{names[0]!r}] has"
                raise ValueError(f"{name}[{own!r}]: {got}, {expected}")
        if not shapes:
            self.network({own: part.shape[1:] for own, part in found.items()}).parameters()
        self._check_codes(name, found)
        return found

    def _check_codes(self, name: str, X, names=None) -> None:
        """Refuses inputs of embeddings that hold no codes."""
        if self.embeddings:
            shape = {own: part.shape[1:] for own, part in X.items()} if isinstance(X, dict) else X.shape[1:]
            check_codes(name, X, self.network(shape), names)

    # --- Description ---------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Everything but the parameters, as a dict for JSON."""
        shape = self.input_shape
        if isinstance(shape, dict):
            plain = {name: list(one) for name, one in shape.items()}
        config = {
            "layers": [layer.config() for layer in self.layers],
            **({} if self.graph == chain(len(self.layers)) else {"graph": self.graph.config()}),
            "input_shape": plain if isinstance(shape, dict) else None if shape is None else list(shape),
            "dtype": self.dtype,
            "output_transform": self.output_transform,
        }
        if self.loss is not None:
            config["loss"] = unwrapped(
                {head: losses.to_config(loss) for head, loss in self._by_head(self.loss).items()}
            )
        if self.loss_weights is not None:
            config["loss_weights"] = self.loss_weights
        return {**config, "schema": self.schema.config()} if self.schema else config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom: Mapping[str, Any] | None = None) -> Model:
        """The model that `config` describes. If it was built, its parameters are zeros, to be loaded. `custom` has what
        is written in Python, as for `fastreg.load`."""
        if not isinstance(config, Mapping) or "layers" not in config:
            raise TypeError(f"config: got {checking.shown(config)}, expected a dict, as model.config() gives it")
        check_count(len(config["layers"]))
        custom = {} if custom is None else custom
        layers = named(_layers_of(config["layers"], custom))
        graph = Graph.from_config(config["graph"], len(layers)) if "graph" in config else chain(len(layers))
        model = cls._made(layers, graph)
        model.output_transform = config["output_transform"]
        if "loss" in config:
            told = config["loss"] if len(model.heads) > 1 else {model.heads[0]: config["loss"]}
            transforms = dict(model.transforms)
            model.loss = {head: losses.of_config(one, transforms.get(head, ""), custom) for head, one in told.items()}
            model.output_transform = transforms
        if "loss_weights" in config:
            model.loss_weights = loss_weights(config["loss_weights"], model.heads)
        if "schema" in config:
            model.schema = Schema.from_config(config["schema"])
        dtype = checking.dtype(config["dtype"])
        if config["input_shape"] is not None:
            model.__dict__.update(model._allocated(model._shape(config["input_shape"]), dtype))
        return model

    @classmethod
    def _made(cls: type[Self], layers: Iterable[Layer], graph: Graph) -> Self:
        """A model of layers that have names, without parameters."""
        model = cls.__new__(cls)
        model._begin(Schema(), layers, graph)
        return model

    @understood
    def copy(self: Self, dtype: str | None = None) -> Self:
        """An independent model with the same layers and parameter values, maybe in another dtype."""
        dtype = self.dtype if dtype is None else checking.dtype(dtype)
        other = self._made([layer.named(layer.name) for layer in self.layers], self.graph)
        other.engine, other.threads = self.engine, self.threads
        other.loss, other.output_transform, other._told = self.loss, self.output_transform, self._told
        other.loss_weights = self.loss_weights
        other.dtype, other.schema = dtype, self.schema
        if self.input_shape is not None:
            other.__dict__.update(other._allocated(self.input_shape, dtype))
            other._arena.fill(self.parameters)
        return other

    __copy__ = copy

    def __getstate__(self) -> dict[str, Any]:
        """What pickle keeps. A loss that it cannot keep, such as a function defined in another, is kept by name."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("_known_widths", "_seen_shape")}
        kept = {head: _picklable(loss) for head, loss in self._by_head(self.loss).items()}
        return {**state, "loss": unwrapped(kept)} if "loss" in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_changes", 0)
        self.__dict__.setdefault("graph", chain(len(self.layers)))  # of an older version
        if "schema" not in self.__dict__:  # of an older version, which did not tell the loss either
            self.__dict__.update(schema=Schema(), _told=False)
        self._adopt(Layers(self.layers))

    @understood
    def save(self, path) -> None:
        """Writes the model to one safetensors file, which `fastreg.load` reads.

        What is written in Python is kept by name: a `fastreg.Function`, a `fastreg.losses.Custom`. `fastreg.load` says
        which of them it needs again.
        """
        write_tensors(path, self.parameters, checksum.added(self.parameters, self.metadata()))

    def metadata(self) -> dict[str, str]:
        """The metadata that make a file of parameters a model file."""
        config = json.dumps(self.config(), allow_nan=False, separators=(",", ":"))
        return {FORMAT_KEY: FORMAT, MODEL_KEY: config}

    @understood
    def summary(self, batch_size: int | None = None) -> Summary:
        """A table of the layers: their shapes, activations and number of parameters, the share of weights that are
        exactly zero, and their memory; of a graph what each layer reads. A `Dropout` has both its probabilities.

        `print` shows it as text, a notebook as a table. `fastreg.summary.sparsity(model)` gives the numbers as data,
        `Trainer.summary` also the memory that training takes.

        Parameters
        ----------
        batch_size
            The size of a batch. With it, the memory that predictions need is shown too.

        Examples
        --------
        >>> import fastreg as fr
        >>> model = fr.Sequential([fr.Dense(3, weight_init="zeros")])
        >>> model.build(4)
        >>> print(model.summary())
        name  layer                          output  activation  parameters    zeros  memory
        ------------------------------------------------------------------------------------
        0     Dense(3, weight_init=zeros())  (3,)    linear              15  100.0 %    60 B
        15 parameters, 60 B in float32, samples of shape (4,)
        100.0 % of the weights are exactly zero; with the weights as sparse rows (CSR) 32 B
        """
        from fastreg.model import summary

        lines = []
        if batch_size is not None:
            rows = checking.integer("batch_size", batch_size)
            program = lower(self.network(self.known_shape), transforms=self.transforms)
            size = summary.memory(buffer_bytes(program, rows, self.dtype))
            lines = [f"predictions in batches of {rows:,}: {size} of buffers"]
        return summary.summary(self, lines)

    def _repr_html_(self) -> str:
        """The summary, for a notebook."""
        return self.summary().html

    def __call__(self, *values, **options):
        """Models are not called: this says what to do instead."""
        raise TypeError(
            f"{type(self).__name__}: got a call, expected model.predict(X); layers and fr.Residual are called on values"
        )

    def __getitem__(self, index):
        """Models have no index: this says what has. Nor can one go through them."""
        raise TypeError(f"{type(self).__name__}: got an index, expected model.layers[0] or model.layers['name']")

    def __repr__(self) -> str:
        inputs = ", ".join(entry.name for entry in self.graph.inputs)
        layers = listed(self.layers)
        return f"{type(self).__name__}(inputs: {inputs}; outputs: {', '.join(self.heads)}; layers: {layers})"


def trained_layers(model: Model) -> list[Layer]:
    """The layers whose parameters a fit changes."""
    return [layer for layer in model.layers if layer.is_trained]


class Layers(tuple[Layer, ...]):
    """The layers of a model. An index is a position or a name: `model.layers[0]`, `model.layers["hidden"]`.

    Their options can be set: `model.layers[0].trainable = False`. The model obeys at once.
    """

    __slots__ = ()

    def __getitem__(self, index):
        if isinstance(index, str):
            found = [layer for layer in self if layer.name == index]
            if not found:
                names = ", ".join(str(layer.name) for layer in self)
                near = checking.nearest(index, [str(layer.name) for layer in self])
                raise KeyError(f"layers: got {index!r}, expected one of {names}{near}")
            return found[0]
        return tuple.__getitem__(self, index)

    def __setitem__(self, index, value):
        raise TypeError(
            f"layers[{index!r}]: a layer is not replaced alone; set an option of it, as in "
            f"model.layers[{index!r}].trainable = False, or all of model.layers"
        )


def _loss(name: str, value) -> Loss:
    return losses.get(value, name)


def _transform(name: str, value) -> str:
    return checking.choice(name, value, TRANSFORMS)


def _picklable(loss: Loss | None) -> Loss | None:
    """The loss; one in Python that pickle cannot keep by its name alone."""
    if isinstance(loss, losses.Custom):
        try:
            pickle.dumps(loss)
        except MemoryError:
            raise
        except Exception:  # pickle raises errors of many types
            return losses.of_config(loss.config(), loss.transform, {})
    return loss


def kept_losses(model: Model) -> dict[str, Loss | None]:
    """The loss of each head that a model was trained under. Older files tell no more than the transform of its
    predictions."""
    if model.loss is not None:
        return model._by_head(model.loss)
    return {
        head: losses.get(f"{transform}_cross_entropy") if transform in ("softmax", "sigmoid") else None
        for head, transform in model.transforms.items()
    }


def present(loss: Loss) -> Loss:
    """The loss, if it can be computed: its function is there."""
    if isinstance(loss, losses.Custom) and isinstance(loss.function, Absent):
        raise loss.function.refusal()
    return loss


def losses_for(model: Model) -> dict[str, Loss]:
    """The losses of a trainer that was given none."""
    if not model._told:
        raise ValueError(f"loss: got none, and {NO_LOSS}, expected loss='mse' or another")
    kept = kept_losses(model)
    if len(kept) > 1 and None in kept.values():
        heads = ", ".join(f"{head!r}: 'mse'" for head in kept)
        raise ValueError(f"loss: got none for a model of several heads, expected one for each, such as {{{heads}}}")
    suits = losses.softmax_cross_entropy if model.schema.loss is None else losses.get(model.schema.loss)
    return {head: present(loss or suits) for head, loss in kept.items()}


def check_loss(model: Model, task: Task) -> None:
    """Refuses a loss of a head under which the predictions of a trained model would become something else, or that is
    for other targets than those of its schema."""
    name, loss, target = task.argument("loss"), task.loss, model.targets[task.head]
    kind = target.task
    numbers = TRANSFORMS[loss.transform].answers == "numbers"
    if kind is not None and not isinstance(loss, losses.Custom) and (kind == "numbers") != numbers:
        raise ValueError(
            f"{name}: got {loss.name!r} for targets that are {kind} ({target}), expected one for {kind}, or "
            "infer_schema(..., loss=) with this one"
        )
    if loss.transform == "exp" and target.mean is not None:
        raise ValueError(
            f"{name}: got {loss.name!r} for scaled targets, expected targets as they are: "
            f"infer_schema(..., loss={loss.name!r}) leaves them so"
        )
    kept = kept_losses(model)[task.head]
    if kept is not None and kept.transform != loss.transform:
        raise ValueError(
            f"{name}: got {loss.name!r}, which predicts {TRANSFORMS[loss.transform].told}, for a model that was "
            f"trained under {kept.name!r} and predicts {TRANSFORMS[kept.transform].told}; model.loss = None first "
            f"forgets that"
        )


def check_trainable(model: Model) -> None:
    """Refuses a model in which a fit would change nothing."""
    if not trained_layers(model):
        raise ValueError("model: got one whose layers are all frozen, expected at least one with trainable=True")


def named(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Copies of the layers, each with its own name."""
    named: list[Layer] = []
    names: set[str] = set()
    for index, layer in enumerate(layers):
        if isinstance(layer, Value):
            raise TypeError(
                f"layers[{index}]: got {checking.shown(layer)}, expected a layer such as Dense(10): the data tell the "
                f"shape of a sample, and values are for fr.Model(inputs, outputs)"
            )
        if hasattr(layer, "layer") and not isinstance(layer, type):  # a Standardizer
            layer = layer.layer()
        if isinstance(layer, str):
            layer = specs.make(f"layers[{index}]", layer, BY_NAME)
        checking.made(f"layers[{index}]", layer)
        if not isinstance(layer, Layer):
            raise TypeError(f"layers[{index}]: got {checking.shown(layer)}, expected a layer such as Dense(10)")
        name = str(index) if layer.name is None else layer.name
        if name in names:
            raise ValueError(f"layers: got the name {name!r} twice, expected different names")
        names.add(name)
        named.append(layer.named(name))
    if all(layer.option("trainable") is None for layer in named):
        raise ValueError(f"layers: got {checking.shown(list(named))}, expected at least one Dense")
    return tuple(named)


def _layers_of(configs: Iterable[dict[str, Any]], custom: Mapping[str, Any]) -> list[Layer]:
    """The layers that a file describes. Those written in Python come from `custom`."""
    layers: list[Layer] = []
    missing = []
    for config in configs:
        if not isinstance(config, dict) or config.get("type") != "Function":
            layers.append(from_config(config))
            continue
        name = str(config.get("name"))
        layer = custom.get(name)
        if layer is None:
            missing.append(name)
        elif not isinstance(layer, Function) or layer.units != config.get("units"):
            expected = f"the fr.Function with units={config.get('units')!r} that the model had"
            raise ValueError(f"custom[{name!r}]: got {checking.shown(layer)}, expected {expected}")
        else:
            layers.append(layer.named(name))
    if missing:
        shown = ", ".join(f"{name!r}: fr.Function(...)" for name in missing)
        some = "a layer that is" if len(missing) == 1 else "layers that are"
        raise ValueError(f"it has {some} written in Python, expected fr.load(path, custom={{{shown}}})")
    return layers


def _mean_and_std(
    engine: Engine, feed: Feed, out: dict[str, np.ndarray], samples: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation of the outputs of `samples` passes, by Welford's sums in float64. The number of a
    pass is the step of its draws."""
    sums = {head: (np.zeros(values.shape), np.zeros(values.shape)) for head, values in out.items()}
    for number in range(samples):
        feed.step = number
        run_through(engine, feed, Tally(), "X")
        for values, (mean, squares) in zip(out.values(), sums.values(), strict=True):
            change = values - mean
            mean += change / (number + 1)
            squares += change * (values - mean)
    return {
        head: (mean.astype(out[head].dtype), np.sqrt(squares / samples).astype(out[head].dtype))
        for head, (mean, squares) in sums.items()
    }


def check_count(count: int) -> None:
    if count > MAX_LAYERS:
        raise ValueError(f"layers: got {count}, expected at most {MAX_LAYERS}")


def listed(layers: Sequence[Layer]) -> str:
    """The layers as a model shows them: of many the first and the last."""
    told = [unnamed(i, layer) for i, layer in enumerate(layers)]
    if len(told) > MOST_SHOWN:
        told[FIRST_SHOWN : 2 - FIRST_SHOWN] = [f"... {len(layers)} layers ..."]
    return ", ".join(told)


def unnamed(index: int, layer: Layer) -> str:
    return repr(layer.named(None) if layer.name == str(index) else layer)
