"""Adversarial training keeps a net right under an attack that fools a plain one.

A step of ε in every input, each in the direction that raises the loss, changes w·x by ε‖w‖₁: with hundreds of inputs,
much from little (document D). Nets are linear enough that x + ε sign(∂J/∂x), the fast gradient sign method, fools them.
Training on such inputs beside the given ones asks for a net that hardly changes near its training data.

Two 784-200-10 nets learn the same images, one with and one without adversarial training. Both are then attacked with
growing ε, each through its own gradients. A random sign in place of that of the gradient shows that it is the direction
that harms, not the size. The document expects that the error on plain test images falls, too.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, surely_above

SYSTEMS = "D15"
SIZE = (10.5, 4.2)
EPSILON = 0.1  # of the training, as a share of the range of a pixel
EPSILONS = (0.0, 0.02, 0.05, EPSILON, 0.15, 0.2)
AT = EPSILONS.index(EPSILON)
PLAIN, ADVERSARIAL, RANDOM = "plain", "adversarial", "plain, random signs"


def measure(lab: Lab) -> dict:
    (X, y), (X_test, y_test) = lab.images(20_000, 10_000)
    rows = lab.rng.permutation(len(X))[: lab.pick(5_000, 1_000)]
    signs = lab.rng.choice(np.array([-1, 1], np.float32), size=X_test.shape)

    def train(attack: fr.FGSM | None) -> fr.Trainer:
        model = fr.Sequential([fr.Dense(200, "relu"), fr.Dense(10)])
        trainer = lab.trainer(model, optimizer="adam(lr=0.001)", adversarial=attack)
        lab.fit(trainer, X[rows], y[rows], epochs=lab.pick(20, 15), batch_size=64)
        return trainer

    def accuracy(trainer: fr.Trainer, moved: np.ndarray) -> float:
        return trainer.evaluate(moved, y_test)["accuracy"]

    plain, trained = lab.side_by_side(train, [None, fr.FGSM(EPSILON, clip=(0, 1))])
    attacks = [fr.FGSM(epsilon, clip=(0, 1)) for epsilon in EPSILONS]
    return {
        PLAIN: [accuracy(plain, attack.attack(plain, X_test, y_test)) for attack in attacks],
        ADVERSARIAL: [accuracy(trained, attack.attack(trained, X_test, y_test)) for attack in attacks],
        RANDOM: [accuracy(plain, np.clip(X_test + np.float32(epsilon) * signs, 0, 1)) for epsilon in EPSILONS],
    }


def table(runs: Runs) -> Table:
    rows = [
        [f"{epsilon:g}", *(plus_minus(runs.values(key)[:, k]) for key in (PLAIN, ADVERSARIAL, RANDOM))]
        for k, epsilon in enumerate(EPSILONS)
    ]
    return Table(
        ["ε", PLAIN, ADVERSARIAL, RANDOM],
        rows,
        f"test accuracy under attack; adversarial training was with ε = {EPSILON:g}; guessing gives 0.1",
    )


def claims(runs: Runs) -> list[Claim]:
    plain, trained, random = (runs.values(key) for key in (PLAIN, ADVERSARIAL, RANDOM))
    kept, clean = trained[:, AT] - plain[:, AT], trained[:, 0] - plain[:, 0]
    found = [
        Claim(
            f"an attack with ε = {EPSILON:g} fools the plain net, random signs of that size do not",
            surely_above(plain[:, 0] - plain[:, AT], 0.3) and surely_above(random[:, AT] - plain[:, 0], -0.05),
            f"accuracy {plain[:, 0].mean():.3f} → {plain[:, AT].mean():.3f}, with random signs "
            f"{random[:, AT].mean():.3f}",
        ),
        Claim(
            "adversarial training withstands it",
            surely_above(kept, 0.2),
            f"accuracy {trained[:, AT].mean():.3f} under the attack, gain {plus_minus(kept)}; without an attack "
            f"{trained[:, 0].mean():.3f}, the plain net {plain[:, 0].mean():.3f}",
        ),
    ]
    if not runs.quick:  # where there are test images enough to tell
        found.append(
            Claim(
                "plain test images are recognized better, too",
                surely_above(clean),
                f"accuracy {plain[:, 0].mean():.4f} → {trained[:, 0].mean():.4f}, gain {plus_minus(clean, 4)}",
            )
        )
    return found


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    for key, name, color in (
        (ADVERSARIAL, "adversarial training, attacked", figures.BLUE),
        (PLAIN, "plain training, attacked", figures.VERMILION),
        (RANDOM, "plain training, random signs", figures.EDGE),
    ):
        figures.curve(left, EPSILONS, runs.values(key), name, color, marker="o", markersize=4)
    left.axvline(EPSILON, color=figures.INK, linestyle=":", linewidth=1, label="ε of the training")
    left.set_ylim(0, 1.03)
    figures.label(left, "ε, the step in each pixel (range of a pixel: 1)", "test accuracy")
    plain, trained = runs.values(PLAIN), runs.values(ADVERSARIAL)
    left.legend(frameon=False, fontsize=8, loc="lower left")
    names = ["plain", "adversarial"] * 2
    values = [plain[:, 0], trained[:, 0], plain[:, AT], trained[:, AT]]
    figures.bars(right, names, values, [figures.VERMILION, figures.BLUE] * 2)
    right.tick_params(axis="x", labelsize=8)
    figures.label(right, f"no attack{' ' * 24}attack, ε = {EPSILON:g}", "test accuracy", grid="y")
