"""A growing λ pulls the parameters to 0, until the net predicts nothing but the mean.

Document E trains the same net on the same curve with L2 of λ from 0 to 1, and looks at three things. The losses: the
larger λ, the higher they end. The fits: small λ changes little; at λ = 0.01, the turning point, the fit keeps its shape
but leaves the data; beyond, the net predicts the mean of all targets. The parameters: their
density closes around 0, and at λ = 1 it is a spike. The document calls the parameters "very sparse" then.

The net is that of the experiment `curve` with a linear output, and J has λ/2 of the sum of squared weights beside the
mean squared error. Biases are not penalized here; in the document they are. Where the net gives up depends on the
scale of the targets, which the document does not tell. Here they are divided by their standard deviation.

Counted are weights that are exactly 0 as well: L2 makes weights small, but L1 makes them sparse.
"""

import numpy as np

from fastreg.experiments.harness import Claim, Lab, Runs, Table
from fastreg.experiments.harness.curves import SMALL, draw_sweep, sweep

SYSTEMS = "E2"
SIZE = (13.0, 4.4)
LAMBDAS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
HARMLESS, TURN = LAMBDAS.index(1e-4), LAMBDAS.index(1e-2)


def measure(lab: Lab) -> dict:
    return sweep(lab, LAMBDAS, l2_of=lambda lambd: lambd)


def table(runs: Runs) -> Table:
    rows = []
    for k, lambd in enumerate(LAMBDAS):
        one = Runs([{key: numbers[key][k] for key in ("R2", "norm", "small", "zeros")} for numbers in runs.runs])
        loss = float(np.mean(runs.values("val_loss")[:, k, -1]))
        rows.append(
            [
                f"{lambd:g}",
                f"{loss:.3f}",
                one.text("R2"),
                one.text("norm", digits=1),
                one.text("small"),
                one.text("zeros"),
            ]
        )
    return Table(
        ["λ", "validation loss", "R²", "‖W‖²", f"|w| < {SMALL:g}", "w = 0"],
        rows,
        f"R²: share of the variance of the validation targets that is explained; ‖W‖²: sum of all squared weights, "
        f"{runs.values('start_norm').mean():.1f} before training; the last two: shares of the weights",
    )


def claims(runs: Runs) -> list[Claim]:
    R2, small, zeros = (runs.mean(key) for key in ("R2", "small", "zeros"))
    final = runs.mean("loss")
    spans = np.ptp(runs.values("fit"), axis=2) / np.ptp(runs.values("y"), axis=1)[:, None]
    return [
        Claim(
            "a small λ changes the fit little",
            R2[: HARMLESS + 1].min() > R2[0] - 0.05,
            f"R² {R2[0]:.3f} at λ = 0, {R2[HARMLESS]:.3f} at {LAMBDAS[HARMLESS]:g}",
        ),
        Claim(
            f"from λ = {LAMBDAS[TURN]:g} on, the larger λ, the higher the training loss",
            np.all(np.diff(final[TURN:]) > 0) and final[-1] > 10 * final[0],
            f"{final[0]:.3f} at 0, " + ", ".join(f"{final[k]:.3f} at {LAMBDAS[k]:g}" for k in range(TURN, len(final))),
        ),
        Claim(
            "a large λ leaves nothing but the mean",
            abs(R2[-1]) < 0.05 and spans[:, -1].max() < 0.05,
            f"at λ = 1 R² is {R2[-1]:.3f}, and the fit spans {spans[:, -1].max():.1%} of the range of y",
        ),
        Claim(
            "the density of the weights becomes a spike at 0",
            small[-1] > 0.95 and np.all(np.diff(small) > 0),
            f"|w| < {SMALL:g} for {small[0]:.1%} of the weights at λ = 0, {small[-1]:.1%} at 1; beside the "
            "spike there are only biases then, which are not penalized",
        ),
        Claim(
            "but no weight becomes exactly 0: L2 does not make them sparse",
            zeros.max() < 0.01,
            f"at most {zeros.max():.2%} are 0",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    draw_sweep(
        figure,
        runs,
        [f"{lambd:g}" for lambd in LAMBDAS],
        "λ",
        ("validation, after each epoch", "training, in the last epoch"),
        "the tail at λ = 1: biases, which are not penalized",
    )
