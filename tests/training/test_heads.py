"""Trainings of models with several inputs and heads."""

import pickle

import numpy as np
import pytest

import fastreg as fr

torch = pytest.importorskip("torch")

ROWS = 60
RNG = np.random.default_rng(5)
LEFT, RIGHT = RNG.normal(size=(ROWS, 6)).astype("f4"), RNG.normal(size=(ROWS, 2, 3))
KIND, SIZE = RNG.integers(0, 3, ROWS), RNG.normal(size=(ROWS, 2)) + LEFT[:, :2]
ODD = (LEFT[:, 0] + RIGHT[:, 0, 0] > 0).astype(int)
X = {"left": LEFT, "right": RIGHT}
Y = {"kind": KIND, "size": SIZE, "odd": ODD}
LOSS = {"kind": "softmax_cross_entropy", "size": "mse", "odd": "sigmoid_cross_entropy"}
WEIGHT = {"kind": 1.0, "size": 0.3, "odd": 2.0}
SAMPLES = {"kind": RNG.integers(0, 3, ROWS).astype(float), "odd": RNG.random(ROWS)}


def new_model() -> fr.Model:
    left, right = fr.Input(6, name="left"), fr.Input((2, 3), name="right")
    both = fr.Concatenate(name="both")([fr.Dense(8, "tanh", name="a")(left), fr.Flatten(name="flat")(right)])
    h = fr.Dense(9, "gelu", name="h")(both)
    outputs = {"kind": 3, "size": 2, "odd": 1}
    return fr.Model([left, right], {name: fr.Dense(units, name=name)(h) for name, units in outputs.items()})


def new_trainer(**settings) -> fr.Trainer:
    return fr.Trainer(new_model(), **({"loss": LOSS, "loss_weights": WEIGHT, "dtype": "float64", "seed": 2} | settings))


def torch_loss(params, rows, weights=WEIGHT, samples=SAMPLES):
    """The objective, and the loss of each head."""
    left, right = torch.tensor(LEFT[rows].astype("f8")), torch.tensor(RIGHT[rows].reshape(len(rows), -1))

    def dense(x, name):
        return x @ params[f"{name}.weight"] + params[f"{name}.bias"]

    h = torch.nn.functional.gelu(dense(torch.cat([torch.tanh(dense(left, "a")), right], 1), "h"))
    F = torch.nn.functional
    found = {
        "kind": F.cross_entropy(dense(h, "kind"), torch.tensor(KIND[rows]), reduction="none"),
        "size": F.mse_loss(dense(h, "size"), torch.tensor(SIZE[rows]), reduction="none").mean(1),
        "odd": F.binary_cross_entropy_with_logits(
            dense(h, "odd")[:, 0], torch.tensor(ODD[rows].astype("f8")), reduction="none"
        ),
    }
    losses = {}
    for name, own in found.items():
        w = torch.tensor(samples[name][rows]) if name in samples else torch.ones(len(rows))
        losses[name] = (w * own).sum() / w.sum() if w.sum() else (0 * own).sum()
    return sum(weights[name] * loss for name, loss in losses.items()), losses


