"""What is around a fit takes graphs as it takes chains: history, callbacks, held-back data, rows, copies, pictures of
the time, other processes."""

import copy
import pickle

import numpy as np
import pytest

import fastreg as fr

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 6)).astype("f4")
Y = {"kind": (X[:, 0] > 0) + (X[:, 1] > 0).astype(int), "size": X[:, 2] + X[:, 0] ** 2}
LOSS = {"kind": "softmax_cross_entropy", "size": "mse"}


def model() -> fr.Model:
    x = fr.Input(6, name="x")
    h = fr.Dropout(rate=0.2, name="drop")(fr.Dense(24, "relu", name="body")(x))
    return fr.Model(x, {"kind": fr.Dense(3, name="kind")(h), "size": fr.Dense(1, name="size")(h)})


def trainer(**settings) -> fr.Trainer:
    given = {"loss": LOSS, "optimizer": fr.Adam(0.01), "metrics": {"kind": ["accuracy", "f1"], "size": ["mae"]}}
    return fr.Trainer(model(), **given | settings)


def part(rows) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return X[rows], {name: value[rows] for name, value in Y.items()}


def same(one: fr.Model, other: fr.Model) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_history_has_each_head():
    trained = trainer(loss_weights={"size": 0.25})
    history = trained.fit(*part(slice(60)), epochs=15, batch_size=16, validation_data=part(slice(60, 90)), verbose=0)
    for prefix in ("", "val_"):
        loss, kind, size = (history[f"{prefix}{name}"] for name in ("loss", "kind_loss", "size_loss"))
        np.testing.assert_allclose(loss, np.add(kind, np.multiply(0.25, size)), rtol=1e-6)
    assert history["kind_accuracy"][-1] > 0.7 and history["kind_loss"][-1] < history["kind_loss"][0]
    found = trained.evaluate(*part(slice(60, 90)))
    assert found == {name: history[f"val_{name}"][-1] for name in found}
    assert {"loss", "kind_loss", "size_loss", "kind_accuracy", "kind_f1", "size_mae"} == set(found)
    predicted = trained.predict(X[60:])
    assert found["kind_f1"] == pytest.approx(fr.metrics.f1(Y["kind"][60:], predicted["kind"]))
    assert found["size_mae"] == pytest.approx(np.abs(predicted["size"][:, 0] - Y["size"][60:]).mean(), rel=1e-5)


def test_rows_of_weight_zero_have_no_label():
    """What stands in their places changes no bit."""
    known = np.arange(90) % 3 > 0
    results = []
    for other in (0, 2):
        y = Y | {"kind": np.where(known, Y["kind"], other), "size": np.where(known, Y["size"], 1e6 * other)}
        trained = trainer(metrics=())
        history = trained.fit(
            X, y, epochs=3, batch_size=16, sample_weight={"kind": known, "size": known}, verbose=0, shuffle=False
        )
        results.append((trained.model, history["loss"]))
    assert same(results[0][0], results[1][0]) and results[0][1] == results[1][1]


def test_a_head_without_weight_in_a_batch_adds_nothing():
    """Rows of the first half have no size: with batches that hold none, the body learns from kinds alone."""
    x = fr.Input(6, name="x")
    kinds = fr.Model(x, {"kind": fr.Dense(3, name="kind")(fr.Dense(24, "relu", name="body")(x))})
    h = fr.Dense(24, "relu", name="body")(x)
    two = fr.Model(x, {"kind": fr.Dense(3, name="kind")(h), "size": fr.Dense(1, name="size")(h)})
    for one in (kinds, two):
        one.build(seed=3)
    two.load_state_dict(two.state_dict() | kinds.state_dict())
    fr.Trainer(kinds, optimizer=fr.SGD(0.1), seed=1).fit(X, Y["kind"], epochs=2, batch_size=30, verbose=0)
    fr.Trainer(two, loss=LOSS, optimizer=fr.SGD(0.1), seed=1).fit(
        X, Y, epochs=2, batch_size=30, sample_weight={"size": np.zeros(90)}, verbose=0
    )
    for name, value in kinds.state_dict().items():
        np.testing.assert_allclose(two.state_dict()[name], value, rtol=1e-5, atol=1e-7)


def test_callbacks_watch_a_head(tmp_path):
    trained = trainer()
    stopping = fr.EarlyStopping("val_kind_f1", patience=2)
    log = fr.CSVLogger(tmp_path / "log.csv")
    plateau = fr.ReduceOnPlateau("val_size_mae", patience=1)
    trained.fit(X, Y, epochs=30, batch_size=16, validation_split=0.3, callbacks=[stopping, plateau, log], verbose=0)
    header = (tmp_path / "log.csv").read_text().partition("\n")[0]
    assert "val_kind_f1" in header and "size_loss" in header


