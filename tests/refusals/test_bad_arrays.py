"""Wrong arguments of the functions on arrays, in C and in NumPy: one line names them, and nothing is written."""

import numpy as np
import pytest

import fastreg as fr

MODULES = {"kernels": fr.kernels, "reference": fr.reference}
nan, inf = float("nan"), float("inf")


def arrays() -> dict:
    """One good set of arguments for every function."""
    rng = np.random.default_rng(0)
    x, w, b, dy = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=(5, 3))
    p, g, m, v = (rng.normal(size=(4, 3)) for _ in range(4))
    step = {"w": p, "g": g, "lr": 0.1, "l1": 0.01, "l2": 0.01, "weight_decay": 0.01}
    return {
        "dense": {"x": x, "w": w, "b": b},
        "dense_backward": {"dy": dy, "x": x, "w": w, "y": dy.copy()},
        "dropout": {"x": x, "keep_prob": 0.5, "key": 3},
        "dropout_backward": {"dy": x, "keep_prob": 0.5, "key": 3},
        "softmax_cross_entropy": {"logits": dy, "labels": np.arange(5) % 3, "sample_weight": np.ones(5)},
        "sigmoid_cross_entropy": {"logits": dy, "targets": np.ones((5, 3)), "sample_weight": np.ones(5)},
        "mse": {"y": dy, "targets": np.ones((5, 3)), "sample_weight": np.ones(5)},
        "sgd_update": step,
        "momentum_update": step | {"v": v, "momentum": 0.9},
        "rmsprop_update": step | {"v": v**2, "m": m, "momentum": 0.9},
        "adam_update": step | {"m": m, "v": v**2, "step": 2},
        "nadam_update": step | {"m": m, "v": v**2, "step": 2},
        "lion_update": step | {"m": m},
    }


