"""to_torch: a model as a module of PyTorch."""

from __future__ import annotations

import operator
import re
from collections import OrderedDict
from typing import Any

import numpy as np

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.exchange import plan as planning
from fastreg.exchange.needs import package
from fastreg.exchange.plan import Part, Plan
from fastreg.exchange.states import values_of
from fastreg.model.model import Model


@understood
def to_torch(model: Model, *, logits: bool = False, encoded: bool = False) -> Any:
    """A model as a module of PyTorch, with copies of its parameters.

    A `fastreg.Sequential` becomes an `nn.Sequential`, any other graph a `torch.fx.GraphModule`, whose `code` shows its
    forward function. What PyTorch lacks, such as a standardization of the inputs, is a small module that fastreg brings
    along.

    Parameters
    ----------
    model : Sequential or Model
        A built model.
    logits : bool
        False for what `model.predict` gives: the softmax or sigmoid of a cross-entropy is the last module, and scaled
        targets have their own units. True for the values before that, which PyTorch's losses take.
    encoded : bool
        Whether the module may take what the schema makes of a table: `model.schema.inputs("X", X)`. A model whose
        schema encodes texts, dates or holes is refused without it.

    Returns
    -------
    torch.nn.Module
        In eval mode and the dtype of the model. Images go in with the channels first, (n, channels, height, width),
        also those of one channel that the model takes as (height, width). Codes of an `Embedding` are integers. Several
        inputs are several arguments, several heads a dict.

    Raises
    ------
    ValueError
        A layer cannot be converted. The error names it.
    ImportError
        PyTorch is missing.

    Notes
    -----
    What acts on training alone does not go along: penalties, constraints, `lr_scale`, noise on weights and
    pre-activations. Frozen layers have `requires_grad=False`; a frozen `BatchNorm` keeps its moments in train mode too.

    Examples
    --------
    >>> import numpy as np, fastreg as fr, torch
    >>> model = fr.Sequential([fr.Dense(8, "relu"), fr.Dense(3)])
    >>> model.build(4, seed=1)
    >>> module = fr.to_torch(model)
    >>> module
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=3, bias=True)
    )
    >>> X = np.ones((2, 4), np.float32)
    >>> np.allclose(module(torch.tensor(X)).detach(), model.predict(X), atol=1e-6)
    True
    """
    planning.checked(model)
    logits, encoded = checking.flag("logits", logits), checking.flag("encoded", encoded)
    plan = planning.plan_of(model, logits=logits, encoded=encoded, who="to_torch")
    torch = package("to_torch", "torch")
    with torch.device("meta"):  # draws nothing, so PyTorch's random state stays as it is
        modules = {name: _made(part) for name, part in plan.parts.items()}
    names = _names_of_layers(model, plan)
    for name, part in plan.parts.items():
        if part.tied is not None:
            modules[name].tied = (modules[names[part.tied]],)
    whole = _row(plan, modules) if plan.chain else _graph(model, plan, modules)
    state = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in values_of(model, plan).items()}
    whole.load_state_dict(state, assign=True)
    for name, part in plan.parts.items():
        for leaf, parameter in modules[name].named_parameters(recurse=False):
            known = part.tensors[leaf].own is None
            parameter.requires_grad_(not (part.frozen or known))
    return whole.eval()


def _made(part: Part) -> Any:
    """A module of a plan."""
    nn, own = package("to_torch", "torch").nn, package("to_torch", "fastreg.exchange.torch_modules")
    kind = own.BY_NAME.get(part.kind) or getattr(nn, part.kind)
    return kind(**part.options)


def _names_of_layers(model: Model, plan: Plan) -> dict[str, str]:
    """The module with the weight of each layer."""
    found: dict[str, str] = {}
    for name, part in plan.parts.items():
        for tensor in part.tensors.values():
            if tensor.own is not None:
                found.setdefault(tensor.own.rpartition(".")[0], name)
    return found


def _row(plan: Plan, modules: dict[str, Any]) -> Any:
    """Modules in a row."""
    nn = package("to_torch", "torch").nn
    try:
        return nn.Sequential(OrderedDict(modules))
    except KeyError as error:  # such as "forward"
        raise ValueError(
            f"layers: got a name that PyTorch has for itself ({error.args[0]}), expected another"
        ) from None


def _graph(model: Model, plan: Plan, modules: dict[str, Any]) -> Any:
    """Modules in a graph, with a forward function that torch.fx writes."""
    torch = package("to_torch", "torch")
    fx = package("to_torch", "torch.fx")
    root = torch.nn.Module()
    for name, module in modules.items():
        try:
            root.add_module(name, module)
        except KeyError as error:
            raise ValueError(f"layer {name!r}: PyTorch has this name for itself, expected another") from error
    graph = fx.Graph()
    entries = model.graph.inputs
    if entries[0].columns is None:
        values = [graph.placeholder(_identifier(entry.name)) for entry in entries]
    else:
        table = graph.placeholder("x")
        values = [graph.call_function(operator.getitem, (table, (slice(None), list(e.columns or ())))) for e in entries]
        for number in _codes(plan):
            values[number] = graph.call_method("long", (values[number],))
    for step in plan.steps:
        given = [values[value] for value in step.inputs]
        if step.joins == "concatenate":
            value = graph.call_function(torch.cat, (given, 1))
        elif step.joins == "add":
            value = given[0]
            for other in given[1:]:
                value = graph.call_function(operator.add, (value, other))
        else:
            value = given[0]
        for name in step.modules:
            value = graph.call_module(name, (value,))
        values.append(value)
    outputs = {}
    for head, number in plan.heads.items():
        value = values[number]
        for name in plan.after[head]:
            value = graph.call_module(name, (value,))
        outputs[head] = value
    graph.output(outputs if len(outputs) > 1 else next(iter(outputs.values())))
    graph.lint()
    return fx.GraphModule(root, graph, type(model).__name__)


def _codes(plan: Plan) -> list[int]:
    """The inputs that an embedding reads."""
    count = len(plan.flows)
    kinds = {number: [plan.parts[name].kind for name in step.modules] for number, step in enumerate(plan.steps)}
    reading = [step for number, step in enumerate(plan.steps) if {"Embedding", "ColumnEmbedding"} & {*kinds[number]}]
    return sorted({value for step in reading for value in step.inputs if value < count})


def _identifier(name: str) -> str:
    """A name of an input as that of an argument."""
    plain = re.sub(r"\W", "_", name)
    return f"x{plain}" if plain[:1].isdigit() else plain
