"""The names of layers for specs, such as "dense(10)"."""

from fastreg.layers.activation import Activation
from fastreg.layers.base import Layer
from fastreg.layers.convolution import Conv2D
from fastreg.layers.dense import Dense
from fastreg.layers.dropout import Dropout
from fastreg.layers.embedding import Embedding
from fastreg.layers.flatten import Flatten
from fastreg.layers.noise import GaussianNoise
from fastreg.layers.norms import BatchNorm, LayerNorm
from fastreg.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D

BY_NAME: dict[str, type[Layer]] = {
    "activation": Activation,
    "avg_pool2d": AvgPool2D,
    "batch_norm": BatchNorm,
    "conv2d": Conv2D,
    "dense": Dense,
    "dropout": Dropout,
    "embedding": Embedding,
    "flatten": Flatten,
    "gaussian_noise": GaussianNoise,
    "global_avg_pool2d": GlobalAvgPool2D,
    "layer_norm": LayerNorm,
    "max_pool2d": MaxPool2D,
}
