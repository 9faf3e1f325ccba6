"""An autoencoder that decodes with its encoder's weights has half as many, and errs less on new images if it saw few.

Document D ties parameters: some are forced to be equal, so that there are fewer to fit. An autoencoder is the plainest
case. Its encoder says how much of each pattern is in the image, and its decoder paints these patterns again. So the
decoder's weight can be the encoder's, transposed.

Two autoencoders 784-64-784 with ReLU learn from numbers of images of MNIST that grow from 300 to 10,000, for the
same number of steps. One is tied, the other has two weights. Measured is the mean squared error of a pixel, on the
images of the training and on 10,000 others: with few images the difference of the two is what a tie can save.

It holds on the small digits that stand in for MNIST with `--quick`. On MNIST it does not. The tied one is a quarter
worse on new images if it has seen 300, and two thirds if it has seen 10,000. Its training error is higher at each size,
and with 10,000 images nearly twice that of the other: one weight for both ends cannot paint as well. With 300 images
both overfit, the tied one no less.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, weights

SYSTEMS = "D11"
ROWS = (300, 1_000, 3_000, 10_000)
FEW = (100, 300, 1_000)  # with --quick
CODE = 64


def autoencoder(columns: int, tied: bool) -> fr.Model:
    x = fr.Input(columns, name="image")
    h = fr.Dense(CODE, "relu", name="encoder")(x)
    decoder = fr.Dense(columns, name="decoder", tied_to="encoder" if tied else None, transposed=tied)
    return fr.Model(x, decoder(h))


def measure(lab: Lab) -> dict:
    (X, _), (X_test, _) = lab.images()
    chosen = lab.rng.permutation(len(X))
    counts = [count for count in lab.pick(ROWS, FEW) if count <= len(X)]  # the stand-in has fewer than MNIST
    steps, batch = lab.pick(2_400, 300), lab.pick(128, 50)

    def train(job: tuple[bool, int]) -> dict:
        tied, count = job
        some, model = X[chosen[:count]], autoencoder(X.shape[1], tied)
        optimizer = fr.Adam(fr.schedules.OneCycle(1e-2, steps))
        trainer = lab.trainer(model, loss="sigmoid_cross_entropy", optimizer=optimizer)
        lab.fit(trainer, some, some, epochs=-(-steps // -(-count // batch)), batch_size=batch)
        errors = [float(np.mean((model.predict(images) - images) ** 2)) for images in (some, X_test)]
        return {"train": errors[0], "test": errors[1], "weights": sum(value.size for value in weights(model))}

    jobs = [(tied, count) for tied in (True, False) for count in counts]
    found = lab.side_by_side(train, jobs)
    tied, free = found[: len(counts)], found[len(counts) :]
    return {
        "counts": counts,
        **{
            way: {key: [one[key] for one in some] for key in ("train", "test", "weights")}
            for way, some in (("tied", tied), ("free", free))
        },
    }


def gain(runs: Runs) -> np.ndarray:
    """By what share the test error of the tied one is below that of the free one: (seeds, counts)."""
    return 1 - runs.values("tied", "test") / runs.values("free", "test")


def table(runs: Runs) -> Table:
    rows = []
    for k, count in enumerate(runs[0]["counts"]):
        cells = [plus_minus(runs.values(way, key)[:, k], 5) for way in ("tied", "free") for key in ("train", "test")]
        rows.append([f"{count:,}", *cells, plus_minus(100 * gain(runs)[:, k], 1)])
    return Table(
        ["images", "tied, training", "tied, test", "free, training", "free, test", "less by the tie, %"],
        rows,
        "mean squared error of a pixel between 0 and 1; the last column compares test errors; below 0 the tie loses; "
        "weights: " + ", ".join(f"{runs[0][way]['weights'][0]:,} {way}" for way in ("tied", "free")),
    )


def claims(runs: Runs) -> list[Claim]:
    tied, free = (int(runs.values(way, "weights")[0, 0]) for way in ("tied", "free"))
    less = 100 * gain(runs)
    few, many = less[:, 0], less[:, -1]
    counts = runs[0]["counts"]
    return [
        Claim("a tie halves the weights", 2 * tied == free, f"{tied:,} and {free:,}"),
        Claim(
            f"with {counts[0]:,} images the tied one is better on new ones, with every seed",
            (few > 0).all(),
            f"the tie changes the error by {plus_minus(-few, 1)} %",
        ),
        Claim(
            "the fewer the images, the better it stands beside the other",
            many.mean() < few.mean(),
            f"with {counts[-1]:,} images the tie changes the error by {plus_minus(-many, 1)} %",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    counts = runs[0]["counts"]
    for way, color in (("tied", figures.BLUE), ("free", figures.VERMILION)):
        told = f"{way}, {runs[0][way]['weights'][0] / 1000:.0f} thousand weights"
        figures.curve(left, counts, runs.values(way, "test"), f"{told}: test", color, marker="o", markersize=4)
        figures.curve(left, counts, runs.values(way, "train"), "the same: training", color, linestyle=":")
    left.set_ylim(0)
    figures.label(left, "images in the training set", "mean squared error of a pixel", "the error")
    figures.curve(right, counts, 100 * gain(runs), color=figures.GREEN, marker="o", markersize=4)
    right.axhline(0, color=figures.INK, linewidth=0.8)
    figures.label(right, "images in the training set", "smaller test error by the tie (%)", "what the tie gains")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.minorticks_off()
