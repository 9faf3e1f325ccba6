"""Progress shows how far a fit is: a bar on a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import io
import math
import shutil
import sys
import warnings
from collections.abc import Mapping
from time import perf_counter
from typing import Any, ClassVar, Protocol, TextIO

from fastreg.callbacks.base import Callback
from fastreg.callbacks.history import UNJUDGED, number
from fastreg.common import checking, html
from fastreg.common.liveline import INTERVAL, LiveLine

WIDTH = 24  # characters of a bar
LINES = 100  # of a fit, where each update is a line of its own
QUIET = 60.0  # seconds after which there is a line at the end of an epoch anyway


class Progress(Callback):
    """Shows the progress of training: a bar on a terminal or in a notebook, else plain lines. `fit(verbose=1)` adds it.

    The bar is tqdm's (`tqdm.auto`) if tqdm is installed, with a widget in notebooks that have ipywidgets. Otherwise it
    is one of its own. It gets at most ten updates per second, so not all short epochs are shown, but the last one
    always is. Where a line of a terminal has no room for all values, those of held-back data come first, and what does
    not fit is left out. Epochs count from 1 here, as people count; in callbacks and in the history they count from 0.
    Elsewhere, such as in a pipe or under nohup, there is at most one line per epoch, about a hundred for a
    fit of more, and nothing is written over.

    Parameters
    ----------
    file
        Where to write. Standard output by default.
    lines
        Whether to write one plain line per epoch everywhere, for every epoch. `fit(verbose=2)` does.

    Examples
    --------
    >>> import io, numpy as np, fastreg as fr
    >>> lines = io.StringIO()
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    >>> history = trainer.fit(np.eye(3), np.arange(3), epochs=2, callbacks=[fr.Progress(lines)])
    >>> lines.getvalue().count("epoch")
    2
    """

    def __init__(self, file: TextIO | None = None, *, lines: bool = False):
        if file is not None and not callable(getattr(file, "write", None)):
            raise TypeError(f"file: got {checking.shown(file)}, expected an open text file or None")
        self.file = file
        self.lines = checking.flag("lines", lines)

    def on_train_begin(self) -> None:
        first, last = self.plan.first_epoch, self.plan.last_epoch
        self._screen = _screen(self.file, self.lines, first, last)
        names = self.plan.names
        self._held_back = names[names.index("lr") + 1 :] if "lr" in names else ()
        self._before: dict[str, float] = {}  # of held-back data, of the epoch before

    def on_epoch_begin(self, epoch: int) -> None:
        self._epoch, self._label = epoch, f"epoch {epoch + 1}/{self.plan.last_epoch}"

    def on_slice_end(self, batches: int, logs: Mapping[str, float]) -> None:
        values = self._values({**self._before, **logs})
        self._screen.during(self._epoch, batches / self.plan.batches, self._label, values)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._before = {name: logs[name] for name in self._held_back if name in logs}
        self._screen.end(epoch, self._label, self._values(logs))

    def _values(self, logs: Mapping[str, float]) -> list[str]:
        """The values as texts. On a terminal the first ones are those that decide, since the last may not fit."""
        names = list(logs)
        if self._screen.narrow:
            names.sort(key=lambda name: 0 if name in self._held_back else 2 if name in UNJUDGED else 1)
        if self._screen.brief:
            names = [name for name in names if name not in UNJUDGED]
        known = ((name, number(logs[name])) for name in names if name != "penalty" or logs[name])
        return [f"{name} {value:.4g}" for name, value in known if value is not None]

    def on_train_end(self) -> None:
        screen = self.__dict__.pop("_screen", None)  # an open file is not for pickles
        if screen is not None:
            screen.close()


def _joined(values: list[str], room: float = math.inf) -> str:
    """As many of the values as there is room for, in a line."""
    line = ""
    for value in values:
        longer = f"{line}  {value}" if line else value
        if len(longer) > room:
            break
        line = longer
    return line


class _Nowhere(io.TextIOBase):
    """Discards any text."""

    def write(self, text: str) -> int:
        return len(text)


# --- Screens --------------------------------------------------------------------------------------------------------


class _Screen(Protocol):
    """Where progress is shown. Epochs count from 0. `narrow` says whether a line may have no room for all values,
    `brief` whether only those are shown that tell how good the model is."""

    narrow: bool
    brief: bool

    def during(self, epoch: int, share: float, label: str, values: list[str]) -> None:
        """A share of an epoch is done."""

    def end(self, epoch: int, label: str, values: list[str]) -> None:
        """An epoch is done."""

    def close(self) -> None:
        """The fit has ended, maybe in the middle of an epoch, or early."""


def _screen(file: TextIO | None, lines: bool, first: int, last: int) -> _Screen:
    """The screen for where the text goes."""
    out: Any = sys.stdout if file is None else file
    if out is None:  # a process whose standard output is closed
        out = _Nowhere()
    if lines:
        return _Lines(out, first, last, last - first)
    if file is None and _in_notebook(out):
        widgets = importlib.util.find_spec("ipywidgets") is not None
        bar = _tqdm() if widgets else None
        return _Notebook() if bar is None else _Tqdm(bar, None, first, last)
    if getattr(out, "isatty", bool)():
        bar = _tqdm()
        return _Bar(out) if bar is None else _Tqdm(bar, out, first, last)
    return _Lines(out, first, last, LINES)


def _in_notebook(out: Any) -> bool:
    """Whether text goes to the output of a cell: a kernel's stream has taken the place of standard output."""
    return type(out).__module__.startswith("ipykernel.") and "IPython" in sys.modules


