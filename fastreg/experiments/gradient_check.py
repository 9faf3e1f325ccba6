"""A gradient check passes right gradients, notices wrong ones, and says where the mistake is.

Document B checks backpropagation against two-sided differences of J: (J(θ + ε) - J(θ - ε)) / 2ε with ε = 1e-7, for
each entry of θ. The ratio |approx - gradient| / (|approx| + |gradient|) is good below 1e-7, deserves a look from there
on, and is wrong from 1e-3 on. J has to hold the penalty if the gradient does. With dropout there is no J to
differentiate while masks change, but there is one once the masks are held fixed. The document asks for a check at the
start and another after training, as a mistake may show only once the weights are no longer small.

A 10-8-6-3 net with tanh units and 20 rows is checked as it is, with L2 and L1 penalties, and with dropout under the
masks of one step, at the start and after 50 steps. Live dropout must be refused. Then two mistakes are planted in
the derivative of the first tanh. In one, a single unit passes 1 % too much gradient back, which the check must find
among 163 entries. In the other, the derivative is left out. That is right where z is 0, and nearly right at the start
of this net, whose first weights begin near 0; so the first check passes it, and the second must not.
"""

import numpy as np

import fastreg as fr
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures

SYSTEMS = "B9"
SIZE = (10.0, 4.2)
EPSILON, GOOD, WRONG = 1e-7, 1e-7, 1e-3
STEPS = 50  # of training between the two checks
RIGHT = ("right", "with L2 and L1", "with fixed masks")
ONE_UNIT, LEFT_OUT = "one unit 1 % off", "tanh' left out"
CASES = (*RIGHT, ONE_UNIT, LEFT_OUT)
UNIT = 3


def measure(lab: Lab) -> dict:
    X, y = lab.rng.normal(size=(20, 10)), lab.rng.integers(0, 3, 20)
    found: dict = {"ratio": {}, "worst": {}}
    for case in lab.each(CASES):
        penalties = {"l2": 0.01, "l1": 0.001} if case == "with L2 and L1" else {}
        trainer = lab.trainer(net(case), optimizer="adam(lr=0.01)", **penalties)
        step = 7 if case == "with fixed masks" else None  # the number of the step whose masks are held fixed
        checks = [fr.check_gradients(trainer, X, y, epsilon=EPSILON, step=step)]
        lab.fit(trainer, X, y, epochs=STEPS, batch_size=len(X))
        checks.append(fr.check_gradients(trainer, X, y, epsilon=EPSILON, step=step))
        found["ratio"][case] = [check.ratio for check in checks]
        found["worst"][case] = [
            [check.worst_entries[0].parameter, check.worst_entries[0].index[-1]] for check in checks
        ]
        if case == "with fixed masks":
            found["refused"] = refuses(trainer, X, y)
    return found


def net(case: str) -> fr.Sequential:
    first = {ONE_UNIT: fr.Function(np.tanh, one_unit_off), LEFT_OUT: fr.Function(np.tanh, left_out)}
    return fr.Sequential(
        [
            fr.Dense(8, name="first", weight_init=fr.initializers.normal(1e-5) if case == LEFT_OUT else None),
            first.get(case, fr.Activation("tanh")),
            *([fr.Dropout(keep_prob=0.7)] if case == "with fixed masks" else []),
            fr.Dense(6, "tanh", name="second"),
            fr.Dense(3, name="out"),
        ]
    )


def one_unit_off(dy, x, y):
    dx = dy * (1 - y**2)
    dx[:, UNIT] *= 1.01
    return dx


def left_out(dy, x, y):
    return dy


def refuses(trainer: fr.Trainer, X, y) -> bool:
    """Whether the check refuses dropout whose masks are not held fixed."""
    try:
        fr.check_gradients(trainer, X, y)
    except ValueError:
        return True
    return False


def verdict(ratio: float) -> str:
    return "good" if ratio < GOOD else "look" if ratio < WRONG else "wrong"


def located(runs: Runs) -> list[bool]:
    """Whether the worst entry belongs to the unit whose derivative is off, in each check of each seed."""
    return [name.startswith("first") and index == UNIT for run in runs.runs for name, index in run["worst"][ONE_UNIT]]