def as_torch(model):
    return {name: torch.tensor(np.array(v, "f8"), requires_grad=True) for name, v in model.parameters.items()}


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 2e-5), ("float64", 1e-11)])
def test_gradients_and_objective_are_those_of_pytorch(engine, dtype, limit):
    trainer = new_trainer(engine=engine, dtype=dtype)
    trainer.model.build(dtype=dtype)
    params = as_torch(trainer.model)
    expected, _ = torch_loss(params, np.arange(ROWS))
    expected.backward()
    for name, gradient in trainer.gradients(X, Y, SAMPLES).items():
        wanted = params[name].grad.numpy()
        assert np.abs(gradient - wanted).max() <= limit * max(np.abs(wanted).max(), 1e-3), name
    assert trainer.objective(X, Y, SAMPLES) == pytest.approx(expected.item(), rel=limit)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_ten_steps_and_the_history_are_those_of_pytorch(engine):
    trainer = new_trainer(engine=engine, optimizer=fr.SGD(0.05, momentum=0.9))
    trainer.model.build(dtype="float64")
    params = as_torch(trainer.model)
    optimizer = torch.optim.SGD(params.values(), lr=0.05, momentum=0.9)
    history = trainer.fit(X, Y, epochs=5, batch_size=30, shuffle=False, sample_weight=SAMPLES)
    for epoch in range(5):
        sums, weights = dict.fromkeys(LOSS, 0.0), dict.fromkeys(LOSS, 0.0)
        for rows in (np.arange(30), np.arange(30, 60)):
            optimizer.zero_grad()
            objective, losses = torch_loss(params, rows)
            objective.backward()
            optimizer.step()
            for name, loss in losses.items():
                own = SAMPLES[name][rows].sum() if name in SAMPLES else len(rows)
                sums[name], weights[name] = sums[name] + own * loss.item(), weights[name] + own
        means = {name: sums[name] / weights[name] for name in LOSS}
        for name, mean in means.items():
            assert history[f"{name}_loss"][epoch] == pytest.approx(mean, rel=1e-10)
        assert history["loss"][epoch] == pytest.approx(sum(WEIGHT[n] * m for n, m in means.items()), rel=1e-10)
    for name, value in trainer.model.parameters.items():
        np.testing.assert_allclose(value, params[name].detach().numpy(), rtol=0, atol=1e-10)
    expected, losses = torch_loss(params, np.arange(ROWS))
    found = trainer.evaluate(X, Y, SAMPLES)
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-10)
    assert found["odd_loss"] == pytest.approx(losses["odd"].item(), rel=1e-10)
    trainer.model.engine = engine
    assert trainer.model.evaluate(X, Y, SAMPLES) == found


def bits(trainer) -> bytes:
    return b"".join(v.tobytes() for v in (trainer.model.state_dict() | trainer.optimizer_state).values())


def fitted(epochs=3, fit=None, **settings) -> fr.Trainer:
    trainer = new_trainer(dtype="float32", optimizer="adam", **settings)
    trainer.fit(X, Y, epochs=epochs, batch_size=7, sample_weight=SAMPLES, **(fit or {}))
    return trainer


def test_the_same_bits_for_any_number_of_threads():
    expected = bits(fitted(threads=1))
    for threads in (2, 3, 7):
        assert bits(fitted(threads=threads)) == expected


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_resumed_fit_ends_with_the_same_bits(engine, tmp_path):
    path = tmp_path / "run.safetensors"
    whole = fitted(4, engine=engine)
    fitted(2, {"callbacks": [fr.Checkpoint(path)]}, engine=engine)
    resumed = fitted(4, {"resume": path}, engine=engine)
    assert bits(resumed) == bits(whole)
    assert resumed.history["odd_loss"] == whole.history["odd_loss"]
    with pytest.raises(ValueError, match="resume: loss_weights: got None, expected kind=1"):
        fitted(5, {"resume": path}, engine=engine, loss_weights=None)


def test_a_file_keeps_losses_weights_and_classes_of_each_head(tmp_path):
    names = np.array(["cat", "dog", "owl"])[KIND]
    trainer = new_trainer(dtype="float32")
    trainer.fit(X, Y | {"kind": names}, epochs=2)
    trainer.model.save(tmp_path / "model.safetensors")
    loaded = fr.load(tmp_path / "model.safetensors")
    for model in (loaded, pickle.loads(pickle.dumps(trainer.model)), trainer.model.copy()):
        assert model.loss == {name: fr.losses.get(loss) for name, loss in LOSS.items()}
        assert model.loss_weights == WEIGHT
        assert model.classes == {"kind": ("cat", "dog", "owl"), "size": None, "odd": None}
        assert model.evaluate(X, Y | {"kind": names}) == trainer.evaluate(X, Y | {"kind": names})
        labels = model.predict_labels(X)
        predicted = model.predict(X)
        assert list(labels) == ["kind", "odd"]
        assert labels["kind"].tolist() == [["cat", "dog", "owl"][i] for i in predicted["kind"].argmax(axis=1)]
        assert [p.shape for p in predicted.values()] == [(ROWS, 3), (ROWS, 2), (ROWS, 1)]
        assert list(fr.Trainer(model).loss) == list(LOSS)


