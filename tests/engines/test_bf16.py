"""Products in bf16 have the same bits in both engines, on every target and for any number of threads."""

import platform

import numpy as np
import pytest

from fastreg.engines.base import Feed
from fastreg.engines.memory import padded
from fastreg.engines.native import NativeEngine
from fastreg.engines.reference import ReferenceEngine
from fastreg.machine import threads
from fastreg.program.ops import Dense, DenseDw, DenseDx, Gather, Round
from fastreg.program.precision import in_bfloat16
from fastreg.program.program import Program
from fastreg.program.riders import Through
from fastreg.program.rules import Rule
from fastreg.reference import bf16

ARM = platform.machine() in ("aarch64", "arm64")  # decides which numbers are small before it rounds
RAW = Rule(kind="raw")  # the gradient as it is
SHAPES = {
    "one": (1, 1, 1),
    "less than a group": (5, 7, 3),
    "a group": (33, 32, 64),
    "odd": (37, 71, 133),
    "blocks": (300, 40, 70),
    "long": (9, 1100, 40),
    "far": (70, 1030, 530),
    "several goes": (280, 4200, 70),
}


def numbers(kind: str, rng, shape) -> np.ndarray:
    x = rng.normal(size=shape)
    if kind == "wide":
        x *= 2.0 ** rng.integers(-120, 120, shape)
    elif kind == "small":
        x *= 2.0**-63
    elif kind == "large":
        x *= 2.0**61
    x = x.astype("f4")
    if kind == "special":
        x[rng.random(shape) < 0.01] = np.inf
        x[rng.random(shape) < 0.01] = np.nan
        x.view("u4")[rng.random(shape) < 0.01] = 0x007FFFFF
    return x


def engine_for(M: int, K: int, N: int, transposed: bool = False, kind=NativeEngine, **how):
    """The three products of a layer, each alone."""
    ops = (
        Dense("y", "x", "w", None, bf16=True, transposed=transposed),
        DenseDx("dx", "dz", "w", Through("x"), bf16=True, transposed=transposed),
        DenseDw("v", None, "x", "dz", RAW, RAW, bf16=True),
    )
    params = {"w": padded((N, K) if transposed else (K, N), "f4"), "v": padded((K, N), "f4")}
    program = Program(ops, {"x": K, "y": N, "dx": K, "dz": N})
    return kind(program, params, {}, M, "float32", **how)


def products(engine, x, dz, w) -> list[np.ndarray]:
    """What the three ops make of these operands."""
    engine.buffers["x"][...], engine.buffers["dz"][...] = bf16.rounded(x), bf16.rounded(dz)
    engine.params["w"][...] = w if engine.params["w"].shape == w.shape else w.T
    feed = Feed(np.zeros((len(x), 1), "f4"), len(x))
    for index in range(3):
        engine.run_op(feed, 0, index)
    return [np.array(each) for each in (engine.buffers["y"], engine.buffers["dx"], engine.gradients["v"])]


def assert_same(found, expected, what):
    for got, wanted, name in zip(found, expected, ("y", "dx", "dw"), strict=True):
        nan = np.isnan(wanted)
        np.testing.assert_array_equal(np.isnan(got), nan, str((what, name)))
        differ = (got.view("u4") != wanted.view("u4")) & ~nan
        if ARM:
            differ &= np.maximum(np.abs(got), np.abs(wanted)) > 2.0**-125
        assert not differ.any(), (what, name, got[differ][:3], wanted[differ][:3])


@pytest.mark.parametrize("kind", ["usual", "wide", "small", "large", "special"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_three_products_have_the_bits_of_the_reference(shape, kind, rng, restore_target):
    M, K, N = SHAPES[shape]
    if shape in ("far", "several goes") and kind != "usual":
        pytest.skip("the same code as of smaller shapes")
    x, dz, w = (numbers(kind, rng, each) for each in ((M, K), (M, N), (K, N)))
    with np.errstate(all="ignore"):
        expected = [bf16.product(x, w), bf16.product(dz, w.T), bf16.product(x.T, dz)]
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        for transposed in (False, True):
            for how in ({"n_threads": 1}, {"n_threads": 3}, {"n_threads": 2, "scramble": 7}):
                found = products(engine_for(M, K, N, transposed, **how), x, dz, w)
                assert_same(found, expected, (target, transposed, how))


def test_the_reference_engine_uses_the_reference(rng):
    x, dz, w = (numbers("usual", rng, each) for each in ((5, 40), (5, 6), (40, 6)))
    found = products(engine_for(5, 40, 6, kind=ReferenceEngine), x, dz, w)
    assert_same(found, [bf16.product(x, w), bf16.product(dz, w.T), bf16.product(x.T, dz)], "reference")


def test_rounding_has_the_bits_of_the_reference(rng, restore_target):
    """Of all upper halves, with lower halves next to the one where it turns, and others."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1234], np.uint32)
    x = (upper[:, np.newaxis] | lower).view("f4").reshape(-1, 64)
    ops = (Round("y", "x"),)
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        engine = NativeEngine(Program(ops, {"x": 64, "y": 64}), {}, {}, len(x), "float32")
        engine.buffers["x"][...] = x
        engine.run_op(Feed(np.zeros((len(x), 1), "f4"), len(x)), 0, 0)
        found, expected = engine.buffers["y"], bf16.rounded(x)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), target)
        number = ~np.isnan(expected)  # the sign of 0 counts, too
        np.testing.assert_array_equal(found.view("u4")[number], expected.view("u4")[number], target)


def test_what_only_products_read_is_rounded_in_its_place():
    ops = (
        Gather("x", "inputs"),
        Dense("h", "x", "v", "b", activation="relu"),
        Dense("y", "h", "w", None, activation="tanh"),
        Dense("z", "y", "w", None),
        DenseDx("dy", "z", "w", Through("y", "tanh")),
        DenseDx("dh", "dy", "w", Through("h", "relu")),
        DenseDw("v", "b", "x", "dh", RAW, RAW),
    )
    program = in_bfloat16(Program(ops, dict.fromkeys(("x", "h", "y", "z", "dy", "dh"), 8)))
    rounded = {op.out: op.rounded for op in program.ops if type(op) in (Gather, Dense, DenseDx)}
    # tanh's derivative needs y itself, and the gradient of the bias dh itself
    assert {name: rounded[name] for name in ("x", "h", "y", "dy", "dh")} == {
        "x": "x", "h": "h", "y": "y/bf16", "dy": "dy", "dh": "dh/bf16"
    }  # fmt: skip
    assert [type(op).__name__ for op in program.ops][-2:] == ["DenseDw", "BiasDw"]
    assert program.ops[-1].dz == "dh" and program.ops[-2].dz == "dh/bf16"


def test_bf16_is_float32_alone():
    ops = (Dense("y", "x", "w", None, bf16=True),)
    with pytest.raises(TypeError, match="float32 was expected for bf16, got float64"):
        NativeEngine(Program(ops, {"x": 3, "y": 3}), {"w": padded((3, 3), "f8")}, {}, 2, "float64")
