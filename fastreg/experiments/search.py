"""Random search with halving finds λ and keep_prob as accurate as a grid's, for a fraction of the cost.

Document B: λ and keep_prob are chosen on the dev set, by trying many values, and every layer with its own keep_prob
adds one more to search over. What that costs is the objection to L2 and dropout.

A 64-100-10 net learns 200 of the built-in digits; 600 are the dev set, the rest the test set. Two searches look for the
lowest dev loss over λ from 1e-5 to 1e-1 (logarithmic) and keep_prob from 0.3 to 1. The grid trains each of its pairs to
the end. Random search draws as many pairs or a few more and trains them for a ninth of the epochs; the best third goes
on to a third of the epochs, and the best third of those to the end (successive halving, with a factor of 3). Members
are trained side by side, one on each thread.

The cost is told in epochs, and in seconds: those that all members would have taken one after the other, and those that
they took side by side. The test set is looked at once, for the pair that each search has chosen.

Halving judges early. After a ninth of the epochs strong dropout looks worst; at the end, with most seeds, it is the
best. So halving prefers weaker dropout than the grid does, with as good an accuracy and a loss that is somewhat higher.
"""

from time import perf_counter

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "B11"
SIZE = (12.0, 4.8)
ALONE = True  # its members are trained side by side, and timed
LAMBDAS, KEEPS = (1e-5, 1e-1), (0.3, 1.0)
WAYS = {"none": "no regularization", "grid": "grid", "halving": "random search with halving"}
COLORS = {"grid": figures.BLUE, "halving": figures.VERMILION}


