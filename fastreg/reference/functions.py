"""The kernels as NumPy functions: the specification of `fastreg.kernels` and of both engines.

These are plain formulas in the dtype of their arrays (float32 or float64), not written for speed. No function changes
its inputs. Each random bit is a pure function of a `Key`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from fastreg.common import checking
from fastreg.program.riders import PLAIN, Terms
from fastreg.reference import arguments
from fastreg.reference.activations import ACTIVATIONS, Activation, sigmoid
from fastreg.reference.arguments import Key

# --- Random numbers --------------------------------------------------------------------------------------------

ROUNDS = 7
WORD = 0xFFFFFFFF


def philox(counter, key, rounds: int = ROUNDS) -> tuple[np.ndarray, ...]:
    """The block function Philox4x32 of Random123: four words from a counter of four and a key of two.

    Parameters
    ----------
    counter
        Four arrays of 32-bit words that broadcast together.
    key
        Two 32-bit words.
    rounds
        7 in this project. Random123's known answers are for 10.

    Returns
    -------
    tuple of four uint32 arrays
    """
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = (int(word) for word in key)
    low, half = np.uint64(WORD), np.uint64(32)
    for _ in range(rounds):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> half) ^ c1 ^ np.uint64(k0),
            p1 & low,
            (p0 >> half) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return tuple(word.astype(np.uint32) for word in np.broadcast_arrays(c0, c1, c2, c3))


def draws(key: Key | int, rows: int, columns: int) -> np.ndarray:
    """16 random bits for each element of an array of `rows` x `columns`, uint16.

    One block serves eight columns. Column j takes half j mod 2 (0 is the low half) of word (j mod 8) // 2.
    """
    key = arguments.key(key)
    block = np.arange(-(-columns // 8))
    row = np.arange(key.row, key.row + rows)[:, np.newaxis]
    counter = (block, row & WORD, key.step & WORD, key.stream & WORD)
    words = np.stack(philox(counter, (key.seed & WORD, key.seed >> 32 & WORD)), axis=-1)
    halves = np.stack([words & np.uint32(0xFFFF), words >> np.uint32(16)], axis=-1)
    return halves.astype(np.uint16).reshape(rows, 8 * len(block))[:, :columns]


def mask(keep_prob: float, key: Key | int | None, rows: int, columns: int) -> np.ndarray:
    """True where dropout keeps an element. Keep 1 and keep 0 draw nothing and need no key."""
    threshold = arguments.mask(keep_prob, key).threshold
    if key is None or threshold in (0, 65536):
        return np.full((rows, columns), threshold > 0)
    return draws(key, rows, columns) < threshold


# --- Activations -----------------------------------------------------------------------------------------------


def softmax(z: np.ndarray) -> np.ndarray:
    """exp(z) divided by its sum over the row. z is shifted by the row's maximum, so that nothing overflows."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _activation(name: str) -> Activation:
    return ACTIVATIONS[checking.choice("activation", name, ACTIVATIONS)]


# --- Layers ----------------------------------------------------------------------------------------------------


