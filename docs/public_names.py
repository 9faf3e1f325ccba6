"""The public names of fastreg, found in the package: what the pages of the API and the tests of docstrings go by."""

import inspect

import fastreg as fr

PLUMBING = {
    "get",
    "fill",
    "rate",
}  # of modules without __all__: what other modules call


def modules() -> list[str]:
    """The modules that `fastreg.__all__` names, without those that need an extra which is not installed."""
    return [name for name in fr.__all__ if inspect.ismodule(_found(name))]


def top_level() -> dict[str, object]:
    """The classes and functions of `fastreg.__all__`."""
    return _documented(
        {
            f"fastreg.{name}": _found(name)
            for name in fr.__all__
            if name not in modules()
        }
    )


def of_module(name: str) -> dict[str, object]:
    """The public classes and functions of a module, such as "losses" or "data.augment"."""
    home = fr
    for part in name.split("."):
        home = getattr(home, part)
    names = getattr(home, "__all__", None) or [
        key
        for key, value in vars(home).items()
        if getattr(value, "__module__", None) == home.__name__
    ]
    if name == "reference":  # its other names are the parts that the engine is made of
        names = fr.kernels.__all__
    names = [key for key in names if not key.startswith("_") and key not in PLUMBING]
    return _documented({f"fastreg.{name}.{key}": _found(key, home) for key in names})


def public() -> dict[str, object]:
    """All of them, with those of the modules."""
    found = top_level()
    for module in [*modules(), "data.augment"]:
        found |= of_module(module)
    return found


def _found(name: str, home=fr) -> object:
    try:
        return getattr(home, name)
    except ImportError:
        return None


def _documented(found: dict[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in found.items()
        if inspect.isclass(value) or inspect.isroutine(value)
    }
