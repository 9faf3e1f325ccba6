"""Model files: the state_dict of a model in the safetensors format, with its config as JSON in the metadata.

Nothing in a file is run, imported or opened. Layers are looked up by name among those that exist.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastreg.common import checking, checksum
from fastreg.common.fileio import FileFormatError, PathLike, naming, not_of_the_file
from fastreg.common.names import missing as _missing
from fastreg.common.safetensors import brief, parse_json, read_tensors, write_tensors
from fastreg.common.understood import understood
from fastreg.model.model import FORMAT, FORMAT_KEY, MODEL_KEY, Model
from fastreg.model.sequential import Sequential

__all__ = ["FileFormatError", "load", "read_tensors", "save", "write_tensors"]

CHECKPOINT_KEY = "fastreg.checkpoint"
CHECKPOINT_PREFIX = "checkpoint/"  # no name of a layer holds a slash


def save(model: Model, path: PathLike) -> None:
    """Write a model to a safetensors file, atomically: an old file stays until the new one is complete.

    Parameters
    ----------
    model : Model
        A built model, such as a Sequential. Its config and its parameters are written.
    path : str or path
        Where to write. Any safetensors reader can read the file, and `load` gives the model back.

    Raises
    ------
    OSError
        The file cannot be written. An old file at `path` is still there.

    Examples
    --------
    >>> import os, tempfile, fastreg as fr
    >>> model = fr.Sequential([fr.Dense(3, activation="relu"), fr.Dense(2)])
    >>> model.build(4, seed=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> fr.files.save(model, path)
    >>> fr.load(path).state_dict()["0.weight"].shape
    (4, 3)
    """
    if not isinstance(model, Model):
        raise TypeError(f"model: got {checking.shown(model)}, expected a Sequential or a Model")
    model.save(path)


@understood
def load(path: PathLike, custom: Mapping[str, Any] | None = None) -> Model:
    """Read a model that `save` wrote. It is ready to predict.

    Parameters
    ----------
    path : str or path
        A file of `save` or of a `fastreg.Checkpoint`. Files from strangers are safe to open: nothing in them is run.
    custom : mapping
        What the model has that is written in Python, by name: each `fastreg.Function` by the name of its layer, and the
        function of a `fastreg.losses.Custom` by the name of the loss. Without the loss the model only predicts.

    Returns
    -------
    Sequential or Model
        The model with its parameters and the loss that it was trained under.

    Raises
    ------
    FileFormatError
        The file is damaged, is not a safetensors file, or holds no fastreg model.
    OSError
        The file cannot be opened.

    Examples
    --------
    See `save`.
    """
    if custom is not None and not isinstance(custom, Mapping):
        raise TypeError(f"custom: got {checking.shown(custom)}, expected a dict of names")
    tensors, metadata = read_tensors(path)
    with naming(path):
        return model_of(tensors, metadata, custom)


def model_of(
    tensors: dict[str, np.ndarray], metadata: dict[str, str], custom: Mapping[str, Any] | None = None
) -> Model:
    """The model in what `read_tensors` returned. In a checkpoint, everything else is ignored. `custom` as in `load`."""
    if FORMAT_KEY not in metadata:
        raise FileFormatError(
            "holds tensors but no fastreg model; fr.files.read_tensors(path) gives the tensors, and "
            "fr.load_torch_state(model, path) takes a state dictionary of PyTorch"
        )
    checksum.verify(tensors, metadata)
    if metadata[FORMAT_KEY] != FORMAT:
        raise FileFormatError(f"is of fastreg format {brief(metadata[FORMAT_KEY])}; this version reads {FORMAT!r}")
    config = parse_json(metadata.get(MODEL_KEY, ""), "the model's config", floats=True)
    if not isinstance(config, dict):
        raise FileFormatError("the model's config is not a JSON object")
    if CHECKPOINT_KEY in metadata:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(CHECKPOINT_PREFIX)}
    outer = sys.exc_info()[1]
    try:
        return _make(Model if "graph" in config else Sequential, config, tensors, custom)
    except Exception as error:  # any error of the checks of layers and arrays, from a strange config
        if cause := not_of_the_file(error, outer):
            raise cause from None
        raise FileFormatError(f"the model in it cannot be made: {_one_line(error)}") from error


def _make(
    kind: type[Model], config: dict[str, Any], tensors: dict[str, np.ndarray], custom: Mapping[str, Any] | None
) -> Model:
    """The model. Its config is first compared with the tensors, since it may claim more than memory holds."""
    plan = kind.from_config({**config, "input_shape": None}, custom)
    if strange := config.keys() - plan.config().keys():
        raise FileFormatError(f"its config has {brief(sorted(strange))}, which no model has")
    network = plan.network(plan._shape(config["input_shape"]))
    claimed = {name: parameter.shape for name, parameter in network.parameters().items()}
    stored = {name: tensor.shape for name, tensor in tensors.items()}
    if claimed != stored:
        raise FileFormatError(f"its config asks for {brief(claimed)}, the tensors are {brief(stored)}")
    model = kind.from_config(config, custom)
    if other := sorted(name for name, tensor in tensors.items() if tensor.dtype != model.dtype):
        raise FileFormatError(f"its config says {model.dtype}, but {brief(other)} are of another dtype")
    model.load_state_dict(tensors)
    model._told = model.loss is not None or model.output_transform != "linear"
    return model


def _one_line(error: Exception) -> str:
    text = " ".join(str(error)[:300].split())
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}".rstrip(": ")


__getattr__ = _missing(__name__)
