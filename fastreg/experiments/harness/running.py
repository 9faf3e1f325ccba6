"""Runs an experiment with its seeds, side by side where that is quicker, and writes its picture and numbers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

import numpy as np

import fastreg as fr
from fastreg.common.fileio import atomic_write
from fastreg.experiments.harness import figures
from fastreg.experiments.harness.find import Experiment
from fastreg.experiments.harness.lab import Cancelled, Lab, find_mnist, together
from fastreg.experiments.harness.results import Claim, Runs, Table, as_plain
from fastreg.machine.threads import one_blas_thread
from fastreg.machine.versions import machine, versions


@dataclass
class Outcome:
    """An experiment that has run, at least with one seed."""

    experiment: Experiment
    runs: Runs
    table: Table
    claims: list[Claim]
    seconds: float
    wanted: int  # seeds
    first_seed: int = 0
    options: tuple[str, ...] = ()
    data: str | None = None  # the folder that was given

    @property
    def title(self) -> str:
        """What this run shows."""
        return self.experiment.title(self.runs.quick, self.options)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of this run."""
        remarks = [f"{_count(len(self.runs), 'seed')}, {self.seconds:.0f} s, engine {self.runs.engine}"]
        if self.runs.data:
            remarks[0] += f", on {self.runs.data}"
        if self.options:
            remarks[0] += f", with {', '.join(self.options)}"
        if self.runs.quick:
            remarks[0] += "; the quick form, which trains less than the full one"
        if not self.tested:
            remarks.append("it does not test the claim of the title, which needs MNIST and the full form")
        if self.runs.quick and self.title != self.experiment.claim:
            remarks.append(f"the claim of the full form: {self.experiment.claim.rstrip('.')}")
        if len(self.runs) < self.wanted:
            remarks.append(f"interrupted: {len(self.runs)} of {self.wanted} seeds are finished")
        return remarks

    @property
    def tested(self) -> bool:
        """Whether the claims are those of the title. A quick form cannot test one about MNIST."""
        return self.title != self.experiment.claim or not (self.runs.quick and self.experiment.needs == "mnist")

    @property
    def command(self) -> str:
        flags = ["--quick"] if self.runs.quick else []
        flags += ["--engine reference"] if self.runs.engine == "reference" else []
        flags += [f"--data {shlex.quote(self.data)}"] if self.data is not None and self.runs.data else []
        flags += [f"--seeds {self.wanted}"] if self.wanted != self.experiment.seeds(self.runs.quick) else []
        flags += [f"--seed {self.first_seed}"] if self.first_seed else []
        return " ".join(["fastreg run", self.experiment.name, *flags, *(f"--{name}" for name in self.options)])

    def save(self, folder: Path) -> list[Path]:
        """Writes NAME.png and NAME.json."""
        folder.mkdir(parents=True, exist_ok=True)
        name = self.experiment.name
        numbers, picture = folder / f"{name}.json", folder / f"{name}.png"
        with atomic_write(numbers) as file:
            file.write(json.dumps(self.as_dict(), indent=1, ensure_ascii=False).encode())
        with atomic_write(picture) as file:
            self.draw().savefig(file, format="png")
        return [picture, numbers]

    def draw(self):
        """The picture."""
        experiment = self.experiment
        return figures.picture(
            self.title, experiment.size, self.claims, self.remarks, experiment.module.draw, self.runs
        )

    def as_dict(self) -> dict[str, Any]:
        experiment = self.experiment
        return {
            "name": experiment.name,
            "claim": self.title,
            "argument": experiment.argument,
            "systems": experiment.systems,
            "command": self.command,
            "remarks": self.remarks,
            "seconds": round(self.seconds, 2),
            "quick": self.runs.quick,
            "tested": self.tested,
            "engine": self.runs.engine,
            "data": self.runs.data,
            "machine": {**machine(), **versions()},
            "claims": [asdict(claim) for claim in self.claims],
            "table": asdict(self.table),
            "runs": as_plain(self.runs.runs),
        }


class MissingData(ValueError):
    """The experiment needs data that are not there."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with the outcome of the seeds that were finished; None if there are none."""

    def __init__(self, outcome: Outcome | None):
        super().__init__("" if outcome else "before the first seed was finished")
        self.outcome = outcome


def _count(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def run(
    experiment: Experiment,
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    quick: bool = False,
    engine: str = "native",
    data: str | None = None,
    options: Iterable[str] = (),
    report: Callable[[float], None] = lambda share: None,
) -> Outcome:
    """Runs an experiment.

    Parameters
    ----------
    experiment
        One of `experiments()`.
    seeds : int, optional
        How many runs, with the seeds `first_seed`, `first_seed` + 1, ... By default SEEDS, or 2 with `quick`.
    quick : bool
        The short form.
    engine : {"native", "reference"}
    data : path, optional
        The folder of MNIST.
    options
        Flags of the experiment.
    report
        Called with the share that is done.

    Raises
    ------
    Interrupted
        After Ctrl-C, with what is finished.
    MissingData
        The experiment needs data that are not there.
    """
    if experiment.needs == "mnist" and find_mnist(data) is None and not quick:
        raise MissingData(f"{experiment.name}: it needs MNIST; --data names the folder with its IDX files")
    count = seeds or experiment.seeds(quick)
    threads = fr.get_num_threads()
    workers = 1 if experiment.alone else min(threads, count)
    cancel, begin = Event(), perf_counter()
    shares = [0.0] * count
    names: list[str] = []

    def measure(place: int) -> dict:
        def progress(share: float) -> None:
            shares[place] = share
            report(sum(shares) / count)

        lab = Lab(
            first_seed + place,
            quick=quick,
            engine=engine,
            threads=threads if workers == 1 else 1,
            data=data,
            options=options,
            report=progress,
            cancel=cancel,
        )
        numbers = experiment.module.measure(lab)
        names.extend(lab.used)
        progress(1.0)
        return numbers

    def outcome(finished: dict[int, dict]) -> Outcome | None:
        if not finished:
            return None
        runs = Runs([finished[place] for place in sorted(finished)], quick, engine, ", ".join(dict.fromkeys(names)))
        with np.errstate(invalid="ignore"):
            table, claims = experiment.module.table(runs), list(experiment.module.claims(runs))
        seconds = perf_counter() - begin
        return Outcome(experiment, runs, table, claims, seconds, count, first_seed, tuple(options), data)

    finished: dict[int, dict] = {}
    try:
        if workers == 1:
            # The full form measures seconds, with all that NumPy has. In the quick one its threads cost more than help.
            with one_blas_thread() if quick else nullcontext():
                for place in range(count):
                    finished[place] = measure(place)
        else:
            together(measure, range(count), workers, cancel, finished=finished)
    except (KeyboardInterrupt, Cancelled):
        raise Interrupted(outcome(finished)) from None
    found = outcome(finished)
    assert found is not None
    return found
