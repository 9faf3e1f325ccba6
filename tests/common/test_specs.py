"""Specs: text instead of any object. It is never evaluated, reprs are specs, and errors suggest similar names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastreg as fr
from fastreg.callbacks.argument import gather
from fastreg.data import augment as A
from fastreg.layers import initializers as I
from fastreg.optimizers import schedules as S

X, Y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3


def trainer(**settings):
    return fr.Trainer(fr.Sequential([fr.Dense(3)]), **settings)


def layer(text):
    return fr.Sequential([text, fr.Dense(1)]).layers[0].named(None)


OPTIMIZERS = [
    ("sgd(lr=0.01)", fr.SGD(0.01)),
    ("SGD(0.5, momentum=0.9, nesterov=True)", fr.SGD(0.5, momentum=0.9, nesterov=True)),
    ("sgd(0.5, momentum=0.9, nesterov=true)", fr.SGD(0.5, momentum=0.9, nesterov=True)),
    ("rmsprop", fr.RMSprop()),
    ("rms_prop(1e-3, eps=1e-6)", fr.RMSprop(1e-3, eps=1e-6)),
    (" adamw( lr = 3e-4 ,\n weight_decay = 0.1 ) ", fr.AdamW(3e-4, weight_decay=0.1)),
    ("adam(lr=step(0.1, every=5))", fr.Adam(S.Step(0.1, 5))),
    ("adam(lr='cosine(0.1, 50, per=\"step\")')", fr.Adam(S.Cosine(0.1, 50, per="step"))),
    ("adam(warmup(100, one_cycle(0.1, 1000)))", fr.Adam(S.Warmup(100, S.OneCycle(0.1, 1000)))),
]
LOSSES = [
    ("mse", fr.losses.mse),
    ("mse()", fr.losses.mse),
    ("SoftmaxCrossEntropy(label_smoothing=0.1)", fr.losses.SoftmaxCrossEntropy(0.1)),
    ("sigmoid_cross_entropy(0.2)", fr.losses.SigmoidCrossEntropy(0.2)),
]
AUGMENTATIONS = [
    ("rotate(15)", A.Rotate(15)),
    ("Rotate(degrees=(-5, 10))", A.Rotate((-5, 10))),
    ("flip", A.Flip()),
    ("elastic(alpha=34, sigma=4)", A.Elastic(34, 4)),
    ("compose([rotate(15), flip()])", A.Compose([A.Rotate(15), A.Flip()])),
    (
        "compose((crop(0.8), compose([shear(5), elastic(3, 1)])), channels='last')",
        A.Compose([A.Crop(0.8), A.Compose([A.Shear(5), A.Elastic(3, 1)])], channels="last"),
    ),
]
LAYERS = [
    ("dropout(keep_prob=0.5)", fr.Dropout(keep_prob=0.5)),
    ("flatten", fr.Flatten()),
    ("gaussian_noise(0.1)", fr.GaussianNoise(0.1)),
    ("dense(10, 'relu', l2=l2(0.01), name='h')", fr.Dense(10, "relu", l2=0.01)),
    ("dense(10, weight_init=normal(0.01), bias_init='zeros')", fr.Dense(10, weight_init=I.normal(0.01))),
    ("dense(4, penalty=elastic_net(0.5, l1_ratio=0.2))", fr.Dense(4, penalty=fr.ElasticNet(0.5, l1_ratio=0.2))),
]


@pytest.mark.parametrize(("text", "expected"), OPTIMIZERS)
def test_optimizers(text, expected):
    assert trainer(optimizer=text).optimizer == expected


@pytest.mark.parametrize(("text", "expected"), LOSSES)
def test_losses(text, expected):
    assert trainer(loss=text).loss == expected


@pytest.mark.parametrize(("text", "expected"), LAYERS)
def test_layers(text, expected):
    assert layer(text) == expected


def test_penalties_schedules_initializers_and_attacks():
    made = trainer(l1="l1(0.1, proximal=False)", l2="L2(lam=0.01, m='batch')", adversarial="fgsm(0.1, clip=(0, 1))")
    assert made.l1 == fr.L1(0.1, proximal=False) and made.l2 == fr.L2(0.01, m="batch")
    assert made.adversarial == fr.FGSM(0.1, clip=(0, 1))
    for text, expected in AUGMENTATIONS:
        assert trainer(augment=text).augment == expected
    assert trainer(penalty="elastic_net(0.2)").l1 == fr.ElasticNet(0.2).l1
    assert fr.LRScheduler("exponential(0.1, gamma=0.5)").schedule == S.Exponential(0.1, 0.5)
    assert fr.Dense(2, bias_init="uniform(limit=0.5)").bias_init == I.uniform(0.5)


def test_callbacks(tmp_path):
    path = str(tmp_path / "run.safetensors")
    texts = ["early_stopping(patience=4)", "gl(5)", "PQ(0.5, strip=3)", "up(s=2)", "lr_scheduler(step(1.0, 3))"]
    texts += ["terminate_on_nan", "reduce_on_plateau('loss')", f"checkpoint({path!r})", "layer_statistics(every=2)"]
    made = gather(texts, 0)
    assert [type(c).__name__ for c in made] == [
        *("EarlyStopping", "GL", "PQ", "UP", "LRScheduler", "TerminateOnNaN", "ReduceOnPlateau", "LayerStatistics"),
        "Checkpoint",
    ]
    assert made[0].patience == 4 and made[2].strip == 3 and made[4].schedule == S.Step(1.0, 3)
    history = trainer().fit(X, Y, epochs=9, validation_data=(X, Y), callbacks=["early_stopping('val_loss', 9)"])
    assert len(history.epochs) == 9


def test_a_spec_trains_as_the_object_does():
    by_text = trainer(optimizer="adam(lr=0.1)", l2="l2(0.01)")
    by_object = trainer(optimizer=fr.Adam(0.1), l2=fr.L2(0.01))
    for made in (by_text, by_object):
        made.fit(X, Y, epochs=2)
    np.testing.assert_array_equal(by_text.predict(X), by_object.predict(X))


def test_what_is_printed_is_a_spec():
    for _, made in OPTIMIZERS:
        assert trainer(optimizer=repr(made)).optimizer == made
    for _, made in LOSSES:
        assert trainer(loss=repr(made)).loss == made
    for _, made in LAYERS:
        assert layer(repr(made)) == made
    for _, made in AUGMENTATIONS:
        assert trainer(augment=repr(made)).augment == made
    for made in (
        fr.EarlyStopping(patience=3),
        fr.stopping.GL(2),
        fr.LRScheduler(S.Step(1.0, 3)),
        fr.LayerStatistics(every=2, rows=5, ratio=30),
        fr.Checkpoint("a b.safetensors", every=3, save_best=True),
        fr.CSVLogger("log's" * 50 + ".csv"),
    ):
        again = gather([repr(made)], 0)[0]
        assert type(again) is type(made) and vars(again) == vars(made)


def short(low, high):
    """Numbers of nine digits: what is printed has no more than twelve."""
    return st.floats(low, high).map(lambda value: float(f"{value:.9g}"))


rates, below_one, counts = short(0, 1e6), short(0, 0.999), st.integers(1, 10**6)
plain_schedules = st.builds(S.Step, rates, counts) | st.builds(S.Exponential, rates, short(0.01, 2))
any_schedule = plain_schedules | st.builds(S.Warmup, counts, plain_schedules)
any_optimizer = (
    st.builds(fr.SGD, rates | any_schedule, momentum=below_one, weight_decay=rates)
    | st.builds(fr.Adam, rates | any_schedule, beta1=below_one, beta2=below_one, eps=rates)
    | st.builds(fr.AdamW, rates, weight_decay=rates)
)


@given(any_optimizer)
def test_any_optimizer_that_is_printed_is_a_spec(optimizer):
    assert trainer(optimizer=repr(optimizer)).optimizer == optimizer


@given(st.text(max_size=60))
def test_any_text_is_an_optimizer_or_refused_in_one_line(text):
    try:
        trainer(optimizer=text)
    except (ValueError, TypeError) as error:
        assert "\n" not in str(error) and str(error).startswith("optimizer: got ")


BAD = {
    "name": ({"optimizer": "sdg(lr=0.1)"}, r"optimizer: got 'sdg\(lr=0\.1\)', expected one of sgd, .*nearest is 'sgd'"),
    "far name": ({"optimizer": "adagrad"}, r"optimizer: got 'adagrad', expected one of sgd, rmsprop, adam, adamw"),
    "argument": ({"optimizer": "sgd(momentun=0.9)"}, r"argument 'momentun' of sgd, .*; the nearest is 'momentum'"),
    "lambd": ({"l2": "l2(lambd=0.01)"}, r"l2: got the argument 'lambd' of l2, expected one of .*nearest is 'lam'"),
    "kind": ({"l1": "l2(0.01)"}, r"l1: got 'l2\(0\.01\)', expected one of l1$"),
    "value": ({"optimizer": "sgd(lr=-1)"}, r"lr: got -1, expected a finite number of at least 0"),
    "nested": ({"optimizer": "sgd(lr=cosin(0.1, 5))"}, r"lr: got 'cosin\(0\.1, 5\)', .*nearest is 'cosine'"),
    "too many": ({"optimizer": "sgd(1, 2, False, 4, 5)"}, r"expected sgd\(lr=0\.01, .*\): too many positional"),
    "missing": ({"adversarial": "fgsm"}, r"expected fgsm\(epsilon, .*\): missing a required argument: 'epsilon'"),
    "augmentation": ({"augment": "rotat(15)"}, r"augment: got 'rotat\(15\)', .*; the nearest is 'rotate'"),
    "a part": ({"augment": "compose([flip(), elastik(3, 1)])"}, r"parts\[1\]: got 'elastik\(3, 1\)', .*'elastic'"),
    "no angle": ({"augment": "rotate"}, r"augment: got 'rotate', expected rotate\(degrees\): missing a required"),
    "no lam": ({"l2": "l2"}, r"l2: got 'l2', expected l2\(lam, m=1\): missing a required argument: 'lam'"),
    "penalty": ({"penalty": "elastic"}, r"penalty: got 'elastic', expected one of .*; the nearest is 'elastic_net'"),
    "engine": ({"engine": "natve"}, r"engine: got 'natve', expected one of native, reference; the nearest is 'native'"),
    "loss": ({"loss": "softmax_crossentropi"}, r"nearest is 'softmax_cross_entropy'"),
    "variable": ({"optimizer": "sgd(lr=x)"}, r"optimizer: got 'sgd\(lr=x\)', expected a name or a call with literals"),
    "no quotes": ({"l2": "l2(0.1, m=batch)"}, r"a call with literals, .*; a string needs quotes: 'batch'$"),
    "attribute": ({"optimizer": "os.system('true')"}, r"expected a name or a call with literals"),
    "operator": ({"optimizer": "sgd(lr=9**9**9)"}, r"expected a name or a call with literals"),
    "import": ({"optimizer": "__import__('os')"}, r"expected one of sgd"),
    "inner": ({"loss": "mse(*(1,))"}, r"expected a name or a call with literals"),
    "mapping": ({"optimizer": "sgd(**{'lr': 1})"}, r"expected a name or a call with literals"),
    "twice": ({"optimizer": "sgd(lr=1, lr=2)"}, r"expected a name or a call with literals"),
    "syntax": ({"optimizer": "sgd(lr=0.1"}, r"expected a name or a call with literals"),
    "empty": ({"optimizer": ""}, r"optimizer: got '', expected a name or a call with literals"),
    "null": ({"optimizer": "sgd\0"}, r"expected a name or a call with literals"),
    "deep": ({"optimizer": "sgd(" + "[" * 400 + "]" * 400 + ")"}, r"expected "),
    "long": ({"optimizer": "sgd(lr=" + "1" * 9000 + ")"}, r"expected a name or a call with literals"),
    "escape": ({"optimizer": r"sgd(lr='\d')"}, r"lr: got '.*', expected a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_trainers_refuse(case):
    settings, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        trainer(**settings)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_layers_and_callbacks_refuse():
    with pytest.raises(ValueError, match=r"layers\[0\]: got 'dropot\(0\.5\)', .*the nearest is 'dropout'"):
        fr.Sequential(["dropot(0.5)", "dense(3)"])
    with pytest.raises(TypeError, match=r"Dropout: got 0\.5 without a name, expected keep_prob= .* or rate="):
        fr.Sequential(["dropout(0.5)", "dense(3)"])
    with pytest.raises(
        ValueError, match=r"argument 'args' of dropout, expected one of keep_prob, rate, kind, per, rows, name"
    ):
        fr.Sequential(["dropout(args=0.5)", "dense(3)"])
    with pytest.raises(ValueError, match=r"callbacks: got 'early_stoping', .*the nearest is 'early_stopping'"):
        trainer().fit(X, Y, callbacks=["early_stoping"])
    with pytest.raises(ValueError, match=r"weight_init: got 'nrmal\(1\)', .*the nearest is 'normal'"):
        fr.Dense(3, weight_init="nrmal(1)")
    with pytest.raises(ValueError, match=r"weight_init: got 'he_norml', .*the nearest is 'he_normal'"):
        fr.Dense(3, weight_init="he_norml")
    with pytest.raises(ValueError, match=r"activation: got 'rellu', .*the nearest is 'relu'"):
        fr.Dense(3, "rellu")


@pytest.mark.parametrize("kind", ["checkpoint", "csv_logger"])
def test_a_call_is_not_taken_for_a_path(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=r"path: got 'now\(1\)', expected the path of a file$"):
        trainer().fit(X, Y, callbacks=[f"{kind}(now(1))"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("one", ["gl(2, 'loss')", fr.stopping.GL(2, "loss")])
def test_one_callback_needs_no_list(one):
    used = trainer()
    used.fit(X, Y, callbacks=one)
    assert used.best.epoch == 0
