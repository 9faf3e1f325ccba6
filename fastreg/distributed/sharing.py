"""How the data of a run reach the workers: the ways of the joblib backends, each once a worker or once a machine.

A `Way` is sent with each task, and is small. `Way.get` in the worker gives the data; what is opened stays open for the
next tasks of the run.
"""

from __future__ import annotations

import mmap
import os
import pickle
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from uuid import uuid4

import numpy as np

from fastreg.common.temporary import lock, remove_if_left
from fastreg.distributed.packing import Packed, code, pack, unpack

ALIGNED = 64  # bytes: where arrays begin in a file
PREFIX = "fastreg-"  # of the folders of runs
YOUNG = 60.0  # seconds; a younger file may not be locked yet
OPEN = 2  # runs whose data a worker keeps
MARK = "failed"  # the name of a file beside the data
Parts = tuple[Any, Any]  # what all tasks have in common, and the data


class Way(Protocol):
    """What is sent with each task, to get the common part and the data."""

    def get(self, extra: Any) -> Parts: ...


class DataLost(Exception):
    """The data of a run are no longer on the cluster."""


_open: OrderedDict[str, Parts] = OrderedDict()
_lock = threading.Lock()


def _once(token: str, read: Callable[[], Packed]) -> Parts:
    """The parts of the run `token`, unpacked by the first task of it in this process."""
    with _lock:  # threads of one worker wait for the first
        if token not in _open:
            common, data = unpack(read())
            _open[token] = pickle.loads(common), data
            while len(_open) > OPEN:
                _open.popitem(last=False)
        _open.move_to_end(token)
        return _open[token]


def _packed(parts: Parts) -> Packed:
    common, data = parts
    return pack((code(common), data))


# --- Threads of this process ------------------------------------------------------------------------------------------


class Here:
    """The data as they are, for threads of this process."""

    def __init__(self, parts: Parts):
        self.parts = parts
        self.way: Way = self
        self.extra = None

    def get(self, extra: Any) -> Parts:
        return self.parts

    def close(self) -> None:
        """Nothing is kept."""


# --- Processes of this machine ----------------------------------------------------------------------------------------


class FileWay(NamedTuple):
    """A file that holds the pickle and the arrays at these places."""

    token: str
    path: str
    spans: tuple[tuple[int, int], ...]

    def get(self, extra: Any) -> Parts:
        return _once(self.token, self._read)

    def _read(self) -> Packed:
        with open(self.path, "rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        head, *arrays = (view[start:stop] for start, stop in self.spans)
        return Packed(bytes(head), [np.frombuffer(array, np.uint8) for array in arrays])


class InFile:
    """One file that the processes of this machine map. It is removed at the end.

    mark   the path of a file beside it, by which a task can tell the others that it has failed; removed at the end, too
    """

    extra = None

    def __init__(self, parts: Parts):
        packed = _packed(parts)
        pieces: list[memoryview] = [memoryview(packed.head), *(buffer.data for buffer in packed.buffers)]
        spans, end = [], 0
        for piece in pieces:
            start = -(-end // ALIGNED) * ALIGNED
            end = start + len(piece)
            spans.append((start, end))
        parent = Path(_folder(end) or tempfile.gettempdir())
        _remove_left(parent)
        self.folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        self.mark = Path(self.folder, MARK)
        self._file: BinaryIO | None = None
        try:
            path = Path(self.folder, "data")
            self._file = open(path, "x+b")  # noqa: SIM115 it is open, and locked, as long as the run lasts
            lock(self._file)
            for (start, _), piece in zip(spans, pieces, strict=True):
                self._file.seek(start)
                self._file.write(piece)
            self._file.flush()
        except BaseException:
            self.close()
            raise
        self.way: Way = FileWay(uuid4().hex, str(path), tuple(spans))

    def close(self) -> None:
        """Removes the file. Workers that have mapped it may go on."""
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_left(parent: Path) -> None:
    """Removes the files of killed runs, on which nobody holds a lock any more."""
    for path in parent.glob(f"{PREFIX}*/data"):
        with suppress(OSError):  # it is in use, or of another user
            if time.time() - path.stat().st_mtime > YOUNG:
                remove_if_left(path)
                path.with_name(MARK).unlink(missing_ok=True)
                path.parent.rmdir()


def _folder(size: int) -> str | None:
    """Where the file goes: joblib's own choice, so that its environment variable holds here, too."""
    chosen = os.environ.get("JOBLIB_TEMP_FOLDER")
    if chosen:
        return chosen
    memory = Path("/dev/shm")
    try:
        if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * size:
            return str(memory)
    except OSError:
        pass
    return None


# --- Clusters ---------------------------------------------------------------------------------------------------------


class DaskWay(NamedTuple):
    """The data come as an argument, which dask keeps in each worker."""

    token: str

    def get(self, extra: Any) -> Parts:
        if not isinstance(extra, Packed):
            raise DataLost("the workers that had the data are gone")
        return _once(self.token, lambda: extra)


class InDask:
    """Sent to every worker once. A worker that comes later gets the data from another worker."""

    def __init__(self, parts: Parts, client: Any):
        self.way: Way = DaskWay(uuid4().hex)
        self.extra = client.scatter(_packed(parts), broadcast=True, hash=False)

    def close(self) -> None:
        """Lets the cluster forget the data."""
        self.extra.release()


class RayWay:
    """The data are in Ray's store, one copy a machine."""

    def __init__(self, token: str, reference: Any):
        self.token, self.reference = token, reference

    def get(self, extra: Any) -> Parts:
        def read() -> Packed:
            import ray

            return ray.get(self.reference)

        return _once(self.token, read)


class InRay:
    """Put into Ray's store once. Its machines fetch it when a task there asks."""

    extra = None

    def __init__(self, parts: Parts):
        import ray

        self.way: Way = RayWay(uuid4().hex, ray.put(_packed(parts)))

    def close(self) -> None:
        """Lets the store forget the data."""
        del self.way
