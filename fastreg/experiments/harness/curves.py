"""The curve that three experiments learn, the net that learns it, and the sweep that two of them make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import figures
from fastreg.experiments.harness.lab import Lab
from fastreg.experiments.harness.parameters import squared_norm, weights
from fastreg.experiments.harness.results import Runs
from fastreg.plots import densities

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS = 64
SMALL = 0.001  # a weight below this does nothing here
GRID = np.linspace(0, 4 * np.pi, 126)[:, None]  # where fits are drawn
BINS = np.linspace(-0.5, 0.5, 81)  # of the densities of parameters, of which a few lie beyond

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))  # of neighbouring lines in a sweep

Points = tuple[np.ndarray, np.ndarray]


def points(lab: Lab) -> tuple[Points, Points]:
    """Training and validation points of the curve of this seed: 7,500 and 2,500, or half of that with --quick."""
    X, y = fr.data.load("curve", seed=lab.seed)
    step = lab.pick(1, 2)
    training, validation = fr.data.split(X[::step], y[::step], (0.75, 0.25), seed=lab.seed)
    return training, validation


def net(output: str = "linear", rate: float = 0.0) -> fr.Sequential:
    """1-64-64-64-1 with leaky ReLU. Weights and biases begin uniform in ±1/sqrt(inputs), as PyTorch's do.

    `rate` is that of a dropout after each hidden layer.
    """
    layers: list = []
    for inputs, units, activation in (
        (1, UNITS, "leaky_relu"),
        (UNITS, UNITS, "leaky_relu"),
        (UNITS, UNITS, "leaky_relu"),
        (UNITS, 1, output),
    ):
        start = fr.initializers.uniform(inputs**-0.5)
        layers.append(fr.Dense(units, activation, weight_init=start, bias_init=start))
        if rate and units == UNITS:
            layers.append(fr.Dropout(rate=rate))
    return fr.Sequential(layers)


def train(lab: Lab, model: fr.Sequential, training: Points, validation: Points, l2: float = 0.0):
    """Adam on the mean squared error: 100 epochs in batches of 64, as published. (trainer, history).

    With --quick there are half as many steps, so each is twice as long.
    """
    trainer = lab.trainer(model, loss="mse", optimizer=fr.Adam(lab.pick(0.001, 0.002)), l2=l2)
    return trainer, lab.fit(trainer, *training, validation_data=validation, epochs=100, batch_size=64)


def density(model: fr.Sequential) -> list[float]:
    """The share of all parameters in each of BINS, per unit of width."""
    return densities.density(np.concatenate([value.ravel() for value in model.state_dict().values()]), BINS).tolist()


def sample(X: np.ndarray, y: np.ndarray) -> dict:
    """250 points of the data, enough to draw."""
    shown = slice(None, None, len(X) // 250)
    return {"x": X[shown, 0], "y": y[shown, 0]}


def sweep(
    lab: Lab,
    members: Sequence,
    model_of: Callable[[Any], fr.Sequential] = lambda member: net(),
    l2_of: Callable[[Any], float] = lambda member: 0.0,
    more: Callable[[fr.Sequential, np.ndarray], dict] = lambda model, X: {},
) -> dict:
    """Trains a net for each member, side by side, and gives what `draw_sweep` draws, with a list for each key.

    `more` finds more numbers of a trained net.

    The targets are divided by their standard deviation. Else each seed's curve would give λ another meaning.
    """
    (X, y), (X_val, y_val) = points(lab)
    training, validation = (X, y / y.std()), (X_val, y_val / y.std())

    def one(member) -> dict:
        model = model_of(member)
        model.build(1, seed=lab.seed)
        start, before = weights(model), density(model)
        trainer, history = train(lab, model, training, validation, l2_of(member))
        end = weights(model)
        return {
            "before": before,
            "after": density(model),
            "loss": history["loss"][-1],
            "val_loss": history["val_loss"],
            "R2": explained(trainer.predict(validation[0]), validation[1]),
            "fit": trainer.predict(GRID)[:, 0],
            "start_norm": squared_norm(start),
            "norm": squared_norm(end),
            "moved": max(float(np.abs(a - b).max()) for a, b in zip(start, end, strict=True)),
            "small": float(np.mean(np.abs(np.concatenate([w.ravel() for w in end])) < SMALL)),
            "zeros": float(np.mean(np.concatenate([w.ravel() for w in end]) == 0)),
            "finite": bool(np.isfinite(history["loss"]).all() and all(np.isfinite(w).all() for w in end)),
            **more(model, validation[0]),
        }

    found = lab.side_by_side(one, members)
    numbers = {key: [member[key] for member in found] for key in found[0]}
    return {**numbers, "before": found[0]["before"], **sample(*validation)}


def explained(prediction: np.ndarray, y: np.ndarray) -> float:
    """The share of the targets' variance that a prediction explains, R². Negative if it is worse than their mean."""
    return float(1 - np.mean((prediction - y) ** 2) / np.var(y))


