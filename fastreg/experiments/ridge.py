"""L2 makes a singular problem solvable: a net trained with it reaches ridge regression's solution.

Linear regression solves XᵀX w = Xᵀy. With more columns than rows, or with a column that repeats another, XᵀX is
singular: it has no inverse, and infinitely many w fit the data exactly. Document D adds αI, which adds α to every
eigenvalue, so that (XᵀX + αI)⁻¹Xᵀy is the only solution. As α falls it comes close to the shortest of the exact ones,
which is pinv(X) y. The document prints ½α beside a square that is not halved; its solution, with α, belongs to
|Xw - y|² + α|w|², which is what is minimized here. In the printed form the solution would have α/2.

A problem with 12 rows and 20 columns, one of which is twice another, is solved in a few lines of NumPy, and by a layer
without activation that is trained on it with the mean squared error and L2, by gradient descent with momentum.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures

SYSTEMS = "D3"
SIZE = (11.0, 4.2)
ROWS, COLUMNS = 12, 20
ALPHAS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
CLOSE = 1e-5


def measure(lab: Lab) -> dict:
    X, y = problem(lab.seed)
    found: dict = {
        "rank": int(np.linalg.matrix_rank(X)),
        "eigenvalues": np.linalg.eigvalsh(X.T @ X)[::-1],
        "shortest": np.linalg.pinv(X) @ y,
        "closed form": [closed_form(X, y, alpha) for alpha in ALPHAS],
        "printed form": [closed_form(X, y, alpha / 2) for alpha in ALPHAS],
        "net": [],
    }
    model = fr.Sequential([fr.Dense(1, use_bias=False, weight_init="zeros", name="out")])
    trainer = lab.trainer(model, loss="mse", dtype="float64")
    # The loss is a mean over the rows, so its gradient is 2 Xᵀ(Xw - y) / m: l2 = 2α / m makes it that of the document.
    steps, momentum = lab.pick((8000, 0.98), (2500, 0.97))
    again = np.tile(np.arange(ROWS), steps)  # one epoch of many steps, each with all rows
    for alpha in lab.each(ALPHAS):
        trainer.reset()
        trainer.l2 = fr.L2(2 * alpha, m="batch")
        rate = ROWS / 2 / (found["eigenvalues"][0] + alpha)  # 1 / the largest curvature
        trainer.optimizer = fr.SGD(rate, momentum=momentum, nesterov=True)
        lab.fit(trainer, X, y, rows=again, batch_size=ROWS, shuffle=False)
        found["net"].append(model.state_dict()["out.weight"][:, 0])
    return found


def problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a true w, and noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, COLUMNS))
    X[:, 1] = 2 * X[:, 0]
    return X, X @ rng.normal(size=COLUMNS) + 0.5 * rng.normal(size=ROWS)


def closed_form(X, y, alpha: float) -> np.ndarray:
    return np.linalg.solve(X.T @ X + alpha * np.eye(X.shape[1]), X.T @ y)


def distance(runs: Runs, one: str, other: str) -> np.ndarray:
    """The largest distance of a weight, of every seed and α."""
    return np.abs(runs.values(one) - runs.values(other)).max(axis=2)


def condition(runs: Runs, alpha: float) -> float:
    """The condition number of XᵀX + αI, the mean over the seeds."""
    eigenvalues = runs.values("eigenvalues")
    return float(np.mean((eigenvalues[:, 0] + alpha) / (np.maximum(eigenvalues[:, -1], 0) + alpha)))


def table(runs: Runs) -> Table:
    lengths = np.linalg.norm(runs.values("net"), axis=2)
    shortest = np.abs(runs.values("net") - runs.values("shortest")[:, None]).max(axis=2)
    rows = [
        [
            f"{alpha:g}",
            f"{condition(runs, alpha):.3g}",
            f"{distance(runs, 'net', 'closed form')[:, k].max():.0e}",
            f"{distance(runs, 'net', 'printed form')[:, k].mean():.3f}",
            f"{shortest[:, k].mean():.3f}",
            f"{lengths[:, k].mean():.3f}",
        ]
        for k, alpha in enumerate(ALPHAS)
    ]
    return Table(
        ["α", "condition number", "net: off", "with α/2: off", "shortest exact: off", "|w| of the net"],
        rows,
        f"XᵀX is {COLUMNS} x {COLUMNS}, of rank {runs[0]['rank']}; off: the largest distance of a weight of the net, "
        "from the closed form (the largest over the seeds), from the form as printed, and from pinv(X) y",
    )


def claims(runs: Runs) -> list[Claim]:
    off, printed = distance(runs, "net", "closed form").max(), distance(runs, "net", "printed form").min()
    ranks, eigenvalues = runs.values("rank"), runs.values("eigenvalues")
    rest = np.linalg.norm(runs.values("net") - runs.values("shortest")[:, None], axis=2)
    return [
        Claim(
            "XᵀX is singular, and XᵀX + αI is not",
            ranks.max() < COLUMNS and condition(runs, ALPHAS[-1]) < 1e4,
            f"rank {ranks.max():.0f} of {COLUMNS}, smallest eigenvalue {np.abs(eigenvalues[:, -1]).max():.0e}; with "
            f"α = {ALPHAS[-1]:g} the condition number is {condition(runs, ALPHAS[-1]):.0f}",
        ),
        Claim(
            f"the net reaches (XᵀX + αI)⁻¹Xᵀy, within {CLOSE:g}",
            off < CLOSE,
            f"the largest distance is {off:.0e}; from the solution of the printed objective at least {printed:.0e}",
        ),
        Claim(
            "as α falls, it comes closer to the shortest exact solution",
            bool(np.all(np.diff(rest, axis=1) < 0)),
            f"distance {rest[:, 0].mean():.2f} at α = {ALPHAS[0]:g}, {rest[:, -1].mean():.2f} at {ALPHAS[-1]:g}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2)
    eigenvalues = np.maximum(runs[0]["eigenvalues"], 1e-16)
    places = np.arange(1, COLUMNS + 1)
    left.plot(places, eigenvalues, "o", color=figures.VERMILION, label="XᵀX", markersize=5)
    for alpha, color in ((10.0, figures.BLUE), (0.1, figures.GREEN)):
        left.plot(places, eigenvalues + alpha, ".-", color=color, label=f"XᵀX + {alpha:g} I", linewidth=1)
    left.set_yscale("log")
    left.set_ylim(3e-17, 3e3)
    left.set_xticks(range(2, COLUMNS + 1, 2))
    figures.label(left, "eigenvalue", "its size (at least 1e-16)", f"the matrix to invert, one of {len(runs)} seeds")
    left.legend(frameon=False, fontsize=9, loc="center left")
    closed, net = np.array(runs[0]["closed form"]), np.array(runs[0]["net"])
    names = [None] * (COLUMNS - 1)
    right.plot(ALPHAS, closed, color=figures.BLUE, linewidth=0.9, label=["closed form", *names])
    right.plot(ALPHAS, net, ".", color=figures.VERMILION, markersize=5, label=["trained net", *names])
    shortest = np.array(runs[0]["shortest"])
    right.plot(np.full(COLUMNS, 0.04), shortest, "_", color=figures.INK, label="shortest exact solution")
    right.set_xscale("log")
    right.set_xticks([0.04, *ALPHAS], ["0", *(f"{alpha:g}" for alpha in ALPHAS)])
    right.minorticks_off()
    figures.label(right, "α, the strength of the penalty", "weight", f"the {COLUMNS} weights of the same seed")
