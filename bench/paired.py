"""Ratios of times that were measured in turns, with their confidence intervals."""

from pathlib import Path

import numpy as np

UNSTEADY = 1.15  # the upper end of the interval over the lower one


def ratio_interval(ours, theirs, draws=2000, seed=0):
    """The median of theirs / ours over the pairs, and its 95 % bootstrap interval.

    >>> ratio_interval([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    (2.0, 2.0, 2.0)
    """
    logs = np.log(np.asarray(theirs) / np.asarray(ours))
    chosen = np.random.default_rng(seed).integers(0, len(logs), (draws, len(logs)))
    low, high = np.percentile(np.median(logs[chosen], axis=1), [2.5, 97.5])
    return tuple(float(round(np.exp(value), 12)) for value in (np.median(logs), low, high))


class Steal:
    """Measures the share of processor time that other virtual machines take. None if it is unknown."""

    def __init__(self):
        self.before = self._ticks()

    @staticmethod
    def _ticks():
        try:
            return [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        except (OSError, ValueError):
            return None

    def share(self):
        after = self._ticks()
        if not after or not self.before:
            return None
        spent = [b - a for a, b in zip(self.before, after, strict=True)]
        return spent[7] / max(sum(spent), 1)
