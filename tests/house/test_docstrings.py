"""Each public name documents its parameters and has an example, and all examples run."""

import doctest
import importlib.util
import inspect
import pkgutil
import re
from importlib import import_module

import pytest

import fastreg as fr

MODULES = [name for name in fr.__all__ if inspect.ismodule(getattr(fr, name))]
if importlib.util.find_spec("sklearn") is None:
    MODULES.remove("estimators")
PLUMBING = {"get", "fill", "rate"}  # of modules without __all__: what other modules call


def public():
    """Names and objects: what `fastreg` exports, and the classes and functions of its public modules."""
    found = {f"fastreg.{name}": getattr(fr, name) for name in fr.__all__ if name not in MODULES}
    for module in MODULES:
        home = getattr(fr, module)
        names = getattr(home, "__all__", None) or [
            name for name, value in vars(home).items() if getattr(value, "__module__", None) == home.__name__
        ]
        if module == "reference":  # its other names are the parts that the engine is made of
            names = fr.kernels.__all__
        for name in names:
            if not name.startswith("_") and name not in PLUMBING:
                found[f"fastreg.{module}.{name}"] = getattr(home, name)
    home = fr.data.augment
    found |= {f"fastreg.data.augment.{name}": getattr(home, name) for name in home.__all__ if name not in PLUMBING}
    found["fastreg.data.augment.Augmentation.apply"] = home.Augmentation.apply
    return {name: value for name, value in found.items() if inspect.isclass(value) or inspect.isroutine(value)}


PUBLIC = public()
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
