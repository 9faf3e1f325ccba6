"""Frames of pandas and polars, dicts of columns and Tables: their names and columns. Recognized by what they have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastreg.intake.table import Table


def is_frame(value) -> bool:
    """Whether it has named columns: a frame, a Series, a Table or a dict."""
    if isinstance(value, (Table, Mapping)):
        return True
    return hasattr(value, "dtypes" if hasattr(value, "columns") else "to_frame")


def names(frame) -> tuple[str, ...]:
    """The names of its columns."""
    return _table(frame).names


def columns(frame) -> list[np.ndarray]:
    """Its columns as one-dimensional arrays."""
    table = _table(frame)
    return [table[name] for name in table.names]


def _table(frame) -> Table:
    return Table.of(frame if isinstance(frame, (Table, Mapping)) or hasattr(frame, "columns") else frame.to_frame())
