"""What kernels do for the caches of this processor, beyond what suits all. No result depends on it.

The table in csrc/tuning.c says what is done on which processor, docs/performance.md why. FASTREG_TUNING replaces it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fastreg.machine import _core

ALL = tuple(_core.TUNINGS)


def current() -> str:
    """What is in use, as FASTREG_TUNING takes it."""
    return ",".join(_core.tuning()) or "none"


def names(text: str) -> tuple[str, ...]:
    """What `text` names, as FASTREG_TUNING takes it: names with commas between, "none" or "all"."""
    found = {"none": [], "all": list(ALL)}.get(text, [name.strip() for name in text.split(",")])
    if unknown := [name for name in found if name not in ALL]:
        raise ValueError(f"FASTREG_TUNING: got {unknown[0]!r}, expected some of {', '.join(ALL)}, or all, or none")
    return tuple(name for name in ALL if name in found)


def use(text: str) -> None:
    """Do what `text` names, as FASTREG_TUNING does at import."""
    _core.use_tuning(names(text))


@contextmanager
def using(text: str) -> Iterator[None]:
    """Does what `text` names while it lasts."""
    before = current()
    use(text)
    try:
        yield
    finally:
        use(before)


if os.environ.get("FASTREG_TUNING"):
    use(os.environ["FASTREG_TUNING"])
