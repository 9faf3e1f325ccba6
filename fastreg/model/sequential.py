"""Sequential: layers in a row, their parameters, and predictions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from fastreg.common import checking, specs
from fastreg.common.description import from_config
from fastreg.common.safetensors import write_tensors
from fastreg.engines.arena import Arena
from fastreg.engines.base import Engine, Feed, Tally
from fastreg.engines.session import ROWS, Claim, Sessions, bind, run_through
from fastreg.intake.schema import Schema, Target
from fastreg.layers import BY_NAME, Dense, Flatten, Function, Layer, Standardize
from fastreg.machine.threads import checked as checked_threads
from fastreg.model.lowering import lower
from fastreg.program.riders import PURPOSE_INIT, stream

FORMAT = "1"  # the version of model files
FORMAT_KEY = "fastreg.format"
MODEL_KEY = "fastreg.model"
TRANSFORMS = ("linear", "sigmoid", "softmax")
MAX_LAYERS = 1 << 15  # the streams of the random draws have no room for more
SETTINGS: dict[str, Callable[[Any], Any]] = {
    "engine": checking.engine,
    "threads": checked_threads,
    "dtype": checking.dtype,
    "output_transform": partial(checking.choice, "output_transform", options=TRANSFORMS),
}
MAX_PARAMETERS = 1 << 40
NOT_BUILT = "model: it has no parameters yet; call build(input_shape) or fit first"


class Sequential:
    """Layers, one after the other.

    Parameters
    ----------
    layers
        Objects of `fastreg.layers`, or specs of them such as "dropout(keep_prob=0.5)" (`fastreg.specs`). A
        `fastreg.data.Schema` or a fitted `fastreg.data.Standardizer` may come first, a fitted
        `fastreg.data.TargetScaler` last. The model keeps named copies of the layers. The default name of a layer is its
        index ("0", "1", ...).

    Attributes
    ----------
    layers : tuple of Layer
        The layers with their names.
    input_shape : tuple of int or None
        The shape of a sample. None until the model is built.
    dtype : str
        "float32" or "float64".
    output_transform : str
        How predict transforms the output of the last layer: "softmax", "sigmoid" or "linear". A trainer sets it to the
        transform of its loss.
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

    def __init__(self, layers: Iterable[Layer]):
        self._parameters: Arena | None = None
        self.schema, layers = _with_schema(layers)
        self.layers = _named(layers)
        self.input_shape: tuple[int, ...] | None = None
        self.dtype = "float32"
        self.output_transform = "linear"
        self.engine = "native"
        self.threads: int | None = None
        self._sessions = Sessions()
        self.claim = Claim()

    def __setattr__(self, name: str, value) -> None:
        """Checks what is set."""
        check = SETTINGS.get(name)
        value = value if check is None else check(value)
        if name == "dtype" and self._parameters is not None and value != self._parameters.flat.dtype.name:
            raise ValueError(f"dtype: got {value!r} for a model that has parameters, expected copy(dtype={value!r})")
        super().__setattr__(name, value)

    # --- Parameters ----------------------------------------------------------------------------------------------

    def build(self, input_shape: int | Iterable[int], seed: int = 0, dtype: str = "float32") -> None:
        """Draws the parameters. A trainer calls it when it first sees data.

        Parameters
        ----------
        input_shape
            The shape of a sample, without the number of rows.
        seed
            The draws are a pure function of the seed and of the position of the layer.
        dtype
            "float32" or "float64". Both start from the same draws.
        """
        shape, seed, dtype = checking.sample_shape(input_shape), checking.seed(seed), checking.dtype(dtype)
        self.claim.check_free("build")
        self._shapes_of_parameters(shape)
        drawn = {}
        for index, (layer, before) in enumerate(zip(self.layers, self.shapes(shape), strict=False)):
            for part, (key, p) in enumerate(layer.parameters(before).items()):
                # Weight and bias of a layer draw from different streams.
                place = stream(PURPOSE_INIT, index + part * MAX_LAYERS)
                drawn[f"{layer.name}.{key}"] = p.initializer.draw(p.shape, p.fan_in, p.fan_out, seed, place)
        self._allocate(shape, dtype)
        self.arena.take(drawn)

    def _allocate(self, shape: tuple[int, ...], dtype: str) -> None:
        self._parameters = Arena(self._shapes_of_parameters(shape), dtype)
        self.input_shape, self.dtype = shape, dtype

    def _shapes_of_parameters(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        shapes = {
            f"{layer.name}.{key}": p.shape
            for layer, before in zip(self.layers, self.shapes(shape), strict=False)
            for key, p in layer.parameters(before).items()
        }
        count = sum(map(math.prod, shapes.values()))
        if count > MAX_PARAMETERS:
            raise ValueError(
                f"model: got {count} parameters, expected at most {MAX_PARAMETERS}: more than memory holds"
            )
        return shapes

    def shapes(self, input_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The shape of a sample before each layer, and after the last one."""
        shapes = [input_shape]
        for layer in self.layers:
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except ValueError as error:
                raise ValueError(f"layer {layer.name!r}: {error}") from None
        return shapes

    @property
    def built(self) -> bool:
        """Whether the model has parameters."""
        return self._parameters is not None

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters that the engines work on, by "<layer>.weight" (inputs, units) and "<layer>.bias" (units,).

        Changing their values changes the model. `state_dict` gives copies.
        """
        return self.arena.arrays

    @property
    def arena(self) -> Arena:
        """The memory of the parameters."""
        if self._parameters is None:
            raise ValueError(NOT_BUILT)
        return self._parameters

    @property
    def inputs(self) -> int:
        """The number of columns of a sample."""
        if self.input_shape is None:
            raise ValueError(NOT_BUILT)
        return math.prod(self.input_shape)

    @property
    def outputs(self) -> int:
        """The number of outputs of the last layer."""
        widths = [layer.units for layer in self.layers if isinstance(layer, (Dense, Function))]
        return [units for units in widths if units is not None][-1]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the parameters by name."""
        return self.arena.copies()

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
            raise ValueError("state: missing {}, unknown {}, expected {}".format(*lists))
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
        self.arena.take(values)

    # --- Predictions ---------------------------------------------------------------------------------------------

    def predict(self, X, batch_size: int = ROWS, *, samples: int | None = None, seed: int = 0):
        """Predictions for the rows of X. Dropout and noise are off, unless `samples` asks for random passes.

        Parameters
        ----------
        X
            (n, ...) real numbers: samples of `input_shape`.
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
            Probabilities under a cross-entropy, values otherwise.
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
        how = self.output_transform, self.engine, self.threads
        return self.run_forward(X, batch_size, *how, samples=samples, seed=seed)

    def run_forward(
        self,
        X,
        batch_size: int,
        transform: str,
        engine: str,
        threads: int | None,
        rows=None,
        samples: int | None = None,
        seed: int = 0,
    ):
        """`predict` with everything it depends on as arguments. `rows` selects rows."""
        arena = self.arena
        X = self.check_inputs("X", X)
        batch_size = min(checking.integer("batch_size", batch_size), max(len(X), ROWS))
        samples, seed = None if samples is None else checking.integer("samples", samples), checking.seed(seed)
        key = (batch_size, id(arena), transform, engine, threads, samples is not None)
        feed = Feed(X, batch_size, order=checking.rows("rows", rows, len(X)), seed=seed, by_position=True)
        feed.out = np.empty((feed.rows, self.outputs), self.dtype)
        with self._sessions.hold("predict", key, self._bind) as session:
            if samples is not None:
                mean, std = _mean_and_std(session.engine, feed, samples)
                target = self.schema.target
                return target.decode(mean), std if target.scale is None else std * np.array(target.scale, std.dtype)
            run_through(session.engine, feed, Tally(), "X")
        return self.schema.target.decode(feed.out)

    def predict_labels(self, X, batch_size: int = ROWS) -> np.ndarray:
        """The predicted class of each row, by name.

        Parameters
        ----------
        X, batch_size
            As in predict.

        Returns
        -------
        ndarray
            (n,) the most probable classes: texts or numbers as they were in the training data, else the index of the
            output. (n, outputs) yes or no, for several outputs under a sigmoid.

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
        return self.schema.labels(self.predict(X, batch_size), self.output_transform)

    @property
    def classes(self) -> tuple | None:
        """The class of each output, as in the training data. None if labels are the indices of the outputs."""
        return self.schema.target.classes

    def _bind(self, key: tuple):
        batch_size, _, transform, engine, threads, live = key
        program = lower(self.layers, self.inputs, transform=transform, dropout=live)
        return bind(key, program, self.arena, None, batch_size, engine, threads)

    def check_inputs(self, name: str, X, schema: Schema | None = None) -> np.ndarray:
        """X as an array of finite rows, if this model can take them. A schema is that of the model, unless given."""
        schema = self.schema if schema is None else schema
        X = checking.inputs(name, schema.inputs(name, X, self.dtype), self.dtype)
        if self.input_shape is None:
            self.shapes(X.shape[1:])
        elif X.shape[1:] != self.input_shape:
            rows = ", ".join(map(str, ("n", *self.input_shape)))
            raise ValueError(f"{name}: got shape {X.shape}, expected ({rows}): the shape the model was built for")
        return X

    # --- Description ---------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Everything but the parameters, as a dict for JSON."""
        config = {
            "layers": [layer.config() for layer in self.layers],
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "dtype": self.dtype,
            "output_transform": self.output_transform,
        }
        return {**config, "schema": self.schema.config()} if self.schema else config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sequential:
        """The model that `config` describes. If it was built, its parameters are zeros, to be loaded."""
        _check_count(len(config["layers"]))
        model = cls([from_config(layer) for layer in config["layers"]])
        model.output_transform = config["output_transform"]
        if "schema" in config:
            model.schema = Schema.from_config(config["schema"])
        dtype = checking.dtype(config["dtype"])
        if config["input_shape"] is not None:
            model._allocate(checking.sample_shape(config["input_shape"]), dtype)
        return model

    def copy(self, dtype: str | None = None) -> Sequential:
        """An independent model with the same layers and parameter values, maybe in another dtype."""
        dtype = self.dtype if dtype is None else checking.dtype(dtype)
        other = type(self)(self.layers)
        other.engine, other.threads, other.output_transform = self.engine, self.threads, self.output_transform
        other.dtype, other.schema = dtype, self.schema
        if self.input_shape is not None:
            other._allocate(self.input_shape, dtype)
            other.arena.take(self.parameters)
        return other

    __copy__ = copy

    def save(self, path) -> None:
        """Writes the model to one safetensors file, which `fastreg.load` reads."""
        write_tensors(path, self.parameters, self.metadata())

    def metadata(self) -> dict[str, str]:
        """The metadata that make a file of parameters a model file."""
        config = json.dumps(self.config(), allow_nan=False, separators=(",", ":"))
        return {FORMAT_KEY: FORMAT, MODEL_KEY: config}

    def summary(self) -> str:
        """A table of the layers: their shapes, their number of parameters, the share of weights that are exactly zero,
        and their memory, both as it is and with the weights as compressed sparse rows.

        `fastreg.summary.sparsity(model)` gives the same numbers as data.

        Examples
        --------
        >>> import fastreg as fr
        >>> model = fr.Sequential([fr.Dense(3, weight_init="zeros")])
        >>> model.build(4)
        >>> print(model.summary())
        name  layer                          output  parameters    zeros  memory  as CSR
        --------------------------------------------------------------------------------
        0     Dense(3, weight_init=zeros())  (3,)            15  100.0 %    60 B    32 B
        15 parameters, 60 B in float32, samples of shape (4,)
        100.0 % of the weights are exactly zero; with the weights as sparse rows (CSR) 32 B
        """
        from fastreg.model import summary

        return summary.summary(self)

    def __repr__(self) -> str:
        return f"Sequential([{', '.join(_unnamed(i, layer) for i, layer in enumerate(self.layers))}])"


def trained_layers(model: Sequential) -> list[Dense]:
    """The layers whose parameters a fit changes."""
    return [layer for layer in model.layers if isinstance(layer, Dense) and layer.trainable]


def check_trainable(model: Sequential) -> None:
    """Refuses a model in which a fit would change nothing."""
    if not trained_layers(model):
        raise ValueError("model: got one whose Dense layers are all frozen, expected at least one with trainable=True")


def _with_schema(layers) -> tuple[Schema, list]:
    """The schema in a list of layers, and the layers without it: a Schema may come first, a TargetScaler last."""
    given = list(islice(checking.iterate("layers", layers, "a list of layers"), MAX_LAYERS + 1))
    schema = Schema()
    if given and isinstance(given[0], Schema):
        schema = given.pop(0)
        if schema.mean is not None and schema.factor is not None:
            given.insert(0, Standardize(schema.mean, schema.factor))
    if given and hasattr(given[-1], "target") and not isinstance(given[-1], type):
        scaled: Target = given.pop().target()
        schema = replace(schema, target=replace(schema.target, task="numbers", mean=scaled.mean, scale=scaled.scale))
    return schema, given


def _named(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Copies of the layers, each with its own name."""
    given = list(islice(checking.iterate("layers", layers, "a list of layers"), MAX_LAYERS + 1))
    _check_count(len(given))
    named: list[Layer] = []
    names: set[str] = set()
    for index, layer in enumerate(given):
        if hasattr(layer, "layer") and not isinstance(layer, type):  # a Standardizer
            layer = layer.layer()
        if isinstance(layer, str):
            layer = specs.make(f"layers[{index}]", layer, BY_NAME)
        if not isinstance(layer, Layer):
            raise TypeError(f"layers[{index}]: got {checking.shown(layer)}, expected a layer such as Dense(10)")
        if isinstance(layer, Standardize) and not all(isinstance(before, Flatten) for before in named):
            raise ValueError(f"layers[{index}]: got {layer!r}, expected it as the first layer, or after a Flatten()")
        name = str(index) if layer.name is None else layer.name
        if name in names:
            raise ValueError(f"layers: got the name {name!r} twice, expected different names")
        names.add(name)
        named.append(layer.named(name))
    if not any(isinstance(layer, Dense) for layer in named):
        raise ValueError(f"layers: got {checking.shown(given)}, expected at least one Dense")
    return tuple(named)


def _mean_and_std(engine: Engine, feed: Feed, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the outputs of `samples` passes, by Welford's sums in float64. The number of a
    pass is the step of its draws."""
    out = feed.need("out")
    mean, squares = np.zeros(out.shape), np.zeros(out.shape)
    for number in range(samples):
        feed.step = number
        run_through(engine, feed, Tally(), "X")
        change = out - mean
        mean += change / (number + 1)
        squares += change * (out - mean)
    return mean.astype(out.dtype), np.sqrt(squares / samples).astype(out.dtype)


def _check_count(count: int) -> None:
    if count > MAX_LAYERS:
        raise ValueError(f"layers: got {count}, expected at most {MAX_LAYERS}")


def _unnamed(index: int, layer: Layer) -> str:
    return repr(layer.named(None) if layer.name == str(index) else layer)
