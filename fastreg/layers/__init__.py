"""Layers: descriptions of what a model computes, one kind per file. The model draws and keeps the parameters."""

from fastreg.common.names import missing as _missing
from fastreg.layers.base import Layer, Parameter, Start
from fastreg.layers.dense import ACTIVATIONS, Dense
from fastreg.layers.dropout import Dropout
from fastreg.layers.flatten import Flatten
from fastreg.layers.function import Function
from fastreg.layers.noise import GaussianNoise
from fastreg.layers.standardize import Standardize
from fastreg.layers.structure import Add, Concatenate, Residual
from fastreg.layers.values import Input, Value

# The names for specs.
BY_NAME: dict[str, type[Layer]] = {
    "dense": Dense,
    "dropout": Dropout,
    "flatten": Flatten,
    "gaussian_noise": GaussianNoise,
}

__all__ = [
    "ACTIVATIONS",
    "Add",
    "Concatenate",
    "Dense",
    "Dropout",
    "Flatten",
    "Function",
    "GaussianNoise",
    "Input",
    "Layer",
    "Parameter",
    "Residual",
    "Standardize",
    "Start",
    "Value",
]

__getattr__ = _missing(__name__, __all__)
