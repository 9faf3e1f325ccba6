"""Signals grow or shrink as a power of the depth; initial weights of the right variance keep their size.

Document B takes a deep net without activations, all of whose layers have the weights W = w I: layer l gives w^l x, and
the gradient that reaches it from layer L is w^(L-l) times that of layer L. With w = 1.5 both explode, with w = 0.5 both
vanish. Random weights do the same if their variance is off. A sum of n products keeps its variance if that of the
weights is 1/n, as for tanh; ReLU loses half of it, so it takes 2/n; and 2/(n_in + n_out) is a compromise between the
way up and the way back. The document says itself that this helps, and does not solve the problem.

`LayerStatistics` notes the root mean square of the activations and gradients of every layer before the first step:
first of linear nets of 20 layers with 1.5 I, I and 0.5 I, then of nets of 20 layers of 64 units with ReLU or tanh, with
weights from N(0, 0.01²) and from three initializers. A scale is kept if its last hidden layer is within a factor of 10
of the first. With tanh it must shrink a little even so, as |tanh(z)| < |z|.
"""

from typing import Any

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures

SYSTEMS = "B7, B8"
SIZE = (12.0, 4.2)
DEPTH, UNITS, ROWS = 20, 64, 256
FACTORS = (1.5, 1.0, 0.5)
INITIALIZERS: dict[str, Any] = {
    "N(0, 0.01²)": fr.initializers.normal(0.01),
    "1/n": "lecun_normal",
    "2/(n_in + n_out)": "glorot_normal",
    "2/n": "he_normal",
}
RIGHT = {"relu": ("2/n",), "tanh": ("1/n", "2/(n_in + n_out)")}
KINDS = ("activation", "gradient")
KEPT = 10.0  # the largest factor between the first and the last layer


def measure(lab: Lab) -> dict:
    X = lab.rng.normal(size=(ROWS, UNITS))
    found: dict = {"linear": {}, "relu": {}, "tanh": {}}
    for factor in FACTORS:
        model = fr.Sequential([fr.Dense(8, name=f"{layer}") for layer in range(1, DEPTH + 1)])
        model.build(8, seed=0, dtype="float64")
        model.load_state_dict(
            {name: factor * np.eye(8) if name.endswith("weight") else np.zeros(8) for name in model.state_dict()}
        )
        found["linear"][f"{factor:g}"] = sizes(lab, model, X[:, :8])
    for activation in ("relu", "tanh"):
        for name, initializer in INITIALIZERS.items():
            layers = [
                fr.Dense(UNITS, activation, weight_init=initializer, name=f"{layer}") for layer in range(1, DEPTH + 1)
            ]
            found[activation][name] = sizes(lab, fr.Sequential([*layers, fr.Dense(1, name="out")]), X)
    found["linear"]["input"] = float(np.sqrt(np.mean(X[:, :8] ** 2)))
    return found


def sizes(lab: Lab, model: fr.Sequential, X) -> dict:
    """The root mean square of the activations and gradients of layers 1 to DEPTH, before the first step."""
    y = lab.rng.normal(size=(len(X), model.layers[-1].units))
    # This is what the callback would warn of; here it only has to look.
    watch = fr.LayerStatistics(ratio=1e300, smallest=0.0, largest=1e300)
    trainer = lab.trainer(model, loss="mse", optimizer=fr.SGD(0.0), dtype="float64")
    lab.fit(trainer, X, y, batch_size=len(X), callbacks=[watch])
    start = [record for record in watch.records if record["epoch"] == 0][:DEPTH]
    return {
        kind: [float(np.hypot(record[f"{kind}_mean"], record[f"{kind}_std"])) for record in start] for kind in KINDS
    }


def growth(runs: Runs, net: str, name: str, kind: str) -> np.ndarray:
    """How many times as large the signal is where it arrives as where it starts, of every seed."""
    values = runs.values(net, name, kind)
    return values[:, -1] / values[:, 0] if kind == "activation" else values[:, 0] / values[:, -1]


def kept(runs: Runs, net: str, name: str) -> bool:
    both = np.array([growth(runs, net, name, kind) for kind in KINDS])
    return bool(np.all((both < KEPT) & (both > 1 / KEPT)))


