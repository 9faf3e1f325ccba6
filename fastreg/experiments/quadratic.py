"""On a quadratic, L2 shrinks each weight by a factor; L1 moves it by α/h, often to 0.

Document D works this out for J(w) = ½ (w - w*)ᵀH(w - w*). With L2, the best w is (H + αI)⁻¹Hw*: along each axis of H
the weight is multiplied by h/(h + α), which is small where the curvature h is, and never 0. With L1 and a diagonal H it
is sign(w*) max(|w*| - α/h, 0): all weights come α/h closer to 0, and the smaller ones stop there. This is why L1 makes
weights sparse, and L2 does not.

A layer without activation has this J if its inputs are chosen for it. It has 40 weights: 20 with w* = 1 and curvatures
h from 0.08 to 8, 20 with h = 1 and w* from -2 to 2. It is trained by full-batch gradient descent with L2 and with L1
from random weights, and must arrive at both closed forms; with L2 also for a turned H, whose axes are not the weights'.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures

SYSTEMS = "D4"
SIZE = (10.0, 4.2)
ALPHAS = (0.1, 0.3, 1.0)
CLOSE = 1e-5
HALF = 20
H = np.concatenate([np.geomspace(0.08, 8, HALF), np.ones(HALF)])
BEST = np.concatenate([np.ones(HALF), np.linspace(-2, 2, HALF)])
KINDS = ("L2", "L1", "L2, turned")
L2_ALONE, L1_ALONE, TURNED = KINDS


def measure(lab: Lab) -> dict:
    axes, _ = np.linalg.qr(lab.rng.normal(size=(len(H), len(H))))
    tasks = [(kind, alpha) for kind in KINDS for alpha in ALPHAS]
    found = lab.side_by_side(lambda task: train(lab, *task, axes), tasks)
    return {
        kind: {
            "net": [w for (one, _), w in zip(tasks, found, strict=True) if one == kind],
            "closed form": [closed_form(kind, alpha, axes) for alpha in ALPHAS],
        }
        for kind in KINDS
    }


def train(lab: Lab, kind: str, alpha: float, axes: np.ndarray) -> np.ndarray:
    """The weights in the end."""
    count = len(H)
    # The mean over n rows of (x (w - w*))² is J if the rows are those of √(n H / 2): their squares add up to n H / 2.
    X = np.diag(np.sqrt(count * H / 2))
    if kind == TURNED:
        X = X @ axes.T
    model = fr.Sequential([fr.Dense(1, use_bias=False, weight_init=fr.initializers.normal(1.0), name="out")])
    penalty = {"l1": alpha} if kind == L1_ALONE else {"l2": alpha}
    rate = 1 / (H.max() + alpha)
    optimizer = fr.SGD(rate, momentum=0.9, nesterov=True)
    trainer = lab.trainer(model, loss="mse", optimizer=optimizer, dtype="float64", **penalty)
    again = np.tile(np.arange(count), lab.pick(2000, 1000))  # one epoch of many steps, each with all rows
    lab.fit(trainer, X, X @ BEST, rows=again, batch_size=count, shuffle=False)
    return model.state_dict()["out.weight"][:, 0]


def closed_form(kind: str, alpha: float, axes: np.ndarray) -> np.ndarray:
    if kind == TURNED:
        turned = axes @ np.diag(H) @ axes.T
        return np.linalg.solve(turned + alpha * np.eye(len(H)), turned @ BEST)
    if kind == L2_ALONE:
        return H / (H + alpha) * BEST
    return np.sign(BEST) * np.maximum(np.abs(BEST) - alpha / H, 0)


def distance(runs: Runs, kind: str) -> np.ndarray:
    """The largest distance of a weight from the closed form, of every seed and α."""
    return np.abs(runs.values(kind, "net") - runs.values(kind, "closed form")).max(axis=2)


def zeros(runs: Runs, kind: str, who: str = "net") -> np.ndarray:
    """How many weights are exactly 0, of every seed and α."""
    return np.sum(runs.values(kind, who) == 0, axis=2)


def table(runs: Runs) -> Table:
    rows = [
        [
            f"{alpha:g}",
            *(f"{distance(runs, kind)[:, k].max():.0e}" for kind in KINDS),
            *(f"{zeros(runs, kind)[:, k].max()}" for kind in (L2_ALONE, L1_ALONE)),
            f"{zeros(runs, L1_ALONE, 'closed form')[0, k]}",
        ]
        for k, alpha in enumerate(ALPHAS)
    ]
    return Table(
        ["α", *(f"{kind}: off" for kind in KINDS), "L2: zeros", "L1: zeros", "by the formula"],
        rows,
        f"off: the largest distance of a weight from its closed form, over all seeds; zeros: of {len(H)} weights, "
        "those that are exactly 0",
    )


def claims(runs: Runs) -> list[Claim]:
    off = {kind: distance(runs, kind).max() for kind in KINDS}
    ours, formula = (runs.values(L1_ALONE, who) == 0 for who in ("net", "closed form"))
    l2 = max(zeros(runs, kind).max() for kind in (L2_ALONE, TURNED))
    return [
        Claim(
            f"with L2, training ends at h/(h + α) w*, and at (H + αI)⁻¹Hw* if H is turned, within {CLOSE:g}",
            max(off[L2_ALONE], off[TURNED]) < CLOSE,
            f"the largest distance is {off[L2_ALONE]:.0e}, and {off[TURNED]:.0e} turned",
        ),
        Claim(
            f"with L1, it ends at sign(w*) max(|w*| - α/h, 0), within {CLOSE:g}",
            off[L1_ALONE] < CLOSE,
            f"the largest distance is {off[L1_ALONE]:.0e}",
        ),
        Claim(
            "L1 makes exactly those weights 0 that the formula does; L2 none",
            np.array_equal(ours, formula) and l2 == 0 < zeros(runs, L1_ALONE).min(),
            f"L1: {', '.join(f'{count:.0f}' for count in zeros(runs, L1_ALONE).mean(axis=0))} of {len(H)} at α = "
            f"{', '.join(f'{alpha:g}' for alpha in ALPHAS)}; L2: at most {l2}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2)
    last = len(ALPHAS) - 1
    h, best = np.geomspace(0.08, 8, 400), np.linspace(-2, 2, 401)
    alpha = ALPHAS[last]
    lines = {
        L2_ALONE: (h / (h + alpha), best / (1 + alpha)),
        L1_ALONE: (np.maximum(1 - alpha / h, 0), np.sign(best) * np.maximum(np.abs(best) - alpha, 0)),
    }
    for (kind, (of_h, of_best)), color in zip(lines.items(), (figures.BLUE, figures.VERMILION), strict=True):
        w = runs.values(kind, "net")[0, last]
        left.plot(h, of_h, color=color, linewidth=1.2, label=f"{kind}: closed form")
        left.plot(H[:HALF], w[:HALF], "o", color=color, markersize=4, label=f"{kind}: trained")
        right.plot(best, of_best, color=color, linewidth=1.2, label=f"{kind}: closed form")
        right.plot(BEST[HALF:], w[HALF:], "o", color=color, markersize=4, label=f"{kind}: trained")
    left.set_xscale("log")
    left.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    figures.label(left, "h, the curvature", "weight", f"w* = 1, strength of the penalty α = {alpha:g}")
    right.plot(best, best, ":", color=figures.INK, linewidth=1, label="no penalty")
    figures.label(
        right, "w*, the best weight without a penalty", "weight", f"h = 1, strength of the penalty α = {alpha:g}"
    )
