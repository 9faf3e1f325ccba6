"""The table of the lowering: layer type -> the function that makes its step. A new layer gets a row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastreg import layers as L
from fastreg.model.lowering import dense, draws, embedding, images, inputs, norms, structure
from fastreg.model.lowering.build import Forward, Place, Step

FORWARD: dict[type[L.Layer], Callable[[Forward, Any, Place], Step]] = {
    L.Activation: norms.activation,
    L.Add: structure.add,
    L.BatchNorm: norms.batch_norm,
    L.Concatenate: structure.concatenate,
    L.Conv2D: images.conv,
    L.Dense: dense.dense,
    L.Dropout: draws.dropout,
    L.Embedding: embedding.embedding,
    L.Flatten: draws.flatten,
    L.Function: structure.function,
    L.GaussianNoise: draws.noise,
    L.Pooling: images.pool,
    L.LayerNorm: norms.layer_norm,
    L.Standardize: inputs.standardize,
}


def forward_of(layer: L.Layer) -> Callable[[Forward, Any, Place], Step]:
    """The function for a layer, or for the layer that it derives from."""
    for kind in type(layer).__mro__:
        if kind in FORWARD:
            return FORWARD[kind]
    raise TypeError(
        f"layer {layer.name!r}: got {type(layer).__name__}, which fastreg cannot train; derive from Function"
    )