def table(runs: Runs) -> Table:
    rows = [
        [f"linear, {factor:g} I", *(f"{growth(runs, 'linear', f'{factor:g}', kind).mean():.2g}" for kind in KINDS), "-"]
        for factor in FACTORS
    ]
    for net in ("relu", "tanh"):
        for name in INITIALIZERS:
            factors = [f"{growth(runs, net, name, kind).mean():.2g}" for kind in KINDS]
            rows.append([f"{net}, {name}", *factors, "yes" if kept(runs, net, name) else "no"])
    return Table(
        ["net, weights", "activations", "gradients", "kept"],
        rows,
        f"activations: size in layer {DEPTH} by that in layer 1; gradients: size in layer 1 by that in layer {DEPTH}; "
        f"kept: both within a factor of {KEPT:g} with every seed; all layers are as wide, so 1/n is 2/(n_in + n_out)",
    )


def claims(runs: Runs) -> list[Claim]:
    layers = np.arange(1, DEPTH + 1)
    off = 0.0
    for factor in FACTORS:
        up = factor**layers * runs.values("linear", "input")[:, None]
        gradients = runs.values("linear", f"{factor:g}", "gradient")
        down = factor ** (DEPTH - layers) * gradients[:, -1:]
        activations = runs.values("linear", f"{factor:g}", "activation")
        off = max(off, np.abs(activations / up - 1).max(), np.abs(gradients / down - 1).max())
    large, small = (growth(runs, "linear", name, "activation").mean() for name in ("1.5", "0.5"))
    right = [(net, name) for net, names in RIGHT.items() for name in names]
    wrong = [(net, "N(0, 0.01²)") for net in RIGHT] + [("relu", "1/n")]
    return [
        Claim(
            "in linear nets the sizes are the powers w^l and w^(L-l)",
            off < 1e-9,
            f"within {off:.0e} of them; over {DEPTH} layers {large:.0f} times with 1.5 I, {small:.1e} times with 0.5 I",
        ),
        Claim(
            f"the initializer for the activation keeps the scale within a factor of {KEPT:g} over {DEPTH} layers",
            all(kept(runs, *pair) for pair in right),
            ", ".join(f"{net} with {name}: {growth(runs, net, name, 'activation').mean():.2g}" for net, name in right),
        ),
        Claim(
            "N(0, 0.01²) does not, nor does 1/n with ReLU",
            not any(kept(runs, *pair) for pair in wrong),
            ", ".join(f"{net} with {name}: {growth(runs, net, name, 'activation').mean():.1g}" for net, name in wrong),
        ),
    ]


def draw(figure, runs: Runs) -> None:
    axes = figure.subplots(1, 3)
    layers = np.arange(1, DEPTH + 1)
    for factor, color in zip(FACTORS, (figures.VERMILION, figures.GREEN, figures.BLUE), strict=True):
        activations, gradients = (runs.values("linear", f"{factor:g}", kind)[0] for kind in KINDS)
        axes[0].plot(layers, activations, color=color, label=f"w = {factor:g}")
        axes[0].plot(layers, gradients / gradients[-1], color=color, linestyle="--")
    for kind, dashes in zip(KINDS, ("-", "--"), strict=True):
        axes[0].plot([], [], color=figures.INK, linestyle=dashes, label=f"{kind}s")
    title = "linear nets, each layer multiplies by w"
    figures.label(axes[0], "layer", f"root mean square (gradients: by that of layer {DEPTH})", title)
    axes[0].set_ylim(1e-11, 1e4)
    axes[0].legend(frameon=False, fontsize=9, ncols=2, loc="lower center")
    for one, net in zip(axes[1:], RIGHT, strict=True):
        one.axhspan(1 / KEPT, KEPT, color=figures.EDGE, alpha=0.25, linewidth=0, label=f"within a factor of {KEPT:g}")
        for name, color in zip(INITIALIZERS, figures.COLORS, strict=False):
            meant = name in RIGHT[net]
            style = {"linewidth": 2.6 if meant else 1.2, "linestyle": "--" if "out" in name else "-"}
            values = runs.values(net, name, "activation")
            told = f"{name}{' ✓' if meant else ''}{', which is 1/n here' if 'out' in name else ''}"
            figures.curve(one, layers, values / values[:, :1], told, color, **style)
        title = {"relu": "ReLU", "tanh": "tanh"}[net]
        figures.label(
            one,
            "layer",
            "activations (root mean square, by that of layer 1)",
            f"{title} nets",
        )
        meaning = f"variances; ✓ meant for {title}"
        one.legend(title=meaning, title_fontsize=9, frameon=False, fontsize=9, alignment="left", loc="lower left")
    for one in axes:
        one.set_yscale("log")
        one.set_xticks([1, 5, 10, 15, 20])
