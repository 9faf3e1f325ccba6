"""The graphs of `graphs.py` in PyTorch, written from the documentation: formulas and nothing of fastreg."""

from __future__ import annotations

import torch
from graphs import Graph, Node
from torch.nn import functional as F

ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": lambda z: F.softplus(z, threshold=50),
    "mish": F.mish,
    "hard_swish": F.hardswish,
}


def log_cosh(z, y):
    d = (z - y).abs()
    return d + F.softplus(-2 * d) - torch.log(torch.tensor(2.0, dtype=z.dtype))


LOSSES = {  # for each element, or for each row
    "softmax_cross_entropy": lambda z, y: F.cross_entropy(z, y, reduction="none"),
    "sigmoid_cross_entropy": lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none"),
    "mse": lambda z, y: (z - y) ** 2,
    "mae": lambda z, y: (z - y).abs(),
    "huber": lambda z, y: F.huber_loss(z, y, reduction="none"),
    "log_cosh": log_cosh,
}


def channels_first(x):
    return (x if x.ndim == 4 else x[..., None]).permute(0, 3, 1, 2)


def padded(node: Node, x, size, value: float = 0.0):
    """Images with their border, of which the larger part comes after, and the strides."""
    strides = node.options.get("strides", (1, 1))
    if node.options["padding"] == "valid":
        return x, strides
    pads: list[int] = []
    for n, k, s in list(zip(x.shape[2:], size, strides, strict=True))[::-1]:  # F.pad begins with the last axis
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value), strides


