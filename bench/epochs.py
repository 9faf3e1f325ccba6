"""Whole epochs of the six workloads: fastreg against NumPy by hand, scikit-learn, PyTorch and JAX; and a long training.

    python bench/epochs.py                                  # everything: half an hour on two cores
    python bench/epochs.py --workloads dfn curve --peers jax --epochs 41
    python bench/epochs.py --peers fastreg_bfloat16 torch_bfloat16   # products in bfloat16 against fastreg in float32
    python bench/epochs.py --quick                          # small networks: shows that everything works

An epoch includes all that training needs: a new order, gather, forward, backward, update, and the loss. Each library
has its own process, in which no environment variable slows it down, and all processors. fastreg and a peer alternate,
A B A B. A pause in between lets the other's threads come to rest. The ratio is the median over the pairs, with a 95 %
bootstrap interval. If a peer can run in several ways (VARIANTS in peers/), the fastest counts. The peak of the machine
is measured in between. Without dropout, all libraries start from the same parameters and train on the same rows in the
same order, so they must show the same losses.

The row `long` is of another kind. Each library trains a small network with GELU for 250 epochs, in one process. Then it
alternates with a second process of its own, where the training has just begun. Late steps should cost what early ones
do, but on many processors they do not if numbers become very small.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median

import report
from paired import UNSTEADY, Steal, ratio_interval
from peers import ENVIRONMENTS, PEERS, ROUNDING, is_installed
from processes import Worker, WorkerError
from workloads import LATE, LONG, WORKLOADS, scaled

from fastreg.benchmarks.environment import facts, hobbles

NAMES = [*WORKLOADS, LONG.name]
LOSS_EPOCHS = 3
# Before every measurement. Threads of OpenBLAS and OpenMP spin for about 30 ms after their work, which slows the next
# library down. After NumPy, fastreg's `dfn-plain` took 410 us per step without a pause, and 265 us with one.
PAUSE_SECONDS = 0.1
# Relative. Losses mostly agree to 1e-6. But if rounding moves one input of a leaky ReLU across 0, Adam amplifies it: of
# eight changes of `curve`'s parameters by a unit in the last place, one moved fastreg's own loss by 3e-3.
LOSS_TOLERANCE = 1e-2


def arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--peers", nargs="*", choices=[*PEERS, *ROUNDING], default=list(PEERS))
    parser.add_argument("--variants", nargs="+", help="only these ways to run a peer (eager, compile, rbg, ...)")
    parser.add_argument("--epochs", type=int, default=21, metavar="PAIRS", help="measurements of each side (21)")
    parser.add_argument("--seconds", type=float, default=0.2, help="least length of a measurement: epochs are added up")
    parser.add_argument("--rows", type=float, default=1.0, help="share of the samples in an epoch (1)")
    parser.add_argument("--simd", help="a SIMD target for fastreg, instead of the best")
    parser.add_argument("--quick", action="store_true", help="small networks, 3 pairs: a smoke test of some seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw ratios and roofline (needs matplotlib)")
    options = parser.parse_args(given)
    if options.quick:
        options.epochs, options.seconds = min(options.epochs, 3), 0.0
    return options


class Side:
    """A library in its process, or in several that were started in different ways. `start` is the current one."""

    def __init__(self, name, environment=None):
        self.name, self.start, self.workers = name, "", {"": Worker(name, environment)}
        self.variants = self.worker.ask("variants", peer=name)["variants"]
        self.variant, self.lacks, self.versions, self.count = "", "", {}, 1

    @property
    def worker(self):
        return self.workers[self.start]

    def can_train(self, workload):
        """Whether the library has all that the workload cannot do without."""
        return self.worker.ask("lacks", peer=self.name, workload=asdict(workload))["lacks"] is not None

    def started(self, start):
        """Switches to the process that was started in this way."""
        if start not in self.workers:
            self.workers[start] = Worker(self.name, ENVIRONMENTS[self.name][start])
        self.start = start

    def close(self):
        for worker in self.workers.values():
            worker.close()

    def build(self, workload, variant=""):
        """A new network, ready to train."""
        what = {"peer": self.name, "variant": variant, "workload": asdict(workload)}
        self.variant, self.workload = variant, workload
        answer = self.worker.ask("build", what=what)
        self.versions, self.lacks = answer["versions"], answer["lacks"]

    def step(self, count=None):
        """The seconds of a step, measured over some epochs."""
        count = count or self.count
        time.sleep(PAUSE_SECONDS)
        return self.worker.ask("epochs", count=count)["seconds"] / (count * self.workload.steps)

    def warm(self, seconds):
        """Trains two epochs, and sets the number of epochs per measurement so that it takes `seconds`."""
        self.step(1)
        epoch = self.step(1) * self.workload.steps
        self.count = max(1, round(seconds / epoch))

    def losses(self):
        """The losses after each epoch, from the initial parameters, with the rows in their given order."""
        self.build(self.workload, self.variant)
        return self.worker.ask("losses", count=LOSS_EPOCHS)["losses"]


def choose_variant(side, workload, options, complaints):
    """Switches to the fastest way to run a peer. Returns the seconds of a step for all ways."""
    steps = {}

    def attempt(start, variant):
        try:
            side.started(start)
            side.build(workload, variant)
            side.warm(options.seconds / 2)
            steps[start, variant] = [side.step() for _ in range(1 if options.quick else 5)]
        except WorkerError as error:
            complaints.append(f"{workload.name}: {variant} {error}")

    for variant in side.variants:
        attempt("", variant)
    if not steps:
        raise WorkerError(f"{side.name}: no way to run it works")
    _, fastest = min(steps, key=lambda way: min(steps[way]))
    for start in ENVIRONMENTS.get(side.name, ()):
        attempt(start, fastest)
    start, variant = min(steps, key=lambda way: median(steps[way]))
    side.started(start)
    side.build(workload, variant)
    side.warm(options.seconds)
    return {" ".join(filter(None, (variant, start))): median(times) for (start, variant), times in steps.items()}


def measure_pairs(ours, peer, pairs):
    """The seconds of a step of both, measured in turns."""
    times = [(ours.step(), peer.step()) for _ in range(pairs)]
    return tuple(list(side) for side in zip(*times, strict=True))


def measure_workload(workload, ours, peers, options, complaints):
    """Everything that is reported of a workload."""
    steal = Steal()
    ours.build(workload)
    ours.warm(options.seconds)
    peaks, rows = [ours.worker.ask("peaks")], {}
    for peer in peers:
        try:
            variants = choose_variant(peer, workload, options, complaints)
            own, theirs = measure_pairs(ours, peer, options.epochs)
        except WorkerError as error:
            complaints.append(f"{workload.name}: {error}")
            continue
        ratio, low, high = ratio_interval(own, theirs)
        rows[peer.name] = {
            "variant": " ".join(filter(None, (peer.variant, peer.start))),
            "variants": variants,
            "step": median(theirs),
            "fastest": min(theirs),
            "fastreg": median(own),
            "ratio": ratio,
            "low": low,
            "high": high,
            "unsteady": high / low > UNSTEADY,
            "lacks": peer.lacks,
            "times": {"fastreg": own, "peer": theirs},
        }
        peaks.append(ours.worker.ask("peaks"))
    own = [time for row in rows.values() for time in row["times"]["fastreg"]] or [
        ours.step() for _ in range(options.epochs)
    ]
    best = {key: max(peak[key] for peak in peaks) for key in peaks[0]}
    result = {
        "workload": workload.name,
        "what": str(workload),
        "rows": workload.rows,
        "flops": workload.flops,
        "bytes": workload.bytes,
        "limit": workload.flops / best["peak"] / 1e9,
        "step": median(own),
        "fastest": min(own),
        "share": workload.flops / median(own) / 1e9 / best["peak"],
        **best,
        "steal": steal.share(),
        "peers": rows,
    }
    if not workload.has_dropout:
        compare_losses(result, ours, peers, complaints)
    return result


def measure_long(workload, libraries, options, complaints):
    """Steps of each library in its first epochs and in late ones, measured in turns."""
    result = {"what": str(workload), "late": 5 if options.quick else LATE, "rows": {}, "versions": {}}
    for name in libraries:
        early, late = sides = [Side(name, options.environment if name == "fastreg" else None) for _ in range(2)]
        try:
            if not early.can_train(workload):
                continue
            chosen = [variant for variant in early.variants if variant in (options.variants or early.variants)]
            early.variants = chosen[: 1 if options.quick else None] or early.variants[:1]
            choose_variant(early, workload, options, complaints)
            late.started(early.start)
            late.build(workload, early.variant)
            late.step(max(1, result["late"] - options.epochs))
            early.count = late.count = 1
            steps = measure_pairs(early, late, options.epochs)
            ratio, low, high = ratio_interval(*steps)
            result["versions"][name] = early.versions
            result["rows"][name] = {
                "variant": " ".join(filter(None, (early.variant, early.start))),
                "early": median(steps[0]),
                "late": median(steps[1]),
                "ratio": ratio,
                "low": low,
                "high": high,
                "times": dict(zip(("early", "late"), steps, strict=True)),
            }
        except WorkerError as error:
            complaints.append(f"{workload.name}: {error}")
        finally:
            for side in sides:
                side.close()
    return result


def compare_losses(result, ours, peers, complaints):
    """With the same parameters, rows and order, the losses after each epoch must agree."""
    result["losses"] = losses = ours.losses()
    for peer in peers:
        row = result["peers"].get(peer.name)
        if row is None or row["lacks"]:
            continue
        try:
            row["losses"] = peer.losses()
        except WorkerError as error:
            complaints.append(f"{result['workload']}: {error}")
            continue
        row["loss_error"] = max(abs(a - b) / abs(b) for a, b in zip(losses, row["losses"], strict=True))
        row["losses_agree"] = row["loss_error"] <= LOSS_TOLERANCE


def main(given=None):
    options = arguments(given)
    missing = [name for name in options.peers if not is_installed(name)]
    machine = {**facts(), "cleared": hobbles(), "missing": missing}
    print(report.headline(machine), flush=True)
    options.environment = {"FASTREG_SIMD": options.simd} if options.simd else None
    ours = Side("fastreg", options.environment)
    peers, results, complaints, long = [], [], [], None
    try:
        for name in options.peers:
            if name not in missing:
                peers.append(side := Side(name))
                chosen = [variant for variant in side.variants if variant in (options.variants or side.variants)]
                side.variants = chosen[: 1 if options.quick else None] or side.variants[:1]
        for name in filter(WORKLOADS.get, options.workloads):
            workload = WORKLOADS[name].shrunk() if options.quick else scaled(WORKLOADS[name], options.rows)
            results.append(measure_workload(workload, ours, peers, options, complaints))
            print(report.lines(results[-1]), flush=True)
    finally:
        for side in (ours, *peers):
            side.close()
    if LONG.name in options.workloads:
        workload = LONG.shrunk() if options.quick else scaled(LONG, options.rows)
        long = measure_long(workload, ["fastreg", *(peer.name for peer in peers)], options, complaints)
        print(report.long_lines(long), flush=True)
    everything = {
        "machine": machine,
        "versions": {side.name: side.versions for side in (ours, *peers) if side.versions}
        | (long or {}).get("versions", {}),
        "results": results,
        "long": long,
        "complaints": complaints,
    }
    print(report.tail(everything))
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))
    if options.picture and results:
        report.draw(everything, options.picture)
    disagree = [row for result in results for row in result["peers"].values() if row.get("losses_agree") is False]
    return 1 if disagree else 0


if __name__ == "__main__":
    sys.exit(main())
