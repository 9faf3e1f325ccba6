"""Values as they are shown in errors."""

from __future__ import annotations

LONGEST = 120  # characters of a value in an error


def shown(value) -> str:
    """`value` as text for an error: one line, shortened if it is long. Works for every object."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # from a __repr__ that fails, or an integer with thousands of digits
        text = f"an object of {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
