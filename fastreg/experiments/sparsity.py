"""L1 makes most weights exactly zero, L2 makes none.

The pull of L2 on a weight shrinks with the weight, so it never arrives at 0. That of L1 stays the same, so the minimum
of a weight that matters little lies exactly at 0. Document B adds that, all the same, L1 saves little memory, and that
people prefer L2.

A 784-100-10 net learns the same images at growing λ, once with L1 and once with L2. Counted are the weights that are
exactly zero, and the memory as compressed sparse rows: a value and a column of 4 bytes each for what is not zero. This
is more than the dense matrix until half of the weights are zero. On MNIST this bears document B out: a λ that keeps the
accuracy saves nearly nothing, and one that halves the memory costs three points, since L1 pulls at all weights alike.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, surely_above

SYSTEMS = "B3"
LAMBDAS = (0.0, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SIZE = (12.0, 4.0)
KINDS = ("l1", "l2")
KEYS = {
    "zeros": "share of exact zeros",
    "memory": "memory as sparse rows (share of the dense)",
    "accuracy": "test accuracy (the axis does not begin at 0)",
}
LOSS = 0.01  # of accuracy, that a smaller net may cost


def measure(lab: Lab) -> dict:
    (X, y), test = lab.images(20_000, 2_000)
    rows = lab.rng.permutation(len(X))[: lab.pick(4_000, 800)]
    X, y = X[rows], y[rows]

    def train(item: tuple[str, float]) -> list[float]:
        kind, lambd = item
        model = fr.Sequential([fr.Dense(100, "relu"), fr.Dense(10)])
        trainer = lab.trainer(model, optimizer="adam(lr=0.001)", **{kind: lambd})
        lab.fit(trainer, X, y, epochs=lab.pick(30, 20), batch_size=lab.pick(64, 32))
        layers = fr.summary.sparsity(model).values()
        share = sum(layer.zeros for layer in layers) / sum(layer.weights for layer in layers)
        memory = sum(layer.csr_bytes for layer in layers) / sum(layer.bytes for layer in layers)
        return [share, memory, trainer.evaluate(*test)["accuracy"]]

    found = lab.side_by_side(train, [(kind, lambd) for kind in KINDS for lambd in LAMBDAS])
    numbers = np.reshape(found, (len(KINDS), len(LAMBDAS), 3))
    return {kind: dict(zip(KEYS, numbers[k].T.tolist(), strict=True)) for k, kind in enumerate(KINDS)}


def table(runs: Runs) -> Table:
    rows = []
    for kind in KINDS:
        for k, lambd in enumerate(LAMBDAS[kind == "l2" :], kind == "l2"):
            zeros, memory, accuracy = (runs.values(kind, key)[:, k] for key in ("zeros", "memory", "accuracy"))
            name = f"{kind.upper()}, λ = {lambd:g}" if lambd else "none"
            rows.append([name, f"{zeros.mean():.2%}", f"{memory.mean():.0%}", plus_minus(accuracy)])
    return Table(
        ["penalty", "exact zeros", "memory", "test accuracy"],
        rows,
        "memory: of the weights as compressed sparse rows, in percent of that of the dense matrices",
    )


def claims(runs: Runs) -> list[Claim]:
    l1, l2, memory = runs.mean("l1", "zeros"), runs.mean("l2", "zeros"), runs.mean("l1", "memory")
    cost = runs.values("l1", "accuracy")[:, :1] - runs.values("l1", "accuracy")  # of accuracy, for each seed and λ
    cheap = [k for k in range(len(LAMBDAS)) if surely_above(-cost[:, k], -LOSS)] or [0]
    best = cheap[int(np.argmin(memory[cheap]))]
    return [
        Claim(
            "L1 gives exact zeros, the more the larger λ; L2 gives none",
            l1[-1] > 0.9 and np.all(np.diff(l1) > 0) and l2.max() < 0.001,
            f"with L1 {l1[1]:.1%} at λ = {LAMBDAS[1]:g} and {l1[-1]:.1%} at λ = {LAMBDAS[-1]:g}; with L2 at most "
            f"{l2.max():.2%}",
        ),
        Claim(
            f"at less than {LOSS:.0%} of accuracy, sparse rows save more than half of the memory",
            memory[best] < 0.5,
            f"{memory[best]:.0%} of the dense memory at λ = {LAMBDAS[best]:g}, for {plus_minus(cost[:, best], 4)} of "
            f"accuracy{'' if memory[best] < 0.5 else '; L1 pulls at all weights alike, also at those that matter'}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    panels = figure.subplots(1, 3)
    places = [LAMBDAS[1] / 3, *LAMBDAS[1:]]  # 0 has no place on a logarithmic axis
    colors = {"l1": figures.BLUE, "l2": figures.VERMILION}
    for axes, (key, name) in zip(panels, KEYS.items(), strict=True):
        for kind in KINDS:
            figures.curve(axes, places, runs.values(kind, key), kind.upper(), colors[kind], marker="o", markersize=4)
        axes.set_xscale("log")
        axes.set_xticks([places[0], 1e-4, 1e-3, 1e-2], ["0", "0.0001", "0.001", "0.01"])
        figures.label(axes, "λ, the weight of the penalty", name)
    zeros, memory, _ = panels
    zeros.set_ylim(-0.03, 1.03)
    memory.axhline(1, color=figures.INK, linestyle="--", linewidth=1, label="the dense matrices")
    memory.set_ylim(0)
    memory.legend(frameon=False, fontsize=9)
