"""The native kernels as functions on arrays: the same names, arguments and results as in `fastreg.reference`.

Each call is a program of one op. It runs on as many threads as `fastreg.set_num_threads` allows, and the bits do not
depend on their number. Arrays are float32 or float64, all of one dtype. Kernels use an array in place if the distance
between its rows is a multiple of 16 elements. Other arrays are first copied into padded memory.
"""

from __future__ import annotations

import numpy as np

from fastreg.common import checking
from fastreg.engines.binding import Binding
from fastreg.engines.memory import padded
from fastreg.kernels import one_op
from fastreg.program.ops import Dense, DenseDw, DenseDx, Elementwise
from fastreg.program.riders import Terms, Through
from fastreg.program.rules import Rule
from fastreg.reference import arguments
from fastreg.reference.activations import ACTIVATIONS
from fastreg.reference.arguments import Key

__all__ = [
    "Key",
    "dense",
    "dense_backward",
    "dropout",
    "dropout_backward",
    "mse",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]

GRADIENT = Rule("gradient", counted=False)


def dense(x, w, b=None, activation="linear", keep_prob=1.0, key=None, out=None) -> np.ndarray:
    """y = dropout(activation(x @ w + b)), in one pass over y.

    Parameters
    ----------
    x : ndarray (M, K)
    w : ndarray (K, N)
    b : ndarray (N,), optional
    activation : str
        A name in `fastreg.reference.ACTIVATIONS`.
    keep_prob : float
        The share of elements to keep, rounded to a multiple of 2**-16.
    key : Key or int
        Coordinates of the draws. An int is the seed. Required if 0 < keep_prob < 1.
    out : ndarray (M, N), optional
        The array to write the result to. It is also returned.

    Raises
    ------
    ValueError
        Shapes do not fit, the activation is unknown, a probability is outside [0, 1], or the key is missing.
    TypeError
        A dtype is not float32 or float64, or the dtypes differ.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> fr.kernels.dense(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32), activation="relu")
    array([[1., 1.]], dtype=float32)
    """
    x, w, b = arguments.dense(x, w, b)
    (M, K), N = x.shape, w.shape[1]
    out, y = one_op.result(out, (M, N), x.dtype, inputs=(x, w, b))
    activation = checking.choice("activation", activation, ACTIVATIONS)
    op = Dense("y", "x", "w", None if b is None else "b", activation, one_op.mask(keep_prob, key))
    params = {"w": one_op.as_padded(w)} if b is None else {"w": one_op.as_padded(w), "b": one_op.as_padded(b)}
    if out.size:
        binding = Binding(x.dtype, {"x": one_op.as_padded(x), "y": y}, params)
        one_op.run([op], binding, M, 2 * M * K * N, key=key)
    return one_op.given(out, y)


def dense_backward(dy, x, w, y, activation="linear", keep_prob=1.0, key=None, z=None):
    """Gradients of `dense` from `dy`, the gradient at its output `y`.

    Parameters
    ----------
    dy, y : ndarray (M, N)
    x : ndarray (M, K)
    w : ndarray (K, N)
    activation, keep_prob, key
        As they were given to `dense`.
    z : ndarray (M, N), optional
        x @ w + b, for activations whose slope does not follow from `y`.

    Returns
    -------
    dx (M, K), dw (K, N), db (N,)

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> one = np.ones((1, 1))
    >>> dx, dw, db = fr.kernels.dense_backward(one, 3 * one, 2 * one, 6 * one)
    >>> dx, dw, db
    (array([[2.]]), array([[3.]]), array([1.]))
    """
    dy, x, w, y, z = arguments.dense_backward(dy, x, w, y, z)
    (M, K), N = x.shape, w.shape[1]
    mask = one_op.mask(keep_prob, key)
    if ACTIVATIONS[checking.choice("activation", activation, ACTIVATIONS)].needs_z and z is None:
        raise ValueError(f"z: got None, expected x @ w + b, because the slope of {activation} needs it")
    dz, dx = padded((M, N), x.dtype), padded((M, K), x.dtype)
    dw, db = padded((K, N), x.dtype), padded((N,), x.dtype)
    if M == 0 or N == 0 or K == 0:
        return dx, dw, dz.sum(axis=0)
    buffers = {"x": one_op.as_padded(x), "y": one_op.as_padded(y), "dy": one_op.as_padded(dy), "dz": dz, "dx": dx}
    if z is not None:
        buffers["z"] = one_op.as_padded(z)
    params, gradients = {"w": one_op.as_padded(w), "b": padded((N,), x.dtype)}, {"w": dw, "b": db}
    through = Through("y", activation, mask, None if z is None else "z")
    ops = [
        Elementwise("dz", "dy", through=through),
        DenseDx("dx", "dz", "w", Through("dx")),
        DenseDw("w", "b", "x", "dz", GRADIENT, GRADIENT),
    ]
    one_op.run(ops, Binding(x.dtype, buffers, params, gradients=gradients), M, 4 * M * K * N, key=key)
    return dx, dw, db


