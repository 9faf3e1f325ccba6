"""from_torch and to_torch against PyTorch itself: the same outputs, gradients and trained weights."""

import copy
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from exchanged import ACTIVATIONS, close, in_torch_form, last, random_net, rows, shaken  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import fastreg as fr  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
N = 7
IMAGE = (3, 8, 6)

# Each layer alone or nearly so, and the shape of a sample as PyTorch has it.
LAYERS = {
    "Linear": (lambda: nn.Linear(5, 3), (5,)),
    "Linear without bias": (lambda: nn.Linear(5, 3, bias=False), (5,)),
    "Dropout": (lambda: nn.Sequential(nn.Dropout(0.2), nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 2)), (5,)),
    "Flatten": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), IMAGE),
    "Flatten of two dimensions": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), (4, 5)),
    "Identity": (lambda: nn.Sequential(nn.Identity(), nn.Linear(5, 3)), (5,)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(5, eps=1e-3, momentum=0.3), (5,)),
    "BatchNorm1d not affine": (lambda: nn.Sequential(nn.BatchNorm1d(5, affine=False), nn.Linear(5, 3)), (5,)),
    "BatchNorm2d": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(144, 2)), IMAGE),
    "BatchNorm1d of an image": (lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 2)), IMAGE),
    "LayerNorm": (lambda: nn.LayerNorm(5, eps=1e-4), (5,)),
    "LayerNorm without bias": (lambda: nn.LayerNorm(5, bias=False), (5,)),
    "LayerNorm not affine": (lambda: nn.Sequential(nn.LayerNorm(5, elementwise_affine=False), nn.Linear(5, 3)), (5,)),
    "LayerNorm of images": (lambda: nn.Sequential(nn.LayerNorm(IMAGE), nn.Flatten(), nn.Linear(144, 2)), IMAGE),
    "LayerNorm of a flat image": (lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 2)), IMAGE),
    "Conv2d": (lambda: nn.Conv2d(3, 4, 3), IMAGE),
    "Conv2d of one channel": (lambda: nn.Conv2d(1, 4, 3), (1, 8, 6)),
    "Conv2d uneven": (lambda: nn.Conv2d(3, 4, (1, 3), stride=(2, 1), bias=False), IMAGE),
    "Conv2d with a border": (lambda: nn.Conv2d(3, 4, 5, padding=2), IMAGE),
    "Conv2d same": (lambda: nn.Conv2d(3, 4, 4, padding="same"), IMAGE),
    "Conv2d valid": (lambda: nn.Conv2d(3, 4, 4, padding="valid"), IMAGE),
    "Conv2d with strides and a border": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 9, 7)),
    "ZeroPad2d": (lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, stride=2)), IMAGE),
    "Conv2d, Flatten": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Tanh(), nn.Linear(96, 2)), IMAGE),
    "MaxPool2d": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2)), IMAGE),
    "MaxPool2d with a border": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(3, 2, padding=1)), (3, 9, 7)),
    "MaxPool2d to the end": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2, ceil_mode=True)), (3, 7, 5)),
    "AvgPool2d": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d((2, 3))), IMAGE),
    "AvgPool2d with a border": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)),
        (3, 9, 7),
    ),
    "AdaptiveAvgPool2d(1)": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)),
        IMAGE,
    ),
    "AdaptiveAvgPool2d, Conv2d": (
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2, 2)),
        IMAGE,
    ),
    "AdaptiveAvgPool2d(4, 3)": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d((4, None))), IMAGE),
    "nested": (
        lambda: nn.Sequential(
            nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Sequential(nn.Sequential(nn.Linear(4, 4))), nn.Linear(4, 2)
        ),
        (5,),
    ),
}
LAYERS |= {
    f"{type(make()).__name__} {i}": ((lambda make=make: nn.Sequential(nn.Linear(5, 4), make(), nn.Linear(4, 3))), (5,))
    for i, make in enumerate(ACTIVATIONS)
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def samples(shape, n=N, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_both_ways(name):
    make, shape = LAYERS[name]
    module, x = shaken(make()), samples(shape)
    expected = module(x)
    model = fr.from_torch(module, shape)
    assert model.dtype == "float64"
    assert close(model.predict(last(x)), rows(expected), 1e-12)
    back = fr.to_torch(model)
    assert not back.training and close(back(x).detach(), expected.detach(), 1e-12)
    again = fr.from_torch(back, shape)
    assert again.config()["layers"] == model.config()["layers"]
    assert all(np.array_equal(again.parameters[key], value) for key, value in model.parameters.items())

    narrow = fr.from_torch(module.float(), shape)
    assert narrow.dtype == "float32" and close(narrow.predict(last(x.float())), rows(expected), 1e-6)
    assert close(fr.to_torch(narrow)(x.float()).detach(), expected.detach(), 1e-6)


def torch_gradients(module, x, y):
    """Of the mean squared error of a module in train mode, by key. It stays as it was."""
    module = copy.deepcopy(module).train()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    F.mse_loss(module(x).flatten(1), y).backward()
    return {key: p.grad.numpy() for key, p in module.named_parameters()}


def without_dropout(model):
    for layer in model.layers:
        if isinstance(layer, fr.Dropout):
            model.layers[layer.name].keep_prob = 1.0
    return model


@pytest.mark.parametrize("seed", range(40))
def test_random_nets_outputs_gradients_and_states(seed):
    module, shape = random_net(seed)
    module = shaken(module, seed)
    x = samples(shape, 9, seed)
    model = without_dropout(fr.from_torch(module, shape))
    assert close(model.predict(last(x)), rows(module(x)), 1e-11)
    y = np.random.default_rng(seed).normal(size=(9, model.outputs))
    expected = torch_gradients(module, x, torch.tensor(y))
    found = in_torch_form(model, fr.Trainer(model, loss="mse", dtype="float64").gradients(last(x), y))
    largest = max(float(np.abs(g).max()) for g in expected.values())
    for key, g in expected.items():
        assert np.abs(found[key] - g).max() <= 1e-10 * largest, key

    state = module.state_dict()
    own = fr.torch_state(model)
    assert list(own) == list(state)
    for key, tensor in state.items():
        assert np.array_equal(own[key], tensor.numpy()) or key.endswith("num_batches_tracked")
    other = model.copy()
    other.build(model.input_shape, seed=99, dtype="float64")
    fr.load_torch_state(other, state)
    assert all(np.array_equal(other.parameters[key], value) for key, value in model.parameters.items())
    module.load_state_dict({key: torch.tensor(value) for key, value in own.items()})


@pytest.mark.parametrize("seed", range(6))
def test_a_few_steps_of_sgd_give_the_same_weights(seed):
    module, shape = random_net(seed)
    module = shaken(module, seed)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    x = samples(shape, 24, seed)
    y = torch.randn(24, module[-1].out_features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    model = fr.from_torch(module, shape)
    trainer = fr.Trainer(model, loss="mse", optimizer=fr.SGD(0.01, momentum=0.9), dtype="float64")
    trainer.fit(last(x), y.numpy(), epochs=2, batch_size=8, shuffle=False, verbose=0)
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    for _ in range(2):
        for batch in range(0, 24, 8):
            optimizer.zero_grad()
            F.mse_loss(module(x[batch : batch + 8]), y[batch : batch + 8]).backward()
            optimizer.step()
    own = fr.torch_state(model)
    for key, tensor in module.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert close(own[key], tensor.numpy(), 1e-8), key


# --- What comes after the last layer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end, transform, task",
    [
        (nn.Softmax(dim=1), "softmax", "softmax_cross_entropy"),
        (nn.Softmax(-1), "softmax", "softmax_cross_entropy"),
        (nn.LogSoftmax(dim=1), "softmax", "softmax_cross_entropy"),
        (nn.Sigmoid(), "sigmoid", "sigmoid_cross_entropy"),
    ],
)
def test_a_last_softmax_or_sigmoid_is_what_predict_does(end, transform, task):
    module, x = shaken(nn.Sequential(nn.Linear(5, 3), end)), samples((5,))
    model = fr.from_torch(module)
    expected = module(x).exp() if isinstance(end, nn.LogSoftmax) else module(x)
    assert model.output_transform == transform and model.layers[-1].activation == "linear"
    assert close(model.predict(x.numpy()), rows(expected), 1e-12)
    assert fr.Trainer(model, dtype="float64").loss.name == task
    assert close(rows(fr.to_torch(model)(x)), rows(expected), 1e-12)
    assert close(rows(fr.to_torch(model, logits=True)(x)), rows(module[0](x)), 1e-12)


def test_a_softmax_without_a_dimension_is_that_of_each_row():
    module, x = shaken(nn.Sequential(nn.Linear(5, 3), nn.Softmax())), samples((5,))
    expected = module[0](x).softmax(1)  # PyTorch takes the same, with a warning
    assert close(fr.from_torch(module).predict(x.numpy()), rows(expected), 1e-12)


def test_the_loss_says_what_the_outputs_are():
    x = samples((5,))
    module = shaken(nn.Sequential(nn.Linear(5, 3)))
    assert close(fr.from_torch(module).predict(x.numpy()), rows(module(x)), 1e-12)
    model = fr.from_torch(module, loss="CrossEntropyLoss")
    assert model.loss.name == "softmax_cross_entropy"
    assert close(model.predict(x.numpy()), rows(module(x).softmax(1)), 1e-12)
    painter = shaken(nn.Sequential(nn.Linear(5, 3), nn.Sigmoid()))
    model = fr.from_torch(painter, loss="mse")
    assert model.layers[-1].activation == "sigmoid" and model.output_transform == "linear"
    assert close(model.predict(x.numpy()), rows(painter(x)), 1e-12)
    with pytest.raises(ValueError, match=r"module '1': got Softmax\(dim=1\).*last one of a head"):
        fr.from_torch(nn.Sequential(nn.Linear(5, 3), nn.Softmax(dim=1)), loss="mse")
    with pytest.raises(ValueError, match=r"module '1': got Softmax.*expected dim=1"):
        fr.from_torch(nn.Sequential(nn.Linear(5, 3), nn.Softmax(dim=0)))


def test_scaled_inputs_and_targets_go_along():
    rng = np.random.default_rng(0)
    X, y = rng.normal(50, 20, size=(40, 3)), rng.normal(1e6, 1e3, size=(40, 2))
    parts = [fr.data.Standardizer().fit(X), fr.Dense(4, "tanh"), fr.Dense(2), fr.data.TargetScaler().fit(y)]
    model = fr.Sequential(parts)
    model.build(3, seed=1, dtype="float64")
    module = fr.to_torch(model)
    assert close(rows(module(torch.tensor(X))), model.predict(X), 1e-12)
    again = fr.from_torch(module)
    assert close(again.predict(X), model.predict(X), 1e-12)
    assert again.schema.target.mean == model.schema.target.mean
    assert list(module.state_dict()) == [
        "0.mean",
        "0.scale",
        "1.weight",
        "1.bias",
        "3.weight",
        "3.bias",
        "4.mean",
        "4.scale",
    ]
    assert close(rows(fr.to_torch(model, logits=True)(torch.tensor(X))) * y.std(0) + y.mean(0), model.predict(X), 1e-12)


def test_poisson():
    model = fr.Sequential([fr.Dense(2)])
    model.build(3, dtype="float64")
    model.loss = "poisson"
    x = samples((3,))
    assert close(rows(fr.to_torch(model)(x)), model.predict(x.numpy()), 1e-12)
    assert fr.from_torch(fr.to_torch(model)).output_transform == "exp"


def test_a_table_is_encoded_by_its_schema():
    table = {"town": ["rome", "oslo", "rome", None], "n": [1.0, None, 3.0, 4.0]}
    schema = fr.data.infer_schema(table, [0.5, 1.5, 2.5, 0.5])
    model = fr.Sequential([schema, fr.Dense(1)])
    model.build(schema.width, dtype="float64")
    with pytest.raises(ValueError, match=r"schema encodes the columns of a table.*encoded=True"):
        fr.to_torch(model)
    module = fr.to_torch(model, encoded=True)
    numbers = torch.tensor(model.schema.inputs("X", table, "float64"))
    assert close(rows(module(numbers)), model.predict(table), 1e-12)


# --- Layers that PyTorch lacks, and graphs ----------------------------------------------------------------------------

OURS = {
    "strides": [fr.Conv2D(4, 3, strides=2, padding="same"), fr.Flatten(), fr.Dense(2)],
    "MaxPool2D": [fr.Conv2D(4, 1), fr.MaxPool2D(3, strides=2, padding="same"), fr.Flatten(), fr.Dense(2)],
    "AvgPool2D": [fr.Conv2D(4, 1), fr.AvgPool2D((3, 2), strides=2, padding="same"), fr.Flatten(), fr.Dense(2)],
    "Dropout": [fr.Flatten(), fr.Dropout(rate=0.3, kind="standard"), fr.Dense(2), fr.Dropout(rate=0.1, per="unit")],
    "Dropout by rows": [fr.Flatten(), fr.Dropout(rate=0.3, per="unit", rows=2), fr.Dense(2)],
    "GaussianNoise": [fr.GaussianNoise(0.3), fr.Flatten(), fr.Dense(2)],
    "norms": [
        fr.Flatten(),
        fr.BatchNorm(scale=False),
        fr.LayerNorm(scale=False),
        fr.LayerNorm(shift=False),
        fr.Dense(2),
    ],
    "frozen": [fr.Conv2D(2, 1, trainable=False), fr.BatchNorm(trainable=False), fr.Flatten(), fr.Dense(2)],
    "tied": [fr.Flatten(), fr.Dense(4, name="a"), fr.Dense(4), fr.Dense(4, tied_to="a"), fr.Dense(2)],
    "global": [
        fr.GlobalAvgPool2D(),
        fr.Dense(3),
        fr.Residual([fr.Dense(3, "relu"), fr.Dropout(rate=0.5)]),
        fr.Dense(2),
    ],
}


@pytest.mark.parametrize("kind", ["inverted", "gaussian", "standard"])
def test_rows_share_their_draws_in_pytorch_too(kind):
    model = fr.Sequential([fr.Dropout(rate=0.5, kind=kind, per="unit", rows=3), fr.Dense(2)])
    model.build(400)
    dropped = fr.to_torch(model).train()[0](torch.ones(8, 400)).numpy()
    expected = 0.5 if kind == "standard" else 1.0
    for first, end in ((0, 3), (3, 6), (6, 8)):
        np.testing.assert_array_equal(dropped[first:end], np.repeat(dropped[first : first + 1], end - first, axis=0))
        assert dropped[first].mean() == pytest.approx(expected, abs=6 / 20 * expected)
    assert not np.array_equal(dropped[0], dropped[3]) and not np.array_equal(dropped[3], dropped[6])


@pytest.mark.parametrize("name", OURS)
def test_what_pytorch_lacks(name):
    layers, shape = OURS[name], (8, 6, 3)
    if name == "tied":
        layers, shape = [fr.Dense(4, name="a"), fr.Dense(4), fr.Dense(4, "tanh", tied_to="a"), fr.Dense(2)], (4,)
    model = fr.Sequential(layers)
    model.build(shape, seed=4, dtype="float64")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, *shape))
    x = torch.tensor(X.transpose(0, 3, 1, 2).copy() if len(shape) == 3 else X)
    module = fr.to_torch(model)
    assert close(rows(module(x)), model.predict(X), 1e-12)
    again = fr.from_torch(module, tuple(x.shape[1:]))
    assert close(again.predict(X), model.predict(X), 1e-12)
    own = [layer for layer in model.layers if not (isinstance(layer, fr.Activation) and layer.activation == "linear")]
    assert [repr(layer.named(None)) for layer in again.layers] == [repr(layer.named(None)) for layer in own]
    copy.deepcopy(module)(x)
    frozen = [p for p in module.parameters() if not p.requires_grad]
    assert bool(frozen) == (name in ("frozen", "norms"))


