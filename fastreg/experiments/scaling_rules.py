"""Standard and inverted dropout predict alike: one scaled pass stands for the mean of many random ones.

Dropout keeps a unit with probability p. So that the next layer finds the same strength at prediction as in training,
document D names two ways: "standard" multiplies by p at prediction, "inverted" divides by p in training and leaves
prediction alone. Both keep the expectation E[a] of what the next layer gets. Document A adds that the mean of many
passes with other masks could be used instead of one scaled pass, but costs more and gives nearly the same.

Three things are measured. What one million draws of a unit with a = 1 do to its mean and variance; inverted dropout has
mean 1 and variance (1 - p)/p, standard has p and p(1 - p). Then a linear layer after dropout: there the rule is exact,
so prediction and the mean of 1,000 passes may differ only by the standard error of that mean. They are compared in
units of it, over 200 rows; the root mean square must be near 1. Last, a 64-100-10 net with ReLU and dropout .5 on half
of the built-in digits, where the rule is an approximation: its accuracy beside that of the mean of 1 to 256 passes. To
forget the scale of the standard net costs little here: with one layer of dropout all logits are about doubled, so the
order of the classes stays. In deeper nets the factors multiply.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "D14, A4"
SIZE = (13.0, 4.2)
KINDS = ("inverted", "standard")
COLORS = {"inverted": figures.BLUE, "standard": figures.GREEN}
KEEPS = (0.2, 0.5, 0.8)
PASSES = 2 ** np.arange(9)
DRAWS, KEEP = 1_000, 0.5
FORMULAS = {  # mean and variance of a unit with a = 1 that is kept with probability p
    "inverted": lambda p: (1.0, (1 - p) / p),
    "standard": lambda p: (p, p * (1 - p)),
}


def measure(lab: Lab) -> dict:
    return {
        "draws": {kind: [draws(lab, kind, keep) for keep in KEEPS] for kind in KINDS},
        "errors": {kind: [standard_errors(lab, kind, keep) for keep in KEEPS] for kind in KINDS},
        **dict(zip(KINDS, lab.side_by_side(lambda kind: digits(lab, kind), KINDS), strict=True)),
    }


def sums(lab: Lab, kind: str, keep: float, inputs: int) -> fr.Trainer:
    """A linear layer after dropout that is not trained."""
    model = fr.Sequential([fr.Dropout(keep_prob=keep, kind=kind), fr.Dense(1, use_bias=False)])
    model.build(inputs, seed=lab.seed, dtype="float64")
    return lab.trainer(model, loss="mse", dtype="float64")


def draws(lab: Lab, kind: str, keep: float) -> list[float]:
    """The mean and the variance of a million draws of one unit with a = 1: what a weight of 1 gets from it."""
    trainer = sums(lab, kind, keep, 1)
    trainer.model.load_state_dict({"1.weight": np.ones((1, 1))})
    mean, deviation = trainer.predict(np.ones((10_000, 1)), samples=100, seed=lab.seed)
    return [float(mean.mean()), float(np.mean(deviation**2) + mean.var())]


def standard_errors(lab: Lab, kind: str, keep: float) -> float:
    """How many standard errors prediction and mean of many passes are apart, as a root mean square over rows."""
    trainer = sums(lab, kind, keep, 30)
    X = lab.rng.normal(size=(200, 30))
    mean, deviation = trainer.predict(X, samples=DRAWS, seed=lab.seed)
    return float(np.sqrt(np.mean(((mean - trainer.predict(X)) / (deviation / DRAWS**0.5)) ** 2)))


def digits(lab: Lab, kind: str) -> dict:
    """A net trained on the digits: its accuracy by the rule, by the mean of passes, and without the scale."""
    X, y = fr.data.load("digits")
    order = np.random.default_rng(lab.seed).permutation(len(X))  # the same for both kinds
    X, y = X[order], y[order]
    half = len(X) // 2
    dropout = fr.Dropout(keep_prob=KEEP, kind=kind)
    trainer = lab.trainer(
        fr.Sequential([fr.Dense(100, "relu", name="first"), dropout, fr.Dense(10, name="last")]),
        loss="softmax_cross_entropy",
        optimizer="adam(lr=0.003)",
    )
    lab.fit(trainer, X[:half], y[:half], epochs=lab.pick(60, 25), batch_size=32)
    X, y = X[half:], y[half:]
    rule = trainer.predict(X)
    total, accuracy, away = 0.0, [], []
    for k in range(PASSES[-1]):
        total = total + trainer.predict(X, samples=1, seed=k)[0]
        if k + 1 in PASSES:
            accuracy.append(float(np.mean(total.argmax(axis=1) == y)))
            away.append(float(np.abs(total / (k + 1) - rule).mean()))
    return {
        "rule": float(np.mean(rule.argmax(axis=1) == y)),
        "rule_loss": loss(rule, y),
        "passes": accuracy,
        "passes_loss": loss(total / PASSES[-1], y),
        "away": away,
        "unscaled_loss": loss(unscaled(trainer.model.state_dict(), X), y),
    }


def unscaled(state: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    """What the net predicts if nothing is dropped and nothing scaled."""
    z = np.maximum(X @ state["first.weight"] + state["first.bias"], 0) @ state["last.weight"] + state["last.bias"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def loss(probabilities: np.ndarray, y: np.ndarray) -> float:
    """The mean cross-entropy."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-30)).mean())


