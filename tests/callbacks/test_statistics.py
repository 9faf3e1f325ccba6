"""LayerStatistics: the powers of a deep linear net, NumPy's moments, warnings. None of it touches the training."""

import warnings

import numpy as np
import pytest
from trainers import classifier, same, state

import fastreg as fr

RNG = np.random.default_rng(3)


def deep(engine, scale, depth=12, width=4, **settings) -> fr.Trainer:
    """A linear net of `depth` layers with the weights scale * I, which learns nothing."""
    model = fr.Sequential([fr.Dense(width, use_bias=False, name=f"layer{i}") for i in range(1, depth + 1)])
    model.build(width, dtype="float64")
    model.load_state_dict({name: scale * np.eye(width) for name in model.parameters})
    return fr.Trainer(model, loss="mse", optimizer=fr.SGD(0.0), engine=engine, dtype="float64", **settings)


def column(statistics, name, epoch=0) -> np.ndarray:
    return np.array([record[name] for record in statistics.records if record["epoch"] == epoch])


@pytest.mark.parametrize("scale", [1.5, 0.5])
def test_a_deep_linear_net_grows_or_shrinks_as_a_power_of_its_depth(engine, scale):
    """With W = w I: layer l holds w^l x, and the gradient there is w^(L-l) times that of the loss, 2 (y - t) / 4."""
    depth, x, t = 12, RNG.normal(size=(30, 4)), RNG.normal(size=(30, 4))
    statistics = fr.LayerStatistics(ratio=1e9)
    deep(engine, scale, depth).fit(x, t, callbacks=[statistics])
    level = np.arange(1, depth + 1)
    top = 2 * (scale**depth * x - t) / 4
    for name, base, power in (("activation", x, level), ("gradient", top, depth - level)):
        np.testing.assert_allclose(column(statistics, f"{name}_mean"), base.mean() * scale**power, rtol=1e-12)
        np.testing.assert_allclose(column(statistics, f"{name}_std"), base.std() * scale**power, rtol=1e-12)
    assert [record["layer"] for record in statistics.records] == [f"layer{i}" for i in level] * 2
    assert [record["epoch"] for record in statistics.records] == [0] * depth + [1] * depth


@pytest.mark.parametrize(("scale", "verb"), [(1.5, "explode"), (0.5, "vanish")])
def test_warns_once(engine, scale, verb):
    x, t = RNG.normal(size=(30, 4)), RNG.normal(size=(30, 4))
    found = fr.LayerStatistics()
    with pytest.warns(RuntimeWarning) as caught:
        deep(engine, scale, depth=20).fit(x, t, epochs=3, callbacks=[found])
    (warning,) = caught
    text = str(warning.message)
    assert f"activations {verb}" in text and "in layer 'layer19'" in text and f"a factor of {scale:g} a layer" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deep(engine, 1.0, depth=20).fit(x, t, callbacks=[fr.LayerStatistics()])
        deep(engine, scale, depth=8).fit(x, t, callbacks=[fr.LayerStatistics()])  # 1.5^6 and 0.5^6 are within 1000


def test_warns_of_gradients_alone(engine):
    """Sigmoids keep activations near one half. Gradients shrink in each layer, at least by a quarter of the weights."""
    layers = [*(fr.Dense(20, "sigmoid") for _ in range(9)), fr.Dense(2)]
    trainer = fr.Trainer(fr.Sequential(layers), engine=engine)
    with pytest.warns(RuntimeWarning, match="after 0 epochs gradients vanish: .* in layer '0' and .* in layer '9'"):
        trainer.fit(RNG.normal(size=(40, 5)), np.arange(40) % 2, callbacks=[fr.LayerStatistics()])


@pytest.mark.parametrize(("limits", "verb"), [({"smallest": 1e-1}, "vanish"), ({"largest": 1e-5}, "explode")])
def test_warns_of_sizes_by_themselves(engine, limits, verb):
    trainer = deep(engine, 1.0)
    x = 0.01 * RNG.normal(size=(30, 4))
    with pytest.warns(RuntimeWarning, match=f"activations {verb}"):
        trainer.fit(x, x + 1, callbacks=[fr.LayerStatistics(**limits)])


def test_gradients_of_zero_are_not_called_vanishing(engine):
    x = RNG.normal(size=(30, 4))
    statistics = fr.LayerStatistics()
    deep(engine, 1.0).fit(x, x, callbacks=[statistics])
    assert not column(statistics, "gradient_std").any() and (column(statistics, "gradient_zeros") == 1).all()