NUMBER = ("got 'a', expected a number", "a")
NEGATIVE = ("got -1, expected a finite number of at least 0", -1)
NOT_A_NUMBER = ("got nan, expected a finite number", nan)
BAD_NUMBERS = (NUMBER, NEGATIVE, NOT_A_NUMBER, ("got None, expected a number", None))
BAD_SHARES = (NUMBER, NOT_A_NUMBER, ("got 1, expected a finite number from 0 to below 1", 1))
MASKED = np.ma.masked_greater(np.ones((4, 3)), 0)
BAD_WEIGHTS = (
    (r"got shape \(4,\), expected \(5,\)", np.ones(4)),
    (r"got -1\.0 in row 0, expected numbers of at least 0", -np.ones(5)),
    (r"row 0 is not finite", np.full(5, nan)),
    (r"got 'a' in row 0, expected real numbers", ["a"] * 5),
    (r"got shape \(\), expected \(5,\)", 3.0),
)
BAD_OUTPUTS = (
    (r"got shape \(\), expected \(M, N\)", np.float64(3)),
    (r"got shape \(3,\), expected \(M, N\)", np.ones(3)),
    (r"got shape \(5, 0\), expected \(M, N\)", np.ones((5, 0))),
    (r"got None, expected an array", None),
)
BAD_TARGETS = (
    (r"got shape \(\), expected \(5, 3\)", 1),
    (r"got None, expected an array", None),
    (r"got 'a', expected real numbers", "a"),
    (r"got 2 values in row 0, but 1 in row 1, expected rows of one length", [[1, 2], [3]]),
)
BAD_KEYS = (
    ("got -1, expected an integer from 0 to", -1),
    ("got 'a', expected an integer", "a"),
    (r"got 0\.5, expected an integer", 0.5),
    ("got 18446744073709551616, expected an integer from 0", 2**64),
    (r"got \(1, 2, 3, 4, 5\), expected a Key or a seed", (1, 2, 3, 4, 5)),
    (r"got \(\), expected a Key or a seed", ()),
    ("got None, expected a Key or a seed", None),
)
BAD_KEEP = (
    ("got 'a', expected a number", "a"),
    ("got nan, expected a finite number from 0 to 1", nan),
    (r"got 1\.5, expected a finite number from 0 to 1", 1.5),
    (r"got \[0\.5\], expected a number", [0.5]),
)
BAD_STATE = (
    (r"got shape \(3, 4\), expected a writable array of w's shape", np.ones((3, 4))),
    (r"got \[1\], expected a writable array", [1]),
)
PENALTIES = {"lr": BAD_NUMBERS, "l1": BAD_NUMBERS, "l2": BAD_NUMBERS, "weight_decay": BAD_NUMBERS}
PENALTIES["proximal"] = (("got 1, expected True or False", 1), ("got None, expected True or False", None))
PENALTIES["g"] = (
    (r"got shape \(3, 4\), expected \(4, 3\)", np.ones((3, 4))),
    ("got None, expected an array of real numbers", None),
    ("got 'a', expected real numbers", "a"),
    ("got an array with 12 masked values, expected none", MASKED),
)
ACTIVATION = ((r"got \[1\], expected one of linear", [1]), ("got None, expected one of linear", None))
READ_ONLY = np.ones((5, 3))
READ_ONLY.flags.writeable = False
CASES = {
    "dense": {
        "x": ((r"got None, expected an array", None), (r"got 1 values in row 0, but 2 in row 1", [[1.0], [1.0, 2.0]])),
        "w": ((r"got shape \(\) for x", np.float64(1)), ("got an array with 12 masked values", MASKED)),
        "b": ((r"got shape \(\), expected \(3,\)", np.float64(1)), (r"got shape \(4,\), expected \(3,\)", np.ones(4))),
        "activation": ACTIVATION,
        "keep_prob": BAD_KEEP,
        "out": (
            (r"got 3, expected an array of float64 of shape \(5, 3\)", 3),
            (r"got float32 of shape \(5, 3\), expected float64", np.ones((5, 3), np.float32)),
            ("got read-only float64", READ_ONLY),
        ),
    },
    "dense_backward": {
        "dy": ((r"got shape \(5, 4\), expected \(5, 3\)", np.ones((5, 4))), ("got None, expected an array", None)),
        "y": ((r"got shape \(\), expected \(5, 3\)", np.float64(1)),),
        "z": ((r"got shape \(3,\), expected \(5, 3\)", np.ones(3)),),
        "activation": ACTIVATION,
        "keep_prob": BAD_KEEP,
    },
    "dropout": {
        "x": ((r"got shape \(\), expected at least one dimension", np.float64(3)), ("got None, expected", None)),
        "keep_prob": BAD_KEEP,
        "key": BAD_KEYS,
        "out": ((r"got float64 of shape \(4, 5\), expected float64 of shape \(5, 4\)", np.ones((4, 5))),),
    },
    "dropout_backward": {
        "dy": ((r"got shape \(\), expected at least one dimension", np.float64(3)), ("got None, expected", None)),
        "keep_prob": BAD_KEEP,
        "key": BAD_KEYS,
    },
    "softmax_cross_entropy": {
        "logits": BAD_OUTPUTS,
        "labels": (
            (r"got float64 of shape \(5,\), expected integers", np.ones(5)),
            ("got 0 to 3, expected 0 to 2", [0, 1, 2, 3, 0]),
            (r"got object of shape \(\), expected integers", None),
        ),
        "sample_weight": BAD_WEIGHTS,
    },
    "sigmoid_cross_entropy": {"logits": BAD_OUTPUTS, "targets": BAD_TARGETS, "sample_weight": BAD_WEIGHTS},
    "mse": {"y": BAD_OUTPUTS, "targets": BAD_TARGETS, "sample_weight": BAD_WEIGHTS},
    "sgd_update": PENALTIES
    | {"w": (*BAD_STATE[1:], ("got a read-only array, expected a writable array of w's shape", READ_ONLY[:4]))},
    "momentum_update": PENALTIES
    | {"v": BAD_STATE, "momentum": BAD_SHARES, "nesterov": (("got 'a', expected True or False", "a"),)},
    "rmsprop_update": PENALTIES
    | {"v": BAD_STATE, "m": BAD_STATE, "alpha": BAD_SHARES, "eps": BAD_NUMBERS, "momentum": BAD_SHARES},
    "adam_update": PENALTIES
    | {"m": BAD_STATE, "v": BAD_STATE, "beta1": BAD_SHARES, "beta2": BAD_SHARES, "eps": BAD_NUMBERS}
    | {"step": (("got 0, expected an integer of at least 1", 0), (r"got 1\.5, expected an integer", 1.5))},
    "nadam_update": PENALTIES
    | {"m": BAD_STATE, "v": BAD_STATE, "beta1": BAD_SHARES, "beta2": BAD_SHARES, "eps": BAD_NUMBERS}
    | {"momentum_decay": BAD_NUMBERS, "step": (("got 0, expected an integer of at least 1", 0),)},
    "lion_update": PENALTIES | {"m": BAD_STATE, "beta1": BAD_SHARES, "beta2": BAD_SHARES},
}
TABLE = [
    pytest.param(function, argument, value, message, id=f"{function}-{argument}-{number}")
    for function, arguments in CASES.items()
    for argument, cases in arguments.items()
    for number, (message, value) in enumerate(cases)
]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("function", "argument", "value", "message"), TABLE)
def test_a_wrong_argument(module, function, argument, value, message):
    good = arrays()[function]
    before = {name: np.copy(array) for name, array in good.items() if isinstance(array, np.ndarray)}
    with pytest.raises((ValueError, TypeError), match=f"{argument}: {message}") as error:
        getattr(MODULES[module], function)(**good | {argument: value})
    assert "\n" not in str(error.value)
    for name, array in before.items():
        np.testing.assert_array_equal(good[name], array)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("function", CASES)
