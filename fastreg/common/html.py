"""Small pages for notebooks: tables and lines of text, readable on light and dark ground, without scripts.

All colours are those of the notebook or half transparent, so they suit any ground. Styles are attributes, since
notebooks drop style sheets from outputs that they do not trust.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

RULE = "1px solid rgba(128, 128, 128, 0.45)"
CELL = "padding: 0.15em 0.7em; border: none; white-space: nowrap; background: transparent; color: inherit"
WIDTH, HEIGHT = 72, 16  # pixels of a line in a table


class Raw(str):
    """HTML that is not escaped once more."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1, foot: Sequence[str] | None = None) -> Raw:
    """A table. The first `left` columns are aligned left, the others right. `foot` is a last row, such as of sums.

    Examples
    --------
    >>> "<td" in table(["layer", "size"], [["a<b", "3"]]) and "a&lt;b" in table(["layer"], [["a<b"]])
    True
    """
    body = "".join(_row("td", row, left) for row in rows)
    under = "" if foot is None else f"<tfoot>{_row('td', foot, left, f'border-top: {RULE}')}</tfoot>"
    return Raw(
        '<table style="border-collapse: collapse; font-size: 90%; margin: 0.3em 0; color: inherit">'
        f"<thead>{_row('th', heads, left, f'border-bottom: {RULE}')}</thead><tbody>{body}</tbody>{under}</table>"
    )


def _row(tag: str, cells: Sequence[str], left: int, line: str = "") -> str:
    told = []
    for place, cell in enumerate(cells):
        align = "left" if place < left else "right"
        told.append(f'<{tag} style="{CELL}; text-align: {align}{line and f"; {line}"}">{_text(cell)}</{tag}>')
    return f'<tr style="background: transparent">{"".join(told)}</tr>'


def page(title: str, *parts: str) -> str:
    """A title above parts: tables, and lines of text."""
    body = "".join(part if isinstance(part, Raw) else f"<div>{_text(part)}</div>" for part in parts)
    head = f"<div><b>{_text(title)}</b></div>" if title else ""
    return f'<div style="overflow-x: auto">{head}{body}</div>'


def bar(share: float) -> Raw:
    """A bar of which a share is done."""
    return Raw(f'<progress value="{share:.4f}" max="1" style="width: 14em; vertical-align: middle"></progress>')


def line(values: Sequence[float]) -> Raw:
    """A curve as small as a word; empty for fewer than two numbers."""
    points = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
    if len(points) < 2:
        return Raw("")
    low, high = min(value for _, value in points), max(value for _, value in points)
    across, up = (WIDTH - 4) / (len(values) - 1), (HEIGHT - 4) / ((high - low) or 1.0)
    step = max(1, len(points) // WIDTH)
    shown = [*points[::step], points[-1]]
    told = " ".join(f"{2 + place * across:.1f},{HEIGHT - 2 - (value - low) * up:.1f}" for place, value in shown)
    return Raw(
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="its course" style="vertical-align: middle">'
        f'<polyline points="{told}" fill="none" stroke="currentColor" stroke-width="1.2"/></svg>'
    )


def _text(text: str) -> str:
    return text if isinstance(text, Raw) else escape(str(text))
