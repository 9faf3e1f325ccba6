"""`fastreg bench`: checks kernels and workloads against the reference engine, and measures them."""

from __future__ import annotations

import argparse
import subprocess
import sys

import fastreg as fr
from fastreg import benchmarks
from fastreg.benchmarks.environment import facts, free_environment, hobbles
from fastreg.benchmarks.expected import expected_seconds
from fastreg.benchmarks.rows import HEAD, UNITS, verdict
from fastreg.cli.options import add_picture
from fastreg.cli.output import Live, announce, print_json, save_picture
from fastreg.machine.peak import fma_peak, stream_bandwidth
from fastreg.plots import plot_benchmark

GROUPS = {"kernel": "kernels, on random data", "step": "steps of training, inside an epoch"}


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "bench", help="measure kernels and workloads, after checking each against the reference"
    )
    parser.set_defaults(command=bench)
    parser.add_argument("--quick", action="store_true", help="small sizes, some seconds: shows that everything works")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    add_picture(parser, "shares of the machine's peak, and speed over NumPy")


def bench(options: argparse.Namespace) -> None:
    """Runs the command. It fails if a result differs from the reference."""
    if hobbled := hobbles():
        print(f"fastreg: measuring without {', '.join(hobbled)}", file=sys.stderr, flush=True)
        flags = [f"--{name}" for name in ("quick", "json") if getattr(options, name)]
        flags += ["--picture", options.picture] if options.picture is not None else []
        result = subprocess.run([sys.executable, "-m", "fastreg", "bench", *flags], env=free_environment(), check=False)
        if result.returncode:
            raise SystemExit(result.returncode)
        return
    threads = fr.get_num_threads()
    peak, bandwidth = fma_peak(threads), stream_bandwidth(threads)
    machine = {**facts(), "peak": peak, "bandwidth": bandwidth}
    announce(expected_seconds(benchmarks.settings_of(options.quick), peak, bandwidth))
    live = Live()
    rows: list[benchmarks.Row] = []
    try:
        for row in benchmarks.run(options.quick):
            rows.append(row)
            live.show(f"{len(rows)} rows, {row.name} {row.shape} ({row.target})")
    except KeyboardInterrupt:
        live.end()
        if rows and not options.json:
            print(f"interrupted after {len(rows)} rows\n\n{_table(rows)}")
        raise
    live.end()
    told = ("small sizes: " if options.quick else "") + verdict(rows)
    if options.json:
        print_json({**machine, "verdict": told, "rows": [row.as_dict() for row in rows]})
    else:
        print(f"{told}\n")
        print("  ".join(f"{name} {machine[name]}" for name in ("processor", "cores", "threads", "load", "numpy")))
        print(f"peak {peak:.0f} GFLOP/s ({machine['simd']}), memory {bandwidth:.0f} GB/s\n")
        print(f"{_table(rows)}\n\n{UNITS}")
    save_picture(options, lambda path: plot_benchmark(rows, path, told))
    if wrong := [f"{row.name} {row.shape} ({row.target})" for row in rows if not row.agrees]:
        raise ArithmeticError(f"results differ from the reference: {', '.join(wrong)}")


def _table(rows: list[benchmarks.Row]) -> str:
    """The rows below their heads, kernels before steps of training."""
    lines = [HEAD]
    for group, title in GROUPS.items():
        own = [str(row) for row in rows if row.group == group]
        lines += [title, *own] if own else []
    return "\n".join(lines)
