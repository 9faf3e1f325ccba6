"""Small trainers that several test files use."""

import numpy as np

import fastreg as fr


def line(engine="reference", lr=0.1, w=1.0, b=0.5, dtype="float64", **settings) -> fr.Trainer:
    """y = w x + b under the mean squared error."""
    model = fr.Sequential([fr.Dense(1)])
    model.build(1, dtype=dtype)
    model.load_state_dict({"0.weight": np.array([[w]]), "0.bias": np.array([b])})
    settings.setdefault("optimizer", fr.SGD(lr))
    return fr.Trainer(model, loss="mse", engine=engine, dtype=dtype, **settings)


def classifier(engine="native", **settings) -> fr.Trainer:
    model = fr.Sequential(
        [fr.Dropout(keep_prob=0.9), fr.Dense(8, activation="relu"), fr.Dropout(rate=0.4), fr.Dense(3)]
    )
    settings.setdefault("optimizer", fr.SGD(0.1, momentum=0.9))
    return fr.Trainer(model, engine=engine, **settings)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def state(trainer: fr.Trainer) -> dict:
    return trainer.model.state_dict()
