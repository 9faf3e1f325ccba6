"""Stopping gradient descent after τ steps of the rate ε does about what L2 with α = 1/(ετ) does.

Document D puts it so: early stopping keeps the weights in a neighbourhood of where they started, whose size is ετ. Take
J(w) = ½ (w - w*)ᵀH(w - w*) and start at 0. Along an axis of H with the curvature h, gradient descent has come the share
1 - (1 - εh)^τ of the way to w* after τ steps. The best w with L2 has come the share h/(h + α). Both come far along axes
with a large h, and hardly move along those with a small one. They are the same to first order in h where ετh is small,
if α = 1/(ετ). Further on they are not: with s = ετh the shares are about 1 - exp(-s) and s/(1 + s). L2 is behind, at
most by 0.2036 of the way, near s = 1.8. With steps of finite size, εh up to 0.05 here, this becomes at most 0.209.

A layer without activation and with two weights has this J, with the curvatures 1 and 0.1 along axes that each seed
turns. It is trained from 0 for 1 to 8,192 steps, and for each of these numbers another one to the end with L2. Measured
are how far both are apart, in parts of |w*|, and how far the stopped one is from the nearest point of L2's path, which
belongs to some other α.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures

SYSTEMS = "D10"
SIZE = (10.5, 4.4)
RATE = 0.05
STEPS = tuple(2**k for k in range(14))
ALPHAS = tuple(1 / (RATE * steps) for steps in STEPS)
CURVATURES = np.array([1.0, 0.1])
BOUND, FIRST, CLOSE = 0.209, 0.05, 1e-6


def measure(lab: Lab) -> dict:
    axes, best = problem(lab.seed)
    return {
        "axes": axes,
        "best": best,
        "stopped": stopped(lab, axes, best),
        "l2": lab.side_by_side(lambda alpha: with_l2(lab, alpha, axes, best), ALPHAS),
    }


def problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The axes of H, and w*, which is about as far along both."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0.2, 0.6)
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return axes, axes @ rng.uniform(0.8, 1.2, 2)


def layer(lab: Lab, axes, best, **settings) -> tuple[fr.Trainer, np.ndarray, np.ndarray]:
    """A trainer at w = 0, with inputs and targets for which the mean squared error is J."""
    model = fr.Sequential([fr.Dense(1, use_bias=False, weight_init="zeros", name="out")])
    # The mean over 2 rows of (x (w - w*))² is half the sum, so the sum of the x xᵀ has to be H.
    X = np.sqrt(CURVATURES)[:, None] * axes.T
    return lab.trainer(model, loss="mse", dtype="float64", **settings), X, X @ best


def train(lab: Lab, trainer: fr.Trainer, X, t, steps: int) -> np.ndarray:
    """The weights after some more steps, which are one epoch: the same two rows again and again."""
    lab.fit(trainer, X, t, rows=np.tile([0, 1], steps), batch_size=2, shuffle=False)
    return trainer.model.state_dict()["out.weight"][:, 0]


def stopped(lab: Lab, axes, best) -> list[np.ndarray]:
    """The weights of gradient descent after each of STEPS."""
    trainer, X, t = layer(lab, axes, best, optimizer=fr.SGD(RATE))
    return [train(lab, trainer, X, t, more) for more in np.diff((0, *STEPS))]


def with_l2(lab: Lab, alpha: float, axes, best) -> np.ndarray:
    """The weights at the end of a training with L2."""
    optimizer = fr.SGD(1 / (CURVATURES.max() + alpha), momentum=0.8, nesterov=True)
    trainer, X, t = layer(lab, axes, best, optimizer=optimizer, l2=alpha)
    return train(lab, trainer, X, t, 600)


def shares(runs: Runs, who: str) -> np.ndarray:
    """The share of the way to w* that is done along both axes of H: [seed, number of steps, axis]."""
    along = runs.values(who) @ runs.values("axes")
    return along / (runs.values("best")[:, None] @ runs.values("axes"))


def by_formula() -> dict[str, np.ndarray]:
    """The same shares by the two formulas."""
    steps, alphas = np.array(STEPS)[:, None], np.array(ALPHAS)[:, None]
    return {"stopped": 1 - (1 - RATE * CURVATURES) ** steps, "l2": CURVATURES / (CURVATURES + alphas)}


def apart(runs: Runs) -> np.ndarray:
    """How far both are apart, in parts of |w*|, of every seed and number of steps."""
    difference = np.linalg.norm(runs.values("stopped") - runs.values("l2"), axis=2)
    return difference / np.linalg.norm(runs.values("best"), axis=1)[:, None]


def nearest(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """The distance of each stopped w from L2's path, in parts of |w*|, and the α of the nearest point times ετ."""
    alphas = np.geomspace(1e-5, 1e3, 4001)
    path = (CURVATURES / (CURVATURES + alphas[:, None])) * (runs.values("best")[:, None] @ runs.values("axes"))
    along = runs.values("stopped") @ runs.values("axes")
    distances = np.linalg.norm(along[:, :, None] - path[:, None], axis=3)
    size = np.linalg.norm(runs.values("best"), axis=1)[:, None]
    return distances.min(axis=2) / size, alphas[distances.argmin(axis=2)] * RATE * np.array(STEPS)


