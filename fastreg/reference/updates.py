"""The updates of `fastreg.reference`: how a parameter follows its gradient, in place."""

from __future__ import annotations

import numpy as np

from fastreg.reference import arguments


def sgd_update(w, g, lr, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True) -> None:
    """g <- g + l2 w, then w <- w - lr weight_decay w, then w <- soft(w - lr g, lr l1).

    Parameters
    ----------
    w, g
        The parameter, changed in place, and the gradient of the data loss: arrays of one shape.
    lr
        Learning rate, at least 0.
    l1, l2
        Coefficients of l1 |W|_1 + l2/2 |W|^2.
    weight_decay
        Decoupled from the gradient.
    proximal
        L1 by soft-thresholding after the step, so that zeros are exact; else l1 sign(w) is added to g.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w = np.array([1.0, 0.01])
    >>> fr.reference.sgd_update(w, [1.0, 0.0], lr=0.1, l1=0.5)
    >>> w
    array([0.85, 0.  ])
    """
    penalties = {"l1": l1, "l2": l2, "weight_decay": weight_decay, "proximal": proximal}
    g, lr = arguments.update(w, g, lr, {}, **penalties)
    g = _decayed(w, g, lr, l1, l2, weight_decay, proximal)
    w -= lr * g
    if l1 and proximal:
        w[...] = soft_threshold(w, lr * l1)


def momentum_update(w, g, v, lr, momentum=0.9, nesterov=False, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True) -> None:
    """v <- momentum v + g, then a step by v (nesterov: by g + momentum v); the rest as `sgd_update`.

    Nesterov's threshold is lr (1 + momentum) l1: at rest it steps by (1 + momentum) g, and g and l1 must balance.
    After a proximal step the velocity becomes the step that was taken: v <- (w_old - w_new) / lr.

    Parameters
    ----------
    w, g, lr
        As in `sgd_update`.
    v
        The velocity, an array like w, changed in place.
    momentum
        From 0 to below 1.
    nesterov
        Whether the step is Nesterov's.
    l1, l2, weight_decay, proximal
        As in `sgd_update`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w, v = np.ones(1), np.ones(1)
    >>> fr.reference.momentum_update(w, [1.0], v, lr=0.5, momentum=0.5)
    >>> w, v
    (array([0.25]), array([1.5]))
    """
    penalties = {"l1": l1, "l2": l2, "weight_decay": weight_decay, "proximal": proximal}
    g, lr = arguments.update(w, g, lr, {"v": v}, momentum=momentum, nesterov=nesterov, **penalties)
    g = _decayed(w, g, lr, l1, l2, weight_decay, proximal)
    old = w.copy()
    v *= momentum
    v += g
    w -= lr * (g + momentum * v if nesterov else v)
    if l1 and proximal:
        w[...] = soft_threshold(w, lr * l1 * (1 + momentum if nesterov else 1))
        if lr > 0:
            v[...] = (old - w) / lr


