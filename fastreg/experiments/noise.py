"""Noise on inputs, weights or labels in training: a net is right more often; noise harms it less after the first two.

Document D names three places. Noise on the inputs is augmentation: the net must answer alike near each training image.
Noise on the weights asks for a minimum where small changes of w matter little. And labels are wrong now and then:
label smoothing says so, by asking for 0.9 in place of 1, and no net can become sure of a wrong label.

A 784-100-10 net learns a few images, of which a tenth has a label drawn at random, without noise and with each kind.
Measured are the accuracy on test images, that with noise on the test images, and that with noise on the trained
weights. Smoothed labels help against wrong labels only: they ask for small differences between the outputs, which noise
overturns the more easily.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus, surely_above

SYSTEMS = "D6"
SIZE = (11.0, 4.0)
INPUT, WEIGHT, SMOOTHING = 0.3, 0.1, 0.1  # standard deviations, and the share of the target that is spread
WAYS = {"none": (0, 0, 0), "inputs": (INPUT, 0, 0), "weights": (0, WEIGHT, 0), "labels": (0, 0, SMOOTHING)}
WRONG = 0.1
KEYS = {"accuracy": "test images", "inputs": "noise on test images", "weights": "noise on trained weights"}


def measure(lab: Lab) -> dict:
    (X, y), (X_test, y_test) = lab.images(20_000, 2_000)
    count = min(lab.pick(1_500, 800), len(X))
    rows = lab.rng.permutation(len(X))[:count]
    X = X[rows]
    y = np.where(lab.rng.random(count) < WRONG, lab.rng.integers(0, 10, count), y[rows])
    shaken = X_test + lab.rng.normal(0, 2 * INPUT, X_test.shape).astype(np.float32)

    def train(way: str) -> dict:
        inputs, weights, smoothing = WAYS[way]
        layers = [fr.Dense(100, "relu", weight_noise=weights), fr.Dense(10, weight_noise=weights)]
        model = fr.Sequential([fr.GaussianNoise(inputs), *layers])
        loss = fr.losses.SoftmaxCrossEntropy(label_smoothing=smoothing)
        trainer = lab.trainer(model, loss=loss, optimizer="adam(lr=0.001)")
        lab.fit(trainer, X, y, epochs=lab.pick(60, 100), batch_size=32)
        found = {"accuracy": trainer.evaluate(X_test, y_test)["accuracy"]}
        found["inputs"] = trainer.evaluate(shaken, y_test)["accuracy"]
        state, rng = model.state_dict(), np.random.default_rng(lab.seed)
        model.load_state_dict({name: disturbed(name, value, rng) for name, value in state.items()})
        found["weights"] = trainer.evaluate(X_test, y_test)["accuracy"]
        return found

    return dict(zip(WAYS, lab.side_by_side(train, WAYS), strict=True))


def disturbed(name: str, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A weight with normal noise, a bias as it is."""
    return value + rng.normal(0, WEIGHT, value.shape) if "weight" in name else value


def gain(runs: Runs, way: str, key: str) -> np.ndarray:
    """What a kind of noise adds to an accuracy, for each seed."""
    return runs.values(way, key) - runs.values("none", key)


def table(runs: Runs) -> Table:
    rows = [[way, *(runs.text(way, key) for key in KEYS), plus_minus(gain(runs, way, "accuracy"))] for way in WAYS]
    return Table(
        ["noise in training", *KEYS.values(), "gain on test images"],
        rows,
        f"accuracies. Noise in training: standard deviation {INPUT:g} on inputs (pixels are 0 to 1), {WEIGHT:g} on "
        f"weights; labels smoothed by {SMOOTHING:g}. Noise in the test: {2 * INPUT:g} and {WEIGHT:g}",
    )


def claims(runs: Runs) -> list[Claim]:
    told = [(way, "accuracy", f"noise on {way} raises the accuracy") for way in ("inputs", "weights", "labels")]
    told += [(way, way, f"noise on {way} in training makes noise there harm less") for way in ("inputs", "weights")]
    other = {
        "weights": [("inputs", "weights"), ("weights", "inputs")],
        "labels": [("labels", "inputs"), ("labels", "weights")],
    }
    means = {kind: [gain(runs, way, key).mean() for way, key in pairs] for kind, pairs in other.items()}
    return [
        *(
            Claim(
                text,
                surely_above(gain(runs, way, key)),
                f"{KEYS[key]}: {runs.mean('none', key):.3f} → {runs.mean(way, key):.3f}, gain "
                f"{plus_minus(gain(runs, way, key))}",
            )
            for way, key, text in told
        ),
        Claim(
            "either of the two also helps against the other kind",
            min(means["weights"]) > 0,
            f"gain of noise on inputs against that on weights {means['weights'][0]:.3f}, the other way round "
            f"{means['weights'][1]:.3f}",
        ),
        Claim(
            "noise on labels does not: it makes other noise harm more",
            max(means["labels"]) < 0,
            f"gain in accuracy {means['labels'][0]:.3f} with noise on test images, {means['labels'][1]:.3f} with "
            "noise on trained weights",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    colors = dict(zip(WAYS, (figures.INK, figures.BLUE, figures.VERMILION, figures.GREEN), strict=True))
    panels = figure.subplots(1, len(KEYS), sharey=True)
    for axes, (key, title) in zip(panels, KEYS.items(), strict=True):
        figures.bars(axes, list(WAYS), [runs.values(way, key) for way in WAYS], list(colors.values()))
        axes.set_ylim(0, 1.05)
        figures.label(axes, "noise in training on", "accuracy", title, grid="y")
