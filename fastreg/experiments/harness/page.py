"""The page: the experiments whose numbers are in a folder, as one HTML file that holds its pictures and as Markdown."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastreg.common.fileio import atomic_write
from fastreg.experiments.harness.find import experiments

TITLE = "What regularization does: the experiments of fastreg"
MISSING = "These have no outcome:"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1.2rem; }
img { max-width: 100%; height: auto; } p.small, footer { color: #555; font-size: .9rem; }
table { border-collapse: collapse; font-size: .92rem; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th { border-bottom: 2px solid #999; }
th:first-child, td:first-child { text-align: left; } code { background: #f3f3f3; padding: .1rem .3rem; }
li.held::marker { content: "✓  "; color: #009E73; } li.missed::marker { content: "✗  "; color: #D55E00; }
table.list th, table.list td { text-align: left; } td.verdict { white-space: nowrap; }
@media (max-width: 40rem) { table.list th, table.list td { padding: .25rem .3rem; } td.verdict { white-space: normal; }
  table.list th:nth-child(2), table.list td:nth-child(2) { display: none; } }
"""


def write_page(folder: Path, missing: Mapping[str, str] | None = None) -> list[Path]:
    """Writes index.html and index.md of what is in the folder.

    Parameters
    ----------
    folder : Path
        Where the numbers and pictures are.
    missing : mapping of str to str, optional
        Experiments that failed or could not run, and why. Numbers that an earlier run of them left are not shown.

    Returns
    -------
    list of Path
        The two files.
    """
    missing = missing or {}
    found = [one for one in _read(folder) if one["name"] not in missing]
    pages = [(folder / "index.html", _html(folder, found, missing)), (folder / "index.md", _markdown(found, missing))]
    for path, text in pages:
        with atomic_write(path) as file:
            file.write(text.encode())
    return [path for path, _ in pages]


def _read(folder: Path) -> list[dict[str, Any]]:
    """The numbers of all experiments in the folder, in the order of `fastreg run --list`."""
    found = {}
    for name in experiments():
        path = folder / f"{name}.json"
        if path.exists():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    return list(found.values())


def _verdict(one: dict[str, Any]) -> str:
    held = sum(claim["held"] for claim in one["claims"])
    count = len(one["claims"])
    form = " in the quick form" if one["quick"] else ""
    if held < count:
        return f"✗ {count - held} of {count} not held{form}" if held else f"✗ not held{form}"
    return f"✓ held{form}" if one["tested"] else "○ not tested in the quick form"


def _warning(found: list[dict[str, Any]]) -> list[str]:
    """What a reader must know of quick forms: one line, if there are any."""
    if not any(one["quick"] for one in found):
        return []
    return [
        "Some or all of these are quick forms. They have few seeds and short trainings, and small digits stand in for "
        "MNIST. They show how each experiment works. What they find need not hold for the full form, and the text "
        "below is about that."
    ]


def _machines(found: list[dict[str, Any]]) -> list[str]:
    """Where the numbers come from: one line, unless the experiments ran in several places."""
    lines = []
    for one in found:
        machine = one["machine"]
        simd = machine["simd"]["current"]
        lines.append(
            f"{machine['processor']}, {machine['cores']} cores, {simd}, {machine['threads']} threads; "
            f"fastreg {machine['fastreg']}, NumPy {machine['numpy']}, Python {machine['python']}; {machine['platform']}"
        )
    return list(dict.fromkeys(lines))


