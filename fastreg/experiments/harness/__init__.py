"""What all experiments share. An experiment imports from here and from `fastreg` alone."""

from fastreg.experiments.harness import figures
from fastreg.experiments.harness.lab import Lab
from fastreg.experiments.harness.parameters import squared_norm, weights
from fastreg.experiments.harness.results import Claim, Runs, Table, plus_minus, surely_above

__all__ = ["Claim", "Lab", "Runs", "Table", "figures", "plus_minus", "squared_norm", "surely_above", "weights"]
