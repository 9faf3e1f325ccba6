"""The floors of the house: a room uses only the rooms below it, and no import runs in a circle.

Every import counts: those in functions and those for types alone, too, and a table that names "module.Class" to be
imported when it is asked for.
"""

import ast
import re
import shutil
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fastreg as fr

FLOORS = (
    *(
        "common",
        "intake",
        "machine",
        "program",
        "reference",
        "engines",
        "kernels",
        "losses",
        "metrics",
        "layers",
        "optimizers",
        "model",
    ),
    *("data", "callbacks", "distributed", "training", "estimators", "exchange", "plots", "checks"),
    *("benchmarks", "experiments", "cli"),
)
ROOF = {"fastreg", "fastreg.__main__"}  # they open all rooms
ABOVE_THE_ROOF = FLOORS[-3:]  # they use the package as everybody does
FOLDER = Path(fr.__file__).parent
FILES = {
    ".".join((FOLDER.name, *path.relative_to(FOLDER).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in FOLDER.rglob("*.py")
}
NAMED = re.compile(r"([a-z_]\w*(?:\.[a-z_]\w*)*)\.[A-Z]\w*")  # "module.Class", as `fastreg.common.specs` takes it


def module(name: str) -> str:
    """The module of the package that `name` is, or is found in; a public name stands for the module in its room."""
    first, _, rest = name.removeprefix("fastreg.").partition(".")
    parts = f"fastreg.{fr._ROOMED.get(first, first)}.{rest}".rstrip(".").split(".")
    while ".".join(parts) not in FILES:
        parts.pop()
    return ".".join(parts)


def imports(text: str) -> set[str]:
    """The modules of the package that a source text imports, now, later or for types."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not counted here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = NAMED.fullmatch(node.value)
            if match and f"fastreg.{match[1]}" in FILES:
                found.add(f"fastreg.{match[1]}")
    return {module(name) for name in found if name.partition(".")[0] == "fastreg"}


USES = {name: imports(path.read_text()) - {name} for name, path in FILES.items() if name not in ROOF}


def room(name: str) -> str:
    return name.split(".")[1]


def test_every_kind_of_import_counts():
    text = """
import fastreg.model.lowering
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from fastreg.engines import session
def later():
    from fastreg import schedules
    import numpy
TABLE = {"gl": "callbacks.stopping.GL", "text": "a.Text"}
"""
    found = {"model.lowering", "engines.session", "optimizers.schedules", "callbacks.stopping"}
    assert imports(text) == {f"fastreg.{name}" for name in found}


def test_every_room_has_its_floor():
    rooms = {path.stem for path in FOLDER.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(FLOORS)


@pytest.mark.parametrize("user", USES)
def test_a_room_uses_only_those_below(user):
    if room(user) in ABOVE_THE_ROOF:
        return
    floor = FLOORS.index(room(user))
    assert [used for used in USES[user] if used in ROOF or FLOORS.index(room(used)) > floor] == []


def test_no_import_runs_in_a_circle():
    try:
        TopologicalSorter(USES).prepare()
    except CycleError as error:
        pytest.fail(" uses ".join(reversed(error.args[1])))


def test_few_entries():
    """At most those of the map: 25 rooms and three files. Builds add others, so files under version control count."""
    if shutil.which("git") is None or not (FOLDER.parent / ".git").exists():
        pytest.skip("no repository here")
    listed = subprocess.run(
        ["git", "ls-files", "fastreg"], cwd=FOLDER.parent, capture_output=True, text=True, check=True
    ).stdout.split()
    assert len({path.split("/")[1] for path in listed}) <= 28
