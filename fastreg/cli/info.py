"""`fastreg info`: prints what a bug report needs."""

from __future__ import annotations

import argparse

import fastreg as fr
from fastreg.cli.output import print_json
from fastreg.machine.versions import facts


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "info", help="print what a bug report needs: processor, SIMD target, threads, versions"
    )
    parser.set_defaults(command=info)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def info(options: argparse.Namespace) -> None:
    """Runs the command."""
    if options.json:
        print_json(facts())
    else:
        fr.show_versions()
