"""PyTorch under autocast: products in bfloat16, weights and optimizer in float32."""

import torch

from peers import torch_peer


class Peer(torch_peer.Peer):
    VARIANTS = ("eager", "compile")

    def __init__(self, workload, X, y, parameters, variant="eager"):
        super().__init__(workload, X, y, parameters, variant)
        in_float32 = self.batch_loss

        def batch_loss(index):
            with torch.autocast("cpu", torch.bfloat16):
                return in_float32(index)

        self.batch_loss = batch_loss

    @staticmethod
    def lacks(workload):
        return "float32 in its products"