@pytest.mark.parametrize("activity", [0.0, 0.3])
def test_moments_are_those_of_numpy(engine, activity):
    """Two layers by hand; dropout is off in the probe, and a row that is zero behind the ReLU counts as such. The
    penalty on activations is part of the loss of a row."""
    x, y = RNG.normal(size=(50, 6)), RNG.integers(0, 3, 50)
    dropout = fr.Dropout(keep_prob=0.5)
    layers = [dropout, fr.Dense(9, "relu", activity_l1=activity), dropout, fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential(layers), optimizer=fr.SGD(0.1), engine=engine, dtype="float64", l2=0.1)
    statistics = fr.LayerStatistics((x, y))
    trainer.fit(x[::-1], y[::-1], epochs=2, callbacks=[statistics])
    p = {name: np.asarray(value) for name, value in trainer.model.parameters.items()}
    hidden = np.maximum(x @ p["1.weight"] + p["1.bias"], 0)
    logits = hidden @ p["3.weight"] + p["3.bias"]
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    top = softmax - np.eye(3)[y]
    below = (top @ p["3.weight"].T + activity) * (hidden > 0)
    for values, name, layer in (
        *((hidden, "activation", 0), (logits, "activation", 1)),
        *((below, "gradient", 0), (top, "gradient", 1)),
    ):
        for part, expected in (("mean", values.mean()), ("std", values.std()), ("zeros", np.mean(values == 0))):
            got = column(statistics, f"{name}_{part}", epoch=2)[layer]
            np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-15)
    assert 0.2 < column(statistics, "activation_zeros")[0] < 0.8


@pytest.mark.parametrize("rows", [None, np.arange(20, 80)])
def test_the_first_rows_are_the_probe_by_default(engine, rows):
    x, y = RNG.normal(size=(100, 4)).astype(np.float32), RNG.integers(0, 3, 100)
    own, given = fr.LayerStatistics(rows=16), fr.LayerStatistics((x[:16], y[:16]))
    if rows is not None:
        given = fr.LayerStatistics((x[20:36], y[20:36]))
    weights = np.arange(100) > 50  # zero for the probe: it is not weighted
    classifier(engine).fit(x, y, rows=rows, sample_weight=weights, callbacks=[own, given])
    assert own.records == given.records and len(own.records) == 4


def test_statistics_of_every_third_epoch(engine):
    x, y = RNG.normal(size=(20, 4)), np.arange(20) % 3
    statistics, trainer = fr.LayerStatistics(every=3), classifier(engine)
    trainer.fit(x, y, epochs=7, callbacks=[statistics])
    assert sorted({record["epoch"] for record in statistics.records}) == [0, 3, 6]
    trainer.fit(x, y, epochs=2, callbacks=[statistics])  # a new fit, new records
    assert sorted({record["epoch"] for record in statistics.records}) == [7, 9]


def test_training_has_the_same_bits(engine):
    """Dropout, Adam, penalties by the rows of the training set, and a probe of another size than the batches."""
    x, y = RNG.normal(size=(90, 4)), RNG.integers(0, 3, 90)
    results = []
    for callbacks in ([], [fr.LayerStatistics()], [fr.LayerStatistics((x[:7], y[:7]))]):
        trainer = classifier(engine, optimizer=fr.Adam(0.01), l2=fr.L2(0.3, m="train"), clip_norm=1.0)
        history = trainer.fit(x, y, epochs=4, batch_size=16, validation_data=(x, y), callbacks=callbacks)
        results.append((state(trainer), {k: v for k, v in history.items() if k != "seconds"}))
        assert (trainer.step, trainer.updates) == (24, 24)
    for parameters, history in results[1:]:
        assert same(parameters, results[0][0]) and history == results[0][1]


def test_a_checkpoint_does_not_hold_statistics(tmp_path):
    x, y = RNG.normal(size=(20, 4)), np.arange(20) % 3
    path = tmp_path / "run.safetensors"
    classifier().fit(x, y, epochs=2, callbacks=[fr.Checkpoint(path), fr.LayerStatistics()])
    statistics, trainer = fr.LayerStatistics(), classifier()
    trainer.fit(x, y, epochs=4, resume=path, callbacks=[statistics])
    assert sorted({record["epoch"] for record in statistics.records}) == [2, 3, 4]


