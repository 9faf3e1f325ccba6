"""Calls with the names that other libraries use: an argument with one meaning is understood, others are refused in one
line that names the right one. Python's own check of the arguments does the work; this acts only if that fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from fastreg.common import names

F = TypeVar("F", bound=Callable[..., Any])


def understood(function: F) -> F:
    """A function that knows the names of other libraries."""

    @wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if not _at_the_call(error):
                raise
            kwargs = _translated(function, kwargs, error)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


class Understanding(type):
    """Metaclass of descriptions, whose constructors know the names of other libraries."""

    if not TYPE_CHECKING:

        def __call__(cls, *args, **kwargs):
            try:
                return super().__call__(*args, **kwargs)
            except TypeError as error:
                if not _at_the_call(error):
                    raise
                kwargs = _translated(cls, kwargs, error)
            return super().__call__(*args, **kwargs)

        @property
        def __signature__(cls) -> inspect.Signature:  # otherwise `inspect` would show that of __call__
            _, *parameters = inspect.signature(cls.__init__).parameters.values()
            return inspect.Signature(parameters)


def _at_the_call(error: TypeError) -> bool:
    """Whether the arguments of a call are wrong, rather than something that the function did with them."""
    trace = error.__traceback__
    return trace is not None and trace.tb_next is None


def keywords(function: Callable) -> list[str]:
    """The arguments that can be given by name."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds and p.name != "self"]


def _translated(function: Callable, given: dict[str, Any], error: TypeError) -> dict[str, Any]:
    """The arguments under the names that the function has. The first that has no such name is refused."""
    known = keywords(function)
    who = function.__qualname__.removesuffix(".__init__")
    own = who.rpartition(".")[2]
    renamed = {}
    for name, value in given.items():
        told = None if name in known else names.granted(own, name, value)
        if told:
            raise ValueError(f"{who}: got {name}={value!r:.60}, expected {told}") from None
        if told == "":
            continue
        meant = name if name in known else names.argument(own, name, known)
        if meant is None or (meant != name and meant in given) or meant in renamed:
            raise TypeError(refusal(who, name, known)) from None
        renamed[meant] = value
    if renamed.keys() == given.keys():  # nothing has another name: an argument is missing, or there are too many
        text = str(error)
        if "positional argument" in text and "given" in text:
            wanted = ", ".join(known)
            more = ", each after its name" if len(known) > 1 else " alone, which may be a list"
            raise TypeError(f"{who}: got more arguments than it takes by position, expected {wanted}{more}") from None
        if "missing" in text and "required" in text:
            lacking = text.partition(": ")[2]
            raise TypeError(f"{who}: got no {lacking.replace(chr(39), '')}, expected {', '.join(known)}") from None
        raise error
    return renamed


def refusal(who: str, name: str, known: list[str]) -> str:
    """The error about an argument that does not exist."""
    advised, told = names.about(who, name, known)
    if advised:
        return f"{who}: got the argument {name!r}, which it does not have{told}"
    expected = f"one of {', '.join(known)}" if known else "none"
    return f"{who}: got the argument {name!r}, expected {expected}{told}"
