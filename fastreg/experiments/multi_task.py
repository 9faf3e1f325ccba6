"""A task with few labels gains from a related task with many, when both share their hidden layers.

Document D calls training several related tasks together a regularizer. The layers that all tasks share must hold what
each of them needs, so they fit the quirks of one task's few labels less.

Task one: which digit is it? 100 images have that label. Task two: is the digit odd? All 10,000 images have that one.
What tells odd digits from even ones helps to tell digits apart. Two nets, one for each task, are held against one net
that has a head for each, with the same labels and hidden layers of 512 and 256 units. A row without a label has the
weight 0 in that head. The rows whose digit is known come more often, so that most batches hold some.

A third net is the control. Its second task is one that has nothing to do with digits: each image has a fixed label
drawn by a coin. It says whether the gain comes from what the tasks have in common, or from a second task as such.
All nets see the same batches: one that takes fewer steps with its few labels is far behind for that reason alone.

The task with many labels should not pay for it.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "D8"
WAYS = ("two nets", "one net, two heads", "one net, second task meaningless")
LABELS, FEWER = 100, 30  # images whose digit is known; the second with --quick


def measure(lab: Lab) -> dict:
    (X, digit), (X_test, digit_test) = lab.images(10_000)
    epochs, units = lab.pick(20, 30), lab.pick((512, 256), (192, 96))
    labels = lab.pick(LABELS, FEWER)
    known = lab.rng.permutation(len(X))[:labels]
    y = {"digit": digit, "odd": digit % 2}
    coin = {"digit": digit, "odd": lab.rng.integers(0, 2, len(X))}
    test = {"digit": digit_test, "odd": digit_test % 2}
    weights = {"digit": np.isin(np.arange(len(X)), known), "odd": np.ones(len(X))}
    often = np.repeat(known, max(1, len(X) // (4 * labels)))

    def train(job: tuple) -> dict:
        heads, targets = job
        x = fr.Input(X.shape[1], name="image")
        h = fr.Dropout(rate=0.2)(x)
        for count in units:
            h = fr.Dropout(rate=0.5)(fr.Dense(count, "relu")(h))
        outputs = {"digit": fr.Dense(10, name="digit"), "odd": fr.Dense(1, name="odd")}
        losses = {"digit": "softmax_cross_entropy", "odd": "sigmoid_cross_entropy"}
        trainer = lab.trainer(
            fr.Model(x, {head: outputs[head](h) for head in heads}),
            loss={head: losses[head] for head in heads},
            metrics={head: ["accuracy"] for head in heads},
            optimizer=fr.Adam(1e-3),
        )
        lab.fit(
            trainer,
            X,
            {head: targets[head] for head in heads},
            epochs=epochs,
            batch_size=lab.pick(128, 32),
            rows=np.concatenate([np.arange(len(X)), often]),
            sample_weight={head: weights[head] for head in heads},
        )
        found = trainer.evaluate(X_test, {head: test[head] for head in heads})
        return {head: found["accuracy" if len(heads) == 1 else f"{head}_accuracy"] for head in heads}

    both = ("digit", "odd")
    digits, odd, shared, control = lab.side_by_side(train, [(("digit",), y), (("odd",), y), (both, y), (both, coin)])
    return dict(zip(WAYS, ({**digits, **odd}, shared, {"digit": control["digit"]}), strict=True))


def table(runs: Runs) -> Table:
    rows = []
    for way in WAYS:
        told = [runs.text(way, head) if head in runs[0][way] else "-" for head in ("digit", "odd")]
        gain = runs.values(way, "digit") - runs.values(WAYS[0], "digit")
        rows.append([way, *told, "" if way == WAYS[0] else plus_minus(gain)])
    return Table(
        ["", "which digit", "odd or even", "gain for digits"],
        rows,
        f"test accuracy; {FEWER if runs.quick else LABELS} images have the digit as their label, all have the other "
        "one; the gain is measured seed by seed; by chance: 0.1 and 0.5",
    )


def claims(runs: Runs) -> list[Claim]:
    alone, shared, coin = (runs.values(way, "digit") for way in WAYS)
    odd, odd_shared = (runs.values(way, "odd") for way in WAYS[:2])
    return [
        Claim(
            "a related task helps to tell digits, with every seed",
            (shared > alone).all(),
            f"accuracy {plus_minus(alone)} alone, {plus_minus(shared)} with a head for odd or even",
        ),
        Claim(
            "a task that has nothing to do with digits helps less",
            coin.mean() < shared.mean(),
            f"{plus_minus(coin)} with a head for a label that a coin has given to each image",
        ),
        Claim(
            "the task with many labels loses less than 0.01 by it",
            odd_shared.mean() > odd.mean() - 0.01,
            f"odd or even: {plus_minus(odd)} alone, {plus_minus(odd_shared)} together",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    colors = (figures.ORANGE, figures.BLUE, figures.SKY)
    figures.bars(left, WAYS, [runs.values(way, "digit") for way in WAYS], colors)
    labels = FEWER if runs.quick else LABELS
    figures.label(left, "", "test accuracy", f"which digit: {labels} labels", "y")
    figures.bars(right, WAYS[:2], [runs.values(way, "odd") for way in WAYS[:2]], colors)
    figures.label(right, "", "test accuracy", "odd or even: all labels", "y")
    for axes in (left, right):
        axes.set_ylim(0, 1.1)
