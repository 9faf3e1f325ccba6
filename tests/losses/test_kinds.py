"""Poisson, focal and hinge losses against PyTorch's formulas and scikit-learn, in both engines and dtypes."""

import numpy as np
import pytest

import fastreg as fr

L = fr.losses
DTYPES = ["float32", "float64"]
CLOSE = {"float32": 2e-5, "float64": 1e-12}


def outputs(loss, engine="native", units=5, dtype="float64", **settings) -> fr.Trainer:
    """The outputs are the inputs."""
    trainer = fr.Trainer(fr.Sequential([fr.Dense(units)]), loss, engine=engine, dtype=dtype, **settings)
    trainer.model.build(units, dtype=dtype)
    trainer.model.load_state_dict({"0.weight": np.eye(units), "0.bias": np.zeros(units)})
    return trainer


def judged(loss, engine, dtype, z, t, expected):
    """Value and gradient of `loss` are those of a function of PyTorch tensors that gives the loss of each row."""
    torch = pytest.importorskip("torch")
    logits = torch.tensor(z, requires_grad=True)
    rows = expected(torch, logits)
    rows.sum().backward()
    trainer = outputs(loss, engine, z.shape[1], dtype)
    close = {"rtol": 10 * CLOSE[dtype], "atol": 10 * CLOSE[dtype]}
    np.testing.assert_allclose(trainer.row_losses(z, t), rows.detach().numpy(), **close)
    np.testing.assert_allclose(trainer.input_gradient(z, t), logits.grad.numpy(), **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 5, 16, 37])
def test_poisson_is_torchs(engine, dtype, columns, rng):
    z, t = rng.normal(scale=1.5, size=(9, columns)), rng.poisson(3, (9, columns)).astype(float)

    def expected(torch, logits):
        return torch.nn.PoissonNLLLoss(log_input=True, reduction="none")(logits, torch.tensor(t)).mean(dim=1)

    judged(L.Poisson(), engine, dtype, z, t, expected)
    predicted = outputs("poisson", engine, columns, dtype)
    predicted.model.loss = "poisson"
    np.testing.assert_allclose(predicted.predict(z), np.exp(z), rtol=1e-6)


def test_poisson_is_half_the_deviance_of_scikit_learn_but_for_a_constant(engine, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z, t = rng.normal(size=(2, 40, 1)), rng.poisson(2.0, 40) + 1.0
    trainer = outputs("poisson", engine, 1)
    one, two = (trainer.evaluate(each, t)["loss"] for each in z)
    deviance = [metrics.mean_poisson_deviance(t, np.exp(each[:, 0])) for each in z]
    assert one - two == pytest.approx((deviance[0] - deviance[1]) / 2, rel=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (2.0, None), (0.0, None), (0.5, 0.7), (5.0, 0.5)])
