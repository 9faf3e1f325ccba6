"""Splits of a data set into training, validation and test parts: at random, stratified or by group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastreg.common import checking
from fastreg.common.pieces import counted, taken
from fastreg.common.sparse import is_sparse
from fastreg.common.understood import understood
from fastreg.data.order import apart, by_code, coded, joined, permutation, shuffled
from fastreg.intake import frames

ROUNDING = 1e-9  # how near to a whole number of samples a share of them counts as one
MIX_TOLERANCE = 0.05  # largest total variation distance between the class mix of a part and that of the whole


@understood
def split(
    X: np.ndarray,
    y: np.ndarray,
    fractions: Sequence[float] = (0.7, 0.3),
    *,
    stratify: bool = False,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split samples into parts at random: 70/30, 60/20/20, 98/1/1, …

    Parameters
    ----------
    X : ndarray (n, …), frame, Table or sparse matrix
        Samples.
    y : ndarray (n,) or (n, outputs), Series or frame
        Labels or targets.
    fractions : sequence of float
        The share of each part. Their sum is 1.
    stratify : bool
        Whether every part gets the classes of `y` in the same proportions. The sizes of the parts, and of each class in
        a part, then are within one sample of their share.
    groups : ndarray (n,), optional
        Samples of the same group (one patient, one writer) stay together. Otherwise the validation error would
        say how well the model knows the groups. The sizes of the parts then only come close to the fractions.
    seed : int
        The same seed gives the same parts.

    Returns
    -------
    list of (X_part, y_part)
        Shuffled copies, one pair per fraction: of the kinds that X and y have, CSR for a sparse matrix.

    Raises
    ------
    ValueError
        The lengths differ, the fractions are not positive with sum 1, a part would be empty, or both `stratify` and
        `groups` are given.

    Warns
    -----
    UserWarning
        The class mix of a part differs from that of the whole, so errors on it would not be comparable.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> (X_train, y_train), (X_val, y_val), (X_test, y_test) = fr.data.split(X, y, (0.6, 0.2, 0.2), stratify=True)
    >>> len(X_train), len(X_val), len(X_test)
    (1200, 400, 400)
    """
    X, count = with_rows("X", X)
    given, targets = with_rows("y", y)
    if targets != count:
        shape = getattr(given, "shape", (targets,))
        raise ValueError(f"y: got shape {shape}, expected {count} rows, as many as X has")
    y = labels_of(given)
    shares = _check_fractions(fractions)
    random = np.random.default_rng(checking.seed(seed))
    if checking.flag("stratify", stratify) and groups is not None:
        raise ValueError("groups: got groups with stratify=True, expected one of the two")
    if groups is not None:
        parts = _by_group(_checked_groups(groups, count), shares, random)
    elif stratify:
        if not _is_classes(y):
            raise ValueError(f"y: got {y.dtype} of shape {y.shape}, expected class labels (n,) to stratify by")
        parts = _by_class(y, shares, random)
    else:
        parts = _cut(permutation(random, count), shares)
    for number, part in enumerate(parts):
        if len(part) == 0:
            share = f"fractions: got {shares[number]:g} for part {number}"
            raise ValueError(f"{share}, expected at least one of the {count} samples: the part would be empty")
    if _is_classes(y):
        _warn_of_mix(y, parts, "" if stratify or groups is not None else "; stratify=True keeps the mix")
    return [(frames.take(X, part), frames.take(given, part)) for part in parts]


