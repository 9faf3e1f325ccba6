"""The pages of the API, written from the public names of fastreg before Sphinx reads its sources, and links to them.

Each class and function of `fastreg.__all__` has a page, each public module one for all that is its own. Nothing here
repeats a name. In the other pages, code such as `fr.Dense` becomes a link; a name that does not exist is a warning.
"""

import contextlib
import importlib
import inspect
import re
from pathlib import Path

import public_names
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import make_refnode

import fastreg as fr

FOLDER = Path(__file__).parent / "api"
NAME = re.compile(r"(?:fr|fastreg)((?:\.[A-Za-z_]\w*)+)")
COLUMNS = re.compile(r"\S {2,}\S")
MARKUP = re.compile(r"([|*]|(?<=\w)_(?=\W|$))")
ROOMS = {  # of the package, in the order in which a reader meets them
    "model": "Models",
    "layers": "Layers",
    "training": "Training",
    "losses": "Penalties, attacks",
    "optimizers": "Optimizers, averages",
    "callbacks": "Callbacks",
    "checks": "Checks",
    "exchange": "Other libraries",
    "machine": "Threads, machine",
    "common": "Errors",
}
log = logging.getLogger(__name__)


def setup(app) -> None:
    """Called by conf.py."""
    app.connect("builder-inited", write)
    app.connect(
        "autodoc-process-docstring", plain, priority=400
    )  # before napoleon reads it
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", others)
    app.connect("autodoc-process-bases", bases)
    app.connect("missing-reference", resolve)
    app.add_transform(Links)


# --- Pages ---------------------------------------------------------------------------------------------------------


def write(app) -> None:
    """Writes the pages, and takes away those of names that are gone."""
    pages = {}
    top = public_names.top_level()
    for name, value in top.items():
        pages[name] = f"{title(name)}{module('fastreg')}{entry(name, value)}"
    known = {id(value): name for name, value in top.items()}
    homes = sorted([*fr._MODULES, "data.augment"])
    for home in homes:
        pages[f"fastreg.{home}"] = module_page(home, known)
    pages["index"] = index(top, [f"fastreg.{home}" for home in homes])
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = FOLDER / f"{name}.rst"
        if (
            not path.exists() or path.read_text() != text
        ):  # what has not changed is not read again
            path.write_text(text)


def index(top: dict[str, object], modules: list[str]) -> str:
    """The page that leads to all others. Names stand under the room of the package that they are made in."""
    rooms: dict[str, list[str]] = {}
    for name, value in top.items():
        rooms.setdefault(value.__module__.split(".")[1], []).append(name)
    text = (
        title("API")
        + "Every public name. ``import fastreg as fr`` makes all of them ``fr.NAME``.\n\n"
    )
    for room in sorted(rooms, key=[*ROOMS, *sorted(rooms)].index):
        text += group(ROOMS.get(room, room.capitalize()), rooms[room])
    return text + group("Modules", modules)


def group(name: str, names: list[str]) -> str:
    """A part of the index, which is one of the side bar too."""
    return title(name, "-") + table(names) + toctree(names, name)


def module_page(home: str, known: dict[int, str]) -> str:
    """A module: its docstring, a table of what is in it, then all that is not documented elsewhere."""
    full = f"fastreg.{home}"
    found = public_names.of_module(home)
    text = f"{title(full)}.. automodule:: {full}\n   :no-members:\n\n"
    elsewhere = [known[id(value)] for value in found.values() if id(value) in known]
    own = {name: value for name, value in found.items() if id(value) not in known}
    known |= {id(value): name for name, value in own.items()}
    if own or elsewhere:
        text += table([*own, *elsewhere])
    return text + "".join(entry(name, value) for name, value in own.items())


def title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def module(name: str) -> str:
    return f".. currentmodule:: {name}\n\n"


def table(names: list[str]) -> str:
    rows = "".join(f"   {name.removeprefix('fastreg.')}\n" for name in names)
    return (
        f".. currentmodule:: fastreg\n\n.. autosummary::\n   :nosignatures:\n\n{rows}\n"
    )


def toctree(names: list[str], caption: str) -> str:
    rows = "".join(f"   {name.removeprefix('fastreg.')} <{name}>\n" for name in names)
    return f".. toctree::\n   :hidden:\n   :caption: {caption}\n\n{rows}\n"


