"""What control groups grant this process: processors and memory, as containers and service managers limit them.

A process is in one group of version 2, and in version 1 in one of each controller ("cpu", "memory"). The limit of any
group above it binds as well. `/proc/self/cgroup` names its groups, `/proc/self/mountinfo` tells where they can be read.
In a container only a part of the groups may be mounted, and then those above are not seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

SELF = Path("/proc/self")


def processors(process: Path = SELF) -> float:
    """The least quota of processors of all groups of the process; infinity if there is none.

    Examples
    --------
    >>> processors() > 0
    True
    """

    def version_2(folder: Path) -> float:
        granted, every = (folder / "cpu.max").read_text().split()
        return math.inf if granted == "max" else int(granted) / int(every)

    def version_1(folder: Path) -> float:
        granted, every = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return math.inf if granted <= 0 else granted / every

    return _least(process, "cpu", version_1, version_2)


def memory(process: Path = SELF) -> float:
    """The least limit of memory of all groups of the process, in bytes; infinity if there is none."""

    def version_2(folder: Path) -> float:
        text = (folder / "memory.max").read_text().strip()
        return math.inf if text == "max" else int(text)

    def version_1(folder: Path) -> float:
        return int((folder / "memory.limit_in_bytes").read_text())

    return _least(process, "memory", version_1, version_2)


def _least(process: Path, controller: str, version_1: Callable[[Path], float], version_2: Callable[[Path], float]):
    least = math.inf
    for version, folder in _groups(process, controller):
        with suppress(OSError, ValueError, ArithmeticError):  # it has no such limit
            least = min(least, version_2(folder) if version == 2 else version_1(folder))
    return least


def _groups(process: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """The folders of the groups that the process is in, and of those above, with the version."""
    own = _own(process, controller)
    for version, root, mount in _mounts(process, controller):
        folder = Path(mount)
        yield version, folder
        path = PurePosixPath(own.get(version, "/"))
        if ".." in path.parts or not path.is_relative_to(root):
            continue  # it is outside of what is mounted
        for part in path.relative_to(root).parts:
            folder /= part
            yield version, folder


def _own(process: Path, controller: str) -> dict[int, str]:
    """The path of the group that the process is in, by version."""
    found = {}
    for line in _lines(process / "cgroup"):
        if line.count(":") < 2:
            continue
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            found[2] = path
        elif controller in controllers.split(","):
            found[1] = path
    return found


def _mounts(process: Path, controller: str) -> Iterator[tuple[int, str, str]]:
    """Version, root and place of what is mounted of the groups."""
    for line in _lines(process / "mountinfo"):
        about, _, rest = line.partition(" - ")
        kind, options = rest.split(" ")[0], rest.split(" ")[-1].split(",")
        if kind == "cgroup2" or (kind == "cgroup" and controller in options):
            root, mount = (_unescaped(field) for field in about.split(" ")[3:5])
            yield 2 if kind == "cgroup2" else 1, root, mount


def _lines(path: Path) -> list[str]:
    with suppress(OSError):  # not Linux
        return path.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n").split("\n")
    return []


def _unescaped(field: str) -> str:
    """A path in which spaces and the like are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
