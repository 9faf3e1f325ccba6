"""Label smoothing: PyTorch's formula in both cross-entropies, from integers and from one-hot rows; part of what is
evaluated, of the settings and of checkpoints."""

import numpy as np
import pytest

import fastreg as fr

SOFTMAX, SIGMOID = fr.losses.SoftmaxCrossEntropy, fr.losses.SigmoidCrossEntropy


def outputs(loss, engine, dtype="float64", **settings) -> fr.Trainer:
    """The logits are the inputs."""
    trainer = fr.Trainer(fr.Sequential([fr.Dense(5)]), loss, engine=engine, dtype=dtype, **settings)
    trainer.model.build(5, dtype=dtype)
    trainer.model.parameters["0.weight"][...] = np.eye(5)
    return trainer


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("columns", [1, 2, 10, 16, 37])
def test_both_losses_are_torchs(smoothing, columns, rng):
    torch = pytest.importorskip("torch")
    z = rng.normal(scale=3, size=(9, columns))
    labels, targets = rng.integers(0, columns, 9), rng.random((9, columns))
    for module in (fr.kernels, fr.reference):
        logits = torch.tensor(z, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), label_smoothing=smoothing)
        loss.backward()
        value, gradient = module.softmax_cross_entropy(z, labels, label_smoothing=smoothing)
        assert value == pytest.approx(loss.item(), rel=1e-12, abs=1e-15)
        np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-12, atol=1e-15)

        logits = torch.tensor(z, requires_grad=True)
        smoothed = torch.tensor(targets * (1 - smoothing) + smoothing / 2)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, smoothed)
        loss.backward()
        value, gradient = module.sigmoid_cross_entropy(z, targets, label_smoothing=smoothing)
        assert value == pytest.approx(loss.item(), rel=1e-12)
        np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_integers_and_one_hot_rows_are_the_same(engine, dtype, rng):
    X, y = rng.normal(size=(40, 5)), rng.integers(0, 5, 40)
    trainer = outputs(SOFTMAX(0.2), engine, dtype)
    losses = [trainer.row_losses(X, labels) for labels in (y, np.eye(5)[y])]
    np.testing.assert_array_equal(*losses)
    log_p = X - np.log(np.exp(X).sum(axis=1, keepdims=True))
    expected = -(0.8 * np.eye(5)[y] + 0.04) * log_p
    np.testing.assert_allclose(losses[0], expected.sum(axis=1), rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID])
def test_it_is_part_of_the_evaluation_but_not_of_the_accuracy(engine, loss, rng):
    X = rng.normal(size=(40, 5))
    y = rng.integers(0, 5, 40) if loss is SOFTMAX else rng.random((40, 5))
    plain, smoothed = (outputs(loss(e), engine).evaluate(X, y) for e in (0.0, 0.3))
    assert smoothed["accuracy"] == plain["accuracy"] and smoothed["loss"] != plain["loss"]
    assert smoothed["loss"] == pytest.approx(outputs(loss(0.3), engine).objective(X, y))


@pytest.mark.parametrize("loss", [SOFTMAX(0.1), SIGMOID(0.4)])
def test_gradients(engine, loss, rng):
    X = rng.normal(size=(30, 5))
    y = rng.integers(0, 3, 30) if loss.name.startswith("soft") else rng.random((30, 3))
    layers = [fr.Dense(7, "tanh"), fr.Dropout(rate=0.3), fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential(layers), loss, engine=engine, l2=0.01)
    trainer.fit(X, y)
    assert fr.check_gradients(trainer, X, y, rng.uniform(0.5, 2, 30), step=3).ok


def test_the_optimum_has_bounded_logits(rng):
    """With one constant input the best probabilities are the smoothed frequencies."""
    y = np.repeat([0, 1, 2], [60, 30, 10])
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), SOFTMAX(0.3), fr.SGD(1.0), dtype="float64")
    trainer.fit(np.ones((100, 1)), y, epochs=300, batch_size=100)
    p = trainer.predict(np.ones((1, 1)))[0]
    np.testing.assert_allclose(p, 0.7 * np.array([0.6, 0.3, 0.1]) + 0.1, atol=1e-9)


def test_settings_and_checkpoints_hold_it(tmp_path, blobs):
    X, y = blobs
    path = tmp_path / "run.safetensors"
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), SOFTMAX(0.1))
    assert trainer.copy().loss == SOFTMAX(label_smoothing=0.1) != SOFTMAX()
    trainer.fit(X, y, callbacks=[fr.Checkpoint(path)])
    with pytest.raises(ValueError, match="loss: got SoftmaxCrossEntropy"):
        fr.Trainer(fr.Sequential([fr.Dense(3)]), SOFTMAX(0.2)).fit(X, y, epochs=2, resume=path)
    trainer.fit(X, y)
    resumed = fr.Trainer(fr.Sequential([fr.Dense(3)]), SOFTMAX(0.1))
    resumed.fit(X, y, epochs=2, callbacks=[fr.Checkpoint(path)], resume=path)
    np.testing.assert_array_equal(resumed.model.parameters["0.weight"], trainer.model.parameters["0.weight"])
