"""The values that a search tries: all of a grid, or random draws from a space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from fastreg.common import checking

Params = dict[str, Any]


def grid_points(grid: Any) -> list[Params]:
    """All combinations of the values of a dict, or of several dicts one after the other. The last name varies first."""
    points: list[Params] = []
    for part in [grid] if isinstance(grid, Mapping) else list(checking.iterate("grid", grid, "a dict of lists")):
        names, values = _names("grid", part), []
        for name in names:
            if isinstance(part[name], (str, Mapping)) or not hasattr(part[name], "__iter__"):
                raise TypeError(f"grid: got {checking.shown(part[name])} for {name!r}, expected a list of values")
            values.append([_plain(value) for value in part[name]])
        points += [dict(zip(names, point, strict=True)) for point in product(*values)]
    if not points:
        raise ValueError("grid: got no values, expected at least one for each name")
    return points


def random_points(space: Any, count: int, seed: int) -> list[Params]:
    """Draws of all names, by the seed alone."""
    names = _names("space", space)
    rng = np.random.default_rng(seed)
    return [{name: _draw(name, space[name], rng) for name in names} for _ in range(count)]


def _names(argument: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping) or not value:
        raise TypeError(
            f"{argument}: got {checking.shown(value)}, expected a dict of values by the name of an argument"
        )
    return [checking.text(argument, name) for name in value]


def _draw(name: str, values: Any, rng: np.random.Generator) -> Any:
    """One value: of a list, between two numbers, or by a distribution of SciPy's or a function of the generator."""
    if isinstance(values, tuple):
        return _between(name, values, rng)
    if hasattr(values, "rvs"):
        return _plain(values.rvs(random_state=rng))
    if callable(values):
        return _plain(values(rng))
    if isinstance(values, (str, Mapping)) or not hasattr(values, "__len__") or not len(values):
        raise TypeError(
            f"space: got {checking.shown(values)} for {name!r}, expected a list, (low, high), or (low, high, 'log')"
        )
    return _plain(values[int(rng.integers(len(values)))])


def _between(name: str, bounds: tuple, rng: np.random.Generator) -> float | int:
    """Uniform from low to high, which are both possible if they are whole numbers, or uniform in the logarithm."""
    scale = bounds[2] if len(bounds) == 3 else "linear"
    if len(bounds) not in (2, 3) or scale not in ("linear", "log"):
        raise ValueError(f"space: got {bounds!r} for {name!r}, expected (low, high) or (low, high, 'log')")
    low, high = (checking.number(f"space[{name!r}]", value, -math.inf) for value in bounds[:2])
    if not low < high or (scale == "log" and low <= 0):
        raise ValueError(f"space: got {bounds!r} for {name!r}, expected low < high{', above 0' * (scale == 'log')}")
    whole = all(isinstance(value, (int, np.integer)) for value in bounds[:2])
    if scale == "log":
        edge = 1 if whole else 0
        drawn = math.exp(rng.uniform(math.log(low), math.log(high + edge)))
        return min(int(drawn), int(high)) if whole else drawn
    return int(rng.integers(int(low), int(high) + 1)) if whole else float(rng.uniform(low, high))


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value
