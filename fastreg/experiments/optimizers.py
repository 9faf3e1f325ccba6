"""Momentum and Adam cross long valleys faster than gradient descent; RMSprop only along an axis.

Document B names gradient descent, momentum, RMSprop and Adam as the ways to make J small, which is a task of its own,
apart from keeping the variance low. Where J is a long valley, gradient descent has to take the small steps that the
steep walls allow, also along the flat bottom. Momentum adds up the small gradients along the bottom, while those across
cancel. RMSprop and Adam divide each coordinate's step by the size of its gradients, so all coordinates move alike. That
undoes a valley along an axis. In one across the axes, both coordinates have large gradients from the walls, so there is
less to gain: RMSprop needs as many steps there as gradient descent, or more, and what helps Adam is its momentum.

The surface is the loss of one linear unit with two inputs, whose curvatures differ by a factor of 100: once with the
valley along an axis, once turned by 45 degrees. The second task is a 64-32-10 net on the digits. Each optimizer has the
same number of learning rates to choose from, and is shown at the one with the fewest steps, or with the lowest loss in
the end. AdamW without weight decay is Adam, so it is not drawn.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, plus_minus

SYSTEMS = "B10"
SIZE = (14.0, 7.4)
LARGE, SMALL = (0.1, 0.3, 0.9), (0.03, 0.1, 0.3)
OPTIMIZERS = {
    "gradient descent": (fr.SGD, LARGE, {}),
    "momentum": (fr.SGD, LARGE, {"momentum": 0.9}),
    "Nesterov": (fr.SGD, LARGE, {"momentum": 0.9, "nesterov": True}),
    "RMSprop": (fr.RMSprop, SMALL, {"alpha": 0.9}),
    "Adam": (fr.Adam, SMALL, {}),
}
NET_LARGE, NET_SMALL = (0.03, 0.1, 0.3, 1.0), (0.001, 0.003, 0.01, 0.03)
NET_RATES = {fr.SGD: NET_LARGE, fr.RMSprop: NET_SMALL, fr.Adam: NET_SMALL}
VALLEYS = {"along an axis": 0.0, "turned": np.pi / 4}
CURVATURES = np.array([1.0, 0.01])  # across and along the valley
STEPS, SHARE = 160, 0.01  # steps to take; the share of the first loss that counts as arrived
SHOWN = 50  # steps of a path that is drawn


def measure(lab: Lab) -> dict:
    start = np.array([0.3, 3.0]) * lab.rng.uniform(0.8, 1.2, 2) * lab.rng.choice([-1, 1], 2)
    tasks = [(name, rate) for name, (_, rates, _) in OPTIMIZERS.items() for rate in rates]
    found: dict = {"valley": {}}
    for valley, angle in VALLEYS.items():
        paths = lab.side_by_side(lambda task: descend(lab, *task, angle, start), tasks)  # noqa: B023
        for name in OPTIMIZERS:
            mine = [(rate, *path) for (who, rate), path in zip(tasks, paths, strict=True) if who == name]
            rate, path, losses = min(mine, key=lambda one: (arrival(one[2]), one[2][-1]))
            of_name = found["valley"].setdefault(name, {})
            of_name[valley] = {"rate": rate, "steps": arrival(losses), "path": path[:SHOWN], "losses": losses}
    return {**found, "net": on_digits(lab)}


def on_digits(lab: Lab) -> dict:
    """The losses of the net with each optimizer, at the rate with the lowest in the end."""
    X, y = fr.data.load("digits")
    tasks = [(name, rate) for name, (kind, _, _) in OPTIMIZERS.items() for rate in NET_RATES[kind]]
    curves = lab.side_by_side(lambda task: train(lab, *task, X, y), tasks)
    found = {}
    for name in OPTIMIZERS:
        mine = [(rate, curve) for (who, rate), curve in zip(tasks, curves, strict=True) if who == name]
        rate, curve = min(mine, key=lambda one: one[1][-1])
        found[name] = {"rate": rate, "losses": curve}
    return found


def descend(lab: Lab, name: str, rate: float, angle: float, start) -> tuple[list, list]:
    """The weights before each step, and the losses there."""
    kind, _, options = OPTIMIZERS[name]
    X, turn = rows(angle)
    model = fr.Sequential([fr.Dense(1, use_bias=False, name="out")])
    model.build(2, seed=0)
    model.load_state_dict({"out.weight": (turn @ start)[:, None]})
    trainer = lab.trainer(model, loss="mse", optimizer=kind(rate, **options))
    watch = Path()
    # The best weights are 0: the targets of the unit are 0.
    try:
        history = lab.fit(trainer, X, np.zeros(len(X)), epochs=STEPS, batch_size=len(X), callbacks=[watch])
    except fr.DivergenceError:  # the rate is too large
        return [], [np.inf] * STEPS
    return watch.path, [float(loss) for loss in history["loss"]]


def rows(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Inputs whose mean of x xᵀ has the CURVATURES, and the turn of its axes."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    return corners * np.sqrt(CURVATURES) @ turn.T, turn


class Path(fr.Callback):
    """Notes the weights before each epoch."""

    def on_train_begin(self) -> None:
        self.path: list = []

    def on_epoch_begin(self, epoch: int) -> None:
        self.path.append(self.model.state_dict()["out.weight"][:, 0].tolist())


def arrival(losses) -> int:
    """The first step with at most SHARE of the first loss that is also kept until the end; STEPS if none is."""
    if losses[0] == np.inf:
        return STEPS
    high = np.flatnonzero(np.array(losses) > SHARE * losses[0])
    return int(high[-1]) + 1 if high.size else 0


def train(lab: Lab, name: str, rate: float, X, y) -> list[float]:
    kind, _, options = OPTIMIZERS[name]
    trainer = lab.trainer(fr.Sequential([fr.Dense(32, "relu"), fr.Dense(10)]), optimizer=kind(rate, **options))
    try:
        history = lab.fit(trainer, X, y, epochs=lab.pick(20, 6), batch_size=64)
    except fr.DivergenceError:  # the rate is too large
        return [np.inf]
    return [float(loss) for loss in history["loss"]]


def table(runs: Runs) -> Table:
    rows = []
    for name in OPTIMIZERS:
        steps = [plus_minus(runs.values("valley", name, valley, "steps"), 0) for valley in VALLEYS]
        last = [run["net"][name]["losses"][-1] for run in runs.runs]
        rates = sorted({run["net"][name]["rate"] for run in runs.runs})
        rows.append([name, *steps, plus_minus(last, 4), ", ".join(f"{rate:g}" for rate in rates)])
    return Table(
        ["optimizer", *(f"steps, valley {valley}" for valley in VALLEYS), "loss on digits", "at the rate"],
        rows,
        f"steps until the loss stays under {SHARE:.0%} of the first, at the best of 3 rates ({STEPS}: not by then); "
        "the training loss of the last epoch on the digits, at the best of 4 rates",
    )


def claims(runs: Runs) -> list[Claim]:
    others = [name for name in OPTIMIZERS if name != "gradient descent"]
    axis, turned = ({name: runs.mean("valley", name, valley, "steps") for name in OPTIMIZERS} for valley in VALLEYS)
    last = {name: np.mean([run["net"][name]["losses"][-1] for run in runs.runs]) for name in OPTIMIZERS}
    return [
        Claim(
            "along an axis, each of the four crosses the valley in fewer steps than gradient descent",
            max(axis[name] for name in others) < axis["gradient descent"],
            ", ".join(f"{name} {axis[name]:.0f}" for name in OPTIMIZERS),
        ),
        Claim(
            "turned, those with momentum do",
            max(turned[name] for name in others if name != "RMSprop") < turned["gradient descent"],
            ", ".join(f"{name} {turned[name]:.0f}" for name in OPTIMIZERS),
        ),
        Claim(
            "the turn costs RMSprop and Adam steps, and momentum none",
            all(turned[name] > axis[name] for name in ("RMSprop", "Adam"))
            and all(abs(turned[name] - axis[name]) < 0.5 for name in ("gradient descent", "momentum", "Nesterov")),
            f"RMSprop {turned['RMSprop'] - axis['RMSprop']:+.0f}, Adam {turned['Adam'] - axis['Adam']:+.0f}, "
            f"momentum {turned['momentum'] - axis['momentum']:+.0f}",
        ),
        Claim(
            "on the digits, each of the four ends with a lower training loss than gradient descent",
            max(last[name] for name in others) < last["gradient descent"],
            ", ".join(f"{name} {last[name]:.3f}" for name in OPTIMIZERS),
        ),
    ]


def draw(figure, runs: Runs) -> None:
    axes = figure.subplot_mosaic([["path, along an axis", "path, turned", "names"], [*VALLEYS, "digits"]])
    for valley, angle in VALLEYS.items():
        one = axes[f"path, {valley}"]
        starts = [runs[0]["valley"][name][valley]["path"] for name in OPTIMIZERS]
        points = np.concatenate(starts)
        (left, low), (right, high) = points.min(axis=0) - 0.4, points.max(axis=0) + 0.4
        a, b = np.meshgrid(np.linspace(left, right, 200), np.linspace(low, high, 200))
        X, _ = rows(angle)
        surface = np.mean((np.stack([a, b], -1) @ X.T) ** 2, axis=-1)
        one.contour(a, b, surface, np.geomspace(1e-4, surface.max(), 12), colors=figures.EDGE, linewidths=0.5)
        for name, color in zip(OPTIMIZERS, figures.COLORS, strict=False):
            path = np.array(runs[0]["valley"][name][valley]["path"])
            one.plot(*path.T, color=color, label=name, marker=".", markersize=3, linewidth=1.0)
        one.plot(0, 0, "+", color=figures.INK, markersize=12, label="the minimum")
        title = f"valley {valley}: first {SHOWN} steps, one of {len(runs)} seeds"
        figures.label(one, "first weight", "second weight", title, legend=False)
    for name, color in zip(OPTIMIZERS, figures.COLORS, strict=False):
        # Geometric means, for logarithmic axes.
        for valley in VALLEYS:
            losses = runs.values("valley", name, valley, "losses")
            mean = np.exp(np.log(losses / losses[:, :1]).mean(axis=0))
            axes[valley].plot(np.arange(len(mean)), mean, color=color, linewidth=1.6)
        mean = np.exp(np.log([run["net"][name]["losses"] for run in runs.runs]).mean(axis=0))
        axes["digits"].plot(1 + np.arange(len(mean)), mean, color=color, linewidth=1.6)
    for valley in VALLEYS:
        axes[valley].axhline(SHARE, color=figures.INK, linewidth=0.8, linestyle=":")
        axes[valley].set_yscale("log")
        axes[valley].set_ylim(1e-5, 2)
        title = f"valley {valley}: the loss (dotted: arrived)"
        figures.label(axes[valley], "steps", "loss / first loss, geometric mean of the seeds", title)
    axes["digits"].set_yscale("log")
    axes["digits"].xaxis.get_major_locator().set_params(integer=True)
    title = "a 64-32-10 net on the digits"
    figures.label(axes["digits"], "epochs", "training loss, geometric mean of the seeds", title)
    axes["names"].set_axis_off()
    handles, names = axes["path, turned"].get_legend_handles_labels()
    axes["names"].legend(handles, names, frameon=False, fontsize=11, loc="center")
