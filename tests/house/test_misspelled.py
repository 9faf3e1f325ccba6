"""A misspelled name is refused in one line that says which name is meant, wherever a name is given."""

import copy
import inspect
import pickle

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


def make(width=2, seed=0):
    return fr.Trainer(fr.Sequential([fr.Dense(width, "relu"), fr.Dense(3)]), seed=seed)


def search():
    return fr.grid_search(make, {"width": [1, 2]}, X, Y, cv=2)


def unpack(value):
    loss, accuracy = value
    return loss, accuracy


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
    "an option of a layer": (lambda: fr.Dense(3).activaton, "activation"),
    "an option of a rule": (lambda: fr.Adam().bta1, "beta1"),
    "an option of a penalty": (lambda: fr.L2(0.1).lamm, "lam"),
    "an option of a callback": (lambda: fr.EarlyStopping().patiense, "patience"),
    "an option of a schedule": (lambda: fr.schedules.Cosine(0.1, 3).perod, "period"),
    "what a Standardizer has": (lambda: fr.data.Standardizer().scal, "scale_"),
    "what a history has": (lambda: trained().history.to_fram, "to_frame"),
    "what fits have": (lambda: fr.fit_seeds(make, X, Y, seeds=1).score, "scores"),
    "what a fit has": (lambda: fr.fit_seeds(make, X, Y, seeds=1)[0].histroy, "history"),
    "what a search has": (lambda: search().best_parms, "best_params"),
    "a summary": (lambda: model().summary().htm, "html"),
    "a profile": (lambda: fr.profile(trained(), X, Y).verdct, "verdict"),
    "a check": (lambda: fr.check_gradients(trained(), X, Y).per_paramter, "per_parameter"),
    "a schema": (lambda: fr.data.infer_schema({"a": [1.0, 2.0], "b": [1.0, 3.0]}, target="b").colums, "columns"),
    "an ensemble": (lambda: fr.Bagging(make, 2).memebrs, "members"),
    "an input": (lambda: fr.Input(3).shap, "shape"),
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
    "fit_seeds": (lambda: fr.fit_seeds(make, X, Y, sedes=3), "seeds"),
    "cross_validate": (lambda: fr.cross_validate(make, X, Y, epoch=3), "epochs"),
    "grid_search": (lambda: fr.grid_search(make, {"width": [2]}, X, Y, cvv=3), "cv"),
    "a value of a grid": (lambda: fr.grid_search(make, {"widht": [2]}, X, Y), "width"),
    "a value of a space": (lambda: fr.random_search(make, {"widht": [2]}, X, Y), "width"),
    "a value of a grid for a trainer": (lambda: fr.grid_search(make(), {"clip_nrm": [2]}, X, Y), "clip_norm"),
    # names as values
    "activation": (lambda: fr.Dense(3, "rleu"), "relu"),
    "loss": (lambda: fr.Trainer(model(), "softmax_cross_entrop"), "softmax_cross_entropy"),
    "another library's loss": (lambda: fr.losses.get("mean_sqared"), "mse"),
    "a loss's beginning": (lambda: fr.losses.get("softmx"), "softmax_cross_entropy"),
    "a class": (lambda: fr.Trainer(model()).fit(X, np.array(["no", "yes", "so"] * 4), class_weight={"yess": 2}), "yes"),
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
    "a parameter that is read": (lambda: built().parameters["hiden.bias"], "hidden.bias"),
    "a gradient": (lambda: trained().gradients(X, Y)["hiden.bias"], "hidden.bias"),
    "a score": (lambda: trained().evaluate(X, Y)["acuracy"], "accuracy"),
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


OBJECTS = {
    "trainer": make,
    "model": built,
    "layer": lambda: fr.Dense(3),
    "rule": fr.Adam,
    "history": lambda: trained().history,
    "fits": lambda: fr.fit_seeds(make, X, Y, seeds=1),
    "callback": fr.EarlyStopping,
    "standardizer": lambda: fr.data.Standardizer().fit(X),
    "scores": lambda: trained().evaluate(X, Y),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_probe_finds_no_name_and_looks_for_none(kind, monkeypatch):
    """`hasattr`, `copy` and `pickle` ask for many attributes. Only who reads the error pays for the suggestion."""
    made = OBJECTS[kind]()
    monkeypatch.setattr("fastreg.common.names.advice", lambda *_: pytest.fail("looked for a name"))
    assert not hasattr(made, "predict_probba") and not hasattr(made, "_ipython_display_")
    copies = copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))
    assert all(type(one) is type(made) for one in copies)
    empty = type(made).__new__(type(made))  # as `pickle` has it before its state comes
    assert not hasattr(empty, "predict_probba") and not hasattr(empty, "__setstate_of__")


def test_an_error_within_a_property_is_told_as_it_is():
    with pytest.raises(ValueError, match="it has no parameters yet"):
        _ = model().parameters

    class Mine(fr.Callback):
        @property
        def rate(self):
            return self.ratee

    with pytest.raises(AttributeError, match=r"Mine.ratee: .*the nearest is 'rate'"):
        _ = Mine().rate


def test_the_error_can_be_sent_to_another_process():
    with pytest.raises(AttributeError) as error:
        _ = fr.Dense(3).activaton
    again = pickle.loads(pickle.dumps(error.value))
    assert type(again) is AttributeError and str(again) == str(error.value)


@pytest.mark.parametrize("of", [trained, lambda: trained().model])
def test_what_evaluate_gives_is_a_dict_that_is_not_unpacked(of):
    """Keras gives a list there; the names of a dict in place of its values would be a silent mistake."""
    scores = of().evaluate(X, Y)
    with pytest.raises(TypeError, match=r"whose values are scores\['loss'\], scores\['accuracy'\], or all of scores.v"):
        unpack(scores)
    with pytest.raises(TypeError, match="gives a dict"):
        _, *_ = scores
    loss, accuracy = scores.values()
    assert [*scores] == list(scores) == sorted(scores, key=len) == ["loss", "accuracy"]
    assert scores == {"loss": loss, "accuracy": accuracy} == {**scores} == dict(scores)
    (alone,) = list(scores.items())[:1]
    assert alone == ("loss", loss)


def test_a_loss_is_not_called():
    with pytest.raises(TypeError, match=r"MSE: got a call, .*fr.kernels.mse\(outputs, targets\) gives it.*evaluate"):
        fr.losses.MSE()(np.ones((2, 1)), np.zeros((2, 1)))
    with pytest.raises(TypeError, match=r"Poisson: got a call, expected to be the loss of a trainer; trainer.evaluate"):
        fr.losses.Poisson()(np.ones((2, 1)), np.zeros((2, 1)))
