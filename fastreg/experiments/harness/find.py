"""Which experiments there are: every module of the package `fastreg.experiments`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from types import ModuleType

import fastreg.experiments

PARTS = ("measure", "table", "claims", "draw")


@dataclass(frozen=True)
class Experiment:
    """A module of the experiments, and what it says of itself."""

    name: str
    module: ModuleType

    @property
    def claim(self) -> str:
        """The first line of the docstring."""
        return self._text[0]

    def title(self, quick: bool, options: Collection[str] = ()) -> str:
        """What a run shows: the claim, or QUICK where the quick form has one of its own, or that of an option."""
        if quick:
            return getattr(self.module, "QUICK", self.claim)
        titles = getattr(self.module, "TITLES", {})
        return next((titles[option] for option in options if option in titles), self.claim)

    @property
    def argument(self) -> str:
        """The rest of the docstring."""
        return "\n".join(self._text[1:]).strip()

    @property
    def _text(self) -> list[str]:
        return inspect.cleandoc(self.module.__doc__ or self.name).splitlines()

    @property
    def systems(self) -> str:
        return getattr(self.module, "SYSTEMS", "")

    def seeds(self, quick: bool) -> int:
        """How many there are, unless the user says so."""
        seeds = getattr(self.module, "SEEDS", 5)
        return min(2, seeds) if quick else seeds

    @property
    def size(self) -> tuple[float, float]:
        return getattr(self.module, "SIZE", (9.0, 4.0))

    @property
    def alone(self) -> bool:
        return getattr(self.module, "ALONE", False)

    @property
    def needs(self) -> str:
        return getattr(self.module, "NEEDS", "")

    @property
    def options(self) -> dict[str, str]:
        return getattr(self.module, "OPTIONS", {})


def experiments() -> dict[str, Experiment]:
    """All experiments by name, in the order of the systems that they show. Those that cannot be used are left out."""
    return survey()[0]


def survey() -> tuple[dict[str, Experiment], dict[str, ImportError]]:
    """The experiments, and what is wrong with those that cannot be used, by name."""
    found, broken = [], {}
    for entry in pkgutil.iter_modules(fastreg.experiments.__path__):
        if not entry.ispkg:
            name = entry.name.replace("_", "-")
            try:
                found.append(Experiment(name, _module(f"fastreg.experiments.{entry.name}")))
            except ImportError as error:
                broken[name] = error
    return {experiment.name: experiment for experiment in sorted(found, key=_order)}, broken


def _module(name: str) -> ModuleType:
    """An experiment's module. An ImportError says what is wrong with it, and where."""
    try:
        module = importlib.import_module(name)
    except SyntaxError as error:
        raise ImportError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ImportError(at_line(place.filename, place.lineno, error)) from error
    missing = [part for part in PARTS if not callable(getattr(module, part, None))]
    if missing:
        raise ImportError(
            f"{module.__file__}: it has no {' and no '.join(missing)}; see {fastreg.experiments.__file__}"
        )
    return module


def at_line(file: str | None, line: int | None, error: Exception) -> str:
    """What an experiment's code has raised, and where."""
    return f"{file}, line {line}: {type(error).__name__}: {error}"


def _order(experiment: Experiment) -> list:
    """D10 comes after D9; what belongs to no system comes last."""
    parts = re.findall(r"\d+|\D+", experiment.systems.split(",")[0]) or ["~"]
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts] + [
        (True, 0, experiment.name)
    ]
