"""Each argument of the public names against odd values: it is accepted, or refused in one line.

What is refused here must be so by our own words: no message of NumPy's or Cython's, no traceback from within.
"""

import pickle
import re

import numpy as np
import pytest

import fastreg as fr
from fastreg.optimizers import schedules as S

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 3


class Broken:
    """Neither an array nor a text can be made of it."""

    def __array__(self, *arguments, **more):
        raise RuntimeError("no\narray")

    def __repr__(self):
        raise RuntimeError("no repr")


VALUES = {
    "None": None,
    "text": "a",
    "no text": "",
    "half a surrogate pair": "\ud800",
    "bytes": b"a",
    "NaN": float("nan"),
    "infinity": float("inf"),
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "2**63": 2**63,
    "10**5000": 10**5000,
    "1j": 1j,
    "True": True,
    "list": [],
    "ragged": [[1], [1, 2]],
    "dict": {},
    "mixed keys": {1: 2, "a": 3},
    "set": {1},
    "long tuple": (1,) * 70,
    "class": int,
    "array": np.array([1, 2]),
    "matrix": np.zeros((2, 2)),  # whose comparison with a number is no yes or no
    "number as array": np.array(3),
    "masked": np.ma.masked_equal([1.0, 2.0], 1),
    "objects": np.array([None, object()], object),
    "date": np.datetime64("2020-01-01"),
    "broken": Broken(),
}
DESCRIPTIONS = {
    fr.Dense: dict.fromkeys(("activation", "weight_init", "l1", "l2", "max_norm", "name"))
    | {"units": 3, "use_bias": True, "bias_init": "zeros", "lr_scale": 1.0, "trainable": True},
    fr.Dropout: {"keep_prob": 0.5},
    fr.GaussianNoise: {"std": 0.1, "name": None},
    fr.Flatten: {"name": None},
    fr.Activation: {"activation": "relu"},
    fr.Input: {"shape": 4},
    fr.Function: {"forward": abs, "backward": max, "units": 3},
    fr.L1: {"lam": 0.1, "m": 2, "proximal": True},
    fr.L2: {"lam": 0.1, "m": 2},
    fr.SGD: {"lr": 0.1, "momentum": 0.5, "nesterov": False, "weight_decay": 0.1},
    fr.RMSprop: {"lr": 0.1, "alpha": 0.9, "eps": 1e-8, "momentum": 0.5, "weight_decay": 0.1},
    fr.AdamW: {"lr": 0.1, "beta1": 0.9, "beta2": 0.9, "eps": 1e-8, "weight_decay": 0.1},
    fr.EarlyStopping: {"monitor": "loss", "patience": 3, "mode": "auto"},
    fr.ReduceOnPlateau: {"monitor": "loss", "factor": 0.5, "patience": 3, "smoothing": 0.5, "min_lr": 0.0},
    fr.TerminateOnNaN: {"monitor": "loss"},
    fr.Checkpoint: {"path": "a", "every": 2, "keep": 2, "save_best": True, "monitor": "loss", "mode": "auto"},
    fr.CSVLogger: {"path": "a"},
    fr.LRScheduler: {"schedule": 0.1},
    fr.Progress: {"file": None},
    fr.LayerStatistics: {"probe": None, "every": 2, "rows": 9, "ratio": 10.0, "smallest": 0.0, "largest": 9.0},
    fr.Bagging: {"builder": abs, "k": 3, "combine": "vote", "seed": 1, "threads": 2, "parallel": True},
    fr.losses.Custom: {"function": max, "targets": "values", "transform": "linear", "name": "a"},
    fr.initializers.normal: {"std": 0.1},
    S.Step: {"lr": 0.1, "every": 3, "gamma": 0.5, "per": "epoch"},
    S.Cosine: {"lr": 0.1, "period": 3, "min_lr": 0.0},
    S.OneCycle: {"max_lr": 0.1, "total": 9, "pct_start": 0.5, "div_factor": 2.0, "final_div_factor": 2.0},
    S.Warmup: {"steps": 3, "then": 0.1, "start_factor": 0.5},
}
TRAINER = {"model": fr.Sequential([fr.Dense(3)]), "loss": "mse", "optimizer": "sgd", "l1": 0.1, "l2": 0.1}
TRAINER |= {"metrics": (), "clip_norm": 1.0, "clip_value": 1.0, "accumulate": 2, "engine": "native"}
TRAINER |= {"dtype": "float32", "seed": 3, "threads": 1}
FIT = {"X": X, "y": Y, "epochs": 1, "batch_size": 4, "shuffle": True, "sample_weight": None, "validation_data": None}
FIT |= {"callbacks": (), "verbose": 0, "rows": None, "changed": ()}
METHODS = {
    "fit": FIT,
    "evaluate": {"X": X, "y": Y, "sample_weight": None, "rows": None},
    "predict": {"X": X, "batch_size": 5, "rows": None},
    "gradients": {"X": X, "y": Y, "sample_weight": None, "step": 1},
    "objective": {"X": X, "y": Y, "sample_weight": None, "step": 1},
    "row_losses": {"X": X, "y": Y, "sample_weight": None, "step": 1, "activity": False},
    "penalty": {"rows": 3},
    "program": {"mode": "train", "rows": 3, "dropout": True},
    "copy": {"dtype": "float32", "engine": "native"},
}


