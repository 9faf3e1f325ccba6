"""Specs: objects given as text, such as "sgd(lr=0.01)". Every argument that takes an object takes its spec too.

A spec is a name, or a call with literals. It is parsed, never evaluated. An argument, or an element of a list, may be a
call too: "adam(lr=warmup(100, 0.001))", "dense(10, l2=l2(0.01))", "compose([rotate(15), flip()])". The outer object
gets such a call as text, and knows what it stands for. Case and underscores of names do not count, so what an object
prints is a spec of it.

The names of each kind of object are in the table `BY_NAME` of the module that declares it. A table may say
"module.Class" instead of the class, which is then imported on first use.
"""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from fastreg.common import names
from fastreg.common.checking import Inner, nearest, plain, shown

LONGEST = 1000  # characters
SPELLED = {"true": True, "false": False, "none": None}  # as case does not count
Factory = Callable[..., Any]


def make(argument: str, text: str, table: Mapping[str, Factory | str]) -> Any:
    """The object that `text` describes.

    Parameters
    ----------
    argument
        The argument whose value is `text`. Errors name it.
    text
        A name in the table, or a call of one.
    table
        What makes the object, by its name in lower case with underscores.

    Raises
    ------
    ValueError, TypeError
        There is no such name or argument (the message suggests the nearest one), or the text is not a call with
        literals. The object itself also checks its arguments.

    Examples
    --------
    >>> from fastreg import optimizers
    >>> make("optimizer", "sgd(lr=0.5, momentum=0.9)", optimizers.BY_NAME)
    SGD(lr=0.5, momentum=0.9)
    >>> make("optimizer", "sgd(rate=0.5, momentun=0.9)", optimizers.BY_NAME)
    Traceback (most recent call last):
    ValueError: optimizer: got the argument 'rate' of sgd, expected one of lr, momentum, nesterov, weight_decay
    >>> make("optimizer", "sdg", {"sgd": optimizers.SGD, "adam": optimizers.Adam})
    Traceback (most recent call last):
    ValueError: optimizer: got 'sdg', expected one of sgd, adam; the nearest is 'sgd'
    """
    called, positional, named = _parse(argument, text, next(iter(table)))
    name = names.own(argument, called, table)
    if name is None:
        near = nearest(called, table, argument)
        raise ValueError(f"{argument}: got {shown(text)}, expected one of {', '.join(table)}{near}")
    factory = _found(table[name])
    signature = inspect.signature(factory)
    keys = [key for key, value in signature.parameters.items() if value.kind is not value.VAR_POSITIONAL]
    for key in list(named):
        meant = key if key in keys else names.argument(factory.__name__, key, keys)
        if meant is None or (meant != key and meant in named):
            expected = f"one of {', '.join(keys)}" if keys else "none"
            _, near = names.about(factory.__name__, key, keys)
            raise ValueError(f"{argument}: got the argument {key!r} of {name}, expected {expected}{near}")
        named[meant] = named.pop(key)
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        raise TypeError(f"{argument}: got {shown(text)}, expected {name}{signature_text(signature)}: {error}") from None
    return factory(*positional, **named)


def is_call(value: Any) -> bool:
    """Whether a value is a spec with arguments."""
    return isinstance(value, str) and "(" in value


def is_spec(value: Any, table: Mapping[str, Factory | str]) -> bool:
    """Whether a value is a spec with arguments, or a name of the table."""
    return is_call(value) or (isinstance(value, str) and plain(value.strip()) in map(plain, table))


def signature_text(signature: inspect.Signature) -> str:
    """The arguments without their types."""
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(parameters))


def _parse(argument: str, text: str, example: str) -> tuple[str, list[Any], dict[str, Any]]:
    """The name, and the positional and named arguments."""
    expected = f"expected a name or a call with literals, such as {example} or {example}(...)"
    refusal = ValueError(f"{argument}: got {shown(text)}, {expected}")
    if len(text) > LONGEST:
        raise refusal
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from the parser, about odd escapes
            node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, [], {}
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise refusal
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        bare = next((value.id for value in values if isinstance(value, ast.Name) and value.id not in SPELLED), None)
        if bare is not None:
            refusal = ValueError(f"{refusal}; a string needs quotes: {bare!r}")
            raise refusal
        keys = [keyword.arg for keyword in node.keywords]
        if None in keys or len(set(keys)) < len(keys):  # **mapping, or a name twice
            raise refusal
        named = {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
        return node.func.id, [_value(value) for value in node.args], named
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise refusal from None


def _value(node: ast.expr) -> Any:
    """The value of a literal. A call, also one in a list, stays text."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return Inner(ast.unparse(node))
    if isinstance(node, ast.Name) and node.id in SPELLED:
        return SPELLED[node.id]
    if isinstance(node, (ast.List, ast.Tuple)):
        return tuple(_value(element) for element in node.elts)
    return ast.literal_eval(node)


def _found(factory: Factory | str) -> Factory:
    if not isinstance(factory, str):
        return factory
    module, _, name = factory.rpartition(".")
    return getattr(import_module(f"fastreg.{module}"), name)
