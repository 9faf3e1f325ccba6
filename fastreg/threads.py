"""How many threads a run uses, and which SIMD target the kernels come from.

The default count is the least of the processors this process may run on, its cgroup's quota, and what the work can
use. A count that somebody asked for is obeyed as given: the argument `threads=` first, then `set_num_threads`,
then FASTREG_NUM_THREADS.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from fastreg import _core

MAX_THREADS = _core.MAX_THREADS

# Floating-point operations between two barriers below which a further thread costs more than it brings (measured:
# about a microsecond of one core).
MIN_FLOPS = 100_000

_asked: int | None = None


def _checked(n: object, name: str) -> int:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{name}: got {n!r}, expected an integer from 1 to {MAX_THREADS}")
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"{name}: got {n}, expected an integer from 1 to {MAX_THREADS}")
    return n


def _from_environment() -> int | None:
    text = os.environ.get("FASTREG_NUM_THREADS", "").strip()
    if not text:
        return None
    try:
        return _checked(int(text), "FASTREG_NUM_THREADS")
    except ValueError:
        raise ValueError(f"FASTREG_NUM_THREADS: got {text!r}, expected an integer from 1 to {MAX_THREADS}") from None


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that the control group grants, version 2 or 1; infinity where there is no limit."""
    try:
        text, every = (root / "cpu.max").read_text().split()
        return math.inf if text == "max" else int(text) / int(every)
    except (OSError, ValueError):
        pass
    try:
        quota = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period = int((root / "cpu/cpu.cfs_period_us").read_text())
        return math.inf if quota <= 0 else quota / period
    except (OSError, ValueError):
        return math.inf


def available_processors() -> int:
    """Processors this process may use: affinity, then the quota of its control group."""
    quota = _cgroup_quota()
    count = _core.cpu_count()
    return count if math.isinf(quota) else max(1, min(count, math.ceil(quota)))


_AVAILABLE = available_processors()


def set_num_threads(n: int | None) -> None:
    """Use `n` threads for every run that does not ask for a count of its own; None goes back to the default.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.set_num_threads(2)
    >>> fr.get_num_threads()
    2
    >>> fr.set_num_threads(None)
    """
    global _asked
    _asked = None if n is None else _checked(n, "n")


def get_num_threads() -> int:
    """The threads that a run with enough work takes."""
    return _asked or _from_environment() or _AVAILABLE


def resolve(threads: int | None, flops: float) -> int:
    """The threads for a run with `flops` floating-point operations between two barriers."""
    asked = threads or _asked or _from_environment()
    if asked:
        return asked
    return max(1, min(_AVAILABLE, int(flops / MIN_FLOPS)))


def simd() -> dict[str, Any]:
    """The SIMD target in use and those that this machine offers, best first.

    Examples
    --------
    >>> import fastreg as fr
    >>> sorted(fr.simd())
    ['available', 'current']
    """
    return {"current": _core.simd_current(), "available": _core.simd_available()}


def use_simd(name: str) -> None:
    """Take the kernels of the target `name`; what FASTREG_SIMD does at import."""
    available = _core.simd_available()
    if name not in available:
        raise ValueError(f"FASTREG_SIMD: got {name!r}, this machine offers {', '.join(available)}")
    _core.simd_use(name)


if os.environ.get("FASTREG_SIMD"):
    use_simd(os.environ["FASTREG_SIMD"])
