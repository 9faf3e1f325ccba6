"""Ten steps of each optimizer on graphs against PyTorch, and what a training of a graph promises: the same bits for any
number of threads, after a stop, from a file."""

import numpy as np
import pytest
from graphs import random_graph

import fastreg as fr
from fastreg.machine import threads

torch = pytest.importorskip("torch")
from torch_graphs import Net  # noqa: E402

# What torch has for each of ours. Decoupled decay is done by hand: w (1 - lr decay) before the step.
OPTIMIZERS = {
    "sgd": (fr.SGD(0.01, weight_decay=0.1), lambda p: torch.optim.SGD(p, lr=0.01)),
    "momentum": (fr.SGD(0.005, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.005, momentum=0.9)),
    "nesterov": (
        fr.SGD(0.005, momentum=0.8, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.005, momentum=0.8, nesterov=True),
    ),
    "rmsprop": (fr.RMSprop(2e-3, alpha=0.9, eps=1e-3), lambda p: torch.optim.RMSprop(p, lr=2e-3, alpha=0.9, eps=1e-3)),
    "rmsprop with momentum": (
        fr.RMSprop(1e-3, eps=1e-3, momentum=0.8),
        lambda p: torch.optim.RMSprop(p, lr=1e-3, eps=1e-3, momentum=0.8),
    ),
    "adam": (fr.Adam(3e-3, eps=1e-5), lambda p: torch.optim.Adam(p, lr=3e-3, eps=1e-5)),
    "adamw": (fr.AdamW(3e-3, eps=1e-5, weight_decay=0.2), lambda p: torch.optim.Adam(p, lr=3e-3, eps=1e-5)),
    "nadam": (
        fr.NAdam(3e-3, eps=1e-5, momentum_decay=0.02),
        lambda p: torch.optim.NAdam(p, lr=3e-3, eps=1e-5, momentum_decay=0.02),
    ),
    "lion": (fr.Lion(1e-3), None),
}
FIVE = (2, 5, 9, 14, 23)


class Lion(torch.optim.Optimizer):
    """From the formulas of the documentation: torch has none."""

    def __init__(self, parameters, lr, beta1=0.9, beta2=0.99):
        super().__init__(parameters, {"lr": lr, "beta1": beta1, "beta2": beta2})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p -= group["lr"] * torch.sign(group["beta1"] * m + (1 - group["beta1"]) * p.grad)
                m *= group["beta2"]
                m += (1 - group["beta2"]) * p.grad


OPTIMIZERS["lion"] = (OPTIMIZERS["lion"][0], lambda p: Lion(p, 1e-3))


@pytest.fixture(autouse=True)
def alone():
    """NAdam keeps a product in the default dtype; torch's threads would fight over the cores with the engine's."""
    before = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(before[0])
    torch.set_default_dtype(before[1])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("seed", FIVE)
def test_ten_steps_of_each_optimizer(engine, name, seed):
    """Whole data as one batch, so a step is an epoch; moments of a batch norm move, too."""
    graph = random_graph(seed, dropout=False)
    ours, theirs = OPTIMIZERS[name]
    X, y = graph.data()
    trainer = graph.trainer(engine=engine, seed=seed, optimizer=ours)
    net = Net(graph, trainer.model.state_dict())
    optimizer = theirs(list(net.trained.values()))
    history = trainer.fit(
        X, y, epochs=10, batch_size=graph.rows, shuffle=False, sample_weight=graph.sample_weight, verbose=0
    )
    for epoch in range(10):
        optimizer.zero_grad()
        parts: dict = {}
        net.objective(X, y, graph.sample_weight, parts).backward()
        for head, value in parts.items():
            if len(parts) > 1:
                assert history[f"{head}_loss"][epoch] == pytest.approx(value, rel=1e-9)
        total = sum(graph.heads[head].weight * value for head, value in parts.items())
        assert history["loss"][epoch] == pytest.approx(total, rel=1e-9)
        net.keep_moments()
        with torch.no_grad():
            for key, w in net.trained.items():
                if key.endswith(".weight"):
                    w *= 1 - ours.lr * ours.weight_decay
        optimizer.step()
    for key, value in trainer.model.state_dict().items():
        expected = net.parameters[key].detach().numpy()
        assert np.abs(value - expected).max() <= 1e-9 * np.abs(expected).max(), key


