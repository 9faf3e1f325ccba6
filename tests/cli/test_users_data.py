"""The commands on data as users bring them: what is learned, by which columns, and what a saved model makes of it."""

import gzip
import json

import numpy as np
import pytest
from commands import complaint, run

import fastreg as fr

QUICK = ("--hidden", 16, "--epochs", 60, "--lr", 0.02, "--batch-size", 32, "--keep-prob", 1, "--output", "out")


def write(path, columns, rows=slice(None), names=True):
    """A .csv file; a name that ends in .gz is packed."""
    taken = [np.asarray(values)[rows].tolist() for values in columns.values()]
    lines = [",".join(map(str, row)) for row in zip(*taken, strict=True)]
    text = "\n".join(([",".join(columns)] if names else []) + lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def told(result) -> dict:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def flats(rng):
    """Numbers with holes, texts, dates, and a price in thousands that follows from them."""
    n = 400
    rooms, town = rng.integers(1, 6, n), rng.choice(["rome", "oslo", "bonn"], n)
    days = rng.integers(0, 3000, n)
    sold = [str(np.datetime64("2015-01-01") + day) for day in days.tolist()]
    size = np.where(rng.random(n) < 0.1, "", np.char.mod("%.1f", 30 * rooms + rng.normal(size=n)))
    price = 100_000 + 50_000 * rooms + 80_000 * (town == "rome") + 10 * days
    return {"sold": sold, "town": town, "rooms": rooms, "size": size, "price": price}


def test_a_table_of_all_kinds(tmp_path, flats):
    """Train, then predict in another process, from raw rows in another order and with columns permuted."""
    write(tmp_path / "flats.csv.gz", flats)
    result = run("train", "flats.csv.gz", *QUICK, "--json", cwd=tmp_path)
    answer = told(result)
    assert "price: numbers" in result.stderr and "2 numbers (1 with holes), 1 text, 1 date" in result.stderr
    assert answer["task"] == "numbers" and answer["runs"]["plain"]["test_r2"] > 0.95
    order = np.random.default_rng(1).permutation(400)
    write(tmp_path / "same.csv", {name: flats[name] for name in ("price", "size", "town", "rooms", "sold")}, order)
    write(tmp_path / "unlabelled.csv", {name: flats[name] for name in ("town", "rooms", "sold", "size")})
    model = "out/plain.safetensors"
    first, same, without = (
        told(run("predict", model, name, "--json", cwd=tmp_path))
        for name in ("flats.csv.gz", "same.csv", "unlabelled.csv")
    )
    assert first["r2"] > 0.95 and same["r2"] == pytest.approx(first["r2"]) and "r2" not in without
    predictions = np.array(first["predictions"])
    np.testing.assert_array_equal(np.array(same["predictions"]), predictions[order])
    np.testing.assert_array_equal(np.array(without["predictions"]), predictions)
    loaded = fr.load(tmp_path / model)
    np.testing.assert_allclose(loaded.predict(fr.data.read_table(tmp_path / "same.csv")), predictions[order], rtol=1e-6)
    write(tmp_path / "less.csv", {name: flats[name] for name in ("town", "rooms")})
    assert "X: has no column sold, size" in complaint(run("predict", model, "less.csv", cwd=tmp_path))


@pytest.mark.slow
def test_classes_keep_their_names(tmp_path, rng):
    """A file without one of the classes has other numbers for the rest, but the same names."""
    X = rng.normal(size=(300, 3))
    kind = np.array(["cat", "dog", "fox"])[X.argmax(axis=1)]
    columns = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "kind": kind}
    write(tmp_path / "all.csv", columns)
    write(tmp_path / "some.csv", columns, kind != "dog")
    told(run("train", "all.csv", *QUICK, "--json", cwd=tmp_path))
    for name, expected in (("all.csv", kind), ("some.csv", kind[kind != "dog"])):
        answer = told(run("predict", "out/plain.safetensors", name, "--json", cwd=tmp_path))
        assert answer["accuracy"] > 0.95 and answer["classes"] == ["cat", "dog", "fox"]
        assert answer["accuracy"] == np.mean(np.array(answer["predictions"]) == expected)
    lines = run("predict", "out/plain.safetensors", "some.csv", cwd=tmp_path).stdout.split()
    assert set(lines) <= {"cat", "dog", "fox"} and len(lines) == len(expected)