def test_metrics_by_head_and_the_columns_of_the_history():
    metrics = {"kind": ["accuracy", "f1_macro"], "size": ["r2"]}
    trainer = new_trainer(metrics=metrics)
    history = trainer.fit(X, Y, epochs=2, validation_data=(X, Y, SAMPLES))
    trained = ["loss", "kind_loss", "kind_accuracy", "size_loss", "odd_loss", "penalty", "seconds", "lr"]
    measured = ["loss", "kind_loss", "kind_accuracy", "kind_f1_macro", "size_loss", "size_r2", "odd_loss"]
    assert list(history) == trained + [f"val_{name}" for name in measured]
    found = trainer.evaluate(X, Y, SAMPLES)
    assert list(found) == measured
    predicted = trainer.predict(X)
    assert found["size_r2"] == pytest.approx(fr.metrics.r2(SIZE, predicted["size"]))
    assert found["kind_f1_macro"] == pytest.approx(
        fr.metrics.f1(KIND, predicted["kind"], SAMPLES["kind"], average="macro")
    )
    assert new_trainer(metrics=["accuracy", "r2"]).metric_names == (
        *("kind_loss", "kind_accuracy", "size_loss", "size_r2", "odd_loss", "odd_accuracy"),
    )
    with pytest.raises(ValueError, match="metrics: got 'mape', which fits the loss of no head"):
        fr.Trainer(new_model(), loss=dict.fromkeys(LOSS, "sigmoid_cross_entropy"), metrics=["mape"])


def test_callbacks_watch_the_values_of_a_head():
    stop = fr.EarlyStopping("val_kind_accuracy", patience=1)
    reduce = fr.ReduceOnPlateau("size_loss", patience=1)
    trainer = new_trainer()
    history = trainer.fit(X, Y, epochs=30, validation_split=0.2, callbacks=[stop, reduce])
    assert len(history.epochs) < 30 and stop.best == max(history["val_kind_accuracy"])


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_rows_of_weight_0_need_no_target(engine):
    few = np.arange(ROWS) % 5 == 0
    kind, size = np.where(few, KIND, -1), np.where(few[:, None], SIZE, np.nan)
    hidden = {"kind": np.where(few, KIND, 0), "size": np.where(few[:, None], SIZE, 7.0), "odd": ODD}
    results = []
    for y in (hidden, {"kind": kind, "size": size, "odd": ODD}):
        trainer = new_trainer(engine=engine)
        trainer.fit(X, y, epochs=2, batch_size=4, sample_weight={"kind": few, "size": few})
        results.append(trainer.model.state_dict())
    missing = new_trainer(engine=engine, missing_targets={"kind": True, "size": True})
    missing.fit(X, {"kind": kind, "size": size, "odd": ODD}, epochs=2, batch_size=4)
    results.append(missing.model.state_dict())
    for name, value in results[0].items():
        assert all(np.array_equal(value, other[name]) for other in results)


def test_a_head_without_any_target_is_left_alone():
    trainer = new_trainer()
    trainer.model.build(dtype="float64")
    before = trainer.model.state_dict()
    history = trainer.fit(X, Y | {"kind": None}, epochs=2)
    after = trainer.model.state_dict()
    assert np.isnan(history["kind_loss"]).all() and np.isfinite(history["loss"]).all()
    assert np.array_equal(before["kind.weight"], after["kind.weight"])
    assert not np.array_equal(before["h.weight"], after["h.weight"])
    found = trainer.evaluate(X, Y | {"kind": None})
    assert np.isnan(found["kind_loss"]) and np.isnan(found["kind_accuracy"]) and np.isfinite(found["loss"])


