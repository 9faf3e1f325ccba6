"""JAX: the whole epoch in one jit, lax.scan over the batches, donated buffers, three generators for dropout."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS = {
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "leaky_relu": lambda z: jax.nn.leaky_relu(z, 0.01),
    "gelu": partial(jax.nn.gelu, approximate=False),
}


class Peer:
    VARIANTS = ("threefry2x32", "rbg", "unsafe_rbg")

    def __init__(self, workload, X, y, parameters, variant="threefry2x32"):
        self.w = workload
        self.X, self.y = jnp.asarray(X), jnp.asarray(y)
        self.random = np.random.default_rng(0)
        self.key = jax.random.key(0, impl=variant)
        params = [(jnp.array(weight), jnp.array(bias)) for weight, bias in parameters]
        # Donated arrays must not be shared, so each moment has its own.
        moments = tuple(jax.tree.map(lambda p: jnp.zeros(p.shape), params) for _ in range(2))
        self.state = (params, *moments, jnp.zeros((), jnp.int32))
        self.epoch = jax.jit(self._epoch, donate_argnums=(0,))

    @staticmethod
    def lacks(workload):
        return ""

    def epochs(self, count):
        for _ in range(count):
            self._run(self.random.permutation(len(self.X)))

    def in_order(self):
        self._run(np.arange(len(self.X)))

    def parameters(self):
        return [(np.asarray(weight), np.asarray(bias)) for weight, bias in self.state[0]]

    def versions(self):
        import jaxlib

        return {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "SIMD": "chosen by XLA at run time"}

    def _run(self, order):
        order = jnp.asarray(order.astype(np.int32).reshape(-1, self.w.batch))
        self.key, key = jax.random.split(self.key)
        self.state, loss = self.epoch(self.state, self.X, self.y, order, key)
        return float(loss)  # waits for the end

    def _epoch(self, state, X, y, order, key):
        keys = jax.random.split(key, len(order))
        state, losses = jax.lax.scan(partial(self._step, X, y), state, (order, keys))
        return state, losses.mean()

    def _step(self, X, y, state, batch):
        params, m, v, step = state
        index, key = batch
        loss, gradients = jax.value_and_grad(self._loss)(params, X[index], y[index], key)
        gradients = [(dw + self.w.l2 * w, db) for (dw, db), (w, _) in zip(gradients, params, strict=True)]
        lr, step, each = self.w.lr, step + 1, jax.tree.map
        if self.w.optimizer == "adam":
            m = each(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
            v = each(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
            # 1 - 0.999**step, without losing digits of float32 in the first steps
            fix1, fix2 = -jnp.expm1(step * math.log(0.9)), -jnp.expm1(step * math.log(0.999))
            params = each(lambda p, m, v: p - lr * (m / fix1) / (jnp.sqrt(v / fix2) + 1e-8), params, m, v)
        else:
            if self.w.optimizer == "momentum":
                m = gradients = each(lambda m, g: 0.9 * m + g, m, gradients)
            params = each(lambda p, g: p - lr * g, params, gradients)
        return (params, m, v, step), loss

    def _loss(self, params, x, y, key):
        keys = iter(jax.random.split(key, len(params))) if self.w.has_dropout else None
        x = self._dropout(x, self.w.keep_input, keys)
        for weight, bias in params[:-1]:
            x = self._dropout(ACTIVATIONS[self.w.activation](x @ weight + bias), self.w.keep_hidden, keys)
        z = x @ params[-1][0] + params[-1][1]
        if self.w.loss == "mse":
            return jnp.mean((z - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))

    def _dropout(self, x, keep, keys):
        if keep == 1:
            return x
        return jnp.where(jax.random.bernoulli(next(keys), keep, x.shape), x / keep, 0)