def table(runs: Runs) -> Table:
    rows = []
    for case in CASES:
        ratios = runs.values("ratio", case).max(axis=0)
        cells = [text for ratio in ratios for text in (f"{ratio:.1e}", verdict(ratio))]
        parameter, unit = runs[0]["worst"][case][1]
        rows.append([case, *cells, f"{parameter}, unit {unit}" if case not in RIGHT else "-"])
    return Table(
        ["gradients", "at the start", "", f"after {STEPS} steps", "", "worst entry"],
        rows,
        "the largest ratio over the seeds: good below 1e-7, wrong from 1e-3 on; the mistakes are planted in the tanh "
        f"above the layer 'first', the first of them in unit {UNIT}",
    )


def claims(runs: Runs) -> list[Claim]:
    right = np.array([runs.values("ratio", case) for case in RIGHT])
    off, left = runs.values("ratio", ONE_UNIT), runs.values("ratio", LEFT_OUT)
    found, refused = located(runs), [run["refused"] for run in runs.runs]
    return [
        Claim(
            "right gradients are good, with penalties and fixed masks too, at the start and after training",
            right.max() < GOOD,
            f"the largest of {right.size} ratios is {right.max():.1e}",
        ),
        Claim("dropout with masks that change is refused", all(refused), f"{sum(refused)} of {len(refused)} times"),
        Claim(
            "a single unit that is 1 % off is noticed and found",
            off.min() > GOOD and all(found),
            f"ratio at least {off.min():.1e}; the worst entry is of that unit in {sum(found)} of {len(found)} checks",
        ),
        Claim(
            "a missing tanh' passes at the start, and is caught after training",
            left[:, 0].max() < GOOD and left[:, 1].min() >= WRONG,
            f"ratio at most {left[:, 0].max():.1e} at the start, at least {left[:, 1].min():.1e} after training",
        ),
    ]


def draw(figure, runs: Runs) -> None:
    axes = figure.subplots()
    axes.axvspan(1e-13, GOOD, color=figures.GREEN, alpha=0.12, linewidth=0)
    axes.axvspan(WRONG, 10, color=figures.VERMILION, alpha=0.12, linewidth=0)
    for x, name, color in (
        (1e-12, "good", figures.GREEN),
        (1e-5, "deserves a look", figures.INK),
        (0.1, "wrong", figures.VERMILION),
    ):
        axes.text(x, len(CASES) - 0.45, name, ha="center", color=color)
    expected = {case: 2 * [(1e-13, GOOD)] for case in RIGHT}
    expected |= {ONE_UNIT: 2 * [(GOOD, 10.0)], LEFT_OUT: [(1e-13, GOOD), (WRONG, 10.0)]}
    for row, case in enumerate(reversed(CASES)):
        ratios = np.maximum(runs.values("ratio", case), 2e-13)
        for when, marker, color in ((0, "o", figures.BLUE), (1, "D", figures.ORANGE)):
            named = ("at the start", f"after {STEPS} steps")[when] if row == 0 else None
            height = np.full(len(ratios), row + (0.14, -0.14)[when])
            meant = "where it should lie" if row == when == 0 else None
            axes.plot(
                expected[case][when],
                height[:1].repeat(2),
                color=color,
                linewidth=10,
                alpha=0.2,
                label=meant,
                solid_capstyle="butt",
            )
            axes.plot(ratios[:, when], height, marker, color=color, label=named, markersize=6, alpha=0.8)
    axes.set_xscale("log")
    axes.set_xlim(1e-13, 10)
    axes.set_ylim(-0.6, len(CASES) - 0.1)
    names = [case if case in RIGHT else f"planted mistake:\n{case}" for case in CASES]
    axes.set_yticks(range(len(CASES)), reversed(names))
    figures.label(axes, "|approx - gradient| / (|approx| + |gradient|), one mark for each seed", "gradients", grid="x")
    axes.legend(frameon=True, fontsize=9, loc="center", bbox_to_anchor=(0.58, 0.7))