def refused(call) -> bool:
    """Whether the call is refused, in one line of ours; else it must work."""
    try:
        call()
    except (ValueError, TypeError) as error:
        message = str(error)
        assert "\n" not in message and len(message) < 600
        assert re.search(r": (got|missing|row) .*expected", message), message
        return True
    return False


@pytest.mark.parametrize("value", VALUES)
def test_descriptions(value):
    for make, good in DESCRIPTIONS.items():
        make(**good)
        for name in good:
            refused(lambda make=make, good=good, name=name: make(**good | {name: VALUES[value]}))
    refused(lambda: fr.Sequential(VALUES[value]))
    refused(lambda: fr.Sequential([VALUES[value], fr.Dense(3)]))
    for name, good in {"input_shape": 4, "seed": 0, "dtype": "float32"}.items():
        arguments = {"input_shape": 4, name: VALUES[value]}
        refused(lambda arguments=arguments: fr.Sequential([fr.Flatten(), fr.Dense(3)]).build(**arguments))
        assert good is not value


@pytest.mark.parametrize("value", VALUES)
def test_trainers(value):
    for name in TRAINER:
        now = refused(lambda name=name: fr.Trainer(**TRAINER | {name: VALUES[value]}))
        later = refused(lambda name=name: setattr(fr.Trainer(**TRAINER), name, VALUES[value]))
        assert now == later


@pytest.mark.parametrize("value", VALUES)
def test_methods(value, capsys):
    """A refusal changes nothing."""
    trainer = fr.Trainer(fr.Sequential([fr.Dense(5), fr.Dense(3)]), optimizer=fr.SGD(0.1, momentum=0.9))
    trainer.fit(X, Y)
    for method, good in METHODS.items():
        for name in good:
            before = pickle.dumps(trainer)
            if refused(lambda m=method, g=good, n=name: getattr(trainer, m)(**g | {n: VALUES[value]})):
                assert pickle.dumps(trainer) == before
    for state in (VALUES[value], trainer.model.state_dict() | {"0.bias": VALUES[value]}):
        before = pickle.dumps(trainer)
        assert refused(lambda state=state: trainer.model.load_state_dict(state))
        assert pickle.dumps(trainer) == before


