"""PyTorch: eager and compiled, each also with float32 products at "medium" precision, which lets oneDNN compute them.

The optimizers are the fused ones. The loss is added up in a tensor, which is read once per epoch.
"""

import torch
from torch import nn

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.01), "gelu": nn.GELU}


class Peer:
    VARIANTS = ("eager", "eager-medium", "compile", "compile-medium")

    def __init__(self, workload, X, y, parameters, variant="eager"):
        torch.manual_seed(0)
        torch._dynamo.reset()  # otherwise it stops compiling after some networks in one process
        torch.set_float32_matmul_precision("medium" if "medium" in variant else "highest")
        self.workload = workload
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)
        last = len(workload.layers) - 1
        layers = [nn.Dropout(1 - workload.keep_input)] if workload.keep_input < 1 else []
        self.linear = []
        for index, (layer, (weight, bias)) in enumerate(zip(workload.layers, parameters, strict=True)):
            linear = nn.Linear(*layer)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight.T.copy()))
                linear.bias.copy_(torch.from_numpy(bias))
            self.linear.append(linear)
            layers.append(linear)
            if index < last:
                layers.append(ACTIVATIONS[workload.activation]())
                if workload.keep_hidden < 1:
                    layers.append(nn.Dropout(1 - workload.keep_hidden))
        self.model = nn.Sequential(*layers)
        groups = [
            {"params": [linear.weight for linear in self.linear], "weight_decay": workload.l2},
            {"params": [linear.bias for linear in self.linear], "weight_decay": 0.0},
        ]
        if workload.optimizer == "adam":
            self.optimizer = torch.optim.Adam(groups, lr=workload.lr, fused=True)
        else:
            momentum = 0.9 if workload.optimizer == "momentum" else 0.0
            self.optimizer = torch.optim.SGD(groups, lr=workload.lr, momentum=momentum, fused=True)
        loss = nn.functional.mse_loss if workload.loss == "mse" else nn.functional.cross_entropy

        def batch_loss(index):
            return loss(self.model(self.X[index]), self.y[index])

        self.batch_loss = torch.compile(batch_loss) if "compile" in variant else batch_loss

    @staticmethod
    def lacks(workload):
        return ""

    def epochs(self, count):
        for _ in range(count):
            self._epoch(torch.randperm(len(self.X)))

    def in_order(self):
        self._epoch(torch.arange(len(self.X)))

    def _epoch(self, order):
        total = torch.zeros(())
        for index in order.split(self.workload.batch):
            loss = self.batch_loss(index)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
        return total.item()

    def parameters(self):
        return [(linear.weight.detach().numpy().T, linear.bias.detach().numpy()) for linear in self.linear]

    def versions(self):
        return {
            "torch": torch.__version__,
            "SIMD": torch.backends.cpu.get_cpu_capability(),
            "threads": str(torch.get_num_threads()),
            "MKL": "yes" if torch.backends.mkl.is_available() else "no",
            "oneDNN": "yes" if torch.backends.mkldnn.is_available() else "no",
        }
