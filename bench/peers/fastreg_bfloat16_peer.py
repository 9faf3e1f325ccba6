"""fastreg with products in bfloat16."""

from peers import fastreg_peer


class Peer(fastreg_peer.Peer):
    def __init__(self, workload, X, y, parameters, variant=""):
        super().__init__(workload, X, y, parameters, variant)
        self.trainer.precision = "bfloat16"

    @staticmethod
    def lacks(workload):
        return "float32 in its products"
