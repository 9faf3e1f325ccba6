"""fr.profile: each op has a time, and the trainer does not change. No test asks how fast anything is."""

import numpy as np
import pytest
from trainers import classifier, same, state

import fastreg as fr
from fastreg.checks.parts import Part
from fastreg.checks.profile import OpProfile, Profile
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
    profile = fr.profile(classifier(engine), *batch(), **BRIEF)
    text = str(profile)
    for word in ("op", "of peak", "DenseDw", "1.weight", "GFLOP/s", "a step of 32 rows", f"engine {engine}"):
        assert word in text
    assert text.startswith(profile.verdict) and repr(profile) == f"<Profile: {profile.verdict}>"
    for column in ("on", "time", "of all", "rate", "of peak"):  # each is explained below the table
        assert f"\n{column}: " in text
    heads = [line for line in text.splitlines() if line.startswith("layer ")]
    assert [head.split("  ")[0] for head in heads] == ["layer 1: Dense 6 to 8, relu", "layer 3: Dense 8 to 3"]


PEAKS = {"step": 12e-3, "call": 0.0, "rows": 128, "dtype": "float32", "simd": "avx2", "threads": 2}


def test_the_verdict_follows_from_the_numbers():
    parts = [Part(-1, None, "data"), Part(0, "0", "layer 0: Dense 4 to 9"), Part(2, "last", "layer last: Dense 9 to 2")]
    given = [(0, 0, 1e-3), (1, 1, 4e-3), (2, 2, 2e-3), (3, 2, 3e-3)]
    ops = [OpProfile(index, "Dense", "y", seconds, 1e9, 0, 0.5, parts[part]) for index, part, seconds in given]
    profile = Profile(ops, engine="native", peak=100.0, bandwidth=10.0, reference=372e-3, **PEAKS)
    assert (
        profile.verdict
        == "a step of 128 rows takes 12.0 ms, 31 x as fast as the NumPy engine; 50 % of it in layer last"
    )
    assert [(part.part.layer, part.seconds, part.of_all) for part in profile.by_layer] == [
        *((None, 1e-3, pytest.approx(0.1)), ("0", 4e-3, pytest.approx(0.4))),
        ("last", 5e-3, pytest.approx(0.5)),
    ]
    alone = Profile(ops[:2], engine="reference", peak=100.0, bandwidth=10.0, **PEAKS)
    assert alone.verdict == "a step of 128 rows takes 12.0 ms; 80 % of it in layer 0" and alone.speedup is None


def test_the_reference_is_timed_if_asked_for(engine):
    profile = fr.profile(classifier(engine), *batch(), **BRIEF)
    assert (profile.speedup is not None and profile.speedup > 0) == (engine == "native")
    assert fr.profile(classifier(engine), *batch(), **BRIEF, reference=False).speedup is None
    with pytest.raises(TypeError, match="reference: got 3, expected"):
        fr.profile(classifier(engine), *batch(), **BRIEF, reference=3)


def test_sparse_rows_move_their_elements_alone():
    sparse = pytest.importorskip("scipy.sparse")
    X, y = batch()
    X = sparse.csr_array(X * (X > 0.8))
    gather = fr.profile(classifier(), X, y, **BRIEF).ops[0]
    assert gather.bytes == 4 * 32 * 6 + 8 * 33 + X.nnz * (4 + X.indices.itemsize)


def square():
    return fr.Function(lambda x: x**2, lambda dy, x, y: 2 * x * dy, name="square")


def test_each_op_has_its_layer():
    """Way there and back of all kinds of layers, two passes, and the perturbed rows."""
    dense = fr.Dense(9, "tanh", name="first", max_norm=1.0, weight_noise=0.1)
    layers = [fr.GaussianNoise(0.1, name="noise"), dense, square(), fr.Dropout(rate=0.5, name="drop"), fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential(layers), clip_norm=1.0, adversarial=fr.FGSM(0.1))
    profile = fr.profile(trainer, *batch(), **BRIEF)
    found = {part.part.layer or part.part.title: {op.op for op in part.ops} for part in profile.by_layer}
    dense_ops = {"Dense", "DenseDx", "DenseDw", "Penalize", "Update"}
    assert found == {
        "data": {"Gather", "Append"},
        "noise": {"Elementwise"},
        "first": dense_ops | {"Perturb", "MaxNorm"},
        "square": {"Call", "Elementwise"},
        "drop": {"Elementwise"},
        "4": dense_ops,
        "loss": {"Loss", "Totals"},
        "clipping": {"ClipNorm"},
    }
    assert list(found) == ["data", "noise", "first", "square", "drop", "4", "loss", "clipping"]
    backward = [op.on for op in profile.ops if op.phase == "backward"]
    assert backward and all(on.startswith("d:") for on in backward)


def test_a_loss_in_python_belongs_to_the_loss():
    def squares(outputs, targets):
        return ((outputs - targets) ** 2).mean(axis=1), 2 * (outputs - targets) / outputs.shape[1]

    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss=fr.losses.Custom(squares))
    X, _ = batch()
    parts = {part.part.title: {op.op for op in part.ops} for part in fr.profile(trainer, X, X[:, :1], **BRIEF).by_layer}
    assert parts["loss"] == {"Call", "Loss", "Totals"} and set(parts) == {"data", "layer 0: Dense 6 to 1", "loss"}


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
