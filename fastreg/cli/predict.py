"""`fastreg predict`: prints what a saved model predicts for a data set."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import fastreg as fr
from fastreg.cli.options import DATA
from fastreg.cli.output import print_json
from fastreg.cli.tasks import inputs, read


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser("predict", help="print what a saved model predicts, one line per sample")
    parser.set_defaults(command=predict)
    parser.add_argument("model", metavar="MODEL", type=Path, help="a .safetensors file that train saved")
    parser.add_argument("data", metavar="DATA", help=f"{DATA}. Of a set that is split, the test part")
    parser.add_argument("--probabilities", action="store_true", help="print all outputs instead of the class")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def predict(options: argparse.Namespace) -> None:
    """Runs the command."""
    model = fr.load(options.model)
    X, y = read(options.data)[-1]
    outputs = model.predict(inputs(X))
    is_classes = model.output_transform == "softmax"
    results = outputs.argmax(axis=1) if is_classes and not options.probabilities else outputs
    accuracy = float((outputs.argmax(axis=1) == y).mean()) if is_classes and y is not None and y.ndim == 1 else None
    if options.json:
        print_json({"predictions": results.tolist(), "accuracy": accuracy}, indent=None)
        return
    for result in results:
        print(result if result.ndim == 0 else ",".join(f"{number:.6g}" for number in result))
    if accuracy is not None:
        print(f"accuracy {accuracy:.2%} of {len(outputs):,} samples", file=sys.stderr)
