"""Runs one op, or a loss, of the native engine on arrays. The functions of `fastreg.kernels` are made of this."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastreg.common import checking
from fastreg.engines.base import Tally
from fastreg.engines.binding import Binding
from fastreg.engines.memory import CACHE_LINE, LANES, padded
from fastreg.machine import _core, threads
from fastreg.program.ops import Loss, Totals, Update
from fastreg.program.program import with_waits
from fastreg.program.riders import PLAIN, Mask, Through
from fastreg.program.rules import Rule
from fastreg.reference import arguments
from fastreg.reference.arguments import Key


def run(
    ops,
    binding: Binding,
    rows,
    flops,
    *,
    key=None,
    labels=None,
    shares=None,
    weights=None,
    lr=None,
    powers=(1.0, 1.0, 1.0),
    n_threads=None,
):
    """Runs the ops on the arrays of the binding, as one batch of `rows` rows."""
    key = Key(0) if key is None else arguments.key(key)
    ordered = with_waits(ops, binding.buffers) if len(ops) > 1 else ops
    fields = [binding.fields(op) for op in ordered]
    program = _core.Program(binding.dtype, rows, fields)
    rates = None if lr is None else np.array([lr], np.float64)
    targets = None if shares is None else _core.Source(shares)
    feed = _core.Feed(rows, rows, key.seed, 0, [], [(labels, targets, weights, None)], None, rates)
    n = threads.resolve(n_threads, flops)
    memory = np.empty(program.scratch_bytes(n) + CACHE_LINE, np.uint8)
    scratch = memory[-memory.ctypes.data % CACHE_LINE :]
    tally = Tally()
    step = key.step & 0xFFFFFFFF
    _core.run(program, feed, tally, 0, 1, step=step, seconds=0, threads=n, scratch=scratch, powers=list(powers))
    return tally


def fits(array: np.ndarray) -> bool:
    """Whether kernels can use the array in place: rows are whole vectors, with no foreign data between them."""
    size = array.itemsize
    if array.shape[-1] % LANES or array.strides[-1] != size or array.ctypes.data % size:
        return False
    apart = array.strides[0]
    return array.ndim == 1 or (array.ndim == 2 and apart % (LANES * size) == 0 and apart >= array.shape[1] * size)


def as_padded(array: np.ndarray) -> np.ndarray:
    if fits(array):
        return array
    copy = padded(array.shape, array.dtype)
    copy[...] = array
    return copy


def result(out, shape, dtype, flat_shape=None, inputs=()):
    """The array to return and the array for the kernel to write.

    The second is a view of the first, unless that does not fit or shares memory with what the kernel still reads.
    """
    arguments.out(out, shape, dtype)
    if out is None:
        out = np.empty(shape, dtype)
    flat = out.reshape(flat_shape or shape)  # a copy if no view of these strides has that shape
    shared = any(array is not None and np.may_share_memory(out, array) for array in inputs)
    return out, flat if fits(flat) and not shared else padded(flat.shape, dtype)


def given(out, written):
    if not np.shares_memory(out, written):
        out[...] = written.reshape(out.shape)
    return out


def mask(keep_prob, key) -> Mask:
    mask = arguments.mask(keep_prob, key)
    if key is not None and arguments.key(key).row:
        raise ValueError(f"key: got {key!r}, expected row 0: native kernels count the rows of an array from there")
    return mask


def loss(kind, logits, sample_weight, labels=None, targets=None, label_smoothing=0.0, terms=PLAIN, n_threads=None):
    rows, N = logits.shape
    weights = None
    if sample_weight is not None:
        weights = checking.weights("sample_weight", sample_weight, rows, logits.dtype.name)
    gradient = np.zeros((rows, N), logits.dtype)
    if rows == 0 or (weights is not None and not weights.any()):
        return 0.0, gradient
    out, dz = result(gradient, (rows, N), logits.dtype)
    buffers = {"y": as_padded(logits), "dz": dz}
    buffers |= {name: padded((rows,), logits.dtype) for name in ("row_loss", "row_hit")}
    if targets is not None:
        buffers["targets"] = targets
    smoothing = arguments.smoothing(label_smoothing)
    shares = labels if labels is not None and labels.ndim == 2 else None
    labels = labels if shares is None else None
    op = Loss(kind, "dz", Through("y"), None if targets is None else "targets", smoothing, terms=terms)
    binding = Binding(logits.dtype, buffers, {})
    more = {"labels": labels, "shares": shares, "weights": weights, "n_threads": n_threads}
    tally = run([op, Totals()], binding, rows, 50 * rows * N, **more)
    return tally.loss / tally.weight, given(out, dz)


def update(rule: Rule, w, g, state, lr, step) -> None:
    """Carries a rule out in its step 1, 2, ..."""
    if w.size == 0:
        return
    inputs = [flat(array) for array in (w, g, *state.values())]
    written = [as_padded(array) for array in inputs]
    value, gradient, *slots = written
    binding = Binding(w.dtype, {}, {"w": value}, {"w": tuple(slots)}, {"w": gradient})
    run([Update("w", replace(rule, counted=False))], binding, 1, 20 * w.size, lr=lr, powers=rule.powers(step - 1))
    for array, result in zip((w, *state.values()), (value, *slots), strict=True):
        if not np.shares_memory(array, result):
            array[...] = result.reshape(array.shape)


def flat(array: np.ndarray) -> np.ndarray:
    """The array in one dimension, without a copy if it is contiguous."""
    return array.reshape(-1)
