"""The number of threads of a run, and the SIMD target of the kernels.

The default number is the least of four: the processors this process may run on, its cgroups' quota, OMP_NUM_THREADS,
and what the work can use. Tasks that run beside each other share the processors: the threads or processes of a pool,
the tasks of a dask worker, the workers of joblib, which sets OMP_NUM_THREADS for its loky processes.
fastreg/engines/pace.py uses one thread while that is faster. A number that was asked for is used as it is. The argument
`threads=` comes first, then `set_num_threads`, then FASTREG_NUM_THREADS. A limit of threadpoolctl replaces the last two
while it holds.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from fastreg.common import checking
from fastreg.common.names import missing as _missing
from fastreg.machine import _core, cgroups
from fastreg.machine.release import __version__

MAX_THREADS = _core.MAX_THREADS

# Floating-point operations between two barriers from which another thread pays off (measured: about a microsecond of
# one core).
MIN_FLOPS = 100_000

HELPERS = b"multiprocessing.resource_tracker", b"multiprocessing.forkserver"  # in their commands
POOLS = "multiprocessing.pool", "concurrent.futures.process"  # where the functions are that their workers run

_asked: int | None = None
_limit: int | None = None  # of threadpoolctl


def checked(value: object) -> int | None:
    """The argument `threads`: a number of threads, or None for the default."""
    if isinstance(value, int) and value == -1:  # as joblib says it
        raise ValueError("threads: got -1, expected a number, or None for as many as the work can use")
    return None if value is None else _checked(value, "threads")


def _checked(n: object, name: str) -> int:
    return checking.integer(name, n, 1, MAX_THREADS)


def _from_environment() -> int | None:
    text = os.environ.get("FASTREG_NUM_THREADS", "").strip()
    if not text:
        return None
    try:
        return _checked(int(text), "FASTREG_NUM_THREADS")
    except ValueError:
        raise ValueError(f"FASTREG_NUM_THREADS: got {text!r}, expected an integer from 1 to {MAX_THREADS}") from None


def available_processors() -> int:
    """Number of processors that this process may use, by affinity and by the quota of its control group."""
    quota = cgroups.processors()
    count = _core.cpu_count()
    return count if math.isinf(quota) else max(1, min(count, math.ceil(quota)))


_AVAILABLE = available_processors()


# --- The share of a worker --------------------------------------------------------------------------------------------

_share = threading.local()  # .workers: how many tasks share the machine, in a thread that runs one of them


@contextmanager
def shared_by(workers: int) -> Iterator[None]:
    """In this thread, the default is a share of the processors: `workers` tasks run beside each other."""
    before = getattr(_share, "workers", 1)
    _share.workers = before * workers
    try:
        yield
    finally:
        _share.workers = before


def _default() -> int:
    """The default number of threads: the processors, shared with the tasks that run beside this one."""
    workers = getattr(_share, "workers", 1)
    count = _AVAILABLE // max(workers, _in_pool(), _in_process_pool() if workers == 1 else 1)
    limit = _from_openmp()
    if limit is None and _in_dask():
        return 1  # each task of a dask worker stands for one processor
    return max(1, count if limit is None else min(count, limit))


def _from_openmp() -> int | None:
    """OMP_NUM_THREADS, by which joblib, dask and Ray limit their workers. What is not a number is not for us."""
    text = os.environ.get("OMP_NUM_THREADS")
    if not text:
        return None
    first = text.partition(",")[0].strip()
    return max(int(first), 1) if first.isdecimal() else None


def _in_pool() -> int:
    """The number of threads in pools of `multiprocessing`, as joblib's are, if this thread is one of them. Else 1."""
    pools = sys.modules.get("multiprocessing.dummy")
    if pools is None or not isinstance(threading.current_thread(), pools.DummyProcess):
        return 1
    return sum(isinstance(thread, pools.DummyProcess) for thread in threading.enumerate())


def _in_process_pool() -> int:
    """How many processes share the machine with this worker of a process pool, itself included. Else 1.

    Pools of `multiprocessing` and `concurrent.futures`, and joblib's backend of that name, limit their workers by no
    variable, and a worker is not told how many there are. So all children of the process that started it count, but for
    Python's own helpers. Where they cannot be seen, each worker gets one thread."""
    processes = sys.modules.get("multiprocessing.process")
    work = None if processes is None else getattr(processes.current_process(), "_target", None)
    if getattr(work, "__module__", None) not in POOLS:
        return 1
    try:
        folder = f"/proc/{os.getppid()}/task"
        children = " ".join(Path(folder, task, "children").read_text() for task in os.listdir(folder)).split()
        helpers = [name for name in HELPERS if name not in _command("self")]  # a worker may come from the fork server
        return sum(not any(name in _command(child) for name in helpers) for child in children) or _AVAILABLE
    except OSError:
        return _AVAILABLE


def _command(process: str) -> bytes:
    """The command of a process, which may have ended."""
    try:
        return Path("/proc", process, "cmdline").read_bytes()
    except OSError:
        return b""


def _in_dask() -> bool:
    """Whether this thread runs a task of a dask worker."""
    workers = sys.modules.get("distributed.worker")
    if workers is None:
        return False
    try:
        workers.get_worker()
    except ValueError:
        return False
    return True


# --- The number -------------------------------------------------------------------------------------------------------


