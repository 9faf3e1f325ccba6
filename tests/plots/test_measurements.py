"""Pictures of measurements: what is drawn, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

import fastreg as fr
from fastreg.benchmarks import Row
from fastreg.checks.engines import EngineComparison, OpComparison
from fastreg.checks.parts import Part
from fastreg.checks.profile import OpProfile, Profile
from fastreg.plots import plot_benchmark, plot_comparison, plot_profile

pytest.importorskip("matplotlib")

DATA, FIRST, LAST = Part(-1, None, "data"), Part(0, "0", "layer 0: Dense 4 to 9"), Part(1, "1", "layer 1: Dense 9 to 2")
OPS = [
    OpProfile(0, "Gather", "inputs", 1e-3, 0.0, 5e6, 4.0, DATA),
    OpProfile(1, "Dense", "0.y", 2e-3, 1e8, 0.0, 0.5, FIRST),
    OpProfile(2, "Dense", "1.y", 1e-3, 1e8, 0.0, 0.8, LAST),
    OpProfile(3, "DenseDx", "d:0.y", 2e-3, 1e8, 0.0, 0.4, LAST),
    OpProfile(4, "DenseDw", "0.weight", 4e-3, 1e8, 0.0, 0.3, FIRST),
]
PROFILE = Profile(OPS, 12e-3, 0.0, 128, "native", "float32", "avx2", 2, 100.0, 10.0, 0.3)


def bars(axes):
    """Where each bar starts and ends, by its place."""
    found = {}
    for bar in axes.patches:
        if bar.get_width():
            found.setdefault(round(bar.get_y() + bar.get_height() / 2), []).append((bar.get_x(), bar.get_width()))
    return {place: sorted(ends) for place, ends in found.items()}


def test_the_times_are_those_of_the_profile():
    times, shares = plot_profile(PROFILE).axes
    assert times.get_xlabel().endswith("(ms)")
    expected = {0: [(0, 1)], 1: [(0, 2), (2, 4)], 2: [(0, 1), (1, 2)]}
    for place, ends in bars(times).items():
        np.testing.assert_allclose(ends, expected[place])
    assert [label.get_text() for label in times.get_yticklabels()] == [part.title for part in (DATA, FIRST, LAST)]
    assert [text.get_text() for text in times.texts] == ["10 %", "60 %", "30 %"]
    names = [label.get_text() for label in shares.get_yticklabels()]
    assert names == ["Gather inputs", "Dense 0.y", "DenseDw 0.weight", "Dense 1.y", "DenseDx d:0.y"]
    widths = {names[place]: ends[0][1] for place, ends in bars(shares).items()}
    assert widths["Dense 0.y"] == pytest.approx(50) and widths["Gather inputs"] == pytest.approx(
        120
    )  # cut, and says so
    assert "5.0 GB/s (400 %, from the caches)" in [text.get_text() for text in shares.texts]


def test_pictures_of_results(tmp_path):
    trainer = fr.Trainer(fr.Sequential([fr.Dense(8, "gelu"), fr.Dense(2)]), optimizer="adam")
    X, y = np.random.default_rng(0).normal(size=(16, 3)), np.arange(16) % 2
    fr.profile(trainer, X, y, repeats=1, seconds=1e-4).plot(tmp_path / "profile.png", title="$x")
    fr.compare_engines(trainer, X, y).plot(tmp_path / "errors.png")
    for name in ("profile.png", "errors.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_errors_too_large_stand_out():
    rows = [("Gather", "inputs", 0.0, DATA), ("Dense", "0.y", 3.0, FIRST), ("Dense", "1.y", 4000.0, LAST)]
    rows.append(("DenseDx", "d:0.y", np.nan, LAST))
    ops = [OpComparison(index, op, on, ulp, ulp, 20.0, part) for index, (op, on, ulp, part) in enumerate(rows)]
    (axes,) = plot_comparison(EngineComparison(ops, "float32")).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["largest error"] == [[0, 0], [3, 1]] and drawn["error too large"] == [[4000, 2]]
    assert [text.get_text() for text in axes.texts] == ["not a number, or infinite"]


@pytest.mark.parametrize("draw", [plot_profile, plot_comparison])
def test_refuses(draw):
    name = draw.__name__.removeprefix("plot_")
    with pytest.raises(TypeError, match=f"{name}: got namespace.*, expected what fastreg"):
        draw(SimpleNamespace(ops=[]))
    with pytest.raises(TypeError, match="path: got 3, expected the path"):
        PROFILE.plot(3)
    with pytest.raises(TypeError, match="title: got 3, expected a string"):
        PROFILE.plot(None, 3)


def test_bars_of_a_benchmark():
    def row(target, seconds):
        return Row("mse", "4 x 2", target, seconds, 1.0, 1.0, "GB/s", 10.0, 0.0 if seconds else 1.0, 1e-6)

    shares, faster = plot_benchmark([row("avx2", 0.25), row("generic", 0.2), row("other", None)]).axes
    assert [bar.get_width() for bar in shares.patches] == [pytest.approx(40), pytest.approx(50)]
    assert [(bar.get_x(), bar.get_width()) for bar in faster.patches] == [(1, pytest.approx(3)), (1, pytest.approx(4))]
    with pytest.raises(TypeError, match=r"rows: got \[\], expected what fastreg.benchmarks.run yielded"):
        plot_benchmark([])