def test_sigmoid_focal_is_torchvisions(engine, dtype, gamma, alpha, rng):
    z, t = rng.normal(scale=4, size=(30, 5)), (rng.random((30, 5)) < 0.4).astype(float)

    def expected(torch, logits):
        """torchvision.ops.sigmoid_focal_loss, by hand."""
        target = torch.tensor(t)
        p = torch.sigmoid(logits)
        cross = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = cross * (1 - (p * target + (1 - p) * (1 - target))) ** gamma
        if alpha is not None:
            loss = loss * (alpha * target + (1 - alpha) * (1 - target))
        return loss.mean(dim=1)

    judged(L.SigmoidFocal(gamma, alpha), engine, dtype, z, t, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("kind", ["labels", "shares", "smoothed", "weighted"])
def test_softmax_focal_is_keras(engine, dtype, gamma, kind, rng):
    z, labels = rng.normal(scale=2, size=(30, 5)), rng.integers(0, 5, 30)
    t = np.eye(5)[labels]
    alpha = (0.5, 1, 2, 0, 3) if kind == "weighted" else None
    smoothing = 0.1 if kind == "smoothed" else 0.0
    if kind == "shares":
        t = rng.random((30, 5))
        t /= t.sum(axis=1, keepdims=True)

    def expected(torch, logits):
        """keras.losses.CategoricalFocalCrossentropy, by hand."""
        target = torch.tensor(t) * (1 - smoothing) + smoothing / 5
        weight = torch.tensor(alpha or (1,) * 5)
        log_p = torch.log_softmax(logits, dim=1)
        return -(weight * target * (1 - log_p.exp()) ** gamma * log_p).sum(dim=1)

    given = t if kind == "shares" else labels
    judged(L.SoftmaxFocal(gamma, alpha, smoothing), engine, dtype, z, given, expected)


@pytest.mark.parametrize("loss", ["sigmoid", "softmax"])
def test_without_gamma_it_is_the_cross_entropy(engine, loss, rng):
    z, t = rng.normal(size=(20, 5)), rng.random((20, 5))
    if loss == "softmax":
        t /= t.sum(axis=1, keepdims=True)
    pairs = {"sigmoid": (L.SigmoidFocal(0), L.SigmoidCrossEntropy()), "softmax": (L.SoftmaxFocal(0), "cross_entropy")}
    one, two = (outputs(each, engine) for each in pairs[loss])
    np.testing.assert_allclose(one.row_losses(z, t), two.row_losses(z, t), rtol=1e-12)
    np.testing.assert_allclose(one.input_gradient(z, t), two.input_gradient(z, t), atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_focal_is_finite_for_any_output(engine, dtype):
    z = np.array([[0.0, -3000, 5], [1000, 0, 0], [-1000, 2000, 1999], [40, 0, -40]])
    for loss, t in ((L.SoftmaxFocal(0.5), [1, 0, 1, 2]), (L.SigmoidFocal(0.5), np.array([[1.0, 0, 1]] * 4))):
        trainer = outputs(loss, engine, 3, dtype)
        assert np.isfinite(trainer.row_losses(z, t)).all() and np.isfinite(trainer.input_gradient(z, t)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("columns", [1, 5, 37])
def test_hinge_by_its_formula(engine, dtype, squared, columns, rng):
    z, sign = rng.normal(scale=2, size=(30, columns)), rng.choice([-1.0, 1.0], (30, columns))

    def expected(torch, logits):
        over = torch.relu(1 - torch.tensor(sign) * logits)
        return (over**2 if squared else over).mean(dim=1)

    for t in (sign, (sign + 1) / 2, sign.astype(int), sign > 0):
        judged(L.Hinge(squared), engine, dtype, z, t, expected)


def test_hinge_is_scikit_learns(engine, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z, t, weight = rng.normal(size=(40, 1)), rng.choice([-1, 1], 40), rng.uniform(0.1, 2, 40)
    found = outputs("hinge", engine, 1).evaluate(z, t, sample_weight=weight)
    assert found["loss"] == pytest.approx(metrics.hinge_loss(t, z[:, 0], sample_weight=weight), rel=1e-12)
    assert found["accuracy"] == pytest.approx(np.average((z[:, 0] > 0) == (t > 0), weights=weight), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("columns", [2, 5, 37])
def test_categorical_hinge_is_scikit_learns(engine, dtype, squared, columns, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z, labels = rng.normal(scale=2, size=(40, columns)), rng.integers(0, columns, 40)
    labels[:columns] = np.arange(min(columns, 40))

    def expected(torch, logits):
        hot = torch.nn.functional.one_hot(torch.tensor(labels), columns)
        other = (logits - 1e9 * hot).max(dim=1).values
        over = torch.relu(1 + other - (logits * hot).sum(dim=1))
        return over**2 if squared else over

    judged(L.CategoricalHinge(squared), engine, dtype, z, labels, expected)
    found = outputs(L.CategoricalHinge(), engine, columns).evaluate(z, np.eye(columns)[labels])
    if columns > 2:  # of two classes scikit-learn takes one column
        assert found["loss"] == pytest.approx(metrics.hinge_loss(labels, z, labels=np.arange(columns)), rel=1e-12)
    assert found["accuracy"] == pytest.approx((z.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("loss", ["hinge", "categorical_hinge", "sigmoid_focal", "softmax_focal"])
def test_classes_by_name_with_metrics_files_and_ensembles(engine, loss, rng, tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    X = rng.normal(size=(200, 3))
    y = np.where(X[:, 0] + 0.3 * rng.normal(size=200) > 0, "up", "down")
    units = 1 if loss in ("hinge", "sigmoid_focal") else 2
    trainer = fr.Trainer(
        *(fr.Sequential([fr.Dense(units)]), loss, fr.SGD(0.3)),
        metrics=("accuracy", "balanced_accuracy", "f1"),
        engine=engine,
    )
    trainer.fit(X, y, epochs=20, class_weight="balanced", validation_data=(X, y))
    found, named = trainer.evaluate(X, y), trainer.model.predict_labels(X)
    assert found["accuracy"] == pytest.approx((named == y).mean()) and found["accuracy"] > 0.85
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, named))
    assert found["f1"] == pytest.approx(metrics.f1_score(y, named, pos_label="up"))
    path = tmp_path / "m.safetensors"
    trainer.model.save(path)
    loaded = fr.load(path)
    assert loaded.loss == trainer.loss
    np.testing.assert_allclose(loaded.predict(X), trainer.predict(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(loaded.predict_labels(X), named)
    if loss.endswith("hinge"):
        z = X @ trainer.model.state_dict()["0.weight"] + trainer.model.state_dict()["0.bias"]
        np.testing.assert_allclose(trainer.predict(X), z, rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match=f"metrics: got 'roc_auc' under {loss}, expected some of accuracy"):
            fr.Trainer(trainer.model, metrics="roc_auc").evaluate(X, y)
    for combine in ("mean", "vote"):

        def member(seed):
            return fr.Trainer(fr.Sequential([fr.Dense(units)]), loss, fr.SGD(0.3), seed=seed)

        bagging = fr.Bagging(member, 3, combine=combine)
        codes = (y == "up").astype(int)
        bagging.fit(X, codes, epochs=20)
        said = bagging.predict(X)
        threshold = 0.0 if (loss, combine) == ("hinge", "mean") else 0.5
        chosen = said.argmax(axis=1) if units == 2 else said[:, 0] > threshold
        assert bagging.score(X, codes) == pytest.approx((chosen == codes).mean())
        assert bagging.score(X, codes) > 0.85


def test_schemas_know_the_new_losses(rng):
    X, y = rng.normal(size=(60, 3)), rng.integers(0, 9, 60) / 2
    schema = fr.data.infer_schema(X, y, loss="poisson")
    assert schema.target.task == "numbers" and schema.target.scale is None
    model = fr.Sequential([schema, fr.Dense(1)])
    trainer = fr.Trainer(model)
    trainer.fit(X, y, epochs=2)
    assert trainer.loss == L.Poisson() and (model.predict(X) > 0).all()
    with pytest.raises(ValueError, match="the model predicts numbers"):
        model.predict_labels(X)
    assert fr.data.infer_schema(X, ["a", "b"] * 30, loss="hinge").outputs == 1
    assert fr.data.infer_schema(X, ["a", "b"] * 30, loss="softmax_focal").outputs == 2
    scaled = fr.Sequential([fr.data.infer_schema(X, y, task="numbers"), fr.Dense(1)])
    with pytest.raises(ValueError, match=r"loss: got 'poisson' for scaled targets, expected targets as they are"):
        fr.Trainer(scaled, "poisson").fit(X, y)


def test_wrong_targets_and_arguments(rng):
    X = rng.normal(size=(4, 2))

    def fit(loss, y, units=1):
        fr.Trainer(fr.Sequential([fr.Dense(units)]), loss).fit(X, y)

    for loss, y, units, message in (
        ("poisson", [1, 2, -1, 0], 1, "y: got -1 in row 2, expected numbers of at least 0"),
        ("hinge", [1, 2, -1, 0], 1, "y: got values from -1 to 2, expected 0 to 1, or -1 and 1 alone"),
        ("categorical_hinge", [0, 1, 2, 0], 2, "y: got labels from 0 to 2, expected 0 to 1"),
        ("categorical_hinge", [[0.5, 0.5]] * 4, 2, "y: row 0 is not one-hot"),
        (L.SoftmaxFocal(alpha=(1, 2)), [0, 1, 2, 0], 3, "alpha: got 2 numbers, expected 3"),
        ("sigmoid_focal", [1, -1, 1, 1], 1, r"expected 0 to 1; \(y \+ 1\) / 2 makes 0 and 1 of -1 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(loss, y, units)
    for make, message in (
        (lambda: L.SigmoidFocal(-1), "gamma: got -1, expected a finite number of"),
        (lambda: L.SigmoidFocal(alpha=1), "alpha: got 1, expected a finite number"),
        (lambda: L.SoftmaxFocal(alpha=(0, 0)), "alpha: got .*, expected at least one weight above 0"),
        (lambda: L.get("focal"), "use 'softmax_focal' for one of several classes, 'sigmoid_focal' for yes or no"),
        (lambda: L.get("squared_hinge"), r"use 'hinge\(squared=True\)'"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    assert L.get("PoissonNLLLoss") == L.Poisson() and L.get("hinge(squared=True)") == L.Hinge(True)
    with pytest.raises(ValueError, match="got 'relu' in the last Dense under poisson, expected no activation"):
        fr.Trainer(fr.Sequential([fr.Dense(1, "relu")]), "poisson").fit(X, [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("loss", "other"),
    [
        ("hinge", "categorical_hinge"),
        ("sigmoid_focal", "softmax_focal"),
        ("sigmoid_cross_entropy", "softmax_cross_entropy"),
    ],
)
def test_classes_for_a_loss_of_yes_or_no_name_the_other_loss(loss, other):
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), loss=loss)
    with pytest.raises(ValueError, match=rf"expected \(6, 3\); one class per row needs loss='{other}'"):
        trainer.fit(np.ones((6, 2)), np.arange(6) % 3)
