"""The loss that a model keeps: making a trainer changes nothing, and a file tells what its model was trained under."""

import json

import numpy as np
import pytest

import fastreg as fr
from fastreg.model.files import write_tensors
from fastreg.model.model import MODEL_KEY

X = np.random.default_rng(0).normal(size=(60, 4))
LABELS = np.arange(60) % 3
TARGETS = {
    "softmax_cross_entropy": LABELS,
    "sigmoid_cross_entropy": np.eye(3)[LABELS],
    "mse": X[:, :3] * 2 + 1,
}


def fitted(loss, **settings):
    model = fr.Sequential([fr.Dropout(rate=0.2), fr.Dense(6, "relu"), fr.Dense(3)])
    trainer = fr.Trainer(model, loss, **settings)
    trainer.fit(X, TARGETS[loss], epochs=2)
    return trainer


def as_older(model, path):
    """A file of a version that kept no loss."""
    metadata = model.metadata()
    config = json.loads(metadata[MODEL_KEY])
    config.pop("loss", None)
    write_tensors(path, model.parameters, {**metadata, MODEL_KEY: json.dumps(config)})
    return fr.load(path)


@pytest.mark.parametrize("loss", TARGETS)
def test_a_trainer_of_a_loaded_model_changes_nothing_and_takes_its_loss(tmp_path, loss):
    first = fitted(loss)
    first.model.save(tmp_path / "m")
    model = fr.load(tmp_path / "m")
    before = model.predict(X)
    trainer = fr.Trainer(model)
    assert trainer.loss == first.loss == model.loss
    np.testing.assert_array_equal(model.predict(X), before)
    np.testing.assert_array_equal(trainer.predict(X), before)
    assert trainer.evaluate(X, TARGETS[loss]) == first.evaluate(X, TARGETS[loss])
    model.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()
    trainer.fit(X, TARGETS[loss])
    assert model.loss == first.loss


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_model_evaluates_as_its_trainer_did(tmp_path, loss, dtype):
    trainer = fitted(loss, dtype=dtype)
    trainer.model.save(tmp_path / "m")
    model, weights = fr.load(tmp_path / "m"), np.arange(60.0)
    for engine in ("native", "reference"):
        model.engine = trainer.engine = engine
        assert model.evaluate(X, TARGETS[loss]) == trainer.evaluate(X, TARGETS[loss])
        assert model.evaluate(X, TARGETS[loss], weights) == trainer.evaluate(X, TARGETS[loss], weights)
    model.loss = fr.losses.mse
    assert model.output_transform == "linear"
    expected = np.mean((model.predict(X) - TARGETS["mse"]) ** 2)
    np.testing.assert_allclose(model.evaluate(X, TARGETS["mse"])["loss"], expected, rtol=1e-5)


def test_options_of_the_loss_are_kept(tmp_path):
    model = fr.Sequential([fr.Dense(3)])
    loss = fr.losses.SoftmaxCrossEntropy(label_smoothing=0.3)
    trainer = fr.Trainer(model, loss)
    trainer.fit(X, LABELS)
    model.save(tmp_path / "m")
    assert fr.load(tmp_path / "m").loss == loss == model.copy().loss
    assert fr.load(tmp_path / "m").evaluate(X, LABELS) == trainer.evaluate(X, LABELS)


def test_a_model_keeps_a_loss_from_the_first_fit_on():
    model = fr.Sequential([fr.Dense(3)])
    model.build(4)
    before = model.predict(X)
    trainer = fr.Trainer(model)
    np.testing.assert_array_equal(model.predict(X), before)
    trainer.evaluate(X, LABELS)
    assert model.loss is None and "loss" not in model.config()
    np.testing.assert_array_equal(model.predict(X), before)
    trainer.fit(X, LABELS)
    assert model.loss == fr.losses.softmax_cross_entropy
    np.testing.assert_allclose(model.predict(X).sum(axis=1), 1, rtol=1e-5)
    model.build(4)
    assert model.loss is None and model.output_transform == "linear"


def test_a_contradiction_is_refused_and_how_to_go_on_works():
    trainer = fitted("mse")
    model, before = trainer.model, trainer.model.predict(X)
    message = r"loss: got 'softmax_cross_entropy', which predicts probabilities of classes, .* trained under 'mse'"
    with pytest.raises(ValueError, match=message) as error:
        fr.Trainer(model, "softmax_cross_entropy")
    assert "\n" not in str(error.value) and "model.loss = None" in str(error.value)
    trainer.loss = "softmax_cross_entropy"
    for ask in (trainer.fit, trainer.evaluate, trainer.gradients):
        with pytest.raises(ValueError, match=message):
            ask(X, LABELS)
    np.testing.assert_array_equal(model.predict(X), before)
    model.loss = None
    trainer.fit(X, LABELS)
    assert model.loss == trainer.loss


