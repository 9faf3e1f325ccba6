"""`fastreg info`: what a bug report needs."""

from __future__ import annotations

import argparse
import os

import fastreg as fr
from fastreg.benchmarks.environment import processor


def add(commands) -> None:
    """The command."""
    parser = commands.add_parser("info", help="tell processor, SIMD target, threads and versions")
    parser.set_defaults(command=info)


def info(options: argparse.Namespace) -> None:
    print(f"{'processor':9} {processor()}")
    print(f"{'cores':9} {os.cpu_count()}")
    fr.show_versions()