def table(runs: Runs) -> Table:
    ours, l2, (near, ratio) = shares(runs, "stopped"), shares(runs, "l2"), nearest(runs)
    rows = [
        [
            f"{steps:,}",
            f"{ALPHAS[k]:.3g}",
            *(f"{who[:, k, axis].mean():.3f}" for axis in (0, 1) for who in (ours, l2)),
            f"{apart(runs)[:, k].mean():.3f}",
            f"{near[:, k].mean():.3f}",
            f"{ratio[:, k].mean():.2f}",
        ]
        for k, steps in enumerate(STEPS)
    ]
    return Table(
        ["steps", "α = 1/(ετ)", "h = 1: stopped", "L2", "h = 0.1: stopped", "L2", "apart", "from path", "best α ετ"],
        rows,
        "stopped, L2: the share of the way to w* along an axis of H; apart: the distance of both in parts of |w*|; "
        "from path: that of the stopped one from the nearest point of L2's path; best α ετ: its α times ετ",
    )


def claims(runs: Runs) -> list[Claim]:
    formulas = by_formula()
    off = max(np.abs(shares(runs, who) - formulas[who]).max() for who in formulas)
    far, (near, _) = apart(runs), nearest(runs)
    length = np.linalg.norm(runs.values("stopped")[:, 0], axis=1) / np.linalg.norm(runs.values("best"), axis=1)
    first = (far[:, 0] / length).max()
    most = int(np.argmax(far.max(axis=0)))
    return [
        Claim(
            f"both trainings are where the formulas say, within {CLOSE:g}",
            off < CLOSE,
            f"the shares 1 - (1 - εh)^τ and h/(h + α) are met within {off:.0e}",
        ),
        Claim(
            f"they agree to first order: after one step within {FIRST:.0%} of the way so far",
            first < FIRST,
            f"{first:.1%}, where ετh is at most {RATE * CURVATURES.max():g}",
        ),
        Claim(
            f"they are never farther apart than {BOUND:g} |w*|, as the formulas say",
            far.max() < BOUND,
            f"at most {far.max():.3f}, after {STEPS[most]} steps; from the nearest point of L2's path at most "
            f"{near.max():.3f}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2)
    axes, best = np.array(runs[0]["axes"]), np.array(runs[0]["best"])
    a, b = np.meshgrid(np.linspace(-0.2, 1.6, 200), np.linspace(-0.2, 1.9, 200))
    away = (np.stack([a, b], -1) - best) @ axes
    surface = np.sum(CURVATURES * away**2, axis=-1) / 2
    left.contour(a, b, surface, np.geomspace(0.003, surface.max(), 9), colors=figures.EDGE, linewidths=0.9)
    stops, l2 = np.array(runs[0]["stopped"]), np.array(runs[0]["l2"])
    for k in range(len(STEPS)):
        told = "grey: the same τ; ellipses: the same J" if k == 0 else None
        left.plot(*zip(stops[k], l2[k], strict=True), color="#666666", linewidth=1.4, label=told)
    left.plot(*stops.T, "o-", color=figures.BLUE, label="stopped after τ = 1, 2, 4, ... steps", markersize=4)
    left.plot(*l2.T, "s-", color=figures.VERMILION, label="trained to the end with α = 1/(ετ)", markersize=4)
    left.plot(0, 0, "k.", markersize=8)
    left.annotate("start", (0, 0), (5, -12), textcoords="offset points", fontsize=9)
    left.plot(*best, "k+", markersize=11)
    left.annotate("w*", best, (7, 4), textcoords="offset points", fontsize=10)
    figures.label(left, "first weight", "second weight", f"the two paths, one of {len(runs)} seeds")
    left.legend(frameon=True, fontsize=9, loc="upper left")
    s = np.geomspace(3e-3, 500, 300)
    right.plot(s, 1 - np.exp(-s), color=figures.BLUE, linewidth=1.2, label="1 - exp(-s)")
    right.plot(s, s / (1 + s), color=figures.VERMILION, linewidth=1.2, label="s/(1 + s)")
    for who, color, marker, name in (("stopped", figures.BLUE, "o", "stopped"), ("l2", figures.VERMILION, "s", "L2")):
        x = RATE * np.array(STEPS)[:, None] * CURVATURES
        right.plot(x.ravel(), shares(runs, who)[0].ravel(), marker, color=color, markersize=4, label=f"{name}, trained")
    right.set_xscale("log")
    figures.label(
        right,
        "s = ετh = h/α (ε rate, τ steps, h curvature, α penalty)",
        "share of the way to w*",
        "along both axes of H",
    )