def test_rows_and_several_held_back_sets():
    rows = np.arange(0, 90, 2)
    one, other = trainer(), trainer()
    one.fit(X, Y, rows=rows, epochs=2, batch_size=16, verbose=0)
    history = other.fit(
        *part(rows), epochs=2, batch_size=16, validation_data={"a": part(slice(9)), "b": part(slice(9, 90))}, verbose=0
    )
    assert same(one.model, other.model)
    assert {"a_kind_loss", "b_size_mae"} <= set(history)


def test_copies_and_pickles_are_whole():
    trained = trainer()
    trained.fit(X, Y, epochs=2, batch_size=16, verbose=0)
    expected = trained.model.predict(X)
    for other in (copy.deepcopy(trained.model), pickle.loads(pickle.dumps(trained.model)), trained.model.copy()):
        found = other.predict(X)
        assert list(found) == list(expected) and all(np.array_equal(found[name], expected[name]) for name in found)


def test_options_of_layers_change_between_fits():
    trained = trainer()
    trained.fit(X, Y, epochs=1, batch_size=16, verbose=0)
    before = trained.model.state_dict()
    trained.model.layers["body"].trainable = False
    trained.model.layers["drop"].rate = 0.0
    trained.fit(X, Y, epochs=1, batch_size=16, verbose=0)
    after = trained.model.state_dict()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"kind.weight", "kind.bias", "size.weight", "size.bias"}


def test_the_passes_of_dropout_have_a_spread():
    trained = trainer()
    trained.fit(X, Y, epochs=2, batch_size=16, verbose=0)
    mean, std = trained.model.predict(X, samples=20)
    assert mean["kind"].shape == (90, 3) and std["size"].shape == (90, 1)
    assert (std["kind"] > 0).any() and (std["size"] > 0).any()


def test_profile_names_the_layers():
    text = str(fr.profile(trainer(), X, Y))
    assert all(name in text for name in ("body", "kind", "size"))


def test_the_summary_names_all_layers_and_counts_shared_weights_once():
    x = fr.Input(6, name="x")
    h = fr.Dense(4, "tanh", name="encoder")(x)
    tied = fr.Model(x, fr.Dense(6, name="decoder", tied_to="encoder", transposed=True)(h))
    tied.build()
    text = tied.summary()
    assert "encoder" in text and "decoder" in text and f"{6 * 4 + 4 + 6} parameters" in text
    assert sorted(tied.parameters) == ["decoder.bias", "encoder.bias", "encoder.weight"]


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("bad", ["number", "code"])
def test_a_bad_row_of_a_memory_map_is_named_with_its_input(bad, engine, tmp_path):
    numbers, codes = fr.Input(2, name="numbers"), fr.Input(1, name="codes")
    h = fr.Concatenate()([fr.Dense(4)(numbers), fr.Embedding(3, 2)(codes)])
    arrays = {"numbers": np.ones((9, 2), np.float32), "codes": np.ones((9, 1), np.float32)}
    arrays["numbers" if bad == "number" else "codes"][7, 0] = np.nan if bad == "number" else 3
    X = {}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        X[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    told = {
        "number": "row 7 of the input 'numbers' holds a value that is not finite in float32; ",
        "code": "row 7 of the input 'codes' holds 3 in column 0, expected a code: a whole number from 0 to 2; ",
    }[bad]
    trainer = fr.Trainer(fr.Model([numbers, codes], fr.Dense(1)(h)), "mse", engine=engine)
    with pytest.raises(ValueError, match=f"^X, y: {told}the parameters are those of the start of the epoch$"):
        trainer.fit(X, np.ones(9))


def test_the_summary_of_a_graph_says_what_each_layer_reads_and_names_the_heads():
    x = fr.Input(4, name="x")
    twice = fr.Dense(4, name="twice")
    h = fr.Residual(["dense(4)"])(twice(twice(x)))
    model = fr.Model(x, {"a": fr.Dense(2, name="end")(h), "b": h})
    rows = [line.split() for line in model.summary().splitlines()]
    assert rows[0][:4] == ["name", "layer", "reads", "output"]
    assert rows[2][:5] == ["twice", "Dense(4)", "x;", "twice", "(4,)"]  # the shape is known before the model is built
    assert rows[3][:3] == ["1", "Dense(4)", "twice@2"]
    assert rows[4][:4] == ["2", "Add()", "twice@2,", "1"]
    assert "heads: a (layer end), b (layer 2)" in model.summary()
    assert "reads" not in fr.Sequential([fr.Dense(4)]).summary()


def test_a_clipped_and_accumulated_training_goes_on():
    trained = trainer(clip_norm=0.1, accumulate=2, l1=1e-4, l2=1e-3)
    history = trained.fit(X, Y, epochs=3, batch_size=16, verbose=0)
    assert np.isfinite(history["loss"]).all() and history["penalty"][-1] > 0
