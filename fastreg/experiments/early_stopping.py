"""Stop when the dev loss turns: every rule beats training to the end; then all the data may be used.

The training loss falls as long as one trains. The dev loss falls, and at some point turns up: from there on the net
learns what is peculiar to its training images. Weights begin near 0 and grow all the while, so a net that stops early
has a norm of w of medium size, as with L2, for one training instead of one for each λ (documents B and D).

A 784-100-10 net learns a few images with Adam. A quarter of them is held back as the dev set, and a fifth of the labels
is drawn at random, as real labels are wrong now and then; those of the test set are right. Four rules stop the net,
with settings that Prechelt tried or document D gives: GL, when the dev loss is 5 % above its best; PQ, when that rise
is large beside the progress of the training loss; UP, when it has risen in two strips of five epochs; patience, after
four epochs without a gain. All restore the best weights of the epochs they have seen. Then the dev set is used too, in
both ways: a restart on all data for as many steps as were best, and going on with all data until the dev loss is below
the training loss at the stop.

Three things to know. PQ waits until the training loss falls slowly, relative to itself. A large net lowers it on and
on, so PQ comes late; its weights are as good, it only takes longer. A restart for the same number of steps is a restart
for fewer epochs, since there are more data, so each image is seen less often; what it gains is small and unsure. And
with right labels alone, the test loss turns as much, but not the accuracy: the net grows too sure of its errors, yet
makes no more of them.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, squared_norm, surely_above

SYSTEMS = "B5, D9"
SIZE = (12.0, 4.2)
WRONG = 0.2  # the share of labels, of the training and of the dev set, that are drawn at random
RULES = {
    "GL": "gl(alpha=5)",
    "PQ": "pq(alpha=0.5)",
    "UP": "up(s=2)",
    "patience": "early_stopping(patience=4)",
}
COLORS = dict(zip(RULES, (figures.BLUE, figures.SKY, figures.GREEN, figures.PINK), strict=True))
TO_THE_END, RESTART, CONTINUE = "to the end", "restart on all", "go on with all"


class Norm(fr.Callback):
    """Adds the norm of all weights to the history."""

    def on_epoch_end(self, epoch, logs):
        logs["norm"] = norm_of(self.model.state_dict())


def norm_of(state: dict[str, np.ndarray]) -> float:
    """The square root of the sum of the squares of all weights, biases left out."""
    return float(np.sqrt(squared_norm(value for name, value in state.items() if "weight" in name)))


def measure(lab: Lab) -> dict:
    (X, y), test = lab.images(20_000, 10_000)
    count = min(lab.pick(2_000, 400), len(X))
    rows = lab.rng.permutation(len(X))[:count]
    (X, y), epochs = (X[rows], y[rows]), lab.pick(80, 60)
    y = np.where(lab.rng.random(count) < WRONG, lab.rng.integers(0, 10, count), y)
    dev = X[: count // 4], y[: count // 4]
    train = X[count // 4 :], y[count // 4 :]

    def trained(name: str) -> tuple[dict, dict]:
        model = fr.Sequential([fr.Dense(100, "relu"), fr.Dense(10)])
        trainer = lab.trainer(model, optimizer=fr.Adam(lab.pick(0.0005, 0.001)))
        model.build(784, seed=lab.seed)
        start = norm_of(model.state_dict())
        rule = RULES.get(name, "" if name == TO_THE_END else RULES["patience"])
        callbacks: list = [Norm(), *([rule] if rule else [])]
        history = lab.fit(trainer, *train, epochs=epochs, batch_size=32, validation_data=dev, callbacks=callbacks)
        again = []
        if name == RESTART:
            again = trainer.refit(X, y, callbacks=[lab.watch()]).epochs
        if name == CONTINUE:
            again = trainer.refit(
                X, y, "continue", validation_data=dev, max_epochs=epochs, callbacks=[lab.watch()]
            ).epochs
        found = trainer.evaluate(*test) | {"norm": norm_of(model.state_dict())}
        found |= {"epochs": len(history.epochs), "more": len(again)}
        if name == CONTINUE:
            assert trainer.best
            found["reached"] = trainer.evaluate(*dev)["loss"] < trainer.best.loss
        return found, {"loss": history["loss"], "dev": history["val_loss"], "norm": [start, *history["norm"]]}

    names = [TO_THE_END, *RULES, RESTART, CONTINUE]
    results = lab.side_by_side(trained, names)
    return {"curves": results[0][1], "found": {name: found for name, (found, _) in zip(names, results, strict=True)}}


def table(runs: Runs) -> Table:
    rows = []
    for name in (TO_THE_END, *RULES, RESTART, CONTINUE):
        found = {key: runs.values("found", name, key) for key in ("epochs", "more", "norm", "loss", "accuracy")}
        epochs = f"{found['epochs'].mean():.1f}"
        if name in (RESTART, CONTINUE):
            epochs += f" + {found['more'].mean():.1f}"
        texts = [plus_minus(found[key], digits) for key, digits in (("norm", 2), ("loss", 3), ("accuracy", 4))]
        rows.append([name if name not in RULES else f"{name}: {RULES[name]}", epochs, *texts])
    reached = int(runs.values("found", CONTINUE, "reached").sum())
    return Table(
        ["stopped", "epochs", "norm of w", "test loss", "test accuracy"],
        rows,
        "epochs: the mean number that was trained; + those of the second training, after patience had stopped the "
        f"first. Going on reached its target with {reached} of {len(runs)} seeds.",
    )


def claims(runs: Runs) -> list[Claim]:
    loss, dev, norm = (runs.values("curves", key) for key in ("loss", "dev", "norm"))
    best = dev.argmin(axis=1)
    seeds = np.arange(len(runs))
    risen, at_best = dev[:, -1] / dev.min(axis=1) - 1, norm[seeds, best + 1]
    gains = {name: gained(runs, TO_THE_END, name) for name in RULES}
    least = min(gains, key=lambda name: gains[name].mean())
    more = [runs.mean("found", name, "accuracy") - runs.mean("found", TO_THE_END, "accuracy") for name in RULES]
    again = {name: gained(runs, "patience", name) for name in (RESTART, CONTINUE)}
    epochs = {name: runs.mean("found", name, "epochs") for name in ("GL", "UP", "patience", "PQ")}
    return [
        Claim(
            "the dev loss turns up while the training loss falls on",
            np.all(risen > 0.05) and np.all(loss[:, -1] < loss[seeds, best]),
            f"best after {best.mean() + 1:.0f} epochs of {dev.shape[1]}; at the end the dev loss is {risen.mean():.0%} "
            f"higher, and the training loss falls from {loss[seeds, best].mean():.3f} to {loss[:, -1].mean():.4f}",
        ),
        Claim(
            "stopping leaves a norm of w of medium size",
            np.all((norm[:, 0] < at_best) & (at_best < norm[:, -1])),
            f"{norm[:, 0].mean():.1f} at the start, {at_best.mean():.1f} at the best dev loss, "
            f"{norm[:, -1].mean():.1f} at the end",
        ),
        Claim(
            "every rule ends with a lower test loss and a higher accuracy than training to the end",
            all(surely_above(gain) for gain in gains.values()) and min(more) > 0,
            f"the least gain in loss is {plus_minus(gains[least])}, with {least}; the least gain in accuracy is "
            f"{min(more):.3f}; they stop at different times, but restore the best weights, which are often the same",
        ),
        Claim(
            "GL, UP and patience also save epochs, PQ waits longer",
            max(epochs["GL"], epochs["UP"], epochs["patience"]) < min(epochs["PQ"], dev.shape[1]),
            ", ".join(f"{name} {count:.0f}" for name, count in epochs.items()),
        ),
        *(
            Claim(
                f"after the stop, '{name}' lowers the test loss further",
                surely_above(gain),
                f"it is {runs.mean('found', 'patience', 'loss'):.3f} at the stop, gain {plus_minus(gain)}"
                + (
                    "" if surely_above(gain) else "; as many steps are fewer epochs of more data, so the gain is unsure"
                ),
            )
            for name, gain in again.items()
        ),
    ]


def gained(runs: Runs, before: str, after: str) -> np.ndarray:
    """By how much the test loss is lower after than before, for each seed."""
    return runs.values("found", before, "loss") - runs.values("found", after, "loss")


def draw(figure, runs: Runs) -> None:
    curves, norms, bars = figure.subplots(1, 3, width_ratios=[1.15, 0.85, 1.2])
    loss, dev, norm = (runs.values("curves", key) for key in ("loss", "dev", "norm"))
    epochs, best = np.arange(1, dev.shape[1] + 1), dev.argmin(axis=1).mean() + 1
    figures.curve(curves, epochs, loss, "training loss", figures.BLUE)
    figures.curve(curves, epochs, dev, "dev loss", figures.VERMILION)
    figures.curve(norms, [0, *epochs], norm, color=figures.GREEN)
    for axes in (curves, norms):
        axes.axvline(best, color=figures.EDGE, linestyle="--", linewidth=1.2, label="lowest dev loss")
        axes.set_ylim(0)
    top = 1.25 * dev.mean(axis=0)[1:].max()
    curves.set_ylim(0, top)
    stops = {name: runs.mean("found", name, "epochs") for name in RULES}
    for place, name in enumerate(sorted(RULES, key=lambda name: stops[name])):
        stop = stops[name]
        curves.plot(stop, 0.04 * top, "^", color=COLORS[name], markersize=9)
        curves.annotate(name, (stop, (0.09 + 0.05 * (place % 2)) * top), ha="center", fontsize=8.5)
    title = f"one falls, one turns ({WRONG:.0%} of labels are random)"
    figures.label(curves, "epochs (▲: where a rule stops, mean of the seeds)", "cross-entropy", title)
    figures.label(norms, "epochs", "norm of all weights", "w grows all the while")
    names = [TO_THE_END, *RULES, RESTART, CONTINUE]
    colors = [figures.INK, *COLORS.values(), figures.ORANGE, figures.ORANGE]
    figures.bars(bars, names, [runs.values("found", name, "loss") for name in names], colors, digits=3)
    bars.tick_params(axis="x", rotation=40)
    figures.label(bars, "", "test loss", "how it ends", grid="y")
    figure.supxlabel(
        "stopped by GL: a dev loss 5 % above its lowest; PQ: such a rise, divided by the progress of the training "
        "loss; UP: a rise in two strips of 5 epochs; patience: 4 epochs without a gain",
        fontsize=9,
    )
