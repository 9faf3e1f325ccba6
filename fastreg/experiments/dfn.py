"""Four published runs of a small net on MNIST come out again: losses within 0.02, accuracies within 0.01.

Document D trains 784-200-10 (sigmoid units, cross-entropy of a softmax, weights from N(0, 0.01²), SGD at 0.01, batches
of 64, 20 epochs) on 20,000 images of MNIST that are scaled to [-1, 1]. It does so without a penalty, with L2, as a vote
of three nets on bootstrap sets, and with dropout, which keeps each pixel with probability 0.5. For each run it prints
20 losses and the accuracy on the 10,000 test images.

Each of the four is repeated with both engines, and the means over the seeds are held against the printed numbers.
Other seeds of the same run differ by 0.01 to 0.03 in their worst epoch.

The published L2 is not one. Its gradient walks over weight and bias, keeps only what the last of them gives, and so
adds λ b/n to every row of dW, where n are the rows of the batch. λ/2 |θ|², which it should have come from, is added to
the printed loss all the same. Here the same is done after each step, which is the column "L2 as published". Beside it
stand two that are L2: λ/n, which is the document's formula, and λ, which is what its loss says.

It also shows that so short a training has nothing to regularize. None of the three beats the plain net by more than
its seeds differ, and dropout is behind it, in the document and here.
"""

from time import perf_counter

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, squared_norm, weights

SYSTEMS = "D1"
QUICK = "Both engines train four small nets alike, and the published L2 is none: it leaves the weights as they are."
NEEDS = "mnist"
ALONE = True
SIZE = (10.0, 5.6)
BATCH, LAMBDA = 64, 0.01
ENGINES = ("native", "reference")

# What the document prints. Bagging has a column for each of its three nets.
LOSSES = {
    "none": (
        *(2.286, 2.209, 1.993, 1.640, 1.305, 1.063, 0.898, 0.781, 0.696, 0.634),
        *(0.586, 0.549, 0.518, 0.493, 0.473, 0.454, 0.439, 0.425, 0.414, 0.404),
    ),
    "L2 as published": (
        *(2.363, 2.284, 2.068, 1.729, 1.428, 1.226, 1.096, 1.013, 0.958, 0.923),
        *(0.899, 0.883, 0.872, 0.865, 0.860, 0.858, 0.858, 0.858, 0.859, 0.860),
    ),
    "bagging of 3": np.mean(
        [
            (
                *(2.283, 2.200, 1.972, 1.607, 1.272, 1.034, 0.873, 0.761, 0.681, 0.622),
                *(0.578, 0.542, 0.513, 0.489, 0.469, 0.452, 0.437, 0.423, 0.412, 0.402),
            ),
            (
                *(2.282, 2.201, 1.974, 1.606, 1.269, 1.033, 0.873, 0.762, 0.681, 0.620),
                *(0.575, 0.538, 0.508, 0.483, 0.462, 0.445, 0.429, 0.416, 0.404, 0.393),
            ),
            (
                *(2.282, 2.198, 1.967, 1.601, 1.268, 1.035, 0.877, 0.766, 0.686, 0.626),
                *(0.579, 0.543, 0.513, 0.488, 0.467, 0.450, 0.434, 0.420, 0.408, 0.398),
            ),
        ],
        axis=0,
    ),
    "dropout": (
        *(2.286, 2.215, 2.017, 1.681, 1.356, 1.124, 0.965, 0.851, 0.779, 0.718),
        *(0.677, 0.643, 0.615, 0.591, 0.573, 0.554, 0.541, 0.530, 0.525, 0.516),
    ),
}
ACCURACIES = {"none": 0.8961, "L2 as published": 0.8958, "bagging of 3": 0.8934, "dropout": 0.8889}
TRUE = {"true L2, λ/n": fr.L2(LAMBDA, m="batch"), "true L2, λ": fr.L2(LAMBDA)}
WAYS = (*LOSSES, *TRUE)
NEAR_LOSS, NEAR_ACCURACY = 0.02, 0.01