def test_images_of_two_dimensions_and_columns_of_a_flat_image():
    model = fr.Sequential([fr.Conv2D(2, 3, "relu"), fr.Flatten(), fr.BatchNorm(), fr.Dense(2)])
    model.build((6, 5), dtype="float64")
    X = np.random.default_rng(0).normal(size=(4, 6, 5))
    assert close(rows(fr.to_torch(model)(torch.tensor(X[:, None]))), model.predict(X), 1e-12)
    plain = fr.Sequential([fr.Flatten(), fr.Dense(2)])
    plain.build((6, 5), dtype="float64")
    assert close(rows(fr.to_torch(plain)(torch.tensor(X))), plain.predict(X), 1e-12)


def our_graph():
    """Two inputs, one of codes, a skip, a layer used twice, a tied and transposed weight, two heads."""
    x, codes = fr.Input(4, name="x"), fr.Input(2, name="codes")
    h = fr.Concatenate()([x, fr.Embedding([3, 5], 2)(codes)])
    body = fr.Dense(8, name="body")
    h = fr.Add("tanh")([body(h), h])
    h = fr.BatchNorm("silu")(body(h))
    back = fr.Dense(8, tied_to="body", transposed=True, name="back")(h)
    return fr.Model([x, codes], {"kind": fr.Dense(3, name="kind")(h), "back": back})


