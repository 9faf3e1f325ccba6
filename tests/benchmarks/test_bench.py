"""A smoke run of each measurement on tiny sizes. No test asks how fast anything is."""

import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fastreg import benchmarks, cli, kernels
from fastreg.benchmarks import environment, features, tunings, workloads
from fastreg.benchmarks.expected import expected_seconds
from fastreg.benchmarks.kernels import cases
from fastreg.benchmarks.rows import Row, verdict
from fastreg.cli import profile as cli_profile
from fastreg.engines import reference
from fastreg.machine import threads, tuning
from fastreg.program import ops

BENCH = Path(__file__).parents[2] / "bench"
needs_bench = pytest.mark.skipif(not BENCH.is_dir(), reason="no bench/ beside the tests")


@pytest.fixture
def bench(monkeypatch):
    """Imports a module of bench/."""
    monkeypatch.syspath_prepend(BENCH)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(BENCH) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# --- fastreg bench ---------------------------------------------------------------------------------------------------


def run_main(capsys, *options):
    code = cli.main([*options])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def free(monkeypatch):
    """No variable that makes `fastreg bench` start over in a process without it."""
    for name in environment.HOBBLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.slow
def test_bench(capsys, free):
    code, out, err = run_main(capsys, "bench", "--quick")
    assert code == 0 and re.fullmatch(r"this takes about \d+ seconds(, and longer .*)?\n", err) and "differs" not in out
    assert out.startswith("small sizes: all ") and " results agree with the reference; on " in out.splitlines()[0]
    assert (
        out.index("kernels, on") < out.index("dense relu") < out.index("steps of training, inside") < out.index("dfn")
    )
    names = ("dense relu dropout", "dense_dx", "dense_dw adam", "softmax_ce", "dropout", "adam_update", "augment")
    for name in (*names, *workloads.WORKLOADS, *threads.simd()["available"]):
        assert name in out


@pytest.mark.slow
def test_bench_json(capsys, free, monkeypatch):
    monkeypatch.setattr(benchmarks.training, "rows", lambda settings: iter(()))
    code, out, _ = run_main(capsys, "bench", "--quick", "--json")
    answer = json.loads(out)
    rows = answer["rows"]
    assert code == 0 and all(row["agrees"] and row["seconds"] > 0 and row["rate"] > 0 for row in rows)
    assert answer["verdict"] == f"small sizes: all {len(rows)} results agree with the reference"


def test_a_wrong_result_has_no_time(capsys, free, monkeypatch):
    right = kernels.dropout
    monkeypatch.setattr(kernels, "dropout", lambda *arguments: right(*arguments) + 1)
    monkeypatch.setattr(benchmarks.kernels, "cases", lambda quick: [c for c in cases(True) if c.name == "dropout"])
    monkeypatch.setattr(benchmarks.training, "rows", lambda settings: iter(()))
    code, out, err = run_main(capsys, "bench", "--quick")
    assert code == 1 and "differs" in out and "agrees" not in out
    targets = len(threads.simd()["available"])
    assert out.startswith(
        f"small sizes: results differ from the reference in {targets} of {targets} rows, first in dropout"
    )
    assert err.splitlines()[-1].startswith("fastreg: results differ from the reference: dropout")


def test_the_verdict_of_rows_follows_from_them():
    def row(target, seconds, reference, group="step", error=0.0):
        return Row("x", "4-2", target, seconds, reference, 1.0, "GFLOP/s", 100.0, error, 1e-6, group)

    rows = [row("avx2", 0.05, 1.0, "kernel"), row("avx2", 0.02, 0.62), row("avx2", 0.1, 0.45), row("generic", 1.0, 1.0)]
    assert verdict(rows) == (
        "all 4 results agree with the reference; on avx2, steps of training reach 10 to 50 % of the peak, "
        "4.5 to 31 x as fast as the NumPy engine"
    )
    assert verdict([*rows, row("generic", None, 1.0, error=0.1), row("avx2", None, 1.0, error=0.1)]) == (
        "results differ from the reference in 2 of 6 rows, first in x 4-2 on generic"
    )


def test_bench_shows_what_it_has_when_it_is_stopped(capsys, free, monkeypatch):
    def stopped(quick):
        yield Row("one", "4-2", "avx2", 0.1, 1.0, 1.0, "GFLOP/s", 100.0, 0.0, 1e-6)
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmarks, "run", stopped)
    code, out, err = run_main(capsys, "bench", "--quick")
    assert code == 130 and out.startswith("interrupted after 1 rows\n") and "one " in out and "agrees" in out
    assert err.splitlines()[-1] == "fastreg: interrupted"


