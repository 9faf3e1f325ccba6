"""BatchNorm, LayerNorm and Activation in models: against PyTorch, in both engines, and in all that a model can do."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr

SEEN = {"float32": 2e-5, "float64": 1e-11}


def layers(bias=True):
    """The bias before a BatchNorm has no effect. Its gradient is rounding alone, which Adam makes large."""
    return [
        *(fr.Dense(20, use_bias=bias), fr.BatchNorm("relu", momentum=0.3), fr.Dense(33, "tanh")),
        *(fr.LayerNorm("gelu", eps=1e-3), fr.Dense(17, use_bias=False), fr.BatchNorm(scale=False)),
        *(fr.Activation("silu"), fr.LayerNorm(shift=False), fr.Dense(12, "tanh"), fr.BatchNorm(shift=False)),
        *(fr.Activation("tanh"), fr.Dense(3)),
    ]


def trainer_of(*some, dtype="float32", **settings) -> fr.Trainer:
    model = fr.Sequential(some or layers())
    model.build(7, seed=3, dtype=dtype)
    rng = np.random.default_rng(5)
    for name, array in model.parameters.items():  # away from where they start
        if name.endswith((".gamma", ".beta", ".mean")):
            array[...] += 0.3 * rng.normal(size=array.shape)
    return fr.Trainer(model, dtype=dtype, **settings)


def data(rows=70, dtype="float32"):
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 7)).astype(dtype), rng.integers(0, 3, rows)


def torch_net(torch, trainer):
    """The same network in PyTorch, in float64, with the same parameters."""
    nn, modules = torch.nn, []
    width, p = 7, trainer.model.parameters
    for layer in trainer.model.layers:
        own = {key.partition(".")[2]: torch.tensor(np.array(v, np.float64)) for key, v in p.items()
               if key.startswith(f"{layer.name}.")}  # fmt: skip
        if isinstance(layer, fr.Dense):
            module = nn.Linear(width, layer.units, bias=layer.use_bias).double()
            names, width = {"weight": own["weight"].T, "bias": own.get("bias")}, layer.units
        elif isinstance(layer, fr.BatchNorm):
            module = nn.BatchNorm1d(width, eps=layer.eps, momentum=layer.momentum).double()
            names = {"weight": own.get("gamma"), "bias": own.get("beta")}
            names |= {"running_mean": own["mean"], "running_var": own["var"]}
        elif isinstance(layer, fr.LayerNorm):
            module = nn.LayerNorm(width, eps=layer.eps).double()
            names = {"weight": own.get("gamma"), "bias": own.get("beta")}
        else:
            module, names = nn.Identity(), {}
        for name, value in names.items():
            if value is None:
                if getattr(module, name, None) is not None:
                    getattr(module, name).requires_grad_(False)
            else:
                getattr(module, name).data = value.clone().contiguous()
        act = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "gelu": nn.GELU(), "silu": nn.SiLU()}
        modules.append(nn.Sequential(module, act.get(layer.activation, nn.Identity())))
    return nn.Sequential(*modules)


KEYS = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}


def ours(trainer, net, what):
    """Arrays of PyTorch by our names."""
    found = {}
    for layer, (module, _) in zip(trainer.model.layers, net, strict=True):
        dense = isinstance(layer, fr.Dense)
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            value = what(tensor)
            if value is not None and name != "num_batches_tracked":
                array = value.detach().numpy()
                found[f"{layer.name}.{name if dense else KEYS[name]}"] = array.T if dense else array
    return found


def assert_near(got, expected, limit):
    for name, array in expected.items():
        if name in got:
            error = np.abs(got[name] - array).max() / max(np.abs(array).max(), 1e-12)
            assert error < limit, (name, error)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_those_of_torch(engine, dtype):
    torch = pytest.importorskip("torch")
    trainer, (X, y) = trainer_of(engine=engine, dtype=dtype), data(dtype=dtype)
    net = torch_net(torch, trainer)
    before = state(trainer)
    got = trainer.gradients(X, y)
    loss = torch.nn.functional.cross_entropy(net(torch.tensor(X).double()), torch.tensor(y))
    loss.backward()
    expected = ours(trainer, net, lambda t: t.grad)
    assert got.keys() == expected.keys()
    assert trainer.objective(X, y) == pytest.approx(loss.item(), rel=SEEN[dtype])
    largest = max(np.abs(array).max() for array in expected.values())
    for name, array in expected.items():
        assert np.abs(got[name] - array).max() < SEEN[dtype] * largest, name
    assert same(before, state(trainer)), "gradients and objective move nothing"


def far_from_zero(kind, images):
    """A norm of values that are a thousand times as large as their spread, a trainer, and the same by a formula of
    PyTorch in float64. Columns come from an Embedding, whose gradient is what comes back through the norm."""
    rng = np.random.default_rng(7)
    shape = (4, 5, 6) if images else (24,)
    X = rng.normal(1000, 1, (64, *shape)) if images else rng.integers(0, 40, (64, 1))
    y = rng.integers(0, 3, 64)
    x = h = fr.Input(X.shape[1:], name="x")
    if not images:
        h = fr.Embedding(40, 24, name="e")(x)
    h = getattr(fr, kind)("tanh", name="n")(h)
    model = fr.Model(x, fr.Dense(3, name="d")(fr.Flatten()(h) if images else h))
    model.build(None, seed=3)
    for name, array in model.parameters.items():
        array[...] += 0.3 * rng.normal(size=array.shape) + (1000 if name == "e.weight" else 0)

    def loss(torch, X, p):
        h = torch.tensor(X).double() if images else p["e.weight"][torch.tensor(X[:, 0])]
        axes = tuple(range(h.ndim - 1)) if kind == "BatchNorm" else tuple(range(1, h.ndim))
        variance, mean = torch.var_mean(h, axes, correction=0, keepdim=True)
        gamma, beta = (p[name].reshape(h.shape[1:] if kind == "LayerNorm" else -1) for name in ("n.gamma", "n.beta"))
        h = torch.tanh((h - mean) / torch.sqrt(variance + 1e-5) * gamma + beta).flatten(1)
        return torch.nn.functional.cross_entropy(h @ p["d.weight"] + p["d.bias"], torch.tensor(y))

    return model, X.astype("int64" if X.dtype.kind == "i" else "float32"), y, loss


@pytest.mark.parametrize("images", [False, True], ids=["columns", "images"])
@pytest.mark.parametrize("kind", ["BatchNorm", "LayerNorm"])
def test_a_mean_far_from_zero_costs_no_digits(engine, kind, images):
    """A mean that is rounded to float32 is off by up to 6e-5 of the spread here. PyTorch's float32 gradients are off by
    5e-5 to 2e-3."""
    torch = pytest.importorskip("torch")
    model, X, y, loss = far_from_zero(kind, images)
    trainer = fr.Trainer(model, engine=engine)
    p = {name: torch.tensor(np.array(w, np.float64), requires_grad=not name.endswith((".mean", ".var")))
         for name, w in model.parameters.items()}  # fmt: skip
    expected = loss(torch, X, p)
    expected.backward()
    assert trainer.objective(X, y) == pytest.approx(expected.item(), rel=1e-6)
    assert_near(trainer.gradients(X, y), {name: w.grad.numpy() for name, w in p.items() if w.grad is not None}, 2e-6)


@pytest.mark.parametrize("kind", ["BatchNorm", "LayerNorm"])
@pytest.mark.parametrize("value", [0.1, 1e8])
def test_values_that_are_all_the_same_have_no_variance(engine, kind, value):
    """However their sum is rounded: they become beta, and nothing comes back."""
    model = fr.Sequential([getattr(fr, kind)(name="n"), fr.Dense(3, name="d")])
    model.build(7, seed=1)
    X, y = np.full((49, 7), value, np.float32), np.arange(49) % 3
    gradients = fr.Trainer(model, engine=engine).gradients(X, y)
    np.testing.assert_array_equal(gradients["n.gamma"], 0)
    np.testing.assert_array_equal(gradients["d.weight"], 0)


OPTIMIZERS = {
    "sgd": (fr.SGD(0.1), lambda t, p: t.SGD(p, 0.1)),
    "nesterov": (fr.SGD(0.05, momentum=0.9, nesterov=True), lambda t, p: t.SGD(p, 0.05, momentum=0.9, nesterov=True)),
    "rmsprop": (fr.RMSprop(0.01, rho=0.9), lambda t, p: t.RMSprop(p, 0.01, alpha=0.9)),
    "adam": (fr.Adam(0.01), lambda t, p: t.Adam(p, 0.01)),
    "adamw": (fr.AdamW(0.01, weight_decay=0.1), lambda t, p: t.AdamW(p, 0.01, weight_decay=0.1)),
    "nadam": (fr.NAdam(0.01), lambda t, p: t.NAdam(p, 0.01)),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_ten_steps_are_those_of_torch(engine, kind):
    torch = pytest.importorskip("torch")
    optimizer, make = OPTIMIZERS[kind]
    trainer, (X, y) = (
        trainer_of(*layers(bias=False), engine=engine, dtype="float64", optimizer=optimizer),
        data(70, "float64"),
    )
    net = torch_net(torch, trainer)
    weights = [m.weight for m, _ in net if isinstance(m, torch.nn.Linear)]
    rest = [p for p in net.parameters() if p.requires_grad and not any(p is w for w in weights)]
    theirs = make(torch.optim, [{"params": weights}, {"params": rest, "weight_decay": 0.0}])
    trainer.fit(X, y, epochs=5, batch_size=40, shuffle=False, verbose=0)
    net.train()
    for _ in range(5):
        for start in (0, 40):
            theirs.zero_grad()
            rows = slice(start, start + 40)
            out = net(torch.tensor(X[rows]))
            torch.nn.functional.cross_entropy(out, torch.tensor(y[rows])).backward()
            theirs.step()
    assert_near(state(trainer), ours(trainer, net, lambda t: t), 1e-7)
    net.eval()
    expected = torch.softmax(net(torch.tensor(X)), 1).detach().numpy()
    np.testing.assert_allclose(trainer.predict(X), expected, atol=1e-7)


def test_predictions_fold_into_the_dense_before(engine):
    trainer = trainer_of(engine=engine)
    kinds = [type(op).__name__ for op in trainer.program("predict").ops]
    assert kinds.count("Affine") == 1, "only the BatchNorm after an activation keeps a pass of its own"
    assert kinds.count("NormScale") == 3 and "Moments" not in kinds and "BatchNorm" not in kinds
    assert "Elementwise" not in [type(op).__name__ for op in trainer.program("train").ops]


def test_a_prediction_does_not_depend_on_its_batch(engine):
    trainer, (X, y) = trainer_of(engine=engine), data()
    trainer.fit(X, y, epochs=2, batch_size=32, verbose=0)
    whole = trainer.predict(X)
    if engine == "native":
        np.testing.assert_array_equal(np.vstack([trainer.predict(X[i : i + 1]) for i in range(len(X))]), whole)
    np.testing.assert_allclose(trainer.model.predict(X, batch_size=9), whole, rtol=1e-5, atol=1e-7)
    loss = -np.log(whole[np.arange(len(y)), y]).mean()
    assert trainer.evaluate(X, y)["loss"] == pytest.approx(loss, rel=1e-5)


def test_same_bits_for_any_number_of_threads():
    X, y = data(130)

    def trained(threads):
        trainer = trainer_of(threads=threads, optimizer=fr.Adam(0.01))
        trainer.fit(X, y, epochs=3, batch_size=48, verbose=0)
        return state(trainer)

    expected = trained(1)
    for threads in (2, 3, 7):
        assert same(trained(threads), expected)


def test_resumed_to_the_same_bits(engine, tmp_path):
    X, y = data()
    path = tmp_path / "c.ckpt"

    def fit(trainer, epochs, **more):
        trainer.fit(X, y, epochs=epochs, batch_size=32, verbose=0, validation_data=(X[:9], y[:9]), **more)

    whole, first = trainer_of(engine=engine), trainer_of(engine=engine)
    fit(whole, 6)
    fit(first, 3, callbacks=[fr.Checkpoint(path)])
    second = trainer_of(engine=engine)
    fit(second, 6, resume=path)
    assert same(state(second), state(whole))


def test_saved_and_loaded_in_another_process(tmp_path):
    trainer, (X, y) = trainer_of(), data()
    trainer.fit(X, y, epochs=2, batch_size=32, verbose=0)
    trainer.model.save(tmp_path / "m.safetensors")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import fastreg as fr, numpy as np; m = fr.load('m.safetensors'); np.save('p.npy', m.predict(np.load('X.npy')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), trainer.predict(X))
    for copied in (trainer.model.copy(), pickle.loads(pickle.dumps(trainer.model))):
        assert same(copied.state_dict(), state(trainer))
        np.testing.assert_array_equal(copied.predict(X), trainer.predict(X))
    assert trainer.model.copy(dtype="float64").parameters["1.var"].dtype == np.float64


def test_checks_and_tables():
    trainer, (X, y) = trainer_of(), data()
    before = state(trainer)
    assert fr.check_gradients(trainer, X, y, step=0).ok
    compared = fr.compare_engines(trainer, X, y)
    assert compared.ok, compared
    assert {op.layer for op in compared.ops} >= {"1", "3", "5", "7", "9"}
    profile = fr.profile(trainer, X, y)
    assert "BatchNormDx" in str(profile) and "LayerNormDw" in str(profile)
    assert same(before, state(trainer))
    assert "BatchNorm('relu', momentum=0.3)" in trainer.model.summary()


def test_only_training_moves_the_moments(engine):
    trainer, (X, y) = trainer_of(engine=engine), data()
    before = state(trainer)
    trainer.evaluate(X, y), trainer.predict(X), trainer.gradients(X, y), trainer.row_losses(X, y)
    assert same(before, state(trainer))
    trainer.fit(X, y, epochs=1, batch_size=70, shuffle=False, verbose=0)
    z = X.astype(np.float64) @ before["0.weight"] + before["0.bias"]
    np.testing.assert_allclose(state(trainer)["1.mean"], 0.7 * before["1.mean"] + 0.3 * z.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state(trainer)["1.var"], 0.7 * before["1.var"] + 0.3 * z.var(0, ddof=1), rtol=1e-4)


def test_a_frozen_norm_uses_its_running_moments(engine):
    """As in Keras: training runs it as prediction does, and nothing of it moves."""
    torch = pytest.importorskip("torch")
    trainer, (X, y) = trainer_of(engine=engine, dtype="float64"), data(dtype="float64")
    for layer in trainer.model.layers:
        if isinstance(layer, (fr.BatchNorm, fr.LayerNorm)):
            trainer.model.layers[layer.name].trainable = False
    net = torch_net(torch, trainer)
    for module, _ in net:
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()
    loss = torch.nn.functional.cross_entropy(net(torch.tensor(X)), torch.tensor(y))
    loss.backward()
    got, expected = trainer.gradients(X, y), ours(trainer, net, lambda t: t.grad)
    assert got.keys() == {name for name in expected if name.partition(".")[2] in ("weight", "bias")}
    assert_near(got, expected, 1e-9)
    before = state(trainer)
    trainer.fit(X, y, epochs=2, batch_size=32, verbose=0)
    moved = {name for name, array in state(trainer).items() if not np.array_equal(array, before[name])}
    assert moved == set(got)


@pytest.mark.parametrize("rows", [1, 33])
def test_a_batch_of_one_row_is_refused(engine, rows):
    trainer, (X, y) = trainer_of(engine=engine), data()
    before = state(trainer)
    with pytest.raises(ValueError, match="layer '1': got a batch of one row"):
        trainer.fit(X[:rows], y[:rows], batch_size=16, verbose=0)
    assert same(before, state(trainer))
    trainer.evaluate(X[:rows], y[:rows])
    only_rows = fr.Trainer(fr.Sequential([fr.Dense(4), fr.LayerNorm("relu"), fr.Dense(3)]), engine=engine)
    only_rows.fit(X[:rows], y[:rows], batch_size=16, verbose=0)


def test_what_has_no_meaning_is_refused():
    X, y = data()
    with pytest.raises(ValueError, match=r"accumulate: got 2 with layer '1', a BatchNorm"):
        trainer_of(accumulate=2).fit(X, y, verbose=0)
    with pytest.raises(ValueError, match=r"adversarial: got FGSM\(.*\) with layer '1', a BatchNorm"):
        trainer_of(adversarial=fr.FGSM(0.1)).fit(X, y, verbose=0)
    for name, layer in (("accumulate", {"accumulate": 2}), ("adversarial", {"adversarial": fr.FGSM(0.1)})):
        trainer = fr.Trainer(fr.Sequential([fr.Dense(4), fr.LayerNorm("relu"), fr.Dense(3)]), **layer)
        assert np.isfinite(trainer.fit(X, y, verbose=0)["loss"]).all(), name


def test_sample_weights_do_not_change_the_moments(engine):
    X, y = data()
    plain, weighted = (
        trainer_of(engine=engine, optimizer=fr.SGD(1e-30)),
        trainer_of(engine=engine, optimizer=fr.SGD(1e-30)),
    )
    plain.fit(X, y, epochs=1, batch_size=70, verbose=0)
    weighted.fit(X, y, epochs=1, batch_size=70, verbose=0, sample_weight=np.linspace(0, 2, 70))
    for name in ("1.mean", "1.var", "5.mean", "9.var"):
        np.testing.assert_array_equal(state(plain)[name], state(weighted)[name])


@pytest.mark.parametrize(
    ("some", "ops"),
    [
        ([fr.Dense(5), fr.Activation("relu"), fr.Dense(3)], 0),
        ([fr.Dense(5, "tanh"), fr.Activation("relu"), fr.Dense(3)], 1),
        ([fr.Dense(5), fr.Dropout(rate=0.5), fr.Activation("gelu"), fr.Dense(3)], 1),
        ([fr.Activation("relu"), fr.Dense(3)], 1),
        ([fr.Dense(5), fr.Activation("mish"), fr.Dropout(rate=0.5), fr.Dense(3)], 0),
        ([fr.Dense(3), fr.Activation("softplus")], 0),
        ([fr.Dense(5, activity_l1=0.01), fr.Activation("relu"), fr.Dense(3)], 1),
    ],
)
def test_an_activation_alone(engine, some, ops):
    trainer, (X, y) = trainer_of(*some, engine=engine), data()
    assert [type(op).__name__ for op in trainer.program("train").ops].count("Elementwise") >= ops
    assert fr.check_gradients(trainer, X, y, step=0).ok
    assert fr.compare_engines(trainer, X, y, step=0).ok
    trainer.fit(X, y, epochs=2, verbose=0)


def test_norms_under_everything_that_stores_gradients(engine):
    """Clipping, both kinds, and dropout between the norms."""
    X, y = data()
    some = [fr.Dense(9), fr.BatchNorm("relu"), fr.Dropout(rate=0.3), fr.Dense(9), fr.LayerNorm("tanh")]
    some += [fr.Dropout(rate=0.2), fr.Dense(3)]
    for settings in ({"clip_norm": 0.1}, {"clip_value": 1e-3}, {"l2": 1e-2, "l1": 1e-3}):
        trainer = trainer_of(*some, engine=engine, **settings)
        history = trainer.fit(X, y, epochs=3, batch_size=24, verbose=0)
        assert np.isfinite(history["loss"]).all()
        assert fr.check_gradients(trainer, X, y, step=0).ok
        assert fr.compare_engines(trainer, X, y, step=0).ok


def image_model(dtype="float64"):
    """Convolution, a norm of its channels, a sum whose value has two users, a norm that is used twice."""
    x = fr.Input((6, 5, 2), name="image")
    h = fr.BatchNorm("relu", name="a")(fr.Conv2D(5, 3, padding="same", use_bias=False, name="c")(x))
    shared = fr.BatchNorm(name="b")
    s = fr.Activation("gelu")(fr.Add()(shared(h), shared(fr.Conv2D(5, 1, name="d")(h))))
    flat = fr.Flatten()(s)
    out = fr.Dense(3, name="out")(fr.LayerNorm("tanh", name="l")(flat))
    model = fr.Model(x, out)
    model.build((6, 5, 2), seed=2, dtype=dtype)
    rng = np.random.default_rng(5)
    for name, array in model.parameters.items():
        if name.endswith((".gamma", ".beta", ".mean")):
            array[...] += 0.3 * rng.normal(size=array.shape)
    return model


def image_by_torch(torch, p, X, training):
    """The logits and the running moments after it. Images are channels last; PyTorch's are channels first."""
    F = torch.nn.functional
    moments = {name: p[name].clone() for name in p if name.endswith((".mean", ".var"))}

    def norm(h, name):
        m, v = moments[f"{name}.mean"], moments[f"{name}.var"]
        return F.batch_norm(h, m, v, p[f"{name}.gamma"], p[f"{name}.beta"], training, 0.1, 1e-5)

    def conv(h, name, side):
        weight = p[f"{name}.weight"].reshape(side, side, h.shape[1], 5).permute(3, 2, 0, 1)
        return F.conv2d(h, weight, p.get(f"{name}.bias"), padding=side // 2)

    h = torch.relu(norm(conv(torch.tensor(X).permute(0, 3, 1, 2), "c", 3), "a"))
    first = norm(h, "b")
    s = F.gelu(first + norm(conv(h, "d", 1), "b")).permute(0, 2, 3, 1).flatten(1)
    s = torch.tanh(F.layer_norm(s, s.shape[1:], p["l.gamma"], p["l.beta"], 1e-5))
    return s @ p["out.weight"] + p["out.bias"], moments


def test_images_and_a_norm_used_twice(engine):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(9, 6, 5, 2)), rng.integers(0, 3, 9)
    trainer = fr.Trainer(image_model(), dtype="float64", engine=engine, optimizer=fr.SGD(0.1))
    p = {name: torch.tensor(np.array(w), requires_grad=not name.endswith((".mean", ".var")))
         for name, w in trainer.model.parameters.items()}  # fmt: skip
    np.testing.assert_allclose(
        trainer.predict(X), torch.softmax(image_by_torch(torch, p, X, False)[0], 1).detach().numpy(), atol=1e-12
    )
    logits, moments = image_by_torch(torch, p, X, True)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(y))
    loss.backward()
    got = trainer.gradients(X, y)
    largest = max(w.grad.abs().max().item() for w in p.values() if w.grad is not None)
    for name, gradient in got.items():
        assert np.abs(gradient - p[name].grad.numpy()).max() < 1e-11 * largest, name
    assert fr.check_gradients(trainer, X, y).ok
    assert fr.compare_engines(trainer, X, y).ok
    trainer.fit(X, y, epochs=1, batch_size=9, shuffle=False, verbose=0)
    for name, moment in moments.items():
        np.testing.assert_allclose(trainer.model.parameters[name], moment.numpy(), rtol=1e-10, atol=1e-12)
    assert "Affine" in {type(op).__name__ for op in trainer.program("predict").ops}, "a value that has two users"


def test_images_have_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(40, 6, 5, 2)).astype(np.float32), rng.integers(0, 3, 40)

    def trained(threads):
        trainer = fr.Trainer(image_model("float32"), threads=threads, optimizer=fr.Adam(0.01))
        trainer.fit(X, y, epochs=2, batch_size=13, verbose=0)
        return state(trainer)

    expected = trained(1)
    for threads in (2, 3, 7):
        assert same(trained(threads), expected)


def test_one_image_is_a_batch():
    """Its pixels are values enough."""
    model = fr.Sequential([fr.Conv2D(4, 3), fr.BatchNorm("relu"), fr.Flatten(), fr.Dense(3)])
    X, y = np.random.default_rng(0).normal(size=(3, 6, 6, 1)), np.array([0, 1, 2])
    assert np.isfinite(fr.Trainer(model).fit(X, y, batch_size=2, verbose=0)["loss"]).all()