def test_a_graph_of_ours():
    model = our_graph()
    model.build(seed=3, dtype="float64")
    model.loss = {"kind": "softmax_cross_entropy", "back": "mse"}
    rng = np.random.default_rng(0)
    X = {"x": rng.normal(size=(6, 4)), "codes": rng.integers(0, 3, (6, 2))}
    module, expected = fr.to_torch(model), model.predict(X)
    found = module(torch.tensor(X["x"]), torch.tensor(X["codes"]))
    assert found.keys() == expected.keys()
    assert all(close(rows(found[head]), expected[head], 1e-12) for head in found)
    again = fr.from_torch(module, {"x": 4})
    assert again.heads == model.heads and again.transforms == model.transforms
    found = again.predict(X)
    assert all(close(found[head], expected[head], 1e-12) for head in found)
    assert {layer.name for layer in again.layers} >= {"body", "kind", "back"}
    other = our_graph()
    other.build(seed=9, dtype="float64")
    fr.load_torch_state(other, fr.to_torch(model, logits=True).state_dict())
    assert all(np.array_equal(other.parameters[key], value) for key, value in model.parameters.items())


def test_columns_of_one_table():
    numbers, codes = fr.Input(columns=[0, 3]), fr.Input(columns=[2])
    model = fr.Model([numbers, codes], fr.Dense(2)(fr.Concatenate()([numbers, fr.Embedding(4, 3)(codes)])))
    model.build(4, dtype="float64")
    X = np.random.default_rng(0).normal(size=(9, 4))
    X[:, 2] = np.arange(9) % 4
    module = fr.to_torch(model)
    assert close(rows(module(torch.tensor(X))), model.predict(X), 1e-12)
    assert close(fr.from_torch(module).predict(X), model.predict(X), 1e-12)


