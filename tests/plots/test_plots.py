"""Plots of training: what is drawn, and what is refused."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.plots import plot_history

pytest.importorskip("matplotlib")


def history(**curves) -> fr.History:
    result = fr.History()
    for epoch, values in enumerate(zip(*curves.values(), strict=True)):
        result.append(epoch, dict(zip(curves, values, strict=True)))
    return result


GOOD = history(loss=[3.0, 2.0, 1.0], val_loss=[3.0, 1.5, 2.0])


def test_curves_are_those_of_the_history():
    (axes,) = plot_history({"run": GOOD}).axes
    training, dev, best = axes.lines
    np.testing.assert_array_equal(training.get_xydata(), [(1, 3), (2, 2), (3, 1)])
    np.testing.assert_array_equal(dev.get_xydata(), [(1, 3), (2, 1.5), (3, 2)])
    np.testing.assert_array_equal(best.get_xydata(), [(2, 1.5)])


def test_curves_of_the_dev_set_alone():
    (axes,) = plot_history({"run": history(val_loss=[2.0, 1.0])}).axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [(1, 2), (2, 1)])


@pytest.mark.parametrize("text", [r"a $\frac{$ b", "cost in $ and $", r"$\alpha$"])
def test_texts_are_drawn_as_they_are(tmp_path, text):
    path = tmp_path / "curves.png"
    figure = plot_history({text: GOOD}, path, title=text, dev=text)
    assert path.read_bytes().startswith(b"\x89PNG")
    drawn = [figure._suptitle, figure.axes[0].title, *figure.axes[0].texts, *figure.legends[0].get_texts()]
    assert all(text in label.get_text() for label in (drawn[0], drawn[1], drawn[2], drawn[-1]))
    assert not any(label.get_parse_math() for label in drawn)


BAD = {
    "no run": (({},), r"histories: got none"),
    "no epoch": (({"run": fr.History()},), r"histories: got none, or one without epochs"),
    "no mapping": (([GOOD],), r"histories: got \[.*, expected a mapping"),
    "no history": (({"run": {"loss": [1.0]}},), r"histories: got .*, expected a mapping of names to what fit returned"),
    "a number as name": (({3: GOOD},), r"histories: the name of a run: got 3, expected a string"),
    "no name": (({None: GOOD},), r"histories: the name of a run: got None, expected a string"),
    "no loss": (({"run": history(other=[1.0])},), r"histories: got curves of \['other'\], expected loss or accuracy"),
    "path": (({"run": GOOD}, 3), r"path: got 3, expected the path"),
    "title": (({"run": GOOD}, None, 3), r"title: got 3, expected a string"),
    "dev": (({"run": GOOD}, None, None, None), r"validation: got None, expected a string"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case):
    arguments, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        plot_history(*arguments)
    assert "\n" not in str(error.value)
