"""Text tables, durations and percentages, for the command line and the printed results of checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table with a line under its heads. The first `left` columns are aligned left, the others right.

    Examples
    --------
    >>> print(table(["op", "time"], [["gather", "5 us"], ["loss", "12 us"]]))
    op       time
    -------------
    gather   5 us
    loss    12 us
    """
    cells = [list(heads), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]])


def duration(seconds: float) -> str:
    """A duration with three digits and its unit.

    Examples
    --------
    >>> duration(0.00123), duration(4.2e-7)
    ('1.23 ms', '0.42 us')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            break
    value = seconds / size
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def percent(share: float | None) -> str:
    """A share as a percentage, or a dash for None.

    Examples
    --------
    >>> percent(0.873), percent(None)
    ('87 %', '-')
    """
    return "-" if share is None else f"{100 * share:.0f} %"


def times(ratio: float) -> str:
    """A ratio as a multiple, with two digits or more.

    Examples
    --------
    >>> times(4.13), times(31.2)
    ('4.1 x', '31 x')
    """
    return f"{ratio:.{0 if ratio >= 10 else 1}f} x"
