"""A misspelled name is refused in one line that says which name is meant, wherever a name is given."""

import inspect

import numpy as np
import pytest

import fastreg as fr

X, Y = np.eye(3).repeat(4, axis=0), np.arange(3).repeat(4)


def model():
    return fr.Sequential([fr.Dense(4, "relu", name="hidden"), fr.Dense(3, name="last")])


MODEL = model()


def built():
    made = model()
    made.build(3)
    return made


def trained(**how):
    trainer = fr.Trainer(model(), **how)
    trainer.fit(X, Y, validation_data=(X, Y))
    return trainer


def set_attribute(value, name):
    setattr(value, name, 1)


CASES = {
    # attributes of the package, its modules and its objects
    "fr": (lambda: fr.Sequental, "Sequential"),
    "fr, case": (lambda: fr.earlystopping, "EarlyStopping"),
    "fr, short": (lambda: fr.Drop, "Dropout"),
    "fr, a layer": (lambda: fr.Conv2d, "Conv2D"),
    "losses": (lambda: fr.losses.SoftmaxCrossEntrpy, "SoftmaxCrossEntropy"),
    "optimizers": (lambda: fr.optimizers.Admw, "AdamW"),
    "schedules": (lambda: fr.schedules.Cosin, "Cosine"),
    "callbacks": (lambda: fr.callbacks.CSVLoger, "CSVLogger"),
    "stopping": (lambda: fr.stopping.EarlyStoping, "EarlyStopping"),
    "initializers": (lambda: fr.initializers.he_norml, "he_normal"),
    "metrics": (lambda: fr.metrics.acuracy, "accuracy"),
    "plots": (lambda: fr.plots.callibration, "calibration"),
    "data": (lambda: fr.data.spilt, "split"),
    "augment": (lambda: fr.data.augment.Rotat, "Rotate"),
    "layers": (lambda: fr.layers.Convolution2D, "Conv2D"),
    "kernels": (lambda: fr.kernels.adam_updat, "adam_update"),
    "reference": (lambda: fr.reference.droput, "dropout"),
    "checks": (lambda: fr.checks.check_gradient, "check_gradients"),
    "files": (lambda: fr.files.laod, "load"),
    "penalties": (lambda: fr.penalties.Distanze, "Distance"),
    "model": (lambda: model().sumary, "summary"),
    "trainer": (lambda: fr.Trainer(model()).optimiser, "optimizer"),
    "a set attribute": (lambda: set_attribute(fr.Trainer(model()), "clip_nrm"), "clip_norm"),
    "a set option": (lambda: set_attribute(MODEL.layers[0], "activaton"), "activation"),
    "a set option of a layer alone": (lambda: set_attribute(fr.Dense(3), "activaton"), "activation"),
    # arguments of constructors and functions
    "Dense": (lambda: fr.Dense(3, activaton="relu"), "activation"),
    "Dropout": (lambda: fr.Dropout(keep_pro=0.5), "keep_prob"),
    "Conv2D": (lambda: fr.Conv2D(3, 3, pading="same"), "padding"),
    "SGD": (lambda: fr.SGD(momentun=0.9), "momentum"),
    "L1": (lambda: fr.L1(0.1, proximl=True), "proximal"),
    "Cosine": (lambda: fr.schedules.Cosine(0.1, perid=3), "period"),
    "MSE": (lambda: fr.losses.MSE(output_weigts=(1,)), "output_weights"),
    "EarlyStopping": (lambda: fr.EarlyStopping(patence=3), "patience"),
    "Checkpoint": (lambda: fr.Checkpoint("x", evry=3), "every"),
    "Rotate": (lambda: fr.data.augment.Rotate(degres=3), "degrees"),
    "Trainer": (lambda: fr.Trainer(model(), optimizr="sgd"), "optimizer"),
    "fit": (lambda: fr.Trainer(model()).fit(X, Y, epoch=3), "epochs"),
    "predict": (lambda: built().predict(X, batchsize=3, sample=3), "samples"),
    "Bagging": (lambda: fr.Bagging(lambda seed: None, 3, combin="mean"), "combine"),
    "Input": (lambda: fr.Input(shap=3), "shape"),
    "Residual": (lambda: fr.Residual([fr.Dense(3)], shortcutt=None), "shortcut"),
    "Standardizer": (lambda: fr.data.split(X, Y, fraction=(0.5, 0.5)), "fractions"),
    "FGSM": (lambda: fr.FGSM(epsilo=0.1), "epsilon"),
    "EMA": (lambda: fr.EMA(deca=0.9), "decay"),
    "check_gradients": (lambda: fr.check_gradients(trained(), X, Y, epsilonn=1e-7), "epsilon"),
    "calibration": (lambda: fr.plots.calibration(None, X, Y, strateg="uniform"), "strategy"),
    # names as values
    "activation": (lambda: fr.Dense(3, "rleu"), "relu"),
    "loss": (lambda: fr.Trainer(model(), "softmax_cross_entrop"), "softmax_cross_entropy"),
    "optimizer": (lambda: fr.Trainer(model(), optimizer="adm"), "adam"),
    "metric": (lambda: fr.Trainer(model(), metrics=["acuracy"]), "accuracy"),
    "initializer": (lambda: fr.Dense(3, weight_init="he_norml"), "he_normal"),
    "callback": (lambda: fr.Trainer(model()).fit(X, Y, callbacks="early_stoping(patience=3)"), "early_stopping"),
    "callback's argument": (lambda: fr.Trainer(model()).fit(X, Y, callbacks="checkpoint('x', evry=2)"), "every"),
    "layer": (lambda: fr.Sequential(["dens(3)"]), "dense"),
    "schedule": (lambda: fr.SGD("cosin(0.1, 3)"), "cosine"),
    "augmentation": (lambda: fr.Trainer(model(), augment="rotat(3)"), "rotate"),
    "averaging": (lambda: fr.Trainer(model(), averaging="emma(0.9)"), "ema"),
    "engine": (lambda: fr.Trainer(model(), engine="natve"), "native"),
    "padding": (lambda: fr.Conv2D(3, 3, padding="sam"), "same"),
    "kind": (lambda: fr.Dropout(rate=0.5, kind="gausian"), "gaussian"),
    "mode": (lambda: fr.EarlyStopping("val_x", mode="maxx"), "max"),
    "data set": (lambda: fr.data.load("digit"), "digits"),
    "monitor": (lambda: trained().fit(X, Y, validation_data=(X, Y), callbacks=fr.EarlyStopping("val_los")), "val_loss"),
    "history": (lambda: trained().history["val_los"], "val_loss"),
    "a layer of a model": (lambda: model().layers["hiden"], "hidden"),
    "a state": (lambda: built().load_state_dict({**built().state_dict(), "hiden.bias": 1}), "hidden.bias"),
    "a parameter": (lambda: built().parameters.__setitem__("hiden.bias", 1), "hidden.bias"),
    "a head": (
        lambda: fr.Trainer(
            fr.Model(x := fr.Input(3), {"digit": fr.Dense(2)(x), "size": fr.Dense(1)(x)}), {"digt": "mse"}
        ),
        "digit",
    ),
    "a distance": (lambda: fr.Trainer(model(), distance=fr.penalties.Distance("hiden", "last", 1)), "hidden"),
    "features": (
        lambda: fr.plots.boundary(trained(), {"age": X[:, 0], "size": X[:, 1]}, features=("agee", "size")),
        "age",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_names_the_name_that_is_meant(case):
    call, meant = CASES[case]
    with pytest.raises((AttributeError, TypeError, ValueError, KeyError)) as error:
        call()
    text = str(error.value)
    assert f"the nearest is '{meant}'" in text.replace('"', "'") or f"'{meant}'" in text.partition("; ")[2], text
    assert "\n" not in text


ROOMS = ("checks", "data", "metrics", "plots", "losses", "optimizers", "callbacks", "schedules", "stopping")
PUBLIC = {f"fr.{name}": getattr(fr, name) for name in fr.__all__}
for room in map(fr.__getattr__, ROOMS):
    own = getattr(room, "__all__", None) or [name for name, value in vars(room).items() if inspect.isclass(value)]
    PUBLIC |= {
        f"{room.__name__}.{name}": getattr(room, name) for name in own if name not in ("get", "Given", "Schedule")
    }
TAKING = {
    name: value
    for name, value in PUBLIC.items()
    if callable(value)
    and getattr(value, "__module__", "").startswith("fastreg.")
    and not (inspect.isclass(value) and (issubclass(value, Exception) or name.endswith(("Display", "Schema", "Plan"))))
    and len(inspect.signature(value).parameters) > 1
    and all(p.kind is not p.VAR_KEYWORD for p in inspect.signature(value).parameters.values())
}


@pytest.mark.parametrize("name", TAKING)
def test_a_keyword_with_a_letter_too_many_is_told(name):
    """Every public call: the error names the argument, and not only that something is unexpected."""
    value = TAKING[name]
    parameters = inspect.signature(value).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = {p.name: 1 for p in named if p.default is p.empty}
    last = max((p.name for p in named), key=len)  # of a name of one letter nothing is near
    required.pop(last, None)
    with pytest.raises(TypeError, match=f"got the argument '{last}zq'.*the nearest is '{last}'"):
        value(**required, **{f"{last}zq": 1})