def _html(folder: Path, found: list[dict[str, Any]], missing: Mapping[str, str]) -> str:
    say = html.escape
    parts = [
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{say(TITLE)}</title><style>{STYLE}</style></head><body><h1>{say(TITLE)}</h1>",
        *(f"<p class='small'>{say(line)}</p>" for line in _machines(found)),
        *(f"<p>{say(line)}</p>" for line in _warning(found)),
        "<p>A system is a part of the documents that the claims come from, which are called A to E. The number after ± "
        "is half of the 95 % interval of a mean over seeds, from three seeds on.</p>",
        "<table class='list'><tr><th>experiment</th><th>system</th><th>claim</th><th>outcome</th></tr>",
    ]
    for one in found:
        parts.append(
            f"<tr><td><a href='#{one['name']}'>{one['name']}</a></td><td>{say(one['systems'])}</td>"
            f"<td class='claim'>{say(one['claim'])}</td><td class='verdict'>{_verdict(one)}</td></tr>"
        )
    parts.append("</table>")
    if missing:
        items = "".join(f"<li class='missed'>{say(name)}: {say(why)}</li>" for name, why in missing.items())
        parts.append(f"<p>{MISSING}</p><ul>{items}</ul>")
    for one in found:
        name = one["name"]
        parts.append(f"<h2 id='{name}'>{say(one['claim'])}</h2>")
        parts.append(f"<p class='small'>{say('; '.join([name + _system(one), *one['remarks']]))}</p>")
        parts += [f"<p>{_code(say(text))}</p>" for text in one["argument"].split("\n\n") if text]
        parts.append("<ul>")
        for claim in one["claims"]:
            kind = "held" if claim["held"] else "missed"
            parts.append(f"<li class='{kind}'>{say(claim['text'])}: {say(claim['figures'])}</li>")
        parts.append("</ul>")
        picture = folder / f"{name}.png"
        if picture.exists():
            data = base64.b64encode(picture.read_bytes()).decode()
            told = say(f"{one['claim']} {_verdict(one)}", quote=True)
            parts.append(f"<a href='{name}.png'><img alt='{told}' src='data:image/png;base64,{data}'></a>")
        table = one["table"]
        parts.append("<table><tr>" + "".join(f"<th>{say(head)}</th>" for head in table["heads"]) + "</tr>")
        for row in table["rows"]:
            parts.append("<tr>" + "".join(f"<td>{say(cell)}</td>" for cell in row) + "</tr>")
        parts.append("</table>")
        if table["note"]:
            parts.append(f"<p class='small'>{say(table['note'])}</p>")
        parts.append(
            f"<p class='small'><code>{say(one['command'])}</code> · <a href='{name}.png'>picture</a> · "
            f"<a href='{name}.json'>numbers</a></p>"
        )
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _markdown(found: list[dict[str, Any]], missing: Mapping[str, str]) -> str:
    lines = [f"# {TITLE}", "", *(line + "\n" for line in [*_machines(found), *_warning(found)])]
    lines += ["| experiment | system | claim | outcome |", "|---|---|---|---|"]
    lines += [
        f"| [{one['name']}](#{one['name']}) | {one['systems']} | {_cell(one['claim'])} | {_verdict(one)} |"
        for one in found
    ]
    if missing:
        lines += ["", MISSING, "", *(f"- ✗ {name}: {why}" for name, why in missing.items())]
    for one in found:
        name, table = one["name"], one["table"]
        lines += ["", f"## {name}", "", f"**{one['claim']}**", ""]
        lines += [f"{'; '.join([name + _system(one), *one['remarks']])}.", "", one["argument"], ""]
        lines += [f"- {'✓' if claim['held'] else '✗'} {claim['text']}: {claim['figures']}" for claim in one["claims"]]
        lines += ["", f"[![{name}]({name}.png)]({name}.png)", ""]
        lines.append("| " + " | ".join(map(_cell, table["heads"])) + " |")
        lines.append("|---" + "|---:" * (len(table["heads"]) - 1) + "|")
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in table["rows"]]
        lines += ["", *([table["note"], ""] if table["note"] else []), f"`{one['command']}` · [numbers]({name}.json)"]
    return "\n".join(lines) + "\n"


def _system(one: dict) -> str:
    """The system that an experiment belongs to, if it belongs to one."""
    return f", system {one['systems']}" if one["systems"] else ""


def _code(text: str) -> str:
    """`this` in the font of code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
