"""Wrong arguments: each is refused in one line that names it, before anything changes. A fit then works."""

import pickle

import numpy as np
import pytest

import fastreg as fr
from fastreg.optimizers import schedules as S

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 3
NAN, INF = X.copy(), X.copy()
NAN[7, 1], INF[3, 0] = np.nan, np.inf
LAYERS = [fr.Dense(3)]

FIT = {
    # X
    "X one dimension": ({"X": X[:, 0]}, r"X: got shape \(12,\), expected \(n, 4\)$"),
    "X one sample": ({"X": X[0]}, r"X: got shape \(4,\), expected \(n, 4\); X\[None\] is one sample$"),
    "X a number": ({"X": 3.0}, r"X: got shape \(\), expected \(n, 4\)$"),
    "X empty": ({"X": X[:0], "y": Y[:0]}, r"X: got shape \(0, 4\), expected at least one row"),
    "X without columns": ({"X": X[:, :0]}, r"X: got shape \(12, 0\), expected at least one row"),
    "X of another width": ({"X": X[:, :3]}, r"X: got shape \(12, 3\), expected \(n, 4\)"),
    "X of images": ({"X": X.reshape(12, 2, 2)}, r"X: got shape \(12, 2, 2\), expected \(n, 4\)"),
    "X with NaN": ({"X": NAN}, r"X: row 7 holds a value that is not finite"),
    "X with infinity": ({"X": INF}, r"X: row 3 holds a value that is not finite"),
    "X strings": (
        {"X": X.astype(str)},
        r"X: got '.*' in row 0, column 0, expected real numbers; X\.astype\(float\)",
    ),
    "X complex": ({"X": X + 1j}, r"X: got an array of complex64, expected real numbers; X\.real and X\.imag are"),
    "X objects": ({"X": np.where(X[1, 2] == X, {}, X)}, r"X: got \{\} in row 1, column 2, expected real numbers$"),
    "X with a text": (
        {"X": [[1, 2, 3, "x"], [1, 2, 3, 4]] * 6},
        r"X: got 'x' in row 0, column 3, expected real numbers; fr\.data\.infer_schema",
    ),
    "X ragged": ({"X": [[1, 2, 3, 4], [5, 6, 7]] * 6}, r"X: got 4 values in row 0, but 3 in row 1, expected rows"),
    "X with a hole": (
        {"X": np.where(X.max() == X, None, X)},
        r"X: row \d+ holds .* nan in column \d, .*infer_schema.*holes",
    ),
    "X None": ({"X": None}, r"X: got None, expected an array of real numbers"),
    # y
    "y None": ({"y": None}, r"y: got None, expected targets"),
    "y too few": ({"y": Y[:-1]}, r"y: got shape \(11,\), expected 12 rows"),
    "y a number": ({"y": 1}, r"y: got shape \(\), expected 12 rows"),
    "y objects": ({"y": [0, {}, 1] * 4}, r"y: got \{\} in row 1, expected real numbers$"),
    "y two columns": (
        {"y": np.c_[Y, Y]},
        r"y: got shape \(12, 2\), expected integer labels of shape \(12,\) or one-hot",
    ),
    "y float": ({"y": Y + 0.5}, r"y: got 0\.5 in row 0, expected labels: whole numbers from 0 to 2; .*loss='mse'"),
    "y too large": ({"y": Y + 1}, r"y: got labels from 1 to 3, expected 0 to 2: one per output; .*: y - 1"),
    "y negative": ({"y": Y - 1}, r"y: got labels from -1 to 1, expected 0 to 2.*missing_targets=True"),
    "y a cube": ({"y": Y[:, None, None]}, r"y: got shape \(12, 1, 1\), expected integer labels of shape \(12,\)"),
    "y not one-hot": ({"y": np.ones((12, 3))}, r"y: row 0 has 3 ones, .*loss='sigmoid_cross_entropy'"),
    "y half-hot": ({"y": np.eye(3)[Y] / 2}, r"y: row 0 sums to 0\.5, expected probabilities .*keepdims=True\)"),
    "y logits": ({"y": np.eye(3)[Y] * 3 - 1}, r"y: row 0 holds -1\.0, expected one-hot rows or probabilities of at"),
    "y of another width": ({"y": np.eye(4)[Y]}, r"y: got shape \(12, 4\), expected integer labels"),
    "y with NaN": (
        {"y": np.where(np.eye(3)[Y] == 1, np.nan, 0)},
        r"y: row 0 holds a value that is not finite.*missing_targets",
    ),
    # sample_weight
    "weights too few": ({"sample_weight": np.ones(11)}, r"sample_weight: got shape \(11,\), expected \(12,\)"),
    "weights negative": ({"sample_weight": -np.ones(12)}, r"sample_weight: got -1\.0 in row 0, expected numbers of at"),
    "weights NaN": ({"sample_weight": np.full(12, np.nan)}, r"sample_weight: row 0 is not finite"),
    "weights too large": ({"sample_weight": np.full(12, 1e300)}, r"sample_weight: row 0 is not finite in float32"),
    "weights zero": ({"sample_weight": np.zeros(12)}, r"sample_weight: got zeros only"),
    "weights strings": ({"sample_weight": ["a"] * 12}, r"sample_weight: got 'a' in row 0, expected real numbers$"),
    # validation_data
    "validation an array": ({"validation_data": X}, r"validation_data: got ndarray, expected \(X, y\)"),
    "validation of one": ({"validation_data": (X,)}, r"validation_data: got tuple, expected \(X, y\)"),
    "validation width": ({"validation_data": (X[:, :3], Y)}, r"validation_data\[0\]: got shape \(12, 3\), expected"),
    "validation rows": ({"validation_data": (X, Y[:5])}, r"validation_data\[1\]: got shape \(5,\), expected 12 rows"),
    "validation labels": ({"validation_data": (X, Y + 9)}, r"validation_data\[1\]: got labels from 9 to 11"),
    "validation NaN": ({"validation_data": (NAN, Y)}, r"validation_data\[0\]: row 7 holds"),
    "validation weights": ({"validation_data": (X, Y, -np.ones(12))}, r"validation_data\[2\]: got -1\.0 in row 0"),
    # the rest
    "epochs 0": ({"epochs": 0}, r"epochs: got 0, expected an integer of at least 1"),
    "epochs float": ({"epochs": 2.0}, r"epochs: got 2\.0, expected an integer"),
    "batch_size 0": ({"batch_size": 0}, r"batch_size: got 0, expected an integer of at least 1"),
    "batch_size None": ({"batch_size": None}, r"batch_size: got None, expected an integer"),
    "batch_size bool": ({"batch_size": True}, r"batch_size: got True, expected an integer"),
    "shuffle number": ({"shuffle": 1}, r"shuffle: got 1, expected True or False"),
    "callbacks one": (
        {"callbacks": fr.EarlyStopping()},
        r"EarlyStopping monitor: got 'val_loss', expected one of loss",
    ),
    "callbacks class": ({"callbacks": [fr.EarlyStopping]}, r"callbacks: got the class EarlyStopping, expected"),
    "verbose 3": ({"verbose": 3}, r"verbose: got 3, expected 0, 1"),
    "rows float": ({"rows": np.ones(3)}, r"rows: got an array of float64, expected integers"),
    "rows mask": ({"rows": np.ones(12, bool)}, r"rows: got an array of bool, .*np\.flatnonzero\(mask\)"),
    "rows empty": ({"rows": []}, r"rows: got shape \(0,\), expected \(rows,\) with at least one index"),
    "rows a number": ({"rows": 3}, r"rows: got shape \(\), expected \(rows,\)"),
    "rows twice": ({"rows": [[1], [2]]}, r"rows: got shape \(2, 1\), expected \(rows,\)"),
    "rows too large": ({"rows": [0, 12]}, r"rows: got indices from 0 to 12, expected 0 to 11, the rows of X"),
    "rows negative": ({"rows": [-1, 3]}, r"rows: got indices from -1 to 3, expected 0 to 11"),
    "rows strings": ({"rows": ["1"]}, r"rows: got an array of <U1, expected integers"),
    "rows of no weight": (
        {"rows": [1, 2], "sample_weight": np.arange(12) // 11},
        r"sample_weight: got zeros only in the selected rows",
    ),
    "resume": ({"resume": 3}, r"resume: got 3, expected the path of a file"),
    "resume bytes": ({"resume": b"run"}, r"resume: got b'run', expected the path of a file"),
    "resume empty": ({"resume": ""}, r"resume: got '', expected the path of a file"),
    "reduction monitor": ({"callbacks": [fr.ReduceOnPlateau()]}, r"ReduceOnPlateau monitor: got 'val_loss', expected"),
    "terminate monitor": ({"callbacks": [fr.TerminateOnNaN("f1")]}, r"TerminateOnNaN monitor: got 'f1', expected one"),
    "checkpoint monitor": (
        {"callbacks": [fr.Checkpoint("run.safetensors", save_best=True)]},
        r"Checkpoint monitor: got 'val_loss', expected one of loss, .*validation_data",
    ),
    "checkpoint folder": ({"callbacks": [fr.Checkpoint("no/run")]}, r"Checkpoint path: got 'no/run', expected a file"),
    "checkpoint a folder": ({"callbacks": [fr.Checkpoint("..")]}, r"Checkpoint path: got '\.\.', a folder, expected a"),
    "log folder": ({"callbacks": [fr.CSVLogger("no/a.csv")]}, r"CSVLogger path: got 'no/a\.csv', expected a file in a"),
    "log a folder": ({"callbacks": [fr.CSVLogger("..")]}, r"CSVLogger path: got '\.\.', a folder, expected a file"),
    "GL monitor": ({"callbacks": [fr.stopping.GL(1)]}, r"GL monitor: got 'val_loss', expected one of loss"),
    "PQ monitor": ({"callbacks": [fr.stopping.PQ(1)]}, r"PQ monitor: got 'val_loss', expected one of loss"),
    "probe width": (
        {"callbacks": [fr.LayerStatistics((X[:, :3], Y))]},
        r"LayerStatistics probe\[0\]: got (samples of )?shape \(.*3,?\), expected",
    ),
    "probe labels": ({"callbacks": [fr.LayerStatistics((X, Y + 9))]}, r"LayerStatistics probe\[1\]: got labels from 9"),
    "behind another": (
        {"callbacks": [fr.EarlyStopping("loss"), fr.CSVLogger("a.csv"), fr.TerminateOnNaN("f1")]},
        r"TerminateOnNaN monitor: got 'f1'",
    ),
    "monitor": (
        {"callbacks": [fr.EarlyStopping()]},
        r"monitor: got 'val_loss', expected one of loss, .*validation_data",
    ),
}


@pytest.mark.parametrize("case", FIT)
def test_fit_refuses(engine, case):
    changes, message = FIT[case]
    model = fr.Sequential([fr.Dense(5, activation="relu"), fr.Dense(3)])
    trainer = fr.Trainer(model, optimizer=fr.SGD(0.1, momentum=0.9), engine=engine)
    trainer.fit(X, Y, epochs=2, batch_size=5)
    before, arguments = pickle.dumps(trainer), {"X": X, "y": Y} | changes
    with pytest.raises((ValueError, TypeError), match=message) as error:
        trainer.fit(arguments.pop("X"), arguments.pop("y"), **arguments)
    assert "\n" not in str(error.value)
    assert pickle.dumps(trainer) == before
    untouched = pickle.loads(before)
    trainer.fit(X, Y)
    untouched.fit(X, Y)
    for name, value in trainer.model.parameters.items():
        np.testing.assert_array_equal(value, untouched.model.parameters[name])


# Any width is right for a model without parameters.
LATER = {"X of another width", "X of images", "X one dimension", "X one sample", "X a number", "validation width"}


@pytest.mark.parametrize("case", [case for case in FIT if case not in LATER])
def test_fit_refuses_before_it_draws_parameters(case):
    changes, message = FIT[case]
    trainer, arguments = fr.Trainer(fr.Sequential(LAYERS)), {"X": X, "y": Y} | changes
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.fit(arguments.pop("X"), arguments.pop("y"), **arguments)
    assert not trainer.model.built and trainer.model.input_shape is None
    trainer.fit(X, Y)


@pytest.mark.parametrize("case", [case for case in FIT if "callbacks" in FIT[case][0]])
def test_fit_refuses_before_it_changes_the_state_of_the_optimizer(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes, message = FIT[case]
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.Adam(0.1))
    trainer.fit(X, Y)
    trainer.optimizer = fr.SGD(0.1, momentum=0.9)  # which keeps less, once it is used
    before = pickle.dumps(trainer)
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.fit(X, Y, **changes)
    assert pickle.dumps(trainer) == before and not list(tmp_path.iterdir())


def test_a_callback_that_has_hooks_alone_and_one_that_refuses():
    """`check_fit` of all callbacks comes first, before anything is set. A callback need not define it."""

    class Hooks(fr.Callback):
        began = False

        def on_train_begin(self):
            assert self.model.built and self.plan.last_epoch == 1
            self.began = True

    class Refuses(fr.Callback):
        def check_fit(self, trainer, plan):
            assert not trainer.model.built and not hasattr(self, "plan")
            if plan.batches == 1:
                raise ValueError("batches: got 1")

    hooks, trainer = Hooks(), fr.Trainer(fr.Sequential([fr.Dense(3)]))
    with pytest.raises(ValueError, match="batches: got 1"):
        trainer.fit(X, Y, callbacks=[hooks, Refuses()])
    assert not hooks.began and not trainer.model.built
    trainer.fit(X, Y, batch_size=5, callbacks=[hooks, Refuses()])
    assert hooks.began


def test_a_penalty_that_is_set_later_and_what_float64_holds(engine):
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), engine=engine)
    trainer.l2 = 1e39
    with pytest.raises(ValueError, match=r"l2: got L2\(1e\+39\), expected a coefficient finite in float32"):
        trainer.fit(X, Y)
    assert not trainer.model.built
    trainer.l2 = fr.L2(1e-30, m=1e8)
    assert np.isfinite(trainer.fit(X, Y)["penalty"]).all()
    wide = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.SGD(0), l2=1e39, dtype="float64", engine=engine)
    assert np.isfinite(wide.fit(X, Y)["penalty"]).all()