@understood
def folds(
    X: np.ndarray,
    y: np.ndarray | None = None,
    k: int = 5,
    *,
    stratify: bool | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows of k folds for cross-validation: each row is held back in one of them. Nothing is copied.

    Parameters
    ----------
    X : ndarray (n, …), frame, Table or sparse matrix
        Samples, of which only the number counts.
    y : ndarray (n,), optional
        Labels to stratify by.
    k : int
        The number of folds, from 2 to n.
    stratify : bool, optional
        Whether the classes of `y` have the same proportions in each fold. By default if `y` holds labels.
    groups : ndarray (n,), optional
        Samples of the same group (one patient, one writer) are held back together. The folds are then not stratified,
        and their sizes only come close to n / k.
    seed : int
        The same seed gives the same folds. The rows are shuffled.

    Returns
    -------
    list of (rows_to_train_on, rows_held_back)
        For `rows=` of `fastreg.Trainer.fit` and `fastreg.Trainer.evaluate`. Both are in increasing order.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above, or a fold would be empty.

    Examples
    --------
    >>> import fastreg as fr
    >>> X, y = fr.data.load("moons")
    >>> [len(held_back) for _, held_back in fr.data.folds(X, y, 3)]
    [667, 667, 666]
    """
    _, count = with_rows("X", X)
    labels = None if y is None else labels_of(with_rows("y", y)[0])
    if labels is not None and len(labels) != count:
        raise ValueError(f"y: got {len(labels)} rows, expected {count}, as many as X has")
    return folds_of(count, labels, k, stratify, groups, seed)


def folds_of(
    count: int, labels: np.ndarray | None, k: int, stratify: bool | None, groups, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """`folds` of `count` rows."""
    k = checking.integer("k", k, 2, max(count, 2))
    random = np.random.default_rng(checking.seed(seed))
    known = labels is not None and _is_classes(labels)
    if stratify is not None and checking.flag("stratify", stratify):
        if groups is not None:
            raise ValueError("groups: got groups with stratify=True, expected one of the two")
        if not known:
            raise ValueError("y: got no class labels (n,), expected some to stratify by")
    if groups is not None:
        held = _by_group(_checked_groups(groups, count), np.full(k, 1 / k), random)
    else:
        order = permutation(random, count)
        if labels is not None and known and stratify is not False:
            classes, member = coded(labels)
            order = taken(order, by_code(taken(member, order), len(classes)))
        held = [order[place::k] for place in range(k)]  # of each class at most one more than in another fold
    if not all(len(rows) for rows in held):
        what = f"{count} rows" if groups is None else f"{len(np.unique(groups))} groups"
        raise ValueError(f"k: got {k} folds of {what}, expected fewer folds")
    return [apart(count, rows) for rows in held]


def _checked_groups(groups, count: int) -> np.ndarray:
    groups = checking.as_array("groups", groups)
    if groups.shape != (count,):
        raise ValueError(f"groups: got shape {groups.shape}, expected ({count},)")
    if groups.dtype.kind not in "biufUSmM":
        raise TypeError(f"groups: got an array of {groups.dtype}, expected numbers or texts")
    return groups


def with_rows(name: str, value) -> tuple[Any, int]:
    """`value` as something that `frames.take` takes rows of, and how many rows it has."""
    if is_sparse(value):
        return value.tocsr(), value.shape[0]
    if frames.is_frame(value):
        return value, frames.length(value)
    array = checking.as_array(name, value)
    if array.ndim == 0:
        raise ValueError(f"{name}: got shape (), expected (n, ...)")
    return array, len(array)


def labels_of(y) -> np.ndarray:
    """The targets as an array. A frame of one column is this column."""
    if is_sparse(y):
        return np.empty((y.shape[0], 0))
    if not frames.is_frame(y):
        return y
    columns = frames.columns(y, "y")
    return columns[0] if len(columns) == 1 else np.empty((frames.length(y), len(columns)))


def cut(count: int, labels: np.ndarray | None, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """The positions of `count` samples in parts of these shares, at random. With labels, each part gets its share of
    each."""
    random = np.random.default_rng(seed)
    parts = np.array(shares)
    return _cut(permutation(random, count), parts) if labels is None else _by_class(labels, parts, random)


def _check_fractions(fractions: Sequence[float]) -> np.ndarray:
    shares = checking.array("fractions", fractions, "float64").astype(float)
    if shares.ndim != 1 or len(shares) == 0 or not (shares > 0).all() or not abs(shares.sum() - 1) <= 1e-9:
        raise ValueError(
            f"fractions: got {checking.shown(fractions)}, expected positive numbers with sum 1, such as (0.8, 0.2)"
        )
    return shares


def _is_classes(y: np.ndarray) -> bool:
    if y.dtype == object:
        return y.ndim == 1 and all(isinstance(label, str) for label in y.tolist())
    return y.ndim == 1 and y.dtype.kind in "biuUST"


def _cut(order: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
    """Consecutive pieces of the sizes that `_sizes` gives."""
    return np.split(order, np.cumsum(_sizes(len(order), shares))[:-1])


def _sizes(count: int, shares: np.ndarray) -> np.ndarray:
    """The sizes of parts of `count` samples. They are rounded down, and the rest goes to the largest remainders."""
    exact = shares * count
    sizes = np.floor(exact + ROUNDING).astype(int)
    largest = np.argsort(sizes - exact, kind="stable")
    sizes[largest[: count - sizes.sum()]] += 1
    return sizes


def _by_class(y: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Cuts every class by itself, into sizes that also add up to the shares of the whole."""
    classes, member = coded(y)
    counts = counted(member, len(classes))
    rows = np.split(by_code(member, len(classes)), np.cumsum(counts)[:-1])
    orders = [shuffled(random, some) for some in rows]
    sizes = np.array([_sizes(count, shares) for count in counts])
    _balance(sizes, counts[:, None] * shares, random)
    cut = [np.split(order, np.cumsum(own)[:-1]) for order, own in zip(orders, sizes, strict=True)]
    return [shuffled(random, joined(part)) for part in zip(*cut, strict=True)]


def _balance(sizes: np.ndarray, exact: np.ndarray, random: np.random.Generator) -> None:
    """Changes `sizes` (classes, parts) until no sum of a part is a whole sample or more from its `exact` sum.

    Each class by itself rounds the same way: of 100 classes of 4, each would give 2, 1 and 1 to parts of 60, 20 and
    20 %. So where a part has too many, some classes give one sample to a part with room. A size is always its exact
    value rounded down or up, and a class keeps its sum. Under these rules there always is a solution, and moves along
    paths from part to part find it (a flow in a network of whole capacities). Sizes that are right stay as they are.
    """
    low, high = np.floor(exact + ROUNDING).astype(int), np.ceil(exact - ROUNDING).astype(int)
    least, most = np.floor(exact.sum(0) + ROUNDING).astype(int), np.ceil(exact.sum(0) - ROUNDING).astype(int)
    ties = None
    while True:
        sums = sizes.sum(0)
        if (sums > most).any():
            spare, room = np.maximum(sums - most, 0), np.maximum(most - sums, 0)
        else:
            spare, room = np.maximum(sums - least, 0), np.maximum(least - sums, 0)
        if not spare.any() or not room.any():
            return
        if ties is None:
            ties = random.random(len(sizes))
        gives, takes = sizes > low, sizes < high
        free = gives.T.astype(int) @ takes  # how many classes can move a sample from one part to another
        path = _path(free, spare, room)
        if path is None:
            return
        steps = list(pairwise(path))
        count = min(spare[path[0]], room[path[-1]], *(free[step] for step in steps))
        for source, target in steps:
            can = np.flatnonzero((sizes[:, source] > low[:, source]) & (sizes[:, target] < high[:, target]))
            lack = (exact - sizes)[can]
            best = can[np.lexsort((ties[can], (lack[:, source] - lack[:, target]).round(9)))[:count]]
            sizes[best, source] -= 1
            sizes[best, target] += 1


def _path(free: np.ndarray, spare: np.ndarray, room: np.ndarray) -> list[int] | None:
    """The shortest way from a part with samples to spare to one with room, along pairs that are `free`."""
    before = {int(part): -1 for part in np.flatnonzero(spare)}
    for part in (queue := list(before)):
        if room[part]:
            path = [part]
            while before[path[0]] >= 0:
                path.insert(0, before[path[0]])
            return path
        for target in np.flatnonzero(free[part]):
            if int(target) not in before:
                before[int(target)] = part
                queue.append(int(target))
    return None


def _by_group(groups: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Gives each group to the part that lacks the most samples, largest first; equal groups in random order."""
    different, member = coded(groups)
    sizes = counted(member, len(different))
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    lack = shares * len(groups)
    part_of = np.empty(len(sizes), dtype=int)
    for group in order:
        part_of[group] = lack.argmax()
        lack[part_of[group]] -= sizes[group]
    part_of = taken(part_of, member)
    return [shuffled(random, np.flatnonzero(part_of == part)) for part in range(len(shares))]


def _warn_of_mix(y: np.ndarray, parts: list[np.ndarray], advice: str) -> None:
    classes, codes = coded(y)
    totals = counted(codes, len(classes))
    whole = totals / len(y)
    for number, part in enumerate(parts):
        mix = counted(taken(codes, part), len(classes)) / len(part)
        distance = np.abs(mix - whole).sum() / 2
        worst = np.abs(mix - whole).argmax()
        if distance > MIX_TOLERANCE or (mix == 0).any():
            if (mix == 0).any():
                worst = (mix == 0).argmax()
            there = f"{totals[worst]} of {len(y)} rows"
            advice = advice if totals[worst] >= len(parts) else ": too few for every part"
            warnings.warn(
                f"the class mix of part {number} differs from the whole: class {classes[worst]} is {mix[worst]:.1%} of "
                f"the part and {whole[worst]:.1%} of the whole, {there}{advice}",
                stacklevel=3,
            )