@pytest.mark.filterwarnings("ignore:the class mix")
@pytest.mark.parametrize("value", VALUES)
def test_data(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = VALUES[value]
    for name in ("X", "y", "fractions", "stratify", "groups", "seed"):
        refused(lambda name=name: fr.data.split(**{"X": X, "y": Y, name: value}))
    refused(lambda: fr.data.Standardizer().fit(value))
    refused(lambda: fr.data.infer_schema(value))
    refused(lambda: fr.data.Schema(columns=value))
    assert refused(lambda: fr.Sequential.from_config(value))
    refused(lambda: fr.cross_validate(fr.Trainer(fr.Sequential([fr.Dense(3)])), X, Y, cv=value))
    refused(lambda: fr.data.load(value))
    if not isinstance(value, str) or not value.isalpha():
        for read in (fr.data.read, fr.data.read_csv, fr.data.read_idx, fr.data.load_idx_folder, fr.load):
            assert refused(lambda read=read: read(value))
        model = fr.Sequential([fr.Dense(3)])
        model.build(4)
        assert refused(lambda: model.save(value))
    assert refused(lambda: fr.files.save(value, "model"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", VALUES)
def test_diagnosis(value):
    good = {"errors": (0.1, 0.2), "best": 0.05, "epoch": -1, "bias_limit": 0.1, "variance_limit": 0.1}
    for name in good:
        refused(lambda name=name: fr.checks.diagnose(**good | {name: VALUES[value]}))
    for broken in ((0.1, VALUES[value]), {"loss": VALUES[value], "val_loss": [1.0]}):
        refused(lambda broken=broken: fr.checks.diagnose(**good | {"errors": broken}))


@pytest.mark.parametrize("value", VALUES)
def test_plots(value):
    pytest.importorskip("matplotlib").use("Agg")
    value = VALUES[value]
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    history = trainer.fit(X, Y)
    refused(lambda: fr.plots.boundary(trainer, X, features=value, grid_resolution=2))
    refused(lambda: fr.plots.weights(trainer, layers=value))
    refused(lambda: fr.plots.history(history, values=value))
    refused(lambda: fr.plots.filters(trainer, layer=value))


def numpys(value):
    """The same number, of NumPy's types."""
    kinds = {bool: np.bool_, int: np.int64, float: np.float64}
    return kinds[type(value)](value) if type(value) in kinds else value


@pytest.mark.parametrize("make", DESCRIPTIONS)
def test_numbers_of_numpy_are_numbers(make):
    good = DESCRIPTIONS[make]
    one, other = make(**good), make(**{name: numpys(value) for name, value in good.items()})
    assert repr(one) == repr(other)
    if hasattr(one, "config") and make not in (fr.Function, fr.losses.Custom):
        assert one == other and repr(one.config()) == repr(other.config())


def test_numbers_of_numpy_in_trainers(tmp_path):
    """Also on their way into a checkpoint and a model file."""
    results = []
    for kind in (lambda value: value, numpys):
        settings = {name: kind(value) for name, value in TRAINER.items()} | {"l2": fr.L2(0.1, m=kind(3))}
        layers = [fr.Dense(kind(4), l1=fr.L1(kind(0.1), proximal=kind(False))), fr.Dense(3)]
        trainer = fr.Trainer(**settings | {"model": fr.Sequential(layers)})
        arguments = {name: kind(value) for name, value in FIT.items() if name not in ("X", "y")}
        path = tmp_path / f"{len(results)}.safetensors"
        trainer.fit(X, np.eye(3)[Y], **arguments | {"callbacks": [fr.Checkpoint(path)]})
        trainer.model.save(tmp_path / "model")
        results.append(trainer.predict(X, batch_size=kind(5)).tolist())
        assert fr.load(path).predict(X).tolist() == results[0]
    assert results[0] == results[1]
    fr.set_num_threads(np.int64(2))
    assert fr.get_num_threads() == 2
    fr.set_num_threads(None)


MASKED = np.ma.masked_array(X, mask=np.arange(48).reshape(12, 4) == 5)


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_masked_values_are_refused(name):
    """A mask that hides nothing is allowed."""
    values = {"X": X, "y": Y, "sample_weight": np.ones(12)}
    hidden = np.ma.masked_array(values[name], mask=np.arange(values[name].size).reshape(values[name].shape) == 5)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    with pytest.raises(ValueError, match=rf"{name}: got an array with 1 masked values, expected none; {name}\.filled"):
        trainer.fit(**values | {name: hidden})
    trainer.fit(**values | {name: np.ma.masked_array(values[name])})


@pytest.mark.parametrize("dtype", ["u4", "u8", ">u2", ">i4", ">i8", ">u8", "?"])
def test_labels_of_any_integers(engine, dtype):
    """The labels are the same, so losses and bits are the same."""
    trainers = [fr.Trainer(fr.Sequential([fr.Dense(3)]), engine=engine) for _ in range(2)]
    losses = [t.fit(X, y, epochs=2)["loss"] for t, y in zip(trainers, (Y % 2, (Y % 2).astype(dtype)), strict=True)]
    assert losses[0] == losses[1]
    weights = [trainer.model.state_dict()["0.weight"] for trainer in trainers]
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", "u4", "u8", "f2", "g"])
def test_inputs_of_any_dtype(dtype):
    """The numbers are exact in every dtype here."""
    inputs = np.arange(48).reshape(12, 4) % 7
    results = [fr.Trainer(fr.Sequential([fr.Dense(3)])).fit(x, Y)["loss"] for x in (inputs, inputs.astype(dtype))]
    assert results[0] == results[1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["f8", ">f8", "g"])
@pytest.mark.parametrize("name", ["X", "y", "sample_weight", "validation_data"])
def test_what_is_beyond_float32_is_refused_without_a_warning(name, dtype):
    large = np.full((12, 4), 1e300).astype(dtype)
    good = {"X": X, "y": X[:, :2]}
    wrong = {"X": large, "y": large[:, :2], "sample_weight": large[:, 0], "validation_data": (large, X[:, :2])}
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), loss="mse")
    argument = name if name != "validation_data" else r"validation_data\[0\]"
    with pytest.raises(ValueError, match=rf"^{argument}: row 0 .*not finite"):
        trainer.fit(**(good | {name: wrong[name]}))
    assert not trainer.model.built
    trainer.fit(**good)


OVERFLOWING = {
    "rate": fr.SGD(1e39),
    "schedule": fr.SGD(S.Exponential(0.1, 1e30)),
    "decay": fr.SGD(0.1, weight_decay=1e39),
    "eps": fr.Adam(0.1, eps=1e39),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OVERFLOWING)
def test_settings_beyond_float32_end_in_nothing_worse_than_divergence(engine, name):
    """In both engines. The parameters are those of the last finished epoch."""
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=OVERFLOWING[name], engine=engine)
    try:
        trainer.fit(X, Y, epochs=6)
    except fr.DivergenceError:
        assert name != "eps"
    assert all(np.isfinite(value).all() for value in trainer.model.state_dict().values())
    trainer.optimizer = fr.SGD(0.1)
    trainer.fit(X, Y)


