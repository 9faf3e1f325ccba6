"""Layers of fastreg that PyTorch lacks, as its modules. Only `to_torch` and `from_torch` import this.

They are classes of a module, so `torch.save` and `copy.deepcopy` take them.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import nn
from torch.nn import functional as F


class Standardize(nn.Module):
    """(x - mean) scale, with buffers of the shape of a sample."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def forward(self, x):
        return (x - self.mean) * self.scale


class Unscale(nn.Module):
    """y scale + mean: numbers in the units of the targets."""

    def __init__(self, outputs: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("scale", torch.ones(outputs))

    def forward(self, y):
        return y * self.scale + self.mean


class Exp(nn.Module):
    """e^x, what a model predicts under a Poisson loss."""

    def forward(self, x):
        return torch.exp(x)


class GaussianNoise(nn.Module):
    """x + std n in training."""

    def __init__(self, std: float):
        super().__init__()
        self.std = std

    def forward(self, x):
        return x + self.std * torch.randn_like(x) if self.training else x

    def extra_repr(self) -> str:
        return f"std={self.std}"


class OtherDropout(nn.Module):
    """The kinds of `fastreg.Dropout` that torch.nn.Dropout is not."""

    def __init__(self, keep_prob: float, kind: str, per: str, rows: int | None = None):
        super().__init__()
        self.keep_prob, self.kind, self.per, self.rows = keep_prob, kind, per, rows

    def forward(self, x):
        keep = self.keep_prob
        if not self.training:
            keep = round(keep * 65536) / 65536  # as fastreg draws it
            return x * keep if self.kind == "standard" else x
        groups = -(-len(x) // (self.rows or max(len(x), 1)))  # of rows that share their draws
        like = x[:groups] if self.per == "unit" else x
        if self.kind == "gaussian":
            drawn = 1 + ((1 - keep) / keep) ** 0.5 * torch.randn_like(like)
        else:
            drawn = (torch.rand_like(like) < keep).to(x.dtype)
            drawn = drawn if self.kind == "standard" or keep == 0 else drawn / keep
        return x * (drawn.repeat_interleave(self.rows, dim=0)[: len(x)] if self.rows else drawn)

    def extra_repr(self) -> str:
        rows = f", rows={self.rows}" if self.rows else ""
        return f"keep_prob={self.keep_prob}, kind={self.kind!r}, per={self.per!r}{rows}"


class TiedLinear(nn.Module):
    """A linear layer with the weight of another one, or with that transposed."""

    def __init__(self, units: int, bias: bool, transposed: bool):
        super().__init__()
        self.transposed = transposed
        self.register_parameter("bias", nn.Parameter(torch.zeros(units)) if bias else None)
        self.tied: tuple[nn.Linear, ...] = ()  # in a tuple, so that the other layer is no child of this one

    def forward(self, x):
        weight = self.tied[0].weight
        return F.linear(x, weight.T if self.transposed else weight, self.bias)

    def extra_repr(self) -> str:
        return f"transposed={self.transposed}"


class ColumnEmbedding(nn.Module):
    """Vectors for columns of codes, each of which has its own part of one table. They are side by side."""

    def __init__(self, categories: tuple[int, ...], width: int):
        super().__init__()
        self.categories, self.width = tuple(categories), width
        self.weight = nn.Parameter(torch.zeros(sum(categories), width))

    def forward(self, codes):
        first = torch.tensor([0, *accumulate(self.categories[:-1])], device=self.weight.device)
        return F.embedding(codes + first, self.weight).flatten(1)

    def extra_repr(self) -> str:
        return f"categories={self.categories}, width={self.width}"


class BorderedAvgPool2d(nn.Module):
    """Means of windows that reach over the border further on one side, which does not count."""

    def __init__(self, kernel_size: tuple[int, int], stride: tuple[int, int], border: tuple[int, int, int, int]):
        super().__init__()
        self.kernel_size, self.stride, self.border = kernel_size, stride, border

    def forward(self, x):
        ones = F.pad(torch.ones_like(x[:1, :1]), self.border)
        sums = F.avg_pool2d(F.pad(x, self.border), self.kernel_size, self.stride)
        return sums / F.avg_pool2d(ones, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, border={self.border}"


class FrozenBatchNorm1d(nn.BatchNorm1d):
    """A batch norm that always uses its running moments, and leaves them as they are."""

    def train(self, mode: bool = True):
        return super().train(False)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """The same for images."""

    def train(self, mode: bool = True):
        return super().train(False)


OWN = (
    Standardize,
    Unscale,
    Exp,
    GaussianNoise,
    OtherDropout,
    TiedLinear,
    ColumnEmbedding,
    BorderedAvgPool2d,
    FrozenBatchNorm1d,
    FrozenBatchNorm2d,
)
BY_NAME = {kind.__name__: kind for kind in OWN}
