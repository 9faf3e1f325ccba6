"""The repr of every public object is one short line, and where it can be it is the call that makes the object again."""

import inspect
from importlib import import_module

import numpy as np
import pytest

import fastreg as fr
from fastreg.data import augment

ODD = 0.1 + 0.2  # has 17 digits
HOMES = ("", ".layers", ".initializers", ".losses", ".penalties", ".optimizers", ".schedules", ".callbacks")
HOMES += (".stopping", ".metrics", ".data", ".data.augment", ".checks", ".plots", ".kernels")


def public_classes() -> dict[str, type]:
    found = {}
    for home in HOMES:
        module = import_module(f"fastreg{home}")
        for name in getattr(module, "__all__", None) or vars(module):
            value = getattr(module, name)
            if inspect.isclass(value) and value.__module__.startswith("fastreg.") and not name.startswith("_"):
                found[name] = value
    return found


CLASSES = public_classes()
NAMES = CLASSES | {name: getattr(fr.initializers, name) for name in fr.initializers.BY_NAME} | {"array": np.array}

EQUAL = [
    *(fr.Dense(3), fr.Dense(3, "relu", l1=ODD, l2=fr.L2(1 / 3), max_norm=ODD, name="a", trainable=False)),
    *(
        fr.Dense(
            4, "selu", weight_init=fr.initializers.normal(ODD), bias_init=fr.initializers.uniform(ODD), lr_scale=1 / 3
        ),
    ),
    fr.Dense(5, tied_to="a", transposed=True),
    *(fr.Dropout(keep_prob=ODD), fr.Dropout(rate=ODD), fr.Dropout(rate=0.9), fr.Dropout(keep_prob=1 / 3, per="unit")),
    fr.Dropout(rate=0.5, per="unit", rows=32),
    *(fr.Dropout(rate=2 / 3, kind="gaussian", name="d"), fr.GaussianNoise(ODD), fr.Flatten(name="f")),
    *(fr.Conv2D(3, (2, 5), "relu", strides=2, padding="same", l2=0.1), fr.Conv2D(1, 3)),
    *(fr.MaxPool2D(3), fr.MaxPool2D((2, 3), strides=1), fr.AvgPool2D(padding="same"), fr.GlobalAvgPool2D()),
    *(fr.BatchNorm("relu", momentum=ODD, eps=1e-3), fr.LayerNorm(scale=False), fr.Activation("tanh")),
    *(fr.Embedding(7, 3), fr.Embedding((3, 4), 2, l2=ODD), fr.Add("relu"), fr.Concatenate(name="c")),
    *(fr.L1(ODD), fr.L1(0.1, m="train", proximal=False), fr.L2(1 / 3, "batch"), fr.ElasticNet(ODD, 1 / 3)),
    *(fr.penalties.Distance("a", "b", ODD), fr.FGSM(ODD), fr.FGSM(0.1, clip=(0, 1))),
    *(fr.SGD(ODD, momentum=0.9, nesterov=True), fr.Adam(1 / 3), fr.AdamW(), fr.Lion(), fr.NAdam(), fr.RMSprop(0.1)),
    fr.SGD(fr.schedules.Warmup(5, fr.schedules.Cosine(ODD, 9)), weight_decay=fr.schedules.Step(ODD, 3)),
    *(fr.EMA(ODD), fr.SWA(3)),
    *(fr.schedules.Constant(ODD), fr.schedules.Step(0.1, 5, ODD, per="step"), fr.schedules.Exponential(0.1, ODD)),
    *(fr.schedules.Cosine(ODD, 5), fr.schedules.OneCycle(ODD, 50, pct_start=1 / 3), fr.schedules.Warmup(3, ODD)),
    *(fr.losses.MSE(), fr.losses.MAE(output_weights=(1, ODD)), fr.losses.Huber(ODD), fr.losses.LogCosh()),
    *(fr.losses.Poisson(), fr.losses.Quantile(ODD), fr.losses.Hinge(True), fr.losses.CategoricalHinge()),
    *(fr.losses.SoftmaxCrossEntropy(ODD, missing_targets=True), fr.losses.SigmoidCrossEntropy(pos_weight=(1, ODD))),
    *(fr.losses.SoftmaxFocal(ODD), fr.losses.SigmoidFocal(alpha=ODD)),
    *(fr.initializers.normal(ODD), fr.initializers.he_normal(), fr.initializers.zeros()),
    *(augment.Rotate(ODD), augment.Translate((0.1, ODD)), augment.Resize(0.5), augment.Crop(0.9), augment.Shear(3)),
    *(augment.Flip(p=ODD), augment.Flip("vertical"), augment.Elastic(ODD, 3), augment.Cutout(3, ODD)),
    augment.Compose([augment.Rotate(15), augment.Flip()], channels="last"),
    fr.kernels.Key(3, 4, 5, 6),
]
CALLBACKS = [
    *(fr.EarlyStopping(), fr.EarlyStopping("val_f1", 3, ODD, "max", 2), fr.stopping.GL(ODD), fr.stopping.PQ(1, 3)),
    *(fr.stopping.UP(2), fr.ReduceOnPlateau(factor=ODD, min_lr=1e-5), fr.TerminateOnNaN("loss"), fr.TerminateOnNaN()),
    *(fr.Checkpoint("run.safetensors", every=3, save_best=True), fr.CSVLogger("log.csv"), fr.Progress()),
    *(fr.LRScheduler(fr.schedules.Cosine(ODD, 5)), fr.LRScheduler(0.1), fr.LayerStatistics(every=2), fr.Callback()),
    fr.TensorBoard("runs/first", histograms=5),
]
# Those that hold functions, data or results: short, but no call that makes them again.
BLOCKS = fr.Sequential([fr.Dense(4), fr.Residual(["dense(4)"], activation="relu"), fr.Dense(2)])
GRAPH = fr.Model(x := fr.Input(3, name="x"), {"a": fr.Dense(2, name="end")(x)})
SHOWN = [
    *(fr.Function(np.abs, lambda x, y, dy: dy), fr.losses.Custom(max), fr.schedules.Given(lambda epoch: 0.1)),
    *(fr.Sequential([fr.Dense(3)]), BLOCKS, GRAPH, fr.Residual([fr.Dense(4)]), fr.Input(3), fr.Input(3, name="x")),
    fr.Trainer(GRAPH),
    *(fr.History(), fr.Bagging(lambda seed: None, 3), fr.data.Standardizer(), fr.data.Standardizer().fit(np.eye(300))),
    fr.layers.Standardize((1.5, ODD), (1.0, 1 / 3)),
    *(fr.data.TargetScaler(), fr.data.infer_schema(np.eye(4), [0, 1, 0, 1])),
]
WITHOUT = {  # bases, and what only the library makes: results, parts, errors
    *("Layer", "Norm", "Pooling", "Loss", "Penalty", "Optimizer", "Schedule", "Augmentation", "Initializer"),
    "Table",  # shows its first rows, as frames do
    *("Description", "Plan", "Parameter", "Start", "Value", "DivergenceError", "FileFormatError"),
}


