"""How the experiments draw: colours for colour-blind people too, axes with labels, curves and bars over seeds."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.experiments.harness.results import Claim, Runs, half_interval
from fastreg.plots.figure import (
    BLUE,
    COLORS,
    EDGE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    SKY,
    VERMILION,
    label,
    new_figure,
    ramp,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, TITLE = 0.157, 0.22  # inches: a line of text below the picture, and one above it
SEED, INTERVAL = "each seed", "interval"  # marks of what is drawn, so that the picture can explain it

__all__ = [
    "BLUE",
    "COLORS",
    "EDGE",
    "GREEN",
    "INK",
    "ORANGE",
    "PINK",
    "SKY",
    "VERMILION",
    "bars",
    "curve",
    "label",
    "ramp",
]


def curve(axes: Axes, x: Any, values: Any, name: str | None = None, color: str = BLUE, **style: Any) -> None:
    """The mean over the first axis of `values`, and its 95 % interval as a band; of few seeds, each as a thin line."""
    values = np.asarray(values, float)
    mean, half = values.mean(axis=0), half_interval(values)
    axes.plot(x, mean, color=color, label=name, **{"linewidth": 1.8, **style})
    if len(values) == 2:
        axes.plot(x, values.T, color=color, linewidth=1.0, alpha=0.6, gid=SEED)
    elif len(values) > 2:
        axes.fill_between(x, mean - half, mean + half, color=color, alpha=0.2, linewidth=0, gid=INTERVAL)


def bars(
    axes: Axes, names: Sequence[str], values: Sequence[Any], colors: Sequence[str] = COLORS, digits: int = 3
) -> None:
    """A bar for each name: the mean of its values over the seeds, with a number and the 95 % interval."""
    for place, seeds in enumerate(np.asarray(one, float) for one in values):
        mean, half = seeds.mean(), np.nan_to_num(half_interval(seeds))
        axes.bar(place, mean, 0.6, color=colors[place % len(colors)])
        if half:
            axes.errorbar(place, mean, half, color=INK, capsize=4, linewidth=1.2, gid=INTERVAL)
        axes.annotate(
            f"{mean:.{digits}f}",
            (place, mean + half),
            (0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        )
    axes.set_xticks(range(len(names)), [textwrap.fill(name, 16 if len(names) < 4 else 11) for name in names])
    axes.margins(y=0.12)


def picture(
    claim: str, size: tuple[float, float], claims: Sequence[Claim], remarks: Sequence[str], draw, runs: Runs
) -> Figure:
    """The whole picture: the claim above, what the experiment draws, and below whether it held."""
    width, height = size
    title = wrapped(claim, int(width * 9))
    above = TITLE * (title.count("\n") + 1) + 0.12
    lines = [
        wrapped(f"{'✓ held' if c.held else '✗ not held'}: {c.text} ({c.figures})", int(width * 14), " " * 5)
        for c in claims
    ]
    lines += [wrapped(remark, int(width * 14)) for remark in remarks]
    # One line more than there are so far, for what is known only after drawing.
    below = LINE * (sum(line.count("\n") + 1 for line in lines) + 1) + 0.1
    figure = new_figure(width, height + below + above)
    over, panels, under = figure.subfigures(3, 1, height_ratios=[above, height, below])  # type: ignore[misc]
    over.text(0.5, 0.5, title, fontsize=13, color=INK, ha="center", va="center", parse_math=False)
    draw(panels, runs)
    lines.append(_explained(panels))
    under.text(0.01, 0.99, "\n".join(lines), fontsize=9, color=INK, va="top", linespacing=1.25, parse_math=False)
    return figure


def wrapped(text: str, width: int, indent: str = "") -> str:
    """The text in lines of at most `width` characters, as few as can be. No word stands alone in the last of them."""
    lines = textwrap.wrap(text, width, subsequent_indent=indent)
    for narrower in range(width - 1, width // 2, -1):
        others = textwrap.wrap(text, narrower, subsequent_indent=indent)
        if len(lines) == 1 or 3 * len(lines[-1]) > width or len(others) > len(lines):
            break
        lines = others
    return "\n".join(lines)


def _explained(panels: Any) -> str:
    """What a seed is, and what thin lines, bands and whiskers are, if there are any."""
    told = ["a seed: a run with random numbers of its own"]
    for mark, text in (
        (SEED, "thin lines: each seed, thick ones: their mean"),
        (INTERVAL, "bands and whiskers: the 95 % interval of the mean over the seeds"),
    ):
        if panels.findobj(lambda artist, mark=mark: artist.get_gid() == mark):
            told.append(text)
    return "; ".join(told)