def dropout(x, keep_prob: float, key: Key | int | None = None, out=None) -> np.ndarray:
    """Inverted dropout: an element is x / keep if its draw keeps it, else 0.

    Arguments, results and errors: see `fastreg.kernels.dropout`.
    """
    x = arguments.samples("x", x)
    arguments.out(out, x.shape, x.dtype)
    columns = x.shape[-1]
    keep = mask(keep_prob, key, x.size // max(columns, 1), columns).reshape(x.shape)
    return _into(out, np.where(keep, x, 0) * arguments.mask(keep_prob, key).scale)


def dropout_backward(dy, keep_prob: float, key: Key | int | None = None, out=None) -> np.ndarray:
    """The gradient of `dropout` at x from `dy`, the gradient at its output. Mask and scale are the same.

    Arguments, results and errors: see `fastreg.kernels.dropout_backward`.
    """
    return dropout(arguments.samples("dy", dy), keep_prob, key, out)


def dense(x, w, b=None, activation="linear", keep_prob=1.0, key=None, out=None) -> np.ndarray:
    """y = dropout(activation(x @ w + b)), for x (M, K), w (K, N), b (N,).

    Arguments, results and errors: see `fastreg.kernels.dense`.
    """
    x, w, b = arguments.dense(x, w, b)
    z = x @ w
    if b is not None:
        z = z + b
    return dropout(_activation(activation).value(z), keep_prob, key, out)


def dense_backward(dy, x, w, y, activation="linear", keep_prob=1.0, key=None, z=None):
    """Gradients of `dense` from `dy`, the gradient at its output `y`.

    Arguments, results and errors: see `fastreg.kernels.dense_backward`.
    """
    dy, x, w, y, z = arguments.dense_backward(dy, x, w, y, z)
    dz = through(dy, y, activation, keep_prob, key, z)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


def through(dy, y, activation="linear", keep_prob=1.0, key=None, z=None) -> np.ndarray:
    """The backward pass through y = dropout(activation(z)): dz = dy * mask * scale * activation'."""
    slope, needs_z = _activation(activation).slope, _activation(activation).needs_z
    if z is None and needs_z:
        raise ValueError(f"z: got None, expected x @ w + b, because the slope of {activation} needs it")
    a = np.asarray(y) * (arguments.mask(keep_prob, key).threshold / 65536)  # undoes the scale of kept elements
    return dropout_backward(dy, keep_prob, key) * slope(a, a if z is None else z)


# --- Losses, from logits ---------------------------------------------------------------------------------------

SUM_BLOCK = 64  # FR_SUM_BLOCK of csrc/fastreg.h


Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # the loss of each row, its gradient, and how right the row is


def softmax_cross_entropy(logits, labels, sample_weight=None, label_smoothing=0.0) -> tuple[float, np.ndarray]:
    """-log softmax(logits)[label], averaged over the rows, and its gradient. Labels are integers (M,), or rows of
    probabilities (M, N).

    Arguments, results and errors: see `fastreg.kernels.softmax_cross_entropy`.
    """
    rows = partial(softmax_cross_entropy_rows, smoothing=arguments.smoothing(label_smoothing))
    return _mean_loss(rows, arguments.outputs("logits", logits), labels, sample_weight)


def sigmoid_cross_entropy(logits, targets, sample_weight=None, label_smoothing=0.0) -> tuple[float, np.ndarray]:
    """-t log(p) - (1 - t) log(1 - p) with p = sigmoid(logits), averaged over outputs and rows, and its gradient.

    Arguments, results and errors: see `fastreg.kernels.sigmoid_cross_entropy`.
    """
    rows = partial(sigmoid_cross_entropy_rows, smoothing=arguments.smoothing(label_smoothing))
    return _mean_loss(rows, arguments.outputs("logits", logits), targets, sample_weight)


def mse(y, targets, sample_weight=None) -> tuple[float, np.ndarray]:
    """(y - t)**2, averaged over outputs and rows, and its gradient.

    Arguments, results and errors: see `fastreg.kernels.mse`.
    """
    return _mean_loss(mse_rows, arguments.outputs("y", y), targets, sample_weight)


def mae(y, targets, sample_weight=None) -> tuple[float, np.ndarray]:
    """|y - t|, averaged over outputs and rows, and its gradient.

    Arguments, results and errors: see `fastreg.kernels.mae`.
    """
    return _mean_loss(partial(output_rows, "mae"), arguments.outputs("y", y), targets, sample_weight)


def huber(y, targets, sample_weight=None, delta=1.0) -> tuple[float, np.ndarray]:
    """(y - t)**2 / 2 up to |y - t| = delta, delta (|y - t| - delta / 2) beyond, averaged, and its gradient.

    Arguments, results and errors: see `fastreg.kernels.huber`.
    """
    rows = partial(output_rows, "huber", terms=Terms(shape=checking.positive("delta", delta)))
    return _mean_loss(rows, arguments.outputs("y", y), targets, sample_weight)


def softmax_cross_entropy_rows(logits, labels, smoothing=0.0) -> Rows:
    """For each row: the loss, its gradient, and whether the label's logit is the largest (the first of equal ones).

    Rows of shares t (M, N) in place of labels: -sum(t log p). The label is then the class of the largest share.
    """
    rows, classes = logits.shape
    if np.ndim(labels) == 2:
        return _shares_rows(logits, arguments.targets(labels, logits, "labels"), smoothing)
    labels = arguments.labels(labels, rows, classes)
    each = np.arange(rows)
    shifted = logits - logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(axis=1)) - shifted[each, labels]
    gradient = softmax(logits)
    gradient[each, labels] -= 1 - smoothing
    if smoothing:
        loss = loss + smoothing * (shifted[each, labels] - shifted.mean(axis=1))
        gradient -= smoothing / classes
    return loss, gradient, logits.argmax(axis=1) == labels


