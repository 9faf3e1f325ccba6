"""Progress: on a real terminal, in a pipe, in a running notebook, with tqdm and without."""

import importlib.util
import io
import os
import re
import select
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import fastreg as fr
from fastreg.callbacks import progress as module
from fastreg.callbacks.base import Callback, Plan
from fastreg.common import liveline

TQDM = importlib.util.find_spec("tqdm") is not None
HIDDEN = "import sys; sys.modules['tqdm'] = None\n"
FIT = textwrap.dedent("""
    import numpy as np, fastreg as fr, time
    class Slow(fr.Callback):
        def on_batch_end(self, batch, logs):
            time.sleep({pause})
    X, y = np.eye(4).repeat(8, axis=0), np.arange(4).repeat(8)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(4)]))
    callbacks = [Slow()] if {pause} else []
    history = trainer.fit(X, y, epochs={epochs}, batch_size=8, validation_data=(X, y), verbose=1, callbacks=callbacks)
""")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    for place in (module, liveline):
        monkeypatch.setattr(place, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def bare(monkeypatch):
    """Without tqdm."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


def go(out, clock, epochs, slices=1, seconds=0.001, stop=None, **how):
    """A fit by a clock: the pieces of each epoch take so many seconds."""
    progress = fr.Progress(out, **how)
    progress.plan = Plan(0, epochs, slices + 1, ("loss",))
    progress.on_train_begin()
    for epoch in range(epochs if stop is None else stop):
        progress.on_epoch_begin(epoch)
        for batch in range(slices):
            clock[0] += seconds
            progress.on_slice_end(batch + 1, {"loss": 1.0})
        clock[0] += seconds
        progress.on_epoch_end(epoch, {"loss": 1.0})
    progress.on_train_end()
    return out.getvalue()


# --- By a clock -----------------------------------------------------------------------------------------------------


def test_a_line_an_epoch_where_nothing_can_be_written_over(capsys):
    X, y = np.eye(3), np.arange(3)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    trainer.fit(X, y, epochs=2, validation_data=(X, y), verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2/2  loss ") and "val_loss" in lines[1]
    trainer.fit(X, y, verbose=0)
    assert capsys.readouterr().out == ""


def test_long_fits_have_a_hundred_lines_or_one_a_minute(clock):
    lines = go(io.StringIO(), clock, 1000).splitlines()
    assert len(lines) == 100 and lines[-1].startswith("epoch 1000/1000")
    assert len(go(io.StringIO(), clock, 1000, lines=True).splitlines()) == 1000  # who asks for lines gets all
    assert len(go(io.StringIO(), clock, 100).splitlines()) == 100
    slow = go(io.StringIO(), clock, 1000, seconds=31.0).splitlines()
    assert len(slow) == 1000  # epochs of more than a minute
    stopped = go(io.StringIO(), clock, 1000, stop=14).splitlines()
    assert stopped[-1].startswith("epoch 14/1000") and len(stopped) == 2


@pytest.mark.usefixtures("bare")
def test_quick_epochs_show_some_and_the_last(clock):
    """1000 epochs of 2 ms, each with a slice: at most ten updates a second."""
    text = go(Terminal(), clock, 1000)
    assert 15 <= text.count("epoch") <= 32 and "epoch 1000/1000" in text.splitlines()[-1]


@pytest.mark.usefixtures("bare")
def test_long_epochs_show_every_end(clock):
    text = go(Terminal(), clock, 10, slices=4, seconds=0.1)
    assert text.count("\n") == 10 and text.count("epoch") <= 50
    assert "\repoch 1/10 [" in text and "=" * 5 in text


@pytest.mark.skipif(not TQDM, reason="tqdm is not installed")
def test_tqdms_bar_has_at_most_ten_updates_a_second_and_ends_at_the_last_epoch(clock):
    text = go(Terminal(), clock, 1000)
    assert 10 <= text.count("epoch") <= 28
    last = text.rstrip("\n").rpartition("\r")[2]
    assert last.startswith("epoch 1000/1000 100%|") and "loss 1" in last and text.endswith("\n")
    stopped = go(Terminal(), clock, 10, slices=3, stop=3).rstrip("\n").rpartition("\r")[2]
    assert stopped.startswith("epoch 3/10  30%|")


def shown_in(columns: int, monkeypatch, clock) -> list[str]:
    """What stands in a terminal of this width, one text after the other, for epochs of two slices."""
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    progress = fr.Progress(out)
    training = {"loss": 0.123456, "accuracy": 0.987654}
    rest = {"penalty": 0.001, "seconds": 1.5, "lr": 0.01}
    held_back = {"val_loss": 0.234567, "val_accuracy": 0.876543, "val_f1_macro": 0.765432}
    progress.plan = Plan(0, 4, 2, tuple({**training, **rest, **held_back}))
    progress.on_train_begin()
    for epoch in range(4):
        progress.on_epoch_begin(epoch)
        clock[0] += 0.5
        progress.on_slice_end(1, training)
        clock[0] += 0.5
        progress.on_epoch_end(epoch, {**training, **rest, **held_back})
    progress.on_train_end()
    return [line.rstrip() for line in re.split(r"[\r\n]+", out.getvalue()) if line.strip()]


@pytest.mark.parametrize("with_tqdm", [pytest.param(True, marks=pytest.mark.skipif(not TQDM, reason="no tqdm")), False])
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_in_a_narrow_terminal_values_of_held_back_data_come_first(columns, with_tqdm, monkeypatch, clock):
    if not with_tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    lines = shown_in(columns, monkeypatch, clock)
    assert max(map(len, lines)) < columns
    later = [line for line in lines if line.startswith(("epoch 2/4", "epoch 3/4", "epoch 4/4"))]
    assert len(later) >= 5 and all("val_loss 0.2346" in line for line in later)  # during an epoch, too
    assert all(("val_accuracy 0.8765" in line) == (columns > 60 or "[" not in line) for line in later if not with_tqdm)
    assert ("loss 0.1235" in later[-1]) == (columns == 200)
    values = re.findall(r"(\w+) 0\.\d+", later[-1])
    assert values[:1] == ["val_loss"] and not later[-1].endswith((".", "_"))  # no value is cut


@pytest.mark.usefixtures("bare")
def test_the_line_ends_when_training_is_cut():
    class Cut(Callback):
        def on_batch_end(self, batch, logs):
            if batch == 1:
                raise KeyboardInterrupt

    out = Terminal()
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(np.eye(3), np.arange(3), batch_size=1, callbacks=[fr.Progress(out), Cut()])
    assert out.getvalue().endswith("\n")


# --- Processes ------------------------------------------------------------------------------------------------------


def on_a_terminal(script: str) -> str:
    """What a process writes to a pseudo-terminal."""
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=theirs, stderr=theirs, stdin=theirs, env=environment
    )
    os.close(theirs)
    text = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        try:
            piece = os.read(ours, 65536) if ready else b""
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            break
        text += piece
    os.close(ours)
    assert process.wait(60) == 0, text.decode()
    return text.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals of POSIX")
@pytest.mark.parametrize("with_tqdm", [pytest.param(True, marks=pytest.mark.skipif(not TQDM, reason="no tqdm")), False])
def test_on_a_terminal(with_tqdm):
    """At most ten updates a second, by the clock of the fit itself: a busy machine lets processes wait."""
    timed = FIT.format(epochs=6, pause=0.03).replace("history = ", "began = time.perf_counter()\nhistory = ")
    timed += 'print("seconds", time.perf_counter() - began)\n'
    text, _, seconds = on_a_terminal(("" if with_tqdm else HIDDEN) + timed).rpartition("seconds ")
    updates = text.count("epoch ")
    assert 3 <= updates <= 10 * float(seconds) + 12  # with the ends of the six epochs
    last = re.split(r"[\r\n]+", text.strip())[-1]
    assert last.startswith("epoch 6/6") and "val_accuracy" in last and "Traceback" not in text
    assert ("%|" in text) == with_tqdm and "\r" in text
    assert text.endswith("\n")


def test_in_a_pipe_nothing_is_written_over():
    script = FIT.format(epochs=250, pause=0)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()
    assert "\r" not in result.stdout and result.stderr == ""
    assert len(lines) == 84 and lines[0].startswith("epoch 3/250") and lines[-1].startswith("epoch 250/250  loss")


def test_where_standard_output_is_closed():
    subprocess.run(
        [sys.executable, "-c", "import sys; sys.stdout = None\n" + FIT.format(epochs=2, pause=0)], check=True
    )


# --- A notebook -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outputs():
    """The outputs of the cells of a notebook that a kernel has run."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import warnings

    import nbformat

    cells = [FIT.format(epochs=8, pause=0.02), "history", "trainer", "trainer.model.summary()", "fr.Dense(3)"]
    cells += ["fr.plots.history(history)"] if importlib.util.find_spec("matplotlib") else []
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client's own libraries
        nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    return [cell["outputs"] for cell in book.cells]


def test_in_a_notebook_the_progress_is_one_output(outputs):
    [progress] = outputs[0]
    assert progress["output_type"] == "display_data"
    if "application/vnd.jupyter.widget-view+json" in progress["data"]:
        return  # tqdm's widget
    text, page = progress["data"]["text/plain"], progress["data"]["text/html"]
    assert text.startswith("epoch 8/8  loss ") and "\r" not in text
    assert '<progress value="1.0000"' in page and "val_accuracy" in page


def test_a_notebook_shows_tables_and_pictures(outputs):
    _, history, trainer, summary, layer, *pictures = (cell[0]["data"] for cell in outputs)
    for shown, word in ((history, "History of 8 epochs"), (trainer, "Trainer"), (summary, "Sequential of 1 layer")):
        assert word in shown["text/html"] and "<table" in shown["text/html"]
    assert layer["text/plain"] == "Dense(3)" and "text/html" not in layer
    for picture in pictures:
        assert picture["image/png"].startswith("iVBOR")
