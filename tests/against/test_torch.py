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
    "silu": torch.nn.functional.silu,
    "elu": torch.nn.functional.elu,
    "selu": torch.nn.functional.selu,
    "softplus": lambda z: torch.nn.functional.softplus(z, threshold=50),
    "mish": torch.nn.functional.mish,
    "hard_swish": torch.nn.functional.hardswish,
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
    before = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    torch.set_default_dtype(before[1])


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


# What torch has for each of ours, over the weights and the biases. Where torch has no decoupled decay, it is done by
# hand: w (1 - lr decay) before the step.
OPTIMIZERS = {
    "sgd": (fr.SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "sgd with decay": (fr.SGD(0.05, weight_decay=0.1), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (fr.SGD(0.02, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)),
    "nesterov": (
        fr.SGD(0.02, momentum=0.8, nesterov=True, weight_decay=0.05),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, nesterov=True),
    ),
    "rmsprop": (fr.RMSprop(2e-3, alpha=0.9, eps=1e-3), lambda p: torch.optim.RMSprop(p, lr=2e-3, alpha=0.9, eps=1e-3)),
    "rmsprop with momentum": (
        fr.RMSprop(1e-3, eps=1e-3, momentum=0.8, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, lr=1e-3, eps=1e-3, momentum=0.8),
    ),
    "adam": (
        fr.Adam(3e-3, beta1=0.85, beta2=0.99, eps=1e-6),
        lambda p: torch.optim.Adam(p, lr=3e-3, betas=(0.85, 0.99), eps=1e-6),
    ),
    "adam without eps": (fr.Adam(3e-3, eps=0), lambda p: torch.optim.Adam(p, lr=3e-3, eps=0)),
    "rmsprop without eps": (
        fr.RMSprop(1e-3, eps=0, momentum=0.5),
        lambda p: torch.optim.RMSprop(p, lr=1e-3, eps=0, momentum=0.5),
    ),
    "adamw": (
        fr.AdamW(3e-3, weight_decay=0.2),
        lambda p: torch.optim.AdamW([{**p[0], "weight_decay": 0.2}, {**p[1], "weight_decay": 0.0}], lr=3e-3),
    ),
    "nadam": (
        fr.NAdam(3e-3, beta1=0.85, momentum_decay=0.02),
        lambda p: torch.optim.NAdam(p, lr=3e-3, betas=(0.85, 0.999), momentum_decay=0.02),
    ),
    "nadam with decay": (fr.NAdam(3e-3, weight_decay=0.2), lambda p: torch.optim.NAdam(p, lr=3e-3)),
}


class Twin:
    """A small network of ours and the same in torch, trained by the same steps."""

    def __init__(self, engine, dtype, ours, theirs, **settings):
        rng = np.random.default_rng(1234)
        self.X, self.y = rng.normal(size=(90, 6)).astype(dtype), rng.integers(0, 4, 90)
        model = fr.Sequential([fr.Dense(20, "tanh"), fr.Dense(4)])
        self.trainer = fr.Trainer(model, optimizer=ours, l2=0.01, engine=engine, dtype=dtype, **settings)
        model.build(6, seed=1, dtype=dtype)
        self.parameters = torch_parameters(model)
        weights, biases = ([p for n, p in self.parameters.items() if n.endswith(e)] for e in ("weight", "bias"))
        self.optimizer = theirs([{"params": weights}, {"params": biases}])
        by_hand = ours.weight_decay and not isinstance(ours, fr.AdamW)
        self.decay = ours.lr * ours.weight_decay if by_hand else 0.0
        self.weights = weights

    def gradient(self, start: int, stop: int) -> None:
        """Of one batch, into torch's .grad."""
        self.optimizer.zero_grad()
        data = torch.tensor(self.X[start:stop]), torch.tensor(self.y[start:stop])
        objective(self.trainer, self.parameters, *data, torch.ones(stop - start, dtype=data[0].dtype)).backward()

    def step(self) -> None:
        with torch.no_grad():
            for w in self.weights:
                w *= 1 - self.decay
        self.optimizer.step()

    def compare(self, tolerance: float) -> None:
        for key, value in self.trainer.model.parameters.items():
            expected = self.parameters[key].detach().numpy()
            assert np.abs(value - expected).max() <= tolerance * np.abs(expected).max(), key


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-10)])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.slow
def test_optimizers_over_two_hundred_steps(engine, name, dtype, tolerance):
    """L2 is on, so that the penalty reaches the moments. The last batch is smaller."""
    torch.set_default_dtype(getattr(torch, dtype))  # NAdam keeps its mu product in it
    twin = Twin(engine, dtype, *OPTIMIZERS[name])
    twin.trainer.fit(twin.X, twin.y, epochs=40, batch_size=20, shuffle=False)
    for _ in range(40):
        for start in range(0, 90, 20):
            twin.gradient(start, min(start + 20, 90))
            twin.step()
    assert twin.trainer.updates == 200
    twin.compare(tolerance)


