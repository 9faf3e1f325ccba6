"""Weight decay by a schedule: by the formula, against PyTorch, and independent of the learning rate."""

from dataclasses import replace

import numpy as np
import pytest
import resumable
from trainers import same, state

import fastreg as fr
from fastreg.common.description import from_config
from fastreg.optimizers import schedules as S

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)), RNG.normal(size=(40, 2))
OPTIMIZERS = {
    "sgd": lambda **how: fr.SGD(0.1, **how),
    "momentum": lambda **how: fr.SGD(0.05, momentum=0.9, **how),
    "nesterov": lambda **how: fr.SGD(0.05, momentum=0.9, nesterov=True, **how),
    "rmsprop": lambda **how: fr.RMSprop(0.01, momentum=0.5, **how),
    "adam": lambda **how: fr.Adam(0.01, **how),
    "adamw": lambda **how: fr.AdamW(0.01, **how),
    "nadam": lambda **how: fr.NAdam(0.01, **how),
    "lion": lambda **how: fr.Lion(0.01, **how),
}


def trainer(optimizer, engine="native", layers=None, **settings):
    layers = layers or [fr.Dense(5, "tanh"), fr.Dense(2)]
    return fr.Trainer(fr.Sequential(layers), "mse", optimizer, engine=engine, **{"dtype": "float64"} | settings)


def fit(trained, epochs=3, **more):
    return trained.fit(X, Y, **{"epochs": epochs, "batch_size": 10} | more)


def close(a, b, **limits):
    assert state(a).keys() == state(b).keys()
    for name, value in state(a).items():
        np.testing.assert_allclose(value, state(b)[name], **limits)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_at_a_constant_rate_both_forms_are_the_same(engine, name):
    make = OPTIMIZERS[name]
    by_rate, by_itself = make(weight_decay=0.3), make(weight_decay=S.Constant(0.3 * make().lr))
    trained = [trainer(optimizer, engine) for optimizer in (by_rate, by_itself, make(weight_decay=0.0))]
    for each in trained:
        fit(each)
    close(*trained[:2], rtol=1e-12, atol=1e-14)
    assert not same(state(trained[0]), state(trained[2]))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_a_rate_of_0_leaves_the_decay(engine, name, per):
    """Weights then shrink by the product of 1 - d alone, and biases stay."""
    decay = S.Cosine(0.2, 9, per=per)
    rests = replace(OPTIMIZERS[name](), lr=0.0, weight_decay=decay)
    trained = trainer(
        rests, engine, [fr.Dense(5, "tanh", lr_scale=0.5, bias_init=fr.initializers.normal(0.1)), fr.Dense(2)]
    )
    trained.model.build(4, dtype="float64")
    before = state(trained)
    fit(trained, 2)
    fit(trained, 1)
    times = np.repeat([0, 1, 2], 4) if per == "epoch" else range(12)
    for key, value in state(trained).items():
        scale = 0.5 if key[0] == "0" else 1.0
        shrunk = np.prod([1 - scale * decay.at(int(t)) for t in times]) if key.endswith("weight") else 1.0
        np.testing.assert_allclose(value, before[key] * shrunk, rtol=1e-13)


