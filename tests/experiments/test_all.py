"""Every experiment: its quick form runs, and its claims hold. What each found is judged in its own file."""

import json
from html import escape

import numpy as np
import pytest
from quick import quick

from fastreg.experiments.harness.find import experiments
from fastreg.experiments.harness.page import write_page
from fastreg.experiments.harness.running import run

ALL = experiments()
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")


@pytest.mark.parametrize("name", ALL)
def test_the_quick_form_runs_and_its_claims_hold(name, tmp_path):
    outcome = quick(name)
    assert outcome.claims and outcome.table.rows
    assert outcome.tested  # a quick form that cannot test the claim says in QUICK what it tests
    assert all(len(row) == len(outcome.table.heads) for row in outcome.table.rows)
    refuted = getattr(ALL[name].module, "REFUTED", ())
    assert [str(claim) for claim in outcome.claims if not claim.held and claim.text not in refuted] == []
    assert set(refuted) <= {claim.text for claim in outcome.claims}
    picture, numbers = outcome.save(tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    told = json.loads(numbers.read_text())
    assert told["claim"] and told["argument"] and told["systems"] and len(told["runs"]) == 2
    page, markdown = write_page(tmp_path)
    assert escape(outcome.claims[0].figures) in page.read_text()
    assert f"## {name}" in markdown.read_text()


@pytest.mark.parametrize("name", ["noise", "early-stopping", "tied"])
def test_the_full_form_needs_no_more_images_than_are_built_in(name):
    """MNIST has more than the digits that stand in for it. Two seconds each."""
    outcome = run(ALL[name], seeds=1)
    assert outcome.claims and outcome.table.rows


@pytest.mark.parametrize("name", ALL)
def test_every_part_of_a_picture_has_named_axes(name):
    for axes in quick(name).draw().axes:
        if axes.axison and axes.get_label() != "<colorbar>" and not axes.images:
            assert axes.get_xlabel() or axes.get_title() or len(axes.get_xticks()) == 0, axes
            assert axes.get_ylabel() or axes.get_title() or len(axes.get_yticks()) == 0, axes


def test_two_runs_with_the_same_seed_find_the_same():
    again = run(ALL["tanh-linear"], quick=True, seeds=1)
    assert np.array_equal(again.runs[0]["bend"], quick("tanh-linear").runs[0]["bend"])
