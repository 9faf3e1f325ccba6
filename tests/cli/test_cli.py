"""The command line, run as users run it: in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import complaint, run

import fastreg as fr
from fastreg.cli import as_options, main


@pytest.fixture
def blobs_file(tmp_path, blobs):
    X, y = blobs
    np.savez(tmp_path / "blobs.npz", X=X, y=y)
    return tmp_path / "blobs.npz"


def test_info(tmp_path):
    result = run("info", cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == ""
    for word in ("processor", "cores", f"fastreg       {fr.__version__}\n", "numpy", "simd", "threads"):
        assert word in result.stdout


def test_info_json(tmp_path):
    result = run("info", "--json", cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == ""
    facts = json.loads(result.stdout)
    assert facts["fastreg"] == fr.__version__ and facts["simd"]["current"] in facts["simd"]["available"]


@pytest.mark.slow
def test_train_digits(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    result = run("train", "digits", "--epochs", 5, "--compare-speed", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "regularized  epoch 5/5" in result.stderr and "\r" not in result.stderr
    header, _, plain, regularized = result.stdout.splitlines()[3:7]
    for column in ("train accuracy", "test accuracy", "test loss", "seconds", "samples/s", "x reference"):
        assert column in header
    for row in (plain, regularized):
        assert float(row.split()[2].rstrip("%")) > 95
    folder = tmp_path / "fastreg-runs" / "digits"
    assert sorted(os.listdir(folder)) == ["curves.png", "plain.safetensors", "regularized.safetensors"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    X, y = fr.data.load("digits")
    assert (fr.load(folder / "regularized.safetensors").predict(X).argmax(axis=1) == y).mean() > 0.95


@pytest.mark.slow
def test_json_and_options(tmp_path, blobs_file):
    options = "--epochs 3 --batch-size 16 --hidden 8 --keep-prob 0.5 --l2 0.01 --optimizer momentum --lr 0.1 --seed 3"
    options += " --threads 1 --output out --json --compare-speed"
    result = run("train", blobs_file, *options.split(), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    for numbers in answer["runs"].values():
        assert numbers["test_accuracy"] > 0.8 and numbers["speedup"] > 0 and numbers["samples_per_second"] > 0
    assert set(answer["files"].values()) >= {"out/plain.safetensors", "out/regularized.safetensors"}
    layers = fr.load(tmp_path / "out/regularized.safetensors").layers
    assert [type(layer).__name__ for layer in layers] == ["Standardize", "Dense", "Dropout", "Dense"]

    again = run("train", blobs_file, *options.split(), "--threads", 2, cwd=tmp_path)
    for variant, numbers in json.loads(again.stdout)["runs"].items():
        assert numbers["test_loss"] == answer["runs"][variant]["test_loss"]


@pytest.mark.slow
def test_more_options(tmp_path, blobs_file):
    """Layers, schedule and early stopping; what they are is read from the file and from the headline."""
    options = "--hidden 64,32 --activation tanh --keep-prob 0.9,0.8,0.5 --l1 1e-4 --optimizer nesterov"
    options += " --momentum 0.8 --lr 0.3 --schedule one-cycle --epochs 60 --early-stopping 3 --output out"
    result = run("train", blobs_file, *options.split(), "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert " validation and " in result.stderr and "64-32-3 tanh, softmax" in result.stderr
    assert "nesterov at 0.3 one-cycle" in result.stderr
    answer = json.loads(result.stdout)["runs"]
    assert 3 < answer["plain"]["epochs"] < 60 and answer["regularized"]["test_accuracy"] > 0.8
    layers = fr.load(tmp_path / "out/regularized.safetensors").layers
    assert [layer.keep_prob for layer in layers if isinstance(layer, fr.Dropout)] == [0.9, 0.8, 0.5]
    assert [layer.activation for layer in layers if isinstance(layer, fr.Dense)] == ["tanh", "tanh", "linear"]
    told = run("train", blobs_file, *options.split(), cwd=tmp_path).stdout
    assert "0.9 of inputs, 0.8, 0.5 of hidden units; L1 0.0001, L2 0.0001" in told and "Epoch that was kept" in told


@pytest.mark.parametrize(
    "schedule", ["constant", "step", "exponential", "cosine", "one-cycle", "warm-up", "on-plateau"]
)
@pytest.mark.slow
def test_schedules(tmp_path, blobs_file, schedule):
    optimizer = {"cosine": "rmsprop", "step": "adamw"}.get(schedule, "sgd")
    options = ["--schedule", schedule, "--optimizer", optimizer, "--epochs", 2, "--json"]
    result = run("train", blobs_file, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["runs"]["plain"]["test_accuracy"] > 0.5


@pytest.mark.slow
def test_on_plateau(tmp_path, blobs_file):
    """A rate divided by a million at once does not move the network. Samples are held back to watch."""
    options = "--optimizer sgd --lr 0.01 --epochs 8 --keep-prob 1 --json --output out"
    frozen = "--schedule on-plateau --plateau-patience 0 --plateau-threshold 0.9 --plateau-factor 1e-6"
    frozen += " --plateau-smoothing 0 --plateau-cooldown 0 --plateau-min-lr 0"
    losses = []
    for more in ("", "--schedule on-plateau", frozen):
        result = run("train", blobs_file, *options.split(), *more.split(), cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        losses.append(json.loads(result.stdout)["runs"]["plain"]["train_loss"])
    assert losses[1] < 0.95 * losses[2]


@pytest.mark.parametrize("name", ["curve", "moons", "breast-cancer"])
@pytest.mark.slow
def test_defaults_suit_the_set(tmp_path, name):
    """The default regularization does no real harm."""
    if name == "breast-cancer":
        pytest.importorskip("sklearn")
    result = run("train", name, "--epochs", 15, "--json", cwd=tmp_path)
    plain, regularized = json.loads(result.stdout)["runs"].values()
    assert regularized["test_loss"] < 1.3 * plain["test_loss"] + 0.01


@pytest.mark.slow
def test_columns_of_very_different_scales_are_learned_from(tmp_path):
    """Columns in very different units can be learned from. The saved model takes them unscaled."""
    rng = np.random.default_rng(0)
    X = rng.normal([1e6, -3e-4, 50], [1e3, 1e-5, 1e2], (400, 3))
    y = ((X - X.mean(axis=0)) / X.std(axis=0)).sum(axis=1) > 0
    np.savez(tmp_path / "raw.npz", X=X, y=y.astype(int))
    result = run("train", "raw.npz", "--epochs", 20, "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["runs"]["plain"]["test_accuracy"] > 0.9
    result = run("predict", "fastreg-runs/raw/plain.safetensors", "raw.npz", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["accuracy"] > 0.9


@pytest.mark.slow
def test_images(tmp_path):
    """The model scales bytes to [0, 1]. A saved model takes bytes."""
    X = np.random.default_rng(0).integers(0, 256, (200, 6, 5), np.uint8)
    X[:, 0, 0] = np.arange(200) % 2 * 255
    np.savez(tmp_path / "images.npz", X=X, y=np.arange(200) % 2)
    assert run("train", "images.npz", "--epochs", 10, cwd=tmp_path).returncode == 0
    model = fr.load(tmp_path / "fastreg-runs/images/plain.safetensors")
    np.testing.assert_array_equal(model.state_dict()["0.scale"], np.float32(1 / 255))
    assert (model.predict(X.reshape(200, -1)).argmax(axis=1) == np.arange(200) % 2).mean() > 0.9


@pytest.mark.slow
def test_engines_agree(tmp_path, blobs_file):
    losses = []
    for engine in ("native", "reference"):
        result = run("train", blobs_file, "--epochs", 3, "--engine", engine, "--json", cwd=tmp_path)
        losses.append(json.loads(result.stdout)["runs"]["regularized"]["test_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_regression(tmp_path):
    table = "".join(f"{x},{x * x}\n" for x in np.linspace(-1, 1, 101))
    (tmp_path / "square.csv").write_text("x,y\n" + table)
    result = run("train", "square.csv", "--epochs", 5, "--hidden", 16, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "test_accuracy" not in json.loads(result.stdout)["runs"]["plain"]
    result = run("predict", "fastreg-runs/square/plain.safetensors", "square.csv", cwd=tmp_path)
    assert len([float(line) for line in result.stdout.split()]) == 101


@pytest.mark.parametrize(
    ("options", "units"),
    [
        ("--loss huber", "rmse and mae are in units of the target, loss in those of the scaled target"),
        ("--loss mse", "rmse and mae are in units of the target, loss in their square."),
        ("--loss mae", "loss, rmse and mae are in units of the target."),
        ("--loss huber --scale none", "rmse and mae are in units of the target."),
        ("--loss poisson", "rmse and mae are in units of the target."),
    ],
)
def test_losses_of_numbers_and_averages(tmp_path, options, units):
    """Targets may have no name and no scaling. What the numbers mean is said, and so are averages."""
    X = np.linspace(-1, 1, 101)[:, np.newaxis]
    np.savez(tmp_path / "square.npz", X=X, y=3 * X[:, 0] ** 2)
    result = run("train", "square.npz", "--epochs", 1, "--hidden", 4, "--ema", 0.9, *options.split(), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1 epochs, weights averaged with decay 0.9, engine" in result.stdout and units in result.stdout


@pytest.mark.slow
def test_predict(tmp_path, blobs_file, blobs):
    assert run("train", blobs_file, "--epochs", 5, cwd=tmp_path).returncode == 0
    model = "fastreg-runs/blobs/plain.safetensors"
    result = run("predict", model, blobs_file, cwd=tmp_path)
    assert (np.array(result.stdout.split(), int) == blobs[1]).mean() > 0.9 and "accuracy" in result.stderr
    answer = json.loads(run("predict", model, blobs_file, "--probabilities", "--json", cwd=tmp_path).stdout)
    np.testing.assert_allclose(np.sum(answer["predictions"], axis=1), 1, rtol=1e-5)
    assert answer["accuracy"] > 0.9


@pytest.mark.slow
def test_without_matplotlib(tmp_path, blobs_file):
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    result = run("train", blobs_file, "--epochs", 1, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert result.returncode == 0 and 'pip install "fastreg[plot]"' in result.stderr
    assert "curves" not in os.listdir(tmp_path / "fastreg-runs/blobs")


BAD = {
    "no command": ([], "required: COMMAND"),
    "no data": (["train"], "required: DATA"),
    "unknown data": (["train", "nothing"], "DATA: got 'nothing', expected a file, a folder or one of digits"),
    "empty folder": (["train", "empty"], "holds neither X and y"),
    "not a data set": (["train", "junk"], "junk: "),
    "no labels": (["train", "X.npy"], "no labels"),
    "a single class": (["train", "one.csv"], "y: got a single class 3, expected at least two"),
    "a column that is not there": (["train", "one.csv", "--target", "price"], "price"),
    "a target apart": (
        ["train", "moons", "--target", "x"],
        "--target: got a column for data that have their labels apart",
    ),
    "task": (["train", "moons", "--task", "guess"], "--task: invalid choice: 'guess'"),
    "loss of another task": (["train", "moons", "--task", "classes", "--loss", "mse"], "loss: got 'mse' for the task"),
    "scale": (["train", "moons", "--scale", "log"], "--scale: invalid choice: 'log'"),
    "validation": (
        ["train", "moons", "--validation", "1"],
        "--validation: got '1', expected a share from 0 to below 1",
    ),
    "nothing to watch": (["train", "moons", "--validation", "0", "--early-stopping", "3"], "--validation: got 0 with"),
    "epochs": (["train", "moons", "--epochs", "0"], "--epochs: got '0', expected a whole number above 0"),
    "batch size": (["train", "moons", "--batch-size", "1.5"], "--batch-size: got '1.5'"),
    "hidden": (["train", "moons", "--hidden", "8,,8"], "--hidden: got '8,,8', expected units such as"),
    "hidden a": (
        ["train", "moons", "--hidden", "a"],
        "--hidden: got 'a', expected units such as 256 or 256,128; 0 for none",
    ),
    "keep prob": (["train", "moons", "--keep-prob", "1.5"], "--keep-prob: got '1.5', expected probabilities"),
    "keep probs": (["train", "moons", "--keep-prob", "1,,1"], "--keep-prob: got '1,,1', expected numbers"),
    "too many keep probs": (["train", "moons", "--keep-prob", "1,1,1,1"], "--keep-prob: got 3 for 2 hidden layers"),
    "activation": (["train", "moons", "--activation", "swish"], "--activation: invalid choice: 'swish'"),
    "l1": (["train", "moons", "--l1", "-1"], "l1: got -1.0"),
    "momentum": (["train", "moons", "--momentum", "0.9"], "--momentum: got 0.9 for adam, which has none"),
    "schedule": (["train", "moons", "--schedule", "plateau"], "--schedule: invalid choice: 'plateau'"),
    "no plateau": (
        ["train", "moons", "--plateau-factor", "0.5"],
        "--plateau-factor: got --schedule constant, expected",
    ),
    "factor": (["compare", "moons", "--schedule", "on-plateau", "--plateau-factor", "1"], "factor: got 1.0, expected"),
    "no number": (["train", "moons", "--plateau-patience", "x"], "--plateau-patience: invalid int value: 'x'"),
    "no output": (["train", "moons", "--output", ""], "--output: got '', expected a folder"),
    "patience": (["train", "moons", "--early-stopping", "0"], "--early-stopping: got '0', expected a whole number"),
    "l2": (["train", "moons", "--l2", "-1"], "l2: got -1.0"),
    "ema": (["train", "moons", "--ema", "1"], "--ema: got '1', expected a number from 0 to 0.999999"),
    "mixup": (["train", "moons", "--mixup", "-1"], "mixup: got -1.0, expected a finite number from 0"),
    "mixed hinge": (
        ["train", "moons", "--mixup", "0.2", "--loss", "categorical_hinge"],
        "mixup: got 0.2 under categorical_hinge, whose labels do not mix",
    ),
    "lr": (["train", "moons", "--lr", "nan"], "lr: got nan"),
    "optimizer": (["train", "moons", "--optimizer", "lbfgs"], "--optimizer: invalid choice: 'lbfgs'"),
    "seed": (["train", "moons", "--seed", "-1"], "seed: got -1"),
    "output": (["train", "moons", "--output", "junk/folder"], "junk"),
    "no model": (["predict", "missing.safetensors", "moons"], "missing.safetensors: No such file"),
    "not a model": (["predict", "junk", "moons"], "junk: "),
}


def test_predict_refuses_models_of_several_inputs_or_heads(tmp_path):
    a, b = fr.Input(2, name="a"), fr.Input(2, name="b")
    one, two = fr.Dense(1, name="one"), fr.Dense(1, name="two")
    models = {"inputs": fr.Model([a, b], one(fr.Add()([a, b]))), "heads": fr.Model(a, [one(a), two(a)])}
    for what, model in models.items():
        model.build()
        model.save(tmp_path / "model.safetensors")
        told = complaint(run("predict", "model.safetensors", "moons", cwd=tmp_path))
        assert f"got a model of several {what}, expected one" in told


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(tmp_path, arguments, message):
    (tmp_path / "junk").write_bytes(b"\x89PNG junk")
    (tmp_path / "one.csv").write_text("a,b\n" + "".join(f"{i / 3},3\n" for i in range(50)))
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "X.npy", np.zeros((5, 2)))
    before = sorted(tmp_path.rglob("*"))
    assert message in complaint(run(*arguments, cwd=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_readme(tmp_path):
    """The example of the README runs unchanged."""
    pytest.importorskip("sklearn")
    readme = Path(__file__).parents[2] / "README.md"
    if not readme.exists():
        pytest.skip("no README.md beside the tests")
    example = readme.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "'accuracy': 0.9" in result.stdout


MEANT = {
    'encoding="latin-1" reads it': "--encoding latin-1 reads it",
    "it is text; decimal=',' reads it as 1.5": "it is text; --decimal , reads it as 1.5",
    "line 1 is names; header=False makes it a row": "line 1 is names; --header no makes it a row",
    "missing=(*fastreg.data.MISSING, 'x') holes, text=['b'] text": "--missing 'NA,x' holes, --text 'b' text",
    "expected classes; task='numbers' takes numbers": "expected classes; --task numbers takes numbers",
    "the key=value and context=['a'] stay": "the key=value and context=['a'] stay",
}


@pytest.mark.parametrize("text", MEANT)
def test_advice_is_given_as_options(text):
    assert as_options(text) == MEANT[text]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["train", "moons", "--learning-rate", "1"],
            "1; the nearest is --lr; see fastreg train --help",
        ),
        (["train", "moons", "--targets", "a"], "--targets a; the nearest is --target; see fastreg train --help"),
        (["info", "x"], "unrecognized arguments: x; see fastreg info --help"),
    ],
)
def test_unknown_options_are_told_by_their_command(arguments, said, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert capsys.readouterr().err.endswith(said + "\n")