def test_a_loss_of_the_same_predictions_is_fine():
    trainer = fitted("softmax_cross_entropy")
    smooth = fr.losses.SoftmaxCrossEntropy(label_smoothing=0.1)
    other = fr.Trainer(trainer.model, smooth)
    assert trainer.model.loss == trainer.loss  # until the other one trains
    other.fit(X, LABELS)
    assert trainer.model.loss == smooth


def test_older_files(tmp_path):
    """The transform tells the loss where it can. A model of values says what it needs."""
    for loss in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        trainer = fitted(loss)
        model = as_older(trainer.model, tmp_path / "m")
        assert model.loss is None and fr.Trainer(model).loss.name == loss
        assert model.evaluate(X, TARGETS[loss]) == trainer.evaluate(X, TARGETS[loss])
    trainer = fitted("mse")
    model = as_older(trainer.model, tmp_path / "m")
    for ask, message in (
        (lambda: fr.Trainer(model), r"loss: got none, and the model keeps no loss, .*, expected loss='mse' or another"),
        (lambda: model.evaluate(X, TARGETS["mse"]), r"evaluate: the model keeps no loss, .*, expected model.loss = "),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
    assert fr.Trainer(model, "mse").evaluate(X, TARGETS["mse"]) == trainer.evaluate(X, TARGETS["mse"])
    model.loss = "mse"
    assert model.evaluate(X, TARGETS["mse"]) == trainer.evaluate(X, TARGETS["mse"])


@pytest.mark.parametrize(
    "loss",
    [
        {"type": "Dense", "units": 3},
        {"type": "MSE", "extra": 1},
        {"type": 3},
        "mse",
        {"type": "Custom", "name": 3},
        {"type": "Custom", "name": "a", "transform": "cube"},
        {"type": "Custom", "name": "a", "targets": []},
    ],
)
def test_a_strange_loss_in_a_file(tmp_path, loss):
    model = fitted("mse").model
    config = {**model.config(), "loss": loss}
    write_tensors(tmp_path / "m", model.parameters, {**model.metadata(), MODEL_KEY: json.dumps(config)})
    with pytest.raises(fr.FileFormatError, match="the model in it cannot be made") as error:
        fr.load(tmp_path / "m")
    assert "\n" not in str(error.value)


def test_a_loss_of_a_users_own_class_is_kept_by_name(tmp_path):
    class Own(fr.losses.Custom, saved=False):
        pass

    loss = Own(lambda y, t: (((y - t) ** 2).mean(axis=1), 2 * (y - t) / y.shape[1]), name="own")
    model = fr.Sequential([fr.Dense(3)])
    fr.Trainer(model, loss).fit(X, TARGETS["mse"])
    model.save(tmp_path / "m")
    assert fr.load(tmp_path / "m").loss.name == "own"
    again = fr.load(tmp_path / "m", custom={"own": loss})
    expected = np.mean((model.predict(X) - TARGETS["mse"]) ** 2)
    np.testing.assert_allclose(again.evaluate(X, TARGETS["mse"])["loss"], expected, rtol=1e-5)


def test_loaded_models_are_refused_what_is_not_a_dict(tmp_path):
    fitted("mse").model.save(tmp_path / "m")
    with pytest.raises(TypeError, match=r"custom: got \[1\], expected a dict of names"):
        fr.load(tmp_path / "m", custom=[1])


def test_the_loss_of_scaled_targets_is_told_in_their_units(tmp_path):
    y = 300 + 50 * X[:, :1]
    model = fr.Sequential([fr.Dense(1), fr.data.TargetScaler().fit(y)])
    trainer = fr.Trainer(model, "mse")
    trainer.fit(X, y, epochs=3)
    model.save(tmp_path / "m")
    loaded = fr.load(tmp_path / "m")
    squared = np.mean((loaded.predict(X).astype(np.float64) - y) ** 2)
    assert loaded.evaluate(X, y)["loss"] == pytest.approx(squared, rel=1e-4)
    assert loaded.evaluate(X, y) == trainer.evaluate(X, y)