@pytest.mark.slow
def test_label_first(tmp_path, rng):
    X = rng.integers(0, 255, (300, 4))
    X[:, -1] = 0
    columns = {"label": (X[:, 0] > 127) * 1} | {f"p{j}": X[:, j] for j in range(4)}
    write(tmp_path / "first.csv", columns)
    answers = [told(run("train", "first.csv", *QUICK, "--json", *more, cwd=tmp_path)) for more in ((), ("--target", 0))]
    assert all(answer["runs"]["plain"]["test_accuracy"] > 0.9 for answer in answers)
    result = run("train", "first.csv", "--target", "p3", cwd=tmp_path)
    assert "a single class 0, expected at least two" in complaint(result)
    result = run("train", "first.csv", "--target", "lable", cwd=tmp_path)
    assert "the nearest is 'label'" in complaint(result)


@pytest.mark.slow
def test_a_table_without_names(tmp_path, rng):
    X = rng.normal(size=(200, 3))
    columns = {"a": X[:, 0], "y": (X[:, 0] > 0) * 1, "b": X[:, 1], "c": X[:, 2]}
    write(tmp_path / "with.csv", columns, names=False)
    write(tmp_path / "without.csv", {name: columns[name] for name in "abc"}, names=False)
    told(run("train", "with.csv", "--target", 1, *QUICK, "--json", cwd=tmp_path))
    labelled, bare = (
        told(run("predict", "out/plain.safetensors", name, "--json", cwd=tmp_path))
        for name in ("with.csv", "without.csv")
    )
    assert labelled["accuracy"] > 0.9 and bare["predictions"] == labelled["predictions"] and bare["accuracy"] is None


@pytest.mark.slow
def test_several_targets(tmp_path, rng):
    X = rng.normal(size=(300, 3))
    columns = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}
    numbers = columns | {"cost": 300 + X[:, 0], "gain": 1e5 * X[:, 1]}
    write(tmp_path / "numbers.csv", numbers)
    answer = told(run("train", "numbers.csv", "--target", "cost,gain", *QUICK, "--json", cwd=tmp_path))
    assert answer["task"] == "numbers" and answer["runs"]["plain"]["test_r2"] > 0.95
    answers = columns | {"wet": np.where(X[:, 0] > 0, "yes", "no"), "cold": (X[:, 1] > 0) * 1}
    write(tmp_path / "answers.csv", answers)
    answer = told(run("train", "answers.csv", "--target", "wet,cold", *QUICK, "--json", cwd=tmp_path))
    assert answer["task"] == "labels" and answer["runs"]["plain"]["test_accuracy"] > 0.9
    lines = run("predict", "out/plain.safetensors", "answers.csv", cwd=tmp_path).stdout.split()
    assert (
        np.mean([line == f"{w},{c}" for line, w, c in zip(lines, answers["wet"], answers["cold"], strict=True)]) > 0.8
    )
    mixed = columns | {"wet": answers["wet"], "gain": numbers["gain"]}
    write(tmp_path / "mixed.csv", mixed)
    assert "columns of different kinds (wet labels, gain numbers)" in complaint(
        run("train", "mixed.csv", "--target", "wet,gain", cwd=tmp_path)
    )


@pytest.mark.slow
def test_what_is_learned_can_be_said(tmp_path, rng):
    X = rng.normal(size=(200, 3))
    np.savez(tmp_path / "grades.npz", X=X, y=np.clip(np.round(3 + X[:, 0]), 1, 5))
    expected = {(): "classes", ("--task", "numbers"): "numbers", ("--loss", "mae"): "numbers"}
    for options, task in expected.items():
        result = run("train", "grades.npz", *QUICK, "--json", *options, cwd=tmp_path)
        assert told(result)["task"] == task


@pytest.mark.slow
def test_prices_are_scaled(tmp_path, rng):
    X = rng.normal(size=(600, 3))
    for name, y in {"price": 2e5 + 5e4 * X[:, 0] + 0.25, "kelvin": 300 + 0.5 * X[:, 0] + 1e-3}.items():
        np.savez(tmp_path / f"{name}.npz", X=X, y=y)
        runs = told(run("train", f"{name}.npz", "--hidden", 32, "--json", cwd=tmp_path))["runs"]
        assert all(numbers["test_loss"] < 0.05 * y.var() and numbers["test_r2"] > 0.95 for numbers in runs.values())


@pytest.mark.slow
def test_rows_without_a_target_are_left_out(tmp_path, rng):
    X = rng.normal(size=(100, 2))
    kind = np.where(X[:, 0] > 0, "up", "down")
    kind[::10] = ""
    write(tmp_path / "t.csv", {"a": X[:, 0], "b": X[:, 1], "kind": kind})
    result = run("train", "t.csv", *QUICK, "--json", cwd=tmp_path)
    assert told(result)["runs"]["plain"]["test_accuracy"] > 0.8
    assert "10 rows without kind left out" in result.stderr


