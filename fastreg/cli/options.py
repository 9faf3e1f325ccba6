"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import fastreg as fr
from fastreg.common import checking
from fastreg.data.builtin import SETS
from fastreg.intake.schema import SCALES, TASKS
from fastreg.layers import ACTIVATIONS
from fastreg.losses import losses
from fastreg.optimizers.optimizers import BY_NAME, Optimizer
from fastreg.optimizers.schedules import Cosine, Exponential, OneCycle, Schedule, Step, Warmup

MANY = 64  # columns; of fewer, none can stand in for one that is dropped
STEPS = 1500  # of the optimizer: with few samples, their number counts, not that of the passes
SMALL = 10_000  # samples; below this, the default is more epochs and smaller batches
DATA = f"{', '.join(SETS)}; a folder of IDX (MNIST) or .npy files; a .npz; a table (.csv, .csv.gz)"
VALIDATION = 0.1  # of the samples, by default
READING = (  # arguments of read_table, how their values are shown, and what they mean
    ("header", "yes|no|LINE", "whether its first line names the columns, or the number of the line that does, from 0"),
    ("delimiter", "CHARACTER", "what is between its fields"),
    ("decimal", "MARK", "the decimal mark, a point or a comma"),
    ("missing", "TEXT,..", "the fields that stand for a missing value"),
    ("usecols", "COLUMN,..", "the columns to read, by name or position"),
    ("text", "COLUMN,..", "the columns that are text even if they look like numbers"),
    ("encoding", "NAME", "the encoding of its characters, such as latin-1 (utf-8)"),
)
RATES = {"sgd": 0.1, "rmsprop": 1e-3}  # where the optimizer's own default suits few
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], float, dict]] = {  # rate, settings
    **{
        name: (make, RATES.get(name, inspect.signature(make).parameters["lr"].default), {})
        for name, make in BY_NAME.items()
    },
    "momentum": (fr.SGD, 0.05, {"momentum": 0.9}),
    "nesterov": (fr.SGD, 0.05, {"momentum": 0.9, "nesterov": True}),
}
# Made from the first (or highest) rate, the epochs, and the batches per epoch.
SCHEDULES: dict[str, Callable[[float, int, int], Schedule | float]] = {
    "constant": lambda lr, epochs, batches: lr,
    "step": lambda lr, epochs, batches: Step(lr, every=max(1, epochs // 3)),
    "exponential": lambda lr, epochs, batches: Exponential(lr, gamma=0.01 ** (1 / epochs)),
    "cosine": lambda lr, epochs, batches: Cosine(lr, epochs * batches, per="step"),
    "one-cycle": lambda lr, epochs, batches: OneCycle(lr, epochs * batches),
    "warm-up": lambda lr, epochs, batches: Warmup(batches, lr),
    "on-plateau": lambda lr, epochs, batches: lr,  # the callback of `plateau` lowers it
}
PLATEAU = {  # arguments of ReduceOnPlateau, and what they mean
    "factor": "the rate is multiplied by it",
    "patience": "epochs without a better loss that are tolerated",
    "smoothing": "smoothing of the exponential mean of the losses, from 0 to below 1",
    "threshold": "what counts as better, relative to the best mean",
    "cooldown": "epochs after a reduction that do not count",
    "min_lr": "lower bound of the rate",
}


def add_training(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments for the data, the network and its training."""
    parser.add_argument("data", metavar="DATA", help=DATA)
    add_meaning(parser)
    parser.add_argument(
        "--hidden", type=sizes, default=(256, 256), metavar="N,N,..", help="hidden units (256,256); 0 for none"
    )
    parser.add_argument(
        "--activation", choices=ACTIVATIONS, default="relu", metavar="NAME", help=", ".join(ACTIVATIONS)
    )
    parser.add_argument(
        "--epochs",
        type=positive,
        help=f"passes (20 from {SMALL:,} samples on; 50, or up to 200 for about {STEPS} steps)",
    )
    parser.add_argument("--batch-size", type=positive, help=f"rows per step (64; 128 from {SMALL:,} samples on)")
    parser.add_argument(
        "--keep-prob",
        type=probabilities,
        metavar="P or INPUT,P,..",
        help="dropout of the regularized run: probability to keep a hidden unit. Or a list: first for the inputs, "
        "then for each hidden layer; the last one holds for the rest (default for hidden units: 0.7 for classes, 0.9 "
        f"for numbers; for inputs: 0.9 from {MANY} columns on, else 1)",
    )
    parser.add_argument("--l1", type=float, default=0.0, help="L1 penalty of the regularized run (0)")
    parser.add_argument("--l2", type=float, default=1e-4, help="L2 penalty of the regularized run (0.0001)")
    parser.add_argument("--mixup", type=float, metavar="ALPHA", help="mixup of the regularized run, such as 0.2 (none)")
    parser.add_argument(
        "--ema",
        type=decay,
        metavar="DECAY",
        help="both models hold the exponential mean of their weights over the steps, with a decay such as 0.999 (none)",
    )
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help=f"{', '.join(OPTIMIZERS)} (adam)")
    rates = ", ".join(f"{name} {rate:g}" for name, (_, rate, _) in OPTIMIZERS.items())
    parser.add_argument("--lr", type=float, help=f"learning rate ({rates})")
    parser.add_argument("--momentum", type=float, help="for sgd and rmsprop (0), momentum and nesterov (0.9)")
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="how the learning rate changes: constant (default); step: divided by 10 after each third "
        "of the epochs; exponential: down to a hundredth; cosine: down to 0; one-cycle: up to the rate, then down to "
        "nearly 0; warm-up: rises from a third in the first epoch; on-plateau: lowered when the loss of the validation "
        "samples no longer improves (see the --plateau options)",
    )
    for name, what in PLATEAU.items():
        default = inspect.signature(fr.ReduceOnPlateau).parameters[name].default
        option = f"--plateau-{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), metavar="N", help=f"{what} ({default:g})")
    parser.add_argument(
        "--precision",
        choices=checking.PRECISIONS,
        default="float32",
        help="of the products of dense layers; bfloat16 is faster on AMX and from Zen 4 on (float32)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of split, parameters, order and dropout (0)")
    parser.add_argument("--threads", type=positive, help="by default, what the machine and the work allow")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def add_picture(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds the argument for a picture of what was measured."""
    parser.add_argument("--picture", type=picture, metavar="FILE", help=f"draw {what}, as PNG (needs matplotlib)")


def add_meaning(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say what the data are, where they don't tell themselves."""
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        help="the column of the labels in a table, by name or position (0 is the first, -1 the last), or several with "
        "commas (a column called label, target, class or y, else the last one)",
    )
    parser.add_argument(
        "--task",
        choices=TASKS,
        help="what is to be learned: one of several classes, several yes-or-no labels, or numbers (what the labels "
        "suggest; the first line of the output says what was taken, and why)",
    )
    add_reading(parser)
    parser.add_argument("--loss", metavar="NAME", help=f"{', '.join(losses.BY_NAME)}, or a spec (the one of the task)")
    parser.add_argument(
        "--scale",
        choices=SCALES,
        help="inputs to mean 0 and variance 1, or divided by 255, or as they are (bytes for images, else standardize). "
        "Targets that are numbers are scaled too, except with none",
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say how a table is written. Their names are those of `fastreg.data.read_table`."""
    for name, metavar, what in READING:
        parser.add_argument(f"--{name}", metavar=metavar, help=f"of a table: {what}")


def reading(options: argparse.Namespace) -> dict:
    """The arguments of `fastreg.data.read_table` that were given."""
    given = {name: value for name, *_ in READING if (value := getattr(options, name)) is not None}
    if "header" in given:
        words = {"yes": True, "no": False}
        given["header"] = words.get(given["header"], given["header"])
        if str(given["header"]).isdigit():
            given["header"] = int(given["header"])
    for name in ("missing", "usecols", "text"):
        if name in given:
            columns = given[name].split(",")
            given[name] = [int(c) if name != "missing" and c.lstrip("-").isdigit() else c for c in columns]
    return given


def validation_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a share from 0 to below 1")
    return share


def learning_rate(options: argparse.Namespace) -> float:
    """The rate that was given, or the default of the optimizer."""
    return OPTIMIZERS[options.optimizer][1] if options.lr is None else options.lr


def make_optimizer(options: argparse.Namespace, samples: int) -> Optimizer:
    """The optimizer with its schedule, for this number of training samples."""
    make, _, settings = OPTIMIZERS[options.optimizer]
    if options.momentum is not None:
        if make not in (fr.SGD, fr.RMSprop):
            raise ValueError(f"--momentum: got {options.momentum:g} for {options.optimizer}, which has none")
        settings = {**settings, "momentum": options.momentum}
    epochs, batch_size = epochs_and_batch_size(options, samples)
    lr = checking.number("lr", learning_rate(options))
    return make(SCHEDULES[options.schedule](lr, epochs, -(-samples // batch_size)), **settings)


def plateau(options: argparse.Namespace) -> list[fr.Callback]:
    """The callback of --schedule on-plateau; an empty list for other schedules."""
    given = {name: value for name in PLATEAU if (value := getattr(options, f"plateau_{name}")) is not None}
    if options.schedule == "on-plateau":
        return [fr.ReduceOnPlateau(**given)]
    if given:
        option = f"--plateau-{next(iter(given)).replace('_', '-')}"
        raise ValueError(f"{option}: got --schedule {options.schedule}, expected --schedule on-plateau")
    return []


def keep_probs(options: argparse.Namespace, columns: int, is_classification: bool) -> tuple[float, ...]:
    """Probabilities for the inputs, then for hidden layers: those that were given, or defaults that suit the data.

    Dropout harms a regression more than a classification, which depends only on the order of its outputs.
    """
    return options.keep_prob or (0.9 if columns >= MANY else 1.0, 0.7 if is_classification else 0.9)


def epochs_and_batch_size(options: argparse.Namespace, samples: int) -> tuple[int, int]:
    """Those that were given, or defaults for this number of samples."""
    small = samples < SMALL
    batch_size = options.batch_size or (64 if small else 128)
    enough = min(max(50, STEPS * batch_size // samples), 200)
    return options.epochs or (enough if small else 20), batch_size


def data_name(name: str) -> str:
    """The name of a built-in set or a file, for headlines and folders."""
    return name if name in SETS else Path(name).resolve().name.partition(".")[0] or Path(name).resolve().stem


def positive(text: str) -> int:
    return _whole(text, 1, "above 0")


def not_negative(text: str) -> int:
    return _whole(text, 0, "of at least 0")


def _whole(text: str, least: int, told: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number {told}")
    return int(text)


def decay(text: str) -> float:
    """Of averages of the weights."""
    try:
        return fr.EMA(float(text)).decay
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number from 0 to 0.999999") from None


def picture(text: str) -> str:
    """A file to write. What is missing for it is found before anything is measured."""
    if not text or not Path(text).resolve().parent.is_dir():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file in a folder that exists")
    if find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError('needs matplotlib, which is missing: pip install "fastreg[plot]"')
    return text


def folder(text: str) -> Path:
    if not text:  # Path("") is the current folder, and an empty variable in a script would write there
        raise argparse.ArgumentTypeError("got '', expected a folder")
    return Path(text)


def sizes(text: str) -> tuple[int, ...]:
    try:
        return () if text == "0" else tuple(positive(size) for size in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected units such as 256 or 256,128; 0 for none") from None


def probabilities(text: str) -> tuple[float, ...]:
    """For the inputs, then for hidden layers."""
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers such as 0.7 or 0.9,0.7") from None
    if not all(0 < number <= 1 for number in numbers):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected probabilities above 0, up to 1")
    return numbers if len(numbers) > 1 else (1.0, *numbers)
