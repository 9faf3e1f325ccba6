"""Pictures of measurements: where the time of a step goes, errors of the engines, shares of the machine's peak.

What they draw is made on the floors above (`checks`, `benchmarks`), so it has no type here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.common import checking
from fastreg.common.fileio import PathLike
from fastreg.common.understood import understood
from fastreg.plots.figure import BLUE, EDGE, GREEN, INK, ORANGE, VERMILION, legend_below, new_figure, plain, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CUT = 1.2  # bars of shares end here
BAR = 0.28  # inches of a bar, with the space around it
# Colours with hatches, which tell them apart in grey.
PHASES = {
    "forward": ("forward, and the loss", BLUE, ""),
    "backward": ("gradients on the way back", ORANGE, "///"),
    "update": ("gradients of parameters, and their update", GREEN, "..."),
}
TARGETS = (
    {"color": BLUE, "hatch": ""},
    {"color": ORANGE, "hatch": "///"},
    {"color": GREEN, "hatch": "..."},
    {"color": VERMILION, "hatch": "xxx"},
)
UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


@understood
def plot_profile(profile: Any, path: PathLike | None = None, title: str | None = None) -> Figure:
    """Draw where the time of a training step goes, and how near each op comes to the machine's peak.

    Parameters
    ----------
    profile : Profile
        The result of `fastreg.profile`.
    path : str or path, optional
        Where to save the plot, as PNG.
    title : str, optional
        A title above the plot. By default the verdict of the profile.

    Returns
    -------
    matplotlib.figure.Figure
        The plot, for `savefig` or a notebook.

    Raises
    ------
    TypeError
        An argument is not as described above.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(64, activation="relu"), fr.Dense(2)]))
    >>> profile = fr.profile(trainer, np.ones((32, 8)), np.zeros(32, int), repeats=1)
    >>> figure = plot_profile(profile)
    >>> [axes.get_title() for axes in figure.axes]
    ['Where the time goes', "Share of the machine's peak"]
    """
    if not all(hasattr(profile, name) for name in ("by_layer", "step", "bandwidth")):
        raise TypeError(f"profile: got {checking.shown(profile)}, expected what fastreg.profile returned")
    path = None if path is None else checking.path("path", path)
    ops = [op for part in profile.by_layer for op in part.ops if op.share is not None]
    height = 1.9 + BAR * max(len(profile.by_layer) * 1.3, len(ops))
    figure = new_figure(12.5, height, profile.verdict if title is None else title)
    times, shares = figure.subplots(1, 2)
    _draw_times(times, profile)
    _draw_shares(shares, ops, profile)
    legend_below(figure, times, "left", columns=1)
    legend_below(figure, shares, "right", columns=1)
    return saved(figure, path)


def _draw_times(axes: Axes, profile: Any) -> None:
    unit, size = next((unit for unit in UNITS if max(part.seconds for part in profile.by_layer) >= unit[1]), UNITS[-1])
    places = np.arange(len(profile.by_layer))
    left = np.zeros(len(places))
    for phase, (label, colour, hatch) in PHASES.items():
        seconds = [sum(op.seconds for op in part.ops if op.phase == phase) for part in profile.by_layer]
        widths = np.array(seconds) / size
        if widths.any():
            axes.barh(places, widths, 0.7, left, color=colour, label=label, hatch=hatch, edgecolor="white", linewidth=0)
        left += widths
    for place, (end, part) in enumerate(zip(left, profile.by_layer, strict=True)):
        axes.annotate(f"{100 * part.of_all:.0f} %", (end, place), (4, 0), **_BESIDE)
    axes.set_xlim(0, 1.12 * left.max())
    _names(axes, [part.part.title for part in profile.by_layer])
    axes.set_xlabel(f"time of its ops in a step, measured one by one ({unit})", color=INK)
    axes.set_title("Where the time goes", fontsize=11, color=INK)


def _draw_shares(axes: Axes, ops: Sequence[Any], profile: Any) -> None:
    products = f"of {profile.peak:.0f} GFLOP/s (products)"
    others = f"of {profile.bandwidth:.0f} GB/s of memory (others)"
    for label, colour, flops in ((products, VERMILION, True), (others, EDGE, False)):
        own = {place: 100 * min(op.share, CUT) for place, op in enumerate(ops) if bool(op.flops) == flops}
        axes.barh(list(own), list(own.values()), 0.7, color=colour, label=label)
        for place, share in own.items():
            beyond = f" ({100 * ops[place].share:.0f} %, from the caches)" if ops[place].share > CUT else ""
            axes.annotate(ops[place].rate + beyond, (share, place), (4, 0), **_BESIDE)
    axes.axvline(100, color=INK, linewidth=1)
    axes.set_xlim(0, 190)
    axes.set_xticks(range(0, 101, 20))
    _names(axes, [f"{op.op} {op.on}" for op in ops])
    axes.set_xlabel("rate over that of the machine (%)", color=INK)
    axes.set_title("Share of the machine's peak", fontsize=11, color=INK)


_BESIDE: Any = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": INK}


def _names(axes: Axes, names: Sequence[str]) -> None:
    """Names beside horizontal bars, the first on top."""
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    plain(axes, grid="x")
    axes.tick_params(axis="y", length=0)


@understood
def plot_comparison(comparison: Any, path: PathLike | None = None, title: str | None = None) -> Figure:
    """Draw the largest error of each op between the engines, next to what rounding explains.

    Parameters
    ----------
    comparison : EngineComparison
        The result of `fastreg.compare_engines`.
    path : str or path, optional
        Where to save the plot, as PNG.
    title : str, optional
        A title above the plot. By default the verdict of the comparison.

    Returns
    -------
    matplotlib.figure.Figure
        The plot, for `savefig` or a notebook.

    Raises
    ------
    TypeError
        An argument is not as described above.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(8, activation="tanh"), fr.Dense(2)]))
    >>> figure = plot_comparison(fr.compare_engines(trainer, np.eye(4), [0, 1, 0, 1]))
    >>> figure.axes[0].get_xlabel()
    'largest error, in ulp (float32)'
    """
    if not all(hasattr(comparison, name) for name in ("ops", "worst", "dtype")):
        raise TypeError(f"comparison: got {checking.shown(comparison)}, expected what fastreg.compare_engines returned")
    path = None if path is None else checking.path("path", path)
    ops = sorted(comparison.ops, key=lambda op: (op.part, op.index))
    figure = new_figure(10, 1.9 + BAR * len(ops), comparison.verdict if title is None else title)
    axes = figure.subplots()
    places = np.arange(len(ops))
    limits = np.array([op.limit for op in ops])
    errors = np.array([op.ulp for op in ops])
    known = np.isfinite(errors)
    axes.hlines(places, 0, limits, color="#cccccc", linewidth=7, label="what rounding explains")
    axes.plot(limits, places, "|", color=INK, markersize=12, markeredgewidth=1.5, label="limit")
    for fine, colour, marker, label in ((True, BLUE, "o", "largest error"), (False, VERMILION, "X", "error too large")):
        here = known & ((errors <= limits) == fine)
        if here.any():
            axes.plot(errors[here], places[here], marker, color=colour, markersize=7, label=label)
    for place in places[~known]:
        axes.annotate("not a number, or infinite", (limits[place], place), (8, 0), **_BESIDE)
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    largest = max([*limits, *errors[known]])
    axes.set_xlim(-0.1, 2 * largest)
    ticks = [0, *(10.0**power for power in range(int(np.log10(2 * largest)) + 1))]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    _names(axes, [f"{op.part.title.partition(':')[0]}: {op.op} {op.writes}" for op in ops])
    axes.set_xlabel(f"largest error, in ulp ({comparison.dtype})", color=INK)
    legend_below(figure, axes)
    return saved(figure, path)


@understood
def plot_benchmark(rows: Sequence[Any], path: PathLike | None = None, title: str | None = None) -> Figure:
    """Draw how near kernels and steps of training come to the machine's peak, and how much faster than NumPy they are.

    Parameters
    ----------
    rows : sequence of Row
        The results of `fastreg.benchmarks.run`.
    path : str or path, optional
        Where to save the plot, as PNG.
    title : str, optional
        A title above the plot.

    Returns
    -------
    matplotlib.figure.Figure
        The plot, for `savefig` or a notebook.

    Raises
    ------
    ValueError, TypeError
        There are no rows, or an argument is not as described above.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> from fastreg.benchmarks import Row
    >>> row = Row("mse", "128 x 10", "avx2", 2e-6, 1e-4, 1e-5, "GB/s", 20.0, 0.0, 1e-6)
    >>> [axes.get_title() for axes in plot_benchmark([row]).axes]
    ["Share of the machine's peak", 'Speed over the NumPy engine']
    """
    rows = list(rows) if isinstance(rows, (list, tuple)) else [rows]
    if not rows or not all(hasattr(row, name) for row in rows for name in ("target", "share", "reference")):
        raise TypeError(f"rows: got {checking.shown(rows)}, expected what fastreg.benchmarks.run yielded")
    path = None if path is None else checking.path("path", path)
    cases = list(dict.fromkeys((row.name, row.shape) for row in rows))
    targets = list(dict.fromkeys(row.target for row in rows))
    figure = new_figure(13, 2.0 + BAR * (0.5 * len(targets) + 0.4) * len(cases), title)
    shares, faster = figure.subplots(1, 2, sharey=True)
    for index, target in enumerate(targets):
        own = [row for row in rows if row.target == target and row.seconds]
        offset = 0.8 * ((index + 0.5) / len(targets) - 0.5)
        places = [cases.index((row.name, row.shape)) + offset for row in own]
        common: Any = {"height": 0.8 / len(targets), "label": target, "edgecolor": "white", "linewidth": 0}
        common |= TARGETS[index % len(TARGETS)]
        shares.barh(places, [100 * min(row.share, CUT) for row in own], **common)
        faster.barh(places, [row.reference / row.seconds - 1 for row in own], left=1, **common)
        for place, row in zip(places, own, strict=True):
            text = f"{100 * row.share:.0f} %" + (" (from the caches)" if row.share > CUT else "")
            shares.annotate(text, (100 * min(row.share, CUT), place), (4, 0), **_BESIDE | {"fontsize": 6})
    _names(shares, [f"{name}  {shape}" for name, shape in cases])
    plain(faster, grid="x")
    faster.tick_params(axis="y", length=0)
    shares.axvline(100, color=INK, linewidth=1)
    shares.set_xlim(0, 150)
    shares.set_xticks(range(0, 101, 20))
    shares.set_xlabel("rate over the peak of the target, or of the memory (%)", color=INK)
    shares.set_title("Share of the machine's peak", fontsize=11, color=INK)
    ratios = [row.reference / row.seconds for row in rows if row.seconds]
    faster.set_xscale("log")
    faster.set_xlim(min(0.9, *ratios) / 1.1, max(2.0, *ratios) * 1.1)
    faster.axvline(1, color=INK, linewidth=1)
    faster.xaxis.set_major_formatter(lambda number, _: f"{number:g}")
    faster.set_xlabel("time of the NumPy engine over that of the native one (log)", color=INK)
    faster.set_title("Speed over the NumPy engine", fontsize=11, color=INK)
    legend_below(figure, shares)
    return saved(figure, path)