def entry(name: str, value: object) -> str:
    if not inspect.isclass(value):
        return f".. autofunction:: {name}\n\n"
    inherits = "   :show-inheritance:\n" if public_bases(value) else ""
    return f".. autoclass:: {name}\n   :members:\n{inherits}\n"


# --- What autodoc shows --------------------------------------------------------------------------------------------


def plain(app, what, name, value, options, lines) -> None:
    """Docstrings are plain text with code in backticks: |W|^2, 2 * n and classes_ mean what they say, and columns stay
    aligned."""
    paragraphs = "\n".join(lines).split("\n\n")
    lines[:] = "\n\n".join(map(paragraph, paragraphs)).split("\n")
    if what in ("property", "attribute", "data") and ":" in lines[0]:
        lines.insert(0, "\\")  # else napoleon takes what is before the colon for a type


def paragraph(text: str) -> str:
    rows = text.split("\n")
    if ">>>" in text:
        return text
    if len(rows) > 1 and sum(COLUMNS.search(row) is not None for row in rows) * 2 > len(
        rows
    ):
        return "\n".join(["::", "", *(f"    {row}" for row in rows)])
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [MARKUP.sub(r"\\\1", part) for part in parts[::2]]
    parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]  # `Model`s
    return "".join(parts)


def signature(app, what, name, value, options, args, returns):
    """A class has the signature of its constructor, not that of its metaclass."""
    if what == "class":
        try:
            return stringify_signature(
                inspect.signature(value), show_annotation=False
            ), None
        except ValueError:
            return None
    return None


def others(app, what, name, value, skip, options):
    """Methods that another library gives to a class are told there. Fields of a tuple have nothing to say."""
    if (getattr(value, "__doc__", None) or "").startswith("Alias for field number"):
        return True
    home = getattr(value, "__globals__", {}).get(
        "__name__", "fastreg"
    )  # where the code is
    return None if home.startswith("fastreg") else True


def bases(app, name, value, options, found) -> None:
    """Only public bases are shown."""
    found[:] = public_bases(value)


def public_bases(value: type) -> list[type]:
    public = {id(one) for one in public_names.public().values()}
    return [base for base in value.__bases__ if id(base) in public]


# --- Links ---------------------------------------------------------------------------------------------------------


class Links(SphinxTransform):
    """Makes links of code such as `fr.Dense(10)` in the pages of the guide."""

    default_priority = 500

    def apply(self, **_) -> None:
        if (
            self.env.docname.startswith("api/") or self.env.docname == "changelog"
        ):  # it tells of names that are gone
            return
        for node in list(self.document.findall(nodes.literal)):
            found = NAME.match(node.astext())
            if found is None or isinstance(
                node.parent, (nodes.reference, nodes.title, addnodes.pending_xref)
            ):
                continue
            link = addnodes.pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=f"fastreg{found[1]}",
                refexplicit=True,
                refwarn=False,
            )
            link.source, link.line = (
                node.source,
                node.line or getattr(node.parent, "line", None),
            )
            node.replace_self(link)
            link += node


def resolve(app, env, node, inner):
    """The page of a name that is written in short, or a warning if the name says fastreg and is not there."""
    if node.get("refdomain") != "py":
        return None
    said = NAME.match(node["reftarget"])
    target = f"fastreg{said[1]}" if said else node["reftarget"]
    documented = env.domains["py"].objects
    for name in (target, f"fastreg.{target}"):
        if name in documented:
            place = documented[name]
            return make_refnode(
                app.builder, node["refdoc"], place.docname, place.node_id, inner, name
            )
    if target.startswith("fastreg."):
        return near(app, env, node, inner, target)
    return None


def near(app, env, node, inner, target: str):
    """The page of the module or class that holds a name which has no entry of its own, such as a table by name."""
    value, home, documented = fr, "", env.domains["py"].objects
    path = target.split(".")
    for count, part in enumerate(path[1:], 2):
        if inspect.ismodule(value) and not hasattr(
            value, part
        ):  # a module that nobody has imported yet?
            with contextlib.suppress(ImportError):
                importlib.import_module(".".join(path[:count]))
        if not hasattr(value, part) and part not in getattr(
            value, "__dataclass_fields__", ()
        ):
            log.warning("%s: there is no such name", target, location=node)
            return None
        value = getattr(value, part, None)
        if ".".join(path[:count]) in documented:
            home = ".".join(path[:count])
    if not home:
        return None
    return make_refnode(
        app.builder,
        node["refdoc"],
        documented[home].docname,
        documented[home].node_id,
        inner,
        home,
    )
