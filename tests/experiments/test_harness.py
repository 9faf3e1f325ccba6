"""The harness: new files are found, what is finished is kept, the page holds everything, nonsense gets one line."""

import base64
import json
import re
import sys
import textwrap
from threading import Event
from types import ModuleType

import numpy as np
import pytest

import fastreg as fr
from fastreg.cli import main
from fastreg.experiments.harness import Claim, Lab, Runs, Table, figures, page, plus_minus
from fastreg.experiments.harness import lab as labs
from fastreg.experiments.harness.find import Experiment, survey
from fastreg.experiments.harness.page import write_page
from fastreg.experiments.harness.results import as_plain, half_interval
from fastreg.experiments.harness.running import Interrupted, MissingData, run

pytest.importorskip("matplotlib")
from matplotlib.text import Text


def made(measure=lambda lab: {"value": lab.seed}, **more) -> Experiment:
    """An experiment of this process alone."""
    module = ModuleType("made_up")
    module.__doc__ = "A claim.\n\nIts argument."
    module.measure = measure
    module.table = lambda runs: Table(["", "value"], [["mean", runs.text("value")]], "a note")
    module.claims = lambda runs: [Claim("seeds differ", np.ptp(runs.values("value")) > 0, f"{len(runs)} seeds")]
    module.draw = lambda figure, runs: figure.subplots().plot(runs.values("value"))
    for name, value in {"SYSTEMS": "Z1", **more}.items():
        setattr(module, name, value)
    return Experiment("made-up", module)


def test_the_interval_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for count in (3, 5, 31, 32):
        values = np.random.default_rng(count).normal(size=count)
        low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
        assert half_interval(values) == pytest.approx((high - low) / 2, rel=1e-3 if count < 32 else 0.05)


def test_plus_minus_says_nothing_of_the_spread_of_one():
    assert plus_minus([0.25]) == "0.250"


def test_seeds_are_run_in_order_and_claims_are_judged():
    found = run(made(), seeds=4, first_seed=7)
    assert found.runs.values("value").tolist() == [7, 8, 9, 10]
    assert found.claims[0].held and "4 seeds" in found.remarks[0]
    assert not run(made(), seeds=1).claims[0].held


def test_default_seeds_and_those_of_quick():
    assert [len(run(made(SEEDS=3), quick=quick).runs) for quick in (False, True)] == [3, 2]


@pytest.mark.parametrize("alone", [True, False])
def test_ctrl_c_keeps_what_is_finished(alone):
    def measure(lab):
        if lab.seed == 2:
            raise KeyboardInterrupt
        return {"value": lab.seed}

    with pytest.raises(Interrupted) as caught:
        run(made(measure, ALONE=alone), seeds=3)
    outcome = caught.value.outcome
    assert outcome.runs.values("value").tolist() == [0, 1]
    assert "2 of 3 seeds" in " ".join(outcome.remarks)


def test_ctrl_c_before_the_first_seed_leaves_nothing():
    def measure(lab):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        run(made(measure), seeds=2)
    assert caught.value.outcome is None


def test_a_training_on_another_thread_ends_when_it_is_cancelled():
    cancel = Event()
    lab = Lab(cancel=cancel, threads=1)
    trainer = lab.trainer(fr.Sequential([fr.Dense(1)]), loss="mse")
    cancel.set()
    with pytest.raises(labs.Cancelled):
        lab.fit(trainer, np.ones((8, 2)), np.ones((8, 1)), epochs=10**6)


def test_an_error_in_one_item_ends_the_others():
    def one(item):
        if item == 0:
            raise ValueError("item 0")
        trainer = lab.trainer(fr.Sequential([fr.Dense(1)]), loss="mse")
        lab.fit(trainer, np.ones((8, 2)), np.ones((8, 1)), epochs=10**9)

    lab = Lab(threads=2)
    with pytest.raises(ValueError, match="item 0"):
        lab.side_by_side(one, range(4))


def test_side_by_side_gives_results_in_order_and_one_thread_each():
    lab = Lab(threads=3)
    assert lab.side_by_side(lambda item: (item, lab.threads), range(5)) == [(item, 1) for item in range(5)]
    assert lab.threads == 3


def test_progress_of_a_loop_reaches_one():
    shares = []
    assert list(Lab(report=shares.append).each("ab")) == ["a", "b"]
    assert shares == [0.5, 1.0]


def test_the_stand_in_has_the_shape_of_mnist():
    pytest.importorskip("sklearn")
    (X, y), (X_test, y_test) = Lab().images(60_000, 10_000)
    assert X.shape == (1200, 784) and X_test.shape == (597, 784) and X.dtype == np.float32
    assert X.min() == 0 and X.max() == 1 and sorted(set(y)) == list(range(10)) and len(y_test) == 597
    small, _ = fr.data.load("digits")
    assert X.sum(axis=1).max() <= small.sum(axis=1).max() * 9 + 1e-3
    assert len(Lab().images(100, 50)[0][0]) == 100


