"""Values as they are shown in errors."""

from __future__ import annotations

from typing import Any

LONGEST = 120  # characters of a value in an error


def shown(value) -> str:
    """`value` as text for an error: one line, shortened if it is long. Works for every object."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # from a __repr__ that fails, or an integer with thousands of digits
        text = f"an object of {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def exact(value: Any) -> str:
    """A value as in the call that makes it, with the fewest digits that are exact.

    Examples
    --------
    >>> exact(2.0), exact(0.1 + 0.2), exact((1.0, 0.5)), exact("relu")
    ('2', '0.30000000000000004', '(1, 0.5)', "'relu'")
    """
    if type(value) is float:
        short = f"{value:.12g}"
        return short if float(short) == value else repr(value)
    if type(value) is tuple:
        parts = ", ".join(map(exact, value))
        return f"({parts},)" if len(value) == 1 else f"({parts})"
    if callable(value) and " at 0x" in repr(value):
        return function_name(value)
    return repr(value)


def function_name(function: Any) -> str:
    """The name of a function, without its address."""
    return (
        getattr(function, "__qualname__", getattr(function, "__name__", None))
        or f"an object of {type(function).__name__}"
    )