class Slip(fr.Callback):
    """The published L2: λ b/n goes into every row of dW, and λ/2 |θ|² into the loss that is shown."""

    def __init__(self, rows: int, rate: float):
        self.rows, self.rate = rows, rate

    def on_epoch_begin(self, epoch):
        self.penalties = []

    def on_batch_begin(self, batch):
        self.parameters = self.model.parameters
        self.biases = {name: self.parameters[name].copy() for name in ("0.bias", "1.bias")}
        self.penalties.append(sum(LAMBDA / 2 * float(np.vdot(some, some)) for some in self.parameters.values()))

    def on_batch_end(self, batch, logs):
        n = min(BATCH, self.rows - batch * BATCH)
        for name, bias in self.biases.items():
            self.parameters[name.replace("bias", "weight")][...] -= self.rate * LAMBDA / n * bias

    def on_epoch_end(self, epoch, logs):
        logs["published_penalty"] = float(np.mean(self.penalties))


def measure(lab: Lab) -> dict:
    (X, y), (X_test, y_test) = lab.images()
    chosen = lab.rng.permutation(len(X))[: lab.pick(20_000, 640)]
    X, y, X_test = 2 * X[chosen] - 1, y[chosen], 2 * X_test - 1
    rate = lab.pick(0.01, 0.3)  # few images give few steps: the sum of all rates is nearly the same

    def net(engine: str, seed: int = lab.seed, l2=0.0, keep: float = 1.0) -> fr.Trainer:
        start = fr.initializers.normal(0.01)
        layers = [fr.Dense(200, "sigmoid", weight_init=start), fr.Dense(10, weight_init=start)]
        dropout = [fr.Dropout(keep_prob=keep)] if keep < 1 else []
        return lab.trainer(
            fr.Sequential([*dropout, *layers]),
            engine=engine,
            seed=seed,
            optimizer=f"sgd(lr={rate})",
            metrics=["accuracy"],
            l2=l2,
        )

    def train(engine: str, way: str) -> dict:
        begin = perf_counter()
        if way == "bagging of 3":
            bagging = fr.Bagging(lambda seed: net(engine, seed), 3, combine="vote", seed=lab.seed, threads=lab.threads)
            losses = np.mean([history["loss"] for history in bagging.fit(X, y, epochs=20, batch_size=BATCH)], axis=0)
            seconds, trainer = perf_counter() - begin, bagging.members[0]
            accuracy = float(np.mean(bagging.predict(X_test).argmax(axis=1) == y_test))
        else:
            trainer = net(engine, l2=TRUE.get(way, 0.0), keep=0.5 if way == "dropout" else 1.0)
            watch = [Slip(len(X), rate)] if way == "L2 as published" else []
            history = lab.fit(trainer, X, y, callbacks=watch, epochs=20, batch_size=BATCH)
            penalty = "published_penalty" if watch else "penalty"
            losses = np.array(history["loss"]) + (history[penalty] if penalty in history.to_dict() else 0.0)
            seconds = perf_counter() - begin
            accuracy = trainer.evaluate(X_test, y_test)["accuracy"]
        return {
            "loss": losses.tolist(),
            "accuracy": accuracy,
            "weights": squared_norm(weights(trainer.model)),
            "seconds": seconds,
        }

    jobs = [(lab.engine, way) for way in WAYS]
    if lab.engine == "native":
        jobs += [("reference", way) for way in LOSSES]
    found: dict = {engine: {} for engine, _ in jobs}
    for engine, way in lab.each(jobs):
        found[engine][way] = train(engine, way)
    return found


def engines_of(runs: Runs) -> list[str]:
    return [engine for engine in ENGINES if engine in runs[0]]


def from_published(runs: Runs, engine: str, way: str) -> tuple[float, float]:
    """How far the means over the seeds are from what was published: the losses at their worst, and the accuracy."""
    losses = np.abs(runs.mean(engine, way, "loss") - LOSSES[way]).max()
    return float(losses), abs(runs.mean(engine, way, "accuracy") - ACCURACIES[way])