def test_numbers_of_numpy_are_numbers(module, function):
    """The good arguments, once with Python's numbers and once with NumPy's."""
    kinds = {float: np.float64, int: np.int64}
    plain, numpys = arrays()[function], arrays()[function]
    numpys = {name: kinds.get(type(value), lambda same: same)(value) for name, value in numpys.items()}
    one, other = (getattr(MODULES[module], function)(**given) for given in (plain, numpys))
    results = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
    for a, b in [*results, *((value, numpys[name]) for name, value in plain.items())]:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("function", ["dense", "dense_backward"])
@pytest.mark.parametrize("module", MODULES)
def test_several_dtypes(module, function):
    good = arrays()[function]
    with pytest.raises(TypeError, match=r"dtype: got .*w float32.*, expected all float32 or all float64"):
        getattr(MODULES[module], function)(**good | {"w": good["w"].astype(np.float32)})


def test_native_kernels_begin_at_row_0():
    with pytest.raises(ValueError, match=r"key: got Key\(.*\), expected row 0"):
        fr.kernels.dropout(np.ones((2, 2)), 0.5, fr.kernels.Key(1, row=3))


SLOTS = [("momentum_update", "v"), ("rmsprop_update", "v"), ("rmsprop_update", "m")]
SLOTS += [("adam_update", "m"), ("adam_update", "v")]
UPDATES = ("sgd_update", "momentum_update", "rmsprop_update", "adam_update", "nadam_update", "lion_update")


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("function", "slot"), SLOTS)
def test_states_have_memory_of_their_own(module, function, slot):
    given = arrays()[function]
    both = np.ones(20)
    for w, state in ((given["w"], given["w"]), (both[:12].reshape(4, 3), both[8:].reshape(4, 3))):
        before = w.copy()
        with pytest.raises(ValueError, match=rf"^{slot}: got memory of w, expected an array of its own"):
            getattr(MODULES[module], function)(**(given | {"w": w, slot: state}))
        np.testing.assert_array_equal(w, before)


@pytest.mark.parametrize("module", MODULES)
def test_columns_of_one_array_do_not_overlap(module):
    both, w, v = np.ones((4, 6)), np.ones((4, 3)), np.ones((4, 3))
    MODULES[module].momentum_update(both[:, ::2], np.ones((4, 3)), both[:, 1::2], 0.1)
    MODULES[module].momentum_update(w, np.ones((4, 3)), v, 0.1)
    np.testing.assert_array_equal(both[:, ::2], w)
    np.testing.assert_array_equal(both[:, 1::2], v)


@pytest.mark.parametrize("module", MODULES)
def test_a_gradient_in_the_memory_of_the_weights(module):
    """The gradient counts as it was at the call: w - lr g, with g the weights shifted by one."""
    values = np.arange(40.0)
    expected = values[:-1] - 0.5 * values[1:]
    MODULES[module].sgd_update(values[:-1], values[1:], 0.5)
    np.testing.assert_array_equal(values[:-1], expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("function", UPDATES)
@pytest.mark.parametrize("name", ["l1", "l2"])
def test_coefficients_beyond_float32(module, function, name):
    given = {k: a.astype(np.float32) if isinstance(a, np.ndarray) else a for k, a in arrays()[function].items()}
    before = given["w"].copy()
    with pytest.raises(ValueError, match=rf"^{name}: got 1e\+39, expected a number finite in float32"):
        getattr(MODULES[module], function)(**(given | {name: 1e39}))
    np.testing.assert_array_equal(given["w"], before)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("module", MODULES)
def test_values_beyond_float32_become_infinite(module):
    w = np.ones(4, np.float32)
    MODULES[module].sgd_update(w, np.full(4, 1e300), 0.1)
    assert (w == -np.inf).all()
    assert MODULES[module].mse(np.ones((3, 2), np.float32), np.full((3, 2), 1e300))[0] == np.inf
