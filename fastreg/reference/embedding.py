"""Embeddings in NumPy: rows of a table by code, their gradient, and a limit on their norms."""

from __future__ import annotations

import numpy as np

from fastreg.reference import norms


def embed(table: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The named rows of the table (R, width), side by side: (M, columns * width) for rows (M, columns)."""
    return table[rows].reshape(len(rows), -1)


def embed_dw(dz: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The gradient of a table of `count` rows: for each the sum of the parts of dz that are its own, in their order."""
    parts = dz.reshape(rows.size, -1)
    found = np.zeros((count, parts.shape[1]), dz.dtype)
    np.add.at(found, rows.reshape(-1), parts)
    return found


def limit_rows(table: np.ndarray, limit: float) -> np.ndarray:
    """The table, in which rows with a larger norm are scaled down to the limit."""
    first, second = norms.ratio(limit, norms.norm([table], axis=1), table.dtype)
    return norms.scaled(table, (first[:, np.newaxis], second[:, np.newaxis]))
