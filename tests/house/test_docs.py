"""The code on the pages of docs/ and in the README runs, and prints what the pages say.

A block of Python runs after those before it on its page, in a folder of its own. A block named `output` below it is
what it prints; `…` stands for anything. Of a block of shell, the lines that call `fastreg` run: trainings with a few
epochs; experiments, which tests/experiments/test_all.py runs, are only looked up. A block that cannot run says why:
"```python not run: reason".
"""

import contextlib
import gzip
import io
import random
import re
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastreg import cli
from fastreg.experiments.harness.find import experiments

ROOT = Path(__file__).parents[2]
PAGES = [
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts
]
PAGES += ["README.md"] if (ROOT / "README.md").exists() else []
FENCE = re.compile(r"^```(\w+)?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHERS = ("joblib", "matplotlib", "onnx", "onnxruntime", "pandas", "polars", "sklearn", "torch")  # which pages need
FEW_UNRUN = 6  # blocks of all pages that do not run


@dataclass
class Block:
    language: str
    remark: str
    text: str
    line: int  # of the page, where the text begins

    @property
    def runs(self) -> bool:
        return self.language in ("python", "shell") and not self.remark.startswith("not run: ")


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(found[1] or "", found[2].strip(), found[3], text.count("\n", 0, found.start(3)) + 1)
        for found in FENCE.finditer(text)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in blocks(page))])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    found = blocks(page)
    code = "\n".join(block.text for block in found if block.runs).replace('"digits"', "import sklearn")
    for module in OTHERS:
        if re.search(rf"\b(import|from) {module}\b", code):
            pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    for name in ("FASTREG_NUM_THREADS", "OMP_NUM_THREADS"):  # the nets are small, and machines that test are busy
        monkeypatch.setenv(name, "1")
    bring_tables()
    names = {"__name__": "guide"}
    printed = ""
    for block in found:
        where = f"{page}, line {block.line}"
        if block.language == "output":
            assert agrees(block.text, printed), f"{where}: printed\n{printed}"
        elif block.runs:
            printed = run_python(block, page, names) if block.language == "python" else run_shell(block, where)


def run_python(block: Block, page: str, names: dict) -> str:
    code = compile("\n" * (block.line - 1) + block.text, page, "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    return printed.getvalue()


def run_shell(block: Block, where: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()) as said:
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["fastreg", "run"] and "--quick" in words:
                assert words[2] in experiments(), f"{where}: {line}"
            elif words[:1] == ["fastreg"]:
                if words[1] == "train" and "--help" not in words:
                    words += ["--epochs", "3"]  # the options are what may be wrong
                assert command(words[1:]) == 0, f"{where}: {line}\n{said.getvalue()}"
    return printed.getvalue()


def command(arguments: list[str]) -> int:
    with warnings.catch_warnings():  # the command prints warnings in its own way
        warnings.simplefilter("default")
        try:
            return cli.main(arguments)
        except SystemExit as end:  # --help
            return end.code


def agrees(expected: str, printed: str) -> bool:
    """Whether the text was printed, where … stands for anything."""
    pattern = ".*".join(map(re.escape, expected.strip().split("…")))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def bring_tables() -> None:
    """The tables that the README takes as the reader's own, in the folder of the test."""
    rng = random.Random(0)
    with gzip.open("houses.csv.gz", "wt") as houses:
        print("town,rooms,size,sold,price", file=houses)
        for i in range(260):
            town, rooms = rng.choice(["rome", "oslo", "bonn"]), rng.randint(1, 6)
            price = 100_000 + 50_000 * rooms + 80_000 * (town == "rome") + rng.gauss(0, 5_000)
            size = "" if i % 10 == 0 else 30 * rooms + rng.randint(0, 9)
            print(f"{town},{rooms},{size},2020-{1 + i % 12:02}-15,{price:.0f}", file=houses)
    pets = [(rng.choice(["cat", "dog", "fox"]), rng.gauss(0, 1), rng.choice(["", "red", "grey"])) for _ in range(200)]
    rows = [f"{['cat', 'dog', 'fox'].index(kind) + noise / 3:.3f},{colour},{kind}" for kind, noise, colour in pets]
    Path("pets.csv").write_text("\n".join(["weight,colour,kind", *rows]) + "\n")
    Path("new-pets.csv").write_text(
        "colour,weight\n" + "".join(f"{c},{w}\n" for w, c, _ in (r.split(",") for r in rows))
    )
    sales = [(rng.uniform(1, 9), rng.choice(["north", "south"])) for _ in range(200)]
    text = "".join(f"{price:.2f},{region},{90 - 9 * price:.1f},{price / 2:.2f}\n" for price, region in sales)
    Path("sales.csv").write_text("price,region,units,returns\n" + text)


def test_output_agrees_or_not():
    assert agrees("a 0.9…\nb", "a 0.97\nb\n") and not agrees("a 0.9…", "a 0.87") and not agrees("a", "a b")


def test_few_blocks_do_not_run_and_they_say_why():
    remarks = [block.remark for page in PAGES for block in blocks(page) if block.language in ("python", "shell")]
    unrun = [remark for remark in remarks if remark]
    assert all(len(remark.removeprefix("not run: ")) > 10 and remark.startswith("not run: ") for remark in unrun)
    assert len(unrun) <= FEW_UNRUN


def test_every_fence_has_a_language_that_is_known():
    assert {block.language for page in PAGES for block in blocks(page)} <= {"python", "shell", "output", "text", ""}