def test_class_weights_by_head_are_sample_weights():
    results = []
    for given in (
        {"class_weight": {"kind": {0: 2.0}, "odd": {1: 0.5}}},
        {"sample_weight": {"kind": np.where(KIND == 0, 2.0, 1), "odd": np.where(ODD == 1, 0.5, 1)}},
    ):
        trainer = new_trainer()
        trainer.fit(X, Y, epochs=2, **given)
        results.append(trainer.model.state_dict())
    assert all(np.array_equal(value, results[1][name]) for name, value in results[0].items())


def test_the_rows_of_a_fit_and_one_array_of_weights():
    rows, weight = np.array([3, 3, 7, 1, 40]), RNG.random(ROWS)
    chosen, whole = new_trainer(), new_trainer()
    chosen.fit(X, Y, epochs=2, batch_size=2, rows=rows, sample_weight=weight)
    X_part, y_part = ({name: value[rows] for name, value in some.items()} for some in (X, Y))
    whole.fit([X_part["left"], X_part["right"]], y_part, epochs=2, batch_size=2, sample_weight=weight[rows])
    for name, value in chosen.model.state_dict().items():
        assert np.array_equal(value, whole.model.parameters[name])


def test_checks_and_questions():
    trainer = new_trainer(l2=0.01)
    assert fr.check_gradients(trainer, X, Y, SAMPLES, max_entries=10).ok
    assert fr.compare_engines(trainer, X, Y, SAMPLES).ok
    assert "loss" in str(fr.profile(trainer, X, Y, SAMPLES, repeats=1, seconds=1e-4))
    losses = trainer.row_losses(X, Y)
    params = as_torch(trainer.model)
    _, expected = torch_loss(params, np.arange(ROWS), samples={})
    assert {name: own.mean() for name, own in losses.items()} == pytest.approx(
        {name: loss.item() for name, loss in expected.items()}
    )
    inputs = trainer.input_gradient(X, Y)
    assert inputs["left"].shape == LEFT.shape and inputs["right"].shape == RIGHT.shape
    moved = {name: value.astype("f8") for name, value in X.items()}
    moved["right"][4, 1, 2] += 1e-6

    def objective(given):
        return sum(WEIGHT[name] * own[4] for name, own in trainer.row_losses(given, Y).items())

    assert inputs["right"][4, 1, 2] == pytest.approx((objective(moved) - objective(X)) / 1e-6, rel=1e-3)
    mean, std = trainer.predict(X, samples=3)
    assert list(mean) == list(LOSS) and not any(s.any() for s in std.values())


def test_one_head_may_be_named_and_weighed():
    x = fr.Input(6, name="left")
    results = []
    for named in (False, True):
        model = fr.Model(x, {"kind": fr.Dense(3, name="kind")(x)})
        loss = {"kind": LOSS["kind"]} if named else LOSS["kind"]
        trainer = fr.Trainer(
            model, loss=loss, loss_weights={"kind": 0.5}, metrics={"kind": ["accuracy"]} if named else ["acc"]
        )
        y = {"kind": KIND} if named else KIND
        weight = {"kind": SAMPLES["kind"]} if named else SAMPLES["kind"]
        history = trainer.fit({"left": LEFT} if named else LEFT, y, sample_weight=weight, epochs=2)
        assert trainer.loss == fr.losses.softmax_cross_entropy and isinstance(trainer.predict(LEFT), np.ndarray)
        results.append((history["loss"], trainer.model.state_dict()["kind.weight"].tolist()))
    assert results[0] == results[1]
    plain = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    loss = plain.fit(LEFT, KIND, sample_weight=SAMPLES["kind"], epochs=1)["loss"][0]
    assert results[0][0][0] == pytest.approx(loss / 2)


def test_activity_penalties_count_all_rows_alike():
    x = fr.Input(6)
    h = fr.Dense(4, "tanh", activity_l1=0.1, name="h")(x)
    model = fr.Model(x, {"kind": fr.Dense(3, name="kind")(h), "odd": fr.Dense(1, name="odd")(h)})
    trainer = fr.Trainer(model, loss={"kind": LOSS["kind"], "odd": LOSS["odd"]}, dtype="float64")
    y = {"kind": KIND, "odd": ODD}
    assert fr.check_gradients(trainer, LEFT, y, SAMPLES, max_entries=10).ok
    p = (model.build(6, dtype="float64"), model.parameters)[1]
    activity = 0.1 * np.abs(np.tanh(LEFT @ p["h.weight"] + p["h.bias"])).sum() / ROWS
    losses = trainer.evaluate(LEFT, y, SAMPLES)["loss"]
    assert trainer.objective(LEFT, y, SAMPLES) == pytest.approx(losses + activity)


