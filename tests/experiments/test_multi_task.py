"""multi-task: the gain is judged against the same net without the second head, and against a head for coins."""

import numpy as np
from quick import claims_of, quick

from fastreg.experiments import multi_task
from fastreg.experiments.harness.results import Runs


def test_both_engines_find_the_same_for_one_seed():
    native, reference = quick("multi-task").runs[0], quick("multi-task", "reference", 1).runs[0]
    for way in multi_task.WAYS:
        assert abs(native[way]["digit"] - reference[way]["digit"]) < 0.02


def test_every_way_is_far_from_chance():
    runs = quick("multi-task").runs
    for way in multi_task.WAYS:
        assert runs.values(way, "digit").min() > 0.4
    assert runs.values("two nets", "odd").min() > 0.85
    assert "odd" not in runs[0]["one net, second task meaningless"]


def test_the_table_shows_the_paired_gain():
    outcome = quick("multi-task")
    gain = outcome.runs.values("one net, two heads", "digit") - outcome.runs.values("two nets", "digit")
    assert outcome.table.rows[1][3] == f"{np.mean(gain):.3f}"


def test_the_claims_can_fail():
    def numbers(alone, shared, coin, odd=0.9):
        return dict(
            zip(
                multi_task.WAYS,
                ({"digit": alone, "odd": 0.9}, {"digit": shared, "odd": odd}, {"digit": coin}),
                strict=True,
            )
        )

    assert claims_of("multi-task", numbers(0.7, 0.8, 0.7)) == [True, True, True]
    assert claims_of("multi-task", numbers(0.8, 0.7, 0.6)) == [False, True, True]
    assert claims_of("multi-task", numbers(0.7, 0.8, 0.9)) == [True, False, True]
    for odd, held in ((0.895, True), (0.88, False)):
        assert multi_task.claims(Runs([numbers(0.7, 0.8, 0.7, odd)]))[2].held is held
