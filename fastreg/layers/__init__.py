"""Layers: descriptions of what a model computes, one kind per file. The model draws and keeps the parameters."""

from fastreg.common.names import missing as _missing
from fastreg.layers.base import Layer, Parameter, Start
from fastreg.layers.dense import ACTIVATIONS, Dense
from fastreg.layers.dropout import Dropout
from fastreg.layers.flatten import Flatten
from fastreg.layers.function import Function
from fastreg.layers.noise import GaussianNoise
from fastreg.layers.standardize import Standardize

# The names for specs.
BY_NAME: dict[str, type[Layer]] = {
    "dense": Dense,
    "dropout": Dropout,
    "flatten": Flatten,
    "gaussian_noise": GaussianNoise,
}

__all__ = [
    "ACTIVATIONS",
    "Dense",
    "Dropout",
    "Flatten",
    "Function",
    "GaussianNoise",
    "Layer",
    "Parameter",
    "Standardize",
    "Start",
]

__getattr__ = _missing(__name__, __all__)