def test_against_torch_with_both_schedules(engine):
    """PyTorch multiplies by the rate, so its decay is d over the rate of the step."""
    torch = pytest.importorskip("torch")
    lr, decay = S.OneCycle(0.05, 12), S.Step(0.1, 5, 0.3, per="step")
    trained = trainer(fr.AdamW(lr, weight_decay=decay), engine)
    trained.model.build(4, dtype="float64")
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    start = state(trained)
    with torch.no_grad():
        for layer, number in ((net[0], 0), (net[2], 1)):
            layer.weight.copy_(torch.tensor(start[f"{number}.weight"].T))
            layer.bias.copy_(torch.tensor(start[f"{number}.bias"]))
    weights, biases = ([p for n, p in net.named_parameters() if n.endswith(kind)] for kind in ("weight", "bias"))
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": biases, "weight_decay": 0.0}])
    for step in range(12):
        rows = slice(step % 4 * 10, step % 4 * 10 + 10)
        for group in optimizer.param_groups:
            group["lr"] = lr.at(step)
        optimizer.param_groups[0]["weight_decay"] = decay.at(step) / lr.at(step)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(torch.tensor(X[rows])), torch.tensor(Y[rows])).backward()
        optimizer.step()
    fit(trained, shuffle=False)
    for layer, number in ((net[0], 0), (net[2], 1)):
        np.testing.assert_allclose(state(trained)[f"{number}.weight"], layer.weight.detach().numpy().T, rtol=1e-10)
        np.testing.assert_allclose(state(trained)[f"{number}.bias"], layer.bias.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize("way", [{}, {"clip_norm": 0.1}, {"accumulate": 2}, {"l1": 1e-3, "l2": 1e-2}], ids=str)
def test_engines_agree(way):
    optimizer = fr.SGD(0.05, momentum=0.9, weight_decay=S.Exponential(0.05, 0.9, per="step"))
    trained = [trainer(optimizer, engine, **way) for engine in ("native", "reference")]
    for each in trained:
        fit(each)
    close(*trained, rtol=1e-10, atol=1e-12)
    assert fr.compare_engines(trained[0], X, Y).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_resumed_fit_has_the_same_bits(engine, dtype, tmp_path):
    path = tmp_path / "run.safetensors"
    how = {"optimizer": fr.AdamW(0.05, weight_decay=S.Warmup(9, S.Cosine(0.01, 60, per="step"))), "dtype": dtype}
    resumable.fit(resumable.trainer(engine, **how), path, epochs=5)
    again = resumable.trainer(engine, **how)
    assert resumable.digest(again, resumable.fit(again, resume=path)) == resumable.whole(engine, **how)
    other = fr.AdamW(0.05, weight_decay=0.01)
    with pytest.raises(ValueError, match=r"resume: optimizer: got .*weight_decay=0\.01.*, expected .*Warmup"):
        resumable.fit(resumable.trainer(engine, optimizer=other, dtype=dtype), resume=path)


def test_threads_do_not_change_the_bits():
    found = set()
    for count in (1, 2, 3, 7):
        trained = trainer(
            fr.Adam(0.01, weight_decay=S.Constant(0.01)), threads=count, layers=[fr.Dense(300), fr.Dense(2)]
        )
        fit(trained)
        found.add(b"".join(v.tobytes() for v in state(trained).values()))
    assert len(found) == 1


def test_specs_functions_and_descriptions():
    made = fr.AdamW(3e-4, weight_decay=S.Cosine(1e-4, 50))
    assert trainer("adamw(0.0003, weight_decay=cosine(0.0001, 50))").optimizer == made
    assert from_config(made.config()) == made
    assert repr(made) == "AdamW(lr=0.0003, weight_decay=Cosine(0.0001, 50))"
    assert fr.SGD(0.1, weight_decay=lambda epoch: 0.01 / (epoch + 1)).decay.at(1) == 0.005
    assert fr.SGD(0.1, weight_decay=0.01).decay is None and fr.SGD().decay is None
    trained = trainer(fr.SGD(0.1, weight_decay=S.Constant(0.01)))
    trained.lr = 0.2
    assert trained.optimizer.decay == S.Constant(0.01)


def test_refuses():
    with pytest.raises(ValueError, match=r"weight_decay: got -1, expected a finite number of at least 0"):
        fr.SGD(0.1, weight_decay=-1)
    with pytest.raises(TypeError, match=r"weight_decay: got 'cosine', expected a number or a schedule"):
        fr.SGD(0.1, weight_decay="cosine")
    trained = trainer(fr.SGD(0.1, weight_decay=S.Step(0.5, 1, 4.0)))
    with pytest.raises(
        ValueError, match=r"weight_decay: got 2\.0 for batch 1 of epoch 2, expected a number from 0 to 1"
    ):
        fit(trained)
    assert trained.epoch == 1  # the first epoch counts
