"""Temporary files beside the files that they will replace, and which of them nobody writes any more.

The name of one tells for which file it is, and on which machine it is written: `.NAME.FILE.MACHINE.RANDOM.tmp`, where
NAME is the beginning of the file's name, FILE a hash of the whole of it, and MACHINE one of the running system. While
it is written, its writer holds a lock on it (flock), which ends with the process, however that ends. So a file without
a lock is left over. A process number would not tell as much: another process may have it by now, and those of
containers and of other machines mean nothing here.

Locks may not reach other machines on a shared file system. So what another machine wrote is left over only if nothing
was written to it for a day.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed: the open file is the lock
    fcntl = None  # type: ignore[assignment]

BEGINNING = 48  # characters; with up to 4 bytes each the name stays below 256 bytes, which file systems allow
FOREIGN_SECONDS = 24 * 60 * 60.0


@contextmanager
def temporary(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside `path` to write, and its name. If it still has this name at the end, it is removed."""
    name = str(temporary_name(path))
    try:
        file = _new(name, path)
        while not _held(file):
            file.close()
            name = str(temporary_name(path))
            file = _new(name, path)
        with file:
            yield file, Path(name)
    finally:
        # One call without code of Python, before which no handler of a signal can raise.
        try:  # noqa: SIM105
            os.unlink(name)
        except OSError:
            pass


def _new(name: str, path: Path) -> BinaryIO:
    try:
        return open(name, "x+b")  # also to read, since network file systems give no shared lock otherwise
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def _held(file: BinaryIO) -> bool:
    """Locks a new file. False if another process saw it before that, and removed it."""
    lock(file, wait=True)
    return os.name != "posix" or os.fstat(file.fileno()).st_nlink > 0


def temporary_name(path: Path) -> Path:
    """A new name for a temporary file of `path`."""
    return path.parent / f"{_stem(path)}.{_machine()}.{secrets.token_hex(8)}.tmp"


def remove_leftovers(path: Path) -> None:
    """Removes temporary files of `path` whose writers were killed. Files of a process that still writes them stay."""
    pattern = re.compile(re.escape(_stem(path)) + r"\.([0-9a-f]{8})\.[0-9a-f]{16}\.tmp")
    try:
        names = os.listdir(path.parent)
    except OSError:  # there is no such folder, or it may not be listed
        return
    for name in names:
        if match := pattern.fullmatch(name):
            with suppress(OSError):  # another process was faster, or may not be disturbed
                remove_if_left(path.parent / name, match[1] == _machine())


def remove_if_left(name: Path, here: bool = True) -> None:
    """Removes a file, written here or on another machine, if nobody locks it. An OSError if somebody does."""
    if not here and time.time() - name.stat().st_mtime < FOREIGN_SECONDS:
        return
    with open(name, "r+b") as file:  # network file systems want what is locked to be open for it
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name.unlink()
    name.unlink(missing_ok=True)


def lock(file: BinaryIO, *, wait: bool = False) -> None:
    """Holds a lock on an open file until it is closed, beside others who do, if the file system has locks."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH if wait else fcntl.LOCK_SH | fcntl.LOCK_NB)


def _stem(path: Path) -> str:
    whole = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    return f".{path.name[:BEGINNING]}.{whole}"


@cache
def _machine() -> str:
    """Eight hexadecimal digits for the running system: its kernel since it started, whose locks all its processes and
    containers share. Else the name of the machine."""
    try:
        told = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        told = platform.node().encode()
    return hashlib.blake2b(told, digest_size=4).hexdigest()
