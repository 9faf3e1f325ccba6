"""NumPy by hand, as an expert would write it. A step allocates no large array."""

import numpy as np

from peers import blas


class Peer:
    VARIANTS = ("",)

    def __init__(self, workload, X, y, parameters, variant=""):
        self.w, self.X, self.y = workload, X, y
        self.weights = [[weight.copy(), bias.copy()] for weight, bias in parameters]
        self.state = [[[np.zeros_like(p) for p in layer] for layer in self.weights] for _ in range(2)]
        self.gradients = [[np.empty_like(p) for p in layer] for layer in self.weights]
        self.spare = [[np.empty_like(p) for p in layer] for layer in self.weights]
        rows = workload.batch
        self.outputs = [np.empty((rows, units), np.float32) for _, units in workload.layers]
        self.deltas = [np.empty_like(output) for output in self.outputs]
        self.spare_rows = [np.empty((rows, size), np.float32) for size in workload.sizes]
        self.masks = [np.empty((rows, size), np.float32) for size in workload.sizes]
        self.x = np.empty((rows, workload.sizes[0]), np.float32)
        self.random = np.random.Generator(np.random.SFC64(0))
        self.step = 0
        self.loss = 0.0

    @staticmethod
    def lacks(workload):
        return None if workload.activation == "gelu" else ""  # NumPy has no erf

    def epochs(self, count):
        for _ in range(count):
            self._epoch(self.random.permutation(len(self.X)))

    def in_order(self):
        self._epoch(np.arange(len(self.X)))

    def parameters(self):
        return [(weight, bias) for weight, bias in self.weights]

    def versions(self):
        return {"numpy": np.__version__, "BLAS": blas()}

    def _epoch(self, order):
        rows = self.w.batch
        self.loss = 0.0
        for start in range(0, len(order), rows):
            index = order[start : start + rows]
            np.take(self.X, index, axis=0, out=self.x, mode="clip")
            self._dropout(self.x, self.w.keep_input, self.masks[0])
            self._forward()
            self._loss(self.y[index])
            self._backward()
            self.step += 1
            self._update()

    def _dropout(self, x, keep, mask):
        """Works in place, and keeps the scaled mask for the way back."""
        if keep < 1:
            self.random.random(dtype=np.float32, out=mask)
            np.less(mask, np.float32(keep), out=mask)
            mask *= np.float32(1 / keep)
            x *= mask

    def _forward(self):
        x = self.x
        for i, (weight, bias) in enumerate(self.weights):
            z = np.matmul(x, weight, out=self.outputs[i])
            z += bias
            if i < len(self.weights) - 1:
                self._activate(z, self.spare_rows[i + 1])
                self._dropout(z, self.w.keep_hidden, self.masks[i + 1])
            x = z

    def _activate(self, z, spare):
        if self.w.activation == "relu":
            np.maximum(z, 0, out=z)
        elif self.w.activation == "leaky_relu":
            np.maximum(z, np.multiply(z, np.float32(0.01), out=spare), out=z)
        else:
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)

    def _loss(self, y):
        z, delta, rows = self.outputs[-1], self.deltas[-1], self.w.batch
        if self.w.loss == "mse":
            np.subtract(z, y, out=delta)
            self.loss += float(np.vdot(delta, delta)) / delta.size
            delta *= 2 / delta.size
            return
        np.subtract(z, z.max(axis=1, keepdims=True), out=delta)
        picked = delta[np.arange(rows), y]
        np.exp(delta, out=delta)
        total = delta.sum(axis=1)
        self.loss += float((np.log(total) - picked).mean())
        delta /= total[:, None]
        delta[np.arange(rows), y] -= 1
        delta /= rows

    def _backward(self):
        for i in range(len(self.weights) - 1, -1, -1):
            delta, x = self.deltas[i], self.outputs[i - 1] if i else self.x
            np.matmul(x.T, delta, out=self.gradients[i][0])
            np.sum(delta, axis=0, out=self.gradients[i][1])
            if i:
                below = np.matmul(delta, self.weights[i][0].T, out=self.deltas[i - 1])
                self._through(below, x, self.masks[i], self.spare_rows[i])

    def _through(self, delta, y, mask, spare):
        if self.w.activation == "relu":
            delta *= np.greater(y, 0, out=spare)
        elif self.w.activation == "leaky_relu":
            np.greater(y, 0, out=spare)
            np.maximum(spare, np.float32(0.01), out=spare)
            delta *= spare
        else:
            np.subtract(1, y, out=spare)  # no workload has dropout after a sigmoid
            spare *= y
            delta *= spare
        if self.w.keep_hidden < 1:
            delta *= mask

    def _update(self):
        for i, layer in enumerate(self.weights):
            for part, (w, g, spare) in enumerate(zip(layer, self.gradients[i], self.spare[i], strict=True)):
                if self.w.l2 and part == 0:
                    np.multiply(w, np.float32(self.w.l2), out=spare)
                    g += spare
                self._move(w, g, spare, self.state[0][i][part], self.state[1][i][part])

    def _move(self, w, g, spare, m, v):
        lr = self.w.lr
        if self.w.optimizer == "adam":
            m *= np.float32(0.9)
            np.multiply(g, np.float32(0.1), out=spare)
            m += spare
            v *= np.float32(0.999)
            np.multiply(g, g, out=g)
            g *= np.float32(0.001)
            v += g
            np.sqrt(v, out=spare)
            spare *= np.float32((1 - 0.999**self.step) ** -0.5)
            spare += np.float32(1e-8)
            np.divide(m, spare, out=spare)
            spare *= np.float32(lr / (1 - 0.9**self.step))
            w -= spare
            return
        if self.w.optimizer == "momentum":
            m *= np.float32(0.9)
            m += g
            g = m
        np.multiply(g, np.float32(lr), out=spare)
        w -= spare