def table(runs: Runs) -> Table:
    engines = engines_of(runs)
    heads, columns = ["epoch"], []
    for way in WAYS:
        mean = [f"{loss:.3f}" for loss in runs.mean(engines[0], way, "loss")]
        did = [engine if way in runs[0][engine] else None for engine in engines]
        below = [runs.text(engine, way, "accuracy", digits=4) if engine else "" for engine in did]
        below += [f"{runs.mean(engine, way, 'seconds'):.2f}" if engine else "" for engine in did]
        below += [f"{runs.mean(engines[0], way, 'weights'):.1f}"]
        heads.append(way)
        columns.append(mean + below)
        if way in LOSSES and not runs.quick:
            heads.append("published")
            columns.append([f"{loss:.3f}" for loss in LOSSES[way]] + [f"{ACCURACIES[way]:.4f}"] * len(engines))
            columns[-1] += [""] * (len(engines) + 1)
    names = [str(epoch + 1) for epoch in range(20)]
    names += [f"{what}, {engine}" for what in ("accuracy", "seconds") for engine in engines] + ["|W|²"]
    rows = [[name, *(column[place] for column in columns)] for place, name in enumerate(names)]
    return Table(
        heads,
        rows,
        f"training loss of each epoch with its penalty, mean over the seeds, engine {engines[0]}; published bagging: "
        "the mean of its three nets; seconds: training with that engine; L2 as published calls Python in each step",
    )


def claims(runs: Runs) -> list[Claim]:
    engines, found = engines_of(runs), []
    if not runs.quick:
        near = {(engine, way): from_published(runs, engine, way) for engine in engines for way in LOSSES}
        for place, limit, text in (
            (
                0,
                NEAR_LOSS,
                f"each of the 80 losses is within {NEAR_LOSS} of the published one, as a mean over the seeds",
            ),
            (1, NEAR_ACCURACY, f"each accuracy is within {NEAR_ACCURACY} of the published one"),
        ):
            most, (engine, way) = max((far[place], run) for run, far in near.items())
            found.append(Claim(text, most <= limit, f"largest difference {most:.4f}: {way}, engine {engine}"))
    if len(engines) == 2:
        native, other = (np.array([runs.values(engine, way, "loss") for way in LOSSES]) for engine in ENGINES)
        apart = np.abs(native - other).max()
        found.append(
            Claim(
                "both engines find the same losses", apart < 0.001, f"they differ by {apart:.1e} at most, of one seed"
            )
        )
    none, slip, true = (runs.mean(engines[0], way, "weights") for way in ("none", "L2 as published", "true L2, λ"))
    found.append(
        Claim(
            "the published L2 changes |W|² less than a tenth as much as a true one does",
            abs(slip - none) < 0.1 * (none - true),
            f"{none:.2f} without a penalty, {slip:.2f} with the published one, {true:.2f} with a true L2 of λ",
        )
    )
    loss, dropped = (runs.values(engines[0], way, "loss")[:, -1] for way in ("none", "dropout"))
    found.append(
        Claim(
            "dropout makes the training loss larger",
            (dropped > loss).all(),
            f"{plus_minus(dropped)} after 20 epochs, {plus_minus(loss)} without",
        )
    )
    return found


def draw(figure, runs: Runs) -> None:
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    engine, epochs = engines_of(runs)[0], np.arange(1, 21)
    for place, (axes, way) in enumerate(zip(grid.flat, WAYS, strict=True)):
        published = way in LOSSES and not runs.quick
        both = runs.quick and len(engines_of(runs)) == 2 and way in LOSSES
        ours = f"engine {engine}" if both else None if runs.quick else "ours"
        figures.curve(axes, epochs, runs.values(engine, way, "loss"), ours, color=figures.BLUE)
        if both:
            other = runs.mean("reference", way, "loss")
            axes.plot(epochs, other, "o", markersize=3.5, color=figures.VERMILION, label="engine reference")
        if published:
            axes.plot(epochs, LOSSES[way], "o", markersize=3.5, color=figures.VERMILION, label="published")
        told = f"accuracy {runs.mean(engine, way, 'accuracy'):.4f}, |W|² {runs.mean(engine, way, 'weights'):.1f}"
        if published:
            told = f"accuracy {runs.mean(engine, way, 'accuracy'):.4f}, published {ACCURACIES[way]:.4f}"
        axes.set_ylim(0, 2.6)
        axes.set_xticks([1, 5, 10, 15, 20])
        figures.label(axes, "epoch" if place >= 3 else "", "training loss" if place % 3 == 0 else "", f"{way}\n{told}")
