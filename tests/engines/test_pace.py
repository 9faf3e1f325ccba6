"""The number of threads of small work, with a clock that is told how long a batch takes."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.engines import pace
from fastreg.engines.pace import Pace
from fastreg.machine import threads


class Machine:
    """A clock that batches move on: `cost` seconds each, by threads. Counts the seconds that went to each."""

    def __init__(self, cost):
        self.cost, self.now, self.spent, self.ran = cost, 0.0, dict.fromkeys(cost, 0.0), []
        self.pace = Pace(lambda: self.now)

    def go(self, threads, first, stop, seconds):
        batches = min(stop - first, max(1, round(seconds / self.cost[threads])))
        self.now += batches * self.cost[threads]
        self.spent[threads] += batches * self.cost[threads]
        self.ran.extend(range(first, first + batches))
        return first + batches

    def train(self, seconds, threads=2):
        """Slices of 0.1 s, as a fit runs them."""
        end = self.now + seconds
        while self.now < end:
            first = len(self.ran)
            assert self.pace.run(threads, first, first + 10**9, 0.1, self.go, lambda: False) == len(self.ran)

    def share(self, threads):
        return self.spent[threads] / sum(self.spent.values())


@pytest.mark.parametrize(
    "cost, seconds, threads, share",
    [
        ({1: 50e-6, 2: 35e-6}, 20, 2, 0.99),  # two stay where they are faster
        ({1: 50e-6, 2: 100e-6}, 20, 1, 0.98),  # one takes over where they are slower
        ({1: 50e-6, 2: 51e-6}, 10, 2, 0.98),  # a small difference changes nothing
    ],
)
def test_the_faster_count_does_the_work(cost, seconds, threads, share):
    machine = Machine(cost)
    machine.train(seconds)
    assert machine.share(threads) > share
    assert machine.ran == list(range(len(machine.ran)))  # every batch once, in order


def test_the_choice_follows_the_machine_both_ways():
    machine = Machine({1: 50e-6, 2: 35e-6})
    machine.train(5)
    machine.cost[2] = 100e-6  # a neighbour has come
    machine.train(5)
    before = machine.spent[1]
    assert before > 3
    machine.cost[2] = 35e-6  # and gone
    machine.train(10)
    assert machine.spent[1] - before < 2


def test_long_batches_are_not_tried_alone():
    machine = Machine({1: 20e-3, 2: 30e-3})
    machine.train(10)
    assert machine.spent[1] == 0


def test_a_short_run_is_done_before_anything_is_tried():
    machine = Machine({1: 1e-6, 2: 50e-6})
    assert machine.pace.run(2, 0, 300, 0.1, machine.go, lambda: False) == 300
    assert machine.spent[1] == 0


def test_one_thread_has_nothing_to_choose_from():
    machine = Machine({1: 50e-6})
    machine.train(3, threads=1)
    assert machine.share(1) == 1


def test_a_run_ends_when_it_is_told_to():
    machine = Machine({1: 50e-6, 2: 35e-6})
    reached = machine.pace.run(2, 0, 10**9, 0.1, machine.go, lambda: True)
    assert reached == len(machine.ran) == round(0.02 / 35e-6)


def test_same_bits_whatever_is_tried(monkeypatch):
    monkeypatch.setattr(threads, "_AVAILABLE", 2)
    monkeypatch.setattr(threads, "MIN_FLOPS", 1)
    for name in ("FIRST_SECONDS", "TRY_SECONDS", "EVERY_SECONDS"):  # changes all the time
        monkeypatch.setattr(pace, name, 1e-4)
    X = np.random.default_rng(0).normal(size=(4000, 20)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)

    def trained(asked):
        model = fr.Sequential([fr.Dense(40, "relu"), fr.Dropout(rate=0.3), fr.Dense(3)])
        fr.Trainer(model, optimizer=fr.Adam(1e-2), seed=3, threads=asked).fit(X, y, epochs=20, batch_size=32)
        return b"".join(array.tobytes() for array in model.state_dict().values())

    assert trained(None) == trained(1) == trained(2)