def measure(lab: Lab) -> dict:
    X, y = fr.data.load("digits")
    order = lab.rng.permutation(len(X))
    training, dev, test = ((X[part], y[part]) for part in np.split(order, [200, 800]))
    side, epochs = 5, 81  # with --quick too: in shorter trainings the start of each would cost more than its steps

    def member(pair: tuple[float, float]) -> fr.Trainer:
        lambd, keep = pair
        model = fr.Sequential([fr.Dense(100, "relu"), fr.Dropout(keep_prob=keep), fr.Dense(10)])
        return lab.trainer(model, loss="softmax_cross_entropy", optimizer="adam(lr=0.005)", l2=lambd)

    def go_on(job: tuple[fr.Trainer, int]) -> tuple[float, float]:
        """Trains on. Returns the dev loss and the seconds that this member took."""
        trainer, more = job
        begin = perf_counter()
        lab.fit(trainer, *training, epochs=more, batch_size=20)
        return trainer.evaluate(*dev)["loss"], perf_counter() - begin

    def search(pairs: list[tuple[float, float]], rungs: list[int]) -> dict:
        """Trains all pairs to the first rung, the best third of them to the second, and so on."""
        left = [(pair, member(pair)) for pair in pairs]
        found: dict = {"pairs": pairs, "losses": [], "spent": [], "reached": [rungs[0]] * len(pairs), "seconds": 0.0}
        begin, before, spent = perf_counter(), 0, 0
        for rung in rungs:
            results = lab.side_by_side(go_on, [(trainer, rung - before) for _, trainer in left])
            losses = [loss for loss, _ in results]
            found["losses"] += losses
            found["spent"] += [spent + (k + 1) * (rung - before) for k in range(len(left))]
            found["seconds"] += sum(seconds for _, seconds in results)
            for pair, _ in left:
                found["reached"][pairs.index(pair)] = rung
            ranks = np.argsort(losses)
            best = left[ranks[0]]
            left = [left[k] for k in ranks[: max(len(left) // 3, 1)]]
            before, spent = rung, found["spent"][-1]
        found["together"] = perf_counter() - begin
        found["dev_loss"], found["best"] = min(losses), best[0]
        found["test"] = best[1].evaluate(*test)
        return found

    grid = [(float(lambd), float(keep)) for lambd in np.geomspace(*LAMBDAS, side) for keep in np.linspace(*KEEPS, side)]
    drawn = (
        np.exp(lab.rng.uniform(np.log(LAMBDAS[0]), np.log(LAMBDAS[1]), 27)),
        lab.rng.uniform(KEEPS[0], KEEPS[1], 27),
    )
    random = [(float(lambd), float(keep)) for lambd, keep in zip(*drawn, strict=True)]
    return {
        "none": search([(0.0, 1.0)], [epochs]),
        "grid": search(grid, [epochs]),
        "halving": search(random, [epochs // 9, epochs // 3, epochs]),
    }


def table(runs: Runs) -> Table:
    rows = []
    for way, name in WAYS.items():
        lambdas, keeps = runs.values(way, "best").T
        rows.append(
            [
                name,
                str(len(runs[0][way]["pairs"])),
                str(runs[0][way]["spent"][-1]),
                f"{runs.mean(way, 'seconds'):.2f}",
                f"{runs.mean(way, 'together'):.2f}",
                runs.text(way, "dev_loss"),
                plus_minus([run[way]["test"]["loss"] for run in runs.runs]),
                plus_minus([run[way]["test"]["accuracy"] for run in runs.runs]),
                "0" if way == "none" else f"{np.exp(np.log(lambdas).mean()):.1e}",
                f"{keeps.mean():.2f}",
            ]
        )
    return Table(
        ["", "pairs", "epochs", "s, one by one", "s", "dev loss", "test loss", "test accuracy", "λ", "keep_prob"],
        rows,
        "epochs: of all members; s, one by one: what all members would have taken one after the other, each with its "
        "start; s: what they took side by side; λ and keep_prob: of the chosen pair, mean over the seeds",
    )


def on_test(runs: Runs, way: str, key: str) -> np.ndarray:
    """What the chosen net of each seed has on the test set."""
    return np.array([run[way]["test"][key] for run in runs.runs])


def claims(runs: Runs) -> list[Claim]:
    grid, halving = (runs[0][way]["spent"][-1] for way in ("grid", "halving"))
    chosen = [on_test(runs, way, "accuracy").mean() for way in ("grid", "halving")]
    losses = [on_test(runs, way, "loss").mean() for way in ("none", "grid", "halving")]
    return [
        Claim(
            "halving finds a pair with as good an accuracy as the grid's",
            chosen[1] > chosen[0] - 0.01,
            f"on the test set {chosen[1]:.3f}, the grid's {chosen[0]:.3f}; its loss is {losses[2]:.3f}, the grid's "
            f"{losses[1]:.3f}",
        ),
        Claim(
            "in less than half of the epochs",
            halving < grid / 2,
            f"{halving} epochs, the grid {grid}; one by one {runs.mean('halving', 'seconds'):.2f} s, the grid "
            f"{runs.mean('grid', 'seconds'):.2f} s",
        ),
        Claim(
            "what the dev set chooses is better on the test set than no regularization",
            max(losses[1:]) < losses[0],
            f"test loss {losses[0]:.3f} without, {losses[1]:.3f} grid, {losses[2]:.3f} halving",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    surface, cost = figure.subplots(1, 2, width_ratios=[1.25, 1])
    pairs, first = np.asarray(runs[0]["grid"]["pairs"]), runs[0]["halving"]
    side = int(len(pairs) ** 0.5)
    losses = runs.mean("grid", "losses")
    image = surface.pcolormesh(
        *(pairs[:, axis].reshape(side, side) for axis in (0, 1)),
        losses.reshape(side, side),
        cmap="cividis",
        norm="log",
        shading="gouraud",
    )
    bar = figure.colorbar(image, ax=surface, label="dev loss (cross-entropy)")
    bar.minorticks_off()
    ticks = [tick for tick in (0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0) if losses.min() < tick < losses.max()]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    last = max(first["reached"])
    for (lambd, keep), reached in zip(first["pairs"], first["reached"], strict=True):
        surface.plot(lambd, keep, "o", color="white", markeredgecolor="black", markersize=3 + 6 * reached / last)
    for epochs in sorted(set(first["reached"])):
        told = f"random, {epochs} epochs"
        size = 3 + 6 * epochs / last
        surface.plot([], [], "o", color="white", markeredgecolor="black", markersize=size, label=told)
    marks = {
        way: {
            "marker": marker,
            "markersize": size,
            "color": COLORS[way],
            "markeredgecolor": "white",
            "linestyle": "",
            "zorder": 5,
        }
        for way, marker, size in (("grid", "s", 10), ("halving", "*", 14))
    }
    for way, label in (("grid", "the grid's choice"), ("halving", "halving's choice")):
        surface.plot(*runs[0][way]["best"], label=label, **marks[way])
    surface.set_xscale("log")
    surface.set_xlim(LAMBDAS[0] / 2, LAMBDAS[1] * 2)  # so that marks at the edge are whole
    surface.set_ylim(KEEPS[0] - 0.04, KEEPS[1] + 0.04)
    title = f"The grid's losses, and the pairs of one of {len(runs)} seeds"
    figures.label(surface, "λ, the weight of the L2 penalty", "keep_prob", title, legend=False)
    surface.legend(frameon=False, fontsize=8.5, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    for way in ("grid", "halving"):
        best = np.minimum.accumulate(runs.values(way, "losses"), axis=1)
        figures.curve(cost, runs[0][way]["spent"], best, WAYS[way], COLORS[way], drawstyle="steps-post")
        end = runs[0][way]["spent"][-1], runs.mean(way, "dev_loss")
        cost.plot(*end, label=f"what {way} chose" if way == "halving" else "what the grid chose", **marks[way])
    cost.axhline(runs.mean("none", "dev_loss"), color=figures.EDGE, linestyle=":", label="no regularization")
    figures.label(
        cost, "epochs trained, one member after the other", "lowest dev loss so far", "What each search costs"
    )
