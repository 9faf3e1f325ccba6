"""`fastreg bench`: checks kernels and workloads against the reference engine, and measures them."""

from __future__ import annotations

import argparse
import subprocess
import sys

import fastreg as fr
from fastreg import benchmarks
from fastreg.benchmarks.environment import facts, free_environment, hobbles
from fastreg.benchmarks.rows import HEAD
from fastreg.cli.output import print_json
from fastreg.machine.peak import fma_peak, stream_bandwidth


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "bench", help="measure kernels and workloads, after checking each against the reference"
    )
    parser.set_defaults(command=bench)
    parser.add_argument("--quick", action="store_true", help="small sizes, some seconds: shows that everything works")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def bench(options: argparse.Namespace) -> None:
    """Runs the command. It fails if a result differs from the reference."""
    if hobbled := hobbles():
        print(f"fastreg: measuring without {', '.join(hobbled)}", file=sys.stderr, flush=True)
        flags = [f"--{name}" for name in ("quick", "json") if getattr(options, name)]
        result = subprocess.run([sys.executable, "-m", "fastreg", "bench", *flags], env=free_environment(), check=False)
        if result.returncode:
            raise SystemExit(result.returncode)
        return
    threads = fr.get_num_threads()
    machine = {**facts(), "peak": fma_peak(threads), "bandwidth": stream_bandwidth(threads)}
    if not options.json:
        print("  ".join(f"{name} {machine[name]}" for name in ("processor", "cores", "threads", "load", "numpy")))
        print(
            f"peak {machine['peak']:.0f} GFLOP/s ({machine['simd']}), memory {machine['bandwidth']:.0f} GB/s\n\n{HEAD}"
        )
    rows = []
    for row in benchmarks.run(options.quick):
        rows.append(row)
        if not options.json:
            print(row, flush=True)
    if options.json:
        print_json({**machine, "rows": [row.as_dict() for row in rows]})
    else:
        print("\nTimes are medians, per call or step. Errors are relative to the largest value. Shares are of the peak")
        print("of the target on the threads used, or of the memory's bandwidth, which arrays in the caches can exceed.")
    if wrong := [f"{row.name} {row.shape} ({row.target})" for row in rows if not row.agrees]:
        raise ArithmeticError(f"results differ from the reference: {', '.join(wrong)}")