def _width() -> int:
    """The characters of a line that a terminal does not break, since only the last part could be written over."""
    return shutil.get_terminal_size().columns - 1


def _tqdm() -> Any:
    """tqdm's bar for this terminal or notebook. None if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that there are no widgets
            from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


class _Lines:
    """A plain line at the ends of some epochs."""

    narrow = brief = False

    def __init__(self, out: Any, first: int, last: int, most: int):
        self.out, self.first, self.last = out, first, last
        self.every = max(1, math.ceil((last - first) / most))
        self.skipped, self.wrote = "", perf_counter()

    def during(self, epoch: int, share: float, label: str, values: list[str]) -> None:
        pass

    def end(self, epoch: int, label: str, values: list[str]) -> None:
        self.skipped, now = f"{label}  {_joined(values)}", perf_counter()
        done = epoch + 1 - self.first
        if done % self.every == 0 or epoch + 1 == self.last or now - self.wrote >= QUIET:
            self._write()

    def _write(self) -> None:
        self.out.write(f"{self.skipped}\n")
        self.out.flush()
        self.skipped, self.wrote = "", perf_counter()

    def close(self) -> None:
        if self.skipped:
            self._write()


class _Bar:
    """A bar of a terminal, and a line for the end of an epoch."""

    narrow, brief = True, False

    def __init__(self, out: Any):
        self.line = LiveLine(out)
        self.ended, self.skipped = -math.inf, ""  # when the end of an epoch was shown

    def during(self, epoch: int, share: float, label: str, values: list[str]) -> None:
        # Bars come at half the rate, so that bars and ends of epochs together keep the limit.
        if perf_counter() - self.line.shown >= 2 * self.line.interval:
            begin = f"{label} [{('=' * int(WIDTH * share)).ljust(WIDTH)}] "
            self.line.show(f"{begin}{_joined(values, _width() - len(begin))}"[: _width()], at_once=True)

    def end(self, epoch: int, label: str, values: list[str]) -> None:
        text = f"{label}  {_joined(values, _width() - len(label) - 2)}"[: _width()]
        if perf_counter() - self.ended < self.line.interval:
            self.skipped = text
            return
        self.ended, self.skipped = perf_counter(), ""
        self.line.show(text, at_once=True)
        self.line.keep()

    def close(self) -> None:
        if self.skipped:
            self.line.show(self.skipped, at_once=True)
        self.line.keep()  # also if an epoch was cut short


class _Tqdm:
    """tqdm's bar over all epochs of the fit."""

    narrow = brief = True
    FRAME: ClassVar[str] = " 100%|------| 00:00<00:00, "  # what is between label and values, with a short bar
    FORMAT: ClassVar[str] = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"

    def __init__(self, kind: Any, out: Any, first: int, last: int):
        # its own class, so that no thread watches over slow bars
        own = type("Bar", (kind,), {"monitor_interval": 0})
        size = {} if out is None else {"ncols": _width(), "nrows": 24}  # not every terminal tells it to tqdm
        self.room = math.inf if out is None else _width() - len(self.FRAME)  # for label and values
        self.bar = own(total=last, initial=first, file=out, bar_format=self.FORMAT, mininterval=INTERVAL, **size)
        self.shown = perf_counter()
        self.pending = False

    def _set(self, done: float, label: str, values: list[str]) -> None:
        self.bar.n = done
        self.bar.set_description_str(label, refresh=False)
        self.bar.set_postfix_str(_joined(values, self.room - len(label)), refresh=False)
        now = perf_counter()
        self.pending = now - self.shown < INTERVAL
        if not self.pending:
            self.bar.refresh()
            self.shown = now

    def during(self, epoch: int, share: float, label: str, values: list[str]) -> None:
        self._set(epoch + share, label, values)

    def end(self, epoch: int, label: str, values: list[str]) -> None:
        self._set(epoch + 1, label, values)

    def close(self) -> None:
        if self.pending:
            self.bar.refresh()
        self.bar.close()


class _Notebook:
    """One output of a cell, which is changed in its place."""

    narrow = brief = False

    def __init__(self) -> None:
        self.handle: Any = None
        self.shown, self.pending = -math.inf, ""

    def during(self, epoch: int, share: float, label: str, values: list[str]) -> None:
        self._show(f"{label}  {_joined(values)}", share)

    def end(self, epoch: int, label: str, values: list[str]) -> None:
        self._show(f"{label}  {_joined(values)}", 1.0)

    def _show(self, text: str, share: float, at_once: bool = False) -> None:
        self.pending, now = text, perf_counter()
        if not at_once and now - self.shown < INTERVAL:
            return
        from IPython.display import display  # loaded in any notebook

        bundle = {"text/plain": text, "text/html": html.page("", html.bar(share), text)}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)
        self.shown, self.pending = now, ""

    def close(self) -> None:
        if self.pending:
            self._show(self.pending, 1.0, at_once=True)
