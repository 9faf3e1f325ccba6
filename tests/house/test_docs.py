"""The examples of the guides in docs/ that promise it run as they stand."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = [
    path.name for path in sorted(DOCS.glob("*.md")) if re.search("Every example (in Python )?runs", path.read_text())
]


@pytest.mark.parametrize("name", GUIDES)
def test_the_examples_of_a_guide_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    exec(compile("\n".join(blocks), name, "exec"), {"__name__": "guide"})
    assert capsys.readouterr().out
