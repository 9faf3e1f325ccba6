"""Versions and settings that a bug report needs."""

from __future__ import annotations

import platform
import sys
from typing import Any

import numpy as np

from fastreg.machine import threads
from fastreg.machine.release import __version__


def show_versions() -> None:
    """Prints the versions of fastreg and of what it runs on, the SIMD targets and the number of threads.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.show_versions()  # doctest: +SKIP
    """
    facts = versions()
    facts["simd"] = "{current} (available: {})".format(", ".join(facts["simd"]["available"]), **facts["simd"])
    for name, value in facts.items():
        print(f"{name:9} {value}")


def versions() -> dict[str, Any]:
    """The facts that `show_versions` prints."""
    return {
        "fastreg": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "platform": platform.platform(),
        "simd": threads.simd(),
        "threads": threads.get_num_threads(),
    }