def _shares_rows(logits, shares, smoothing) -> Rows:
    shifted = logits - logits.max(axis=1, keepdims=True)
    t = shares * (1 - smoothing) + smoothing / logits.shape[1]
    whole = t.sum(axis=1)
    loss = whole * np.log(np.exp(shifted).sum(axis=1)) - (t * shifted).sum(axis=1)
    gradient = softmax(logits) * whole[:, np.newaxis] - t
    return loss, gradient, logits.argmax(axis=1) == shares.argmax(axis=1)


def class_rows(kind: str, logits, labels, smoothing=0.0, terms: Terms = PLAIN) -> Rows:
    """The same for any loss of one of several classes: a name in `fastreg.program.ops.OF_CLASSES`."""
    if kind == "softmax_cross_entropy":
        return softmax_cross_entropy_rows(logits, labels, smoothing)
    if kind == "categorical_hinge":
        return _categorical_hinge_rows(logits, labels, terms.shape)
    shares = labels if np.ndim(labels) == 2 else np.eye(logits.shape[1], dtype=logits.dtype)[labels]
    return _focal_rows(logits, shares, smoothing, terms)


def _focal_rows(logits, shares, smoothing, terms):
    """-sum_j alpha_j t_j (1 - p_j)^gamma log(p_j), with p = softmax(z) (Lin et al., 2017)."""
    gamma, t = terms.shape, shares * (1 - smoothing) + smoothing / logits.shape[1]
    if terms.weights is not None:
        t = t * np.asarray(terms.weights, logits.dtype)
    shifted = logits - logits.max(axis=1, keepdims=True)
    p, log_p = softmax(logits), shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rest = np.maximum(1 - p, 0)
    power = rest**gamma
    ratio = np.divide(p * log_p, rest, out=np.full_like(p, -1), where=rest > 0)
    slope = t * power * (gamma * ratio - 1)  # in log(p_j)
    gradient = slope - p * slope.sum(axis=1, keepdims=True)
    return -(t * power * log_p).sum(axis=1), gradient, logits.argmax(axis=1) == shares.argmax(axis=1)


def _categorical_hinge_rows(z, labels, power):
    """max(0, 1 + max of the other z_j - z of the label)^power (Crammer and Singer, 2001)."""
    each, gradient = np.arange(len(z)), np.zeros_like(z)
    others = z.copy()
    others[each, labels] = -np.inf
    best = others.argmax(axis=1)
    over = np.maximum(1 + others[each, best] - z[each, labels], 0)
    slope = over + over if power == 2 else (over > 0).astype(z.dtype)
    gradient[each, best] += slope
    gradient[each, labels] -= slope
    bad = (z - z).sum(axis=1)  # NaN if an output is not finite
    return (over * over if power == 2 else over) + bad, gradient, z.argmax(axis=1) == labels


def sigmoid_cross_entropy_rows(logits, targets, smoothing=0.0) -> Rows:
    """For each row: the loss, its gradient, and the share of outputs on the correct side of one half."""
    return output_rows("sigmoid_cross_entropy", logits, targets, smoothing)


def mse_rows(y, targets) -> Rows:
    """For each row: the loss and its gradient, and zero hits, because no output is right or wrong."""
    return output_rows("mse", y, targets)


def output_rows(kind: str, y, targets, smoothing=0.0, terms: Terms = PLAIN) -> Rows:
    """For each row: a loss that is a mean over the outputs, its gradient, and the share of outputs that are right.

    kind    a name in `YES_NO` or in `OUTPUT_TERMS`
    terms   how the outputs count
    """
    targets = arguments.targets(targets, y)
    there = ~np.isnan(targets) if terms.holes else np.ones(y.shape, bool)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1).astype(y.dtype)  # of the targets of a row
    y, targets = np.where(there, y, 0), np.where(there, targets, 0)
    right = np.zeros(len(y))
    if kind in YES_NO:
        right = (((y > 0) == (targets > 0.5)) & there).sum(axis=1) / count[:, 0]
        targets = targets * (1 - smoothing) + smoothing / 2
        value, slope = _yes_no_terms(kind, y, targets, terms)
    elif kind == "poisson":
        value, slope = np.exp(y) - targets * y, np.exp(y) - targets
    else:
        value, slope = OUTPUT_TERMS[kind](y - targets, terms.shape)
    if terms.weights is not None:
        weights = np.asarray(terms.weights, y.dtype)
        value, slope = value * weights, slope * weights
    if terms.units is not None:
        value = value * np.asarray(terms.units, y.dtype)
    gradient = slope * (2 / count) if kind == "mse" else slope / count
    return np.where(there, value, 0).sum(axis=1) / count[:, 0], np.where(there, gradient, 0), right