def dropout(x, keep_prob: float, key=None, out=None) -> np.ndarray:
    """Inverted dropout: an element is x / keep if its draw keeps it, else 0.

    Parameters
    ----------
    x : ndarray
        The last axis holds the columns, all axes before it the rows. A one-dimensional `x` is one row.
    keep_prob : float
        The share of elements to keep, rounded to a multiple of 2**-16. The scale follows the rounded share.
    key : Key or int
        Coordinates of the draws. An int is the seed. Required if 0 < keep_prob < 1.
    out : ndarray, optional
        The array to write the result to. It is also returned.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> fr.kernels.dropout(np.ones(4), 1.0)
    array([1., 1., 1., 1.])
    """
    x, mask = arguments.samples("x", x), one_op.mask(keep_prob, key)
    columns = x.shape[-1]
    rows = x.size // max(columns, 1)
    out, y = one_op.result(out, x.shape, x.dtype, (rows, columns), inputs=() if out is x else (x,))
    if out.size:
        buffers = {"x": one_op.as_padded(x.reshape(rows, columns)), "y": y}
        op = Elementwise("y", "x", mask)
        one_op.run([op], Binding(x.dtype, buffers, {}), rows, 20 * x.size, key=key)
    return one_op.given(out, y)


def dropout_backward(dy, keep_prob: float, key=None, out=None) -> np.ndarray:
    """The gradient of `dropout` at x from `dy`, the gradient at its output. Mask and scale are the same.

    Parameters
    ----------
    dy : ndarray
        An array of the shape of x.
    keep_prob, key, out
        As they were given to `dropout`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> y = fr.kernels.dropout(np.ones(100), 0.5, key=7)
    >>> bool((fr.kernels.dropout_backward(np.ones(100), 0.5, key=7) == y).all())
    True
    """
    return dropout(arguments.samples("dy", dy), keep_prob, key, out)


def softmax_cross_entropy(logits, labels, sample_weight=None, label_smoothing=0.0) -> tuple[float, np.ndarray]:
    """-log softmax(logits)[label], averaged over the rows, and its gradient.

    With `label_smoothing` e the targets are (1 - e) onehot + e / classes (Szegedy et al., 2016).

    Parameters
    ----------
    logits : ndarray (M, N)
    labels : integers (M,) or ndarray (M, N)
        From 0 to N - 1, or the probability t of each class: then l_i = -sum(t log p).
    sample_weight : ndarray (M,), optional
        At least 0; ones by default.
    label_smoothing : float
        From 0 to 1.

    Returns
    -------
    loss : float
        sum(w_i l_i) / sum(w_i), added in float64.
    gradient : ndarray (M, N)
        Its gradient with respect to the first argument.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> loss, gradient = fr.kernels.softmax_cross_entropy(np.zeros((1, 2)), [1])
    >>> round(loss, 4), gradient
    (0.6931, array([[ 0.5, -0.5]]))
    """
    logits = arguments.outputs("logits", logits)
    if np.ndim(labels) == 2:
        labels = arguments.targets(labels, logits, "labels")
    else:
        labels = arguments.labels(labels, *logits.shape)
    return one_op.loss("softmax_cross_entropy", logits, sample_weight, labels=labels, label_smoothing=label_smoothing)