@pytest.mark.parametrize("large", ["data", "parameters"])
def test_what_overflows_before_the_first_step_blames_no_learning_rate(engine, large):
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3), fr.Dense(3)]), engine=engine)
    trainer.model.build(4)
    if large == "parameters":
        trainer.model.load_state_dict({k: np.full(v.shape, 1e30) for k, v in trainer.model.state_dict().items()})
    before = trainer.model.state_dict()
    with (
        np.errstate(all="ignore"),
        pytest.raises(fr.DivergenceError, match="No step was taken before: data or parameters"),
    ):
        trainer.fit(np.full((12, 4), 3e38 if large == "data" else 1.0), Y, batch_size=4)
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


SIZES = {
    "units": (lambda: fr.Dense(2**62), r"units: got 4611686018427387904, expected an integer from 1 to 2147483647"),
    "input_shape": (lambda: fr.Sequential([fr.Dense(3)]).build(2**61), r"input_shape: got 2305843009213693952, expec"),
    "both": (lambda: fr.Sequential([fr.Dense(2**31 - 1)]).build(2**31 - 1), r"model: got \d+ parameters, expected at"),
    "flat": (lambda: fr.Sequential([fr.Flatten(), fr.Dense(3)]).build((2**31 - 1,) * 9), r"model: got \d+ parameters"),
    "dimensions": (lambda: fr.Sequential([fr.Flatten(), fr.Dense(3)]).build((1,) * 64), r"input_shape: got more than"),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes_beyond_memory(case):
    make, message = SIZES[case]
    with pytest.raises(ValueError, match=message):
        make()
