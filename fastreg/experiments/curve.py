"""A small net learns a complicated curve, and dropout tells where it is unsure.

Document E learns a sum of sines with noise with a 1-64-64-64-1 net: leaky ReLU within, ReLU on the output, a uniform
start, Adam, the mean squared error, 100 epochs. Both losses fall together, so there is neither bias nor variance to
cure, and the fit is nearly perfect but where the curve bends fast. With dropout, predictions become blurred just
there: "as if the model said that it is unsure". So the spread of many passes with dropout is a measure of doubt.

The curve is published for one draw of its coefficients. For others it is negative at many places, which no ReLU can
output; and where the output begins below 0 everywhere, its gradient is 0 and it never learns. So the net is trained
with three outputs: ReLU, ReLU on the curve raised until it is above 0, and linear. Measured is R², the share of the
variance of the validation targets that is explained. Each seed has its own curve.

Then a net with a linear output and dropout .1 predicts 100 times. The range of x is cut into 25 stretches, and the
rank correlation (Spearman's) of spread and error over them says whether the net is unsure where it is wrong.
"""

import numpy as np

from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, surely_above
from fastreg.experiments.harness.curves import GRID, draw_points, explained, net, points, sample, train

SYSTEMS = "E1, E4"
SIZE = (13.0, 7.6)
RATE, PASSES, STRETCHES = 0.1, 100, 25
WAYS = {
    "linear": "linear output",
    "relu": "ReLU output",
    "raised": "ReLU output, curve raised above 0",
    "dropout": f"linear output, dropout {RATE:g}",
}


def measure(lab: Lab) -> dict:
    training, validation = points(lab)
    X, y = validation

    def one(way: str) -> dict:
        raised = min(training[1].min(), y.min()) if way == "raised" else 0.0
        model = net("relu" if way in ("relu", "raised") else "linear", RATE if way == "dropout" else 0.0)
        trainer, history = train(lab, model, (training[0], training[1] - raised), (X, y - raised))
        prediction = trainer.predict(X) + raised
        found = {
            "loss": history["loss"],
            "val_loss": history["val_loss"],
            "R2": explained(prediction, y),
            "dead": not np.ptp(prediction),
            "fit": (trainer.predict(GRID) + raised)[:, 0],
        }
        if way == "dropout":
            mean, spread = trainer.predict(X, samples=PASSES, seed=lab.seed)
            found["stretches"] = spreads, errors = by_stretch(X[:, 0], spread[:, 0], (mean - y)[:, 0])
            found["agreement"] = agreement(spreads, errors)
            found["mean"], found["spread"] = (part[:, 0] for part in trainer.predict(GRID, samples=PASSES))
        return found

    return {
        **dict(zip(WAYS, lab.side_by_side(one, WAYS), strict=True)),
        "below": float(np.mean(np.minimum(y, 0) ** 2)),
        "variance": float(np.var(y)),
        **sample(X, y),
    }


def by_stretch(x: np.ndarray, spread: np.ndarray, error: np.ndarray) -> tuple[list[float], list[float]]:
    """The mean spread and the root mean square error in each stretch of x."""
    stretches = np.array_split(np.argsort(x), STRETCHES)
    errors = [float(np.sqrt(np.mean(error[part] ** 2))) for part in stretches]
    return [float(spread[part].mean()) for part in stretches], errors


def agreement(spreads: list[float], errors: list[float]) -> float:
    """Their rank correlation."""
    first, second = (np.argsort(np.argsort(values)) for values in (spreads, errors))
    return float(np.corrcoef(first, second)[0, 1])


def last(runs: Runs, way: str, key: str) -> np.ndarray:
    """A loss of each seed: the mean of its last 10 epochs."""
    return runs.values(way, key)[:, -10:].mean(axis=1)


def table(runs: Runs) -> Table:
    rows = []
    for way, name in WAYS.items():
        losses = [plus_minus(last(runs, way, key)) for key in ("loss", "val_loss")]
        dead = f"{int(runs.values(way, 'dead').sum())} of {len(runs)}"
        rows.append([name, *losses, runs.text(way, "R2"), dead])
    return Table(
        ["", "training loss", "validation loss", "R²", "dead"],
        rows,
        f"losses: mean of the last 10 epochs, to be held against the noise's variance of 0.01, which no net can go "
        f"below, and that of the targets, {runs.text('variance', digits=2)}; dead: nets that predict one number "
        f"everywhere; nothing that is never below 0 can have less than {runs.text('below', digits=2)} on this curve",
    )


