"""With L2 or L1, logistic regression reaches its one optimum; with L1 weights become exactly 0.

Document A begins with J = mean loss + λ/(2m) |w|² or λ/m |w|₁, without a penalty on the bias. J is convex, so there is
one best w, and any two programs must agree on it. scikit-learn's LogisticRegression multiplies the loss instead of
dividing the penalty: its C is 1/λ. L2 pulls each weight in proportion to its size, so none arrives at 0. L1 pulls all
of them equally hard, so many do: the proximal step moves a weight towards 0 by lr λ/m, and stops it there.

On the breast-cancer data, 398 tumours with 30 measurements (the other 171 are the test set), both paths of λ are
trained by full-batch gradient descent with Nesterov's momentum. Each λ starts where the larger one ended. Measured are
the largest distance of a weight from scikit-learn's, the weights that are exactly 0, and the test accuracy.
"""

import warnings
from threading import Lock

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "A1"
SIZE = (11.0, 4.0)
LAMBDAS = (300.0, 100.0, 30.0, 10.0, 3.0)
CLOSE = 1e-4
KINDS = ("l2", "l1")
QUIETLY = Lock()  # seeds run side by side, and the filters of warnings are those of all threads
COLUMNS, OURS, THEIRS = 30, "fastreg", "scikit-learn"


def measure(lab: Lab) -> dict:
    (Z, t), test = split(lab.seed)
    lambdas = lab.pick(LAMBDAS, LAMBDAS[:4])
    paths = dict(zip(KINDS, lab.side_by_side(lambda kind: path(lab, kind, lambdas, Z, t, test), KINDS), strict=True))
    return {"lambdas": lambdas, **paths}


def split(seed: int):
    """The training and the test set, standardized by the means and spreads of the training set."""
    X, y = fr.data.load("breast-cancer")
    order = np.random.default_rng(seed).permutation(len(X))
    train, rest = order[:398], order[398:]
    mean, std = X[train].mean(axis=0), X[train].std(axis=0)
    return ((X[train] - mean) / std, y[train]), ((X[rest] - mean) / std, y[rest])


def path(lab: Lab, kind: str, lambdas, Z, t, test) -> dict:
    # Little holds the weights back under a small L1, so it takes more steps to settle.
    momentum, steps = (0.97, lab.pick(2000, 600)) if kind == "l2" else (0.99, lab.pick(6000, 1200))
    model = fr.Sequential([fr.Dense(1, weight_init="zeros", name="out")])
    optimizer = fr.SGD(0.25, momentum=momentum, nesterov=True)
    trainer = lab.trainer(model, loss="sigmoid_cross_entropy", optimizer=optimizer, dtype="float64")
    found: dict[str, list] = {"fastreg": [], "scikit-learn": [], "accuracy": []}
    for lambd in lambdas:
        trainer.reset()
        setattr(trainer, kind, fr.L2(lambd, m="batch") if kind == "l2" else fr.L1(lambd, m="batch"))
        # One epoch of many full batches: the same rows again and again.
        again = np.tile(np.arange(len(Z)), steps)
        lab.fit(trainer, Z, t, rows=again, batch_size=len(Z), shuffle=False)
        state = model.state_dict()
        found["fastreg"].append([*state["out.weight"][:, 0], *state["out.bias"]])
        found["scikit-learn"].append(optimum(kind, lambd, Z, t))
        found["accuracy"].append(trainer.evaluate(*test)["accuracy"])
    return found


def optimum(kind: str, lambd: float, Z, t) -> list[float]:
    """scikit-learn's weights and bias."""
    import sklearn
    from sklearn.linear_model import LogisticRegression

    if kind == "l2":
        other = LogisticRegression(C=1 / lambd, tol=1e-10, max_iter=10_000)
    else:  # liblinear penalizes the bias divided by intercept_scaling, which is next to nothing here
        new = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
        l1: dict = {"l1_ratio": 1.0} if new else {"penalty": "l1"}
        settings = {
            "solver": "liblinear",
            "intercept_scaling": 1e5,
            "tol": 1e-10,
            "max_iter": 50_000,
            "random_state": 0,
        }
        other = LogisticRegression(C=1 / lambd, **l1, **settings)
    with QUIETLY, warnings.catch_warnings():
        # liblinear ends at the optimum and sometimes cannot tell. How far off it is, is what we measure.
        warnings.filterwarnings("ignore", "Liblinear failed to converge")
        other.fit(Z, t)
    return [*other.coef_[0], *other.intercept_]


