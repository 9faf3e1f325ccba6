"""Small trainings of graphs with everything on that their bits could depend on, by name. Together their programs have
every kind of op.

Each is a function of the settings of its trainer that gives the trainer, and what `fit` takes beside the epochs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import fastreg as fr

ROWS, HELD = 53, 17  # a batch of 16 is never a single row, not even the last one
RNG = np.random.default_rng(12)
TABLE = RNG.normal(size=(ROWS + HELD, 7)).astype("f4")
CODES = RNG.integers(0, 5, (ROWS + HELD, 3))
MIXED = np.hstack([TABLE, CODES]).astype("f4")
IMAGES = RNG.integers(0, 256, (ROWS + HELD, 11, 9, 2), np.uint8)
LABELS = RNG.integers(0, 4, ROWS + HELD)
VALUES = (TABLE[:, :3] * TABLE[:, 1:4] + 0.1).astype("f4")
WEIGHTS = RNG.integers(0, 3, ROWS).astype("f4")

Training = tuple[fr.Trainer, dict[str, Any]]


def split(of: Any, held: bool) -> Any:
    """The rows that are trained on, or those that are held back, of an array or of each in a dict."""
    if isinstance(of, dict):
        return {name: split(array, held) for name, array in of.items()}
    return of[ROWS:] if held else of[:ROWS]


def training(model, X, y, settings: dict[str, Any], fit: dict[str, Any] | None = None, **own) -> Training:
    data = {"X": split(X, False), "y": split(y, False), "validation_data": (split(X, True), split(y, True))}
    return fr.Trainer(model, **{"seed": 7} | own | settings), {"batch_size": 16, **data, **(fit or {})}


def branches(**settings) -> Training:
    """Values with several users, skips, noise, an attack, and averages of every step."""
    x = fr.Input(7, name="x")
    h = fr.Dense(20, "relu", name="h", weight_noise=0.1)(fr.Dropout(rate=0.1)(x))
    left = fr.Dense(70, "gelu", name="left", preactivation_noise=0.1)(h)
    right = fr.Dropout(rate=0.3, kind="gaussian")(fr.Dense(70, "tanh", name="right", max_norm=0.9)(h))
    both = fr.Concatenate()([fr.Add()([left, right]), fr.GaussianNoise(0.2)(h), right])
    inner = [fr.LayerNorm(), fr.Dense(30, "silu"), fr.Dropout(rate=0.2, per="unit"), fr.Dense(160)]
    out = fr.Dense(4, name="out")(fr.Activation("mish")(fr.Residual(inner)(both)))
    return training(
        fr.Model(x, out), TABLE, LABELS, settings, {"sample_weight": WEIGHTS}, optimizer=fr.Adam(0.01), l2=1e-3,
        adversarial=fr.FGSM(0.1), averaging=fr.EMA(0.9),
    )  # fmt: skip


def ties(**settings) -> Training:
    """A decoder with the weights of the encoder, a layer that is used twice, two weights that are pulled together."""
    x = fr.Input(7, name="x")
    code = fr.Dropout(rate=0.2)(fr.Dense(9, "tanh", name="encoder", activity_l1=0.01)(x))
    again = fr.Dense(9, "elu", name="twice")
    code = again(again(code))
    near = fr.Add()([fr.Dense(9, "relu", name="one")(code), fr.Dense(9, "relu", name="two", l1=1e-3)(code)])
    decoded = fr.Dense(7, name="decoder", tied_to="encoder", transposed=True)(near)
    return training(
        fr.Model(x, decoded), TABLE, TABLE, settings, optimizer=fr.SGD(0.05, momentum=0.9, nesterov=True),
        loss="log_cosh", distance=fr.penalties.Distance("one", "two", 0.3), clip_norm=1.0, accumulate=2,
        averaging=fr.SWA(1),
    )  # fmt: skip


def heads(**settings) -> Training:
    """Two inputs; a head for each kind of loss; weights of samples and missing targets."""
    x, z = fr.Input(7, name="x"), fr.Input(3, name="z")
    h = fr.Dense(17, "selu", name="h")(fr.Concatenate()([x, fr.Dense(5, "softplus")(z)]))
    losses = {
        "kind": fr.losses.SoftmaxFocal(1.5),
        "signs": fr.losses.SigmoidFocal(),
        "sides": fr.losses.Hinge(squared=True),
        "margin": "categorical_hinge",
        "counts": "poisson",
        "size": fr.losses.Huber(0.5, missing_targets=True),
        "low": fr.losses.Quantile(0.2),
        "far": "mae",
    }
    signs, holes = (VALUES > 0).astype("f4"), VALUES.copy()
    holes[::5, 1] = np.nan
    y = {"kind": LABELS, "signs": signs, "sides": signs, "margin": LABELS, "counts": CODES.astype("f4")}
    y |= {"size": holes, "low": VALUES, "far": VALUES}
    outputs = {name: fr.Dense(4 if y[name].ndim == 1 else 3, name=name)(h) for name in losses}
    X = {"x": TABLE, "z": CODES.astype("f4")}
    return training(
        fr.Model([x, z], outputs), X, y, settings, {"sample_weight": {"kind": WEIGHTS, "low": WEIGHTS[::-1]}},
        loss=losses, loss_weights={"far": 0.3}, optimizer=fr.RMSprop(0.003, momentum=0.5), clip_value=0.1,
    )  # fmt: skip


def norms(**settings) -> Training:
    """Norms of columns and of rows, with moments that move, and averages of epochs."""
    x = fr.Input(7, name="x")
    h = fr.BatchNorm("relu", name="first")(fr.Dense(70, name="h", use_bias=False)(fr.BatchNorm(name="data")(x)))
    h = fr.Dropout(rate=0.3)(fr.LayerNorm("gelu", name="rows")(h))
    both = fr.Add()([fr.BatchNorm(name="one")(h), fr.BatchNorm("tanh", name="two", scale=False)(h)])
    return training(
        fr.Model(x, fr.Dense(4, name="out")(both)), TABLE, LABELS, settings, optimizer=fr.NAdam(0.01),
        averaging=fr.SWA(1), mixup=0.3, l2=fr.L2(1e-3),
    )  # fmt: skip


def categories(**settings) -> Training:
    """Columns of codes beside numeric ones, of one table."""
    numbers, codes = fr.Input(columns=range(7), name="numbers"), fr.Input(columns=[7, 8, 9], name="codes")
    embedded = fr.Dropout(rate=0.2)(fr.Embedding((5, 5, 5), 6, name="emb", max_norm=0.4)(codes))
    shared = fr.Embedding(5, 3, name="shared")(codes)
    h = fr.Concatenate()([fr.BatchNorm()(numbers), embedded, shared])
    return training(
        fr.Model([numbers, codes], fr.Dense(4, name="out")(fr.Dense(30, "relu", name="h")(h))), MIXED, LABELS,
        settings, optimizer=fr.Lion(0.003, weight_decay=0.1), averaging=fr.EMA(0.9),
    )  # fmt: skip


def convolutions(**settings) -> Training:
    """Images that are turned, cut out of and mixed; both pools; norms of channels; a skip over a convolution."""
    x = fr.Input((11, 9, 2), name="x")
    h = fr.BatchNorm("relu", name="norm")(fr.Conv2D(20, 3, name="c1", padding="same", use_bias=False)(x))
    skip = fr.Conv2D(20, 3, "tanh", name="c2", padding="same", max_norm=0.5)(h)
    h = fr.MaxPool2D(3, strides=2, padding="same")(fr.Add()([h, fr.Dropout(rate=0.2)(skip)]))
    h = fr.AvgPool2D(2)(fr.Conv2D(6, (3, 2), "gelu", name="c3", l2=1e-3)(h))
    both = fr.Concatenate()([fr.Flatten()(h), fr.GlobalAvgPool2D()(skip)])
    augment = fr.data.augment.Compose([fr.data.augment.Rotate(20), fr.data.augment.Cutout(3)], channels="last")
    return training(
        fr.Model(x, fr.Dense(4, name="out")(both)), IMAGES, LABELS, settings, optimizer=fr.Adam(1e-3),
        augment=augment, mixup=0.4, averaging=fr.EMA(0.9),
    )  # fmt: skip


def stored(**settings) -> Training:
    """Gradients that are stored first: of a convolution, a table and norms of rows. A layer in Python."""
    image, codes = fr.Input((11, 9, 2), name="image"), fr.Input(3, name="codes")
    h = fr.Flatten()(fr.MaxPool2D(2)(fr.Conv2D(5, 3, "relu", name="c", strides=2)(image)))
    both = fr.Concatenate()([fr.LayerNorm("relu", name="rows")(h), fr.Embedding(5, 2, name="emb")(codes)])
    half = fr.Function(lambda x: x / 2, lambda dy, x, y: dy / 2)
    out = fr.Dense(3, name="out", max_norm=0.8)(half(fr.Dense(9, "hard_swish", name="h")(both)))
    X = {"image": IMAGES / np.float32(255), "codes": CODES}
    return training(
        fr.Model([image, codes], out), X, VALUES, settings, loss="mse", optimizer=fr.SGD(0.05), l1=1e-3,
        clip_norm=0.5, accumulate=3, averaging=fr.EMA(0.5),
    )  # fmt: skip


TRAININGS: dict[str, Callable[..., Training]] = {
    made.__name__: made for made in (branches, ties, heads, norms, categories, convolutions, stored)
}


def new(name: str, **settings) -> Training:
    """A training by its name, as it is before the first epoch."""
    return TRAININGS[name](**settings)


def bits(trainer: fr.Trainer) -> dict[str, bytes]:
    """All that a training has changed."""
    arrays = trainer.model.state_dict() | trainer.optimizer_state
    return {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}


def answers(trainer: fr.Trainer, X) -> dict[str, bytes]:
    """Predictions for a few rows, by head."""
    found = trainer.predict({name: array[:9] for name, array in X.items()} if isinstance(X, dict) else X[:9])
    found = found if isinstance(found, dict) else {"": found}
    return {f"predictions {name}": array.tobytes() for name, array in found.items()}
