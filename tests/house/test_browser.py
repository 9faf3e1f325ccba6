"""The forms of objects in a notebook, in a real browser on light and dark ground: readable, and without scripts."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import fastreg as fr

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MEASURE = """
<script>
const linear = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const lum = text => {
  const [r, g, b] = text.match(/[0-9.]+/g).map(Number).map(linear);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = lum(getComputedStyle(document.body).backgroundColor);
const cells = [...document.querySelectorAll("#forms td, #forms th, #forms b")].filter(cell => cell.textContent);
const found = cells.map(cell => {
  const ink = lum(getComputedStyle(cell).color), box = cell.getBoundingClientRect();
  return {text: cell.textContent, contrast: (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05),
          width: box.width, height: box.height};
});
const out = document.createElement("pre");
out.id = "out";
out.textContent = JSON.stringify({cells: found, lines: document.querySelectorAll("#forms polyline").length});
document.body.append(out);
</script>"""


@pytest.fixture(scope="module")
def forms():
    X, y = np.eye(4).repeat(5, axis=0), np.arange(4).repeat(5)
    model = fr.Sequential([fr.Dense(8, "relu"), fr.Dropout(rate=0.5), fr.Dense(4)])
    trainer = fr.Trainer(model, optimizer="adam")
    history = trainer.fit(X, y, epochs=4)
    table = fr.data.Table.of({"size": [1.0, 2.0, None, 4.0], "town": ["rome", "oslo", "rome", "<b>"]})
    schema = fr.data.infer_schema(table, ["low", "low", "high", "high"])
    fits = fr.cross_validate(fr.Trainer(fr.Sequential([fr.Dense(4)])), X, y, cv=2)
    search = fr.grid_search(fr.Trainer(fr.Sequential([fr.Dense(4)])), {"l2": [0.0, 0.1]}, X, y, cv=2)
    shown = (trainer, model, history, model.summary(), table, schema, fits, search, fr.Input(3, name="image"))
    return "".join(value._repr_html_() for value in shown)


def test_they_load_nothing(forms):
    assert not re.search(r"<script|<link|<img|<iframe|src=|href=|url\(|https?:|@import|\bon\w+=", forms)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("ground", ["background: #ffffff; color: #111111", "background: #1e1e1e; color: #dddddd"])
def test_they_are_readable(forms, ground, tmp_path):
    page = tmp_path / "forms.html"
    page.write_text(
        f"<!doctype html><meta charset='utf-8'><body style='{ground}'><div id='forms'>{forms}</div>{MEASURE}"
    )
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=1000", "--dump-dom", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = re.search('<pre id="out">(.*?)</pre>', result.stdout, re.DOTALL)
    assert found, result.stderr[-500:]
    told = json.loads(html.unescape(found[1]))
    texts = [cell["text"] for cell in told["cells"]]
    assert {"Dropout(keep_prob=0.5, rate=0.5)", "relu", "Trainer", "Sequential of 3 layers", "loss"} <= set(texts)
    assert {"Table of 4 rows and 2 columns", "Schema", "category", "<b>, oslo, rome", "Fits: 2", "fold 2 of 2"} <= set(
        texts
    )
    assert {"Search of 2, by loss", "l2=0.1"} <= set(texts)
    assert min(cell["contrast"] for cell in told["cells"]) > 7  # what WCAG's AAA asks for
    assert min(min(cell["width"], cell["height"]) for cell in told["cells"]) > 4
    assert told["lines"] == 5  # a curve for each column of the history
