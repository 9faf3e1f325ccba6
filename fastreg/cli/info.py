"""`fastreg info`: prints what a bug report needs."""

from __future__ import annotations

import argparse

import fastreg as fr
from fastreg.benchmarks.environment import machine
from fastreg.cli.output import print_json
from fastreg.machine.versions import versions


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser("info", help="print processor, SIMD target, threads and versions")
    parser.set_defaults(command=info)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def info(options: argparse.Namespace) -> None:
    """Runs the command."""
    if options.json:
        print_json({**machine(), **versions()})
        return
    for name, value in machine().items():
        print(f"{name:9} {value}")
    fr.show_versions()
