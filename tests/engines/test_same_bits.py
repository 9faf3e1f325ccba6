"""Every kind of op has the same bits for any number of threads, and on every target with fused multiply-add. The target
"generic" rounds products before it adds them, so its bits are its own, but they are the same for any number of threads.
"""

import pytest
from graph_trainings import TRAININGS, answers, bits, new

from fastreg.machine import _core, threads

COUNTS = {"float32": (1, 2, 3, 7), "float64": (1, 3)}


def end(name: str, **settings) -> dict[str, bytes]:
    """What two epochs of a training leave behind, its losses, and what its model says then."""
    trainer, fit = new(name, **settings)
    history = trainer.fit(epochs=2, **fit)
    losses = {key: repr(history[key]).encode() for key in history if key != "seconds"}
    return bits(trainer) | losses | answers(trainer, fit["X"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TRAININGS)
def test_same_bits_for_threads_and_targets(name, dtype, restore_target):
    expected: dict[bool, dict[str, bytes]] = {}
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        for count in COUNTS[dtype]:
            found = end(name, dtype=dtype, threads=count)
            first = expected.setdefault(target != "generic", found)
            assert found.keys() == first.keys()
            assert {key for key in found if found[key] != first[key]} == set(), (target, count)
    assert len(expected) == 1 or expected[True] != expected[False]  # what is compared tells one rounding from another


def test_the_trainings_have_every_kind_of_op():
    """So a new kind of op has to be in one of them."""
    kinds = set()
    for name, how in [*((name, {}) for name in TRAININGS), ("norms", {"precision": "bfloat16"})]:
        trainer, fit = new(name, **how)
        trainer.fit(epochs=1, **fit)
        kinds |= {type(op).__name__ for what in ("train", "predict", "evaluate") for op in trainer.program(what).ops}
    assert kinds == set(_core.OP_KINDS)