def set_num_threads(n: int | None) -> None:
    """Use `n` threads for every run that does not state its own number. None restores the default.

    Parameters
    ----------
    n
        From 1 to 256, or None.

    Raises
    ------
    ValueError, TypeError
        `n` is neither.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.set_num_threads(2)
    >>> fr.get_num_threads()
    2
    >>> fr.set_num_threads(None)
    """
    global _asked, _limit
    _limit = None
    _asked = None if n is None else _checked(n, "n")


def get_num_threads() -> int:
    """The number of threads of a run with enough work.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.get_num_threads() >= 1
    True
    """
    return _limit or _unlimited()


def _unlimited() -> int:
    return _asked or _from_environment() or _default()


def reason() -> str:
    """Why `get_num_threads` is what it is."""
    if _limit:
        return "a limit of threadpoolctl"
    if _asked:
        return "fastreg.set_num_threads"
    if _from_environment():
        return "FASTREG_NUM_THREADS"
    quota = cgroups.processors()
    granted = "no quota" if math.isinf(quota) else f"a quota of {quota:.3g}"
    parts = [f"affinity allows {_core.cpu_count()}", f"the control group has {granted}"]
    if (limit := _from_openmp()) is not None:
        parts.append(f"OMP_NUM_THREADS is {limit}")
    if _default() < min(_AVAILABLE, limit or _AVAILABLE):
        parts.append("tasks beside this one share the processors")
    return ", ".join(parts)


def asked(threads: int | None) -> int | None:
    """The number that was asked for: `threads` of a trainer, else that for all runs. None if there is none."""
    return threads or _limit or _asked or _from_environment()


def resolve(threads: int | None, flops: float) -> int:
    """The number of threads for a run with `flops` floating-point operations between two barriers."""
    return asked(threads) or (min(_default(), int(flops / MIN_FLOPS)) if flops >= 2 * MIN_FLOPS else 1)


def one_blas_thread() -> AbstractContextManager:
    """While it lasts, NumPy's BLAS computes each call on the thread that makes it, if threadpoolctl is installed.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> with fr.threads.one_blas_thread():
    ...     product = np.eye(2) @ np.eye(2)
    """
    try:
        found = _libraries(len(sys.modules))
    except ImportError:
        return nullcontext()
    return found.limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _libraries(modules: int) -> Any:
    """threadpoolctl's controller of the loaded libraries. They are looked for, which takes 5 ms, only if modules have
    been imported since the last time: a BLAS comes with one."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def simd() -> dict[str, Any]:
    """The SIMD target in use, and those that this machine offers, best first.

    Examples
    --------
    >>> import fastreg as fr
    >>> sorted(fr.simd())
    ['available', 'current']
    """
    return {"current": _core.simd_current(), "available": _core.simd_available()}


def use_simd(name: str) -> None:
    """Use the kernels of the target `name`, as FASTREG_SIMD does at import."""
    available = _core.simd_available()
    if name not in available:
        raise ValueError(f"FASTREG_SIMD: got {name!r}, this machine offers {', '.join(available)}")
    _core.simd_use(name)


if os.environ.get("FASTREG_SIMD"):
    use_simd(os.environ["FASTREG_SIMD"])


def register_threadpoolctl() -> None:
    """Lets threadpoolctl list fastreg and limit its threads. `import fastreg` sees to it, in whatever order the two are
    imported.

    Its `user_api` is "fastreg": a limit without a `user_api` reaches it, one for "blas" or "openmp" does not. A
    trainer's own `threads=` holds under a limit too.

    Examples
    --------
    >>> import fastreg as fr
    >>> from threadpoolctl import threadpool_limits  # doctest: +SKIP
    >>> with threadpool_limits(1):  # doctest: +SKIP
    ...     fr.get_num_threads()
    1
    """
    import threadpoolctl

    if _controllers:
        return
    ours = os.path.realpath(_core.__file__)

    class Controller(threadpoolctl.LibController):
        """The state belongs to this module, not to the library."""

        user_api = internal_api = "fastreg"
        filename_prefixes = (os.path.basename(ours).lower(),)
        check_symbols = ("PyInit__core",)

        def set_additional_attributes(self) -> None:
            if os.path.realpath(self.filepath) != ours:
                self.dynlib = None  # another package's _core: without the symbol it is skipped

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            # Restoring the previous number lifts the limit, so small work uses fewer threads again.
            global _limit
            n = min(int(num_threads), MAX_THREADS)
            _limit = None if n == _unlimited() else _checked(n, "limits")

        def get_version(self) -> str:
            return __version__

    threadpoolctl.register(Controller)
    _controllers.append(Controller)


class _WhenImported:
    """A finder of modules that finds none: it waits for threadpoolctl, and registers with it once it is loaded."""

    @classmethod
    def find_spec(cls, name: str, path=None, target=None) -> ModuleSpec | None:
        """The hook of `sys.meta_path`."""
        if name != "threadpoolctl":
            return None
        found = (finder.find_spec(name, path, target) for finder in list(sys.meta_path) if finder is not cls)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            sys.meta_path.remove(cls)
            execute = spec.loader.exec_module

            def then_register(module) -> None:
                execute(module)
                _register_with(module)

            spec.loader.exec_module = then_register  # type: ignore[method-assign]
        return spec


def _register_with(module) -> None:
    if hasattr(module, "register"):  # from its version 3.2 on
        register_threadpoolctl()


_controllers: list[type] = []
if "threadpoolctl" in sys.modules:
    _register_with(sys.modules["threadpoolctl"])
else:
    sys.meta_path.insert(0, _WhenImported)

__getattr__ = _missing(__name__)