def test_a_folder_without_mnist_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--data: got .*, expected a folder with the IDX files of MNIST"):
        Lab(data=str(tmp_path)).images()


def test_an_experiment_that_needs_mnist_says_so(monkeypatch):
    monkeypatch.setattr(labs, "PLACES", ())
    with pytest.raises(MissingData, match="made-up: it needs MNIST"):
        run(made(NEEDS="mnist"))
    assert run(made(NEEDS="mnist"), quick=True).claims


def test_json_says_numbers_plainly():
    assert as_plain({"a": np.float32(1 / 3), 1: [np.int64(2), np.inf], "c": np.bool_(True)}) == {
        "a": 0.3333333,
        "1": [2, None],
        "c": True,
    }


def test_a_new_file_is_listed_run_and_on_the_page(tmp_path, monkeypatch, capsys):
    (tmp_path / "new_idea.py").write_text(
        textwrap.dedent('''
        """New ideas work.

        Because we tried one.
        """

        from fastreg.experiments.harness import Claim, Table, figures

        SYSTEMS = "Z9"


        def measure(lab):
            return {"value": float(lab.rng.random())}


        def table(runs):
            return Table(["", "value"], [["mean", runs.text("value")]])


        def claims(runs):
            return [Claim("values < 1 & > 0", 0 < runs.mean("value") < 1, runs.text("value"))]


        def draw(figure, runs):
            axes = figure.subplots()
            figures.bars(axes, ["value"], [runs.values("value")])
            figures.label(axes, "what", "value")
        ''')
    )
    import fastreg.experiments

    monkeypatch.setattr(fastreg.experiments, "__path__", [*fastreg.experiments.__path__, str(tmp_path)])
    out = tmp_path / "out"
    try:
        assert main(["run", "--list"]) == 0
        assert re.search(r"new-idea +Z9 +New ideas work\.", capsys.readouterr().out)
        assert main(["run", "new-idea", "--seeds", "3", "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert "held: values < 1 & > 0" in printed and "3 seeds" in printed
        html = (out / "index.html").read_text()
        assert "values &lt; 1 &amp; &gt; 0" in html and "Because we tried one." in html
        picture = re.search(r"base64,([^']+)'", html)
        assert base64.b64decode(picture[1]) == (out / "new-idea.png").read_bytes()
        assert "[numbers](new-idea.json)" in (out / "index.md").read_text()
        assert len(json.loads((out / "new-idea.json").read_text())["runs"]) == 3
    finally:
        sys.modules.pop("fastreg.experiments.new_idea", None)
        vars(fastreg.experiments).pop("new_idea", None)


@pytest.mark.parametrize(
    ("needs", "quick", "verdict"),
    [
        ("mnist", True, "○ not tested in the quick form"),
        ("", True, "✓ held in the quick form"),
        ("", False, "✓ held"),
    ],
)
def test_a_quick_form_is_not_taken_for_the_full_one(needs, quick, verdict, tmp_path, monkeypatch):
    experiment = made(NEEDS=needs)
    monkeypatch.setattr(page, "experiments", lambda: {experiment.name: experiment})
    outcome = run(experiment, seeds=2, quick=quick)
    outcome.save(tmp_path)
    html, markdown = (path.read_text() for path in write_page(tmp_path))
    assert f"<td class='verdict'>{verdict}</td>" in html and f"| {verdict} |" in markdown
    assert ("quick forms" in html) == ("quick forms" in markdown) == quick
    assert ("does not test the claim of the title" in " ".join(outcome.remarks)) == bool(needs)


def texts(figure) -> list[str]:
    """All texts in a picture."""
    return [text.get_text() for text in figure.findobj(Text)]


def test_a_quick_form_may_have_a_claim_of_its_own(tmp_path, monkeypatch):
    experiment = made(NEEDS="mnist", QUICK="A small claim.")
    monkeypatch.setattr(page, "experiments", lambda: {experiment.name: experiment})
    outcome = run(experiment, quick=True)
    assert outcome.title == "A small claim." and "A small claim." in texts(outcome.draw())
    assert "the claim of the full form: A claim" in outcome.remarks
    outcome.save(tmp_path)
    html, _ = (path.read_text() for path in write_page(tmp_path))
    assert "<h2 id='made-up'>A small claim.</h2>" in html and "✓ held in the quick form" in html
    monkeypatch.setattr(labs, "PLACES", (str(tmp_path),))
    assert experiment.title(quick=False) == "A claim."
    with_flag = made(OPTIONS={"more": "more of it"}, TITLES={"more": "A larger claim."})
    assert [with_flag.title(False, flags) for flags in (["more"], [])] == ["A larger claim.", "A claim."]


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({"quick": True}, "fastreg run made-up --quick"),
        ({"quick": True, "seeds": 3}, "fastreg run made-up --quick --seeds 3"),
        ({"seeds": 5, "data": "my digits"}, "fastreg run made-up --data 'my digits'"),
        ({"seeds": 2, "first_seed": 4}, "fastreg run made-up --seeds 2 --seed 4"),
    ],
)
def test_the_command_says_what_is_needed_to_do_it_again(settings, command, monkeypatch):
    def measure(lab):
        lab.used.append("images")
        return {"value": lab.seed}

    monkeypatch.setattr(labs, "find_mnist", lambda data: None)
    assert run(made(measure), **settings).command == command


