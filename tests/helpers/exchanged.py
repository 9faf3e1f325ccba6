"""What the tests of the exchange share: random modules of PyTorch, both layouts of images, gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import fastreg as fr

ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.GELU,
    lambda: nn.GELU(approximate="tanh"),
    nn.SiLU,
    nn.ELU,
    nn.SELU,
    nn.Softplus,
    nn.Mish,
    nn.Hardswish,
    nn.Identity,
)


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 and eval mode, with all parameters and moments away from where they start."""
    module = module.double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else tensor + 0.3 * drawn)
    return module


def last(x) -> np.ndarray:
    """Samples as fastreg takes them: channels last."""
    x = np.asarray(x)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def rows(y: torch.Tensor) -> np.ndarray:
    """Outputs of a module as `predict` gives them: rows, of images with the channels last."""
    y = last(y.detach().numpy())
    return y.reshape(len(y), -1)


def close(got, expected, rel: float) -> bool:
    """Whether the largest difference is small, relative to the size of what is expected."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max()) <= rel * max(float(np.abs(expected).max()), 1e-300)


def in_torch_form(model: fr.Model, values: dict) -> dict:
    """Values of parameters, such as gradients, by torch's keys and in its shapes."""
    copy = model.copy()
    copy.load_state_dict(model.state_dict() | values)
    return fr.torch_state(copy)


def random_net(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A net of all sorts and the shape of its samples, as PyTorch has it."""
    rng = np.random.default_rng(seed)
    parts: list[nn.Module] = []

    def activation() -> nn.Module:
        return ACTIVATIONS[rng.integers(len(ACTIVATIONS))]()

    if rng.random() < 0.5:
        channels, height, width = (int(n) for n in rng.integers((1, 6, 6), (4, 11, 11)))
        shape: tuple[int, ...] = (channels, height, width)
        for _ in range(rng.integers(1, 3)):
            filters, k = int(rng.integers(1, 6)), int(rng.choice([1, 3]))
            parts.append(nn.Conv2d(channels, filters, k, padding=k // 2, bias=bool(rng.random() < 0.7)))
            channels = filters
            parts += [nn.BatchNorm2d(channels)] if rng.random() < 0.5 else []
            parts.append(activation())
            if min(height, width) >= 4 and rng.random() < 0.5:
                parts.append((nn.MaxPool2d if rng.random() < 0.5 else nn.AvgPool2d)(2))
                height, width = height // 2, width // 2
        if rng.random() < 0.3:
            parts.append(nn.AdaptiveAvgPool2d(1))
            height = width = 1
        parts.append(nn.Flatten())
        units = channels * height * width
    else:
        units = int(rng.integers(1, 12))
        shape = (units,)
    for _ in range(rng.integers(0, 3)):
        parts += [nn.Dropout(0.3)] if rng.random() < 0.3 else []
        after = int(rng.integers(2, 17))
        parts.append(nn.Linear(units, after, bias=bool(rng.random() < 0.8)))
        units = after
        parts += [nn.BatchNorm1d(units)] if rng.random() < 0.3 else []
        parts += [nn.LayerNorm(units)] if rng.random() < 0.3 else []
        parts.append(activation())
    parts.append(nn.Linear(units, int(rng.integers(1, 5))))
    return nn.Sequential(*parts), shape
