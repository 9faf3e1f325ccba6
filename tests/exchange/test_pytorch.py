"""from_torch and to_torch against PyTorch itself: the same outputs, gradients and trained weights."""

import copy

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
