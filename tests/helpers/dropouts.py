"""Dropout seen from outside: the factors that it multiplies by, their moments, and gradients through several."""

import numpy as np

import fastreg as fr

KINDS = ("inverted", "gaussian", "standard")


def factors(engine, count, columns, step=0, on="inputs", **options) -> np.ndarray:
    """The factors of a dropout: rows of ones go through it and the identity."""
    dropout = fr.Dropout(**options)
    layers = (
        [dropout, fr.Dense(columns, use_bias=False)] if on == "inputs" else [fr.Dense(columns, use_bias=False), dropout]
    )
    seen = {}

    def note(x):
        seen["m"] = np.array(x)
        return x

    model = fr.Sequential([*layers, fr.Function(note, lambda dy, x, y: dy)])
    trainer = fr.Trainer(model, "mse", engine=engine, dtype="float64", seed=3)
    model.build(columns, dtype="float64")
    name = next(iter(model.parameters))
    model.parameters[name][...] = np.eye(columns)
    ones = np.ones((count, columns))
    trainer.row_losses(ones, ones, step=step)
    return seen["m"]


def assert_moments(m: np.ndarray, kind: str, keep: float) -> tuple[float, float]:
    """Factors have the mean and the variance of their kind, which are returned, to 4 standard errors."""
    mean, variance = (keep, keep * (1 - keep)) if kind == "standard" else (1.0, (1 - keep) / keep)
    assert abs(m.mean() - mean) < 4 * np.sqrt(variance / m.size)
    fourth = ((m - m.mean()) ** 4).mean()
    assert abs(m.var() - variance) < 4 * np.sqrt((fourth - variance**2) / m.size) + 1e-4  # keep is drawn to 2**-16
    return mean, variance


def assert_gradients(engine, activation, X, y, **options) -> None:
    """Gradients agree with differences, with dropout on inputs, twice in a row, before an activation, on outputs."""
    layers = [fr.Dropout(rate=0.2, **options), fr.Dense(6, activation), fr.Dropout(rate=0.4, **options)]
    layers += [fr.Dropout(rate=0.1, **options), fr.Dense(5, activation), fr.Dropout(rate=0.3, **options), fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential([*layers, fr.Dropout(rate=0.1, **options)]), engine=engine, l2=0.01)
    trainer.fit(X, y)
    check = fr.check_gradients(trainer, X[:20], y[:20], step=5)
    assert check.ok, check
