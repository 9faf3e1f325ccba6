"""How fastreg's time grows with batch, width, depth and threads; what busy neighbours cost; how much memory it takes.

    python bench/scaling.py            # some minutes
    python bench/scaling.py --quick    # small networks: shows that everything works

The law "time ~ x^a" is fitted to the upper half of the sizes, in logarithms. a is 1 if the work is proportional to x
and everything else is small. It is 2 for the width of square layers.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from workloads import WORKLOADS

import fastreg as fr
from fastreg.benchmarks.environment import facts
from fastreg.common.tables import duration, percent, table
from fastreg.machine.peak import fma_peak

BASE = replace(
    WORKLOADS["srivastava"], name="scaling", sizes=(512, 512, 512, 512), batch=128, keep_input=1.0, keep_hidden=0.5
)
SERIES = {
    "batch": [8, 16, 32, 64, 128, 256, 512, 1024],
    "width": [32, 64, 128, 256, 512, 1024, 2048],
    "depth": [1, 2, 4, 8, 16],
}
NEIGHBOUR = "while True: pass"


def network(name, x):
    """BASE with one of its sizes changed."""
    if name == "batch":
        return replace(BASE, batch=x)
    if name == "width":
        return replace(BASE, sizes=(x,) * 4)
    return replace(BASE, sizes=(512,) * (x + 1))


def step_time(workload, options, **settings):
    """The seconds of a step, measured in whole epochs."""
    trainer = workload.trainer(**settings)
    X, y = workload.data(workload.batch * 4)

    def epoch(count):
        start = time.perf_counter()
        trainer.fit(X, y, epochs=count, batch_size=workload.batch)
        return (time.perf_counter() - start) / (4 * count)

    epoch(1)
    count = max(1, round(options.seconds / (4 * epoch(1))))
    return median(epoch(count) for _ in range(options.repeats))


def growth(xs, times):
    """The exponent, from the upper half if there are enough sizes."""
    half = len(xs) // 2 if len(xs) > 3 else 0
    return float(np.polyfit(np.log(xs[half:]), np.log(times[half:]), 1)[0])


def scale(name, options):
    """Measures a series of sizes, and fits the law."""
    xs = SERIES[name][:3] if options.quick else SERIES[name]
    rows, peak = [], fma_peak(fr.get_num_threads())
    for x in xs:
        workload = network(name, x)
        step = step_time(workload, options)
        rows.append({"x": x, "step": step, "flops": workload.flops, "share": workload.flops / step / 1e9 / peak})
    law = growth(xs, [row["step"] for row in rows])
    cells = [
        [str(row["x"]), duration(row["step"]), f"{row['flops'] / row['step'] / 1e9:.0f}", percent(row["share"])]
        for row in rows
    ]
    print(f"\n{table([name, 'step', 'GFLOP/s', 'of peak'], cells)}\ntime of a step ~ {name}^{law:.2f}", flush=True)
    return {"rows": rows, "exponent": law}


def scale_threads(options):
    """Measures 1, 2, ... threads and the default. No workload should be slower with more threads."""
    counts, found = list(range(1, fr.get_num_threads() + 1)), []
    for workload in options.workloads:
        times = [step_time(workload, options, threads=count) for count in counts]
        chosen = step_time(workload, options)
        law = growth(counts, times) if len(counts) > 1 else 0.0
        found.append({"workload": workload.name, "threads": counts, "steps": times, "default": chosen, "exponent": law})
    heads = ["workload", *(f"{count} thread{'s'[: count > 1]}" for count in counts), "speedup", "default", "law"]
    cells = [
        [
            row["workload"],
            *map(duration, row["steps"]),
            f"{row['steps'][0] / min(row['steps']):.2f}",
            duration(row["default"]),
            f"threads^{row['exponent']:.2f}",
        ]
        for row in found
    ]
    print(f"\n{table(heads, cells)}", flush=True)
    return found


def contention(options):
    """The speed next to processes that never rest, or with more threads than processors, over that in a quiet time."""
    workload = options.workloads[0]
    found = {}
    for neighbours in range(min(2, os.cpu_count()) + 1):
        others = [subprocess.Popen([sys.executable, "-c", NEIGHBOUR]) for _ in range(neighbours)]
        try:
            time.sleep(0.2)
            found[f"{neighbours} busy neighbours"] = step_time(workload, options)
        finally:
            for process in others:
                process.kill()
                process.wait()
    found["8 threads"] = step_time(workload, options, threads=8)
    quiet = found["0 busy neighbours"]
    cells = [[name, duration(step), f"{quiet / step:.2f}"] for name, step in found.items()]
    print(f"\n{table([workload.name, 'step', 'speed'], cells)}", flush=True)
    return {name: {"step": step, "speed": quiet / step} for name, step in found.items()}


def memory(options):
    """What a step allocates, and how much resident memory a trainer adds.

    C allocates nothing in a step. All its memory is NumPy's, which tracemalloc sees.
    """
    found = []
    for workload in options.workloads:
        X, y = workload.data(24 * workload.batch)
        before = resident()
        trainer = workload.trainer()
        trainer.fit(X, y, batch_size=workload.batch)
        growth_of_process = resident() - before
        few, many = (allocated(trainer, X, y, batch) for batch in (workload.batch, workload.batch // 4))
        found.append(
            {
                "workload": workload.name,
                "parameters": sum(array.nbytes for array in trainer.model.parameters.values()),
                "data": X.nbytes + y.nbytes,
                "resident": growth_of_process,
                "fit": few,
                "step": (many - few) / (3 * 24),
            }
        )
    cells = [
        [
            row["workload"],
            *(f"{row[name] / 1e6:.2f} MB" for name in ("parameters", "data", "resident")),
            f"{row['fit']:,} B",
            f"{row['step']:.0f} B",
        ]
        for row in found
    ]
    print(f"\n{table(['workload', 'parameters', 'data', 'resident', 'a fit', 'a step'], cells)}")
    print("resident: what a trainer adds to the process, with the optimizer, buffers, and the copy to go back to.")
    print("a fit: the most that a later fit allocates, with checks of the data and the order of the rows.")
    print("a step: what four times as many steps on the same rows allocate more, per additional step.")
    print(f"peak of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB", flush=True)
    return found


def resident():
    """The bytes of this process in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def allocated(trainer, X, y, batch):
    """The most bytes that a fit allocates at a time, after a first fit."""
    trainer.fit(X, y, batch_size=batch)
    tracemalloc.start()
    trainer.fit(X, y, batch_size=batch)
    start = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    trainer.fit(X, y, batch_size=batch)
    most = tracemalloc.get_traced_memory()[1] - start
    tracemalloc.stop()
    return most


PARTS = {
    **{name: lambda options, name=name: scale(name, options) for name in SERIES},
    "threads": scale_threads,
    "contention": contention,
    "memory": memory,
}


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small networks: a smoke test of some seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    options = parser.parse_args(given)
    options.seconds, options.repeats = (0.001, 1) if options.quick else (0.2, 7)
    chosen = [WORKLOADS[name] for name in ("srivastava", "dfn", "dfn-plain", "curve", "curve-dropout", "wide")]
    options.workloads = [workload.shrunk() for workload in chosen[:2]] if options.quick else chosen
    machine = facts()
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    results = {"machine": machine, **{part: PARTS[part](options) for part in options.parts}}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    main()
