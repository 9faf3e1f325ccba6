"""The pictures of the guide, made of data that are built in: `python docs/measured/pictures.py [NAME ...]`.

Each function makes one, docs/pictures/NAME.png. The other pictures there are those of experiments (`fastreg run NAME`).
"""

import re
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import fastreg as fr
from fastreg.plots.figure import (
    BLUE,
    COLORS,
    EDGE,
    GREEN,
    INK,
    MARKERS,
    VERMILION,
    legend_below,
)
from fastreg.plots.figure import label as finish

DOCS = Path(__file__).parents[1]
DPI = 100


def axes(columns=1, width=6.8, height=2.7, **how):
    """A new figure's axes."""
    figure = Figure(
        figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white"
    )
    return figure.subplots(1, columns, **how)


def dense(*layers, units=64, outputs=10):
    return fr.Sequential([fr.Dense(units, "relu"), *layers, fr.Dense(outputs)])


def digits():
    X, y = fr.data.load("digits")
    return fr.data.split(X, y, (0.7, 0.3), stratify=True)


def crescents(rows=80):
    """A few rows of the two moons, with more noise."""
    X, y = fr.data.load("moons")
    rng = np.random.default_rng(3)
    return X[:rows] + 0.15 * rng.normal(size=(rows, 2)), y[:rows]


def moons_net(model, **how):
    X, y = crescents()
    trainer = fr.Trainer(model, optimizer=fr.Adam(0.01), seed=2, **how)
    trainer.fit(X, y, epochs=600, batch_size=20)
    return trainer


def boundaries(nets):
    """The boundaries of nets by their titles."""
    X, y = crescents()
    every = axes(len(nets), sharey=True)
    for one, (title, trainer) in zip(every, nets.items(), strict=True):
        fr.plots.boundary(trainer, X, y, ax=one)
        one.get_legend().remove()
        one.set_title(title, fontsize=10, color=INK)
        one.set_xlabel("")
        one.set_ylabel("")
    return every[0].figure


# --- The tutorial ----------------------------------------------------------------------


def tutorial():
    X, y = fr.data.load("digits")
    train, val, _ = fr.data.split(X, y, (0.5, 0.2, 0.3), stratify=True)
    runs, stopping = {}, fr.EarlyStopping("val_loss", patience=10)
    for name, layers, penalty, epochs, callbacks in (
        ("plain", (), 0.0, 60, ()),
        ("regularized", (fr.Dropout(rate=0.5),), 1e-4, 200, stopping),
    ):
        model, optimizer = dense(*layers, units=256), fr.Adam(1e-3)
        trainer = fr.Trainer(model, optimizer=optimizer, l2=penalty, seed=0)
        how = {"epochs": epochs, "batch_size": 32, "callbacks": callbacks}
        runs[name] = trainer.fit(*train, validation_data=val, **how)
    return fr.plots.history(runs, values="loss").figure_


# --- The page on plots ---------------------------------------------------------------


def trained_digits():
    train, _ = digits()
    trainer = fr.Trainer(dense(), optimizer=fr.Adam(0.003))
    trainer.fit(*train, epochs=20)
    return trainer


def trained_moons():
    X, y = fr.data.load("moons")
    model = dense(fr.Dense(16, "relu"), units=16, outputs=2)
    model.build(2)
    before = model.state_dict()
    trainer = fr.Trainer(model, optimizer=fr.Adam(0.01), l1=1e-3)
    trainer.fit(X, y, epochs=30, validation_split=0.3)
    return trainer, before


def plots_history():
    return fr.plots.history(trained_moons()[0]).figure_


def plots_weights():
    return fr.plots.weights(*trained_moons()).figure_


def plots_boundary():
    return fr.plots.boundary(trained_moons()[0], *fr.data.load("moons")).figure_


def plots_errors():
    _, test = digits()
    return fr.plots.errors(
        trained_digits(), *test, image_shape=(8, 8), count=12
    ).figure_