def _yes_no_terms(kind, z, t, terms):
    """The value of each output, and its derivative, if t is the share of yes."""
    if kind == "sigmoid_cross_entropy":
        return _sigmoid_terms(z, t, terms.positive)
    yes = t if terms.positive is None else t * np.asarray(terms.positive, z.dtype)
    of_no = COST_OF_NO[kind]
    (on, slope_on), (off, slope_off) = of_no(-z, terms.shape), of_no(z, terms.shape)  # a yes at z costs a no at -z
    return yes * on + (1 - t) * off, (1 - t) * slope_off - yes * slope_on


def _focal_no(z, gamma):
    """-sigmoid(z)^gamma log(1 - sigmoid(z)) and its derivative."""
    rest = np.log1p(np.exp(-np.abs(z)))
    cost, power = np.maximum(z, 0) + rest, np.exp(-gamma * (np.maximum(-z, 0) + rest))
    return power * cost, power * (gamma * sigmoid(-z) * cost + sigmoid(z))


def _hinge_no(z, power):
    """max(0, 1 + z)^power and its derivative."""
    over = np.maximum(z + 1, 0)
    return (over * over, over + over) if power == 2 else (over, (over > 0).astype(z.dtype))


def _sigmoid_terms(z, t, positive):
    """The value of each output, and its derivative."""
    rest = np.log1p(np.exp(-np.abs(z)))
    if positive is None:
        return np.maximum(z, 0) - z * t + rest, sigmoid(z) - t
    yes, no = t * np.asarray(positive, z.dtype), 1 - t
    return yes * (np.maximum(-z, 0) + rest) + no * (np.maximum(z, 0) + rest), (yes + no) * sigmoid(z) - yes


def _huber_terms(d, delta):
    near = np.clip(d, -delta, delta)
    return near * (d - near / 2), near


def _log_cosh_terms(d, _):
    return np.abs(d) + np.log1p(np.expm1(-2 * np.abs(d)) / 2), np.tanh(d)


def _quantile_terms(d, q):
    return np.maximum(-q * d, (1 - q) * d), (1 - q) * (d > 0).astype(d.dtype) - q * (d < 0).astype(d.dtype)


# Losses of yes or no: what a no costs at z, from z and the number of the loss, and its derivative.
COST_OF_NO = {"sigmoid_focal": _focal_no, "hinge": _hinge_no}
YES_NO = ("sigmoid_cross_entropy", *COST_OF_NO)

# From d = y - t and the number of the loss: the value, and its derivative (half of it for mse).
OUTPUT_TERMS = {
    "mse": lambda d, _: (d * d, d),
    "mae": lambda d, _: (np.abs(d), np.sign(d)),
    "huber": _huber_terms,
    "log_cosh": _log_cosh_terms,
    "quantile": _quantile_terms,
}


def total(values) -> float:
    """The sum in float64, by blocks of SUM_BLOCK in order. Losses and weights are always added this way."""
    values = np.asarray(values, np.float64)
    return float(sum(values[i : i + SUM_BLOCK].sum() for i in range(0, len(values), SUM_BLOCK)))


def _mean_loss(rows, logits, targets, sample_weight):
    loss, gradient, _ = rows(logits, targets)
    dtype = logits.dtype
    if sample_weight is None:
        weight = np.ones(len(logits), dtype)
    else:
        weight = checking.weights("sample_weight", sample_weight, len(logits), dtype.name)
    whole = total(weight)
    if whole == 0:  # no row counts: nothing to learn from
        return 0.0, np.zeros_like(gradient)
    return total(weight * loss) / whole, gradient * (weight / whole).astype(logits.dtype)[:, np.newaxis]


def _into(out, result):
    if out is None:
        return result
    out[...] = result
    return out
