"""The trainings whose bits are on record: all networks of `networks.py` in both dtypes, and the public toolbox.

`python golden.py` prints a digest of the parameters that each ends with, as JSON, for the SIMD target at hand.
`test_golden_bits.py` holds them against `golden_bits.json`; CONTRIBUTING says when that file may change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator

import numpy as np
from networks import MORE, PLAIN, Case

import fastreg as fr
from fastreg.data import augment

augmented = augment.Compose([augment.Rotate(20), augment.Translate(0.1), augment.Flip()])


def digest(arrays) -> str:
    """One short text for the bits of some arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]


def of_network(name: str, dtype: str) -> str:
    _, arrays = Case({**PLAIN, **MORE}[name], dtype).train()
    return digest(arrays.values())


def points() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(300, 20))
    return X, (X[:, 0] + X[:, 1] ** 2 > 1).astype(int) + (X[:, 2] > 1)


def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    return rng.integers(0, 256, (200, 12, 10)).astype(np.uint8), rng.integers(0, 3, 200)


def trained(layers, data, *, fit=None, **settings) -> str:
    """Two epochs of a trainer; the digest of its parameters."""
    trainer = fr.Trainer(fr.Sequential(layers), seed=3, threads=2, **settings)
    trainer.fit(*data, epochs=2, batch_size=64, **(fit or {}))
    return digest(trainer.model.state_dict().values())


def deep(activation: str = "relu", **options) -> list:
    return [fr.Dense(70, activation, **options), fr.Dropout(rate=0.3), fr.Dense(33, activation, **options), fr.Dense(3)]


def flat(*layers) -> list:
    return [fr.Flatten(), *layers, fr.Dense(40, "relu"), fr.Dense(3)]


def standardized(data) -> list:
    return [fr.data.Standardizer().fit(data[0]), *deep()]


# name -> a training, by public names alone
TOOLBOX: dict[str, Callable[[str], str]] = {
    "sgd": lambda d: trained(deep(), points(), optimizer=fr.SGD(0.1), dtype=d),
    "nesterov": lambda d: trained(deep(), points(), optimizer=fr.SGD(0.1, momentum=0.9, nesterov=True), dtype=d),
    "adamw": lambda d: trained(deep("gelu"), points(), optimizer=fr.AdamW(0.01, weight_decay=0.1), dtype=d),
    "adam, one-cycle": lambda d: trained(
        deep("tanh"), points(), optimizer=fr.Adam(fr.schedules.OneCycle(0.02, total=10)), dtype=d
    ),
    "elastic net": lambda d: trained(deep(), points(), penalty=fr.ElasticNet(1e-2, 0.5), dtype=d),
    "l1 a batch": lambda d: trained(deep(), points(), l1=fr.L1(0.1, m="batch"), optimizer="adam", dtype=d),
    "l2 of a layer": lambda d: trained(deep(l2=fr.L2(1.0, m="train")), points(), l1=1e-3, dtype=d),
    "max_norm": lambda d: trained(deep(max_norm=1.0), points(), optimizer=fr.SGD(0.5), dtype=d),
    "fgsm": lambda d: trained(deep(), points(), adversarial=fr.FGSM(0.1, clip=(-2, 2)), dtype=d),
    "fgsm, standardized": lambda d: trained(standardized(points()), points(), adversarial=fr.FGSM(0.1), dtype=d),
    "augmented": lambda d: trained(flat(), images(), augment=augmented, dtype=d),
    "elastic": lambda d: trained(flat(), images(), augment=augment.Elastic(5.0, 3.0), dtype=d),
    "augmented, fgsm": lambda d: trained(
        flat(fr.GaussianNoise(0.1)), images(), augment=augmented, adversarial=fr.FGSM(1.0), dtype=d
    ),
    "class weight": lambda d: trained(deep(), points(), fit={"class_weight": "balanced"}, dtype=d),
    "rows, in order": lambda d: trained(deep(), points(), fit={"rows": range(150), "shuffle": False}, dtype=d),
    "smoothing": lambda d: trained(
        deep("leaky_relu"), points(), loss=fr.losses.SoftmaxCrossEntropy(label_smoothing=0.1), dtype=d
    ),
    "clip, accumulate": lambda d: trained(
        deep(lr_scale=0.5), points(), clip_norm=0.1, clip_value=0.05, accumulate=2, optimizer="rmsprop", dtype=d
    ),
    "wide": lambda d: trained(
        [fr.Dense(600, "relu"), fr.Dropout(rate=0.5), fr.Dense(700, "sigmoid"), fr.Dense(3)], points(), l2=1e-4, dtype=d
    ),
}


# Their layers and losses call NumPy's sine and power, whose last bits differ between processors.
NOT_PINNED = {"calls", "python loss", "call on top"}


def every() -> Iterator[tuple[str, Callable[[], str]]]:
    for dtype in ("float32", "float64"):
        for name in (name for name in (*PLAIN, *MORE) if name not in NOT_PINNED):
            yield f"{name}, {dtype}", lambda name=name, dtype=dtype: of_network(name, dtype)
        for name, training in TOOLBOX.items():
            yield f"toolbox: {name}, {dtype}", lambda training=training, dtype=dtype: training(dtype)


if __name__ == "__main__":
    print(json.dumps({name: training() for name, training in every()}, indent=1))
