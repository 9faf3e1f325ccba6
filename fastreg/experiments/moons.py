"""A net overfits the moons without end and without a NaN; L2 stops that, dropout delays it.

Document C trains a net for two classes with and without L2. The unregularized one overfits more with every step, until
it stops with an error: its output A has come so close to 0 or 1 that the gradient of the loss, -y/A + (1 - y)/(1 - A),
divides by 0. The cause is not the overfitting but the formula. From the logit z the loss is
max(z, 0) - zy + log(1 + exp(-|z|)), its gradient is A - y, and nothing is divided.

A 2-32-32-1 net with ReLU learns 120 points of two moons that overlap (noise of 0.25), by Adam in full batches, once
with nothing, once with L2, once with dropout after each hidden layer. Losses are those without penalty and dropout.
Counted are the training points for which A is exactly 0 or 1 in float32: each would have made the printed formula
divide by 0.

Dropout is no brake on the size of the weights: under it they grow to several times those of the net without. It keeps
the boundary smooth, and the accuracy on new points is better for it. But after enough steps the logits of the few
points on the wrong side are so large that the validation loss is no better than without.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, squared_norm, weights

SYSTEMS = "C1"
SIZE = (14.0, 3.8)
L2, RATE = 0.01, 0.5
WAYS = {"none": "no regularization", "l2": f"L2, λ = {L2:g}", "dropout": f"dropout {RATE:g}"}
COLORS = {"none": figures.VERMILION, "l2": figures.BLUE, "dropout": figures.GREEN}
POINTS, TURN = 120, 10  # to train on; the steps of an epoch
EDGE = np.linspace(-2, 3, 32)  # the sides of the map


def measure(lab: Lab) -> dict:
    X, y = fr.data.load("moons", seed=lab.seed)
    X = X + lab.rng.normal(0, 0.15, X.shape)  # with the set's own noise of 0.2
    X, y, X_val, y_val = X[:POINTS], y[:POINTS], X[1000:], y[1000:]
    turns = np.unique(np.geomspace(1, lab.pick(100_000, 2_000) // TURN, lab.pick(25, 16)).astype(int))
    often = np.tile(X, (TURN, 1)), np.tile(y, TURN)  # so that an epoch is several steps, each with all points
    area = np.stack(np.meshgrid(EDGE, EDGE), axis=-1).reshape(-1, 2)

    def train(way: str) -> dict:
        layers: list = []
        for _ in range(2):
            layers += [fr.Dense(32, "relu"), fr.Dropout(rate=RATE)] if way == "dropout" else [fr.Dense(32, "relu")]
        model = fr.Sequential([*layers, fr.Dense(1)])
        lr = lab.pick(0.003, 0.01)
        trainer = lab.trainer(
            model, loss="sigmoid_cross_entropy", optimizer=f"adam(lr={lr})", l2=L2 if way == "l2" else 0.0
        )
        found: dict = {"loss": [], "val_loss": [], "val_accuracy": []}
        for before, after in zip([0, *turns], turns, strict=False):
            lab.fit(trainer, *often, epochs=int(after - before), batch_size=POINTS, shuffle=False)
            seen, unseen = trainer.evaluate(X, y), trainer.evaluate(X_val, y_val)
            found["loss"].append(seen["loss"])
            found["val_loss"].append(unseen["loss"])
            found["val_accuracy"].append(unseen["accuracy"])
        A, state = trainer.predict(X), model.state_dict()
        found["saturated"] = int(np.sum((A == 0) | (A == 1)))
        found["finite"] = bool(np.isfinite(found["loss"]).all() and all(np.isfinite(w).all() for w in state.values()))
        found["norm"] = squared_norm(weights(model))
        found["map"] = np.round(trainer.predict(area)[:, 0], 3)
        return found

    return {
        **dict(zip(WAYS, lab.side_by_side(train, WAYS), strict=True)),
        "steps": turns * TURN,
        "x": np.round(X, 3),
        "y": y,
    }


def last(runs: Runs, way: str, key: str) -> np.ndarray:
    """What each seed has at the end."""
    return runs.values(way, key)[:, -1]


def table(runs: Runs) -> Table:
    rows = []
    for way, name in WAYS.items():
        ends = Runs([{key: run[way][key][-1] for key in ("loss", "val_loss", "val_accuracy")} for run in runs.runs])
        rows.append(
            [
                name,
                f"{ends.mean('loss'):.2g}",
                ends.text("val_loss"),
                f"{runs.values(way, 'val_loss').min(axis=1).mean():.3f}",
                ends.text("val_accuracy"),
                runs.text(way, "norm", digits=0),
                runs.text(way, "saturated", digits=1),
            ]
        )
    return Table(
        ["", "training loss", "validation loss", "at its best", "accuracy", "‖W‖²", "A = 0 or 1"],
        rows,
        f"after {steps(runs):,} steps; at its best: the lowest validation loss on the way; accuracy: on the 1,000 "
        f"validation points; A = 0 or 1: of {POINTS} training points, how many divide by 0 in the printed formula",
    )


def steps(runs: Runs) -> int:
    """How many were made."""
    return int(runs[0]["steps"][-1])


def claims(runs: Runs) -> list[Claim]:
    finite = all(runs.values(way, "finite").all() for way in WAYS)
    loss, best = last(runs, "none", "loss").mean(), runs.values("none", "val_loss").min(axis=1).mean()
    none, l2, dropout = (last(runs, way, "val_loss").mean() for way in WAYS)
    accuracy = {way: last(runs, way, "val_accuracy").mean() for way in WAYS}
    return [
        Claim(
            f"the unregularized net goes on for {steps(runs):,} steps without a NaN",
            finite,
            "all losses and weights finite; the output is exactly 0 or 1 for "
            f"{runs.mean('none', 'saturated'):.0f} of {POINTS} points",
        ),
        Claim(
            "it overfits more and more",
            loss < 0.05 and none > 2 * best,
            f"training loss {loss:.2g}, validation loss {best:.2f} at its best and {none:.2f} at the end",
        ),
        Claim("with L2 it does not", l2 < none / 2, f"validation loss {l2:.2f}, without {none:.2f}"),
        Claim(
            "with dropout it does less",
            dropout < none,
            f"validation loss {dropout:.2f}, without {none:.2f}"
            + ("" if dropout < none else "; dropout lets the weights grow, and with them the logits of its errors"),
        ),
        Claim(
            "with either, new points are classified better",
            accuracy["l2"] > accuracy["none"] and accuracy["dropout"] > accuracy["none"],
            ", ".join(f"{accuracy[way]:.3f} with {name}" for way, name in WAYS.items()),
        ),
    ]


def draw(figure, runs: Runs) -> None:
    *maps, costs = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.25])
    first = runs[0]
    x, y = np.asarray(first["x"]), np.asarray(first["y"])
    for axes, (way, name) in zip(maps, WAYS.items(), strict=True):
        A = np.reshape(first[way]["map"], (len(EDGE), -1))
        axes.contourf(EDGE, EDGE, A, levels=[0, 0.5, 1], colors=["#cfe3f1", "#fbe3d0"])
        z = np.log(np.clip(A, 1e-3, 1 - 1e-3) / (1 - np.clip(A, 1e-3, 1 - 1e-3)))
        axes.contour(EDGE, EDGE, z, levels=[0], colors=figures.INK, linewidths=1.2)
        for label, color, marker in ((0, figures.BLUE, "o"), (1, figures.VERMILION, "^")):
            axes.plot(*x[y == label].T, marker, color=color, markersize=3, label=f"class {label}")
        axes.set_xlim(-1.9, 2.9)
        axes.set_ylim(-1.4, 1.9)
        where = f"{name}\none of {len(runs)} seeds, after {steps(runs):,} steps"
        figures.label(axes, "first input", "second input" if way == "none" else "", where)
        axes.get_legend().remove()
    maps[0].legend(fontsize=8, loc="upper left")
    for way, name in WAYS.items():
        costs.plot(first["steps"], runs.mean(way, "val_loss"), color=COLORS[way], label=f"{name}, validation")
        costs.plot(first["steps"], runs.mean(way, "loss"), color=COLORS[way], linestyle="--", linewidth=1)
    costs.plot([], [], "--", color=figures.INK, linewidth=1, label="training")
    costs.set_xscale("log")
    costs.set_yscale("log")
    costs.set_ylim(1e-5, 100)
    figures.label(costs, "step", "cost (cross-entropy)", f"Costs\nmean of {len(runs)} seeds")
    costs.get_legend().remove()
    costs.legend(frameon=False, fontsize=8, loc="lower left")
