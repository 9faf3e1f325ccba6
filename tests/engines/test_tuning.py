"""What kernels do for the caches of a processor changes no bit, whatever the target, the threads and the shapes.

The rows, columns and threads here reach each way to divide the work: shares in columns, tiles, tiles by rows in blocks
of columns, tiles taken from others, more rows than are copied, and more copies than there is room for.
"""

import numpy as np
import pytest
from graph_trainings import bits

import fastreg as fr
from fastreg.machine import threads, tuning

SIZES = {  # inputs, units of two layers, and rows
    "small": (19, (37, 5), 70),
    "in columns": (130, (203, 10), 64),
    "far, ragged": (1031, (530, 9), 101),
    "far, by blocks of columns": (600, (1300, 3), 500),
    "more rows than are copied": (40, (70, 3), 2500),
}
RULES = {
    "sgd": {"optimizer": fr.SGD(0.1)},
    "adam and penalties": {"optimizer": fr.Adam(1e-3), "l1": 1e-5, "l2": 1e-4},
}
ONE_BY_ONE = ["none", *tuning.ALL, "all"]


def trained(size: str, rule: str, *, dtype: str = "float32", **settings) -> dict[str, bytes]:
    """Three steps, and what the model says after them."""
    inputs, units, rows = SIZES[size]
    rng = np.random.default_rng(inputs)
    X, y = rng.normal(size=(3 * rows - 7, inputs)), rng.integers(0, 3, 3 * rows - 7)
    layers = [fr.Dense(units[0], "relu", max_norm=2.0), fr.Dropout(rate=0.3), fr.Dense(units[1], "tanh"), fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential(layers), seed=2, dtype=dtype, **RULES[rule], **settings)
    history = trainer.fit(X, y, epochs=1, batch_size=rows)
    return bits(trainer) | {"loss": repr(history["loss"]).encode(), "answers": trainer.predict(X[:rows]).tobytes()}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "size", [name if "far" not in name else pytest.param(name, marks=pytest.mark.slow) for name in SIZES]
)
def test_no_tuning_changes_a_bit(size, rule, restore_target):
    counts = range(1, 10) if size == "in columns" else (1, 2, 9)
    expected: dict[bool, dict[str, bytes]] = {}
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        for chosen in ONE_BY_ONE if target == threads.simd()["available"][0] else ("none", "all"):
            with tuning.using(chosen):
                for count in counts:
                    found = trained(size, rule, threads=count)
                    first = expected.setdefault(target != "generic", found)
                    assert len(found) >= 8 and found == first, (target, chosen, count)


@pytest.mark.parametrize("how", [{"dtype": "float64"}, {"precision": "bfloat16"}])
@pytest.mark.parametrize("size", ["in columns", pytest.param("far, ragged", marks=pytest.mark.slow)])
def test_nor_in_other_precisions(size, how, restore_target):
    expected: dict[bool, dict[str, bytes]] = {}
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        for chosen in ("none", "all"):
            with tuning.using(chosen):
                for count in (1, 3):
                    found = trained(size, "adam and penalties", threads=count, **how)
                    assert found == expected.setdefault(target != "generic", found), (target, chosen, count)
