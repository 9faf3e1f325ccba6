"""The reference engine runs a program in NumPy, with one short method per op. It specifies the native engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from fastreg.common.pieces import listen
from fastreg.common.transforms import TRANSFORMS
from fastreg.engines.base import Feed, Tally, beside_params, new_buffers
from fastreg.engines.batch import Batch, Stop, batch_at
from fastreg.engines.memory import padded
from fastreg.machine import _core
from fastreg.program import embedding as E
from fastreg.program import images as I
from fastreg.program import normalize as N
from fastreg.program import ops as O
from fastreg.program import rules
from fastreg.program.program import Program
from fastreg.program.riders import PANEL, Mask, Mix, Noise, Through
from fastreg.reference import bf16, embedding, images, norms
from fastreg.reference import functions as R
from fastreg.reference import normalize as F
from fastreg.reference import updates as U
from fastreg.reference.augment import augmented
from fastreg.reference.small import small_to_zero, without_small

EMITTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda z: z,
    "exp": np.exp,
    "sigmoid": R.sigmoid,
    "softmax": R.softmax,
}


class ReferenceEngine:
    """Runs a program in NumPy; see `fastreg.engines.base.Engine`.

    Parameters
    ----------
    program
        The ops of one batch.
    params, state
        Arrays of `fastreg.engines.memory.padded`, read and written in place. `state` holds the slots of each trained
        parameter in the order of `fastreg.program.rules.UPDATE_SLOTS`.
    batch_size
        The number of rows of the buffers.
    dtype
        "float32" or "float64".

    Attributes
    ----------
    buffers
        What the ops wrote, by the names of the program.
    gradients
        The gradients of the parameters whose rule stores them.
    clip
        Two numbers, whose product is the factor of the last ClipNorm.
    """

    def __init__(self, program: Program, params: dict, state: dict, batch_size: int, dtype: str):
        self.program = program
        self.params = params | beside_params(program, params, dtype)
        self.state = state
        self.dtype = np.dtype(dtype)
        self.buffers = new_buffers(program, batch_size, dtype)
        self._heads = program.heads
        written = set().union(*(op.writes for op in program.ops))
        self.gradients = {name: padded(w.shape, dtype) for name, w in params.items() if O.gradient(name) in written}
        gradients = {O.gradient(name): array for name, array in self.gradients.items()}
        self._arrays = self.params | self.buffers | gradients  # by the names that ops use
        self.clip = np.ones(2)
        self._look: Callable[[], None] = listen  # called in the midst of a batch; it raises if that should end
        self.trains = any(rule.kind not in rules.STORES_GRADIENT for rule in program.rules.values())

    def run(self, feed: Feed, tally: Tally, first: int, stop: int, seconds: float | None = None, look=listen) -> int:
        """Runs batches first to stop - 1, or fewer if `seconds` have passed. Returns the next batch.

        If a bad row or a loss that is not finite stops the run, it returns the batch in which it stopped.
        """
        start = perf_counter()
        self._look = look
        for index in range(first, stop):
            try:
                self._run_batch(self._batch(feed, tally, index))
            except Stop:
                return index
            if seconds is not None and perf_counter() - start >= seconds:
                return index + 1
        return max(first, stop)

    def run_op(self, feed: Feed, batch: int, index: int) -> None:
        """Runs only the op `program.ops[index]`, on the buffers as they are. An update counts as the first one."""
        with suppress(Stop):
            self._run(self.program.ops[index], self._batch(feed, Tally(), batch))

    def _batch(self, feed: Feed, tally: Tally, index: int) -> Batch:
        return batch_at(index, feed, tally, self.program.accumulate, self.dtype, self._heads)

    def _run_batch(self, batch: Batch) -> None:
        readers = [op for op in self.program.ops if isinstance(op, (O.Gather, E.Embed))]
        others = [op for op in self.program.ops if not isinstance(op, (O.Gather, E.Embed))]
        for reader in readers:  # these run first, so that a bad row stops the batch before anything is learned from it
            self._run(reader, batch)
            self._look()
        if batch.bad:
            batch.tally.bad_row = batch.row_of_data(min(batch.bad))
            raise Stop
        if not any(batch.step_weights):
            return
        before = batch.tally.totals[0]
        for op in others:
            if batch.closes or not isinstance(op, O.ONCE_A_STEP):
                self._run(op, batch)
                self._look()
        if batch.closes:
            batch.tally.penalty += batch.penalty
            batch.tally.row_penalty += batch.penalty * batch.step_rows
            batch.tally.batches += 1
            batch.tally.updates += self.trains
        loss, weight = (after - first for after, first in zip(batch.tally.totals[0][:2], before[:2], strict=True))
        if weight > 0:
            batch.tally.rows += batch.count
            batch.tally.row_loss += loss / weight * batch.count

    def _run(self, op: O.Op, batch: Batch) -> None:
        batch.span = op.rows_of(batch.count)
        if isinstance(op, O.Call):
            op.function(*(self._rows(name, batch) for name in (*op.reads_, *op.writes_)))
        else:
            # An overflow shows in the loss, which is checked. NumPy's warnings would only repeat it.
            with np.errstate(all="ignore"):
                RUN[type(op)](self, op, batch)
        for name in self._arrays.keys() & op.writes:
            small_to_zero(self._arrays[name])

    # --- the ops -----------------------------------------------------------------------------------------------

    def _gather(self, op: O.Gather, batch: Batch) -> None:
        source = batch.feed.need(op.source)
        rows = np.asarray(source[batch.rows]).reshape(batch.count, -1)  # of sparse rows, these alone with their zeros
        if op.columns is not None:
            rows = rows[:, list(op.columns)]
        if rows.dtype.type in (np.float32, np.float64):  # as C reads them; it gets others as float64
            rows = without_small(rows)
        rows = without_small(rows.astype(self.dtype))
        good = np.isfinite(rows) | np.isnan(rows) if op.holes else np.isfinite(rows)
        batch.bad += np.flatnonzero(~good.all(axis=1)).tolist()
        if op.augment:
            rows = augmented(rows, op.augment, batch.feed.seed, batch.feed.epoch, batch.position)
        if op.standardize:
            mean, scale = (self._param(name) for name in op.standardize)
            rows = (rows - mean) * scale
        rows = self._mixed(rows, op.mix, batch)
        rows = self._noisy(rows, op.noise, batch)
        self._rows(op.out, batch)[...] = self._masked(rows, op.mask, batch)
        self._also_rounded(op.rounded, op.out, batch)

    def _embed(self, op: E.Embed, batch: Batch) -> None:
        table = self._param(op.weight)
        y = embedding.embed(table, self._table_rows(op, batch))
        self._rows(op.out, batch)[...] = self._masked(y, op.mask, batch)

    def _table_rows(self, op: E.Embed | E.EmbedDw, batch: Batch) -> np.ndarray:
        """The rows of the table that the codes name. Bad codes are noted, and stand for the first row."""
        x = self._rows(op.x, batch)
        bad = op.codes.bad(x)
        batch.bad += np.flatnonzero(bad.any(axis=1)).tolist()
        return np.where(bad, 0, x).astype(np.int64) + np.array(op.codes.starts)

    def _embed_dw(self, op: E.EmbedDw, batch: Batch) -> None:
        rows = self._table_rows(op, batch)
        self._step(op.weight, embedding.embed_dw(self._rows(op.dz, batch), rows, op.codes.rows), op.rule, batch)

    def _row_norm(self, op: O.RowNorm, batch: Batch) -> None:
        self.params[op.weight][...] = embedding.limit_rows(self.params[op.weight], op.limit)

    def _dense(self, op: O.Dense, batch: Batch) -> None:
        x, w = self._rows(op.x, batch), self._param(op.weight)
        w = w.T if op.transposed else w
        z = self._product(x, w, op.bf16)
        if op.folded:
            table = self.params[op.folded]
            z = z * table[N.SCALE] + table[N.SHIFT]
        elif op.bias:
            z = z + self._param(op.bias)
        self._finish_dense(op, z, batch)
        self._also_rounded(op.rounded, op.out, batch)

    def _conv(self, op: I.Conv, batch: Batch) -> None:
        w, repeats = self._param(op.weight), op.window.count
        z = images.conv(self._rows(op.x, batch), w, op.window)
        if op.folded:
            scale, shift = (self.params[op.folded][row, : w.shape[1]] for row in (N.SCALE, N.SHIFT))
            z = z * np.tile(scale, repeats) + np.tile(shift, repeats)
        elif op.bias:
            z = z + np.tile(self._param(op.bias), repeats)
        self._finish_dense(op, z, batch)

    def _finish_dense(self, op: O.Dense, z: np.ndarray, batch: Batch) -> None:
        """What becomes of the products and the bias."""
        self._finish(op, self._noisy(z, op.noise, batch), batch)
        if op.activity:
            columns = range(0, z.shape[1], PANEL)
            self._rows(op.activity, batch)[...] = np.add.reduceat(np.abs(self._rows(op.out, batch)), columns, axis=1)

    def _perturb(self, op: O.Perturb, batch: Batch) -> None:
        weight = self._param(op.weight)
        key = batch.key(op.noise)._replace(row=0)
        self.params[op.out][...] = weight + op.noise.std * self._normals(weight.shape, key)

    def _loss(self, op: O.Loss, batch: Batch) -> None:
        logits = self._rows(op.through.y, batch)
        weight, step_weight = self._row_weights(batch, batch.weights[op.head]), batch.step_weights[op.head]
        if op.targets:
            targets = self._rows(op.targets, batch)
        else:
            own = batch.feed.need(op.source)[batch.rows]
            targets = np.concatenate([own, own])[batch.span]
        row_loss, row_hit = (self._rows(name, batch) for name in op.rows)
        if op.kind == "given":  # by the Call before it
            loss, gradient, hit = row_loss, targets, np.zeros_like(row_loss)
        elif op.kind in O.OF_CLASSES:
            loss, gradient, hit = self._class_loss(logits, self._mixed_classes(targets, logits, op.mix, batch), op)
        else:
            loss, gradient, hit = R.output_rows(op.kind, logits, targets, op.smoothing, op.terms)
        row_loss[...] = weight * loss
        row_hit[...] = weight * hit
        if op.dz:
            share = weight.astype(np.float64) / step_weight if step_weight else np.zeros(len(weight))
            share = (op.weight * (np.ones_like(share) if op.by_row else share)).astype(self.dtype)
            self._rows(op.dz, batch)[...] = self._through(gradient * share[:, np.newaxis], op.through, batch)
            self._also_rounded(op.rounded, op.dz, batch)

    def _class_loss(self, logits: np.ndarray, targets: np.ndarray, op: O.Loss) -> R.Rows:
        if targets.ndim == 2:
            targets = without_small(targets.astype(self.dtype))
        there = (targets if targets.ndim == 1 else np.where(np.isnan(targets[:, 0]), -1, 0)) >= 0
        loss, hit = np.zeros((2, len(logits)), self.dtype)
        gradient = np.zeros_like(logits)
        if there.any():
            found = R.class_rows(op.kind, logits[there], targets[there], op.smoothing, op.terms)
            loss[there], gradient[there], hit[there] = found
        return loss, gradient, hit

    def _mixed_classes(self, targets: np.ndarray, logits: np.ndarray, mix: Mix | None, batch: Batch) -> np.ndarray:
        """The targets of a loss of classes: mixed ones are shares."""
        if mix is None or batch.count == 1:
            return targets
        shares = targets if targets.ndim == 2 else np.eye(logits.shape[1])[targets]
        return self._mixed(without_small(shares.astype(self.dtype)), mix, batch)

    def _append(self, op: O.Append, batch: Batch) -> None:
        M = batch.count
        x = self.buffers[op.out][:M]
        if op.gradient and op.attack:
            g, attack = self.buffers[op.gradient][:M], op.attack
            mean, scale = (self._param(name) for name in op.standardize) if op.standardize else (0.0, np.ones(1))
            mean, scale = np.asarray(mean, self.dtype), np.asarray(scale, self.dtype)
            step = self.dtype.type(attack.epsilon) * np.abs(scale)
            x = x + step * ((g > 0).astype(self.dtype) - (g < 0).astype(self.dtype))
            if attack.clips:
                low, high = ((self.dtype.type(limit) - mean) * scale for limit in (attack.low, attack.high))
                x = np.clip(x, np.minimum(low, high), np.maximum(low, high))
        self.buffers[op.out][M : 2 * M] = x

    def _totals(self, op: O.Totals, batch: Batch) -> None:
        loss, hits = (R.total(self._rows(name, batch)) for name in op.rows)
        batch.tally.add(op.head, loss, R.total(batch.weights[op.head]), hits)
        weights, weight = self._activity_weights(batch)
        for buffer, coefficient in op.activity:
            sizes = self._rows(buffer, batch).sum(axis=1, dtype=np.float64)
            batch.tally.penalty += coefficient * float(np.dot(weights, sizes)) / weight
        if not np.isfinite(loss):
            batch.tally.diverged = True
            raise Stop

    def _dense_dx(self, op: O.DenseDx, batch: Batch) -> None:
        w = self._param(op.weight)
        dy = self._product(self._rows(op.dz, batch), w if op.transposed else w.T, op.bf16)
        self._pass_back(op.out, dy, op.through, op.add, batch)
        self._also_rounded(op.rounded, op.out, batch)

    def _dense_dw(self, op: O.DenseDw, batch: Batch) -> None:
        x, dz = self._rows(op.x, batch), self._rows(op.dz, batch)
        self._step(op.weight, self._product(x.T, dz, op.bf16), op.weight_rule, batch)
        if op.bias:
            self._step(op.bias, dz.sum(axis=0), op.bias_rule, batch)

    def _flip(self, op: I.Flip, batch: Batch) -> None:
        self.params[op.out][...] = images.flip(self._param(op.weight), op.window)

    def _conv_dx(self, op: I.ConvDx, batch: Batch) -> None:
        weight = images.unflip(self._param(op.weight), op.window)
        dy = images.conv_dx(self._rows(op.dz, batch), weight, op.window)
        self._pass_back(op.out, dy, op.through, op.add, batch)

    def _conv_dw(self, op: I.ConvDw, batch: Batch) -> None:
        x, dz = self._rows(op.x, batch), self._rows(op.dz, batch)
        self._step(op.weight, images.conv_dw(x, dz, op.window), op.weight_rule, batch)
        if op.bias:
            self._step(op.bias, dz.reshape(len(dz) * op.window.count, -1).sum(axis=0), op.bias_rule, batch)

    def _pool(self, op: I.Pool, batch: Batch) -> None:
        y = images.pool(self._rows(op.x, batch), op.window, op.kind)
        self._rows(op.out, batch)[...] = self._masked(y, op.mask, batch)

    def _pool_dx(self, op: I.PoolDx, batch: Batch) -> None:
        dx = images.pool_dx(self._rows(op.x, batch), self._rows(op.dz, batch), op.window, op.kind)
        self._pass_back(op.out, dx, op.through, op.add, batch)

    def _bias_dw(self, op: O.BiasDw, batch: Batch) -> None:
        self._step(op.bias, self._rows(op.dz, batch).sum(axis=0), op.rule, batch)

    def _couple(self, op: O.Couple, batch: Batch) -> None:
        difference = self._param(op.a) - self._param(op.b)
        _, l2 = op.penalty.at(batch.step_rows, batch.step_weights[0])
        batch.penalty += U.penalty_of(difference, 0.0, l2)
        for name, trained, sign in zip((op.a, op.b), op.trained, (1, -1), strict=True):
            if trained:
                self.gradients[name] += sign * self.dtype.type(l2) * difference

    def _penalize(self, op: O.Penalize, batch: Batch) -> None:
        self._step(op.param, self.gradients[op.param], replace(op.rule, kind="gradient"), batch)

    def _clip_norm(self, op: O.ClipNorm, batch: Batch) -> None:
        norm = norms.norm([self.gradients[name] for name in op.params])
        self.clip[:] = norms.ratio(op.limit, norm, self.dtype, plus=1e-6)

    def _update(self, op: O.Update, batch: Batch) -> None:
        gradient = self.gradients[op.param]
        self._step(op.param, norms.scaled(gradient, self.clip) if op.scaled else gradient, op.rule, batch)

    def _max_norm(self, op: O.MaxNorm, batch: Batch) -> None:
        w = self.params[op.weight]
        w[...] = norms.limited(w, op.limit, op.whole)

    def _count(self, op: O.Count, batch: Batch) -> None:
        self.params[op.count] += 1

    def _average(self, op: O.Average, batch: Batch) -> None:
        out, w = self.params[op.out], self._param(op.param)
        rate = (1 - op.decay) / (1 - op.decay ** max(1, int(self.params[op.count][0])))
        out[...] = w if rate == 1 else out + self.dtype.type(rate) * (w - out)

    def _elementwise(self, op: O.Elementwise, batch: Batch) -> None:
        x, out = self._rows(op.x, batch), self._rows(op.out, batch)
        columns = min(x.shape[1], out.shape[1])
        x, out = x[:, op.x_column :][:, :columns], out[:, op.out_column :][:, :columns]
        x = x + self._rows(op.plus, batch) if op.plus else x
        z = self._noisy(x, op.noise, batch)
        if op.z:
            self._rows(op.z, batch)[...] = z
        y = self._masked(R.ACTIVATIONS[op.activation].value(z), op.mask, batch)
        y = self._through(y, op.through, batch) if op.through else y
        out[...] = out + y if op.add else y

    def _batch_norm(self, op: N.BatchNorm, batch: Batch) -> None:
        x, table = self._rows(op.x, batch), self.params[op.table.name]
        mean, left, squares = F.moments(x)
        normal = self._normal(op, mean, left, squares / len(x), len(x))
        table[N.MEAN], table[N.RSTD], table[N.REST], table[N.SCALE] = normal[:4]
        self._finish(op, F.affine(x, normal, len(mean)), batch)

    def _normal(self, op: N.BatchNorm | N.NormScale, mean, left, variance, values: int) -> F.Normal:
        """What makes z, from moments of so many values, which the running ones follow."""
        moving = op.moving
        if moving.moves:
            for name, moment in ((moving.mean, mean), (moving.variance, F.unbiased(variance, values))):
                self.params[name][...] = F.moved(self._param(name), moment, moving.momentum)
        gamma, beta = (self._param(name) if name else None for name in (op.gamma, op.beta))
        return F.normal(mean, left, variance, gamma, beta, op.eps)

    def _finish(self, op: O.Dense | N.BatchNorm | N.Affine | N.LayerNorm, z: np.ndarray, batch: Batch) -> None:
        """y = dropout(activation(z))."""
        if op.z:
            self._rows(op.z, batch)[...] = z
        self._rows(op.out, batch)[...] = self._masked(R.ACTIVATIONS[op.activation].value(z), op.mask, batch)

    def _batch_norm_dx(self, op: N.BatchNormDx, batch: Batch) -> None:
        dz, x, table = self._rows(op.dz, batch), self._rows(op.x, batch), self.params[op.table.name]
        normal = F.xhat(x, table[N.MEAN], table[N.RSTD], table[N.REST])
        sums, dots = F.gradient_sums(dz, normal)
        if op.out and op.through:
            means = sums / len(x), dots / len(x)
            dx = F.affine_dx(dz, normal, table[N.SCALE], *means)
            self._pass_back(op.out, dx, op.through, op.add, batch)
        self._step_scale(op, sums, dots, batch)

    def _step_scale(self, op: N.BatchNormDx | N.ScaleDw | N.LayerNormDw, sums, dots, batch: Batch) -> None:
        for trained, gradient in ((op.gamma, dots), (op.beta, sums)):
            if trained:
                self._step(trained[0], gradient, trained[1], batch)

    def _moments(self, op: N.Moments, batch: Batch) -> None:
        table = self.params[op.table.name]
        table[N.SUM], table[N.REST], table[N.DOT] = F.moments(self._rows(op.x, batch))

    def _norm_scale(self, op: N.NormScale, batch: Batch) -> None:
        table, channels = self.params[op.table.name], op.table.channels
        values = batch.count * op.table.width // channels
        if op.running:
            mean, variance = self._param(op.moving.mean), self._param(op.moving.variance)
            left = np.zeros_like(mean)
        else:
            columns = F.Moments(table[N.SUM], table[N.REST], table[N.DOT])
            mean, left, squares = F.joined_moments(columns, batch.count, channels)
            variance = squares / self.dtype.type(values)
        normal = self._normal(op, mean, left, variance, values)
        if op.folded:
            normal = F.folded(normal, self._param(op.bias) if op.bias else None)
        for row, numbers in zip((N.MEAN, N.RSTD, N.REST, N.SCALE, N.SHIFT), normal, strict=True):
            self._repeat(op.table, row, numbers)

    def _repeat(self, table: N.Table, row: int, numbers: np.ndarray) -> None:
        """Puts numbers of the channels into the table."""
        self.params[table.name][row, : table.period] = np.tile(numbers, table.period // table.channels)

    def _channels(self, table: N.Table, row: int) -> np.ndarray:
        """Numbers of the channels from the table."""
        return self.params[table.name][row, : table.channels]

    def _affine(self, op: N.Affine, batch: Batch) -> None:
        normal = F.Normal(*(self._channels(op.table, row) for row in (N.MEAN, N.RSTD, N.REST, N.SCALE, N.SHIFT)))
        self._finish(op, F.affine(self._rows(op.x, batch), normal, op.table.channels), batch)

    def _norm_sums(self, op: N.NormSums, batch: Batch) -> None:
        table, pixels = self.params[op.table.name], op.table.width // op.table.channels
        numbers = (np.tile(self._channels(op.table, row), pixels) for row in (N.MEAN, N.RSTD, N.REST))
        normal = F.xhat(self._rows(op.x, batch), *numbers)
        table[N.SUM], table[N.DOT] = F.gradient_sums(self._rows(op.dz, batch), normal)

    def _scale_dw(self, op: N.ScaleDw, batch: Batch) -> None:
        table, channels = self.params[op.table.name], op.table.channels
        sums, dots = (F.sums(table[row].reshape(-1, channels)) for row in (N.SUM, N.DOT))
        values = self.dtype.type(batch.count * op.table.width // channels)
        self._repeat(op.table, N.K1, sums / values)
        self._repeat(op.table, N.K2, dots / values)
        self._step_scale(op, sums, dots, batch)

    def _affine_dx(self, op: N.AffineDx, batch: Batch) -> None:
        pixels = (self._rows(name, batch).reshape(-1, op.table.channels) for name in (op.dz, op.x))
        rows = N.MEAN, N.RSTD, N.REST, N.SCALE, N.K1, N.K2
        mean, rstd, rest, scale, k1, k2 = (self._channels(op.table, row) for row in rows)
        dz, x = pixels
        dx = scale * dz if op.running else F.affine_dx(dz, F.xhat(x, mean, rstd, rest), scale, k1, k2)
        self._pass_back(op.out, dx.reshape(-1, op.table.width), op.through, op.add, batch)

    def _layer_norm(self, op: N.LayerNorm, batch: Batch) -> None:
        x = self._rows(op.x, batch)
        moments = self._rows(op.moments, batch)
        moments[...] = F.row_moments(x, op.eps)
        z = F.xhat(x, *np.hsplit(moments, 3))
        z = z * self._param(op.gamma) if op.gamma else z
        self._finish(op, z + self._param(op.beta) if op.beta else z, batch)

    def _layer_norm_dx(self, op: N.LayerNormDx, batch: Batch) -> None:
        moments = np.hsplit(self._rows(op.moments, batch), 3)
        normal, rstd = F.xhat(self._rows(op.x, batch), *moments), moments[1]
        g = self._rows(op.dz, batch)
        g = g * self._param(op.gamma) if op.gamma else g
        k1, k2 = (each.mean(axis=1, keepdims=True) for each in (g, g * normal))
        self._pass_back(op.out, F.affine_dx(g, normal, rstd, k1, k2), op.through, op.add, batch)

    def _layer_norm_dw(self, op: N.LayerNormDw, batch: Batch) -> None:
        normal = F.xhat(self._rows(op.x, batch), *np.hsplit(self._rows(op.moments, batch), 3))
        self._step_scale(op, *F.gradient_sums(self._rows(op.dz, batch), normal), batch)

    def _round(self, op: O.Round, batch: Batch) -> None:
        self._also_rounded(op.out, op.x, batch)

    def _emit(self, op: O.Emit, batch: Batch) -> None:
        out = batch.feed.need(op.source)[batch.position : batch.position + batch.count]
        out[...] = without_small(EMITTED[TRANSFORMS[op.transform].function](self._rows(op.x, batch)))

    # --- what the ops are made of ------------------------------------------------------------------------------

    def _param(self, name: str) -> np.ndarray:
        """A parameter as ops read it: what was set to a small number stays so until an update, but counts as 0."""
        return without_small(self.params[name])

    def _product(self, a: np.ndarray, b: np.ndarray, in_bf16: bool) -> np.ndarray:
        return bf16.product(a, b, self._look) if in_bf16 else a @ b

    def _rows(self, buffer: str, batch: Batch) -> np.ndarray:
        return self.buffers[buffer][batch.span]

    def _also_rounded(self, rounded: str | None, buffer: str, batch: Batch) -> None:
        """Writes what is in a buffer to another one, or the same one, in bf16. None for nowhere."""
        if rounded:
            self._rows(rounded, batch)[...] = bf16.rounded(self._rows(buffer, batch))

    def _row_weights(self, batch: Batch, weight: np.ndarray) -> np.ndarray:
        """The weight of each row of the current op. A row and its perturbed copy share the sample weight."""
        clean, weight = self.program.clean, weight.astype(np.float64)
        return np.concatenate([clean * weight, (1 - clean) * weight]).astype(self.dtype)[batch.span]

    def _pass_back(self, buffer: str, dy: np.ndarray, through: Through, add: bool, batch: Batch) -> None:
        """What an op on the way back adds to the gradient in a buffer, or is all of it."""
        out, own = self._rows(buffer, batch), self._through(dy, through, batch)
        out[...] = out + own if add else own

    def _activity_weights(self, batch: Batch) -> tuple[np.ndarray, float]:
        """The weights of the rows in an activity penalty, and their sum over the step: those of the only head. With
        several it belongs to none, and all rows count alike."""
        if len(batch.weights) > 1:
            return self._row_weights(batch, np.ones(batch.count, self.dtype)), batch.step_rows
        return self._row_weights(batch, batch.weights[0]), batch.step_weights[0]

    def _through(self, dy: np.ndarray, through: Through, batch: Batch) -> np.ndarray:
        if through.activity_l1:
            weights, weight = self._activity_weights(batch)
            pull = through.activity_l1 * weights.astype(np.float64) / weight
            dy = dy + pull.astype(self.dtype)[:, np.newaxis] * np.sign(self._rows(through.y, batch))
        z, a = self._rows(through.z, batch) if through.z else None, self._rows(through.y, batch)
        if through.mask:
            _, factor = self._factors(through.mask, a.shape, batch)
            a = np.divide(a, factor, out=np.zeros_like(a), where=factor != 0)
        return R.through(self._masked(dy, through.mask, batch), a, through.activation, z=z)

    def _masked(self, x: np.ndarray, mask: Mask | None, batch: Batch) -> np.ndarray:
        """x with the mask applied."""
        if mask is None:
            return x
        keep, factor = self._factors(mask, x.shape, batch)
        return np.where(keep, x, 0) * factor

    def _factors(self, mask: Mask, shape: tuple[int, ...], batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Which elements are kept, and what they are multiplied by."""
        key = batch.key(mask)
        drawn: slice | np.ndarray = slice(None)  # the row of the draws for each row
        if mask.group:
            first = key.row // mask.group
            drawn = (key.row + np.arange(shape[0])) // mask.group - first
            key, shape = key._replace(row=first), (int(drawn.max(initial=-1)) + 1, shape[1])
        if mask.kind == "gaussian":
            return np.array(True), (1 + mask.std * self._normals(shape, key))[drawn]
        keep = (R.draws(key, *shape) < mask.threshold)[drawn]
        return keep, np.array(mask.scale, self.dtype)

    def _noisy(self, x: np.ndarray, noise: Noise | None, batch: Batch) -> np.ndarray:
        """x + std * n."""
        if noise is None:
            return x
        return x + noise.std * self._normals(x.shape, batch.key(noise))

    def _mixed(self, rows: np.ndarray, mix: Mix | None, batch: Batch) -> np.ndarray:
        """share * row i + (1 - share) * row i + shift. One routine in C draws both numbers for both engines."""
        if mix is None:
            return rows
        step = (batch.feed.step + batch.index) & R.WORD
        share, shift = _core.draw_mixture(mix, batch.feed.seed, step, batch.count)
        if not shift:
            return rows
        return self.dtype.type(share) * rows + self.dtype.type(1 - share) * np.roll(rows, -shift, axis=0)

    def _normals(self, shape: tuple[int, ...], key: R.Key) -> np.ndarray:
        """Normal draws. One routine in C makes them for both engines."""
        draws = np.empty(shape, self.dtype)
        _core.fill_draws(draws, *key)
        return draws

    def _step(self, name: str, gradient: np.ndarray, rule: rules.Rule, batch: Batch) -> None:
        """Applies the rule. `gradient` is that of the data loss, or what an earlier op made of it."""
        w = self.params[name]
        if rule.kind == "raw":
            self.gradients[name][...] = gradient if batch.opens else self.gradients[name] + gradient
            return
        if rule.kind == "add":
            self.gradients[name] += gradient
            return
        l1, l2 = rule.penalty.at(batch.step_rows, batch.step_weights[0])
        if rule.counted and rule.penalty:
            batch.penalty += U.penalty_of(w, l1, l2)
        gradient = U.penalized(w, gradient, 0.0 if rule.penalty.proximal else l1, l2)
        if rule.clip_value:
            gradient = np.clip(gradient, -rule.clip_value, rule.clip_value)
        if rule.kind == "gradient":
            self.gradients[name][...] = gradient
            return
        rate = float(batch.feed.need("rates")[batch.index]) * rule.lr_scale
        decays = batch.feed.decays
        decay = float(decays[batch.index]) * rule.lr_scale if decays is not None else 0.0
        slots: tuple[np.ndarray, ...] = self.state.get(name, ())
        l1 = l1 if rule.penalty.proximal else 0.0
        U.follow(w, gradient, slots, rate, rule, batch.tally.updates + 1, l1, decay)
        if rule.non_negative:
            np.maximum(w, 0, out=w)


