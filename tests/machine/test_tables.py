"""The tables and numbers in C and in Python agree, and ops reach C complete."""

import inspect

import numpy as np
import pytest

import fastreg as fr
from fastreg.engines import memory
from fastreg.engines.binding import Binding
from fastreg.engines.memory import padded
from fastreg.losses.losses import BY_NAME
from fastreg.machine import _core
from fastreg.program import averages, embedding, images, normalize, ops, riders, rules
from fastreg.reference import functions
from fastreg.reference.activations import ACTIVATIONS


def test_op_kinds():
    rooms = ops, averages, embedding, images, normalize
    every = [kind for room in rooms for kind in vars(room).values() if inspect.isclass(kind)]
    assert set(_core.OP_KINDS) == {kind.__name__ for kind in every if issubclass(kind, ops.Op)} - {"Op", "Norm"}


def test_ops_that_run_once_a_step():
    once = {name for name, flags in _core.OP_FLAGS.items() if flags & _core.ONCE_A_STEP}
    assert once == {kind.__name__ for kind in ops.ONCE_A_STEP}


def test_activations():
    assert list(_core.ACTIVATIONS) == list(ACTIVATIONS)
    assert {name for name, row in ACTIVATIONS.items() if row.needs_z} == _core.NEEDS_Z


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_initializer_of_an_activation(name):
    assert fr.Dense(3, name).weight_init == fr.initializers.get("weight_init", ACTIVATIONS[name].initializer)


def test_losses():
    own = {*ops.OF_CLASSES, *functions.YES_NO, "poisson", *functions.OUTPUT_TERMS}  # of the reference engine
    assert set(_core.LOSSES) == {*BY_NAME, "given"} == own | {"given"}


def test_rules():
    assert {kind: len(slots) for kind, slots in rules.UPDATE_SLOTS.items()} == _core.RULE_SLOTS
    assert rules.STORES_GRADIENT == _core.STORES_GRADIENT
    assert max(_core.RULE_SLOTS.values()) == _core.SLOTS


def test_layout():
    assert (riders.PANEL, memory.LANES) == (_core.PANEL, _core.LANES)
    assert functions.SUM_BLOCK == _core.SUM_BLOCK
    assert riders.MAX_TRANSFORMS == _core.MAX_TRANSFORMS
    assert riders.stream(riders.PURPOSE_SHUFFLE, 0) == _core.SHUFFLE_STREAM


def fields(op=None, **other):
    """The fields of an Elementwise, or of another op, on two small buffers. `other` replaces some of them."""
    buffers = {name: padded((4, 3), "float32") for name in ("x", "y")}
    return Binding(np.dtype("float32"), buffers, {}).fields(op or ops.Elementwise("y", "x")) | other


def test_a_whole_op_is_taken():
    _core.Program("float32", 4, [fields()])


@pytest.mark.parametrize("name", fields())
def test_a_missing_field_is_refused(name):
    given = fields()
    del given[name]
    with pytest.raises(TypeError, match=f"got no field '{name}'"):
        _core.Program("float32", 4, [given])


@pytest.mark.parametrize("name", ["units", "Mask", "weight"])
def test_an_unknown_field_is_refused(name):
    with pytest.raises(TypeError, match=rf"Elementwise: got the field '{name}', which it does not have"):
        _core.Program("float32", 4, [fields(**{name: None})])


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind: got 'Convolve', expected one of Gather, Dense, "):
        _core.Program("float32", 4, [fields(kind="Convolve")])


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"activation: got 'swish', expected one of linear, relu, "):
        _core.Program("float32", 4, [fields(ops.Elementwise("y", "x", through=riders.Through("x", "swish")))])


def test_an_op_that_the_engine_does_not_know_is_refused():
    class Convolve(ops.Op):
        pass

    with pytest.raises(TypeError, match="op: got Convolve, which the native engine does not know"):
        fields(Convolve())


def test_more_arrays_of_state_than_c_has_room_for_are_refused():
    array = padded((4, 3), "float32")
    update = {"kind": "Update", "wait": False, "rowwise": False, "span": "own", "gradient": array, "scaled": False}
    with pytest.raises(ValueError, match="3 arrays of state for a parameter, which has at most 2"):
        _core.Program("float32", 4, [update | {"param": (array, (array,) * 3, rules.Rule("adam"), None, None)}])