def test_a_command_without_images_names_no_folder_of_them(monkeypatch):
    monkeypatch.setattr(labs, "find_mnist", lambda data: None)
    assert run(made(), data="digits").command == "fastreg run made-up"


def test_no_word_stands_alone_in_a_last_line():
    assert figures.wrapped("one two three four five", 20) == "one two three\nfour five"
    assert figures.wrapped("one two", 20) == "one two"
    for width in range(40, 100):
        *_, before, last = figures.wrapped("all rules of thumb hold " * 9, width).splitlines()
        assert 4 * len(last) > len(before) <= width


@pytest.mark.parametrize("count", [1, 7])
def test_the_text_below_a_picture_fills_its_place(count):
    claims = [Claim("a claim that needs more room than there is in a line, " * 3, True, "3 of 3")] * count
    experiment = made(SIZE=(6.0, 3.0))
    runs = Runs([{"value": 1}, {"value": 2}])
    figure = figures.picture("A claim.", (6.0, 3.0), claims, ["remark"], experiment.module.draw, runs)
    figure.draw_without_rendering()
    (text,) = [artist for artist in figure.findobj(Text) if "remark" in artist.get_text()]
    place = text.get_window_extent()
    assert 0.0 < place.y0 < 0.15 * figure.dpi and place.x1 < figure.bbox.x1
    assert 0.0 < figure.axes[0].get_tightbbox().y0 - place.y1 < 0.15 * figure.dpi


def test_what_a_picture_holds_is_explained():
    def told(seeds, draw):
        figure = figures.picture("A claim.", (6.0, 3.0), [], [], draw, Runs([{"a": [1, 2 + k]} for k in range(seeds)]))
        return " ".join(texts(figure))

    def lines(figure, runs):
        figures.curve(figure.subplots(), [0, 1], runs.values("a"))

    def bars(figure, runs):
        figures.bars(figure.subplots(), ["a"], [runs.values("a")[:, 1]])

    assert "thin lines" in told(2, lines) and "interval" not in told(2, lines)
    assert "interval" in told(3, lines) and "thin lines" not in told(3, lines)
    assert "interval" in told(3, bars) and "interval" not in told(2, bars)


