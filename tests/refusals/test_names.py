"""Names of Keras, scikit-learn and PyTorch: understood where they have one meaning, else refused with the right one."""

import inspect
import pickle
import zipfile

import numpy as np
import pytest

import fastreg as fr
from fastreg.common import names

X, Y = np.eye(4), np.arange(4) % 2


def trainer(loss=None, optimizer="sgd", **settings):
    return fr.Trainer(fr.Sequential([fr.Dense(2)]), loss, optimizer, **settings)


def built():
    model = fr.Sequential([fr.Dense(2)])
    model.build(4)
    return model


def trained():
    made = trainer()
    made.fit(X, Y)
    return made


def stop(model):
    model.stop_training = True


UNDERSTOOD = {
    "loss binary_crossentropy": (lambda: trainer("binary_crossentropy").loss, fr.losses.sigmoid_cross_entropy),
    "loss bce": (lambda: trainer("bce").loss, fr.losses.sigmoid_cross_entropy),
    "loss BCEWithLogitsLoss": (lambda: trainer("BCEWithLogitsLoss").loss, fr.losses.sigmoid_cross_entropy),
    "loss CrossEntropyLoss": (lambda: trainer("CrossEntropyLoss").loss, fr.losses.softmax_cross_entropy),
    "loss sparse": (lambda: trainer("sparse_categorical_crossentropy").loss, fr.losses.softmax_cross_entropy),
    "loss squared": (lambda: trainer("squared_error").loss, fr.losses.mse),
    "loss criterion": (lambda: fr.Trainer(fr.Sequential([fr.Dense(1)]), criterion="MSELoss").loss, fr.losses.mse),
    "activation swish": (lambda: fr.Dense(2, "swish"), fr.Dense(2, "silu")),
    "activation ReLU": (lambda: fr.Dense(2, activation="ReLU"), fr.Dense(2, "relu")),
    "activation identity": (lambda: fr.Dense(2, "identity"), fr.Dense(2)),
    "activation gelu_new": (lambda: fr.Dense(2, "gelu_new"), fr.Dense(2, "gelu_tanh")),
    "initializer": (
        lambda: fr.Dense(out_features=2, kernel_initializer="xavier_uniform", bias=False),
        fr.Dense(2, weight_init="glorot_uniform", use_bias=False),
    ),
    "Dropout p": (lambda: fr.Dropout(p=0.25), fr.Dropout(rate=0.25)),
    "GaussianNoise stddev": (lambda: fr.GaussianNoise(stddev=0.1), fr.GaussianNoise(0.1)),
    "SGD learning_rate": (lambda: fr.SGD(learning_rate=0.5), fr.SGD(0.5)),
    "Adam beta_1": (lambda: fr.Adam(beta_1=0.8, epsilon=1e-7), fr.Adam(beta1=0.8, eps=1e-7)),
    "RMSprop rho": (lambda: fr.RMSprop(rho=0.9), fr.RMSprop(alpha=0.9)),
    "a spec": (lambda: trainer(optimizer="Adam(learning_rate=0.01, beta_2=0.9)").optimizer, fr.Adam(0.01, beta2=0.9)),
    "random_state": (lambda: trainer(random_state=3, n_jobs=2).settings()["seed"], 3),
    "layers in specs": (lambda: fr.Sequential(["Linear(4)"]).layers[0].units, 4),
    "engine": (lambda: trainer(engine="numpy").engine, "reference"),
    "Embedding of Keras": (lambda: fr.Embedding(input_dim=10, output_dim=4), fr.Embedding(10, 4)),
    "Embedding of PyTorch": (lambda: fr.Embedding(num_embeddings=10, embedding_dim=4), fr.Embedding(10, 4)),
    "data_format": (lambda: fr.Conv2D(3, 3, data_format="channels_last", dilation_rate=(1, 1)), fr.Conv2D(3, 3)),
    "restore": (lambda: repr(fr.EarlyStopping(restore_best_weights=True)), repr(fr.EarlyStopping())),
    "verbose of predict": (lambda: built().predict(X, verbose=0).shape, (4, 2)),
    "verbose of evaluate": (lambda: trained().evaluate(X, Y, verbose=False).keys(), {"loss": 0, "accuracy": 0}.keys()),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_names_with_one_meaning_are_understood(case):
    make, expected = UNDERSTOOD[case]
    assert make() == expected


def test_arguments_of_fit_are_understood():
    one, other = trainer(), trainer()
    one.fit(X, Y, epochs=3, batch_size=2, sample_weight=[1, 2, 3, 4])
    other.fit(X, Y, nb_epoch=3, batch=2, sample_weights=[1, 2, 3, 4])
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


REFUSED = {
    "loss svm": (lambda: trainer("svm"), r"use 'categorical_hinge' for one of several classes, 'hinge' for yes or no"),
    "loss log_loss": (lambda: trainer("log_loss"), r"'softmax_cross_entropy' for one of several classes, 'sigmoid_"),
    "loss kld": (lambda: trainer("kld"), r"; fr.losses.Custom\(function\) takes any loss written in Python"),
    "loss function": (lambda: trainer(print), r"; fr.losses.Custom\(function\) takes a loss written in Python"),
    "loss optimizer": (lambda: trainer(fr.SGD(0.1)), r"an optimizer is given by name: optimizer=SGD\(lr=0.1\)"),
    "loss class": (lambda: trainer(fr.losses.MSE), r"loss: got the class MSE, expected an object: MSE\(...\)"),
    "optimizer adagrad": (
        lambda: trainer(optimizer="Adagrad"),
        r"got 'Adagrad', .*the nearest is 'rmsprop'",
    ),
    "optimizer nesterov": (lambda: trainer(optimizer="nesterov"), r"use 'sgd\(momentum=0.9, nesterov=True\)'"),
    "activation softmax": (lambda: fr.Dense(2, "log_softmax"), r"the loss 'softmax_cross_entropy' takes logits"),
    "activation function": (lambda: fr.Dense(2, np.tanh), r"fr.Function\(forward, backward\) after this one"),
    "initializer he": (lambda: fr.Dense(2, weight_init="he"), r"use 'he_normal' or 'he_uniform'"),
    "initializer scale": (lambda: fr.Dense(2, weight_init="random_normal"), r"fastreg.initializers.normal\(...\)"),
    "BatchNormalization": (
        lambda: fr.Sequential(["BatchNormalization()"]),
        r"'batch_norm' takes momentum= in PyTorch's",
    ),
    "lr": (
        lambda: trainer(lr=0.1),
        r"Trainer: got the argument 'lr', .* of the optimizer: optimizer=fr.SGD\(",
    ),
    "epochs": (lambda: trainer(epochs=3), r"Trainer: got the argument 'epochs', .*it is an argument of fit"),
    "initial_epoch": (lambda: trainer().fit(X, Y, initial_epoch=3), r"another fit continues where the last one ended"),
    "restore": (
        lambda: fr.EarlyStopping(restore_best_weights=False),
        r"got restore_best_weights=False, expected True: the best weights are always restored$",
    ),
    "verbose of predict": (lambda: built().predict(X, verbose=1), r"got verbose=1, expected 0: it prints nothing$"),
    "channels first": (lambda: fr.MaxPool2D(2, data_format="channels_first"), r"expected 'channels_last': images are"),
    "dilation": (lambda: fr.Conv2D(3, 3, dilation_rate=2), r"got dilation_rate=2, expected 1: "),
    "restore elsewhere": (lambda: fr.Dense(3, restore_best_weights=True), r"Dense: got the argument 'restore_best_wei"),
    "Lambda": (lambda: fr.Lambda, r"; fr.Function\(forward, backward\) is"),
    "Normalization": (lambda: fr.Normalization, r"; fr.data.Standardizer\(\).fit\(X\)"),
    "Rescaling": (lambda: fr.Rescaling, r"; fr.data.Standardizer\(\).fit\(X\)"),
    "GaussianDropout": (lambda: fr.GaussianDropout, r'use fr.Dropout\(rate=0.5, kind="gaussian"\)'),
    "L1L2": (lambda: fr.L1L2, r"use fr.ElasticNet\("),
    "Softmax": (lambda: fr.Softmax(), r"leave it out: the loss takes logits"),
    "SeparableConv2D": (lambda: fr.SeparableConv2D, r"the nearest is fr.Conv2D"),
    "MaxNorm": (lambda: fr.constraints.MaxNorm, r"max_norm= is an option of layers"),
    "PiecewiseConstantDecay": (lambda: fr.PiecewiseConstantDecay, r"use fr.schedules.Step, or a function"),
    "RandomRotation": (lambda: fr.data.augment.RandomRotation, r"use fr.data.augment.Rotate"),
    "RandomFlip": (lambda: fr.RandomFlip, r"use fr.data.augment.Flip"),
    "RandomZoom": (lambda: fr.RandomZoom, r"use fr.data.augment.Resize"),
    "ImageDataGenerator": (lambda: fr.ImageDataGenerator, r"fr.data.augment has its transforms"),
    "mnist": (lambda: fr.data.load("mnist"), r"; fr.data.load_idx_folder\(folder\) reads its files"),
    "set_random_seed": (lambda: fr.set_random_seed, r"use fr.Trainer\(..., seed=0\)"),
    "utils": (lambda: fr.utils.set_random_seed, r"in place of set_random_seed give the trainer seed=0"),
    "min_delta": (lambda: fr.ReduceOnPlateau(min_delta=1e-3), r"give threshold=, the share"),
    "min_delta in a spec": (
        lambda: trainer().fit(X, Y, callbacks="reduce_on_plateau('loss', min_delta=1)"),
        r"give threshold=",
    ),
    "plots.filter": (lambda: fr.plots.filter, r"the nearest is 'filters'$"),
    "save_weights_only": (lambda: fr.Checkpoint("a", save_weights_only=True), r"leave it out: a checkpoint holds the"),
    "clipnorm": (lambda: fr.Adam(clipnorm=1.0), r"clip_norm= and clip_value= are arguments of the trainer"),
    "global_clipnorm": (lambda: fr.SGD(global_clipnorm=1.0), r"are arguments of the trainer"),
    "append": (lambda: fr.CSVLogger("a", append=True), r"a resumed fit and further fits of a trainer add lines"),
    "no layers": (lambda: fr.Sequential(), r"Sequential: got no layers, expected layers$"),
    "line_length": (lambda: built().summary(line_length=80), r"leave it out: print\(model.summary\(\)\)"),
    "history.epoch": (lambda: trained().history.epoch, r"use history.epochs, counted from 0"),
    "adapt": (lambda: fr.data.Standardizer().adapt(X), r"Standardizer.adapt: .*use fit\(X\)"),
    "a metric as a class": (lambda: fr.metrics.AUC(), r"a trainer takes it by name: metrics=\['roc_auc'\]"),
    "count_params": (lambda: built().count_params(), r"model.summary\(\) tells it"),
    "stop_training": (lambda: stop(built()), r"it is of the trainer; in a callback self.trainer.stop_training"),
    "losses in a list": (lambda: trainer(["mse", "mse"]), r"of several heads give a dict by their names$"),
    "fields in a path": (
        lambda: fr.Checkpoint("ck-{epoch:02d}.safetensors"),
        r"got 'ck-\{epoch:02d\}.safetensors', expected a name without fields .* keep=, the best one by save_best=True",
    ),
    "regularizer": (lambda: fr.Dense(2, kernel_regularizer=0.1), r"l2= and l1= are penalties on the weights"),
    "betas": (lambda: fr.Adam(betas=(0.9, 0.99)), r"Adam: got the argument 'betas', .*give beta1= and beta2="),
    "twice": (lambda: fr.SGD(0.1, lr=0.2), r"multiple values for argument 'lr'"),
    "both names": (lambda: fr.SGD(lr=0.1, learning_rate=0.2), r"SGD: got the argument 'learning_rate'"),
    "unknown": (lambda: fr.SGD(momentun=0.2), r"SGD: got the argument 'momentun', .*the nearest is 'momentum'"),
    "layers": (
        lambda: fr.Sequential(fr.Dense(2), fr.Dense(3)),
        r"Sequential: got more arguments .* may be a list",
    ),
    "no list": (
        lambda: fr.Sequential(fr.Dense(2)),
        r"layers: got Dense\(2\), .*a list of layers: \[Dense\(2\)\]",
    ),
    "no model": (
        lambda: fr.Trainer([fr.Dense(2)]),
        r"model: got list, .*a Model: fr.Sequential\(\[...\]\)",
    ),
    "schedule": (
        lambda: fr.SGD("CosineDecay"),
        r"lr: got 'CosineDecay', .*a schedule: cosine\(...\)",
    ),
    "function of two": (lambda: fr.SGD(lambda epoch, lr: lr), r"expected one that takes one argument, the epoch"),
    "mixup": (lambda: trainer(augment="mixup(0.2)"), r"augment: got 'mixup.*; mixup= is an argument of the trainer"),
    "mixup of the module": (lambda: fr.data.augment.MixUp, r"'MixUp'; mixup= is an argument of the trainer"),
    "folds": (lambda: fr.cross_validate(trainer(), X, Y, cv=2, n_splits=3), "cross_validate: .*; the nearest is 'cv'$"),
    "callbacks of no fit": (
        lambda: fr.fit_seeds(trainer(), X, Y, callbacks=lambda: []),
        r"callbacks: got <lambda>\(\), expected a function of \(number\)$",
    ),
    "trials": (
        lambda: fr.random_search(trainer(), {"lr": [0.1]}, X, Y, cv=2, n_trials=3),
        "random_search: .*the nearest is 'n_iter'$",
    ),
    "column of no data": (
        lambda: trainer().fit(X, Y)["val_loss"],
        r"history: got 'val_loss', .*; fit had no held-back data",
    ),
    "monitor": (lambda: trainer().fit(X, Y)["acc"], r"history: got 'acc', .*the nearest is 'accuracy'"),
    "layer of Keras": (lambda: fr.MaxPooling2D, "; the layer is fr.MaxPool2D$"),
    "estimator": (lambda: fr.MLPClassifier, r"; it is in fr\.estimators, which needs scikit-learn$"),
    "module": (lambda: fr.Linear, r"module 'fastreg' has no attribute 'Linear'; the layer is fr.Dense"),
    "of losses": (lambda: fr.losses.BinaryCrossentropy, r"'BinaryCrossentropy'; use fr.losses.SigmoidCrossEntropy"),
    "of callbacks": (lambda: fr.callbacks.ModelCheckpoint, r"'ModelCheckpoint'; use fr.Checkpoint"),
    "of optimizers": (lambda: fr.optimizers.Adagrad, r"'Adagrad'; the nearest is fr.RMSprop"),
    "a layer as a class": (
        lambda: type("Mine", (fr.layers.Layer,), {}),
        r"class Mine\(Layer\): .*fr.Function\(forward",
    ),
    "call of a layer": (
        lambda: type("Mine", (fr.Dense,), {"call": print}),
        r"class Mine\(Dense\): .*fr.Function\(forw",
    ),
    "a function as a class": (lambda: type("Mine", (fr.Function,), {"forward": print}), r"class Mine\(Function\): "),
    "a model as a class": (
        lambda: type("Net", (fr.Model,), {"call": print}),
        r"class Net\(Model\): .*fr.Model\(inputs",
    ),
    "a loss as a class": (lambda: type("Mine", (fr.losses.Loss,), {"call": print}), r"fr.losses.Custom\(function\) is"),
    "Layer": (lambda: fr.Layer, r"fr.Function\(forward, backward\) is a layer written in Python$"),
    "to_categorical": (lambda: fr.utils.to_categorical, r"y may be labels$"),
    "verbose of a callback": (lambda: fr.EarlyStopping(verbose=1), r"fit\(verbose=1\) shows progress"),
    "seed of a layer": (lambda: fr.Dropout(rate=0.5, seed=1), r"the seed is an argument of the trainer$"),
    "batch_size of evaluate": (lambda: trained().evaluate(X, Y, batch_size=2), r"rows go through in parts anyway"),
    "validation_batch_size": (lambda: trainer().fit(X, Y, validation_batch_size=2), r"rows of held-back data go"),
    "a metric with a name": (lambda: fr.metrics.AUC(name="auc"), r"got the argument 'name', .*metrics=\['roc_auc'\]$"),
    "rows in a shape": (lambda: fr.Sequential([fr.Dense(2)]).build((None, 4)), r"one sample, without its rows$"),
    "a pair as X": (lambda: trainer().fit((X, Y)), r"X: got a pair, expected two arguments: fit\(X, y\)$"),
    "batches as X": (lambda: trainer().fit(zip(X, Y, strict=True)), r"expected an array of all rows"),
    "a sum of values": (lambda: fr.Input(4) + fr.Input(4), r"^Input\(4\): got arithmetic .*fr.Add\(\)\(\[a, b\]\)"),
    "a number and a value": (lambda: 2 * fr.Dense(3)(fr.Input(4)), r"^<value of Dense\(3\), of shape 3>: got arithm"),
    "NumPy on a value": (lambda: np.tanh(fr.Input((2, 2))), r"^Input\(\(2, 2\)\): got arithmetic"),
    "inputs without names": (
        lambda: fr.Model([a := fr.Input(4), b := fr.Input((2, 2))], fr.Dense(1)(fr.Add()([a, fr.Flatten()(b)]))),
        r"inputs: got Input\(4\) without a name, .*: fr.Input\(4, name='a'\)$",
    ),
    "learning_rate of an optimizer": (lambda: fr.SGD(0.1).learning_rate, r"; the rate is lr$"),
    "a loss as the optimizer": (
        lambda: trainer("mse", "mse"),
        r"it is a loss, which comes before: fr.Trainer\(model, l",
    ),
    "an optimizer as the loss": (lambda: trainer("adam"), r"it is an optimizer, which comes after"),
    "GroupNormalization": (lambda: fr.layers.GroupNormalization, r"the nearest is 'layer_norm'$"),
    "Multiply": (lambda: fr.layers.Multiply, r"values are joined by fr.Add\(\) and fr.Concatenate\(\)$"),
    "CosineDecay": (lambda: fr.schedules.CosineDecay, r"use fr.schedules.Cosine, whose times are epochs$"),
    "decay": (lambda: fr.SGD(0.1, decay=1e-6), r"of the rate: a schedule, .*; of the weights: weight_decay=$"),
    "name of a model": (
        lambda: fr.Sequential([fr.Dense(2)], name="net"),
        r"models have no names, layers and heads have$",
    ),
    "axis": (lambda: fr.Concatenate(axis=-1), r"are the last axis$"),
    "a call in training": (lambda: built()(X, training=True), r"got a call, expected model.predict\(X\)"),
    "output of a layer": (lambda: fr.Dense(2).output, r"fr.Sequential\(model.layers\[:-1\]\) is a model"),
    "split": (lambda: fr.data.split(X, Y, test_size=0.2), r"fr.data.split\(X, y, \(0.8, 0.2\)\)"),
}


IMPORTED = {
    "from fastreg.layers import Dense, BatchNormalization": r"from 'fastreg.layers'; the layer is fr.BatchNorm; ",
    "from fastreg.callbacks import ReduceLROnPlateau": r"use fr.ReduceOnPlateau$",
    "from fastreg import Linear": r"cannot import name 'Linear' from 'fastreg'; the layer is fr.Dense$",
    "from fastreg.losses import HuberLos": r"the nearest is '[Hh]uber",
    "from fastreg.models import Sequential": r"^No module named 'fastreg.models'; the model is fr.Sequential",
    "import fastreg.keras": r"^No module named 'fastreg.keras'; the names of fastreg are its own",
}


@pytest.mark.parametrize("statement", IMPORTED)
def test_imports_of_other_names_are_refused_with_the_right_one(statement):
    with pytest.raises(ImportError, match=IMPORTED[statement]):
        exec(statement)
    assert not hasattr(fr, "Linear") and not hasattr(fr.layers, "BatchNormalization")  # no ImportError there


@pytest.mark.parametrize("case", REFUSED)
def test_other_names_are_refused_with_the_right_one(case):
    act, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError, AttributeError, KeyError), match=message) as error:
        act()
    assert "\n" not in str(error.value)


