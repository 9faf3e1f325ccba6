"""The summary of a model: layers, shapes, parameters, exact zeros, and memory, both dense and sparse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastreg.common import html
from fastreg.common.attributes import Suggesting
from fastreg.common.names import missing as _missing
from fastreg.common.tables import table
from fastreg.layers import Dropout, Layer
from fastreg.model.graph import Graph, Network, node_names


class Summarized(Protocol):
    """What a summary needs to know of a model."""

    dtype: str
    graph: Graph

    @property
    def layers(self) -> tuple[Layer, ...]: ...

    @property
    def built(self) -> bool:
        """Whether the model has parameters."""
        ...

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters by name."""
        ...

    @property
    def input_shape(self) -> Any:
        """The shape of a sample, None if it is not known."""
        ...

    @property
    def network_so_far(self) -> Network | None:
        """Layers, graph and the shape of a sample, None if that is not known."""
        ...


INDEX = 4  # bytes of a column index or a row pointer of a sparse matrix


@dataclass(frozen=True)
class Zeros(Suggesting):
    """The sparsity of some parameters.

    parameters   the number of parameters
    weights      how many of them are in weights, the matrices. Biases do not count, since they start at zero
    zeros        how many weights are exactly zero
    bytes        memory of the parameters as they are
    csr_bytes    memory if all weights were compressed sparse rows: their nonzero values, with a column index of 4
                 bytes for each, and a pointer of 4 bytes for each row and the end. The rest is stored as it is
    """

    parameters: int
    weights: int
    zeros: int
    bytes: int
    csr_bytes: int

    @property
    def share(self) -> float:
        """The share of exact zeros among the weights; 0 if there are no weights."""
        return self.zeros / self.weights if self.weights else 0.0

    def __add__(self, other: Zeros) -> Zeros:
        return Zeros(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


NOTHING = Zeros(0, 0, 0, 0, 0)


def zeros_of(arrays: list[np.ndarray]) -> Zeros:
    """The `Zeros` of some parameters together."""
    total = NOTHING
    for array in arrays:
        size = array.size * array.itemsize
        if array.ndim == 2:
            full = int(np.count_nonzero(array))
            csr = full * (array.itemsize + INDEX) + (len(array) + 1) * INDEX
            total += Zeros(array.size, array.size, array.size - full, size, csr)
        else:
            total += Zeros(array.size, 0, 0, size, size)
    return total


def sparsity(model: Summarized) -> dict[str, Zeros]:
    """The `Zeros` of each layer that has parameters, by its name."""
    layers: dict[str, list[np.ndarray]] = {str(layer.name): [] for layer in model.layers}
    for name, array in model.parameters.items():
        layers[name.rpartition(".")[0]].append(array)
    return {name: zeros_of(arrays) for name, arrays in layers.items() if arrays}


class Summary(Suggesting, str):
    """The text of a summary, which a notebook shows as a table. A prompt shows it as it is, not as a string."""

    html: str

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.html


def summary(model: Summarized, lines: Iterable[str] = (), title: str = "") -> Summary:
    """See `Model.summary`. `lines` come after the table and its sums."""
    heads, rows, left = _rows(model)
    after = [*_totals(model), *lines]
    result = Summary("\n".join([table(heads, rows, left=left), *after]))
    result.html = html.page(title or _title(model), html.table(heads, rows, left=left), *after)
    return result


def _title(model: Summarized) -> str:
    count = len(model.layers)
    return f"{type(model).__name__} of {count} {'layer' if count == 1 else 'layers'}"


def _rows(model: Summarized) -> tuple[list[str], list[list[str]], int]:
    """The heads of the table, its rows, and how many columns are aligned left."""
    network = model.network_so_far
    shapes = [None] * len(model.layers) if network is None else [after for _, after in network.layer_shapes()]
    zeros = sparsity(model) if model.built else {}
    reads = None if model.graph.is_chain else _reads(model)
    rows = []
    for index, (layer, shape) in enumerate(zip(model.layers, shapes, strict=True)):
        row = [str(layer.name), _describe(layer), *([] if reads is None else [reads[index]])]
        row += ["?" if shape is None else str(shape), layer.option("activation") or ""]
        own = zeros.get(str(layer.name), NOTHING)
        row += [f"{own.parameters:,}", *_sizes(own)[:2]] if model.built else ["?", "?", "?"]
        rows.append(row)
    left = ["name", "layer", *([] if reads is None else ["reads"]), "output", "activation"]
    return [*left, "parameters", "zeros", "memory"], rows, len(left)


def _totals(model: Summarized) -> list[str]:
    """The lines after the table."""
    lines = [f"heads: {_heads(model)}"] if len(model.graph.outputs) > 1 else []
    if not model.built:
        return [*lines, "not built: parameters are drawn when the model first sees data, or by build(input_shape)"]
    total = sum(sparsity(model).values(), NOTHING)
    share, size, csr = _sizes(total)
    lines.append(f"{total.parameters:,} parameters, {size} in {model.dtype}, samples of shape {model.input_shape}")
    if total.zeros:
        lines.append(f"{share} of the weights are exactly zero; with the weights as sparse rows (CSR) {csr}")
    return lines


def _values(model: Summarized) -> list[str]:
    """A name for each value: of inputs their own, of others that of the node that makes it."""
    return [*(entry.name for entry in model.graph.inputs), *node_names(model.layers, model.graph)]


def _reads(model: Summarized) -> list[str]:
    """What each layer reads, use by use."""
    names = _values(model)
    uses: list[list[str]] = [[] for _ in model.layers]
    for node in model.graph.nodes:
        uses[node.layer].append(", ".join(names[value] for value in node.inputs))
    return ["; ".join(own) for own in uses]


def _heads(model: Summarized) -> str:
    """The heads, each with the value that it is where that has another name."""
    names = _values(model)
    told = [(head, names[value]) for head, value in model.graph.outputs.items()]
    return ", ".join(head if head == name else f"{head} (layer {name})" for head, name in told)


def _sizes(zeros: Zeros) -> tuple[str, str, str]:
    if not zeros.parameters:
        return "", "", ""
    share = f"{100 * zeros.share:.1f} %" if zeros.weights else ""
    return share, memory(zeros.bytes), memory(zeros.csr_bytes) if zeros.weights else ""


def _describe(layer: Layer) -> str:
    if isinstance(layer, Dropout):
        return f"Dropout(keep_prob={layer.keep_prob:.6g}, rate={layer.rate:.6g}{layer.named(None).options})"
    return repr(layer.named(None))


def memory(size: float) -> str:
    """A number of bytes with a suitable unit.

    >>> memory(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


__getattr__ = _missing(__name__)