def draw_points(axes: Axes, run: dict) -> None:
    """What `sample` gave, as grey dots."""
    axes.plot(run["x"], run["y"], ".", color="#bbbbbb", markersize=2, label="data")


def draw_sweep(
    figure: Figure,
    runs: Runs,
    names: Sequence[str],
    title: str,
    losses_are: tuple[str, str],
    tail: str,
    slope: str = "",
) -> None:
    """The three panels of a sweep, of which `runs` has a list under each key: losses, fits, densities of parameters.

    Losses and densities are means over the seeds; the fits are those of one seed. `losses_are` says what the lines are
    and what the dots, which are the training losses in the end. `tail` says what the bottom of the densities is,
    `slope` what the last fit is.
    """
    losses, fits, shares = figure.subplots(1, 3)
    loss, (first, *_) = runs.mean("val_loss"), runs.runs
    epochs = loss.shape[1]
    _lines(losses, np.arange(1, epochs + 1), loss, names)
    for end, color in zip(runs.mean("loss"), figures.ramp(len(names)), strict=True):
        losses.plot(1.06 * epochs, end, "o", color=color, markeredgecolor=figures.INK, markeredgewidth=0.6)
    losses.set_yscale("log")
    figures.label(losses, "epoch", "mean squared error", f"Losses, mean of {len(runs)} seeds", legend=False)
    lines, dots = losses_are
    handles = [
        losses.plot([], [], color=figures.INK, label=lines)[0],
        losses.plot([], [], "o", color=figures.INK, label=dots)[0],
    ]
    losses.set_ylim(bottom=losses.get_ylim()[0] / 4)  # room for the legend
    losses.legend(handles=handles, frameon=False, fontsize=8.5, loc="lower left")

    draw_points(fits, first)
    _lines(fits, GRID[:, 0], first["fit"], names)
    figures.label(
        fits, "x", "y, in its standard deviations", f"Fits (dots: the data), one of {len(runs)} seeds", legend=False
    )
    if slope:
        end = GRID[-1, 0], first["fit"][-1][-1]
        low, high = fits.get_ylim()
        fits.set_ylim(bottom=low - 0.2 * (high - low))  # room for the text, below the lines
        arrow = {"arrowstyle": "->", "color": figures.INK, "relpos": (0.97, 1)}
        place = {"textcoords": "axes fraction", "ha": "right", "va": "bottom"}
        fits.annotate(slope, end, (0.99, 0.02), arrowprops=arrow, fontsize=8.5, **place)

    middles = (BINS[1:] + BINS[:-1]) / 2
    shares.fill_between(
        middles, runs.mean("before"), 1e-3, color="#bbbbbb", alpha=0.5, linewidth=0, label="before training"
    )
    _lines(shares, middles, np.maximum(runs.mean("after"), 1e-3), names)
    shares.set_yscale("log")
    shares.set_ylim(3e-3, 120)
    where = f"value of a parameter (a weight or a bias)\n{tail}"
    figures.label(shares, where, "density", f"Parameters, mean of {len(runs)} seeds", legend=False)
    handles, labels = shares.get_legend_handles_labels()
    shares.legend(handles[:1], labels[:1], frameon=False, fontsize=9, loc="upper left")
    figure.legend(
        handles[1:], labels[1:], title=title, frameon=False, fontsize=9, loc="outside right upper", handlelength=3.2
    )


def _lines(axes: Axes, x, lines, names) -> None:
    """One line for each member of a sweep, from dark to light. Neighbours have other dashes, too."""
    for line, name, color, dashes in zip(lines, names, figures.ramp(len(names)), cycle(DASHES), strict=False):
        axes.plot(x, line, color=color, linewidth=1.5, linestyle=dashes, label=name)