def claims(runs: Runs) -> list[Claim]:
    linear, relu = runs.mean("linear", "R2"), runs.mean("relu", "R2")
    gap = np.mean((last(runs, "linear", "val_loss") - last(runs, "linear", "loss")) / runs.values("variance"))
    ranks = runs.values("dropout", "agreement")
    alive = runs.values("raised", "dead") == 0
    raised = runs.values("raised", "R2")[alive]
    return [
        Claim("the net learns the curve", linear > 0.95, f"R² {linear:.3f} with a linear output"),
        Claim(
            "both losses fall together",
            abs(gap) < 0.02,
            f"at the end they differ by {gap:.2%} of the targets' variance",
        ),
        Claim(
            "a ReLU output cannot learn targets below 0",
            relu < 0.8 and linear - relu > 0.2,
            f"R² {relu:.3f}; {int(runs.values('relu', 'dead').sum())} of {len(runs)} nets are dead",
        ),
        Claim(
            "on the curve raised above 0 a ReLU output learns, unless it begins below 0 everywhere",
            alive.any() and raised.min() > 0.9,
            f"R² at least {raised.min() if alive.any() else np.nan:.3f}, but {int(np.sum(~alive))} of {len(runs)} nets "
            "are dead from the start",
        ),
        Claim(
            "passes with dropout spread widely where the net errs",
            ranks.mean() > 0.2 and surely_above(ranks),
            f"rank correlation {plus_minus(ranks, 2)}, of the seeds {', '.join(f'{rank:.2f}' for rank in ranks)}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    (losses, fit), (doubt, ranks) = figure.subplots(2, 2)
    epochs = np.arange(1, len(runs[0]["linear"]["loss"]) + 1)
    for way, key, name, color in (
        ("relu", "val_loss", "ReLU output, validation", figures.VERMILION),
        ("linear", "loss", "linear output, training", figures.SKY),
        ("linear", "val_loss", "linear output, validation", figures.BLUE),
    ):
        losses.plot(epochs, runs.mean(way, key), color=color, label=name, linewidth=1.6)
    losses.axhline(0.01, color=figures.EDGE, linestyle=":", label="variance of the noise")
    losses.set_yscale("log")
    losses.set_ylim(bottom=0.004)
    figures.label(losses, "epoch", "mean squared error", f"Losses, mean of {len(runs)} seeds", legend=False)
    losses.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1.0, 0.62))

    # a seed whose nets all live, if there is one: a dead net shows nothing but a line
    first = min(runs.runs, key=lambda run: run["relu"]["dead"] + run["raised"]["dead"])
    x = GRID[:, 0]
    draw_points(fit, first)
    fit.plot(x, first["relu"]["fit"], color=figures.VERMILION, label="ReLU output", linewidth=1.8)
    told = f"ReLU output, raised curve{': dead' if first['raised']['dead'] else ''}"
    fit.plot(x, first["raised"]["fit"], color=figures.ORANGE, label=told, linewidth=1.8, linestyle="--")
    fit.plot(x, first["linear"]["fit"], color=figures.BLUE, label="linear output", linewidth=1.8)
    figures.label(fit, "x", "y", f"Fits, one of {len(runs)} seeds", legend=False)
    fit.set_ylim(top=1.5 * max(first["y"]))
    fit.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)

    mean, spread = np.asarray(first["dropout"]["mean"]), np.asarray(first["dropout"]["spread"])
    draw_points(doubt, first)
    low, high = mean - 2 * spread, mean + 2 * spread
    told = "± 2 standard deviations of the passes"
    doubt.fill_between(x, low, high, color=figures.GREEN, alpha=0.3, linewidth=0, label=told)
    doubt.plot(x, mean, color=figures.GREEN, label=f"mean of {PASSES} passes", linewidth=1.8)
    bottom, top = doubt.get_ylim()
    doubt.set_ylim(top=top + 0.3 * (top - bottom))  # room for the legend
    figures.label(doubt, "x", "y", f"Dropout {RATE:g}: passes of the same seed", legend=False)
    doubt.legend(frameon=False, fontsize=9, loc="upper left")

    for run, seed, marker, color in zip(runs.runs, range(4), "osD^", figures.COLORS, strict=False):
        told = f"seed {seed}: rank correlation {run['dropout']['agreement']:.2f}"
        ranks.plot(*run["dropout"]["stretches"], marker, color=color, markersize=5, alpha=0.8, label=told)
    figures.label(
        ranks,
        f"spread of the passes in a stretch of x, of {STRETCHES} (standard deviation)",
        "error of their mean (root mean square)",
        "Dropout: where the passes spread widely, the net errs",
    )
