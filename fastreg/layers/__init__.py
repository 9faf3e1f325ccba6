"""Layers: descriptions of what a model computes, one kind per file. The model draws and keeps the parameters."""

from fastreg.common.names import missing as _missing
from fastreg.layers.activation import Activation
from fastreg.layers.base import Layer, Parameter, Start
from fastreg.layers.by_name import BY_NAME
from fastreg.layers.convolution import Conv2D
from fastreg.layers.dense import ACTIVATIONS, Dense
from fastreg.layers.dropout import Dropout
from fastreg.layers.embedding import Embedding
from fastreg.layers.flatten import Flatten
from fastreg.layers.function import Function
from fastreg.layers.noise import GaussianNoise
from fastreg.layers.norms import BatchNorm, LayerNorm, Norm
from fastreg.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D, Pooling
from fastreg.layers.residual import Residual
from fastreg.layers.standardize import Standardize
from fastreg.layers.structure import Add, Concatenate
from fastreg.layers.values import Input, Value

__all__ = [
    "ACTIVATIONS",
    "BY_NAME",
    "Activation",
    "Add",
    "AvgPool2D",
    "BatchNorm",
    "Concatenate",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Function",
    "GaussianNoise",
    "GlobalAvgPool2D",
    "Input",
    "Layer",
    "LayerNorm",
    "MaxPool2D",
    "Norm",
    "Parameter",
    "Pooling",
    "Residual",
    "Standardize",
    "Start",
    "Value",
]

__getattr__ = _missing(__name__, __all__)
