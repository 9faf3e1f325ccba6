"""The packages of other people that the exchange needs, imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

ADVICE = {"torch": "pip install torch", "onnx": 'pip install "fastreg[onnx]"'}


def package(who: str, name: str) -> Any:
    """A package, or an error that says how to get it. `who` is the function that needs it."""
    try:
        return import_module(name)
    except ImportError as error:
        if error.name not in (None, name):  # it is there, and something that it needs is not
            raise
        raise ImportError(f"{who}: needs {name}, which is missing: {ADVICE[name]}") from None
