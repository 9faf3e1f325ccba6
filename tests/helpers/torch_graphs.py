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


class Net:
    """A graph as a function of parameters that torch can differentiate."""

    def __init__(self, graph: Graph, state: dict, dtype=torch.float64):
        self.graph, self.dtype = graph, dtype
        self.parameters = {name: torch.tensor(value, dtype=dtype) for name, value in state.items()}
        frozen = {n.layer or n.name for n in graph.nodes if not n.options.get("trainable", True)}
        self.trained = {
            name: value.requires_grad_()
            for name, value in self.parameters.items()
            if name.split(".")[0] not in frozen and name.rpartition(".")[2] not in ("mean", "variance")
        }
        self.training = True

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
        found = X[node.name] if isinstance(X, dict) else X[:, list(node.options["columns"])]
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
        raise NotImplementedError

    def Activation(self, node, x):
        return ACTIVATIONS[node.options["activation"]](x)

    def Dropout(self, node, x):
        return x

    def Flatten(self, node, x):
        return x.reshape(len(x), -1)

    def BatchNorm(self, node, x):
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes, correction=0)
        y = (x - mean) / torch.sqrt(variance + node.options.get("eps", 1e-5))
        return y * self.of(node, "scale") + self.of(node, "shift")

    def LayerNorm(self, node, x):
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
        y = (x - mean) / torch.sqrt(variance + node.options.get("eps", 1e-5))
        return y * self.of(node, "scale") + self.of(node, "shift")

    def Embedding(self, node, x):
        return self.of(node, "weight")[x].reshape(len(x), -1)

    def Conv2D(self, node, x):
        kernel, stride = node.options["kernel_size"], node.options["stride"]
        filters = node.options["filters"]
        w = self.of(node, "weight").reshape(*kernel, x.shape[-1], filters).permute(3, 2, 0, 1)
        x = x.permute(0, 3, 1, 2)
        if node.options["padding"] == "same":
            pads = []
            for n, k in zip(reversed(x.shape[2:]), reversed(kernel), strict=True):  # F.pad begins with the last axis
                total = max((-(-n // stride) - 1) * stride + k - n, 0)
                pads += [total // 2, total - total // 2]
            x = F.pad(x, pads)
        z = F.conv2d(x, w, self.of(node, "bias"), stride)
        return ACTIVATIONS[node.options.get("activation") or "linear"](z.permute(0, 2, 3, 1))

    def MaxPool2D(self, node, x):
        return F.max_pool2d(x.permute(0, 3, 1, 2), node.options["size"]).permute(0, 2, 3, 1)

    def AvgPool2D(self, node, x):
        return F.avg_pool2d(x.permute(0, 3, 1, 2), node.options["size"]).permute(0, 2, 3, 1)

    def GlobalAvgPool2D(self, node, x):
        return x.mean((1, 2))

    # --- What is minimized ------------------------------------------------------------------------------------------

    def objective(self, X, y, weights=None, parts=None):
        """Losses of the heads by their weights, and penalties."""
        outputs, total = self.forward(X), 0
        for name, head in self.graph.heads.items():
            target = torch.tensor(y[name])
            target = target if target.dtype == torch.int64 else target.to(self.dtype)
            rows = LOSSES[head.loss](outputs[name], target).reshape(len(target), -1).mean(dim=1)
            w = torch.ones(len(rows)) if not weights or name not in weights else torch.tensor(weights[name])
            loss = (rows * w.to(self.dtype)).sum() / w.to(self.dtype).sum()
            if parts is not None:
                parts[name] = loss.item()
            total = total + head.weight * loss
        return total + self.penalties()

    def penalties(self):
        total = torch.zeros((), dtype=self.dtype)
        options = {node.layer or node.name: node.options for node in self.graph.nodes}
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
