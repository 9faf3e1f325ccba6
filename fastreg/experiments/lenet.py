"""Weights that are shared across the image: a small convolutional net is right for over 99 % of MNIST's digits.

Document D names convolution as the main use of shared parameters. A filter looks for its pattern with the same weights
at every place, so a layer needs few of them, and what it learns at one place it knows at all others.

The net is LeCun's in the form of McMahan et al. (2017): 32 and 64 filters of 5 x 5, each with ReLU and max-pooling
2 x 2, then 512 units with ReLU and dropout, and 10 outputs. It is trained with Adam for 4 epochs, with a rate that
goes up and down once. Its first layer has 832 parameters. A dense layer from the same pixels to the same number of
outputs would have 19.7 million.

Beside it stands a net without convolution that gets the same images, epochs, optimizer and dropout: 784-512-512-10.
What sharing is worth shows best where the digits of the test set are moved, by up to 3 pixels each way, which neither
net has seen.
"""

from time import perf_counter

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "D11"
QUICK = "Weights shared across the image: a convolutional net is right more often, above all where digits are moved."
NEEDS = "mnist"
ALONE = True
SEEDS = 3
SIDE, MOST = 28, 3  # pixels
GOAL = 99.2  # % right
MOVES = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (MOST, 0), (0, MOST))
WAYS = ("convolutional", "dense")


def measure(lab: Lab) -> dict:
    (X, y), (X_test, y_test) = lab.images()
    X, y, batch = X[: lab.pick(len(X), 600)], y[: lab.pick(len(y), 600)], lab.pick(128, 32)
    X, X_test = (some.reshape(-1, SIDE, SIDE) for some in (X, X_test))
    filters, units = lab.pick((32, 64), (4, 8)), lab.pick(512, 64)
    nets = {
        "convolutional": [
            *(fr.Conv2D(filters[0], 5, "relu", padding="same"), fr.MaxPool2D(2)),
            *(fr.Conv2D(filters[1], 5, "relu", padding="same"), fr.MaxPool2D(2)),
            *(fr.Flatten(), fr.Dense(units, "relu"), fr.Dropout(rate=0.5), fr.Dense(10)),
        ],
        "dense": [
            *(fr.Flatten(), fr.Dense(units, "relu"), fr.Dropout(rate=0.5)),
            *(fr.Dense(units, "relu"), fr.Dropout(rate=0.5), fr.Dense(10)),
        ],
    }
    epochs = lab.pick(4, 16)
    found = {}
    for way in lab.each(WAYS):
        steps = epochs * -(-len(X) // batch)
        optimizer = fr.Adam(fr.schedules.OneCycle(3e-3, steps))
        trainer = lab.trainer(fr.Sequential(nets[way]), optimizer=optimizer, metrics=["accuracy"])
        begin = perf_counter()
        history = lab.fit(trainer, X, y, epochs=epochs, batch_size=batch, validation_data=(X_test, y_test))
        found[way] = {
            "seconds": perf_counter() - begin,
            "epochs": history["val_accuracy"],
            "parameters": sum(value.size for value in trainer.model.parameters.values()),
            "moved": [trainer.evaluate(np.roll(X_test, move, (1, 2)), y_test)["accuracy"] for move in MOVES],
        }
    return found


def table(runs: Runs) -> Table:
    rows = []
    for way in WAYS:
        moved = runs.values(way, "moved")
        far = moved[:, -2:].mean(axis=1)
        rows.append(
            [
                way,
                f"{runs.values(way, 'parameters')[0]:,.0f}",
                *(plus_minus(100 * values, 2) for values in (runs.values(way, "epochs")[:, 0], moved[:, 0], far)),
                f"{runs.mean(way, 'seconds'):.0f}",
            ]
        )
    return Table(
        ["net", "parameters", "after 1 epoch", "at the end", f"moved by {MOST} pixels", "seconds"],
        rows,
        "right on the test images, in %; moved: the mean of those moved to the right and those moved down; seconds: "
        "training and validation",
    )


def claims(runs: Runs) -> list[Claim]:
    conv, dense = (100 * runs.values(way, "moved") for way in WAYS)
    found = [
        Claim(
            "the convolutional net is better than the dense one, with every seed",
            (conv[:, 0] > dense[:, 0]).all(),
            f"{plus_minus(conv[:, 0], 2)} % and {plus_minus(dense[:, 0], 2)} %",
        ),
        Claim(
            f"it loses less when the images are moved by {MOST} pixels",
            (conv[:, 0] - conv[:, -2:].mean(axis=1)).mean() < (dense[:, 0] - dense[:, -2:].mean(axis=1)).mean(),
            f"then {plus_minus(conv[:, -2:].mean(axis=1), 2)} % are right, of the dense net "
            f"{plus_minus(dense[:, -2:].mean(axis=1), 2)} %",
        ),
    ]
    if not runs.quick:
        over = f"{plus_minus(conv[:, 0], 2)} % after {len(runs[0][WAYS[0]]['epochs'])} epochs"
        found.insert(0, Claim(f"over {GOAL} % of MNIST's test images are right", conv[:, 0].mean() > GOAL, over))
    return found


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2)
    far = [0, 2, 4, 6]  # of MOVES: none, and then one to the right and one down for each distance
    for way, color in zip(WAYS, (figures.BLUE, figures.VERMILION), strict=True):
        told = f"{way}, {runs.values(way, 'parameters')[0] / 1e6:.2f} million parameters"
        wrong = 100 * (1 - runs.values(way, "epochs"))
        figures.curve(left, range(1, wrong.shape[1] + 1), wrong, told, color, marker="o", markersize=4)
        moved = 100 * (1 - runs.values(way, "moved"))
        moved = np.stack([moved[:, 0], *(moved[:, k - 1 : k + 1].mean(axis=1) for k in far[1:])], axis=1)
        figures.curve(right, range(MOST + 1), moved, way, color, marker="o", markersize=4)
    left.set_xticks(range(1, 5) if wrong.shape[1] == 4 else range(0, 17, 4))
    right.set_xticks(range(MOST + 1))
    for axes in (left, right):
        axes.set_ylim(0)
    if not runs.quick:
        left.axhline(100 - GOAL, color=figures.INK, linewidth=0.8, linestyle="--", label=f"the aim: {100 - GOAL:.1f} %")
    figures.label(left, "epoch", "errors on the test images (%)", "learning")
    figures.label(
        right, "moved to the right or down (pixels)", "errors on the test images (%)", "what neither has seen"
    )