def plots_calibration():
    return fr.plots.calibration(trained_digits(), *digits()[1]).figure_


def plots_filters():
    return fr.plots.filters(trained_digits(), count=24).figure_


# --- The pages on regularizers -------------------------------------------------------


def l2():
    return boundaries(
        {
            f"λ = {lam:g}": moons_net(dense(fr.Dense(64, "relu"), outputs=2), l2=lam)
            for lam in (0.0, 0.003, 0.1)
        }
    )


def noise():
    return boundaries(
        {
            f"σ = {std:g}": moons_net(
                fr.Sequential(
                    [
                        fr.GaussianNoise(std),
                        *(fr.Dense(64, "relu") for _ in range(2)),
                        fr.Dense(2),
                    ]
                )
            )
            for std in (0.0, 0.15, 0.6)
        }
    )


def l1():
    """The 20 weights of a linear model, of which two matter."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 20))
    y = 2 * X[:, 0] - X[:, 1] + rng.normal(size=60)
    strengths = np.geomspace(0.01, 3, 25)
    every = axes(2, sharey=True)
    for one, kind in zip(every, ("l1", "l2"), strict=True):
        found = []
        for strength in strengths:
            trainer = fr.Trainer(
                fr.Sequential([fr.Dense(1)]), "mse", fr.SGD(0.05), **{kind: strength}
            )
            trainer.fit(X, y, epochs=400, batch_size=60)
            found.append(trainer.model.parameters["0.weight"].ravel().copy())
        for place, curve in enumerate(np.transpose(found)):
            style = {"color": COLORS[place], "linewidth": 2} if place < 2 else {}
            told = f"true weight {(2, -1)[place]}" if place < 2 else ""
            told = "true weight 0" if place == 2 else told
            style = style or {"color": EDGE, "linewidth": 0.8}
            one.plot(strengths, curve, label=told or None, **style)
        one.set_xscale("log")
        finish(one, "λ", "weight", kind.upper(), legend=False)
    every[1].set_ylabel("")
    legend_below(every[0].figure, every[0], size=9)
    return every[0].figure


def dropout():
    """The table of the page on dropout."""
    page = (DOCS / "regularizers" / "dropout.md").read_text(encoding="utf-8")
    page = page.replace("\N{MINUS SIGN}", "-").replace(",", "")
    number = r" ([+-][\d.]+) ± ([\d.]+) \|"
    rows = re.findall(
        rf"^\| (\d+) \| (\d+) \| [\d.]+ % \|{number}{number}$", page, re.M
    )
    table = np.array(rows, float)
    every = axes(2, sharey=True)
    for one, rate, place in zip(every, (0.2, 0.5), (2, 4), strict=True):
        one.axhline(0, color=INK, linewidth=0.8)
        for width, colour, marker in zip((8, 32, 128), COLORS, MARKERS, strict=False):
            own = table[table[:, 0] == width]
            one.errorbar(
                own[:, 1],
                own[:, place],
                own[:, place + 1],
                color=colour,
                marker=marker,
                capsize=3,
                label=f"{width} units",
            )
        one.set_xscale("log")
        finish(one, "rows", "points of accuracy", f"rate {rate:g}", legend=False)
    every[1].set_ylabel("")
    legend_below(every[0].figure, every[0], size=9)
    return every[0].figure


def early_stopping():
    (X, y), test = digits()
    rng = np.random.default_rng(0)
    X, y = X[:300], y[:300].copy()
    wrong = rng.random(300) < 0.35
    y[wrong] = rng.integers(0, 10, wrong.sum())
    trainer = fr.Trainer(dense(units=256), optimizer=fr.Adam(0.01))
    history = trainer.fit(X, y, epochs=40, batch_size=32, validation_data=test)
    one = axes(height=2.8, width=5.6)
    fr.plots.history(history, values="loss", ax=one)
    best = int(np.argmin(history["val_loss"])) + 1
    one.axvline(best, color=INK, linewidth=0.8, linestyle=":")
    told = f"epoch {best}: these weights come back"
    one.set_yscale("linear")
    one.set_ylim(0, 2.4)
    one.text(best + 1, 2.1, told, color=INK, size=9)
    return one.figure


def augmentation():
    X, _ = fr.data.load("digits")
    views = fr.data.augment.Compose(
        [fr.data.augment.Rotate(12), fr.data.augment.Translate(0.06)]
    )
    images = X[[2, 5, 6]].reshape(-1, 8, 8)
    figure = Figure(figsize=(6.8, 2.7), dpi=DPI, layout="constrained")
    every = figure.subplots(3, 8)
    for column in range(8):
        shown = images if column == 0 else views.apply(images, seed=column)
        for row in range(3):
            one = every[row, column]
            one.imshow(shown[row], cmap="gray_r", vmin=0, vmax=1)
            one.set_xticks([])
            one.set_yticks([])
    every[0, 0].set_title("as it is", fontsize=9, color=INK)
    every[0, 4].set_title("views of seven epochs", fontsize=9, color=INK)
    return figure


def label_smoothing():
    train, (X, _) = digits()
    one = axes(height=2.7, width=5.6)
    for s, colour in ((0.0, BLUE), (0.1, VERMILION)):
        loss = fr.losses.SoftmaxCrossEntropy(label_smoothing=s)
        trainer = fr.Trainer(dense(), loss, fr.Adam(0.003))
        trainer.fit(*train, epochs=60)
        surest = trainer.predict(X).max(axis=1)
        bins = np.linspace(0.2, 1, 33)
        filled = {"histtype": "stepfilled", "alpha": 0.55, "color": colour}
        one.hist(surest, bins, label=f"s = {s:g}", **filled)
    name = "probability of the predicted class, on new rows"
    finish(one, name, "rows", grid="y")
    one.get_legend().set_loc("upper left")
    return one.figure


def ensembles():
    X, y = fr.data.load("curve")
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(X), 30, replace=False))

    one = axes(height=2.9, width=6.2)
    grid, found = X[::20], []
    for seed in range(8):
        hidden = [fr.Dense(64, "tanh") for _ in range(2)]
        scaled = fr.data.Standardizer().fit(X)
        model = fr.Sequential([scaled, *hidden, fr.Dense(1)])
        trainer = fr.Trainer(model, "mse", fr.Adam(0.01), seed=seed)
        bootstrap = rng.choice(chosen, len(chosen))
        trainer.fit(X[bootstrap], y[bootstrap], epochs=600, batch_size=20)
        found.append(trainer.predict(grid))
        told = "one net each" if seed == 0 else None
        one.plot(grid, found[-1], color=EDGE, linewidth=0.8, label=told)
    one.plot(grid, np.mean(found, 0), color=BLUE, linewidth=2, label="their mean")
    one.plot(X[chosen], y[chosen], "o", color=VERMILION, markersize=4, label="rows")
    one.plot(grid, y[::20], color=GREEN, linewidth=1, label="all rows of the curve")
    low, high = y.min(), y.max()
    one.set_ylim(low - 0.2 * (high - low), high + 0.2 * (high - low))
    finish(one, "x", "y", legend=False)
    legend_below(one.figure, one, size=9)
    return one.figure


EVERY = (
    tutorial,
    *(plots_history, plots_weights, plots_boundary, plots_errors),
    *(plots_calibration, plots_filters, l2, l1, dropout, early_stopping),
    *(augmentation, label_smoothing, noise, ensembles),
)


def save(figure, name):
    """As PNG with 64 colours, which is small, and enough for lines and areas."""
    path = DOCS / "pictures" / f"{name}.png"
    figure.savefig(path, dpi=DPI)
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(path.relative_to(DOCS.parent), f"{path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    for make in EVERY:
        name = make.__name__.replace("_", "-")
        if name in sys.argv[1:] or len(sys.argv) == 1:
            save(make(), name)