# --- The same bits ----------------------------------------------------------------------------------------------------


def trained(graph, seed: int, epochs: int = 3, **settings) -> dict[str, np.ndarray]:
    """Parameters and state after some epochs of small batches with everything random on."""
    X, y = graph.data("float32")
    trainer = graph.trainer(seed=seed, dtype="float32", optimizer=fr.Adam(0.01), **settings)
    trainer.fit(X, y, epochs=epochs, batch_size=7, sample_weight=graph.sample_weight, verbose=0)
    return trainer.model.state_dict() | trainer.optimizer_state


def bits(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("seed", range(40))
def test_same_bits_for_any_number_of_threads_and_fused_target(seed, restore_target):
    graph = random_graph(seed)
    available = threads.simd()["available"]
    expected: dict[bool, dict] = {}
    for target in available:
        threads.use_simd(target)
        for count in (1, 2, 3, 7):
            found = bits(trained(graph, seed, threads=count))
            first = expected.setdefault(target != "generic", found)
            assert found == first, (target, count, [name for name in first if found[name] != first[name]])


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_a_stopped_training_goes_on_to_the_same_bits(engine, seed, tmp_path):
    graph = random_graph(seed)
    X, y = graph.data("float32")

    def fit(epochs, **more):
        trainer = graph.trainer(engine=engine, seed=seed, dtype="float32", optimizer=fr.Adam(0.01))
        history = trainer.fit(X, y, epochs=epochs, batch_size=7, sample_weight=graph.sample_weight, verbose=0, **more)
        return bits(trainer.model.state_dict() | trainer.optimizer_state), history

    path = tmp_path / "run.safetensors"
    whole, history = fit(6)
    fit(3, callbacks=[fr.Checkpoint(path)])
    resumed, gone_on = fit(6, resume=path)
    assert resumed == whole
    assert gone_on["loss"][-1] == history["loss"][-1]


@pytest.mark.parametrize("seed", range(40))
def test_a_file_gives_the_same_model(seed, tmp_path):
    graph = random_graph(seed)
    X, y = graph.data("float32")
    trainer = graph.trainer(seed=seed, dtype="float32")
    trainer.fit(X, y, epochs=2, batch_size=7, sample_weight=graph.sample_weight, verbose=0)
    model = trainer.model
    model.save(tmp_path / "model.safetensors")
    loaded = fr.load(tmp_path / "model.safetensors")
    assert loaded.config() == model.config()
    assert repr(loaded) == repr(model) and loaded.summary() == model.summary()
    assert bits(loaded.state_dict()) == bits(model.state_dict())
    for one, other in zip(outputs(model.predict(X)), outputs(loaded.predict(X)), strict=True):
        np.testing.assert_array_equal(one, other)
    again = fr.Trainer(loaded, loss={name: head.loss for name, head in graph.heads.items()})
    expected = trainer.evaluate(X, y, sample_weight=graph.sample_weight)
    if all(head.weight == 1 for head in graph.heads.values()):
        assert again.evaluate(X, y, sample_weight=graph.sample_weight) == expected


def outputs(predicted) -> list[np.ndarray]:
    return list(predicted.values()) if isinstance(predicted, dict) else [predicted]


@pytest.mark.parametrize("seed", range(40))
def test_predictions_are_those_of_torch_and_do_not_depend_on_the_batch(engine, seed):
    graph = random_graph(seed)
    X, y = graph.data()
    trainer = graph.trainer(engine=engine, seed=seed)
    trainer.fit(X, y, epochs=2, batch_size=7, sample_weight=graph.sample_weight, verbose=0)
    net = Net(graph, trainer.model.state_dict())
    net.training = False
    expected = {name: predicted(graph.heads[name].loss, z) for name, z in net.forward(X).items()}
    found = trainer.model.predict(X)
    found = found if isinstance(found, dict) else {next(iter(graph.heads)): found}
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-10 * np.abs(value).max())
    for one, other in zip(outputs(trainer.model.predict(X, batch_size=3)), found.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def predicted(loss: str, z) -> np.ndarray:
    if loss == "softmax_cross_entropy":
        z = torch.softmax(z, dim=1)
    elif loss == "sigmoid_cross_entropy":
        z = torch.sigmoid(z)
    return z.detach().numpy()


def test_a_chain_in_functional_style_is_a_sequential():
    """The same layers give the same ops, and so the same bits."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 8)).astype("f4"), rng.integers(0, 3, 60)

    def layers():
        return [fr.Dense(16, "relu", name="a"), fr.Dropout(rate=0.3, name="b"), fr.Dense(3, name="c")]

    x = fr.Input(8)
    value = x
    for layer in layers():
        value = layer(value)
    results = []
    for model in (fr.Model(x, value), fr.Sequential(layers())):
        trainer = fr.Trainer(model, optimizer=fr.SGD(0.1, momentum=0.9), l2=1e-3, seed=4)
        trainer.fit(X, y, epochs=3, batch_size=16, verbose=0)
        results.append(bits(model.state_dict()))
    assert results[0] == results[1]


def test_one_head_by_name_or_by_itself_is_the_same():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 8)).astype("f4"), rng.integers(0, 3, 60)

    def model():
        x = fr.Input(8, name="x")
        return fr.Model(x, {"kind": fr.Dense(3, name="kind")(fr.Dense(16, "relu", name="h")(x))})

    results = []
    for data, loss in (((X, y), "softmax_cross_entropy"), (({"x": X}, {"kind": y}), {"kind": "softmax_cross_entropy"})):
        trainer = fr.Trainer(model(), loss=loss, seed=4)
        trainer.fit(*data, epochs=3, batch_size=16, verbose=0)
        results.append(bits(trainer.model.state_dict()))
        assert isinstance(trainer.model.predict(X), np.ndarray)
    assert results[0] == results[1]


def test_another_graph_of_the_same_layers_is_not_resumed(tmp_path):
    path = tmp_path / "run.safetensors"
    X, y = np.random.default_rng(0).normal(size=(20, 6)), np.arange(20) % 3

    def fit(joined, epochs, **more):
        x = fr.Input(6, name="x")
        body, top = fr.Dense(6, "relu", name="body"), fr.Dense(3, name="top")
        if joined == "columns":
            a, b = fr.Input(columns=range(6), name="a"), fr.Input(columns=more.pop("columns"), name="b")
            model = fr.Model([a, b], top(fr.Add(name="sum")([body(a), b])))
        else:
            model = fr.Model(x, top(fr.Add(name="sum")([body(x), x if joined == "skip" else body(body(x))])))
        trainer = fr.Trainer(model, optimizer=fr.Adam(0.01))
        return trainer.fit(X, y, epochs=epochs, callbacks=fr.Checkpoint(path), **more)

    fit("skip", 1)
    with pytest.raises(ValueError, match=r"^resume: layers: got layer 'body@2' on the input, expected nothing, as in"):
        fit("shared", 2, resume=path)
    fit("skip", 2, resume=path)
    fit("shared", 3, resume=path, changed="layers")
    fit("columns", 1, columns=range(6))
    with pytest.raises(ValueError, match=r"^resume: layers: got b on the columns \(5, .*, expected the columns \(0, "):
        fit("columns", 2, columns=range(5, -1, -1), resume=path)
