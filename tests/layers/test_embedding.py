"""Embedding layers through models and trainers: PyTorch is the judge of gradients and steps; bits, files, refusals."""

import json

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr
from fastreg.common.description import from_config

SIZES = (40, 7)


def table(rng, rows=60):
    """Two columns of numbers, then two of codes."""
    codes = np.stack([rng.integers(0, count, rows) for count in SIZES], axis=1)
    X = np.concatenate([rng.normal(size=(rows, 2)), codes], axis=1)
    return X, rng.normal(size=(rows, 2))


def model(width=3, **how) -> fr.Model:
    """Numbers and codes of one table, joined, with a dense net on top."""
    numbers, codes = fr.Input(columns=[0, 1], name="numbers"), fr.Input(columns=[2, 3], name="codes")
    vectors = fr.Embedding(list(SIZES), width, name="emb", **how)(codes)
    h = fr.Dense(8, "tanh", name="h")(fr.Concatenate()([numbers, vectors]))
    return fr.Model([numbers, codes], fr.Dense(2, name="out")(h))


def trainer(engine="native", optimizer="sgd", width=3, layer=None, **how) -> fr.Trainer:
    made = fr.Trainer(model(width, **(layer or {})), "mse", optimizer, engine=engine, **how)
    made.model.build(4, dtype=how.get("dtype", "float32"))
    return made


def in_torch(torch, parameters, X, sparse=False):
    """The same model: its parameters, and a function of the loss."""
    own = {name: torch.tensor(np.array(p, np.float64), requires_grad=True) for name, p in parameters.items()}
    codes = torch.tensor(X[:, 2:].astype(np.int64) + np.array([0, SIZES[0]]))

    def loss(y, rows=slice(None)):
        vectors = torch.nn.functional.embedding(codes[rows], own["emb.weight"], sparse=sparse).flatten(1)
        h = torch.cat([torch.tensor(X[rows, :2]), vectors], dim=1)
        h = torch.tanh(h @ own["h.weight"] + own["h.bias"])
        return ((h @ own["out.weight"] + own["out.bias"] - torch.tensor(y[rows])) ** 2).mean()

    return own, loss


@pytest.mark.parametrize(("dtype", "close"), [("float32", 2e-5), ("float64", 1e-11)])
def test_gradients_are_torchs(engine, dtype, close, rng):
    torch = pytest.importorskip("torch")
    X, y = table(rng)
    one = trainer(engine, dtype=dtype)
    own, loss = in_torch(torch, one.model.parameters, X)
    loss(y).backward()
    found = one.gradients(X, y)
    assert found.keys() == own.keys()
    for name, gradient in found.items():
        expected = own[name].grad.numpy()
        assert np.abs(gradient - expected).max() <= close * np.abs(expected).max(), name


