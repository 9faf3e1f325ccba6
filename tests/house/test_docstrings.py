"""Each public name documents its parameters and has an example, and all examples run."""

import doctest
import inspect
import pkgutil
import re
from importlib import import_module

import pytest
from public_names import public

import fastreg as fr

PUBLIC = public()
PUBLIC["fastreg.data.augment.Augmentation.apply"] = fr.data.augment.Augmentation.apply
BASES = (fr.losses.Loss, fr.schedules.Schedule, fr.data.augment.Augmentation)  # made by subclasses alone
EVERY = [module.name for module in pkgutil.walk_packages(fr.__path__, "fastreg.") if "__main__" not in module.name]


@pytest.mark.parametrize("name", EVERY)
def test_examples_run(name):
    if name.startswith("fastreg.plots"):
        pytest.importorskip("matplotlib")
    if name.startswith("fastreg.estimators"):
        pytest.importorskip("sklearn")
    if name.startswith("fastreg.exchange"):
        pytest.importorskip("torch")
        pytest.importorskip("onnx")
    assert doctest.testmod(import_module(name)).failed == 0


def test_public_names_of_all_kinds_are_found():
    assert {
        "fastreg.Dense",
        "fastreg.kernels.dense",
        "fastreg.reference.dense",
        "fastreg.data.read_csv",
        "fastreg.data.augment.Compose",
    } < PUBLIC.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name):
    value = PUBLIC[name]
    text = inspect.getdoc(value)
    for other in re.findall(r"see `(fastreg\.\S+)`", text, re.IGNORECASE):  # the same function of the other engine
        assert inspect.signature(PUBLIC[other]).parameters.keys() == inspect.signature(value).parameters.keys()
        text += "\n" + inspect.getdoc(PUBLIC[other])
    assert "Examples\n--------\n" in text
    if inspect.isclass(value) and (issubclass(value, Exception) or value in BASES):
        return
    if "fastreg.data.augment." in name:
        assert "Raises\n------\n" in text
    parameters = [p for p in inspect.signature(value).parameters if p not in ("self", "args", "kwargs")]
    section = text.partition("Parameters\n----------\n")[2] or text
    assert [p for p in parameters if not re.search(rf"\b{p}\b", section)] == []
