"""The cost of features: the time of an epoch with a feature over that of the same epoch without it.

    python -m fastreg.benchmarks.features [--rounds 9] [--rows 0.1] [NAME ...]

Epochs with and without alternate; the ratio is the median over the rounds. A fused feature should stay below 1.05 on
the workload `srivastava`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import isqrt
from statistics import median
from typing import Any

import numpy as np

import fastreg as fr
from fastreg.benchmarks.kernels import AUGMENTATIONS
from fastreg.benchmarks.workloads import WORKLOADS, Workload
from fastreg.common.tables import table


@dataclass(frozen=True)
class Feature:
    """The arguments that switch a feature on.

    `settings` are for the trainer, `dense` for each Dense, `dropout` for each Dropout, and `fit` for fit, where
    sample_weight=True means one weight per row. `first` is a layer before all others.

    `base` are arguments of each Dense on both sides: what the feature is added to. With `images`, the inputs of both
    sides are images.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    dense: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    images: bool = False
    dropout: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    first: fr.GaussianNoise | None = None

    def trainers(self, workload: Workload) -> tuple[fr.Trainer, fr.Trainer]:
        """A trainer with the feature and one without, with the same parameters."""
        shape = self.shape(workload)
        with_it = _trainer(workload, self.settings, self.base | self.dense, self.dropout, shape, self.first)
        return with_it, _trainer(workload, {}, self.base, {}, shape)

    def fits(self, workload: Workload) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of fit with the feature and without."""
        weights = np.random.default_rng(0).uniform(0.5, 1.5, workload.rows)
        return self.fit | ({"sample_weight": weights} if "sample_weight" in self.fit else {}), {}

    def shape(self, workload: Workload) -> tuple[int, ...]:
        """The shape of a sample."""
        inputs = workload.sizes[0]
        height = max(side for side in range(1, isqrt(inputs) + 1) if inputs % side == 0)
        return (height, inputs // height) if self.images else (inputs,)

    def data(self, workload: Workload) -> tuple[np.ndarray, np.ndarray]:
        """The inputs and targets of an epoch."""
        X, y = workload.data()
        return X.reshape(-1, *self.shape(workload)), y


FEATURES: dict[str, Feature] = {
    "elastic_net": Feature(settings={"l1": 1e-6}),
    "activity_l1": Feature(dense={"activity_l1": 1e-5}),
    "max_norm": Feature(dense={"max_norm": 1.5}),
    "max_frobenius": Feature(dense={"max_frobenius": 30.0}),
    "fgsm": Feature(settings={"adversarial": fr.FGSM(0.1, clip=(0, 1))}),  # not fused: perturbed copies of the rows
    "non_negative": Feature(dense={"non_negative": True}),
    **{name.replace(" ", "_"): Feature({"augment": augment}, images=True) for name, augment in AUGMENTATIONS.items()},
    "gaussian_dropout": Feature(dropout={"kind": "gaussian"}),  # normal draws, forward and back
    "standard_dropout": Feature(dropout={"kind": "standard"}),
    "dropout_per_unit": Feature(dropout={"per": "unit"}),
    "preactivation_noise": Feature(dense={"preactivation_noise": 0.1}),
    "weight_noise": Feature(dense={"weight_noise": 0.01}),  # one normal draw per weight and batch
    "clip_norm": Feature(settings={"clip_norm": 1.0}),  # not fused: the gradients exist before the updates
    "sample_weight": Feature(fit={"sample_weight": True}),
    "class_weight": Feature(fit={"class_weight": "balanced"}),
    "gaussian_noise": Feature(first=fr.GaussianNoise(0.1, name="noise")),  # one normal draw per input
    "label_smoothing": Feature(settings={"loss": fr.losses.SoftmaxCrossEntropy(label_smoothing=0.1)}),
}


def _trainer(
    workload: Workload,
    settings: dict[str, Any],
    dense: dict[str, Any],
    dropout: dict[str, Any],
    shape: tuple[int, ...],
    first: fr.GaussianNoise | None = None,
) -> fr.Trainer:
    trainer = workload.trainer(**settings)
    changes: dict[type, dict[str, Any]] = {fr.Dense: dense, fr.Dropout: dropout}
    layers = [replace(layer, **changes.get(type(layer), {})) for layer in trainer.model.layers]
    before = [fr.Flatten(name="flatten")] if len(shape) > 1 else []
    model = fr.Sequential([*before, *([first] if first else []), *layers])
    model.build(shape)
    model.load_state_dict(trainer.model.state_dict())
    trainer.model = model
    return trainer


def ratios(workload: Workload, names: Iterable[str], rounds: int) -> Iterator[tuple[str, float, float]]:
    """The name, the seconds of an epoch without the feature, and the ratio."""
    for name in names:
        feature, data = FEATURES[name], FEATURES[name].data(workload)
        pair = list(zip(feature.trainers(workload), feature.fits(workload), strict=True))

        def seconds(trainer: fr.Trainer, fit: dict[str, Any], data=data) -> float:
            return trainer.fit(*data, batch_size=workload.batch, **fit)["seconds"][0]

        for side in pair:
            seconds(*side)  # to fill memory and caches
        times = [[seconds(*side) for side in pair] for _ in range(rounds)]
        yield name, median(plain for _, plain in times), median(own / plain for own, plain in times)


def main(arguments: list[str] | None = None, show: Callable[[str], object] = print) -> None:
    parser = argparse.ArgumentParser(prog="python -m fastreg.benchmarks.features", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(FEATURES)}; all by default")
    parser.add_argument("--workload", default="srivastava", choices=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=float, default=1.0, help="share of the rows in an epoch")
    options = parser.parse_args(arguments)
    workload = WORKLOADS[options.workload]
    workload = replace(workload, rows=max(1, int(workload.steps * options.rows)) * workload.batch)
    rows = ratios(workload, options.names or FEATURES, options.rounds)
    show(table(["feature", "epoch without", "ratio"], [[name, f"{s:.3f} s", f"{r:.3f}"] for name, s, r in rows]))


if __name__ == "__main__":
    main()