@pytest.mark.parametrize(
    ("mine", "theirs", "options"),
    [
        (fr.SGD(0.3), "SGD", {"lr": 0.3}),
        (fr.SGD(0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
        (fr.SGD(0.1, momentum=0.9, nesterov=True), "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (fr.RMSprop(0.01), "RMSprop", {"lr": 0.01}),
        (fr.Adam(0.01), "Adam", {"lr": 0.01}),
        (fr.AdamW(0.01, weight_decay=0.1), "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
        (fr.NAdam(0.01), "NAdam", {"lr": 0.01}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ten_steps_are_torchs(engine, mine, theirs, options, rng):
    torch = pytest.importorskip("torch")
    X, y = table(rng, 100)
    one = trainer(engine, mine, dtype="float64")
    own, loss = in_torch(torch, one.model.parameters, X)
    decayed = [p for name, p in own.items() if name.endswith("weight")]
    groups = [{"params": decayed}, {"params": [p for p in own.values() if p.ndim == 1], "weight_decay": 0.0}]
    optimizer = getattr(torch.optim, theirs)(groups, **options)
    for step in range(10):
        optimizer.zero_grad()
        loss(y, slice(10 * step, 10 * step + 10)).backward()
        optimizer.step()
    one.fit(X, y, epochs=1, batch_size=10, shuffle=False)
    for name, p in one.model.parameters.items():
        np.testing.assert_allclose(p, own[name].detach().numpy(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "how", [{}, {"l2": 0.01}, {"clip_norm": 0.1}, {"accumulate": 2}, {"optimizer": "adam"}], ids=str
)
def test_checks_and_bits(how, rng, tmp_path):
    X, y = table(rng, 150)
    path, found = tmp_path / "run.safetensors", []
    for threads in (1, 2, 3, 7):
        one = trainer(threads=threads, layer={"max_norm": 2.0, "lr_scale": 0.5}, **how)
        one.fit(X, y, epochs=2, batch_size=32, callbacks=[fr.Checkpoint(path)])
        if threads == 7:
            one = trainer(layer={"max_norm": 2.0, "lr_scale": 0.5}, **how)
            one.fit(X, y, epochs=3, batch_size=32, resume=path, callbacks=[fr.Checkpoint(path)])
        else:
            one.fit(X, y, epochs=1, batch_size=32)
        found.append(state(one))
    assert all(same(found[0], other) for other in found[1:])
    assert np.linalg.norm(one.model.parameters["emb.weight"], axis=1).max() <= 2 * (1 + 1e-6)
    assert fr.check_gradients(one, X, y).ok
    report = fr.compare_engines(one, X, y)
    assert report.ok, report
    fr.profile(one, X, y)
    loaded = fr.load(path)
    np.testing.assert_array_equal(loaded.predict(X), one.predict(X))
    assert repr(loaded.layers["emb"]) == repr(one.model.layers["emb"])
    assert "Embedding" in str(loaded.summary())


def test_dropout_rides_on_it(engine, rng):
    X, y = np.arange(6)[:, None], rng.normal(size=(6, 1))
    net = fr.Sequential([fr.Embedding(6, 20), fr.Dropout(rate=0.5), fr.Dense(1)])
    one = fr.Trainer(net, "mse", engine=engine)
    one.fit(X, y)
    assert fr.check_gradients(one, X, y, step=2).ok and fr.compare_engines(one, X, y).ok
    assert [type(op).__name__ for op in one.program("train", 6).ops].count("Elementwise") == 0


def test_a_layer_used_twice_and_one_table_for_all_columns(engine, rng):
    torch = pytest.importorskip("torch")
    a, b = fr.Input(columns=[0, 1]), fr.Input(columns=[2])
    shared = fr.Embedding(9, 2, name="emb")
    h = fr.Concatenate()([shared(a), shared(b)])
    one = fr.Trainer(fr.Model([a, b], fr.Dense(1, name="out")(h)), "mse", engine=engine, dtype="float64")
    X, y = rng.integers(0, 9, (20, 3)), rng.normal(size=(20, 1))
    found = one.gradients(X, y)
    weight = torch.tensor(np.array(one.model.parameters["emb.weight"]), requires_grad=True)
    out = torch.tensor(np.array(one.model.parameters["out.weight"]))
    ((weight[torch.tensor(X)].flatten(1) @ out - torch.tensor(y)) ** 2).mean().backward()
    np.testing.assert_allclose(found["emb.weight"], weight.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_a_frozen_one_stays(rng):
    X, y = table(rng)
    one = trainer(layer={"trainable": False})
    before = np.array(one.model.parameters["emb.weight"])
    one.fit(X, y)
    np.testing.assert_array_equal(one.model.parameters["emb.weight"], before)
    assert "emb.weight" not in one.gradients(X, y)


def test_rows_that_no_batch_names_stay_under_plain_sgd(engine, rng):
    X, y = table(rng)
    X[:, 2] = X[:, 2] % 5
    one = trainer(engine)
    before = np.array(one.model.parameters["emb.weight"])
    one.fit(X, y, epochs=2)
    moved = (one.model.parameters["emb.weight"] != before).any(axis=1)
    assert moved[:5].all() and not moved[5:40].any() and moved[40:].all()


@pytest.mark.parametrize(("bad", "told"), [(40, "40"), (-1, "-1"), (2.5, "2.5")])
def test_bad_codes_are_refused_by_row_and_column(engine, bad, told, rng, tmp_path):
    X, y = table(rng)
    X[7, 2] = bad
    message = f"row 7 holds {told} in column 2, expected a code: a whole number from 0 to 39"
    one = trainer(engine)
    before = state(one)
    for call in (lambda: one.fit(X, y), lambda: one.evaluate(X, y), lambda: one.model.predict(X)):
        with pytest.raises(ValueError, match=f"X: {message}"):
            call()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = f"row 7 of the data holds {told} in column 2, expected a code"
    for call in (
        lambda: one.fit(mapped, y, epochs=2),
        lambda: one.evaluate(mapped, y),
        lambda: one.gradients(mapped, y),
    ):
        with pytest.raises(ValueError, match=found):
            call()
    assert same(state(one), before)


def test_integers_of_any_dtype_are_codes(rng):
    y = rng.normal(size=20)
    codes, found = rng.integers(0, 9, (20, 1)), []
    for dtype in ("uint8", "int16", "int64", "float32", "float64"):
        one = fr.Trainer(fr.Sequential([fr.Embedding(9, 4), fr.Dense(1)]), "mse")
        one.fit(codes.astype(dtype), y)
        found.append(state(one))
    assert all(same(found[0], other) for other in found[1:])


def test_refusals(rng):
    x = fr.Input(3)
    for make, error, message in (
        (lambda: fr.Embedding(0, 2), ValueError, "categories: got 0"),
        (lambda: fr.Embedding([], 2), ValueError, r"categories: got \[\], expected 1 to"),
        (lambda: fr.Embedding("ten", 2), TypeError, "categories: got 'ten'"),
        (lambda: fr.Embedding(3, 0), ValueError, "width: got 0"),
        (lambda: fr.Embedding([3, 4], 2)(x), ValueError, "got 3 columns, expected 2: one for each of the categories"),
        (
            lambda: fr.Sequential([fr.Dense(2), fr.Embedding(3, 2), fr.Dense(1)]).build(2),
            ValueError,
            "on an input of codes",
        ),
        (
            lambda: fr.Sequential([fr.Embedding(1 << 25, 1), fr.Dense(1)]).build(1),
            ValueError,
            "in float32, expected at most",
        ),
    ):
        with pytest.raises(error, match=message):
            make()
    X, y = rng.integers(0, 3, (8, 1)), rng.normal(size=8)
    with pytest.raises(ValueError, match="adversarial: got a model with an Embedding"):
        fr.Trainer(fr.Sequential([fr.Embedding(3, 2), fr.Dense(1)]), "mse", adversarial=fr.FGSM(0.1)).fit(X, y)
    with pytest.raises(ValueError, match="input_gradient: got a model with an Embedding"):
        fr.Trainer(fr.Sequential([fr.Embedding(3, 2), fr.Dense(1)]), "mse").input_gradient(X, y)


def test_it_prints_and_is_kept_as_it_was_made():
    for layer in (fr.Embedding(10, 3), fr.Embedding((4, 5), 2, l2=0.1, max_norm=1, name="town", weight_init="zeros")):
        assert eval(repr(layer), vars(fr.initializers) | {"Embedding": fr.Embedding, "L2": fr.L2}) == layer
        config = json.loads(json.dumps(layer.config()))
        assert from_config(config) == layer