def test_an_error_from_within_a_call_is_not_taken_for_one_of_its_arguments():
    class Own(fr.Callback):
        def __init__(self, value):
            self.value = value + None

    with pytest.raises(TypeError, match="unsupported operand"):
        Own(3)
    with pytest.raises(TypeError, match="Own: got the argument 'valu', expected one of value; the nearest is 'value'"):
        Own(valu=3)


def test_signatures_are_those_of_the_constructors():
    import inspect

    assert list(inspect.signature(fr.SGD).parameters) == ["lr", "momentum", "nesterov", "weight_decay"]
    assert list(inspect.signature(fr.Trainer).parameters)[:3] == ["model", "loss", "optimizer"]
    assert "monitor" in inspect.signature(fr.EarlyStopping).parameters


def test_every_alias_stands_for_a_name_that_exists():
    from fastreg.callbacks.argument import BY_NAME as callbacks
    from fastreg.callbacks.base import HOOKS
    from fastreg.layers.initializers import BY_NAME as initializers
    from fastreg.optimizers.schedules import BY_NAME as schedules

    tables = {
        "loss": fr.losses.BY_NAME,
        "optimizer": fr.optimizers.BY_NAME,
        "activation": fr.layers.ACTIVATIONS,
        "initializer": initializers,
        "layers": fr.layers.BY_NAME,
        "callbacks": callbacks,
        "lr": schedules,
        "engine": ("native", "reference"),
        "hook": HOOKS,
        "Embedding()": inspect.signature(fr.Embedding).parameters,
    }
    for kind, table in tables.items():
        assert set(names.ALIASES[kind].values()) <= set(table), kind
        assert not names.ALIASES[kind].keys() & names.ADVICE.get(kind, {}).keys(), kind


