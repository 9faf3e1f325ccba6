"""A growing rate of dropout costs the net its fit, until at rate 1 nothing but a bias is learned.

Document E puts dropout after each hidden layer of the net that learns the curve, and looks at the same three things as
for L2. The losses: the larger the rate, the higher they end. The fits: from about 0.4 on much of the curve is lost, and
at 0.6 the predictions are close to the mean. The parameters: for all rates below 1 they are about as wide as without
dropout or wider, unlike under L2; at 1 they are those of the start. Here the predictions are close to the mean from
0.8 on only, with most seeds: document E keeps the scale of its targets, and what is lost depends on the curve.

Documents A and B say that dropout shrinks the squared norm of the weights: as a unit cannot rely on any one input, it
spreads its weights, and spread weights have a smaller norm. That does not hold here: ‖W‖² is three times as large, as
the densities of document E say too. The reason is what the noise costs. Dropout of an input a with weight w adds
a²w²·rate/keep to the variance of the sum, so what is penalized is Σ a²w², the "adaptive form of L2" that document
A mentions, and not Σ w². A net of several layers pays less by smaller a and larger w. Both are measured at the output:
Σ a²w² (its mean over the data), and over how many inputs the weights are spread, (Σ|w|)²/Σw² by the number of inputs.

The net is that of the experiment `curve` with a linear output. Targets are divided by their standard deviation. At rate
1 all hidden outputs are 0 in training, so only the bias of the last layer has a gradient, and it learns the mean.
Predictions are made without dropout, so there the untouched net of the start is added to it. Dropout is inverted: the
scale at rate 1 would be 1/0, and is 0. At rate 0.6 the losses still fall at the end: what looks like a lost capacity is
in part slow learning. At that rate the spread of the weights is no clearer than without dropout.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table
from fastreg.experiments.harness.curves import draw_sweep, net, sweep

SYSTEMS = "E3"
REFUTED = (
    "at rate 0.6 predictions are close to the mean, with an R² below 0.2",
    "dropout shrinks the squared norm of the weights",
)
SIZE = (13.0, 4.4)
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
KEYS = ("R2", "loss", "norm", "noise", "spread", "moved")
LATE = RATES.index(0.6)


def measure(lab: Lab) -> dict:
    return sweep(lab, RATES, lambda rate: net(rate=rate), more=of_the_output)


def of_the_output(model: fr.Sequential, X: np.ndarray) -> dict:
    """Σ a²w² of the output and the spread of its weights: 1 if all are alike, 1/64 if one alone is not 0."""
    state = list(model.state_dict().values())
    *hidden, (last, _) = zip(state[::2], state[1::2], strict=True)
    a = X
    for weight, bias in hidden:
        z = a @ weight + bias
        a = np.where(z > 0, z, 0.01 * z)
    w = last[:, 0]
    spread = np.abs(w).sum() ** 2 / np.sum(w**2) / len(w)
    return {"noise": float(np.mean(a**2, axis=0) @ w**2), "spread": float(spread)}


def table(runs: Runs) -> Table:
    rows = []
    for k, rate in enumerate(RATES):
        one = Runs([{key: numbers[key][k] for key in KEYS} for numbers in runs.runs])
        loss = np.mean(runs.values("val_loss")[:, k, -1])
        rows.append(
            [
                f"{rate:g}",
                one.text("loss"),
                f"{loss:.3f}",
                one.text("R2"),
                one.text("norm", digits=0),
                one.text("noise", digits=2),
                one.text("spread", digits=2),
                one.text("moved", digits=1),
            ]
        )
    return Table(
        ["rate", "training loss", "validation loss", "R²", "‖W‖²", "Σ a²w²", "spread", "moved"],
        rows,
        f"training loss: with dropout; the others: without; ‖W‖²: sum of all squared weights, "
        f"{runs.values('start_norm').mean():.1f} before training; Σ a²w²: of the output, "
        "mean over the data; spread: of its weights, 1 if all are alike; moved: the largest change of a weight",
    )


def claims(runs: Runs) -> list[Claim]:
    loss, R2, spread, moved = (runs.mean(key) for key in ("loss", "R2", "spread", "moved"))
    norms, noise = (relative(runs, key) for key in ("norm", "noise"))
    rates = RATES[1:-1]
    return [
        Claim(
            "the larger the rate, the higher the training loss",
            np.all(np.diff(loss) > -0.03) and loss[-2] > 10 * loss[0],
            ", ".join(f"{loss[k]:.2f} at {RATES[k]:g}" for k in (0, 1, 3, LATE, -2)),
        ),
        Claim(
            REFUTED[0],
            R2[LATE] < 0.2,
            f"R² {R2[0]:.3f} without dropout, {R2[LATE]:.3f} at {RATES[LATE]:g}; from curve to curve "
            f"{runs.values('R2')[:, LATE].min():.2f} to {runs.values('R2')[:, LATE].max():.2f}",
        ),
        Claim(
            f"at rate {RATES[-2]:g} they are",
            R2[-2] < 0.2,
            f"R² {R2[-2]:.3f}",
        ),
        Claim(
            "at rate 1 no weight moves, the last bias learns the mean, and all is finite",
            moved[-1] == 0 and abs(loss[-1] - 1) < 0.01 and runs.values("finite").all(),
            f"largest change of a weight {moved[-1]:g}; the training loss is {loss[-1]:.3f} of the targets' variance",
        ),
        Claim(
            REFUTED[1],
            np.all(norms < 1),
            "times that without: "
            + ", ".join(f"{n:.1f} at {rate:g}" for n, rate in zip(norms, rates, strict=True))
            + "; what its noise penalizes is not this, but the next:",
        ),
        Claim(
            "what it shrinks is Σ a²w²",
            np.all(noise < 0.5),
            f"{noise[0]:.1%} of that without at rate {rates[0]:g}, {noise[LATE - 1]:.1%} at {RATES[LATE]:g}",
        ),
        Claim(
            f"up to rate {RATES[LATE - 1]:g} it spreads the weights of the output over more inputs",
            spread[1:LATE].min() > spread[0],
            f"spread {spread[0]:.2f} at 0, "
            + ", ".join(f"{s:.2f} at {rate:g}" for s, rate in zip(spread[1:-1], rates, strict=True)),
        ),
    ]


def relative(runs: Runs, key: str) -> np.ndarray:
    """What is found at rates between 0 and 1, as a share of what is found at 0: the mean over the seeds."""
    values = runs.values(key)
    return (values[:, 1:-1] / values[:, :1]).mean(axis=0)


def draw(figure, runs: Runs) -> None:
    draw_sweep(
        figure,
        runs,
        [f"{rate:g}" for rate in RATES],
        "rate",
        ("validation, without dropout", "training, with dropout, last epoch"),
        "at rate 1 the weights are those before training",
        "rate 1: a bias, and the net as it began,\nwhich slopes: no unit is dropped here",
    )
