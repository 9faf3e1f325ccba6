"""Safe reading and writing of files: errors name the file, pipes are refused, writes are all or nothing."""

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastreg.common import checking
from fastreg.common.pieces import BYTES_AT_ONCE, pieces
from fastreg.common.temporary import lock, remove_leftovers, temporary, temporary_name

MAX_DIMENSIONS = 64  # NumPy's limits
MAX_BYTES = 2**63 - 1
NO_MEMORY = ("can't allocate lock", "Error -4 ")  # how Python's locks, and zlib, tell that memory has run out

PathLike = str | os.PathLike[str]


class FileFormatError(ValueError):
    """A file does not hold what it should. The message is one line: the file, and what is wrong with it.

    Examples
    --------
    >>> import os, tempfile, fastreg as fr
    >>> path = os.path.join(tempfile.mkdtemp(), "model")
    >>> with open(path, "w") as file:
    ...     _ = file.write("no model")
    >>> try:
    ...     model = fr.load(path)
    ... except fr.FileFormatError as error:
    ...     print(str(error).startswith(path))
    True
    """


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Puts the path before the message of a FileFormatError, so parsers need not know it."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{os.fspath(path)}: {error}") from error.__cause__


def not_of_the_file(error: BaseException | None, outer: BaseException | None) -> BaseException | None:
    """What ran out or failed below an error of a parser: memory, or the disk. None if the file itself is the cause.

    Parsers, also those of Python, make other errors of it. `outer` is what was being handled when the parser began.
    """
    while error is not None and error is not outer:
        if isinstance(error, (MemoryError, SystemError)) or (isinstance(error, OSError) and error.errno is not None):
            return error  # Python makes a SystemError of some allocations that fail
        if isinstance(error, (RuntimeError, zlib.error)) and str(error).startswith(NO_MEMORY):
            return MemoryError(str(error))
        error = error.__context__
    return None


@contextmanager
def open_regular(path: PathLike) -> Iterator[tuple[BinaryIO, int]]:
    """Opens a file to read, and gives its size. Pipes and devices are refused: they could block or never end."""
    mode = os.stat(checking.path("path", path)).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # open() has the better message for a folder
        raise FileFormatError("is not a regular file")
    with open(path, "rb") as file:
        yield file, os.fstat(file.fileno()).st_size


def read_bytes(file: BinaryIO, count: int) -> bytes:
    """Reads exactly `count` bytes."""
    data = file.read(count)
    if len(data) != count:
        raise FileFormatError("ends too early")
    return data


def read_into(file: BinaryIO, array: np.ndarray) -> None:
    """Fills a C-contiguous array from the file."""
    target = array.reshape(-1).view(np.uint8)
    for part in pieces(target.size, BYTES_AT_ONCE):
        if file.readinto(target[part].data) != len(target[part]):  # type: ignore[attr-defined]
            raise FileFormatError("ends too early")


def array_bytes(shape: Sequence[int], itemsize: int) -> int:
    """The bytes of an array whose shape a file claims. Refuses shapes that NumPy cannot make."""
    # Without zeros: NumPy limits the product of the other dimensions even for an empty array.
    if len(shape) > MAX_DIMENSIONS or math.prod(filter(None, shape)) * itemsize > MAX_BYTES:
        raise FileFormatError("claims an array that is too large")
    return math.prod(shape) * itemsize


def check_target(name: str, path: Path) -> None:
    """Refuses the argument `name` if no file can be written at `path`."""
    for wanted in (path, temporary_name(path)):
        try:
            os.lstat(wanted)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                got = f"got a name of {len(os.fsencode(path.name))} bytes in a path of {len(os.fsencode(path))}"
                raise ValueError(f"{name}: {got}, expected a shorter one, as the file system wants it") from None
    if not path.parent.is_dir():
        raise ValueError(f"{name}: got {str(path)!r}, expected a file in a folder that exists")
    if path.is_dir():
        raise ValueError(f"{name}: got {str(path)!r}, a folder, expected a file")
    _check_regular(name, path)


def _check_regular(name: str, path: Path) -> None:
    """Refuses devices and pipes, which a file would replace."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{name}: got {str(path)!r}, not a regular file, expected a file")


@contextmanager
def writing(path: PathLike, temporary: Path | None = None) -> Iterator[None]:
    """Puts the path into errors that name no file (such as a full disk), or only the temporary file."""
    try:
        yield
    except OSError as error:
        known = error.filename not in (None, temporary and str(temporary)) or error.filename2 is not None
        if not known:
            error.filename = os.fspath(path)
        raise


@contextmanager
def atomic_write(path: PathLike) -> Iterator[BinaryIO]:
    """A file to write. It replaces `path` if the block ends well, and otherwise leaves no trace. What killed processes
    have left of the same file goes.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "note")
    >>> with atomic_write(path) as file:
    ...     _ = file.write(b"all or nothing")
    >>> path.read_text()
    'all or nothing'
    """
    path = Path(checking.path("path", path))
    _check_regular("path", path)
    if path.is_dir():  # before there is a temporary file, which the error of renaming would name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    remove_leftovers(path)
    with temporary(path) as (file, name), writing(path, name):
        yield file
        file.flush()
        os.fsync(file.fileno())  # the bytes before the name: otherwise a power cut could leave an empty file
        if os.name != "posix":
            file.close()  # the name of an open file cannot change there
        os.replace(name, path)
    _sync_folder(path)


def atomic_link(source: PathLike, path: PathLike) -> None:
    """Makes `path` a second name of the file `source`, atomically. A copy if the file system has no such links."""
    path = Path(path)
    name = str(temporary_name(path))
    try:
        with open(source, "rb") as file:
            lock(file)  # or another process takes the link for what a killed one left
            try:
                os.link(source, name)
            except OSError:
                with atomic_write(path) as copy:
                    shutil.copyfileobj(file, copy)
                return
            os.replace(name, path)
    finally:
        # It still exists if both were already names of one file. As in `temporary`, one call without code of Python.
        try:  # noqa: SIM105
            os.unlink(name)
        except OSError:
            pass
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
