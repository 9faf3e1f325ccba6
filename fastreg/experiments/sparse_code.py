"""L1 on activations makes a sparse code: few units speak for an image.

L1 on weights makes sparse weights. A sparse representation is another thing: the penalty is on h, the activations, so
that each input is described by few of the units (document D).

An autoencoder, 784-100-784 with ReLU, learns to restore images from h, with growing coefficients of Σ|h|. Counted on
test images are the zeros in h, those in the weights, and the error of the restored images, as a share of their
variance: an autoencoder that always answers the mean image has 1. On MNIST a third of the units is just missed: 34 %
speak at 1.5 times the error without a penalty, and with the next, three times larger coefficient 10 % at 2.9 times.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "D12"
COEFFICIENTS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
KEYS = {"code": "zeros in h", "weights": "zeros in the weights", "error": "error of restored images"}


def measure(lab: Lab) -> dict:
    (X, _), (X_test, _) = lab.images(20_000, 2_000)
    X = X[lab.rng.permutation(len(X))[: lab.pick(3_000, 800)]]
    mean = X.mean(axis=0)

    def train(coefficient: float) -> list[float]:
        model = fr.Sequential([fr.Dense(100, "relu", activity_l1=coefficient, name="code"), fr.Dense(784, name="out")])
        trainer = lab.trainer(model, loss="mse", optimizer="adam(lr=0.002)")
        lab.fit(trainer, X, X, epochs=20, batch_size=lab.pick(64, 32))
        state = model.state_dict()
        weights = np.concatenate([state[f"{name}.weight"].ravel() for name in ("code", "out")])
        error = ((model.predict(X_test) - X_test) ** 2).mean() / ((X_test - mean) ** 2).mean()
        return [zeros(code(state, X_test)), zeros(weights), float(error)]

    found = np.transpose(lab.side_by_side(train, COEFFICIENTS))
    return dict(zip(KEYS, found.tolist(), strict=True))


def code(state: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    """h, by hand."""
    return np.maximum(X @ state["code.weight"] + state["code.bias"], 0)


def zeros(values: np.ndarray) -> float:
    """The share of exact zeros."""
    return float(np.mean(values == 0))


def table(runs: Runs) -> Table:
    rows = [
        [f"{coefficient:g}", *(plus_minus(runs.values(key)[:, k]) for key in KEYS)]
        for k, coefficient in enumerate(COEFFICIENTS)
    ]
    note = "shares; the error is that of test images, 1 for an autoencoder that answers the mean image"
    return Table(["coefficient", *KEYS.values()], rows, note)


def claims(runs: Runs) -> list[Claim]:
    code, weights, error = (runs.mean(key) for key in KEYS)
    good = [k for k in range(len(COEFFICIENTS)) if error[k] < 2 * error[0]]
    best = max(good, key=lambda k: code[k])
    return [
        Claim(
            "the larger the coefficient, the more zeros in h, the code of an image",
            np.all(np.diff(code) > -0.01) and code[-1] > code[0] + 0.3,
            f"{code[0]:.0%} without a penalty, {code[-1]:.0%} at {COEFFICIENTS[-1]:g}",
        ),
        Claim("the weights stay dense", weights.max() < 0.01, f"at most {weights.max():.2%} of them are exactly zero"),
        Claim(
            "a code with at most a third of the units still tells the image: not twice the error without a penalty",
            1 - code[best] < 1 / 3,
            f"at {COEFFICIENTS[best]:g}, {1 - code[best]:.0%} of the units speak and the error is {error[best]:.3f}, "
            f"beside {error[0]:.3f} with {1 - code[0]:.0%}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2)
    places = [COEFFICIENTS[1] / 3, *COEFFICIENTS[1:]]  # 0 has no place on a logarithmic axis
    style: dict = {"marker": "o", "markersize": 4}
    figures.curve(left, places, runs.values("code"), "in the code h", figures.BLUE, **style)
    figures.curve(left, places, runs.values("weights"), "in the weights", figures.VERMILION, **style)
    figures.curve(right, places, runs.values("error"), color=figures.GREEN, **style)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks([places[0], 1e-4, 1e-3], ["0", "0.0001", "0.001"])
        axes.set_ylim(-0.03, 1.03)
    right.axhline(1, color=figures.EDGE, linestyle="--", linewidth=1.2, label="an answer that is always the mean image")
    figures.label(left, "coefficient of L1 on h, the 100 activations", "share of exact zeros")
    figures.label(
        right,
        "coefficient of L1 on h, the 100 activations",
        "error of restored images (share of variance)",
    )
    right.legend(frameon=False, fontsize=9, loc="center left")