def sigmoid_cross_entropy(logits, targets, sample_weight=None, label_smoothing=0.0) -> tuple[float, np.ndarray]:
    """-t log(p) - (1 - t) log(1 - p) with p = sigmoid(logits), averaged over outputs and rows, and its gradient.

    With `label_smoothing` e the targets are (1 - e) t + e / 2.

    Parameters
    ----------
    logits : ndarray (M, N)
    targets : ndarray (M, N)
        From 0 to 1.
    sample_weight : ndarray (M,), optional
        At least 0; ones by default.
    label_smoothing : float
        From 0 to 1.

    Returns
    -------
    loss : float
        sum(w_i l_i) / sum(w_i), added in float64.
    gradient : ndarray (M, N)
        Its gradient with respect to the first argument.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> loss, gradient = fr.kernels.sigmoid_cross_entropy(np.zeros((1, 2)), np.array([[0.0, 1.0]]))
    >>> round(loss, 4), gradient
    (0.6931, array([[ 0.25, -0.25]]))
    """
    logits = arguments.outputs("logits", logits)
    targets = one_op.as_padded(arguments.targets(targets, logits))
    return one_op.loss("sigmoid_cross_entropy", logits, sample_weight, targets=targets, label_smoothing=label_smoothing)


def mse(y, targets, sample_weight=None) -> tuple[float, np.ndarray]:
    """(y - t)**2, averaged over outputs and rows, and its gradient.

    Parameters
    ----------
    y, targets : ndarray (M, N)
    sample_weight : ndarray (M,), optional
        At least 0; ones by default.

    Returns
    -------
    loss : float
        sum(w_i l_i) / sum(w_i), added in float64.
    gradient : ndarray (M, N)
        Its gradient with respect to the first argument.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> fr.kernels.mse(np.ones((1, 2)), np.zeros((1, 2)))
    (1.0, array([[1., 1.]]))
    """
    y = arguments.outputs("y", y)
    return one_op.loss("mse", y, sample_weight, targets=one_op.as_padded(arguments.targets(targets, y)))


def mae(y, targets, sample_weight=None) -> tuple[float, np.ndarray]:
    """|y - t|, averaged over outputs and rows, and its gradient.

    Parameters
    ----------
    y, targets : ndarray (M, N)
    sample_weight : ndarray (M,), optional
        At least 0; ones by default.

    Returns
    -------
    loss : float
        sum(w_i l_i) / sum(w_i), added in float64.
    gradient : ndarray (M, N)
        Its gradient with respect to the first argument.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> fr.kernels.mae(np.array([[3.0, -1.0]]), np.zeros((1, 2)))
    (2.0, array([[ 0.5, -0.5]]))
    """
    y = arguments.outputs("y", y)
    return one_op.loss("mae", y, sample_weight, targets=one_op.as_padded(arguments.targets(targets, y)))


def huber(y, targets, sample_weight=None, delta=1.0) -> tuple[float, np.ndarray]:
    """(y - t)**2 / 2 up to |y - t| = delta, delta (|y - t| - delta / 2) beyond, averaged, and its gradient.

    Parameters
    ----------
    y, targets : ndarray (M, N)
    sample_weight : ndarray (M,), optional
        At least 0; ones by default.
    delta : float
        Above 0. torch.nn.functional.huber_loss has the same formula (Huber, 1964).

    Returns
    -------
    loss : float
        sum(w_i l_i) / sum(w_i), added in float64.
    gradient : ndarray (M, N)
        Its gradient with respect to the first argument.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> fr.kernels.huber(np.array([[3.0, -1.0]]), np.zeros((1, 2)))
    (1.5, array([[ 0.5, -0.5]]))
    """
    y = arguments.outputs("y", y)
    targets = one_op.as_padded(arguments.targets(targets, y))
    return one_op.loss("huber", y, sample_weight, targets=targets, terms=Terms(shape=checking.positive("delta", delta)))
