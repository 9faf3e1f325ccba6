"""Summaries: every number is that of the real arrays, and both probabilities of a Dropout are told."""

import html

import numpy as np
import pytest

import fastreg as fr
from fastreg.common import html as forms
from fastreg.model.summary import memory

X, Y = np.random.default_rng(0).normal(size=(96, 6)), np.arange(96) % 3


def trainer(**how):
    layers = [fr.Dropout(keep_prob=0.75), fr.Dense(20, "tanh", name="body"), fr.Dense(3)]
    return fr.Trainer(fr.Sequential(layers), **how)


def columns(text: str) -> dict[str, list[str]]:
    """The cells of the table, by the head of their column."""
    lines = text.splitlines()
    heads = lines[0].split()
    starts = [lines[0].index(head) for head in heads]
    rows = lines[2 : 2 + next((i for i, line in enumerate(lines[2:]) if "parameters" in line or "built" in line), 0)]
    found = {}
    for place, head in enumerate(heads):
        start = starts[place] if place < 4 else starts[place - 1] + len(heads[place - 1])
        stop = (starts[place + 1] if place < 3 else starts[place] + len(head)) if place + 1 < len(heads) else None
        found[head] = [line[start:stop].strip() for line in rows]
    return found


def test_the_columns():
    own = trainer()
    own.model.build(6)
    found = columns(own.model.summary())
    assert list(found) == ["name", "layer", "output", "activation", "parameters", "zeros", "memory"]
    assert found["name"] == ["0", "body", "2"] and found["activation"] == ["", "tanh", "linear"]
    assert found["parameters"] == ["0", "140", "63"] and found["output"] == ["(6,)", "(20,)", "(3,)"]
    assert found["layer"][0] == "Dropout(keep_prob=0.75, rate=0.25)"


@pytest.mark.parametrize("how", [{"optimizer": "adam"}, {"optimizer": "sgd(momentum=0.9)"}, {"averaging": fr.EMA(0.9)}])
def test_the_memory_of_training_is_that_of_its_arrays(how):
    own = trainer(**how)
    own.fit(X, Y, batch_size=32)
    said = own.summary(32).splitlines()[-1]
    state = sum(array.size for array in own.optimizer_state.values()) * 4
    with own._session("train", 32, 96, True) as session:
        buffers = sum(array.base.nbytes - 64 for array in whole(session.engine.buffers))
    assert said.startswith(f"training in batches of 32 by {type(own.optimizer).__name__}: {memory(state)} of state, ")
    assert float(said.split(", ")[-1].split()[0]) == pytest.approx(buffers / 1024, rel=0.001)
    assert "training in batches of 128" in own.summary()


def whole(buffers):
    """The buffers as arrays whose base is their aligned memory, with a cache line to spare."""
    for array in buffers.values():
        while array.base.dtype != np.uint8 or array.base.base is not None:
            array = array.base
        yield array


def test_predictions_need_less_memory_than_training():
    own = trainer()
    own.model.build(6)
    line = own.model.summary(batch_size=128).splitlines()[-1]
    assert line.startswith("predictions in batches of 128: ") and line.endswith(" of buffers")
    with pytest.raises(ValueError, match="batch_size: got 0, expected an integer of at least 1"):
        own.model.summary(0)
    with pytest.raises(ValueError, match="model: it has no parameters yet"):
        fr.Sequential([fr.Dense(3)]).summary(8)


def test_a_prompt_shows_the_table_itself():
    model = fr.Sequential([fr.Dense(3)])
    assert repr(model.summary()) == model.summary() and isinstance(model.summary(), str)


def test_the_html_has_the_same_cells_and_escapes_names():
    own = trainer()
    own.fit(X, Y)
    text = own._repr_html_()
    for column in columns(own.model.summary()).values():
        assert all(f">{html.escape(cell)}<" in text for cell in column if cell)
    assert "<script" not in forms.page("<script>", forms.table(["<script>"], [["<script>"]]))


def test_a_history_in_html():
    own = trainer()
    history = own.fit(X, Y, epochs=3, validation_data=(X, Y))
    text = history._repr_html_()
    assert text.count("<svg") == len(history) and "History of 3 epochs, 1 to 3" in text
    assert f">{history['val_loss'][-1]:.4g}<" in text
    assert "no epochs" in fr.History()._repr_html_()
