"""What each tuning (`fastreg.machine.tuning`) brings on this machine: the time of a step without any over that with it.

    python -m fastreg.benchmarks.tunings [--rounds 9] [--threads 2] [--precision float32] [--tunings none all] [NAME]

Epochs with each of them alternate. The gain is the median over the rounds, and so is the share of the peak, which is
measured beside every epoch. "all" and "none" are what they say; "*" marks what this processor gets by the table in
csrc/tuning.c.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median

import fastreg as fr
from fastreg.benchmarks.workloads import WORKLOADS, Workload
from fastreg.common.tables import duration, percent, table
from fastreg.machine import _core, tuning, versions
from fastreg.machine.peak import fma_peak

SECONDS = 0.2  # of an epoch
NONE = "none"
TUNINGS = (NONE, *tuning.ALL, "all")


@dataclass(frozen=True)
class Measured:
    """The medians over the rounds of one workload with one tuning: seconds of a step, share of the peak, gain."""

    workload: str
    tuning: str
    seconds: float
    share: float
    gain: float


def measured(workload: Workload, tunings: Iterable[str], rounds: int, **settings) -> Iterator[Measured]:
    """One result for each tuning, measured in turns. The first of them is what gains refer to."""
    chosen = list(dict.fromkeys(tunings))
    X, y = workload.data(workload.batch)
    trainer = workload.trainer(**settings)
    step = min(trainer.fit(X, y, batch_size=workload.batch)["seconds"][0] for _ in range(3))
    steps = max(2, min(workload.steps, int(SECONDS / step)))
    X, y = workload.data(steps * workload.batch)
    trainer.fit(X, y, batch_size=workload.batch)  # fills caches and memory
    times: dict[str, list[float]] = {name: [] for name in chosen}
    shares: dict[str, list[float]] = {name: [] for name in chosen}
    count = settings.get("threads") or fr.get_num_threads()
    for _ in range(rounds):
        for name in chosen:
            with tuning.using(name):
                seconds = trainer.fit(X, y, batch_size=workload.batch)["seconds"][0] / steps
            times[name].append(seconds)
            shares[name].append(workload.flops / seconds / 1e9 / fma_peak(count, repeats=2))
    for name in chosen:
        gains = [without / own for without, own in zip(times[chosen[0]], times[name], strict=True)]
        yield Measured(workload.name, name, median(times[name]), median(shares[name]), median(gains))


def main(arguments: list[str] | None = None, show: Callable[[str], object] = print) -> None:
    parser = argparse.ArgumentParser(prog="python -m fastreg.benchmarks.tunings", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument(
        "--tunings", nargs="+", default=TUNINGS, metavar="TUNING", help="the first is what gains refer to"
    )
    parser.add_argument("--quick", action="store_true", help="small networks")
    options = parser.parse_args(arguments)
    usual = ",".join(_core.tuning_for(_core.processor())) or NONE
    rows = []
    for name in options.names or WORKLOADS:
        workload = WORKLOADS[name].shrunk() if options.quick else WORKLOADS[name]
        for row in measured(
            workload, options.tunings, options.rounds, threads=options.threads, precision=options.precision
        ):
            marked = row.tuning + (" *" if tuning.names(row.tuning) == tuning.names(usual) else "")
            rows.append([row.workload, marked, duration(row.seconds), percent(row.share), f"{row.gain:.3f}"])
    show(f"{versions.processor()}, {fr.simd()['current']}")
    show(table(["workload", "tuning", "a step", "of peak", "gain"], rows))


if __name__ == "__main__":
    main()
