"""Turned, moved, stretched and warped copies stand in for images that nobody has collected.

More data are the best cure for variance, and often there are none. A digit that is turned a little, moved, resized,
sheared or elastically warped is still that digit, so such copies are new data at almost no cost (documents B and D).
They are made as training reads its images, new ones in every epoch.

A 784-200-10 net learns few images without augmentation, with affine transforms, and with an elastic distortion after
them. All take the same number of steps. Mirroring is left out: it makes other signs of digits.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, surely_above

SYSTEMS = "B4, D5"
SIZE = (11.0, 4.4)
AFFINE = "rotate(12), translate(0.06), resize(0.1), shear(8)"
ELASTIC = "elastic(alpha=8, sigma=4)"
WAYS = {"none": None, "affine": f"compose([{AFFINE}])", "affine and elastic": f"compose([{AFFINE}, {ELASTIC}])"}
ROWS, COLUMNS = 3, 6  # of the grid of pictures


def measure(lab: Lab) -> dict:
    (X, y), (X_test, y_test) = lab.images(20_000, 5_000)
    rows = lab.rng.permutation(len(X))[: lab.pick(1_000, 200)]
    X, y = X[rows].reshape(-1, 28, 28), y[rows]
    X_test = X_test.reshape(-1, 28, 28)

    def train(way: str) -> list[float]:
        model = fr.Sequential([fr.Flatten(), fr.Dense(200, "relu"), fr.Dense(10)])
        trainer = lab.trainer(model, optimizer="adam(lr=0.001)", augment=WAYS[way])
        lab.fit(trainer, X, y, epochs=lab.pick(100, 150), batch_size=32)
        return [trainer.evaluate(X, y)["accuracy"], trainer.evaluate(X_test, y_test)["accuracy"]]

    found = lab.side_by_side(train, WAYS)
    result = {way: {"train": one[0], "test": one[1]} for way, one in zip(WAYS, found, strict=True)}
    return result | {"pictures": pictures(X[:ROWS])}


def pictures(images: np.ndarray) -> list:
    """A row for each image: the image itself, and new views of it, in grey levels from 0 to 255."""
    augment = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse", augment=WAYS["affine and elastic"]).augment
    assert augment is not None
    views = [images, *(augment.apply(images, epoch=epoch) for epoch in range(COLUMNS - 1))]
    return np.rint(255 * np.stack(views, axis=1)).astype(int).tolist()


def table(runs: Runs) -> Table:
    none = runs.values("none", "test")
    rows = [
        [way, runs.text(way, "train"), runs.text(way, "test", digits=4), plus_minus(runs.values(way, "test") - none, 4)]
        for way in WAYS
    ]
    note = f"accuracies, those of training without augmentation. Affine: {AFFINE}; elastic: {ELASTIC}"
    return Table(["augmentation", "training images", "test images", "gain"], rows, note)


def claims(runs: Runs) -> list[Claim]:
    none, affine, both = (runs.values(way, "test") for way in WAYS)
    gap = {way: runs.mean(way, "train") - runs.mean(way, "test") for way in WAYS}
    return [
        Claim(
            "affine transforms raise the accuracy on test images",
            surely_above(affine - none),
            f"{none.mean():.4f} → {affine.mean():.4f}, gain {plus_minus(affine - none, 4)}",
        ),
        Claim(
            "with an elastic distortion it is higher than without augmentation, too",
            surely_above(both - none),
            f"{none.mean():.4f} → {both.mean():.4f}, gain {plus_minus(both - none, 4)}",
        ),
        Claim(
            "variance falls: training and test accuracy come closer",
            max(gap["affine"], gap["affine and elastic"]) < gap["none"],
            ", ".join(f"{way} {value:.3f} apart" for way, value in gap.items()),
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subfigures(1, 2, width_ratios=[1.35, 1])
    grid = left.subplots(ROWS, COLUMNS)
    for line, views in enumerate(runs[0]["pictures"]):
        for place, (axes, view) in enumerate(zip(grid[line], views, strict=True)):
            axes.imshow(view, cmap="gray_r", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            if line == 0:
                axes.set_title("given" if place == 0 else f"epoch {place}", fontsize=9, color=figures.INK)
    axes = right.subplots()
    values = [runs.values(way, "test") for way in WAYS]
    figures.bars(axes, list(WAYS), values, [figures.INK, figures.BLUE, figures.GREEN], digits=4)
    axes.set_ylim(max(0, 2 * min(one.min() for one in values) - 1), 1)
    figures.label(axes, "augmentation in training", "test accuracy (the axis does not begin at 0)", grid="y")
