"""fastreg itself, as the workload declares it."""

import fastreg as fr


class Peer:
    VARIANTS = ("",)

    def __init__(self, workload, X, y, parameters, variant=""):
        self.workload, self.data = workload, (X, y)
        self.trainer = workload.trainer()

    @staticmethod
    def lacks(workload):
        return ""

    def epochs(self, count):
        self.trainer.fit(*self.data, epochs=count, batch_size=self.workload.batch)

    def in_order(self):
        self.trainer.fit(*self.data, batch_size=self.workload.batch, shuffle=False)

    def parameters(self):
        state = self.trainer.model.state_dict()
        return [(state[f"dense{i}.weight"], state[f"dense{i}.bias"]) for i in range(len(self.workload.layers))]

    def versions(self):
        return {"fastreg": fr.__version__, "SIMD": fr.simd()["current"], "threads": str(fr.get_num_threads())}
