"""The quick form of an experiment, run once for all tests that ask for it, on the built-in digits."""

from functools import cache

from fastreg.experiments.harness.find import experiments
from fastreg.experiments.harness.results import Runs
from fastreg.experiments.harness.running import Outcome, run


@cache
def quick(name: str, engine: str = "native", seeds: int = 2, *options: str) -> Outcome:
    """Its outcome."""
    return run(experiments()[name], quick=True, engine=engine, seeds=seeds, options=options)


def claims_of(name: str, numbers: dict) -> list[bool]:
    """Which claims would hold if every seed had found these numbers."""
    return [claim.held for claim in experiments()[name].module.claims(Runs([numbers, numbers], quick=True))]