def refused(call, text: str, kinds=(ValueError, TypeError)) -> None:
    with pytest.raises(kinds) as found:
        call()
    assert text in str(found.value) and "\n" not in str(found.value), str(found.value)


def test_what_does_not_fit_is_refused():
    def fit(X=X, y=Y, fit=None, **settings):
        return lambda: new_trainer(**settings).fit(X, y, **(fit or {}))

    refused(fit(loss={"kind": "mse"}), "loss: got nothing for the head 'size', expected a value for each of")
    refused(fit(loss=LOSS | {"sise": "mse"}), "loss: got the head 'sise', expected one of 'kind', 'size', 'odd'")
    refused(fit(loss=LOSS | {"size": "mze"}), "loss['size']: got 'mze'")
    refused(fit(loss=None), "loss: got none for a model of several heads")
    refused(fit(loss_weights={"size": -1}), "loss_weights['size']: got -1")
    refused(fit(loss_weights=[1, 2]), "loss_weights: got [1, 2], expected a dict")
    refused(fit(loss_weights=dict.fromkeys(LOSS, 0)), "loss_weights: got zeros only")
    refused(fit(metrics={"size": ["accuracy"]}), "metrics['size']: got 'accuracy' under mse")
    refused(fit(metrics={"size": ["acuracy"]}), "metrics['size']: got 'acuracy'")
    refused(fit(y=KIND), "expected a dict with the targets of each head: 'kind', 'size', 'odd'")
    refused(fit(y={"kind": KIND, "size": SIZE}), "y: got nothing for the head 'odd'")
    refused(fit(y=Y | {"od": ODD}), "y: got the head 'od'")
    refused(fit(y=dict.fromkeys(Y)), "y: got None for all heads")
    refused(fit(y=Y | {"kind": KIND + 1}), "y['kind']: got labels from 1 to 3")
    refused(fit(y=Y | {"size": LEFT}), "y['size']: got shape (60, 6), expected (60, 2)")
    refused(fit(fit={"sample_weight": {"size": np.ones(59)}}), "sample_weight['size']: got shape (59,)")
    refused(fit(fit={"sample_weight": np.zeros(ROWS)}), "sample_weight: got zeros only in all heads")
    refused(fit(fit={"class_weight": "balanced"}), "class_weight: got 'balanced', expected a dict by head")
    refused(fit(fit={"class_weight": {"size": "balanced"}}), "class_weight['size']: got targets of shape")
    refused(fit(fit={"validation_data": (X, {"kind": KIND})}), "validation_data[1]: got nothing for the head 'size'")
    refused(fit(X=LEFT), "expected a dict with the inputs 'left', 'right'")
    refused(fit(X={"left": LEFT}), "X: got no input 'right', expected all of 'left', 'right'")
    refused(fit(X=X | {"up": LEFT}), "X: got the input 'up'")
    refused(fit(X=X | {"right": RIGHT[:-1]}), "X['right']: got 59 rows, expected 60, as many as X['left'] has")
    refused(fit(X=X | {"right": LEFT}), "X['right']: got shape (60, 6), expected (n, 2, 3)")
    refused(fit(adversarial=fr.FGSM(0.1)), "adversarial: got a model with several inputs or heads")
    refused(fit(augment=fr.data.augment.Flip()), "augment: got a model with several inputs")
    x = fr.Input(6)
    refused(lambda: fr.Model(x, {f"h{i}": fr.Dense(1)(x) for i in range(17)}), "outputs: got 17, expected at most 16")
    refused(lambda: new_trainer().row_losses(X, Y, activity=True), "activity: got True for a model of several heads")
