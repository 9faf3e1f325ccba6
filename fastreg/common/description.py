"""Description, the base class of layers, penalties, initializers, losses and optimizers: plain, immutable values.

They compare by their fields, print as the call that makes them, and can be converted to JSON and back.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, field, fields
from typing import Any, ClassVar

from fastreg.common.attributes import Suggesting
from fastreg.common.showing import exact
from fastreg.common.understood import Understanding


def later(default: Any) -> Any:
    """A field that came after files had been written. Files leave it out if it has its default, as older ones do, so
    that old and new ones of the same training are equal."""
    return field(default=default, kw_only=True, metadata={"later": True})


class Description(Suggesting, metaclass=Understanding):
    """Base class of descriptions. Subclasses are frozen dataclasses. Those that hold Python functions state
    saved=False, and have no config."""

    _kinds: ClassVar[dict[str, type[Description]]] = {}
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # of the subclasses

    def __init_subclass__(cls, saved: bool = True, **kwargs):
        super().__init_subclass__(**kwargs)
        if saved:
            Description._kinds[cls.__name__] = cls

    def facts(self) -> dict[str, Any]:
        """The fields that files hold, by name."""
        every = ((f, getattr(self, f.name)) for f in fields(self))
        return {f.name: value for f, value in every if not (f.metadata.get("later") and value == f.default)}

    def config(self) -> dict[str, Any]:
        """This description as a dict that JSON can hold. `from_config` is the inverse."""
        kind = type(self).__name__
        if Description._kinds.get(kind) is not type(self):
            raise ValueError(f"{kind}: cannot be saved, because it holds a Python function")
        plain = {name: v.config() if isinstance(v, Description) else v for name, v in self.facts().items()}
        return {"type": kind, **plain}

    def _set(self, **values) -> None:
        """Sets fields of a frozen dataclass while it is initialized."""
        self.__dict__.update(values)

    def __repr__(self) -> str:
        parts = []
        for f in sorted(fields(self), key=lambda f: bool(f.kw_only)):
            value = getattr(self, f.name)
            if f.default is MISSING or value != f.default:
                text = exact(value)
                parts.append(text if f.default is MISSING and not f.kw_only else f"{f.name}={text}")
        return f"{type(self).__name__}({', '.join(parts)})"


def from_config(config: dict[str, Any]) -> Any:
    """The description that `config` was made from. Its arguments are checked like a user's."""
    kind = config.get("type") if isinstance(config, dict) else None
    if kind not in Description._kinds:
        raise ValueError(f"config: got type {kind!r}, expected one of {', '.join(sorted(Description._kinds))}")
    arguments = {name: value for name, value in config.items() if name != "type"}
    own = {f.name for f in fields(Description._kinds[kind])}  # exactly: constructors also understand other names
    if unknown := arguments.keys() - own:
        raise ValueError(f"config: got {sorted(unknown)[0]!r} for {kind}, expected one of {', '.join(sorted(own))}")
    built = {name: from_config(v) if isinstance(v, dict) else v for name, v in arguments.items()}
    return Description._kinds[kind](**built)
