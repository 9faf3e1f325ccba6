"""Makes the engine of a given name."""

from __future__ import annotations

import numpy as np

from fastreg.engines.base import Engine
from fastreg.engines.native import NativeEngine
from fastreg.engines.reference import ReferenceEngine
from fastreg.program.program import Program


def make_engine(
    name: str,
    program: Program,
    params: dict[str, np.ndarray],
    state: dict[str, tuple[np.ndarray, ...]],
    batch_size: int,
    dtype: str,
    threads: int | None = None,
) -> Engine:
    """The engine called `name` ("native" or "reference"), with buffers for `batch_size` rows."""
    if name == "native":
        return NativeEngine(program, params, state, batch_size, dtype, threads)
    if name == "reference":
        return ReferenceEngine(program, params, state, batch_size, dtype)
    raise ValueError(f"engine: got {name!r}, expected 'native' or 'reference'")
