"""The environment of a benchmark: facts about the machine, and variables that would slow a library down."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import fastreg as fr
from fastreg.machine import tuning
from fastreg.machine.versions import machine

# Each can make a library use fewer threads or older instructions than it would by default.
HOBBLES = (
    "ATEN_CPU_CAPABILITY",
    "BLIS_ARCH_TYPE",
    "BLIS_NUM_THREADS",
    "DNNL_MAX_CPU_ISA",
    "FASTREG_NUM_THREADS",
    "FASTREG_SIMD",
    "FASTREG_TUNING",
    "GOMP_SPINCOUNT",
    "GOTO_NUM_THREADS",
    "KMP_BLOCKTIME",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "NUMEXPR_NUM_THREADS",
    "NVPL_BLAS_DEBUG_CPU_TYPE",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_THREAD_LIMIT",
    "OMP_WAIT_POLICY",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OPENBLAS_NUM_THREADS",
    "TORCHINDUCTOR_CPP_SIMDLEN",
    "XLA_FLAGS",
)


def hobbles(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Those of HOBBLES that are set, as NAME=value."""
    return [f"{name}={environment[name]}" for name in HOBBLES if name in environment]


def free_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without them, in which this fastreg can be imported."""
    free = {name: value for name, value in environment.items() if name not in HOBBLES}
    root = str(Path(fr.__file__).parents[1])
    paths = [root, *filter(None, free.get("PYTHONPATH", "").split(os.pathsep))]
    return {**free, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def facts() -> dict[str, object]:
    """Processor, cores, load, system, versions, SIMD target."""
    return {
        **machine(),
        "threads": fr.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "fastreg": fr.__version__,
        "simd": fr.simd()["current"],
        "tuning": tuning.current(),
    }
