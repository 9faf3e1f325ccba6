"""The mean of k nets has the error v/k + c(k-1)/k: it falls with k, never below c.

If the errors of k models have the variance v and the covariance c, their mean has the squared error v/k + c(k-1)/k
(document D). With c = v averaging is useless, with c = 0 the error falls as 1/k. Nets that learn bootstrap sets of the
same data are between the two: they share what the data do not tell.

Nets 784-50-10 learn bootstrap sets of the same few images, in two ensembles. An error is a probability minus the right
0 or 1; v and c are the means of its square and of the product of two nets' errors, measured with the first ensemble on
test images. From them the formula says what the mean of k nets must have. Measured is that of the second ensemble, as a
mean over which k of its nets they are.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, surely_above

SYSTEMS = "D13"
MEMBERS = 10


def measure(lab: Lab) -> dict:
    (X, y), test = lab.images(20_000, 2_000)
    rows = lab.rng.permutation(len(X))[: lab.pick(1_000, 300)]
    X, y = X[rows], y[rows]

    def builder(seed: int) -> fr.Trainer:
        model = fr.Sequential([fr.Dense(50, "relu"), fr.Dense(10)])
        return lab.trainer(model, optimizer="adam(lr=0.002)", seed=seed)

    def ensemble(seed: int) -> fr.Bagging:
        bagging = fr.Bagging(builder, MEMBERS, seed=seed, threads=lab.threads)
        bagging.fit(X, y, epochs=lab.pick(30, 20), batch_size=32, callbacks=lambda member: [lab.watch()])
        return bagging

    first, second = (ensemble(2 * lab.seed + half) for half in lab.each((0, 1)))
    told = first.variance(*test)
    errors = np.stack([member.predict(test[0]) for member in second.members]) - np.eye(10)[test[1]]
    single = [member.evaluate(*test)["accuracy"] for member in second.members]
    return {
        "v": told.v,
        "c": told.c,
        "predicted": told.predicted,
        "measured": of_means(errors, lab.rng),
        "single": float(np.mean(single)),
        "mean": second.score(*test),
    }


def of_means(errors: np.ndarray, rng: np.random.Generator, orders: int = 20) -> list[float]:
    """The mean square of the mean of the first k errors, k = 1, 2, ..., as a mean over orders of the nets."""
    count = np.arange(1, len(errors) + 1)[:, None, None]
    found = [np.cumsum(rng.permutation(errors), axis=0) / count for _ in range(orders)]
    return np.mean([(means**2).mean(axis=(1, 2)) for means in found], axis=0).tolist()


def table(runs: Runs) -> Table:
    predicted, measured = runs.values("predicted"), runs.values("measured")
    rows = [
        [str(k + 1), plus_minus(predicted[:, k], 4), plus_minus(measured[:, k], 4)]
        for k in range(MEMBERS)
        if k + 1 in (1, 2, 3, 5, MEMBERS)
    ]
    return Table(
        ["members k", "v/k + c(k-1)/k", "measured"],
        rows,
        f"mean squared error of probabilities of test images; v = {runs.text('v', digits=4)} and "
        f"c = {runs.text('c', digits=4)} are those "
        f"of the first ensemble, the last column is that of the second. Accuracy: one net "
        f"{runs.text('single', digits=4)}, "
        f"the mean of {MEMBERS} {runs.text('mean', digits=4)}",
    )


def claims(runs: Runs) -> list[Claim]:
    predicted, measured = runs.values("predicted"), runs.values("measured")
    off = np.abs(measured.mean(axis=0) / predicted.mean(axis=0) - 1)
    gain, more = measured[:, 0] - measured[:, -1], runs.values("mean") - runs.values("single")
    share = runs.values("c") / runs.values("v")
    return [
        Claim(
            "the formula tells the error of the mean of k nets, to 5 %",
            off.max() < 0.05,
            f"off by {off.mean():.1%} in the mean over k, by {off.max():.1%} at most",
        ),
        Claim(
            f"{MEMBERS} nets are better than one",
            surely_above(gain) and surely_above(more),
            f"squared error {measured[:, 0].mean():.4f} → {measured[:, -1].mean():.4f}, drop {plus_minus(gain, 4)}; "
            f"accuracy {runs.mean('single'):.3f} → {runs.mean('mean'):.3f}, gain {plus_minus(more)}",
        ),
        Claim(
            "errors are neither equal nor independent: 0 < c < v",
            surely_above(share) and surely_above(1 - share),
            f"c/v = {plus_minus(share, 2)}, so more nets save at most {1 - share.mean():.0%} of the error of one",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    count = np.arange(1, MEMBERS + 1)
    figures.curve(
        left,
        count,
        runs.values("predicted"),
        "v/k + c(k-1)/k (v: variance, c: covariance)",
        figures.VERMILION,
    )
    style = {"marker": "o", "markersize": 5, "linestyle": ""}
    figures.curve(left, count, runs.values("measured"), "measured", figures.BLUE, **style)
    limit = np.tile(runs.values("c")[:, None], 2)
    figures.curve(left, [1, MEMBERS], limit, "c: the limit for many nets", figures.INK, linestyle="--", linewidth=1.0)
    left.set_ylim(0)
    left.set_xticks(count)
    figures.label(left, "k, the nets that are averaged", "mean squared error of probabilities")
    names = ["one net", f"mean of {MEMBERS}"]
    figures.bars(right, names, [runs.values("single"), runs.values("mean")], [figures.INK, figures.BLUE])
    figures.label(right, "what answers", "test accuracy", grid="y")
