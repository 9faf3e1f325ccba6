"""Inputs divided by their spread need far fewer steps than others, also than those divided by their variance.

Document B explains why inputs are normalized: if one input is a thousand times as large as another, J is a long narrow
bowl. The step has to be small enough for its steep walls, and then takes forever along its bottom. With mean 0 and
spread 1 the bowl is rounder, and allows larger steps. The means and spreads are those of the training set, for the test
set too. The document divides by the variance, which is a slip: what had the spread s then has 1/s, so the smallest
inputs become the largest, and the bowl is narrow again.

Logistic regression on the breast-cancer data, whose inputs have spreads from 0.003 to 570, is trained by full-batch
gradient descent with each of four kinds of inputs. Each takes the step that its own bowl allows, which is 1/L, where L
is the largest curvature. Measured are the steps until the training loss is at most 0.1, the condition number of the
bowl, which is its largest by its smallest curvature, and the test accuracy.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "B6"
SIZE = (10.0, 4.2)
GOAL, EACH = 0.1, 10  # the loss to reach; steps between two looks at it
WAYS = ("as they are", "mean removed", "divided by spread", "divided by variance")
COLORS = dict(zip(WAYS, figures.COLORS, strict=False))


def measure(lab: Lab) -> dict:
    train, test = parts(lab.seed)

    def one(way: str) -> dict:
        X, X_test = scaled(way, train[0], test[0])
        smallest, largest = curvatures(X)
        model = fr.Sequential([fr.Dense(1, weight_init="zeros")])
        trainer = lab.trainer(model, loss="sigmoid_cross_entropy", optimizer=fr.SGD(1 / largest), dtype="float64")
        again = np.tile(np.arange(len(X)), EACH)  # an epoch of EACH steps, each with all rows
        epochs = lab.pick(300, 60)
        history = lab.fit(trainer, X, train[1], rows=again, epochs=epochs, batch_size=len(X), shuffle=False)
        losses = [float(loss) for loss in history["loss"]]
        accuracy = trainer.evaluate(X_test, test[1])["accuracy"]
        return {"losses": losses, "condition": largest / smallest, "accuracy": accuracy, "steps": steps_to(losses)}

    return dict(zip(WAYS, lab.side_by_side(one, WAYS), strict=True))


def parts(seed: int):
    """398 rows to train on, and 171 to test on."""
    X, y = fr.data.load("breast-cancer")
    order = np.random.default_rng(seed).permutation(len(X))
    train, test = order[:398], order[398:]
    return (X[train], y[train]), (X[test], y[test])


def scaled(way: str, X, X_test) -> tuple[np.ndarray, np.ndarray]:
    """Both by the means and spreads of the first."""
    standardizer = fr.data.Standardizer().fit(X)
    mean, std = X.mean(axis=0), X.std(axis=0)
    if way == "divided by spread":
        return standardizer.transform(X), standardizer.transform(X_test)
    shift = 0 if way == "as they are" else mean
    scale = std**2 if way == "divided by variance" else 1
    return (X - shift) / scale, (X_test - shift) / scale


def curvatures(X) -> tuple[float, float]:
    """The smallest and the largest curvature of J at w = 0, where every p (1 - p) is 1/4. It is nowhere larger."""
    inputs = np.column_stack([X, np.ones(len(X))])
    squares = np.linalg.svd(inputs, compute_uv=False) ** 2
    return squares[-1] / len(X) / 4, squares[0] / len(X) / 4


def steps_to(losses) -> float:
    """Steps until the loss is at most GOAL; infinite if it never is."""
    low = np.flatnonzero(np.array(losses) <= GOAL)
    return float(low[0] + 1) * EACH if low.size else np.inf


def taken(runs: Runs, way: str) -> int:
    return EACH * runs.values(way, "losses").shape[1]


def steps_of(runs: Runs, way: str) -> np.ndarray:
    """The steps to the goal of each seed."""
    return np.array([steps_to(losses) for losses in runs.values(way, "losses")])


def in_words(runs: Runs, way: str) -> str:
    steps = steps_of(runs, way)
    return plus_minus(steps, 0) if np.all(np.isfinite(steps)) else f"over {taken(runs, way)}"


def table(runs: Runs) -> Table:
    rows = [
        [
            way,
            in_words(runs, way),
            plus_minus(runs.values(way, "losses")[:, -1]),
            f"{runs.mean(way, 'condition'):.0e}",
            runs.text(way, "accuracy"),
        ]
        for way in WAYS
    ]
    return Table(
        ["inputs", f"steps to a loss of {GOAL:g}", "loss in the end", "condition number", "test accuracy"],
        rows,
        f"gradient descent with the step 1/L, {taken(runs, WAYS[0])} steps in all; the condition number is that of the "
        "curvatures of J at the start",
    )


def claims(runs: Runs) -> list[Claim]:
    steps = {way: steps_of(runs, way) for way in WAYS}
    by_spread = steps["divided by spread"]
    others = [way for way in WAYS if way != "divided by spread"]
    return [
        Claim(
            f"divided by spread, the loss of {GOAL:g} is reached in at most a fifth of the steps of any other inputs",
            by_spread.max() * 5 <= min(min(steps[way].min(), taken(runs, way)) for way in others),
            f"{in_words(runs, 'divided by spread')} steps, against "
            + ", ".join(f"{in_words(runs, way)} ({way})" for way in others),
        ),
        Claim(
            "that bowl is the roundest",
            max(runs.values("divided by spread", "condition"))
            < min(runs.values(way, "condition").min() for way in others),
            "condition numbers " + ", ".join(f"{runs.mean(way, 'condition'):.0e} ({way})" for way in WAYS),
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for way in WAYS:
        losses = runs.values(way, "losses")
        figures.curve(left, EACH * np.arange(1, losses.shape[1] + 1), losses, way, COLORS[way])
    left.axhline(GOAL, color=figures.INK, linewidth=0.8, linestyle=":")
    left.set_yscale("log")
    figures.label(left, "steps of gradient descent", "training loss", f"the loss (dotted: {GOAL:g})")
    left.legend(frameon=False, fontsize=9, loc="upper right")
    left.set_ylim(top=1.5)
    left.set_yticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
    left.minorticks_off()
    for place, way in enumerate(WAYS):
        value = runs.mean(way, "condition")
        right.barh(place, value, 0.6, color=COLORS[way])
        right.annotate(f"{value:.0e}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    right.set_xscale("log")
    right.set_xlim(1, 1e18)
    right.set_yticks(range(len(WAYS)), WAYS)
    right.invert_yaxis()
    figures.label(right, "largest by smallest curvature", "inputs", "how narrow the bowl is", grid="x")
