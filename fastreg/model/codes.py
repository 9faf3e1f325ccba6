"""Codes of categories in the inputs of a model: which columns they are, and whether they are good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fastreg.common import checking
from fastreg.common.sparse import SparseRows
from fastreg.layers import Embedding
from fastreg.model.graph import Network
from fastreg.program.embedding import Codes, refusal


def check_codes(name: str, X, network: Network, names: Callable[[], list[str]] | None = None) -> None:
    """Refuses inputs whose codes name no category, by row and column. `X` is an array, or one by the name of each
    input. Memory maps and sparse rows are left to the engine."""
    for value, codes in _of_inputs(network):
        entry = network.graph.inputs[value]
        own, where = (X[entry.name], f"{name}[{entry.name!r}]") if isinstance(X, Mapping) else (X, name)
        if isinstance(own, SparseRows) or checking.is_memory_map(own):
            continue
        columns = range(own.shape[1]) if entry.columns is None else entry.columns
        for column, count in zip(columns, codes.counts, strict=True):
            row = _first_bad(own[:, column], count)
            if row >= 0:
                called = column if names is None else repr(names()[column])
                raise ValueError(refusal(f"{where}: row {row}", own[row, column], called, count))


def _of_inputs(network: Network) -> Iterator[tuple[int, Codes]]:
    """The number of each input that holds codes, and what they name."""
    for node in network.graph.nodes:
        layer = network.layers[node.layer]
        if isinstance(layer, Embedding):
            yield node.inputs[0], layer.codes(network.input_shapes[node.inputs[0]][0])


def _first_bad(column: np.ndarray, count: int) -> int:
    """The first row without a good code, -1 if there is none."""
    step = checking.CHUNK
    for start in range(0, len(column), step):
        part = column[start : start + step]
        good = (
            part.min() >= 0 and part.max() < count and (part.dtype.kind != "f" or bool((np.floor(part) == part).all()))
        )
        if not good:
            return start + int(np.argmax(Codes((count,), False).bad(part[:, np.newaxis])[:, 0]))
    return -1