def test_every_public_class_is_here():
    tried = {type(value).__name__ for value in [*EQUAL, *CALLBACKS, *SHOWN]}
    displays = {name for name in CLASSES if name.endswith("Display")}
    missing = {name for name, one in CLASSES.items() if name not in tried | WITHOUT | displays}
    assert {name for name in missing if not CLASSES[name].__module__.startswith("fastreg.checks")} == set()


@pytest.mark.parametrize("value", EQUAL, ids=repr)
def test_it_evaluates_to_an_equal_object(value):
    text = repr(value)
    assert "\n" not in text and len(text) < 200
    again = eval(text, dict(NAMES))
    assert again == value and repr(again) == text and type(again) is type(value)


@pytest.mark.parametrize("value", CALLBACKS, ids=repr)
def test_a_callback_evaluates_to_one_with_the_same_arguments(value):
    again = eval(repr(value), dict(NAMES))
    assert type(again) is type(value) and vars(again) == vars(value) and repr(again) == repr(value)


@pytest.mark.parametrize("value", SHOWN, ids=lambda value: type(value).__name__)
def test_others_are_short_and_name_their_class(value):
    lines = repr(value).splitlines()
    assert len(lines) <= 3 and max(map(len, lines)) < 300
    assert type(value).__name__ in lines[0] and " at 0x" not in repr(value)


def test_a_model_in_a_row_evaluates_too():
    model = fr.Sequential([fr.Dropout(rate=0.3), fr.Dense(8, "relu", name="h"), fr.Dense(2)])
    again = eval(repr(model), dict(NAMES))
    assert again.layers == model.layers


def test_a_long_model_is_cut_in_the_middle():
    model = fr.Sequential([fr.Dense(8, "relu") for _ in range(500)])
    assert len(repr(model)) < 700 and "500 layers" in repr(model)
    assert len(repr(fr.Trainer(model))) < 1000
