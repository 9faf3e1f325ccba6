"""State dictionaries of PyTorch, without PyTorch: the tensors of a model by torch's keys, and from them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastreg.common import checking
from fastreg.common.fileio import PathLike
from fastreg.common.safetensors import read_tensors
from fastreg.common.understood import understood
from fastreg.exchange.plan import Plan, checked, plan_of
from fastreg.model.model import Model

WRAPPERS = ("module.", "_orig_mod.")  # of nn.DataParallel and torch.compile, before every key
COUNTER = "num_batches_tracked"  # of a batch norm, which has no use for it with a momentum
MOST = 6  # keys that an error names


@understood
def torch_state(
    model: Model, like: PathLike | Mapping[str, Any] | None = None, names: Mapping[str, str] | None = None
) -> dict[str, np.ndarray]:
    """The parameters of a model as a state dictionary of PyTorch: its keys, shapes and orders. PyTorch is not needed.

    It is `fastreg.to_torch(model, logits=True).state_dict()` as NumPy arrays, which any module of the same structure
    loads. In a `fastreg.Sequential` a key has the name of the layer, if it was given one, else the position of the
    module in the `nn.Sequential`, where an activation is a module too: "0.weight", "2.weight".

    Parameters
    ----------
    model : Sequential or Model
        A built model.
    like : path or mapping, optional
        A state dictionary whose keys the parameters get, such as that of the module that the model was made from:
        `like=module.state_dict()`. Its modules may be nested, "0.2.weight"; it is read as `load_torch_state` reads it.
        Counters of batches keep their values.
    names : mapping of str to str, optional
        The name of a module in the state for layers of the model, as `load_torch_state` takes it.

    Returns
    -------
    dict of str to array
        Copies in the dtype of the model. `fastreg.files.write_tensors(path, state)` makes a file that
        `safetensors.torch.load_file` reads.

    Raises
    ------
    ValueError
        A layer cannot be converted, and the error names it; or `like` is the state of another structure.

    Examples
    --------
    >>> import fastreg as fr, torch
    >>> from torch import nn
    >>> model = fr.Sequential([fr.Dense(8, "relu"), fr.Dense(3)])
    >>> model.build(4)
    >>> {key: tensor.shape for key, tensor in fr.torch_state(model).items()}
    {'0.weight': (8, 4), '0.bias': (8,), '2.weight': (3, 8), '2.bias': (3,)}
    >>> module = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 3))
    >>> state = fr.torch_state(model, like=module.state_dict())
    >>> module.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    <All keys matched successfully>
    """
    plan = plan_of(checked(model))
    own = values_of(model, plan)
    if like is None:
        renamed = {} if names is None else _renamed(model, plan, names)
        return {renamed.get(key, key): value for key, value in own.items()}
    theirs = _read("like", like)
    given, wrapper = _unwrapped(theirs)
    values = {f"{wrapper}{place}": own[key] for place, key in _matched("like", model, plan, given, names).items()}
    return {key: values.get(key, np.array(value)) for key, value in theirs.items()}


def values_of(model: Model, plan: Plan) -> dict[str, np.ndarray]:
    """The tensors of a plan."""
    state = {}
    for key, tensor in plan.tensors.items():
        if tensor.own is not None:
            state[key] = tensor.form.out(model.parameters[tensor.own])
        else:
            dtype = "int64" if key.endswith(COUNTER) else model.dtype
            state[key] = np.array(np.broadcast_to(np.asarray(tensor.value, dtype), tensor.form.tensor_shape))
    return state


@understood
def load_torch_state(model: Model, state: PathLike | Mapping[str, Any], names: Mapping[str, str] | None = None) -> None:
    """Copies a state dictionary of PyTorch into a model of the same structure. All of it is checked before anything
    changes.

    Parameters
    ----------
    model : Sequential or Model
        A built model.
    state : path or mapping
        A safetensors file, as `safetensors.torch.save_file(module.state_dict(), path)` writes it, or a dict of tensors
        or arrays with torch's keys. Half precision is widened. "module." and "_orig_mod." before all keys, which
        wrapped modules add, are left out.
    names : mapping of str to str, optional
        The name of a module in the state for layers of the model: `{"0": "features.0", "2": "classifier"}`. The others
        have the keys of `torch_state`. Keys that are numbers alone, as those of nested `nn.Sequential`s, need no names:
        they are taken in order.

    Raises
    ------
    ValueError, TypeError
        Keys are missing or not expected, or a tensor has another shape. The model is unchanged.
    FileFormatError
        The file is damaged, or no safetensors file.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> model = fr.Sequential([fr.Dense(2, name="fc1")])
    >>> model.build(3)
    >>> fr.load_torch_state(model, {"fc1.weight": np.ones((2, 3)), "fc1.bias": np.zeros(2)})
    >>> model.predict(np.ones((1, 3)))
    array([[3., 3.]], dtype=float32)
    """
    plan = plan_of(checked(model), who="load_torch_state")
    given, _ = _unwrapped(_read("state", state))
    expected = _matched("state", model, plan, given, names)
    own = {}
    for name, key in expected.items():
        tensor = plan.tensors[key]
        if tensor.own is not None:
            own[tensor.own] = tensor.form.back(given[name])
        elif not np.all(given[name] == np.asarray(tensor.value)):
            raise ValueError(
                f"state[{name!r}]: got values other than {tensor.value}, which the layer of the model has no parameter "
                f"for: a norm with scale=True and shift=True has them"
            )
    model.load_state_dict(own)


def _matched(
    what: str, model: Model, plan: Plan, given: dict[str, np.ndarray], names: Mapping[str, str] | None = None
) -> dict[str, str]:
    """For each key of a state that is called `what` in errors, that of the plan."""
    tensors = {key: tensor for key, tensor in plan.tensors.items() if not key.endswith(COUNTER)}
    places = _places(model, plan, list(tensors), list(given), names)
    expected = {places[key]: key for key in tensors}
    missing, unknown = expected.keys() - given.keys(), given.keys() - expected.keys()
    if missing or unknown:
        parts = [f"missing {_listed(missing)}"] if missing else []
        parts += [f"not expected {_listed(unknown)}"] if unknown else []
        raise ValueError(f"{what}: {', '.join(parts)}; the model has {_listed(expected)}")
    wrong = [
        f"{name!r}: got shape {given[name].shape}, expected {tensors[key].form.tensor_shape}"
        for name, key in expected.items()
        if given[name].shape != tensors[key].form.tensor_shape
    ]
    if wrong:
        more = f" ({len(wrong)} in all)" if len(wrong) > MOST else ""
        raise ValueError(f"{what}: {'; '.join(wrong[:MOST])}{more}")
    return expected


def _read(what: str, state) -> dict[str, np.ndarray]:
    """The state as arrays."""
    if isinstance(state, (str, os.PathLike)):
        return read_tensors(state, bfloat16=True)[0]
    if not isinstance(state, Mapping):
        told = "module.state_dict()" if hasattr(state, "state_dict") else "a path or a dict of tensors"
        raise TypeError(f"{what}: got {checking.shown(state)}, expected {told}")
    found = {}
    for key, value in state.items():
        if not isinstance(key, str):
            raise TypeError(f"{what}: got the key {checking.shown(key)}, expected text such as '0.weight'")
        if isinstance(value, Mapping):
            raise TypeError(f"{what}[{key!r}]: got a dict, expected a tensor: the state of the module alone")
        found[key] = array_of(f"{what}[{key!r}]", value)
    return found


def array_of(name: str, value) -> np.ndarray:
    """A tensor as an array of numbers that NumPy has."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        value = value.numpy()
    value = np.asarray(value)
    if value.dtype.kind not in "fiu":
        raise TypeError(f"{name}: got dtype {value.dtype}, expected real numbers")
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _unwrapped(state: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """The state without counters and without what wrapped modules put before every key, and the latter."""
    state = {key: value for key, value in state.items() if key.rpartition(".")[2] != COUNTER}
    before = ""
    while wrapper := next((w for w in WRAPPERS if state and all(key.startswith(w) for key in state)), None):
        state = {key.removeprefix(wrapper): value for key, value in state.items()}
        before += wrapper
    return state, before


def _places(
    model: Model, plan: Plan, keys: list[str], given: list[str], names: Mapping[str, str] | None
) -> dict[str, str]:
    """For each key of the plan, that in the state."""
    places = {key: key for key in keys}
    if names is not None:
        return places | _renamed(model, plan, names)
    if set(keys) == set(given):
        return places
    own, other = _modules(keys), _modules(given)
    if len(own) == len(other) == 1:  # one layer, maybe the state of the layer alone
        return {key: f"{other[0]}.{key.rpartition('.')[2]}".lstrip(".") for key in keys}
    numbers = all(re.fullmatch(r"[\d.]+", name) for name in other)
    if numbers and all(name.isdigit() for name in own) and len(own) == len(other):  # nested Sequentials
        other.sort(key=lambda name: [int(part) for part in name.split(".")])
        pairs = dict(zip(own, other, strict=True))
        return {key: f"{pairs[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}" for key in keys}
    # names of layers have no points: "features_0" is "features.0"
    flat = {key.rpartition(".")[0].replace(".", "_") + "." + key.rpartition(".")[2]: key for key in given}
    return {key: flat.get(key, key) for key in keys}


def _modules(keys: list[str]) -> list[str]:
    """The modules of keys, each once, in order."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in keys))


def _renamed(model: Model, plan: Plan, names: Mapping[str, str]) -> dict[str, str]:
    """The places of the layers that `names` has."""
    if not isinstance(names, Mapping):
        raise TypeError(f"names: got {checking.shown(names)}, expected a dict by the names of layers")
    found = {}
    layers = {key.rpartition(".")[0]: t.own.rpartition(".")[0] for key, t in plan.tensors.items() if t.own}
    for key in plan.tensors:
        module, _, leaf = key.rpartition(".")
        if (layer := layers.get(module, "")) in names:
            found[key] = f"{checking.text(f'names[{layer!r}]', names[layer])}.{leaf}"
    if left := names.keys() - layers.values():
        known = list(dict.fromkeys(layers.values()))
        odd = min(left, key=str)
        raise ValueError(
            f"names: got the layer {checking.shown(odd)}, expected one of {', '.join(known)}"
            f"{checking.nearest(str(odd), known)}"
        )
    return found


def _listed(keys) -> str:
    """Keys for an error, in order."""
    own = sorted(keys) if not isinstance(keys, dict) else list(keys)
    more = f", ... ({len(own)})" if len(own) > MOST else ""
    return ", ".join(map(repr, own[:MOST])) + more