def test_validation_of_another_width_than_x():
    trainer = fr.Trainer(fr.Sequential(LAYERS))
    with pytest.raises(ValueError, match=r"validation_data\[0\]: got samples of shape \(3,\), expected \(4,\)"):
        trainer.fit(X, Y, validation_data=(X[:, :3], Y))
    assert not trainer.model.built


DESCRIPTIONS = {
    "units 0": (lambda: fr.Dense(0), r"units: got 0, expected an integer of at least 1"),
    "units float": (lambda: fr.Dense(2.5), r"units: got 2\.5, expected an integer"),
    "activation": (lambda: fr.Dense(2, "step"), r"activation: got 'step', expected one of linear, relu"),
    "softmax": (lambda: fr.Dense(2, "softmax"), r"activation: got 'softmax', expected none: the loss .* takes logits"),
    "use_bias": (lambda: fr.Dense(2, use_bias=1), r"use_bias: got 1, expected True or False"),
    "weight_init": (lambda: fr.Dense(2, weight_init="xavier"), r"weight_init: got 'xavier', expected one of he_normal"),
    "init without scale": (lambda: fr.Dense(2, weight_init="normal"), r"weight_init: got 'normal', expected its scale"),
    "std": (lambda: fr.initializers.normal(-1), r"std: got -1, expected a finite number of at least 0"),
    "l1 negative": (lambda: fr.Dense(2, l1=-1), r"L1 lam: got -1, |l1: got -1, "),
    "l2 of L1": (lambda: fr.Dense(2, l2=fr.L1(1)), r"l2: got L1\(1\), expected a number or a fastreg.L2"),
    "net alpha": (lambda: fr.ElasticNet(-1), r"ElasticNet alpha: got -1, expected a finite number of at least 0"),
    "l1_ratio": (lambda: fr.ElasticNet(1, 1.5), r"ElasticNet l1_ratio: got 1\.5, expected a finite number from 0 to 1"),
    "net m": (lambda: fr.ElasticNet(1, m=0), r"ElasticNet m: got 0, expected .batch., .weights., .train. or a number"),
    "l1 of a net": (lambda: fr.Dense(2, l1=fr.ElasticNet(1)), r"l1: got ElasticNet\(1\.?0?\), expected a number"),
    "penalty": (lambda: fr.Dense(2, penalty=0.1), r"penalty: got 0\.1, expected a fastreg\.L1, L2 or ElasticNet"),
    "penalty and l2": (lambda: fr.Dense(2, penalty=fr.L1(1), l2=1), r"penalty: got L1\(1\) with l1=None and l2=1, exp"),
    "penalty twice": (lambda: fr.Trainer(fr.Sequential(LAYERS), penalty=fr.L1(1), l2=1), r"penalty: got .* and l2=1"),
    "m": (lambda: fr.L2(1, m="rows"), r"L2 m: got 'rows', expected 'batch', 'weights', 'train' or"),
    "m 0": (lambda: fr.L2(1, m=0), r"L2 m: got 0, expected 'batch', 'weights', 'train' or a number above 0"),
    "m tiny": (
        lambda: fr.L1(1, m=1e-320),
        r"L1 m: got 1e-320 for a coefficient of 1, expected a larger m: lam / m is not finite",
    ),
    "m too small": (lambda: fr.L2(1e300, m=1e-300), r"L2 m: got 1e-300 for a coefficient of 1e\+300, expected a lar"),
    "net m tiny": (lambda: fr.ElasticNet(1, m=1e-320), r"ElasticNet m: got 1e-320 for a coefficient of 1, "),
    "l2 beyond float32": (
        lambda: fr.Trainer(fr.Sequential(LAYERS), l2=1e39),
        r"^l2: got L2\(1e\+39\), expected a coefficient finite in float32",
    ),
    "l1 of a layer": (
        lambda: fr.Trainer(fr.Sequential([fr.Dense(2, l1=fr.L1(1e30, m=1e-10))])),
        r"^layer '0' l1: got L1\(1e\+30, m=1e-10\), expected a coefficient finite in float32",
    ),
    "l1 m batch": (
        lambda: fr.Trainer(fr.Sequential(LAYERS), l1=fr.L1(4e38, "batch")),
        r"^l1: got .*, expected a coeff",
    ),
    "l1 m train": (
        lambda: fr.Trainer(fr.Sequential(LAYERS), l1=fr.L1(1e39, "train")),
        r"^l1: got .*, expected a coeff",
    ),
    "activity beyond": (
        lambda: fr.Trainer(fr.Sequential([fr.Dense(2, activity_l1=1e39)])),
        r"^layer '0' activity_l1: got 1e\+39, expected a coefficient finite in float32",
    ),
    "attack": (
        lambda: fr.FGSM(0.1).attack(fr.Sequential(LAYERS), X, Y),
        r"trainer: got Sequential.*, expected a fastreg\.Trainer",
    ),
    "builder without a seed": (
        lambda: fr.Bagging(lambda: None, 2),
        r"builder: got <function .*, expected a function of a seed that gives a Trainer",
    ),
    "builder of two": (lambda: fr.Bagging(lambda seed, more: None, 2), r"builder: got <function .*, expected a funct"),
    "max_norm 0": (lambda: fr.Dense(2, max_norm=0), r"max_norm: got 0, expected a finite number above 0"),
    "activity_l1": (lambda: fr.Dense(2, activity_l1=-1), r"activity_l1: got -1, expected a finite number of at least"),
    "activity_l1 None": (lambda: fr.Dense(2, activity_l1=None), r"activity_l1: got None, expected a number"),
    "max_frobenius": (lambda: fr.Dense(2, max_frobenius=-1), r"max_frobenius: got -1, expected a .* above 0"),
    "max_frobenius 0": (lambda: fr.Dense(2, max_frobenius=0), r"max_frobenius: got 0, expected a finite number above"),
    "non_negative": (lambda: fr.Dense(2, non_negative=1), r"non_negative: got 1, expected True or False"),
    "max_norm NaN": (lambda: fr.Dense(2, max_norm=float("nan")), r"max_norm: got nan, expected a .* above 0"),
    "max_norm text": (lambda: fr.Dense(2, max_norm="3"), r"max_norm: got '3', expected a number"),
    "lr_scale": (lambda: fr.Dense(2, lr_scale=-1), r"lr_scale: got -1, expected a finite number of at least 0"),
    "lr_scale None": (lambda: fr.Dense(2, lr_scale=None), r"lr_scale: got None, expected a number"),
    "trainable": (lambda: fr.Dense(2, trainable=0), r"trainable: got 0, expected True or False"),
    "noise": (lambda: fr.GaussianNoise(-0.1), r"std: got -0\.1, expected a finite number of at least 0"),
    "noise infinite": (lambda: fr.GaussianNoise(float("inf")), r"std: got inf, expected a finite number"),
    "noise text": (lambda: fr.GaussianNoise("0.1"), r"std: got '0\.1', expected a number"),
    "noise name": (lambda: fr.GaussianNoise(0.1, name=""), r"name: got '', expected letters"),
    "forward": (lambda: fr.Function(None, pow), r"forward: got None, expected a function of \(x\)"),
    "backward": (lambda: fr.Function(abs, 3), r"backward: got 3, expected a function of \(dy, x, y\)"),
    "forward of two": (lambda: fr.Function(lambda x, mask: x, pow), r"forward: got <lambda>\(x, mask\), .* of \(x\)$"),
    "backward of one": (lambda: fr.Function(abs, lambda dy: dy), r"backward: got <lambda>\(dy\), .*\(dy, x, y\)$"),
    "backward of a class": (lambda: fr.Function(abs, int), r"backward: got <class 'int'>, expected a function"),
    "function units": (lambda: fr.Function(abs, pow, units=0), r"units: got 0, expected an integer of at least 1"),
    "only functions": (lambda: fr.Sequential([fr.Function(abs, pow)]), r"layers: .*expected at least one Dense"),
    "function of images": (
        lambda: fr.Sequential([fr.Function(abs, pow), *LAYERS]).build((4, 4)),
        r"layer '0': Function: got samples of shape \(4, 4\), expected one dimension; put a Flatten",
    ),
    "custom loss": (
        lambda: fr.losses.Custom("mse"),
        r"function: got 'mse', expected a function of \(outputs, targets\)",
    ),
    "custom loss of one": (
        lambda: fr.losses.Custom(abs),
        r"function: got abs\(x, /\), expected a function of \(outputs",
    ),
    "custom class": (lambda: fr.losses.Custom(fr.losses.MSE), r"function: got <class .*, expected a function"),
    "custom targets": (lambda: fr.losses.Custom(max, targets="classes"), r"targets: got 'classes', expected one of v"),
    "custom transform": (lambda: fr.losses.Custom(max, transform="cube"), r"transform: got 'cube', expected one of li"),
    "custom name": (lambda: fr.losses.Custom(max, name=3), r"name: got 3, expected a string"),
    "label_smoothing": (
        lambda: fr.losses.SoftmaxCrossEntropy(1.5),
        r"label_smoothing: got 1\.5, expected a finite num",
    ),
    "label_smoothing text": (
        lambda: fr.losses.SigmoidCrossEntropy("a"),
        r"label_smoothing: got 'a', expected a number",
    ),
    "name": (lambda: fr.Dense(2, name="a.b"), r"name: got 'a\.b', expected letters"),
    "keep_prob": (lambda: fr.Dropout(keep_prob=1.5), r"keep_prob: got 1\.5, expected a finite number from 0 to 1"),
    "preactivation_noise": (
        lambda: fr.Dense(2, preactivation_noise=-1),
        r"preactivation_noise: got -1, expected a fin",
    ),
    "weight_noise": (lambda: fr.Dense(2, weight_noise="a"), r"weight_noise: got 'a', expected a number"),
    "dropout kind": (lambda: fr.Dropout(rate=0.5, kind="alpha"), r"kind: got 'alpha', expected one of inverted, gauss"),
    "dropout per": (lambda: fr.Dropout(rate=0.5, per="row"), r"per: got 'row', expected one of element, unit"),
    "dropout rows 0": (lambda: fr.Dropout(rate=0.5, per="unit", rows=0), r"rows: got 0, expected an integer from 1 to"),
    "dropout rows by element": (
        lambda: fr.Dropout(rate=0.5, rows=32),
        r"rows: got 32 with per='element', expected per",
    ),
    "dropout gaussian 0": (
        lambda: fr.Dropout(keep_prob=0, kind="gaussian"),
        r"keep_prob: got 0 with kind='gaussian', expec",
    ),
    "dropout gaussian 1": (
        lambda: fr.Dropout(rate=1, kind="gaussian"),
        r"^rate: got 1 with kind='gaussian', expected less",
    ),
    "keep_prob NaN": (lambda: fr.Dropout(keep_prob=float("nan")), r"keep_prob: got nan, expected a finite number"),
    "rate": (lambda: fr.Dropout(rate=-0.1), r"rate: got -0\.1, expected a finite number from 0 to 1"),
    "rate text": (lambda: fr.Dropout(rate="0.1"), r"rate: got '0\.1', expected a number"),
    "lr": (lambda: fr.SGD(-1), r"lr: got -1, expected a finite number of at least 0"),
    "momentum 1": (lambda: fr.SGD(0.1, momentum=1), r"momentum: got 1, expected a finite number from 0 to below 1"),
    "nesterov": (lambda: fr.SGD(0.1, nesterov=True), r"momentum: got 0 with nesterov=True"),
    "beta1": (lambda: fr.Adam(beta1=1.0), r"beta1: got 1\.0, expected a finite number from 0 to below 1"),
    "eps": (lambda: fr.Adam(eps=-1e-8), r"eps: got -1e-08, expected a finite number of at least 0"),
    "decay": (lambda: fr.Adam(weight_decay=-1), r"weight_decay: got -1, expected a finite number of at least 0"),
    "decay of SGD": (lambda: fr.SGD(weight_decay=None), r"weight_decay: got None, expected a number"),
    "decay of AdamW": (lambda: fr.AdamW(weight_decay="0"), r"weight_decay: got '0', expected a number"),
    "beta2 of AdamW": (lambda: fr.AdamW(beta2=2), r"beta2: got 2, expected a finite number from 0 to below 1"),
    "lr of RMSprop": (lambda: fr.RMSprop(float("inf")), r"lr: got inf, expected a finite number of at least 0"),
    "alpha": (lambda: fr.RMSprop(alpha=1), r"alpha: got 1, expected a finite number from 0 to below 1"),
    "eps of RMSprop": (lambda: fr.RMSprop(eps=True), r"eps: got True, expected a number"),
    "momentum of RMSprop": (lambda: fr.RMSprop(momentum=-0.5), r"momentum: got -0\.5, expected a finite number from 0"),
    "decay of RMSprop": (lambda: fr.RMSprop(weight_decay=-1), r"weight_decay: got -1, expected a finite number of at"),
    "lr text": (lambda: fr.Adam("0.1"), r"lr: got '0\.1', expected a number"),
    "lr class": (lambda: fr.SGD(S.Cosine), r"lr: got the class Cosine, expected an object: Cosine\(\.\.\.\)"),
    "constant": (lambda: S.Constant(-1), r"lr: got -1, expected a finite number of at least 0"),
    "step lr": (lambda: S.Step(float("inf"), 3), r"lr: got inf, expected a finite number"),
    "step every": (lambda: S.Step(0.1, 0), r"every: got 0, expected an integer of at least 1"),
    "step gamma": (lambda: S.Step(0.1, 3, -0.1), r"gamma: got -0\.1, expected a finite number of at least 0"),
    "step per": (lambda: S.Step(0.1, 3, per="batch"), r"per: got 'batch', expected one of epoch, step"),
    "exponential": (lambda: S.Exponential(0.1, float("nan")), r"gamma: got nan, expected a finite number"),
    "cosine": (lambda: S.Cosine(0.1, 2.5), r"period: got 2\.5, expected an integer"),
    "cosine min_lr": (lambda: S.Cosine(0.1, 5, -1), r"min_lr: got -1, expected a finite number of at least 0"),
    "one cycle": (lambda: S.OneCycle(0.1, -3), r"total: got -3, expected an integer of at least 1"),
    "one cycle pct": (lambda: S.OneCycle(0.1, 9, pct_start=1), r"pct_start: got 1, expected .* from 0 to below 1"),
    "one cycle div": (lambda: S.OneCycle(0.1, 9, div_factor=0.5), r"div_factor: got 0\.5, expected .* of at least 1"),
    "warm-up steps": (lambda: S.Warmup(0, 0.1), r"steps: got 0, expected an integer of at least 1"),
    "warm-up then": (lambda: S.Warmup(5, None), r"then: got None, expected a number"),
    "warm-up start": (lambda: S.Warmup(5, 1, start_factor=2), r"start_factor: got 2, expected .* from 0 to 1"),
    "scheduler": (lambda: fr.LRScheduler("cosine"), r"schedule: got 'cosine', expected a number"),
    "plateau monitor": (lambda: fr.ReduceOnPlateau(3), r"monitor: got 3, expected a name in the history"),
    "plateau factor": (lambda: fr.ReduceOnPlateau(factor=1), r"factor: got 1, expected .* from 0 to below 1"),
    "plateau patience": (lambda: fr.ReduceOnPlateau(patience=0.5), r"patience: got 0\.5, expected an integer"),
    "plateau smoothing": (lambda: fr.ReduceOnPlateau(smoothing=1.0), r"smoothing: got 1\.0, expected .* below 1"),
    "plateau threshold": (lambda: fr.ReduceOnPlateau(threshold=-1), r"threshold: got -1, expected .* from 0 to"),
    "plateau cooldown": (lambda: fr.ReduceOnPlateau(cooldown=-1), r"cooldown: got -1, expected an integer"),
    "plateau min_lr": (lambda: fr.ReduceOnPlateau(min_lr=-1), r"min_lr: got -1, expected a finite number"),
    "plateau mode": (lambda: fr.ReduceOnPlateau(mode="low"), r"mode: got 'low', expected one of auto, min, max"),
    "checkpoint path": (lambda: fr.Checkpoint(None), r"path: got None, expected the path of a file"),
    "checkpoint every": (lambda: fr.Checkpoint("a", every=0), r"every: got 0, expected an integer of at least 1"),
    "checkpoint keep": (lambda: fr.Checkpoint("a", keep=None), r"keep: got None, expected an integer"),
    "checkpoint best": (lambda: fr.Checkpoint("a", save_best="loss"), r"save_best: got 'loss', expected True or False"),
    "checkpoint mode": (lambda: fr.Checkpoint("a", mode=1), r"mode: got 1, expected one of auto, min, max"),
    "checkpoint name": (lambda: fr.Checkpoint("a", monitor=1), r"monitor: got 1, expected a name in the history"),
    "csv path": (lambda: fr.CSVLogger(1), r"path: got 1, expected the path of a file"),
    "terminate": (lambda: fr.TerminateOnNaN(1), r"monitor: got 1, expected a name in the history or None"),
    "patience": (lambda: fr.EarlyStopping(patience=-1), r"patience: got -1, expected an integer of at least 0"),
    "mode": (lambda: fr.EarlyStopping(mode="up"), r"mode: got 'up', expected one of auto, min, max"),
    "no layers": (lambda: fr.Sequential([]), r"layers: got \[\], expected at least one Dense"),
    "no dense": (lambda: fr.Sequential([fr.Flatten()]), r"layers: .*expected at least one Dense"),
    "a layer": (lambda: fr.Sequential(fr.Dense(2)), r"layers: got Dense\(2\), expected a list of layers"),
    "not a layer": (lambda: fr.Sequential([fr.Dense(2), 3]), r"layers\[1\]: got 3, expected a layer"),
    "names": (lambda: fr.Sequential([fr.Dense(2, name="1"), fr.Dense(2)]), r"the name '1' twice"),
    "input_shape": (lambda: fr.Sequential(LAYERS).build(0), r"input_shape: got 0, expected an integer of at least 1"),
    "input_shape ()": (lambda: fr.Sequential(LAYERS).build(()), r"input_shape: got \(\), expected at least one size"),
    "images": (lambda: fr.Sequential(LAYERS).build((4, 4)), r"layer '0': Dense: got samples of shape \(4, 4\), .*Flat"),
    "seed": (lambda: fr.Sequential(LAYERS).build(4, seed=-1), r"seed: got -1, expected an integer from 0 to"),
    "dtype": (lambda: fr.Sequential(LAYERS).build(4, dtype="float16"), r"dtype: got 'float16', expected 'float32'"),
    "not built": (lambda: fr.Sequential(LAYERS).predict(X), r"model: it has no parameters yet; call build"),
    "parameters": (lambda: fr.Sequential(LAYERS).parameters, r"model: it has no parameters yet; call build"),
}
TRAINERS = {
    "model": ({"model": LAYERS}, r"model: got list, expected a Sequential"),
    "loss": ({"loss": "ranking"}, r"loss: got 'ranking', expected one of softmax_cross_entropy, sigmoid"),
    "optimizer": ({"optimizer": "adagrad"}, r"optimizer: got 'adagrad', expected one of sgd, rmsprop, adam, adamw"),
    "optimizer class": ({"optimizer": fr.SGD}, r"optimizer: got the class SGD, expected an object: SGD"),
    "loss class": ({"loss": fr.losses.MSE}, r"loss: got the class MSE, expected an object: MSE"),
    "loss function": ({"loss": max}, r"loss: got .*, expected one of softmax_cross_entropy"),
    "l1": ({"l1": -1e-3}, r"l1: got -0\.001, expected a finite number of at least 0"),
    "l2": ({"l2": None}, r"l2: got None, expected a number or a fastreg.L2"),
    "metrics": (
        {"metrics": ("acurracy",)},
        r"metrics: got 'acurracy', expected one of accuracy.*nearest is 'accuracy'",
    ),
    "metrics of numbers": ({"metrics": (3,)}, r"metrics: got 3, expected a name, a function of \(y_true, y_pred\)"),
    "clip_norm": ({"clip_norm": -1.0}, r"clip_norm: got -1\.0, expected a finite number above 0"),
    "clip_norm 0": ({"clip_norm": 0}, r"clip_norm: got 0, expected a finite number above 0"),
    "clip_norm text": ({"clip_norm": "1"}, r"clip_norm: got '1', expected a number"),
    "clip_value": ({"clip_value": float("nan")}, r"clip_value: got nan, expected a finite number"),
    "clip_value 0": ({"clip_value": 0.0}, r"clip_value: got 0\.0, expected a finite number above 0"),
    "accumulate": ({"accumulate": 0}, r"accumulate: got 0, expected an integer of at least 1"),
    "accumulate float": ({"accumulate": 2.0}, r"accumulate: got 2\.0, expected an integer"),
    "engine": ({"engine": "gpu"}, r"engine: got 'gpu', expected one of native, reference"),
    "dtype": ({"dtype": "int32"}, r"dtype: got 'int32', expected 'float32' or 'float64'"),
    "seed": ({"seed": 0.5}, r"seed: got 0\.5, expected an integer"),
    "threads": ({"threads": 0}, r"threads: got 0, expected an integer from 1 to"),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_descriptions_and_models_refuse(case):
    make, message = DESCRIPTIONS[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", TRAINERS)
def test_trainers_refuse(case):
    changes, message = TRAINERS[case]
    arguments = {"model": fr.Sequential(LAYERS)} | changes
    with pytest.raises((ValueError, TypeError), match=message) as error:
        fr.Trainer(**arguments)
    assert "\n" not in str(error.value)


def test_a_sigmoid_under_a_cross_entropy_is_refused_with_advice():
    model = fr.Sequential([fr.Dense(4, "sigmoid"), fr.Dense(3, "sigmoid"), fr.Dropout(rate=0.1)])
    for loss in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        with pytest.raises(ValueError, match=r"got 'sigmoid' in the last Dense .* takes logits"):
            fr.Trainer(model, loss=loss)
    assert model.output_transform == "linear"
    fr.Trainer(model, loss="mse")


def test_a_model_in_another_dtype_is_refused_with_advice():
    model = fr.Sequential(LAYERS)
    model.build(4, dtype="float64")
    with pytest.raises(ValueError, match=r"dtype: got 'float32' for a model in float64, .*model\.copy\(dtype="):
        fr.Trainer(model)
    trainer = fr.Trainer(fr.Sequential(LAYERS))
    trainer.model.build(4, dtype="float64")  # behind the trainer's back
    with pytest.raises(ValueError, match="dtype: got 'float32' for a model in float64"):
        trainer.fit(X, Y)


TARGETS = {
    "shape": ("mse", np.ones((12, 2)), r"y: got shape \(12, 2\), expected \(12, 3\)"),
    "one dimension": ("mse", np.ones(12), r"y: got shape \(12,\), expected \(12, 3\)"),
    "NaN": ("mse", np.full((12, 3), np.nan), r"y: row 0 holds a value that is not finite"),
    "above 1": ("sigmoid_cross_entropy", np.full((12, 3), 1.5), r"y: got values from 1\.5 to 1\.5, expected 0 to 1"),
    "below 0": ("sigmoid_cross_entropy", np.full((12, 3), -1), r"y: got values from -1 to -1, expected 0 to 1"),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("method", ["fit", "evaluate", "gradients", "objective", "row_losses"])
def test_targets_of_the_other_losses(case, method):
    loss, y, message = TARGETS[case]
    trainer = fr.Trainer(fr.Sequential(LAYERS), loss=loss)
    with pytest.raises(ValueError, match=message):
        getattr(trainer, method)(X, y)
    assert not trainer.model.built


def test_steps_modes_and_rows():
    trainer = fr.Trainer(fr.Sequential(LAYERS))
    with pytest.raises(ValueError, match="model: it has no parameters yet"):
        trainer.program("train")
    trainer.fit(X, Y)
    with pytest.raises(ValueError, match="step: got -1"):
        trainer.gradients(X, Y, step=-1)
    with pytest.raises(ValueError, match="mode: got 'test', expected one of train"):
        trainer.program("test")
    with pytest.raises(ValueError, match="rows: got 0"):
        trainer.penalty(0)
    with pytest.raises(ValueError, match="batch_size: got 0"):
        trainer.predict(X, batch_size=0)
    with pytest.raises(fr.DivergenceError, match="no gradient"):
        trainer.model.parameters["0.weight"][...] = 3e38
        trainer.gradients(X * 100, Y)
