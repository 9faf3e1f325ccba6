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
        axes.plot(x, values.T, color=color, linewidth=0.6, alpha=0.6)
    elif len(values) > 2:
        axes.fill_between(x, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)


def bars(
    axes: Axes, names: Sequence[str], values: Sequence[Any], colors: Sequence[str] = COLORS, digits: int = 3
) -> None:
    """A bar for each name: the mean of its values over the seeds, with a number and the 95 % interval."""
    for place, seeds in enumerate(np.asarray(one, float) for one in values):
        mean, half = seeds.mean(), np.nan_to_num(half_interval(seeds))
        axes.bar(place, mean, 0.6, color=colors[place % len(colors)], yerr=half or None, capsize=4, ecolor=INK)
        axes.annotate(
            f"{mean:.{digits}f}",
            (place, mean + half),
            (0, 3),
            textcoords="offset points",
            ha="center",
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
    lines = [
        textwrap.fill(
            f"{'✓ held' if c.held else '✗ not held'}: {c.text} ({c.figures})",
            int(width * 14),
            subsequent_indent="     ",
        )
        for c in claims
    ]
    lines += [textwrap.fill(remark, int(width * 14)) for remark in remarks]
    count = sum(line.count("\n") + 1 for line in lines)
    below = 0.19 * count + 0.15
    figure = new_figure(width, height + below + 0.45)
    figure.suptitle(textwrap.fill(claim, int(width * 9)), fontsize=13, color=INK, parse_math=False)
    above, under = figure.subfigures(2, 1, height_ratios=[height, below])  # type: ignore[misc]
    draw(above, runs)
    under.text(0.01, 0.98, "\n".join(lines), fontsize=9, color=INK, va="top", linespacing=1.25, parse_math=False)
    return figure