def test_a_function_of_the_epoch_is_a_schedule():
    seen = []

    def rate(epoch):
        seen.append(epoch)
        return 0.5 / (epoch + 1)

    one, other = trainer(optimizer=fr.SGD(rate)), trainer(optimizer=fr.SGD(1.0))
    history = one.fit(X, Y, epochs=3)
    other.fit(X, Y, epochs=3, callbacks=[fr.LRScheduler(rate)])
    assert history["lr"] == [0.5, 0.25, 0.5 / 3] and seen[:3] == [0, 1, 2]
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    assert repr(one.optimizer) == "SGD(lr=Given(rate))"
    with pytest.raises(ValueError, match=r"Given\(<lambda>\) at 0: got -1, expected a finite"):
        trainer(optimizer=fr.SGD(lambda epoch: -1)).fit(X, Y)


def test_files_of_other_formats_are_called_what_they_are(tmp_path):
    path = tmp_path / "m"

    def refused(message):
        with pytest.raises(fr.FileFormatError, match=message) as error:
            fr.load(path)
        assert "\n" not in str(error.value)

    for protocol in range(2, 6):
        path.write_bytes(pickle.dumps({"a": np.arange(3)}, protocol=protocol))
        refused("is a pickle, expected a safetensors file")
    with open(path, "wb") as file:
        np.savez(file, a=np.eye(2))
    refused("is an .npz file of arrays, expected a safetensors file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    refused("is a PyTorch file, expected a safetensors file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
    refused("is a Keras file, expected a safetensors file")
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    refused("is an HDF5 file, as Keras wrote")
    path.write_text("a,b\n1,2\n" * 30)
    refused("is a file of text, expected a safetensors file")


def test_stratify_is_advised_only_where_it_helps():
    with pytest.warns(UserWarning, match="1 of 8 rows: too few for every part$"):
        fr.data.split(np.zeros((8, 1)), [0] * 7 + [1], stratify=True)
    with pytest.warns(UserWarning, match="2 of 40 rows; stratify=True keeps the mix$"):
        fr.data.split(np.zeros((40, 1)), [0] * 38 + [1] * 2, (0.9, 0.1), seed=0)


def test_what_a_model_does_not_have_is_told_where_it_is():
    model = trainer().model
    for name, message in (
        ("fit", r"Sequential.fit: .*fr.Trainer\(model, loss=..., optimizer=...\).fit\(X, y\)"),
        ("compile", r"Sequential.compile: .*a trainer fits a model"),
        ("weights", r"Sequential.weights: .*model.parameters"),
    ):
        with pytest.raises(AttributeError, match=message):
            getattr(model, name)
    with pytest.raises(AttributeError, match=r"Dense.weight: a model keeps .*model.parameters\['0.weight'\]"):
        model.layers[0].weight  # noqa: B018
    assert not hasattr(model, "fit") and not hasattr(model.layers[0], "kernel")


def test_a_trainer_shows_what_users_call():
    shown = {name for name in dir(fr.Trainer) if not name.startswith("_")}
    assert {"fit", "evaluate", "predict", "lr", "l2", "gradients", "reset"} <= shown
    assert not shown & {"session", "run_batch", "evaluate_data", "perturbed", "ARGUMENTS"}
    assert {"callbacks", "layers", "optimizers"} <= set(dir(fr))