def table(runs: Runs) -> Table:
    rows = [
        [
            kind,
            runs.text(kind, "rule", digits=4),
            plus_minus(runs.values(kind, "passes")[:, 0], 4),
            plus_minus(runs.values(kind, "passes")[:, -1], 4),
            runs.text(kind, "rule_loss"),
            runs.text(kind, "unscaled_loss"),
            plus_minus(runs.values("errors", kind)[:, KEEPS.index(KEEP)], 2),
        ]
        for kind in KINDS
    ]
    return Table(
        ["", "accuracy", "of 1 pass", f"of {PASSES[-1]} passes", "loss", "loss, not scaled", "standard errors"],
        rows,
        f"on digits that were not trained on, by the scaled pass, by one random pass and by the mean of many; standard "
        f"errors: between the scaled pass and the mean of {DRAWS:,} passes of a linear layer, p = {KEEP:g}",
    )


def claims(runs: Runs) -> list[Claim]:
    worst_mean = worst_variance = 0.0
    for kind in KINDS:
        for k, keep in enumerate(KEEPS):
            mean, variance = FORMULAS[kind](keep)
            means, variances = runs.values("draws", kind)[:, k].T
            worst_mean = max(worst_mean, float(np.max(np.abs(means - mean)) / (variance / 1e6) ** 0.5))
            worst_variance = max(worst_variance, float(np.max(np.abs(variances / variance - 1))))
    single = np.array([runs.values("errors", kind) for kind in KINDS])
    errors = single.mean(axis=1)
    rule, one, many = (
        np.array([values(kind) for kind in KINDS])
        for values in (
            lambda kind: runs.mean(kind, "rule"),
            lambda kind: runs.mean(kind, "passes")[0],
            lambda kind: runs.mean(kind, "passes")[-1],
        )
    )
    return [
        Claim(
            "a million draws have the mean and variance of the formulas",
            worst_mean < 5 and worst_variance < 0.01,
            f"at worst {worst_mean:.1f} standard errors off in the mean, {worst_variance:.2%} in the variance",
        ),
        Claim(
            "of a linear layer, the prediction is the mean of many passes within its standard error",
            np.all((errors > 0.8) & (errors < 1.2)),
            f"in the mean of the seeds {errors.min():.2f} to {errors.max():.2f} standard errors apart, of single seeds "
            f"{single.min():.2f} to {single.max():.2f}, where chance gives about 1",
        ),
        Claim(
            "standard and inverted dropout learn alike",
            abs(rule[0] - rule[1]) < 0.01,
            f"accuracy {rule[0]:.4f} inverted, {rule[1]:.4f} standard",
        ),
        Claim(
            "one scaled pass is as good as many random ones, and better than one random pass",
            np.all(np.abs(rule - many) < 0.01) and np.all(rule > one + 0.01),
            "; ".join(
                f"{kind}: accuracy {rule[k]:.4f}, {many[k]:.4f} of {PASSES[-1]} passes, {one[k]:.4f} of one"
                for k, kind in enumerate(KINDS)
            ),
        ),
    ]


def draw(figure, runs: Runs) -> None:
    variances, errors, passes = figure.subplots(1, 3)
    p = np.linspace(0.15, 0.9, 60)
    for kind in KINDS:
        variances.plot(p, [FORMULAS[kind](q)[1] for q in p], color=COLORS[kind], label=f"{kind}: formula")
        found = runs.mean("draws", kind)[:, 1]
        variances.plot(KEEPS, found, "o", color=COLORS[kind], label=f"{kind}: a million draws")
    variances.set_yscale("log")
    figures.label(variances, "probability p of keeping a unit", "variance of a unit with a = 1", "What dropout adds")

    places = np.arange(len(KEEPS))
    errors.axhline(1, color=figures.EDGE, linestyle=":", label="by chance")
    for kind, shift in zip(KINDS, (-0.1, 0.1), strict=True):
        found = runs.values("errors", kind)
        errors.plot(
            np.tile(places + shift, (len(runs), 1)).T, found.T, "o", color=COLORS[kind], markersize=4, alpha=0.7
        )
        errors.plot([], [], "o", color=COLORS[kind], label=f"{kind}, each seed")
    errors.set_xticks(places, [f"{keep:g}" for keep in KEEPS])
    errors.set_ylim(0, 2)
    figures.label(
        errors, "probability p of keeping a unit", "distance in standard errors", "Prediction and mean of 1,000 passes"
    )

    for kind in KINDS:
        figures.curve(
            passes,
            PASSES,
            runs.values(kind, "passes"),
            f"{kind}: mean of passes",
            COLORS[kind],
            marker="o",
            markersize=4,
        )
        passes.axhline(runs.mean(kind, "rule"), color=COLORS[kind], linestyle="--", label=f"{kind}: one scaled pass")
    passes.set_xscale("log", base=2)
    passes.set_xticks(PASSES[::2], [str(n) for n in PASSES[::2]])
    figures.label(passes, "number of random passes", "accuracy on new digits", f"Digits, dropout {1 - KEEP:g}")
