"""A large λ holds tanh units in their linear range, and makes the whole net nearly linear.

Document A explains with this why L2 helps: large λ makes the weights small, so z stays near 0, where tanh(z) is nearly
z. Layers of nearly linear units make a nearly linear net, which cannot follow every bend of the training data.

A 2-32-32-1 net with tanh units learns the two moons at growing λ. Measured are the share of the hidden units' z with
|z| < 0.5, and how far the logit of the net is from its best linear fit: the share of its variance that no linear
function of the inputs explains.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "A3"
LAMBDAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


def measure(lab: Lab) -> dict:
    X, y = fr.data.load("moons", seed=lab.seed)
    X_test, y_test = X[500:], y[500:]
    X, y = X[:500], y[:500]
    epochs = lab.pick(200, 60)

    def train(lambd: float) -> tuple[float, float, float]:
        model = fr.Sequential(
            [fr.Dense(32, "tanh", name="first"), fr.Dense(32, "tanh", name="second"), fr.Dense(1, name="out")]
        )
        trainer = lab.trainer(model, loss="sigmoid_cross_entropy", optimizer="adam(lr=0.01)", l2=lambd)
        lab.fit(trainer, X, y, epochs=epochs, batch_size=50)
        hidden, logit = forward(model.state_dict(), X)
        return near_zero(hidden), bend(X, logit), trainer.evaluate(X_test, y_test)["accuracy"]

    linear, bent, accuracy = zip(*lab.side_by_side(train, LAMBDAS), strict=True)
    return {"linear": linear, "bend": bent, "accuracy": accuracy}


def forward(state: dict[str, np.ndarray], X: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """z of the hidden layers, and the logit, by hand."""
    a, hidden = X, []
    for layer in ("first", "second"):
        hidden.append(a @ state[f"{layer}.weight"] + state[f"{layer}.bias"])
        a = np.tanh(hidden[-1])
    return hidden, (a @ state["out.weight"] + state["out.bias"])[:, 0]


def near_zero(hidden: list[np.ndarray]) -> float:
    """The share of the hidden units' z with |z| < 0.5, where tanh(z) is within 8 % of z."""
    return float(np.mean([np.abs(z) < 0.5 for z in hidden]))


def bend(X: np.ndarray, logit: np.ndarray) -> float:
    """The share of the logit's variance that its best linear fit leaves over; 0 where the logit is constant."""
    if logit.std() < 1e-6:
        return 0.0
    inputs = np.column_stack([X, np.ones(len(X))])
    best, *_ = np.linalg.lstsq(inputs, logit, rcond=None)
    return float(np.var(logit - inputs @ best) / np.var(logit))


def table(runs: Runs) -> Table:
    rows = []
    for k, lambd in enumerate(LAMBDAS):
        shares = [plus_minus(runs.values(key)[:, k]) for key in ("linear", "bend", "accuracy")]
        rows.append([f"{lambd:g}", *shares])
    return Table(
        ["λ", "|z| < 0.5", "not linear", "test accuracy"],
        rows,
        "|z| < 0.5: share of the hidden units' inputs; not linear: share of the logit's variance that the best linear "
        "fit leaves over",
    )


def claims(runs: Runs) -> list[Claim]:
    linear, bent = runs.mean("linear"), runs.mean("bend")
    return [
        Claim(
            "large λ holds the units where tanh is nearly linear",
            linear[-1] > 0.95 > linear[0],
            f"|z| < 0.5 for {linear[0]:.0%} of the units at λ = 0, {linear[-1]:.0%} at λ = {LAMBDAS[-1]:g}",
        ),
        Claim(
            "the net itself becomes nearly linear",
            bent[-1] < 0.05 < bent[0],
            f"{bent[0]:.0%} of the logit's variance is not linear at λ = 0, {bent[-1]:.1%} at λ = {LAMBDAS[-1]:g}",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    left, right = figure.subplots(1, 2)
    places = [LAMBDAS[1] / 3, *LAMBDAS[1:]]  # 0 has no place on a logarithmic axis
    for axes, key, name in (
        (left, "linear", "share of hidden units with |z| < 0.5"),
        (right, "bend", "share of the logit's variance that is not linear in x"),
    ):
        figures.curve(axes, places, runs.values(key), color=figures.BLUE, marker="o", markersize=4)
        axes.set_xscale("log")
        axes.set_xticks([places[0], 0.01, 0.1], ["0", "0.01", "0.1"])
        figures.label(axes, "λ, the weight of the L2 penalty", name)
    left.set_ylim(-0.03, 1.03)
    right.set_ylim(-0.01, 1.2 * runs.values("bend").max())
    left.set_title("the units: z near 0, where tanh(z) is nearly z", fontsize=11, color=figures.INK)
    right.set_title("the net: what no linear function explains", fontsize=11, color=figures.INK)
