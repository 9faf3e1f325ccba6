"""What `import fastreg` loads: little, and nothing that is optional."""

import os
import subprocess
import sys
from pathlib import Path

import fastreg as fr

MOST = 30  # modules beyond NumPy's, a dozen of which are the standard library's own doing


def loaded(statement):
    """The modules that a statement loads in a new process, in which NumPy is loaded already."""
    script = f"import sys, numpy; before = {{*sys.modules}}; {statement}; print(*({{*sys.modules}} - before))"
    environment = os.environ | {"PYTHONPATH": str(Path(fr.__file__).parents[1])}
    result = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    return set(result.stdout.split())


def outside(modules):
    """The modules that are not of fastreg, NumPy or the standard library."""
    ours = {"fastreg", "numpy", "cython_runtime", *sys.stdlib_module_names}
    return {name for name in modules if name.split(".")[0] not in ours and not name.startswith("_cython")}


def test_import_loads_few_modules():
    modules = loaded("import fastreg")
    assert "fastreg.machine._core" in modules and len(modules) <= MOST
    assert not outside(modules)


def test_a_trainer_loads_nothing_optional():
    modules = loaded("import fastreg; fastreg.Trainer, fastreg.plots, fastreg.data, fastreg.checks")
    assert "fastreg.training" in modules
    assert not outside(modules)


def test_frames_and_sparse_matrices_are_told_without_their_libraries():
    """A table, texts as labels and a refused frame need nothing of pandas, Polars, PyArrow or SciPy."""
    statement = (
        "import fastreg as fr; t = fr.Trainer(fr.Sequential([fr.Dense(2)])); "
        "t.fit({'a': [1, 2], 'b': [3, 4]}, ['no', 'yes']); "
        "t.fit([{'a': 1, 'b': 2}] * 2, numpy.array(['no', 'yes'], object)); "
        "fr.data.split(fr.data.Table({'a': [1, 2]}), [0, 1], (0.5, 0.5))"
    )
    assert not outside(loaded(statement))