def test_frozen_layers_have_no_gradients_below_the_lowest_trained(engine):
    x, y = RNG.normal(size=(20, 4)), np.arange(20) % 2
    layers = [fr.Dense(5, "tanh", trainable=False), fr.Dense(5, "tanh"), fr.Dense(2)]
    statistics = fr.LayerStatistics()
    fr.Trainer(fr.Sequential(layers), engine=engine).fit(x, y, callbacks=[statistics])
    np.testing.assert_array_equal(np.isnan(column(statistics, "gradient_mean")), [True, False, False])


def test_layers_and_losses_in_python(engine):
    x, y = RNG.normal(size=(20, 4)), RNG.normal(size=(20, 2))
    cube = fr.Function(lambda x: x**3, lambda dy, x, y: 3 * x**2 * dy)
    loss = fr.losses.Custom(lambda y, t: (((y - t) ** 2).mean(axis=1), 2 * (y - t) / y.shape[1]))
    results = []
    for kind in (loss, "mse"):
        model = fr.Sequential([fr.Dense(5, "tanh"), cube, fr.Dense(2)])
        statistics = fr.LayerStatistics(ratio=1e9)
        fr.Trainer(model, loss=kind, engine=engine).fit(x, y, callbacks=[statistics])
        results.append(statistics.records)
    assert [record["layer"] for record in results[0]] == ["0", "2"] * 2
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(list(got.values())[2:], list(expected.values())[2:], rtol=1e-5, atol=1e-7)


def test_tables():
    x, y = RNG.normal(size=(20, 4)), np.arange(20) % 3
    statistics, trainer = fr.LayerStatistics(), classifier()
    assert str(statistics) == repr(statistics)
    trainer.fit(x, y, epochs=2, callbacks=[statistics])
    heads = str(statistics).splitlines()[0].split()
    assert heads == list(statistics.records[0]) and len(str(statistics).splitlines()) == 2 + 6
    assert [line.split()[:2] for line in statistics.table(1).splitlines()[2:]] == [["1", "1"], ["1", "3"]]
    with pytest.raises(ValueError, match="epoch: got 5, expected one of 0, 1, 2"):
        statistics.table(5)


BAD = {
    "probe": (lambda: fr.LayerStatistics(np.ones((3, 4))), r"probe: got ndarray, expected \(X, y\) or None"),
    "probe of three": (lambda: fr.LayerStatistics((1, 2, 3)), r"probe: got tuple, expected \(X, y\) or None"),
    "every": (lambda: fr.LayerStatistics(every=0), r"every: got 0, expected an integer of at least 1"),
    "rows": (lambda: fr.LayerStatistics(rows=1.5), r"rows: got 1\.5, expected an integer"),
    "ratio": (lambda: fr.LayerStatistics(ratio=0.5), r"ratio: got 0\.5, expected a finite number of at least 1"),
    "smallest": (lambda: fr.LayerStatistics(smallest=-1), r"smallest: got -1, expected a finite number of at least 0"),
    "largest": (lambda: fr.LayerStatistics(largest=0), r"largest: got 0, expected a finite number above 0"),
    "crossed": (lambda: fr.LayerStatistics(smallest=10, largest=1), r"smallest: got 10 with largest=1, expected less"),
    "probe's X": (
        lambda: classifier().fit(np.eye(4), [0, 1, 2, 0], callbacks=[fr.LayerStatistics((np.eye(3), [0, 1, 2]))]),
        r"LayerStatistics probe\[0\]: got samples of shape \(3,\), expected \(4,\), as in X",
    ),
    "probe's y": (
        lambda: classifier().fit(np.eye(4), [0, 1, 2, 0], callbacks=[fr.LayerStatistics((np.eye(4), [0, 1, 2, 3]))]),
        r"LayerStatistics probe\[1\]: got labels from 0 to 3, expected 0 to 2",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_an_attack_is_no_part_of_the_probe(engine, weight):
    """Before the first step, records and warnings are those of the same trainer without an attack."""
    x, y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
    plain, attacked = fr.LayerStatistics(), fr.LayerStatistics()
    classifier(engine).fit(x, y, callbacks=[plain])
    classifier(engine, adversarial=fr.FGSM(0.3, weight=weight)).fit(x, y, callbacks=[attacked])
    assert attacked.records[: len(plain.records) // 2] == plain.records[: len(plain.records) // 2]
    assert column(attacked, "gradient_std").all()
    layers = [*(fr.Dense(20, "sigmoid") for _ in range(9)), fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential(layers), engine=engine, adversarial=fr.FGSM(0.3, weight=weight))
    with pytest.warns(RuntimeWarning, match="after 0 epochs gradients vanish"):
        trainer.fit(x, y, callbacks=[fr.LayerStatistics()])
