"""The curve that three experiments learn, the net that learns it, and what they draw of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import figures
from fastreg.experiments.harness.lab import Lab

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS = 64
GRID = np.linspace(0, 4 * np.pi, 126)[:, None]  # where fits are drawn
BINS = np.linspace(-1, 1, 81)  # of the densities of parameters; what lies beyond is counted in the outermost

Points = tuple[np.ndarray, np.ndarray]


def points(lab: Lab) -> tuple[Points, Points]:
    """Training and validation points of the curve of this seed: 7,500 and 2,500, or a tenth of that with --quick."""
    X, y = fr.data.load("curve", seed=lab.seed)
    step = lab.pick(1, 10)
    return fr.data.split(X[::step], y[::step], (0.75, 0.25), seed=lab.seed)


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
    """Adam on the mean squared error: 100 epochs in batches of 64, as published. (trainer, history)."""
    trainer = lab.trainer(model, loss="mse", optimizer=lab.pick("adam(lr=0.001)", "adam(lr=0.01)"), l2=l2)
    how = {"epochs": lab.pick(100, 40), "batch_size": lab.pick(64, 25)}
    return trainer, lab.fit(trainer, *training, validation_data=validation, **how)


def weights(model: fr.Sequential) -> list[np.ndarray]:
    """The weights of all layers, without the biases."""
    return [value for name, value in model.state_dict().items() if name.endswith(".weight")]


def density(model: fr.Sequential) -> list[float]:
    """The share of all parameters in each of BINS, per unit of width."""
    values = np.concatenate([value.ravel() for value in model.state_dict().values()])
    counts, _ = np.histogram(np.clip(values, BINS[0], BINS[-1]), BINS)
    return (counts / len(values) / np.diff(BINS)).tolist()


def explained(prediction: np.ndarray, y: np.ndarray) -> float:
    """The share of the targets' variance that a prediction explains, R². Negative if it is worse than their mean."""
    return float(1 - np.mean((prediction - y) ** 2) / np.var(y))


def draw_points(axes: Axes, X: np.ndarray, y: np.ndarray) -> None:
    """The data as grey dots."""
    axes.plot(X, y, ".", color="#bbbbbb", markersize=2, label="data", zorder=1)


def draw_members(axes: Axes, x, lines, names) -> None:
    """One line for each member of a sweep, from dark to light."""
    for line, name, color in zip(lines, names, figures.ramp(len(names)), strict=True):
        axes.plot(x, line, color=color, linewidth=1.4, label=name)
