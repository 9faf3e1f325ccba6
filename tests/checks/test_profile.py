"""fr.profile: each op has a time, and the trainer does not change. No test asks how fast anything is."""

import numpy as np
import pytest
from trainers import classifier, same, state

import fastreg as fr
from fastreg.common import tables
from fastreg.machine import peak

BRIEF = {"repeats": 1, "seconds": 1e-4}


def batch(rows=32):
    rng = np.random.default_rng(0)
    return rng.random((rows, 6), np.float32), rng.integers(0, 3, rows)


def test_every_op_has_a_time(engine):
    trainer = classifier(engine)
    profile = fr.profile(trainer, *batch(), **BRIEF)
    assert [op.op for op in profile.ops] == [
        *("Gather", "Dense", "Dense", "Loss"),
        *("DenseDx", "DenseDw", "DenseDw", "Totals"),
    ]
    assert all(op.seconds > 0 and op.bytes > 0 and op.share > 0 for op in profile.ops)
    first = profile.ops[1]
    assert (first.on, first.flops, first.bytes) == ("1.y", 2 * 32 * 6 * 8, 4 * (32 * 6 + 32 * 8 + 6 * 8))
    assert first.rate.endswith("GFLOP/s") and profile.ops[0].rate.endswith("GB/s")
    assert profile.rows == 32 and profile.engine == engine and profile.dtype == "float32" and profile.threads >= 1
    assert profile.step > 0 and profile.call > 0 and 0 < profile.share < 10


def test_print(engine):
    text = str(fr.profile(classifier(engine), *batch(), **BRIEF))
    for word in ("op", "of peak", "DenseDw", "1.weight", "GFLOP/s", "a step of 32 rows", f"engine {engine}"):
        assert word in text


def test_the_trainer_stays_as_it_is(engine):
    trainer = classifier(engine, optimizer=fr.Adam(0.1), l2=0.1)
    assert fr.profile(trainer, *batch(), **BRIEF) and not trainer.model.built
    trainer.fit(*batch(), epochs=2)
    before, copy = state(trainer), trainer.copy()
    fr.profile(trainer, *batch(), sample_weight=np.ones(32), **BRIEF)
    assert same(before, state(trainer)) and trainer.step == copy.step
    assert trainer.fit(*batch())["loss"] == copy.fit(*batch())["loss"]


def test_two_passes_and_groups_of_batches(engine):
    model = fr.Sequential([fr.Dense(8, activation="gelu", max_norm=1.0), fr.Dense(1)])
    trainer = fr.Trainer(model, loss="mse", optimizer=fr.Adam(), clip_norm=1.0, accumulate=3, engine=engine)
    X, _ = batch(8)
    profile = fr.profile(trainer, X, X[:, :1], **BRIEF)
    kinds = {op.op for op in profile.ops}
    assert {"Penalize", "ClipNorm", "Update", "MaxNorm"} <= kinds
    assert profile.rows == 3 * 8 and next(op for op in profile.ops if op.op == "Dense").flops == 3 * 2 * 8 * 6 * 8
    assert next(op for op in profile.ops if op.op == "ClipNorm").share is None


def test_wrong_data():
    with pytest.raises(ValueError, match="y: got"):
        fr.profile(classifier(), batch()[0], np.zeros(5, int))


def test_peaks(monkeypatch):
    monkeypatch.setattr(peak, "STREAM_BYTES", 1 << 20)
    assert peak.fma_peak(1, repeats=1) > 0 and peak.stream_bandwidth(2, repeats=1) > 0


def test_tables():
    assert tables.duration(0.0) == "0.00 us" and tables.duration(123.4) == "123 s"
    assert tables.table(["a", "b"], [["x", "10"]]) == "a   b\n-----\nx  10"
