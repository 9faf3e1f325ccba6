"""The examples in docs/examples run, on a few made images in the files of MNIST."""

import gzip
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
FEW = {
    "two_tasks": ["--rows", "200", "--labels", "20", "--epochs", "2", "--seeds", "1"],
    "few_labels": ["--rows", "200", "--labels", "20", "--epochs", "2", "--seeds", "1"],
    "tied_autoencoder": ["--rows", "200", "--code", "5", "--epochs", "2"],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("idx"), np.random.default_rng(0)
    for part, rows in (("train", 240), ("t10k", 60)):
        y = np.arange(rows) % 10
        X = rng.integers(0, 80, (rows, 12, 12)) + 150 * (np.arange(12) == y[:, None])[:, :, None]
        for kind, array in (("images-idx3", X), ("labels-idx1", y)):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            content = gzip.compress(header + array.astype(np.uint8).tobytes())
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(content)
    return folder


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.py"))])
def test_an_example_runs(name, images, capsys):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = module.main([str(images), *FEW[name]])
    assert len(results) > 1 and capsys.readouterr().out
