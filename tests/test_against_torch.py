"""Against PyTorch: gradients of random networks, penalties included, and the optimizers step by step."""

import numpy as np
import pytest

import fastreg as fr

torch = pytest.importorskip("torch")

ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.01),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
}
LOSSES = {
    "softmax_cross_entropy": torch.nn.functional.cross_entropy,
    "sigmoid_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
    "mse": torch.nn.functional.mse_loss,
}
LIMIT = {"float32": 2e-5, "float64": 1e-11}  # of max|difference| / max|gradient|


@pytest.fixture(autouse=True)
def one_thread():
    """The networks are tiny, and torch's threads would fight over the cores with the engine's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_network(seed: int):
    """Layers, loss, penalties and data of all sorts."""
    rng = np.random.default_rng(seed)
    loss = list(LOSSES)[seed % 3]
    depth = int(rng.integers(1, 5))
    # No hidden layer of one unit: the gradient of its only bias can cancel to almost nothing, in torch as well.
    widths = [int(rng.choice([2, 3, 7, 16, 17, 31, 64, 65])) for _ in range(depth)]
    widths[-1] = int(rng.choice([2, 3, 10, 17] if loss == "softmax_cross_entropy" else [1, 2, 15, 16, 17]))
    layers = []
    for i, units in enumerate(widths):
        last = i == depth - 1
        activation = "linear" if last else str(rng.choice(list(ACTIVATIONS)))
        own = {"l1": fr.L1(0.02, proximal=False)} if rng.random() < 0.2 else {}
        own |= {"l2": 0.05} if rng.random() < 0.2 else {}
        layers.append(fr.Dense(units, activation, use_bias=bool(rng.random() < 0.8), **own))
    rows, inputs = int(rng.choice([1, 5, 16, 33, 64, 97])), int(rng.choice([1, 3, 8, 20, 50]))
    X = rng.normal(size=(rows, inputs))
    if loss == "softmax_cross_entropy":
        y = rng.integers(0, widths[-1], rows)
    elif loss == "sigmoid_cross_entropy":
        y = rng.random((rows, widths[-1]))
    else:
        y = rng.normal(size=(rows, widths[-1]))
    weights = rng.uniform(0.1, 3, rows) if rng.random() < 0.3 else None
    penalties = {"l1": float(rng.choice([0.0, 0.01])), "l2": float(rng.choice([0.0, 0.1]))}
    return layers, loss, penalties, X, y, weights


def torch_parameters(model: fr.Sequential) -> dict:
    return {name: torch.tensor(value, requires_grad=True) for name, value in model.state_dict().items()}


def forward(model: fr.Sequential, parameters: dict, X):
    for layer in model.layers:
        z = X @ parameters[f"{layer.name}.weight"]
        if layer.use_bias:
            z = z + parameters[f"{layer.name}.bias"]
        X = ACTIVATIONS[layer.activation](z)
    return X


def objective(trainer: fr.Trainer, parameters: dict, X, y, weights):
    """Data loss and penalties, from the formulas of the documentation."""
    z = forward(trainer.model, parameters, X)
    rows = LOSSES[trainer.loss.name](z, y, reduction="none")
    rows = rows.reshape(len(X), -1).mean(dim=1)
    total = (rows * weights).sum() / weights.sum()
    for layer in trainer.model.layers:
        w = parameters[f"{layer.name}.weight"]
        l1 = trainer.l1 if layer.l1 is None else layer.l1
        l2 = trainer.l2 if layer.l2 is None else layer.l2
        total = total + l2.lam / 2 * (w * w).sum() + l1.lam * w.abs().sum()
    return total


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(30))
def test_gradients_of_random_networks(engine, dtype, seed):
    layers, loss, penalties, X, y, weights = random_network(seed)
    X = X.astype(dtype)
    y = y if loss == "softmax_cross_entropy" else y.astype(dtype)
    trainer = fr.Trainer(fr.Sequential(layers), loss=loss, engine=engine, dtype=dtype, seed=seed, **penalties)
    trainer.model.build(X.shape[1], seed=seed, dtype=dtype)
    for name, value in trainer.model.parameters.items():
        if name.endswith("bias"):
            value[...] = np.random.default_rng(seed).normal(size=value.shape)
    gradients = trainer.gradients(X, y, weights)
    parameters = torch_parameters(trainer.model)
    w = torch.ones(len(X), dtype=getattr(torch, dtype)) if weights is None else torch.tensor(weights.astype(dtype))
    value = objective(trainer, parameters, torch.tensor(X), torch.tensor(y), w)
    value.backward()
    assert trainer.objective(X, y, weights) == pytest.approx(value.item(), rel=LIMIT[dtype])
    for name, g in gradients.items():
        expected = parameters[name].grad.numpy()
        assert np.abs(g - expected).max() <= LIMIT[dtype] * np.abs(expected).max(), name


OPTIMIZERS = {
    "sgd": (fr.SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (fr.SGD(0.02, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)),
    "nesterov": (
        fr.SGD(0.02, momentum=0.8, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, nesterov=True),
    ),
    "adam": (
        fr.Adam(3e-3, beta1=0.85, beta2=0.99, eps=1e-6),
        lambda p: torch.optim.Adam(p, lr=3e-3, betas=(0.85, 0.99), eps=1e-6),
    ),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-4), ("float64", 1e-10)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_over_fifty_steps(engine, name, dtype, tolerance, rng):
    """With L2 on, so that the penalty reaches the moments; the last batch is smaller."""
    ours, theirs = OPTIMIZERS[name]
    X = rng.normal(size=(90, 6)).astype(dtype)
    y = rng.integers(0, 4, 90)
    model = fr.Sequential([fr.Dense(20, "tanh"), fr.Dense(4)])
    trainer = fr.Trainer(model, optimizer=ours, l2=0.01, engine=engine, dtype=dtype)
    model.build(6, seed=1, dtype=dtype)
    parameters = torch_parameters(model)
    optimizer = theirs(list(parameters.values()))
    trainer.fit(X, y, epochs=10, batch_size=20, shuffle=False)
    for _ in range(10):
        for start in range(0, 90, 20):
            optimizer.zero_grad()
            rows = slice(start, start + 20)
            data = torch.tensor(X[rows]), torch.tensor(y[rows])
            objective(trainer, parameters, *data, torch.ones(len(data[0]), dtype=getattr(torch, dtype))).backward()
            optimizer.step()
    assert trainer.updates == 50
    for key, value in model.parameters.items():
        expected = parameters[key].detach().numpy()
        assert np.abs(value - expected).max() <= tolerance * np.abs(expected).max(), key


def test_optimizers_with_decoupled_decay(engine, rng):
    """torch's AdamW form of decay is w (1 - lr decay) before the step; for SGD it is done by hand."""
    X, y = rng.normal(size=(32, 5)), rng.normal(size=(32, 2))
    model = fr.Sequential([fr.Dense(2)])
    trainer = fr.Trainer(model, "mse", fr.SGD(0.1, momentum=0.9, weight_decay=0.05), engine=engine, dtype="float64")
    model.build(5, seed=1, dtype="float64")
    parameters = torch_parameters(model)
    optimizer = torch.optim.SGD(list(parameters.values()), lr=0.1, momentum=0.9)
    trainer.fit(X, y, epochs=20, batch_size=32)
    for _ in range(20):
        optimizer.zero_grad()
        objective(trainer, parameters, torch.tensor(X), torch.tensor(y), torch.ones(32)).backward()
        with torch.no_grad():
            parameters["0.weight"] *= 1 - 0.1 * 0.05
        optimizer.step()
    for key, value in model.parameters.items():
        np.testing.assert_allclose(value, parameters[key].detach().numpy(), rtol=1e-9, atol=1e-12)