def test_a_page_of_an_empty_folder_has_no_experiments(tmp_path):
    html, _ = write_page(tmp_path)
    assert "<h2" not in html.read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run"], "expected names of experiments, --all or --list"),
        (["run", "tanh-liner"], "the nearest is 'tanh-linear'"),
        (["run", "tanh-linear", "--seeds", "1000000"], "expected at most 10000"),
        (["run", "tanh-linear", "--data", "nowhere"], "expected a folder with the IDX files of MNIST"),
    ],
)
def test_nonsense_gets_one_line(arguments, told, capsys, tmp_path):
    assert main([*arguments, "--out", str(tmp_path / "out"), "--quick"]) == 1
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_for_pictures(tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    assert main(["run", "tanh-linear", "--quick", "--out", str(tmp_path / "file")]) == 1
    told = capsys.readouterr()
    assert "expected a folder" in told.err.splitlines()[-1] and not told.out
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("out", ["/proc/nowhere/out", "file/out"])
def test_a_folder_that_cannot_be_made_is_told_before_anything_runs(out, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    assert main(["run", "tanh-linear", "--quick", "--out", out]) == 1
    told = capsys.readouterr()
    assert "--out: got" in told.err and len(told.err.splitlines()) == 1 and not told.out


def test_a_run_that_fails_leaves_no_empty_folders(with_broken, tmp_path, capsys):
    (tmp_path / "fails.py").write_text(WHOLE.replace("    return {", "    1 / 0\n    return {"))
    assert main(["run", "fails", "--out", str(tmp_path / "new" / "out")]) == 1
    assert not (tmp_path / "new").exists()


BROKEN = {
    "mistaken": ('"""A claim."""\n\ndef measure(lab:\n', r"mistaken\.py, line 3: "),
    "half_done": (
        '"""Half."""\n\n\ndef measure(lab):\n    return {}\n',
        r"half_done\.py: it has no table and no claims and no draw",
    ),
    "stumbles": ('"""A claim."""\nSIZE = (9.0, 1 / 0)\n', r"stumbles\.py, line 2: ZeroDivisionError: division by zero"),
    "astray": ('"""A claim."""\n\nimport no_such_module\n', "No module named 'no_such_module'"),
}
WHOLE = """\
"A claim that holds."
from fastreg.experiments.harness import Claim, Table

def measure(lab):
    return {"value": lab.seed}

def table(runs):
    return Table(["", "value"], [["mean", runs.text("value")]])

def claims(runs):
    return [Claim("seeds are numbers", True, "")]

def draw(figure, runs):
    figure.subplots().plot(runs.values("value"))
"""


@pytest.fixture
def with_broken(monkeypatch, tmp_path):
    """A folder of one experiment and four broken ones."""
    import fastreg.experiments

    for name, text in {"whole": WHOLE, **{name: text for name, (text, _) in BROKEN.items()}}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(fastreg.experiments, "__path__", [str(tmp_path)])
    yield
    for name in ("whole", "fails", *BROKEN):
        sys.modules.pop(f"fastreg.experiments.{name}", None)
        vars(fastreg.experiments).pop(name, None)


def test_what_is_wrong_with_a_module_is_named(with_broken):
    found, broken = survey()
    assert list(found) == ["whole"] and broken.keys() == {"mistaken", "half-done", "stumbles", "astray"}
    for name, (_, told) in BROKEN.items():
        assert re.search(told, str(broken[name.replace("_", "-")])), name


def test_broken_experiments_do_not_stop_the_others(with_broken, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["run", "whole", "--seeds", "2", "--out", out]) == 0
    told = capsys.readouterr()
    assert "A claim that holds." in told.out and (tmp_path / "out" / "whole.json").exists()
    assert told.err.count("left out: ") == 4 and "mistaken.py, line 3" in told.err
    assert main(["run", "--list"]) == 0
    assert "A claim that holds." in capsys.readouterr().out
    assert main(["run", "stumbles", "--out", out]) == 1
    assert "stumbles.py, line 2: ZeroDivisionError" in capsys.readouterr().err.splitlines()[-1]
    assert main(["run", "--all", "--seeds", "2", "--out", out]) == 1
    told = capsys.readouterr()
    assert "A claim that holds." in told.out and told.err.splitlines()[-1].startswith("fastreg: ")


def test_an_experiment_that_fails_is_told_with_its_place_and_the_others_run(with_broken, tmp_path, capsys):
    (tmp_path / "fails.py").write_text(WHOLE.replace("    return {", "    1 / 0\n    return {"))
    line = WHOLE[: WHOLE.index("    return {")].count("\n") + 1
    out = str(tmp_path / "out")
    assert main(["run", "fails", "whole", "--seeds", "2", "--out", out]) == 1
    told = capsys.readouterr()
    assert "A claim that holds." in told.out and (tmp_path / "out" / "whole.json").exists()
    place = f"fails.py, line {line}: ZeroDivisionError: division by zero"
    assert place in told.err and told.err.splitlines()[-1].endswith(place)
    page = (tmp_path / "out" / "index.html").read_text() + (tmp_path / "out" / "index.md").read_text()
    assert "whole; 2 seeds" in page and "ystem ;" not in page  # it belongs to none
    assert page.count("division by zero") == 2 and "✗ fails: " in page


def test_numbers_of_an_earlier_run_are_not_shown_where_this_one_failed(with_broken, tmp_path):
    out = tmp_path / "out"
    assert main(["run", "whole", "--seeds", "2", "--out", str(out)]) == 0
    assert (out / "whole.json").exists()
    for path in write_page(out, {"whole": "it <stopped> early"}):
        text = path.read_text()
        assert "A claim that holds." not in text
        assert ("it &lt;stopped&gt; early" if path.suffix == ".html" else "it <stopped> early") in text


def test_all_takes_no_names(capsys):
    assert main(["run", "moons", "--all"]) == 1
    assert "got --all and moons" in capsys.readouterr().err


def test_the_first_seed_is_checked_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["run", "ridge", "--seed", "-1"])
    assert "--seed: got '-1', expected a whole number of at least 0" in capsys.readouterr().err


def test_runs_find_nested_numbers():
    runs = Runs([{"a": {"b": [1, 2]}}, {"a": {"b": [3, 4]}}])
    assert runs.values("a", "b").tolist() == [[1, 2], [3, 4]] and runs.mean("a", "b").tolist() == [2, 3]