class Net:
    """A graph as a function of parameters that torch can differentiate."""

    def __init__(self, graph: Graph, state: dict, dtype=torch.float64):
        self.graph, self.dtype = graph, dtype
        self.parameters = {name: torch.tensor(value, dtype=dtype) for name, value in state.items()}
        frozen = {n.layer or n.name for n in graph.nodes if not n.options.get("trainable", True)}
        self.trained = {
            name: value.requires_grad_()
            for name, value in self.parameters.items()
            if name.split(".")[0] not in frozen and name.rpartition(".")[2] not in ("mean", "var")
        }
        self.training = True
        self.seen: dict = {}  # the moments of the last batch, by layer

    def of(self, node: Node, part: str):
        return self.parameters.get(f"{node.layer or node.name}.{part}")

    def forward(self, X) -> dict:
        values = {}
        for node in self.graph.nodes:
            if node.kind == "Input":
                values[node.name] = self.input(node, X)
            else:
                values[node.name] = getattr(self, node.kind)(node, *(values[name] for name in node.of))
        return {name: values[head.value] for name, head in self.graph.heads.items()}

    def input(self, node: Node, X):
        found = X[node.name] if isinstance(X, dict) else X
        if "columns" in node.options:
            found = found[:, list(node.options["columns"])]
        return torch.as_tensor(found) if found.dtype.kind == "i" else torch.tensor(found, dtype=self.dtype)

    # --- Layers, each a formula -----------------------------------------------------------------------------------

    def Dense(self, node, x):
        tied = node.options.get("tied_to")
        w = self.of(node, "weight") if tied is None else self.parameters[f"{tied}.weight"]
        z = x @ (w.T if node.options.get("transposed") else w)
        if node.options.get("use_bias", True):
            z = z + self.of(node, "bias")
        return ACTIVATIONS[node.options.get("activation") or "linear"](z)

    def Add(self, node, *values):
        return sum(values[1:], values[0])

    def Concatenate(self, node, *values):
        return torch.cat(values, dim=-1)

    def Residual(self, node, x):
        y = x
        for inner in node.options["layers"]:
            y = getattr(self, inner.kind)(inner, y)
        return ACTIVATIONS[node.options["activation"]](x + y)

    def Activation(self, node, x):
        return ACTIVATIONS[node.options["activation"]](x)

    def Dropout(self, node, x):
        return x

    def Flatten(self, node, x):
        return x.reshape(len(x), -1)

    def BatchNorm(self, node, x):
        axes = tuple(range(x.ndim - 1))
        if self.training:
            mean, variance = x.mean(axes), x.var(axes, correction=0)
            self.seen[node.layer or node.name] = mean.detach(), x.var(axes).detach()
        else:
            mean, variance = self.of(node, "mean"), self.of(node, "var")
        return self.scaled(node, (x - mean) / torch.sqrt(variance + 1e-5))

    def LayerNorm(self, node, x):
        axes = tuple(range(1, x.ndim))
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
        return self.scaled(node, (x - mean) / torch.sqrt(variance + 1e-5))

    def scaled(self, node, x):
        gamma, beta = self.of(node, "gamma"), self.of(node, "beta")
        if node.kind == "LayerNorm":
            gamma, beta = gamma.reshape(x.shape[1:]), beta.reshape(x.shape[1:])
        return ACTIVATIONS[node.options.get("activation") or "linear"](x * gamma + beta)

    def keep_moments(self) -> None:
        """The running moments after a step: those of the batch count a tenth."""
        for layer, moments in self.seen.items():
            for part, value in zip(("mean", "var"), moments, strict=True):
                running = self.parameters[f"{layer}.{part}"]
                running += 0.1 * (value - running)

    def Embedding(self, node, x):
        counts = node.options["categories"]
        first = 0 if isinstance(counts, int) else torch.tensor([0, *counts[:-1]]).cumsum(0)
        return self.of(node, "weight")[x.long() + first].reshape(len(x), -1)

    def Conv2D(self, node, x):
        size = node.options["kernel_size"]
        size = (size, size) if isinstance(size, int) else size
        x, strides = padded(node, channels_first(x), size)
        w = self.of(node, "weight").reshape(*size, x.shape[1], node.options["filters"]).permute(3, 2, 0, 1).contiguous()
        z = F.conv2d(x, w, self.of(node, "bias"), strides)
        return ACTIVATIONS[node.options.get("activation") or "linear"](z.permute(0, 2, 3, 1))

    def MaxPool2D(self, node, x):
        size = node.options["pool_size"]
        x, strides = padded(node, channels_first(x), size, -torch.inf)
        return F.max_pool2d(x, size, strides).permute(0, 2, 3, 1)

    def AvgPool2D(self, node, x):
        """Only what lies within the image counts."""
        size, x = node.options["pool_size"], channels_first(x)
        ones, strides = padded(node, torch.ones_like(x), size)
        x, _ = padded(node, x, size)
        return (F.avg_pool2d(x, size, strides) / F.avg_pool2d(ones, size, strides)).permute(0, 2, 3, 1)

    def GlobalAvgPool2D(self, node, x):
        return channels_first(x).mean((2, 3))

    # --- What is minimized ------------------------------------------------------------------------------------------

    def objective(self, X, y, weights=None, parts=None):
        """Losses of the heads by their weights, and penalties."""
        outputs, total = self.forward(X), 0
        for name, head in self.graph.heads.items():
            target = torch.tensor(y[name])
            target = target if target.dtype == torch.int64 else target.to(self.dtype)
            rows = LOSSES[head.loss](outputs[name], target).reshape(len(target), -1).mean(dim=1)
            w = torch.tensor(weights[name]) if weights and name in weights else torch.ones(len(rows))
            loss = (rows * w.to(self.dtype)).sum() / w.to(self.dtype).sum()
            if parts is not None:
                parts[name] = loss.item()
            total = total + head.weight * loss
        return total + self.penalties()

    def penalties(self):
        total = torch.zeros((), dtype=self.dtype)
        nodes = [inner for node in self.graph.nodes for inner in (node, *node.options.get("layers", ()))]
        options = {node.layer or node.name: node.options for node in nodes}
        for name, w in self.trained.items():
            layer, _, part = name.rpartition(".")
            if part == "weight":
                l2 = options.get(layer, {}).get("l2", self.graph.l2)
                total = total + l2 / 2 * (w * w).sum() + self.graph.l1 * w.abs().sum()
        for one, other, lam in self.graph.distances:
            difference = self.parameters[f"{one}.weight"] - self.parameters[f"{other}.weight"]
            total = total + lam / 2 * (difference**2).sum()
        return total

    def gradients(self, X, y, weights=None) -> dict:
        for value in self.trained.values():
            value.grad = None
        self.objective(X, y, weights).backward()
        return {name: value.grad.numpy() for name, value in self.trained.items()}