@pytest.mark.parametrize("name", ["momentum", "adamw", "rmsprop with momentum"])
@pytest.mark.parametrize(
    ("norm", "value", "accumulate"),
    [(0.1, None, 1), (None, 0.01, 1), (0.2, 0.02, 1), (None, None, 3), (0.1, 0.02, 2), (1e3, 1e3, 7)],
)
def test_clipping_and_accumulation(engine, name, norm, value, accumulate):
    """Batches of 20 among 90 rows: the last step of an epoch has fewer batches, and its last batch fewer rows."""
    limits = {"clip_norm": norm, "clip_value": value, "accumulate": accumulate}
    twin, rows = Twin(engine, "float64", *OPTIMIZERS[name], **limits), 20 * accumulate
    twin.trainer.fit(twin.X, twin.y, epochs=10, batch_size=20, shuffle=False)
    clipped = 0
    for _ in range(10):
        for start in range(0, 90, rows):
            twin.gradient(start, min(start + rows, 90))
            if value is not None:
                torch.nn.utils.clip_grad_value_(twin.parameters.values(), value)
            if norm is not None:
                clipped += torch.nn.utils.clip_grad_norm_(twin.parameters.values(), norm).item() > norm
            twin.step()
    assert twin.trainer.step == 50 and twin.trainer.updates == 10 * -(-90 // rows)
    assert clipped > 0 or norm in (None, 1e3)
    twin.compare(1e-10)


def test_a_schedule_counts_steps_of_the_optimizer(engine):
    """Three batches per step, two steps per epoch."""
    ours = fr.SGD(fr.schedules.Exponential(0.5, 0.8, per="step"), momentum=0.5)
    twin = Twin(engine, "float64", ours, lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.5), accumulate=3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(twin.optimizer, 0.8)
    for _ in range(4):
        twin.trainer.fit(twin.X, twin.y, epochs=2, batch_size=20, shuffle=False)
        for start, stop in [(0, 60), (60, 90)] * 2:
            twin.gradient(start, stop)
            twin.step()
            scheduler.step()
    assert twin.trainer.updates == 16
    twin.compare(1e-10)


def test_every_layer_has_its_rate_and_frozen_ones_none(engine):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 2))
    layers = [fr.Dense(7, "tanh", lr_scale=0.1), fr.Dense(6, "tanh", trainable=False, l2=3.0), fr.Dense(2, lr_scale=2)]
    model = fr.Sequential(layers)
    trainer = fr.Trainer(model, "mse", fr.SGD(0.05, momentum=0.9), engine=engine, dtype="float64", clip_norm=0.5)
    model.build(5, dtype="float64")
    frozen = {name: value for name, value in model.state_dict().items() if name[0] == "1"}
    parameters = torch_parameters(model)
    trained = {i: [parameters[f"{i}.weight"], parameters[f"{i}.bias"]] for i in (0, 2)}
    groups = [{"params": trained[0], "lr": 0.005}, {"params": trained[2], "lr": 0.1}]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    history = trainer.fit(X, y, epochs=30, batch_size=40, shuffle=False)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(forward(model, parameters, torch.tensor(X)), torch.tensor(y)).backward()
        torch.nn.utils.clip_grad_norm_(trained[0] + trained[2], 0.5)
        optimizer.step()
    for key, value in model.parameters.items():
        np.testing.assert_allclose(value, parameters[key].detach().numpy(), rtol=1e-9, atol=1e-12)
    assert all(np.array_equal(model.parameters[name], value) for name, value in frozen.items())
    assert set(trainer.gradients(X, y)) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert history["penalty"][-1] == trainer.penalty(40) == 0.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [fr.Adam(0.01, eps=0), fr.RMSprop(0.01, eps=0), fr.RMSprop(eps=0, momentum=0.9)])
def test_without_eps_an_element_without_gradient_stays(engine, dtype, optimizer):
    """PyTorch makes it 0 / 0."""
    X, y = np.random.default_rng(2).normal(size=(40, 3)), np.arange(40) % 3
    X[:, 1] = 0
    model = fr.Sequential([fr.Dense(3)])
    model.build(3, dtype=dtype)
    before = model.state_dict()["0.weight"]
    fr.Trainer(model, optimizer=optimizer, engine=engine, dtype=dtype).fit(X, y, epochs=5, batch_size=10)
    moved = model.parameters["0.weight"] != before
    assert not moved[1].any() and moved[[0, 2]].all()