@pytest.mark.parametrize("quick", [True, False])
def test_the_counts_are_those_of_the_cases(monkeypatch, quick):
    """`expected_seconds` counts cases without making their data."""
    for name in ("IMAGES", "LARGE"):
        monkeypatch.setattr(benchmarks.kernels, name, 1 << 14)
    monkeypatch.setattr(benchmarks.kernels, "SHAPES", [(32, 32, 32)] * 4)
    found = [bool(case.flops) for case in cases(quick)]
    assert benchmarks.kernels.counts(quick) == (sum(found), len(found) - sum(found))
    assert expected_seconds(benchmarks.settings_of(quick), 100.0, 10.0) > 0


def test_a_nan_differs():
    assert not Row("x", "1", "avx2", None, 1.0, 1.0, "GB/s", 1.0, float("nan"), 1.0).agrees


def test_variables_that_slow_numpy_down_are_cleared(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "OPENBLAS_CORETYPE=Haswell" in environment.hobbles()
    assert "OPENBLAS_CORETYPE" not in environment.free_environment()
    command = [sys.executable, "-m", "fastreg", "bench", "--help"]
    result = subprocess.run(
        command, capture_output=True, check=False, cwd=tempfile.gettempdir()
    )  # away from the source
    assert result.returncode == 0


# --- fastreg compare -------------------------------------------------------------------------------------------------

COMPARE = ("compare", "moons", "--epochs", "1", "--hidden", "8", "--batch-size", "256")


def test_compare(capsys):
    code, out, err = run_main(capsys, *COMPARE)
    assert code == 0 and "engines agree" in out and "epoch 1/1" in err
    for word in ("native", "reference", "test accuracy", "samples/s", "DenseDw", "ulp"):
        assert word in out


def test_compare_json(capsys):
    code, out, _ = run_main(capsys, *COMPARE, "--json")
    answer = json.loads(out)
    native, reference = answer["runs"]["native"], answer["runs"]["reference"]
    assert code == 0 and answer["ok"] and all(op["ok"] for op in answer["ops"])
    assert native["test_loss"] == pytest.approx(reference["test_loss"], rel=1e-3)
    assert native["samples_per_second"] > 0 and reference["speedup"] == 1.0
    assert answer["verdict"].startswith("moons: engines agree; a step takes ")
    layers = [op["layer"] for op in answer["ops"]]
    assert set(layers) == {None, *(layer["layer"] for layer in answer["layers"])}
    assert [op["writes"] for op in answer["ops"] if op["layer"] is None] == ["inputs", "d:3.y"]


def test_compare_begins_with_the_verdict(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, err = run_main(capsys, *COMPARE, "--picture", str(tmp_path / "errors.png"))
    first = out.splitlines()[0]
    assert (
        code == 0
        and first.startswith("moons: engines agree; a step takes ")
        and re.search(r" % of it in (layer \d|the \w+)$", first)
    )
    assert "moons: " in err and "\nthis takes about " in err
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")


def test_compare_says_where_engines_differ(capsys, monkeypatch):
    right = reference.RUN[ops.DenseDw]

    def skipped(engine, op, *rest):
        if op.weight != "3.weight":
            right(engine, op, *rest)

    monkeypatch.setitem(reference.RUN, ops.DenseDw, skipped)
    code, out, err = run_main(capsys, *COMPARE)
    assert code == 1 and out.startswith("moons: engines differ in 1 of ") and "first in DenseDw of layer 3 (" in out
    assert err.splitlines()[-1] == "fastreg: the engines differ by more than rounding"


# --- fastreg profile -------------------------------------------------------------------------------------------------

PROFILE = ("profile", "moons", "--hidden", "8", "--batch-size", "256")


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(cli_profile, "REPEATS", 1)
    monkeypatch.setattr(cli_profile, "SECONDS", 1e-3)


def test_profile(capsys, tmp_path, brief):
    pytest.importorskip("matplotlib")
    code, out, err = run_main(capsys, *PROFILE, "--picture", str(tmp_path / "times.png"))
    first = out.splitlines()[0]
    assert (
        code == 0
        and first.startswith("moons: a step of 256 rows takes ")
        and " x as fast as the NumPy engine; " in first
    )
    assert "this takes about " in err and "layer 1: Dense 2 to 8, relu" in out
    assert out.endswith(f"saved picture: {tmp_path / 'times.png'}\n")
    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")


def test_profile_json(capsys, brief):
    code, out, _ = run_main(capsys, *PROFILE, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["rows"] == 256 and answer["speedup"] == answer["reference"] / answer["step"]
    assert sum(layer["of_all"] for layer in answer["layers"]) == pytest.approx(1)
    for layer in answer["layers"]:
        of_it = [op["seconds"] for op in answer["ops"] if op["layer"] == layer["layer"]]
        assert layer["seconds"] == pytest.approx(sum(of_it)) or layer["layer"] is None


@pytest.mark.parametrize("command", [COMPARE, PROFILE])
def test_a_picture_that_cannot_be_saved(capsys, command):
    """It is refused before anything is measured."""
    with pytest.raises(SystemExit, match="2"):
        cli.main([*command, "--picture", "no/such/folder/p.png"])
    assert "expected a file in a folder that exists" in capsys.readouterr().err


# --- The workloads ---------------------------------------------------------------------------------------------------


def test_workloads():
    limits = {name: workload.flops / 540e9 for name, workload in workloads.WORKLOADS.items()}
    expected = {"dfn": 76e-6, "srivastava": 3.76e-3, "curve": 5.9e-6, "wide": 54e-3}
    for name, limit in expected.items():
        assert limits[name] == pytest.approx(limit, rel=0.03)
    for workload in workloads.WORKLOADS.values():
        assert workload.rows % workload.batch == 0
        tiny = workload.shrunk()
        X, y = tiny.data()
        losses = tiny.trainer().fit(X, y, epochs=2, batch_size=tiny.batch)["loss"]
        assert np.isfinite(losses).all()


# --- bench/ ----------------------------------------------------------------------------------------------------------

MODULES = {"numpy": "numpy", "sklearn": "sklearn", "torch": "torch", "jax": "jax"}


@needs_bench
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("workload", ["dfn", "curve-dropout"])
@pytest.mark.slow
def test_peers_train(bench, name, workload):
    pytest.importorskip(MODULES[name])
    tiny = workloads.WORKLOADS[workload].shrunk()
    X, y = tiny.data()
    kind = bench("peers").peer_class(name)
    peer = kind(tiny, X, y, tiny.parameters(), kind.VARIANTS[0])
    peer.epochs(2)
    for (weight, bias), layer in zip(peer.parameters(), tiny.layers, strict=True):
        assert weight.shape == layer and bias.shape == layer[1:] and np.isfinite(weight).all()
    assert all(isinstance(value, str) for value in peer.versions().values())


@needs_bench
@pytest.mark.parametrize("name", ["fastreg_bfloat16", "torch_bfloat16"])
def test_peers_in_bfloat16_are_near(bench, name):
    """As near as 8 bits allow, and not nearer."""
    pytest.importorskip("torch")
    peers = bench("peers")
    tiny = workloads.WORKLOADS["dfn-plain"].shrunk()
    X, y = tiny.data()

    def trained(which: str) -> np.ndarray:
        kind = peers.peer_class(which)
        peer = kind(tiny, X, y, tiny.parameters(), kind.VARIANTS[0])
        for _ in range(2):
            peer.in_order()
        return flat(peer.parameters())

    def flat(parameters) -> np.ndarray:
        return np.concatenate([np.ravel(array) for pair in parameters for array in pair])

    start, exact = flat(tiny.parameters()), trained("fastreg")
    off = np.linalg.norm(trained(name) - exact) / np.linalg.norm(exact - start)
    assert 2**-13 < off < 2**-7


@needs_bench
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    ("workload", "optimizer"), [("dfn-plain", "sgd"), ("dfn-plain", "momentum"), ("curve", "adam")]
)
def test_peers_agree_with_fastreg(bench, name, workload, optimizer):
    """The same parameters, rows and order: the same parameters two epochs later."""
    pytest.importorskip(MODULES[name])
    peers, declared = bench("peers"), bench("workloads")
    lr = 1e-3 if optimizer == "adam" else 0.05
    tiny = declared.replace(workloads.WORKLOADS[workload].shrunk(), optimizer=optimizer, lr=lr)
    if name == "sklearn" and tiny.activation == "leaky_relu":
        tiny = declared.replace(tiny, activation="relu")
    X, y = tiny.data()
    trained = []
    for which in ("fastreg", name):
        kind = peers.peer_class(which)
        peer = kind(tiny, X, y, tiny.parameters(), kind.VARIANTS[0])
        for _ in range(2):
            peer.in_order()
        trained.append(peer.parameters())
    losses = [declared.loss_of(tiny, parameters, X, y) for parameters in trained]
    other_eps = name == "sklearn" and optimizer == "adam"  # it stands where its bias correction makes it larger
    assert losses[0] == pytest.approx(losses[1], rel=1e-3 if other_eps else 1e-5)
    for own, theirs in zip(*trained, strict=True):
        for a, b in zip(own, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=5e-3 if other_eps else 2e-5)


@needs_bench
@pytest.mark.slow
def test_epochs(bench, tmp_path, capsys):
    epochs = bench("epochs")
    files = ["--json", str(tmp_path / "e.json")]
    try:
        import matplotlib  # noqa: F401

        files += ["--picture", str(tmp_path / "e.png")]
    except ImportError:
        pass
    assert epochs.main(["--quick", "--workloads", "dfn-plain", "--peers", "numpy", *files]) == 0
    result = json.loads((tmp_path / "e.json").read_text())
    row = result["results"][0]["peers"]["numpy"]
    assert row["losses_agree"] and row["low"] <= row["ratio"] <= row["high"] and result["complaints"] == []
    assert "losses agree" in capsys.readouterr().out
    assert "--picture" not in files or (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")


@needs_bench
@pytest.mark.slow
def test_epochs_without_a_peer(bench, monkeypatch, capsys):
    epochs = bench("epochs")
    monkeypatch.setattr(epochs, "is_installed", lambda name: False)
    assert epochs.main(["--quick", "--workloads", "dfn", "--peers", "jax"]) == 0
    assert "missing: jax" in capsys.readouterr().out


@needs_bench
@pytest.mark.slow
def test_a_long_training(bench, tmp_path, capsys):
    """A library without GELU has no row."""
    epochs, file = bench("epochs"), tmp_path / "long.json"
    assert epochs.main(["--quick", "--workloads", "long", "--peers", "numpy", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    row = result["long"]["rows"]["fastreg"]
    assert list(result["long"]["rows"]) == ["fastreg"] and result["complaints"] == [] and result["results"] == []
    assert row["early"] > 0 and row["low"] <= row["ratio"] <= row["high"] and result["versions"]["fastreg"]
    assert "late: in the 5th epoch" in capsys.readouterr().out


@needs_bench
@pytest.mark.slow
def test_a_worker_tells_its_errors(bench):
    processes = bench("processes")
    worker = processes.Worker("numpy")
    try:
        with pytest.raises(processes.WorkerError, match="numpy: ModuleNotFoundError"):
            worker.ask("variants", peer="nobody")
        assert worker.ask("variants", peer="numpy")["variants"] == [""]
    finally:
        worker.close()


@needs_bench
def test_intervals(bench):
    paired = bench("paired")
    rng = np.random.default_rng(0)
    ours = rng.uniform(1, 2, 41)
    ratio, low, high = paired.ratio_interval(ours, 3 * ours * rng.uniform(0.99, 1.01, 41))
    assert low <= ratio <= high and low == pytest.approx(3, rel=0.01) and high == pytest.approx(3, rel=0.01)
    steal = paired.Steal().share()
    assert steal is None or 0 <= steal <= 1


@needs_bench
@pytest.mark.slow
def test_scaling(bench, tmp_path, capsys):
    scaling = bench("scaling")
    given = ["--quick", "--parts", "batch", "threads", "memory", "--json", str(tmp_path / "s.json")]
    results = scaling.main(given)
    assert set(results["batch"]) == {"rows", "exponent"} and len(results["memory"]) == 2
    assert json.loads((tmp_path / "s.json").read_text())["machine"] and "a step" in capsys.readouterr().out
    assert scaling.growth([1, 2, 4, 8, 16], [3, 1, 16, 64, 256]) == pytest.approx(2)


@needs_bench
@pytest.mark.slow
def test_kernels_for_pytest_benchmark(tmp_path):
    pytest.importorskip("pytest_benchmark")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable"]
    command += ["-k", "32 or mse", str(BENCH / "test_kernels.py")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


# --- what features cost ----------------------------------------------------------------------------------------------


def test_features_are_what_they_say():
    """Both sides of every feature train, from the same parameters; only one has it."""
    workload = workloads.WORKLOADS["srivastava"].shrunk()
    for name, feature in features.FEATURES.items():
        own, plain = feature.trainers(workload)
        for parameter, value in own.model.parameters.items():
            np.testing.assert_array_equal(value, plain.model.parameters[parameter], err_msg=name)
        with_it, without = feature.fits(workload)
        assert own.settings() != plain.settings() or own.model.layers != plain.model.layers or with_it, name
        assert not without
        for trainer, more in ((own, with_it), (plain, without)):
            history = trainer.fit(*feature.data(workload), batch_size=workload.batch, **more)
            assert np.isfinite(history["loss"]).all(), name


def test_the_table_of_features():
    shown = []
    features.main(["non_negative", "--workload", "curve", "--rows", "0.01", "--rounds", "1"], show=shown.append)
    assert "non_negative" in shown[0] and "ratio" in shown[0]


# --- what tunings bring -----------------------------------------------------------------------------------------------


def test_the_table_of_tunings():
    before, shown = tuning.current(), []
    tunings.main(["curve", "dfn", "--quick", "--rounds", "1", "--tunings", "none", "pack_dw,demote"], show=shown.append)
    heads, _, *lines = shown[1].splitlines()
    assert heads.split() == ["workload", "tuning", "a", "step", "of", "peak", "gain"]
    assert [line.split()[0] for line in lines] == ["curve", "curve", "dfn", "dfn"]
    assert ["pack_dw,demote" in line for line in lines] == [False, True, False, True]
    assert all(line.endswith("1.000") for line in lines[::2]) and tuning.current() == before
