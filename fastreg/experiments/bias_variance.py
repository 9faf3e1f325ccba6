"""Two errors tell bias from variance, and whether a larger net or more data help.

Training error minus the best possible error is bias: the net cannot fit. Dev error minus training error is variance: it
fits what is peculiar to its data. Each may be high or not, which makes four cases; a larger net lowers bias, more data
lower variance, and neither does the work of the other (document B).

All four are made with images of digits: a net with 2 or with 200 hidden units learns few or many images, in about as
many steps. `fr.checks.diagnose` sees the two errors only. People read digits without error, so the best possible error
is 0, and 5 % is the limit of what is not high.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "B2"
LIMIT = 0.05
UNITS = {"small net": 2, "large net": 200}
DATA = ("few data", "many data")
EXPECTED = {
    "small net, few data": "high bias and high variance",
    "large net, few data": "high variance",
    "small net, many data": "high bias",
    "large net, many data": "neither",
}


def measure(lab: Lab) -> dict:
    X, y = (np.concatenate(parts) for parts in zip(*lab.images(20_000, 10_000), strict=True))
    order = lab.rng.permutation(len(X))  # of both parts, since those of MNIST are not equally hard
    dev, order = (X[order[: len(X) // 3]], y[order[: len(X) // 3]]), order[len(X) // 3 :]
    counts = dict(zip(DATA, (100, lab.pick(20_000, 1_200)), strict=True))

    def train(name: str) -> dict:
        size, data = name.split(", ")
        rows = order[: counts[data]]
        trainer = lab.trainer(fr.Sequential([fr.Dense(UNITS[size], "tanh"), fr.Dense(10)]), optimizer="adam(lr=0.003)")
        epochs = lab.pick(1_500, 100) if data == "few data" else lab.pick(10, 12)  # about as many steps
        lab.fit(trainer, X[rows], y[rows], epochs=epochs, batch_size=lab.pick(64, 32))
        errors = [1 - trainer.evaluate(*some)["accuracy"] for some in ((X[rows], y[rows]), dev)]
        told = fr.checks.diagnose(errors, best=0.0, bias_limit=LIMIT, variance_limit=LIMIT)
        return {"train": errors[0], "dev": errors[1], "case": told.case, "advice": told.advice[0]}

    return dict(zip(EXPECTED, lab.side_by_side(train, EXPECTED), strict=True))


def table(runs: Runs) -> Table:
    rows = []
    for name in EXPECTED:
        train, dev = runs.values(name, "train"), runs.values(name, "dev")
        found = [run[name]["case"] for run in runs.runs]
        case = max(set(found), key=found.count)
        row = [name, *(plus_minus(value) for value in (train, dev, dev - train)), case]
        rows.append([*row, f"{found.count(case)} of {len(found)}"])
    return Table(
        ["", "training error = bias", "dev error", "variance", "diagnosis", "seeds"],
        rows,
        f"errors: shares of images; the best possible is 0. Above {LIMIT:.0%} bias or variance is high.",
    )


def claims(runs: Runs) -> list[Claim]:
    right = {name: sum(run[name]["case"] == case for run in runs.runs) for name, case in EXPECTED.items()}
    bias = {name: runs.mean(name, "train") for name in EXPECTED}
    variance = {name: runs.mean(name, "dev") - bias[name] for name in EXPECTED}
    small, large = "small net, many data", "large net, many data"
    few, poor = "large net, few data", "small net, few data"
    return [
        Claim(
            "the two errors tell all four cases",
            all(count == len(runs) for count in right.values()),
            f"right for {sum(right.values())} of {4 * len(runs)} nets",
        ),
        Claim(
            "a larger net lowers high bias, more data do not",
            bias[large] < LIMIT < bias[small] and bias[small] >= bias[poor],
            f"bias of the small net {bias[poor]:.3f} with few and {bias[small]:.3f} with many data, of the large one "
            f"{bias[large]:.3f}",
        ),
        Claim(
            "more data lower high variance, a larger net does not bring it below the limit",
            variance[large] < LIMIT < min(variance[few], variance[poor]),
            f"variance with few data {variance[poor]:.3f} in the small net and {variance[few]:.3f} in the large one, "
            f"with many {variance[large]:.3f}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    panels = figure.subplots(1, 4, sharey=True)
    for axes, (name, case) in zip(panels, EXPECTED.items(), strict=True):
        train, dev = runs.values(name, "train"), runs.values(name, "dev")
        names, colors = ["bias", "variance", "dev error"], [figures.VERMILION, figures.BLUE, figures.EDGE]
        figures.bars(axes, names, [train, dev - train, dev], colors)
        axes.axhline(LIMIT, color=figures.INK, linestyle="--", linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", labelsize=8)
        figures.label(axes, "", "share of images wrong" if axes is panels[0] else "", f"{name}\n{case}", grid="y")
    panels[-1].annotate("dashed: what is above\nis called high", (1, 2 * LIMIT), ha="center", fontsize=9)
