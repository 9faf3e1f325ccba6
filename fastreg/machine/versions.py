"""Versions and settings that a bug report needs."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastreg.machine import _core, cgroups, threads, tuning
from fastreg.machine.release import __version__

# What fastreg works with, if it is installed. Versions are read without importing anything.
LIBRARIES = (
    *("scipy", "scikit-learn", "joblib", "threadpoolctl", "pandas", "polars", "pyarrow"),
    *("matplotlib", "tqdm", "ipywidgets", "tensorboard", "torch", "onnx", "onnxruntime", "dask", "distributed", "ray"),
)


def show_versions() -> None:
    """Prints what a bug report needs: versions of fastreg and of what it runs on, processor, SIMD targets, the number
    of threads and why, memory, and the environment variables that fastreg reads. `fastreg info` prints the same.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.show_versions()  # doctest: +SKIP
    """
    for name, value in told().items():
        print(f"{name:13} {value}")


def told() -> dict[str, str]:
    """The facts as lines of text, by name."""
    found = facts()
    simd, libraries, environment = found.pop("simd"), found.pop("libraries"), found.pop("environment")
    lines = {name: str(value) for name, value in found.items() if value is not None}
    lines["simd"] = f"{simd['current']} (available: {', '.join(simd['available'])})"
    lines["threads"] += f" ({threads.reason()})"
    lines |= libraries
    lines["environment"] = " ".join(f"{name}={value}" for name, value in environment.items()) or "no FASTREG_ variable"
    return lines


def facts() -> dict[str, Any]:
    """All facts of a bug report, as JSON can hold them."""
    return {
        **versions(),
        "compiler": _core.compiler(),
        "blas": blas(),
        **machine(),
        "memory": memory(),
        "libraries": libraries(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith("FASTREG_")},
    }


def versions() -> dict[str, Any]:
    """The versions that results may depend on."""
    return {
        "fastreg": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "platform": platform.platform(),
        "simd": threads.simd(),
        "tuning": tuning.current(),
        "threads": threads.get_num_threads(),
    }


def machine() -> dict[str, object]:
    """The processor and its cores."""
    return {"processor": processor(), "cores": os.cpu_count()}


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def memory() -> str:
    """The memory of the machine, and the limit of the control group if that is lower."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "not known"
    limit = cgroups.memory()
    granted = f", {limit / 2**30:.3g} GiB granted by the control group" if limit < total else ""
    return f"{total / 2**30:.3g} GiB{granted}"


def blas() -> str:
    """The library of linear algebra that NumPy was built with. Only the reference engine uses it."""
    try:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{found['name']} {found['version']}"
    except (KeyError, TypeError):
        return "not known"


def libraries() -> dict[str, str]:
    """The versions of those of LIBRARIES that are installed."""
    from importlib import metadata  # takes milliseconds, so only here

    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