def rmsprop_update(
    w, g, v, lr, alpha=0.99, eps=1e-8, momentum=0.0, m=None, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True
) -> None:
    """v <- alpha v + (1 - alpha) g**2 and d = g / (sqrt(v) + eps), then w <- w - lr d; the rest as `sgd_update`.

    With `m`, an array like w: m <- momentum m + d, then w <- w - lr m. The threshold of L1 is lr l1 / (sqrt(v) + eps),
    element by element; after a proximal step m becomes the step that was taken, as in `momentum_update`. Tieleman and
    Hinton, Neural Networks for Machine Learning, lecture 6.5 (2012), in the form of torch.optim.RMSprop.

    Parameters
    ----------
    w, g, lr
        As in `sgd_update`.
    v
        The mean square of g, an array like w, changed in place.
    alpha
        How much of v is kept, from 0 to below 1.
    eps
        Added to the root, at least 0. Less than the smallest normal number of the dtype counts as that, so that
        nothing is divided by 0; to a root that is not 0 it adds nothing.
    momentum, m
        The share of m that is kept, from 0 to below 1, and the array, changed in place.
    l1, l2, weight_decay, proximal
        As in `sgd_update`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w, v = np.ones(1), np.zeros(1)
    >>> fr.reference.rmsprop_update(w, [4.0], v, lr=0.1, alpha=0.75)
    >>> w.round(6), v
    (array([0.8]), array([4.]))
    """
    penalties = {"l1": l1, "l2": l2, "weight_decay": weight_decay, "proximal": proximal}
    state = arguments.rmsprop_state(v, m, momentum)
    g, lr = arguments.update(w, g, lr, state, alpha=alpha, eps=eps, momentum=momentum, **penalties)
    g = _decayed(w, g, lr, l1, l2, weight_decay, proximal)
    old = w.copy()
    v *= alpha
    v += (1 - alpha) * g * g
    root = np.sqrt(v) + _above_zero(eps, v)
    step = g / root
    if m is not None:
        m *= momentum
        m += step
        step = m
    w -= lr * step
    if l1 and proximal:
        w[...] = soft_threshold(w, lr * l1 / root)
        if m is not None and lr > 0:
            m[...] = (old - w) / lr


def adam_update(
    w, g, m, v, lr, step, beta1=0.9, beta2=0.999, eps=1e-8, l1=0.0, l2=0.0, weight_decay=0.0, proximal=True
) -> None:
    """w <- w - lr m' / (sqrt(v') + eps), with m', v' the moments of g freed of their bias; AdamW by weight_decay.

    The threshold of L1 is lr l1 / (sqrt(v') + eps), element by element.

    Parameters
    ----------
    w, g, lr
        As in `sgd_update`.
    m, v
        The moments, arrays like w, changed in place.
    step
        Of which it is: 1, 2, ...
    beta1, beta2
        How much of the moments is kept, from 0 to below 1.
    eps
        Added to the root, at least 0. Less than the smallest normal number of the dtype counts as that, so that
        nothing is divided by 0; to a root that is not 0 it adds nothing.
    l1, l2, weight_decay, proximal
        As in `sgd_update`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> w, m, v = np.ones(1), np.zeros(1), np.zeros(1)
    >>> fr.reference.adam_update(w, [4.0], m, v, lr=0.1, step=1)
    >>> w.round(6), m.round(6), v.round(6)
    (array([0.9]), array([0.4]), array([0.016]))
    """
    penalties = {"l1": l1, "l2": l2, "weight_decay": weight_decay, "proximal": proximal}
    moments = {"beta1": beta1, "beta2": beta2, "eps": eps, "step": step}
    g, lr = arguments.update(w, g, lr, {"m": m, "v": v}, **moments, **penalties)
    g = _decayed(w, g, lr, l1, l2, weight_decay, proximal)
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    rate = lr / (np.sqrt(v / (1 - beta2**step)) + _above_zero(eps, v))
    w -= rate * (m / (1 - beta1**step))
    if l1 and proximal:
        w[...] = soft_threshold(w, rate * l1)


def soft_threshold(w, threshold) -> np.ndarray:
    """The proximal operator of threshold * |w|: towards zero by `threshold`, and not beyond."""
    return np.sign(w) * np.maximum(np.abs(w) - threshold, 0)


def penalized(w, g, l1=0.0, l2=0.0) -> np.ndarray:
    """g + l2 w + l1 sign(w): the gradient with the penalties in it."""
    if l2:
        g = g + l2 * w
    return g + l1 * np.sign(w) if l1 else g


def _above_zero(eps, v) -> float:
    return max(float(eps), float(np.finfo(v.dtype).tiny))


def _decayed(w, g, lr, l1, l2, weight_decay, proximal) -> np.ndarray:
    """The gradient, with what of the penalties goes through it at w as it was; then decays w, in place."""
    g = penalized(w, g, 0.0 if proximal else l1, l2)
    if weight_decay:
        w -= lr * weight_decay * w
    return g