class Net(nn.Module):
    """What people write."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.features = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())
        self.fc1 = nn.Linear(6 * 2, 10)
        self.skip = nn.Linear(10, 10)
        self.fc2 = nn.Linear(10, 3)

    def forward(self, x):
        x = self.pool(F.relu(self.norm(self.conv1(x))))
        x = F.dropout(self.features(x), 0.25, training=self.training)
        x = x.view(x.size(0), -1)
        x = torch.tanh(self.fc1(x))
        x = x + F.gelu(self.skip(x))
        return F.log_softmax(self.fc2(x), dim=1)


def test_a_class_with_a_forward_function():
    module, x = shaken(Net()), samples((1, 8, 6))
    module.train()
    model = fr.from_torch(module, (1, 8, 6))
    assert all(part.training for part in module.modules())
    expected = rows(module.eval()(x).exp())
    assert close(model.predict(last(x)), expected, 1e-12)
    assert [layer.name for layer in model.layers if hasattr(layer, "units")] == ["fc1", "skip", "fc2"]
    assert any(isinstance(layer, fr.Dropout) for layer in model.layers)
    assert close(rows(fr.to_torch(model)(x)), expected, 1e-12)
    other = model.copy()
    other.build(model.input_shape, seed=7, dtype="float64")
    fr.load_torch_state(other, module.state_dict())
    assert all(np.array_equal(other.parameters[key], value) for key, value in model.parameters.items())


def test_arguments_with_a_default_have_it():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.unused = nn.Linear(3, 3), nn.Linear(3, 1)

        def forward(self, x, mask=None, features=False, scale=2):
            if mask is not None:
                x = x * mask
            self.unused(x)
            return x if features else self.a(x)

    module, x = shaken(Masked()), samples((3,))
    model = fr.from_torch(module)
    assert sorted(model.parameters) == ["a.bias", "a.weight"]
    assert close(model.predict(x.numpy()), rows(module(x)), 1e-12)


class Wide(nn.Module):
    """Two inputs and two outputs."""

    def __init__(self):
        super().__init__()
        self.towns = nn.Embedding(5, 3)
        self.body = nn.Linear(4 + 6, 8)
        self.kind, self.size = nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, numbers, codes):
        h = torch.cat([numbers, self.towns(codes).flatten(1)], dim=1)
        h = self.body(h).relu()
        return {"kind": self.kind(h), "size": self.size(h)}


def test_several_inputs_and_outputs():
    module = shaken(Wide())
    x, codes = samples((4,)), torch.arange(2 * N).reshape(N, 2) % 5
    model = fr.from_torch(module, {"numbers": 4, "codes": 2}, loss={"kind": "softmax_cross_entropy", "size": "mse"})
    found, expected = model.predict({"numbers": x.numpy(), "codes": codes.numpy()}), module(x, codes)
    assert close(found["kind"], rows(expected["kind"].softmax(1)), 1e-12)
    assert close(found["size"], rows(expected["size"]), 1e-12)


def test_codes_alone():
    module = shaken(nn.Sequential(nn.Embedding(6, 3), nn.Dropout(0.1), nn.Flatten(), nn.Linear(6, 2)))
    codes = torch.arange(10).reshape(5, 2) % 6
    model = fr.from_torch(module)
    assert model.input_shape == (2,)
    assert close(model.predict(codes.numpy()), rows(module(codes)), 1e-12)
    assert close(rows(fr.to_torch(model)(codes)), rows(module(codes)), 1e-12)


def test_a_layer_called_twice_and_a_weight_of_two_layers():
    body = nn.Linear(5, 5)
    module, x = shaken(nn.Sequential(body, nn.Tanh(), body, nn.Linear(5, 2))), samples((5,))
    model = fr.from_torch(module)
    assert len(model.parameters) == 4 and close(model.predict(x.numpy()), rows(module(x)), 1e-12)
    module = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.Linear(5, 2))
    module[2].weight = module[0].weight
    shaken(module)
    model = fr.from_torch(module)
    assert model.layers[1].tied_to == "0" and close(model.predict(x.numpy()), rows(module(x)), 1e-12)


def test_wrapped_modules_and_half_precision():
    module, x = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), samples((5,)).float()
    for wrapped in (nn.DataParallel(module), torch.compile(module, backend="eager")):
        assert close(fr.from_torch(wrapped).predict(x.numpy()), rows(module(x)), 1e-6)
    for dtype in (torch.float16, torch.bfloat16):
        model = fr.from_torch(copy.deepcopy(module).to(dtype))
        assert model.dtype == "float32"
        assert close(model.predict(x.numpy()), rows(copy.deepcopy(module).to(dtype).float()(x)), 1e-6)
    assert fr.from_torch(module, dtype="float64").dtype == "float64"


def test_nothing_is_shared_and_no_draw_is_taken():
    model = fr.Sequential([fr.Dense(3, "relu"), fr.BatchNorm(), fr.Dense(2)])
    model.build(4)
    before, state = model.state_dict(), torch.random.get_rng_state()
    module = fr.to_torch(model)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.zero_()
    assert all(np.array_equal(model.parameters[key], value) for key, value in before.items())
    model = fr.from_torch(nn.Sequential(module[0]))
    module[0].weight.data.fill_(7.0)
    assert not model.parameters["0.weight"].any()


def test_a_module_goes_through_a_file(tmp_path):
    model = our_graph()
    model.build(dtype="float64")
    path = tmp_path / "module.pt"
    torch.save(fr.to_torch(model), path)
    module = torch.load(path, weights_only=False)
    X = {"x": np.ones((2, 4)), "codes": np.ones((2, 2), int)}
    found = module(torch.ones(2, 4, dtype=torch.float64), torch.ones(2, 2, dtype=torch.int64))
    assert close(rows(found["back"]), model.predict(X)["back"], 1e-12)


# --- What cannot be converted -----------------------------------------------------------------------------------------


def a_branch():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)

        def forward(self, x):
            return self.a(x) if x.sum() > 0 else x

    return Branch()


def recurrent():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(4, 8), nn.Linear(8, 1)

        def forward(self, x):
            out, _ = self.rnn(x)
            return self.head(out[-1])

    return Recurrent()


def hooked():
    module = nn.Sequential(nn.Linear(3, 3))
    module[0].register_forward_hook(lambda *args: None)
    return module


def half_frozen():
    module = nn.Sequential(nn.Linear(3, 3))
    module[0].bias.requires_grad = False
    return module


REFUSED = {
    "an unknown layer": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4)),
        None,
        "module '1': got GroupNorm.*LayerN",
    ),
    "an unknown activation": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU6()),
        None,
        "module '1': got ReLU6.*'relu'",
    ),
    "a slope": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.2)), None, r"LeakyReLU\(negative_slope=0.01\)"),
    "a recurrent net": (lambda: nn.Sequential(nn.LSTM(4, 4)), None, "module '0': got LSTM"),
    "a recurrent net in a class": (recurrent, (3, 4), "module 'rnn': got LSTM"),
    "a deep path": (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Dropout2d())),
        None,
        "module '0.1'.*Dropout",
    ),
    "no shape": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3)), None, "input_shape: got none.*Conv2d needs"),
    "another shape": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), (1, 4, 4), "16 columns.*input_shape"),
    "channels": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3)), (1, 8, 8), "images of 1 channels, expected in_channels"),
    "groups": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), (4, 8, 8), "groups=1"),
    "another border": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, stride=2)),
        (1, 8, 8),
        r"module '0'.*8 x 8.*nn.ZeroPad2d\(\(0, 1, 0, 1\)\)",
    ),
    "a border of an even kernel": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 2, padding=1)),
        (1, 8, 8),
        r"expected padding=0 \(with nn.ZeroPad2d\(\(0, 1, 0, 1\)\) before it, that is padding='same'\)$",
    ),
    "a border of a maximum": (
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, padding=1)),
        (1, 8, 8),
        r"nn.ConstantPad2d\(\(0, 1, 0, 1\), -math.inf\) before it, that is padding='same'\)$",
    ),
    "a border that is wide": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=2)),
        (1, 8, 8),
        r"expected padding=0, or padding=\(1, 1\)$",
    ),
    "a kernel that is larger": (lambda: nn.Sequential(nn.Conv2d(1, 4, 9)), (1, 8, 8), "smaller than its kernel$"),
    "a counted border": (lambda: nn.Sequential(nn.AvgPool2d(3, padding=1)), (1, 9, 9), "count_include_pad=False"),
    "part of a sample": (lambda: nn.Sequential(nn.LayerNorm(4)), (3, 4), r"normalized_shape=\(3, 4\)"),
    "no moments": (
        lambda: nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)),
        None,
        "track_running_stats=True",
    ),
    "no momentum": (lambda: nn.Sequential(nn.BatchNorm1d(4, momentum=None)), None, "a number as momentum"),
    "a flat image at the end": (
        lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.Flatten()),
        (2, 3, 3),
        "Linear after the Fl",
    ),
    "a padded vocabulary": (lambda: nn.Sequential(nn.Embedding(4, 2, padding_idx=0)), 2, "padding_idx=None"),
    "a lazy layer": (lambda: nn.Sequential(nn.LazyLinear(3)), 4, "no shapes yet"),
    "a branch": (a_branch, 3, "cannot be traced"),
    "hooks": (hooked, None, "hooks"),
    "half a layer frozen": (half_frozen, None, "one parameter is frozen"),
    "a tensor": (lambda: torch.ones(3), None, "expected a torch.nn.Module"),
    "a script": (lambda: torch.jit.script(nn.Sequential(nn.Linear(3, 3))), None, "got a ScriptModule"),
    "a state": (lambda: {"0.weight": torch.ones(3)}, None, "load_torch_state"),
}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature", "ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_what_they_refuse(name):
    make, shape, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        fr.from_torch(make(), shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kernel, stride, padding, side", [(3, 2, 1, 8), (7, 2, 3, 10), ((3, 5), (2, 1), (1, 2), 8)])
def test_the_larger_kernel_that_is_advised_gives_the_same_values(kernel, stride, padding, side):
    torch.manual_seed(0)
    theirs = nn.Conv2d(2, 3, kernel, stride=stride, padding=padding)
    with pytest.raises(ValueError, match=r"gives the same values$") as caught:
        fr.from_torch(nn.Sequential(theirs), (2, side, side))
    size = tuple(map(int, re.findall(r"kernel_size=\((\d+), (\d+)\) with zeros", str(caught.value))[0]))
    larger = nn.Conv2d(2, 3, size, stride=stride, padding=padding)
    down, across = theirs.kernel_size
    with torch.no_grad():
        larger.weight.zero_()[:, :, :down, :across] = theirs.weight
        larger.bias.copy_(theirs.bias)
    images = torch.randn(4, 2, side, side)
    same = theirs(images).detach().numpy().transpose(0, 2, 3, 1).reshape(4, -1)
    own = fr.from_torch(nn.Sequential(larger), (2, side, side)).predict(images.numpy().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(own, same, atol=1e-6)


def test_models_that_cannot_go():
    square = fr.Function(lambda x: x**2, lambda dy, x, y: 2 * x * dy, name="square")
    model = fr.Sequential([fr.Dense(4), square, fr.Dense(1)])
    with pytest.raises(ValueError, match="no parameters yet"):
        fr.to_torch(model)
    model.build(3)
    for convert in (fr.to_torch, fr.torch_state):
        with pytest.raises(ValueError, match="layer 'square': got Function"):
            convert(model)
    model = fr.Sequential([fr.Dense(4, name="forward"), fr.Dense(1)])
    model.build(3)
    with pytest.raises(ValueError, match="'forward'"):
        fr.to_torch(model)
    with pytest.raises(TypeError, match=r"its \.model is one"):
        fr.to_torch(fr.Trainer(model))
    model = fr.Sequential([fr.BatchNorm(), fr.Flatten(), fr.Dense(1)])
    model.build((3, 4))
    with pytest.raises(ValueError, match=r"layer '0': got BatchNorm.*Flatten\(\) before it"):
        fr.to_torch(model)
