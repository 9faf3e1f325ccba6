"""State dictionaries of PyTorch in safetensors, both ways, and History.to_frame."""

import math
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr


def built(layers, shape, seed=1):
    model = fr.Sequential(layers)
    model.build(shape, seed=seed)
    return model


def net(seed=1, **names):
    layers = [
        fr.Conv2D(4, 3, "relu", padding="same"),
        fr.MaxPool2D(2),
        fr.Flatten(),
        fr.Dense(8, name=names.get("body")),
        fr.BatchNorm("tanh"),
        fr.Dropout(rate=0.5),
        fr.Dense(3),
    ]
    return built(layers, (6, 4, 2), seed)


def torch_net():
    from torch import nn

    body = [nn.Linear(24, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 3)]
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), *body)


def same(model, other):
    return all(np.array_equal(other.parameters[key], value) for key, value in model.parameters.items())


def test_a_file_of_pytorch_loads_and_one_of_ours_there(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors import torch as files

    module, model = torch_net().eval(), net()
    files.save_file(module.state_dict(), tmp_path / "torch.safetensors")
    fr.load_torch_state(model, tmp_path / "torch.safetensors")
    x = torch.randn(5, 2, 6, 4, generator=torch.Generator().manual_seed(0))
    assert np.abs(module(x).detach().numpy() - model.predict(x.numpy().transpose(0, 2, 3, 1))).max() < 1e-6

    model = net(seed=2)
    fr.files.write_tensors(tmp_path / "ours.safetensors", fr.torch_state(model))
    state = files.load_file(tmp_path / "ours.safetensors")
    assert {key: value.shape for key, value in state.items()} == {k: v.shape for k, v in module.state_dict().items()}
    module.load_state_dict(state)
    assert np.abs(module(x).detach().numpy() - model.predict(x.numpy().transpose(0, 2, 3, 1))).max() < 1e-6
    other = net(seed=3)
    fr.load_torch_state(other, fr.torch_state(model))
    assert same(model, other)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_widened(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    from safetensors import torch as files

    module, model = torch_net().to(getattr(torch, dtype)), net()
    path = tmp_path / "half.safetensors"
    files.save_file(module.state_dict(), path)
    for state in (path, module.state_dict()):
        fr.load_torch_state(model, state)
        expected = {key: tensor.float().numpy() for key, tensor in module.state_dict().items()}
        for key, value in fr.torch_state(model).items():
            assert np.array_equal(value, expected[key]) or key.endswith("num_batches_tracked")
        model.build((6, 4, 2), seed=5)


def test_pytorch_is_not_needed():
    script = (
        "import sys, fastreg as fr; m = fr.Sequential([fr.Dense(2)]); m.build(3); "
        "fr.load_torch_state(m, fr.torch_state(m)); assert 'torch' not in sys.modules and 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(fr.__file__).parents[1])


def test_prefixes_of_wrapped_modules_and_names():
    model = net()
    state = fr.torch_state(model)
    for prefix in ("module.", "_orig_mod.", "module._orig_mod."):
        other = net(seed=4)
        fr.load_torch_state(other, {prefix + key: value for key, value in state.items()})
        assert same(model, other)
    named = net(seed=4, body="body")
    assert [key for key in fr.torch_state(named) if key.startswith("body")] == ["body.weight", "body.bias"]
    places = {"0": "features.0", "body": "features.4", "4": "norm", "6": "head.out"}
    keys = {"0": "features.0", "4": "features.4", "5": "norm", "8": "head.out"}  # positions in the nn.Sequential
    renamed = {f"{keys[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in state.items()}
    fr.load_torch_state(named, renamed, names=places)
    assert all(np.array_equal(a, b) for a, b in zip(model.parameters.values(), named.parameters.values(), strict=True))
    with pytest.raises(ValueError, match=r"names: got the layer 'bodi', expected one of .*'body'"):
        fr.load_torch_state(named, renamed, names={"bodi": "x"})


def test_nested_numbers_are_taken_in_order():
    layers = [fr.Dense(4, "relu"), *(fr.Dense(4) for _ in range(10)), fr.Dense(2)]
    model, other = built(layers, 4), built(layers, 4, seed=2)
    state = fr.torch_state(model)
    nested = {}
    for key, value in sorted(state.items()):
        position, leaf = key.split(".")
        nested[f"1.{int(position) - 2}.{leaf}" if int(position) > 1 else f"0.{position}.{leaf}"] = value
    fr.load_torch_state(other, nested)
    assert same(model, other)


def nested(nn):
    """The modules of `net` in modules of their own, as people write them."""
    body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    head = nn.Sequential(nn.Sequential(nn.Linear(24, 8), nn.BatchNorm1d(8), nn.Tanh()), nn.Dropout(), nn.Linear(8, 3))
    return body, head


def test_a_trained_model_goes_back_into_the_module_that_it_came_from():
    torch = pytest.importorskip("torch")
    from torch import nn

    x = np.random.default_rng(0).normal(size=(40, 6, 4, 2)).astype("float32")
    y = np.arange(40) % 3
    nets = [
        nn.Sequential(*nested(nn)),
        nn.Sequential(OrderedDict(zip(("body", "head"), nested(nn), strict=True))),
        nn.DataParallel(nn.Sequential(*nested(nn))),
    ]
    for module in nets:
        module.train()(torch.zeros(2, 2, 6, 4))  # counts a batch
        model = fr.from_torch(module, (2, 6, 4))
        fr.Trainer(model).fit(x, y, epochs=2, batch_size=10)
        state = fr.torch_state(model, like=module.state_dict())
        assert list(state) == list(module.state_dict())
        module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
        values = module.eval()(torch.tensor(x.transpose(0, 3, 1, 2))).softmax(1).detach().numpy()
        assert np.abs(values - model.predict(x)).max() < 1e-6
        counter = next(key for key in state if key.endswith("num_batches_tracked"))
        assert state[counter] == 1


def test_names_reach_every_tensor_of_a_module():
    layers = [fr.Dense(3, name="a"), fr.BatchNorm(shift=False, name="norm"), fr.Dense(2, name="out")]
    model, other = built(layers, 4), built(layers, 4, seed=2)
    names = {"a": "body.0", "norm": "body.1"}
    state = fr.torch_state(model, names=names)
    leaves = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert [key for key in state if key.startswith("body.1.")] == [f"body.1.{leaf}" for leaf in leaves]
    assert sorted(key for key in state if "body" not in key) == ["out.bias", "out.weight"]
    fr.load_torch_state(other, state, names=names)
    assert same(model, other)
    theirs = {key.replace("out", "head"): np.ones_like(value) for key, value in state.items()}
    again = fr.torch_state(model, like=theirs, names={**names, "out": "head"})
    assert list(again) == list(theirs) and np.array_equal(again["head.weight"], state["out.weight"])
    with pytest.raises(ValueError, match=r"names: got the layer 'nor', expected one of a, norm, out; .*'norm'"):
        fr.torch_state(model, names={"nor": "x"})


def test_keys_like_those_of_a_file(tmp_path):
    model = built([fr.Dense(4, "relu"), fr.Dense(2)], 3)
    theirs = {"0.1.weight": np.ones((4, 3)), "0.1.bias": np.zeros(4), "1.weight": np.ones((2, 4)), "1.bias": np.ones(2)}
    fr.files.write_tensors(tmp_path / "net.safetensors", theirs)
    for like in (theirs, tmp_path / "net.safetensors"):
        state = fr.torch_state(model, like=like)
        assert {key: value.shape for key, value in state.items()} == {k: v.shape for k, v in theirs.items()}
        assert np.array_equal(state["1.weight"].T, model.parameters["1.weight"])
    assert theirs["1.weight"].all()
    for like, message in (
        ({**theirs, "1.bias": np.ones(3)}, r"like: '1.bias': got shape \(3,\), expected \(2,\)"),
        ({**theirs, "2.bias": np.ones(3)}, r"like: .*not expected"),
        ([1, 2], "like: got .* expected a path or a dict"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            fr.torch_state(model, like=like)


def test_the_state_of_one_layer():
    model, state = built([fr.Dense(4, "relu")], 3), {"weight": np.ones((4, 3)), "bias": np.zeros(4)}
    for prefix in ("", "fc.", "module.head."):
        fr.load_torch_state(model, {prefix + key: value for key, value in state.items()})
        assert model.parameters["0.weight"].all()
        model.build(3)


def test_errors_name_keys_and_shapes_and_change_nothing(tmp_path):
    model = built([fr.Dense(4, "relu"), fr.Dense(2)], 3)
    before, state = model.state_dict(), fr.torch_state(model)
    good = dict(state)
    cases = [
        ({**good, "0.weight": np.ones((3, 4))}, r"'0.weight': got shape \(3, 4\), expected \(4, 3\)"),
        ({k: v for k, v in good.items() if k != "2.bias"}, "missing '2.bias'; the model has '0.weight'"),
        ({**good, "3.weight": np.ones(2)}, "not expected '3.weight'"),
        ({f"fc{k}": v for k, v in good.items()}, "missing '0.bias', .* not expected 'fc0.bias'"),
        ({**good, "2.bias": np.array([np.nan, 0])}, "not finite"),
        ({**good, "2.bias": np.array(["a", "b"])}, "real numbers"),
        ({"model": good}, r"state\['model'\]: got a dict"),
        ({1: np.ones(3)}, "got the key 1"),
        ([1, 2], "expected a path or a dict"),
    ]
    for state, message in cases:
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            fr.load_torch_state(model, state)
        assert "\n" not in str(caught.value)
    (tmp_path / "damaged").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ??")
    with pytest.raises(fr.FileFormatError):
        fr.load_torch_state(model, tmp_path / "damaged")
    norm = built([fr.BatchNorm(shift=False), fr.Dense(1)], 3)
    state = fr.torch_state(norm)
    assert not state["0.bias"].any()
    with pytest.raises(ValueError, match=r"state\['0.bias'\]: got values other than 0.0"):
        fr.load_torch_state(norm, {**state, "0.bias": np.ones(3)})
    assert all(np.array_equal(model.parameters[key], value) for key, value in before.items())


def test_a_history_as_a_frame():
    pandas = pytest.importorskip("pandas")
    X, y = np.arange(8.0)[:, np.newaxis], np.arange(8.0)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse", optimizer=fr.SGD(1e-3))
    first = trainer.fit(X, y, epochs=2)
    trainer.metrics = ("mae",)
    trainer.fit(X, y, epochs=3, validation_data=(X, y))
    frame = trainer.history.to_frame()
    assert isinstance(frame, pandas.DataFrame) and frame.index.name == "epoch"
    assert frame.index.tolist() == trainer.history.epochs == [0, 1, 2, 3, 4]
    assert list(frame.columns) == list(trainer.history)
    for name in frame.columns:
        assert np.array_equal(frame[name].to_numpy(), trainer.history[name], equal_nan=True)
    assert frame["val_mae"].isna().tolist() == [True, True, False, False, False]
    assert first.to_frame().index.tolist() == [0, 1] and math.isfinite(first.to_frame()["loss"].iloc[-1])
    frame.loc[0, "loss"] = -1.0
    assert trainer.history["loss"][0] != -1.0
    assert fr.History().to_frame().empty