def distance(runs: Runs, kind: str) -> np.ndarray:
    """The largest distance of a weight or the bias from scikit-learn's, of every seed and λ."""
    return np.abs(runs.values(kind, OURS) - runs.values(kind, THEIRS)).max(axis=2)


def zeros(runs: Runs, kind: str, who: str = OURS) -> np.ndarray:
    """How many weights are exactly 0, of every seed and λ."""
    return np.sum(runs.values(kind, who)[:, :, :COLUMNS] == 0, axis=2)


def table(runs: Runs) -> Table:
    far = {kind: distance(runs, kind).max(axis=0) for kind in KINDS}
    rows = [
        [
            f"{lambd:g}",
            f"{far['l2'][k]:.0e}",
            f"{far['l1'][k]:.0e}",
            f"{zeros(runs, 'l2')[:, k].mean():.1f}",
            f"{zeros(runs, 'l1')[:, k].mean():.1f}",
            f"{zeros(runs, 'l1', THEIRS)[:, k].mean():.1f}",
            *(plus_minus(runs.values(kind, "accuracy")[:, k]) for kind in KINDS),
        ]
        for k, lambd in enumerate(runs[0]["lambdas"])
    ]
    return Table(
        ["λ", "L2: off", "L1: off", "L2: zeros", "L1: zeros", "scikit-learn's", "L2: accuracy", "L1: accuracy"],
        rows,
        "off: the largest distance of a weight or the bias from scikit-learn's, over all seeds; zeros: weights of 30 "
        "that are exactly 0, the mean over the seeds; accuracy on the test set",
    )


def claims(runs: Runs) -> list[Claim]:
    far = {kind: distance(runs, kind).max() for kind in KINDS}
    ours, theirs = (runs.values("l1", who)[:, :, :COLUMNS] == 0 for who in (OURS, THEIRS))
    none, some = zeros(runs, "l2"), zeros(runs, "l1")
    return [
        Claim(
            f"both paths are scikit-learn's optimum with C = 1/λ, within {CLOSE:g}",
            max(far.values()) < CLOSE,
            f"the largest distance is {far['l2']:.1e} with L2, {far['l1']:.1e} with L1",
        ),
        Claim(
            "L1 makes weights exactly 0, the same ones as in scikit-learn; L2 none",
            none.max() == 0 < some.min() and np.array_equal(ours, theirs),
            f"L1: {some.min()} to {some.max()} of 30 weights, {np.sum(ours != theirs)} of {ours.size} differ from "
            f"scikit-learn; L2: at most {none.max()}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    axes = figure.subplots(1, 3)
    lambdas = runs[0]["lambdas"]
    ticks = [f"{lambd:g}" for lambd in lambdas]
    for one, kind, name in zip(axes, KINDS, ("L2", "L1"), strict=False):
        ours, theirs = (runs.values(kind, who)[0, :, :COLUMNS] for who in (OURS, THEIRS))
        one.plot(lambdas, ours, color=figures.BLUE, linewidth=0.9, label=["fastreg"] + [None] * (COLUMNS - 1))
        style = {"color": figures.VERMILION, "linestyle": "", "marker": ".", "markersize": 4}
        one.plot(lambdas, theirs, **style, label=["scikit-learn"] + [None] * (COLUMNS - 1))
        figures.label(
            one,
            "λ, the weight of the penalty",
            "weight (per standard deviation)",
            f"{name}: the 30 weights, one of {len(runs)} seeds",
        )
    figures.curve(axes[2], lambdas, zeros(runs, "l1"), "L1", figures.VERMILION, marker="o", markersize=4)
    figures.curve(axes[2], lambdas, zeros(runs, "l2"), "L2", figures.BLUE, marker="s", markersize=4)
    figures.label(
        axes[2], "λ, the weight of the penalty", "weights that are exactly 0, of 30", "exact zeros, all seeds"
    )
    axes[2].set_ylim(-1, 31)
    for one in axes:
        one.set_xscale("log")
        one.set_xticks(lambdas, ticks)
        one.minorticks_off()
