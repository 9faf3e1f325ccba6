"""Images without labels help a net that has few labels: by a head that paints them, by its own labels, by both.

Semi-supervised learning lets P(x) and P(y|x) share parameters. What tells images apart is in all of them, with a label
or without. Nets with the same layers see the same 100 labels of MNIST, ten of each digit. One has nothing else. One
has a second head on its last hidden layer, which paints the whole image. The net sees half of the pixels (dropout of
its input), so the layers must say what is in the image to paint the rest of it (Vincent et al., Stacked Denoising
Autoencoders, 2010). It first only paints, then learns the digits too. Then each of the two goes on with pseudo-labels:
in rounds, what it predicts with a probability over 0.9 counts as a label (Lee, Pseudo-Label, 2013).

The settings were chosen on the last 10,000 training images. The accuracy is that on the test set.
"""

from collections.abc import Iterable

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures

SYSTEMS = "D7"
WAYS = {"alone": "labels alone", "painting": "reconstruction", "pseudo": "pseudo-labels", "both": "both"}
LOSSES = {"digit": "softmax_cross_entropy", "image": "sigmoid_cross_entropy"}


def measure(lab: Lab) -> dict:
    (X, y), (X_test, y_test) = lab.images(lab.pick(20_000, 800))
    known = some_of_each(y, lab.pick(10, 3), lab.rng)
    y = np.where(np.isin(np.arange(len(y)), known), y, 0)  # no net sees the other labels
    found = {}
    for way, pseudo in lab.each((("alone", "pseudo"), ("painting", "both"))):
        trainer = alone(lab, X, y, known) if way == "alone" else painting(lab, X, y, known)
        found[way] = fr.metrics.accuracy(y_test, digits(trainer, X_test))
        add_pseudo_labels(lab, trainer, X, y, known)
        found[pseudo] = fr.metrics.accuracy(y_test, digits(trainer, X_test))
    gain = {way: found[way] - found["alone"] for way in WAYS}  # with the same labels
    return {"accuracy": found, "gain": gain, "labels": len(known), "images": len(X)}


def some_of_each(y: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn at random, as many of each class."""
    return np.concatenate([rng.choice(np.flatnonzero(y == k), count, replace=False) for k in np.unique(y)])


def make_trainer(lab: Lab, heads: Iterable[str]) -> fr.Trainer:
    """Nets with the same hidden layers, and dropout at the same places."""
    x = fr.Input(784, name="pixels")
    h = fr.Dropout(rate=lab.pick(0.5, 0.4))(x)
    for units in lab.pick((512, 256), (128, 64)):
        h = fr.Dropout(rate=lab.pick(0.5, 0.4))(fr.Dense(units, "relu")(h))
    make = {"digit": fr.Dense(10, name="digit"), "image": fr.Dense(784, name="image")}
    # The loss of an image is a mean over its pixels. As a sum, as log P(x) is one, it would count 784 times as much.
    weights = {"digit": 1.0, "image": 300.0}
    return lab.trainer(
        fr.Model(x, {head: make[head](h) for head in heads}),
        loss={head: LOSSES[head] for head in heads},
        loss_weights={head: weights[head] for head in heads},
        optimizer=fr.Adam(1e-3),
    )


def digits(trainer: fr.Trainer, X: np.ndarray) -> np.ndarray:
    """The probabilities of the ten digits."""
    found = trainer.predict(X)
    return found["digit"] if isinstance(found, dict) else found


def often(known: np.ndarray, count: int) -> np.ndarray:
    """All rows. Those with a label come more often, so that a fifth of each batch has one."""
    return np.concatenate([np.arange(count), np.repeat(known, max(1, count // (4 * len(known))))])


def alone(lab: Lab, X: np.ndarray, y: np.ndarray, known: np.ndarray) -> fr.Trainer:
    trainer = make_trainer(lab, ["digit"])
    lab.fit(trainer, X, {"digit": y}, epochs=lab.pick(400, 100), batch_size=50, rows=known)
    return trainer


def painting(lab: Lab, X: np.ndarray, y: np.ndarray, known: np.ndarray) -> fr.Trainer:
    trainer, targets = make_trainer(lab, ["digit", "image"]), {"digit": y, "image": X}
    batch, labelled = lab.pick(128, 32), np.isin(np.arange(len(X)), known)
    # A row of weight 0 has no label. At first none has one.
    none = {"digit": np.zeros(len(X))}
    lab.fit(trainer, X, targets, epochs=lab.pick(6, 20), batch_size=batch, sample_weight=none)
    lab.fit(
        trainer, X, targets, epochs=lab.pick(4, 10), batch_size=batch, rows=often(known, len(X)),
        sample_weight={"digit": labelled},
    )  # fmt: skip
    return trainer


def add_pseudo_labels(lab: Lab, trainer: fr.Trainer, X: np.ndarray, y: np.ndarray, known: np.ndarray) -> None:
    """Goes on with what the net predicts. From round to round it counts more."""
    rest, y, weights = np.setdiff1d(np.arange(len(X)), known), y.copy(), np.ones(len(X))
    targets = {head: {"digit": y, "image": X}[head] for head in trainer.model.heads}
    rounds = 5
    for number in range(1, rounds + 1):
        found = digits(trainer, X[rest])
        y[rest] = found.argmax(axis=1)
        weights[rest] = (found.max(axis=1) > 0.9) * number / rounds
        lab.fit(
            trainer, X, targets, epochs=lab.pick(2, 3), batch_size=lab.pick(128, 32), rows=often(known, len(X)),
            sample_weight={"digit": weights},
        )  # fmt: skip


def table(runs: Runs) -> Table:
    rows = [
        [name, runs.text("accuracy", way), "" if way == "alone" else runs.text("gain", way)]
        for way, name in WAYS.items()
    ]
    labels, images = int(runs.mean("labels")), int(runs.mean("images"))
    return Table(
        ["", "test accuracy", "gain"],
        rows,
        f"{labels} labels among {images:,} images; gain: over the labels alone, with the same labels",
    )


def claims(runs: Runs) -> list[Claim]:
    found = []
    for way, text in (
        ("painting", "a head that paints all images helps"),
        ("pseudo", "pseudo-labels help"),
        ("both", "both help"),
    ):
        least = runs.mean("gain", way) - np.nan_to_num(runs.half("gain", way))  # two seeds have no interval
        told = f"accuracy {runs.text('gain', way)} higher than with the labels alone"
        found.append(Claim(text, least > 0, told))
    return found


def draw(figure, runs: Runs) -> None:
    axes = figure.subplots()
    found = np.stack([runs.values("accuracy", way) for way in WAYS], axis=1)
    axes.plot(range(len(WAYS)), found.T, color=figures.EDGE, linewidth=1.0)
    for place, (way, color) in enumerate(zip(WAYS, figures.COLORS, strict=False)):
        mean, half = runs.mean("accuracy", way), float(np.nan_to_num(runs.half("accuracy", way)))
        axes.errorbar(
            place,
            mean,
            half or None,
            color=color,
            marker="o",
            markersize=9,
            capsize=5,
            linewidth=2,
            gid=figures.INTERVAL if half else None,
        )
        axes.annotate(f"{mean:.3f}", (place, mean), (9, -3), textcoords="offset points", fontsize=10)
    axes.set_xticks(range(len(WAYS)), list(WAYS.values()))
    axes.set_xlim(-0.4, len(WAYS) - 0.4)
    told = "test accuracy (the axis does not begin at 0)"
    figures.label(axes, "what the net learns from (thin line: one seed, whose labels are the same)", told, grid="y")