@pytest.mark.slow
def test_integer_dtypes_learn_alike(tmp_path, rng):
    X = rng.integers(0, 2, (600, 10))
    y = (X[:, 0] ^ X[:, 1]) | (X[:, 2] & X[:, 3])
    found = set()
    for dtype in ("int64", "bool", "uint8"):
        np.savez(tmp_path / "bits.npz", X=X.astype(dtype), y=y)
        found.add(
            told(run("train", "bits.npz", "--hidden", 32, "--json", cwd=tmp_path))["runs"]["plain"]["test_accuracy"]
        )
    assert len(found) == 1 and found.pop() > 0.8


@pytest.mark.slow
def test_how_a_table_is_written_can_be_said(tmp_path, rng):
    X = rng.normal(size=(100, 2))
    lines = [f"{a:.3f};{b:.3f};{'ja' if a > 0 else 'nein'}".replace(".", ",") for a, b in X]
    (tmp_path / "t.txt").write_bytes(("größe;breite;groß\n" + "\n".join(lines) + "\n").encode("latin-1"))
    assert "encoding" in complaint(run("train", "t.txt", cwd=tmp_path))
    how = ("--encoding", "latin-1", "--decimal", ",", "--delimiter", ";", "--header", "yes")
    answer = told(run("train", "t.txt", *how, *QUICK, "--json", cwd=tmp_path))
    assert answer["target"].startswith("groß: 2 classes ja, nein") and answer["runs"]["plain"]["test_accuracy"] > 0.8
    result = run("predict", "out/plain.safetensors", "t.txt", *how, cwd=tmp_path)
    assert set(result.stdout.split()) == {"ja", "nein"}
    assert "--decimal: got it for moons" in complaint(run("train", "moons", "--decimal", ",", cwd=tmp_path))


def test_codes_of_text_among_rows_that_hold_only_numbers(tmp_path, rng):
    """A column of codes such as 007 and A12 stays a column of texts, whatever rows are to be predicted."""
    code = rng.choice(["007", "012", "A12", "3.0"], 200)
    columns = {"code": code, "price": 1000 * (code == "007") + 500 * (code == "3.0") + rng.normal(size=200)}
    write(tmp_path / "all.csv", columns)
    assert run("train", "all.csv", *QUICK, "--text", "code", "--json", cwd=tmp_path).returncode == 0
    numbers = np.flatnonzero(code != "A12")
    late = np.r_[numbers[:40], np.flatnonzero(code == "A12")[:1]]  # a text after many numbers
    whole = np.array(
        told(run("predict", "out/plain.safetensors", "all.csv", "--text", "code", "--json", cwd=tmp_path))[
            "predictions"
        ]
    )
    for rows in (numbers, numbers[:1], late):
        write(tmp_path / "some.csv", {"code": code}, rows)
        part = told(run("predict", "out/plain.safetensors", "some.csv", "--json", cwd=tmp_path))["predictions"]
        np.testing.assert_array_equal(part, whole[rows])


def test_one_hot_columns_have_an_accuracy(tmp_path, rng):
    X = rng.normal(size=(300, 2))
    columns = {
        "a": X[:, 0],
        "b": X[:, 1],
        "rome": (X[:, 0] > X[:, 1]).astype(int),
        "oslo": (X[:, 0] <= X[:, 1]).astype(int),
    }
    write(tmp_path / "all.csv", columns)
    assert run("train", "all.csv", "--target", "rome,oslo", *QUICK, "--json", cwd=tmp_path).returncode == 0
    write(tmp_path / "turned.csv", {name: columns[name] for name in ("oslo", "b", "rome", "a")})
    assert told(run("predict", "out/plain.safetensors", "turned.csv", "--json", cwd=tmp_path))["accuracy"] > 0.95


def test_labels_that_are_no_classes_of_the_model_are_told(tmp_path, rng):
    X = rng.normal(size=(200, 2))
    np.savez(tmp_path / "names.npz", X=X, y=np.array(["cat", "dog"])[(X[:, 0] > 0).astype(int)])
    np.savez(tmp_path / "codes.npz", X=X, y=(X[:, 0] > 0).astype(int))
    assert run("train", "names.npz", *QUICK, "--json", cwd=tmp_path).returncode == 0
    result = run("predict", "out/plain.safetensors", "codes.npz", cwd=tmp_path)
    assert "200 of 200 labels are no class of the model (cat, dog), and count as wrong, such as" in result.stderr
    assert "no class" not in run("predict", "out/plain.safetensors", "names.npz", cwd=tmp_path).stderr