RUN: dict[type[O.Op], Callable[[ReferenceEngine, Any, Batch], None]] = {
    O.Gather: ReferenceEngine._gather,
    O.Dense: ReferenceEngine._dense,
    O.Perturb: ReferenceEngine._perturb,
    O.Loss: ReferenceEngine._loss,
    O.Totals: ReferenceEngine._totals,
    O.Append: ReferenceEngine._append,
    O.DenseDx: ReferenceEngine._dense_dx,
    O.DenseDw: ReferenceEngine._dense_dw,
    E.Embed: ReferenceEngine._embed,
    E.EmbedDw: ReferenceEngine._embed_dw,
    O.RowNorm: ReferenceEngine._row_norm,
    I.Conv: ReferenceEngine._conv,
    I.Flip: ReferenceEngine._flip,
    I.ConvDx: ReferenceEngine._conv_dx,
    I.ConvDw: ReferenceEngine._conv_dw,
    I.Pool: ReferenceEngine._pool,
    I.PoolDx: ReferenceEngine._pool_dx,
    O.BiasDw: ReferenceEngine._bias_dw,
    O.Couple: ReferenceEngine._couple,
    O.Penalize: ReferenceEngine._penalize,
    O.ClipNorm: ReferenceEngine._clip_norm,
    O.Update: ReferenceEngine._update,
    O.MaxNorm: ReferenceEngine._max_norm,
    O.Count: ReferenceEngine._count,
    O.Average: ReferenceEngine._average,
    O.Elementwise: ReferenceEngine._elementwise,
    O.Round: ReferenceEngine._round,
    O.Emit: ReferenceEngine._emit,
    N.BatchNorm: ReferenceEngine._batch_norm,
    N.BatchNormDx: ReferenceEngine._batch_norm_dx,
    N.Moments: ReferenceEngine._moments,
    N.NormScale: ReferenceEngine._norm_scale,
    N.Affine: ReferenceEngine._affine,
    N.NormSums: ReferenceEngine._norm_sums,
    N.ScaleDw: ReferenceEngine._scale_dw,
    N.AffineDx: ReferenceEngine._affine_dx,
    N.LayerNorm: ReferenceEngine._layer_norm,
    N.LayerNormDx: ReferenceEngine._layer_norm_dx,
    N.LayerNormDw: ReferenceEngine._layer_norm_dw,
}
