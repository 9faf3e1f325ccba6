"""Gradients of random graphs against PyTorch's autograd, and against differences of the objective."""

import numpy as np
import pytest
from graphs import KINDS, random_graph

import fastreg as fr

torch = pytest.importorskip("torch")
from torch_graphs import Net  # noqa: E402

LIMIT = {"float32": 2e-5, "float64": 1e-11}  # of max|difference| / max|gradient|
FLOOR = 0.01  # the least max|gradient| of a parameter, as a part of the largest of all
SEEDS = range(60)


@pytest.fixture(autouse=True)
def one_thread():
    """The graphs are tiny, and torch's threads would fight over the cores with the engine's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def furthest(found: dict, expected: dict, floor: float = FLOOR) -> tuple[float, str]:
    """The largest distance of a gradient from what it should be, over its largest element, and its parameter.

    A gradient that all but cancels, as that of a bias before a batch norm, is held against a part of the largest
    element of all."""
    assert found.keys() == expected.keys()
    floor *= max(np.abs(g).max() for g in expected.values())
    errors = {k: np.abs(found[k] - g).max() / max(np.abs(g).max(), floor) for k, g in expected.items()}
    return max((error, name) for name, error in errors.items())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_random_graphs(engine, dtype, seed):
    """Torch takes the same numbers in float64, so that all of the error is ours.

    Whatever a batch norm undoes, as the gamma of one right before it, has a gradient of terms as large as others that
    cancel to 1e-5 of them or to 0. Rounding of the terms remains, about 4e-7 of them. So the floor is higher there."""
    graph = random_graph(seed)
    trainer = graph.trainer(engine=engine, dtype=dtype, seed=seed)
    X, y = graph.data(dtype)
    net = Net(graph, trainer.model.state_dict())
    expected = net.gradients(X, y, graph.sample_weight)
    floor = FLOOR * (5 if "BatchNorm" in graph.kinds else 1)
    error, name = furthest(trainer.gradients(X, y, graph.sample_weight), expected, floor)
    assert error <= LIMIT[dtype], name
    objective = net.objective(X, y, graph.sample_weight).item()
    assert trainer.objective(X, y, graph.sample_weight) == pytest.approx(objective, rel=LIMIT[dtype])


def test_the_graphs_hold_everything():
    """Each kind of layer, ties, layers used twice, two heads, several inputs, weights, penalties, frozen layers."""
    graphs = [random_graph(seed) for seed in SEEDS]
    assert set.union(*(graph.kinds for graph in graphs)) == KINDS | {"Input"}
    nodes = [graph.nodes for graph in graphs]
    for count, least in (
        (sum(any("tied_to" in node.options for node in some) for some in nodes), 10),
        (sum(len({node.layer for node in some}) < len(some) for some in nodes), 10),
        (sum(not node.options.get("trainable", True) for some in nodes for node in some), 10),
        (sum(len(graph.heads) == 2 for graph in graphs), 20),
        (sum(len(graph.inputs) > 1 for graph in graphs), 20),
        (sum(bool(graph.distances) for graph in graphs), 10),
        (sum(bool(graph.weights) for graph in graphs), 10),
    ):
        assert count >= least


def test_the_judge_finds_a_wrong_gradient():
    graph = random_graph(1)
    X, y = graph.data()
    net = Net(graph, graph.trainer().model.state_dict())
    expected = net.gradients(X, y, graph.sample_weight)
    for name, g in expected.items():
        wrong = {**expected, name: g + 1e-3 * max(np.abs(g).max(), 1e-2)}
        assert furthest(wrong, expected)[0] > LIMIT["float32"]
    with pytest.raises(AssertionError):
        furthest({k: g for k, g in expected.items() if k != name}, expected)


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_differences_of_the_objective_say_the_same(seed):
    graph = random_graph(seed, dropout=False)
    X, y = graph.data()
    check = fr.check_gradients(graph.trainer(seed=seed), X, y, graph.sample_weight, epsilon=1e-5, max_entries=20)
    assert check.ok, check


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_engines_agree_op_by_op(dtype, seed):
    graph = random_graph(seed)
    X, y = graph.data(dtype)
    comparison = fr.compare_engines(graph.trainer(dtype=dtype, seed=seed), X, y, graph.sample_weight)
    assert comparison.ok, str(comparison)


def test_a_frozen_end_of_a_distance_has_no_gradient(engine):
    x = fr.Input(3)
    free, frozen = fr.Dense(2, name="free")(x), fr.Dense(2, name="frozen", trainable=False)(x)
    model = fr.Model(x, fr.Add(name="sum")([free, frozen]))
    model.build(dtype="float64")
    for ends in (("free", "frozen"), ("frozen", "free")):
        near = fr.penalties.Distance(*ends, lam=2.0)
        trainer = fr.Trainer(model, "mse", distance=near, engine=engine, dtype="float64")
        X = np.eye(3)
        found = trainer.gradients(X, trainer.predict(X))  # nothing but the penalty pulls
        assert sorted(found) == ["free.bias", "free.weight"]
        apart = model.parameters["free.weight"] - model.parameters["frozen.weight"]
        np.testing.assert_allclose(found["free.weight"], 2 * apart, rtol=1e-12)
