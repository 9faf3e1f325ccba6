"""`fastreg predict`: prints what a saved model predicts for a data set."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import fastreg as fr
from fastreg.cli.options import DATA, add_reading
from fastreg.cli.output import print_json
from fastreg.cli.tasks import errors, hits, inputs, labelled, read
from fastreg.common.transforms import TRANSFORMS


def add(commands) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser("predict", help="print what a saved model predicts, one line per sample")
    parser.set_defaults(command=predict)
    parser.add_argument("model", metavar="MODEL", type=Path, help="a .safetensors file that train saved")
    parser.add_argument(
        "data",
        metavar="DATA",
        help=f"{DATA}, with or without labels. The columns of a table are found by name. Of a set that is split, the "
        "test part",
    )
    add_reading(parser)
    parser.add_argument("--probabilities", action="store_true", help="print all outputs instead of the class")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def predict(options: argparse.Namespace) -> None:
    """Runs the command."""
    model = fr.load(options.model)
    if len(model.heads) > 1:
        raise ValueError(
            f"{options.model}: got a model of several heads, expected one head; Python's predict gives all"
        )
    if model.many_inputs:
        raise ValueError(
            f"{options.model}: got a model of several inputs, expected one input; Python's predict takes all"
        )
    texts = [column.name for column in model.schema.columns or () if column.kind in ("category", "date")]
    X, y = labelled(model, *read(options, texts=texts)[-1])
    outputs = model.predict(inputs(X))
    is_classes = TRANSFORMS[model.output_transform].answers != "numbers"
    results = outputs
    if is_classes and not options.probabilities:
        results = model.schema.labels(outputs, model.output_transform)
    accuracy = hits(model, outputs, y) if is_classes and y is not None else None
    measured = {} if is_classes or y is None else errors(outputs, y)
    if options.json:
        told = {"predictions": results.tolist(), "accuracy": accuracy, **measured}
        if model.classes is not None:
            told["classes"] = list(model.classes)
        print_json(told, indent=None)
        return
    for result in results:
        print(",".join(map(_shown, np.atleast_1d(result).tolist())))
    if accuracy is not None:
        print(f"accuracy {accuracy:.2%} of {len(outputs):,} samples", file=sys.stderr)
    if measured:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
        print(f"{shown} of {len(outputs):,} samples", file=sys.stderr)


def _shown(value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
