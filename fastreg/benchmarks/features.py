"""What a feature costs: the time of an epoch with it over the time of the same epoch without it.

    python -m fastreg.benchmarks.features [--rounds 9] [--rows 0.1] [NAME ...]

Epochs with and without are taken in turns; the ratio is the median over the rounds. What is fused should stay under
1.05 on the workload `srivastava`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import fastreg as fr
from fastreg.benchmarks.workloads import WORKLOADS, Workload
from fastreg.tables import table


@dataclass(frozen=True)
class Feature:
    """Arguments that switch a feature on: `settings` of the trainer, `dense` of every Dense, both of it.

    `base` are arguments of every Dense on both sides: what the feature is added to.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    dense: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)

    def trainers(self, workload: Workload) -> tuple[fr.Trainer, fr.Trainer]:
        """With it and without it, from the same parameters."""
        return _trainer(workload, self.settings, self.base | self.dense), _trainer(workload, {}, self.base)


FEATURES: dict[str, Feature] = {
    "elastic_net": Feature(settings={"l1": 1e-6}),
    "activity_l1": Feature(dense={"activity_l1": 1e-5}),
    "max_norm": Feature(dense={"max_norm": 1.5}),
    "max_frobenius": Feature(dense={"max_frobenius": 30.0}),
    "non_negative": Feature(dense={"non_negative": True}),
}


def _trainer(workload: Workload, settings: dict[str, Any], dense: dict[str, Any]) -> fr.Trainer:
    trainer = workload.trainer(**settings)
    layers = [replace(layer, **dense) if isinstance(layer, fr.Dense) else layer for layer in trainer.model.layers]
    model = fr.Sequential(layers)
    model.build(workload.sizes[0])
    model.load_state_dict(trainer.model.state_dict())
    trainer.model = model
    return trainer


def ratios(workload: Workload, names: Iterable[str], rounds: int) -> Iterator[tuple[str, float, float]]:
    """Name, seconds of an epoch without the feature, and the ratio."""
    data = workload.data()

    def seconds(trainer: fr.Trainer) -> float:
        return trainer.fit(*data, batch_size=workload.batch)["seconds"][0]

    for name in names:
        pair = FEATURES[name].trainers(workload)
        for trainer in pair:
            seconds(trainer)  # memory and caches
        times = [[seconds(trainer) for trainer in pair] for _ in range(rounds)]
        yield name, median(plain for _, plain in times), median(own / plain for own, plain in times)


def main(arguments: list[str] | None = None, show: Callable[[str], object] = print) -> None:
    parser = argparse.ArgumentParser(prog="python -m fastreg.benchmarks.features", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FEATURES)}; all if none is given")
    parser.add_argument("--workload", default="srivastava", choices=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=float, default=1.0, help="share of the rows of an epoch")
    options = parser.parse_args(arguments)
    workload = WORKLOADS[options.workload]
    workload = replace(workload, rows=max(1, int(workload.steps * options.rows)) * workload.batch)
    rows = ratios(workload, options.names or FEATURES, options.rounds)
    show(table(["feature", "epoch without", "ratio"], [[name, f"{s:.3f} s", f"{r:.3f}"] for name, s, r in rows]))


if __name__ == "__main__":
    main()
