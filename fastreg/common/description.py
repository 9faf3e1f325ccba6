"""Description, the base class of layers, penalties, initializers, losses and optimizers: plain, immutable values.

They compare by their fields, print as the call that makes them, and can be converted to JSON and back.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, ClassVar


class Description:
    """Base class of descriptions. Subclasses are frozen dataclasses. Those that hold Python functions state
    saved=False, and have no config."""

    _kinds: ClassVar[dict[str, type[Description]]] = {}
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # of the subclasses

    def __init_subclass__(cls, saved: bool = True, **kwargs):
        super().__init_subclass__(**kwargs)
        if saved:
            Description._kinds[cls.__name__] = cls

    def config(self) -> dict[str, Any]:
        """This description as a dict that JSON can hold. `from_config` is the inverse."""
        kind = type(self).__name__
        if Description._kinds.get(kind) is not type(self):
            raise ValueError(f"{kind}: cannot be saved, because it holds a Python function")
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: v.config() if isinstance(v, Description) else v for name, v in values.items()}
        return {"type": kind, **plain}

    def _set(self, **values) -> None:
        """Sets fields of a frozen dataclass while it is initialized."""
        self.__dict__.update(values)

    def __repr__(self) -> str:
        parts = []
        for f in sorted(fields(self), key=lambda f: bool(f.kw_only)):
            value = getattr(self, f.name)
            if f.default is MISSING or value != f.default:
                text = f"{value:.12g}" if isinstance(value, float) else repr(value)
                parts.append(text if f.default is MISSING and not f.kw_only else f"{f.name}={text}")
        return f"{type(self).__name__}({', '.join(parts)})"


def from_config(config: dict[str, Any]) -> Any:
    """The description that `config` was made from. Its arguments are checked like a user's."""
    kind = config.get("type") if isinstance(config, dict) else None
    if kind not in Description._kinds:
        raise ValueError(f"config: got type {kind!r}, expected one of {', '.join(sorted(Description._kinds))}")
    arguments = {name: value for name, value in config.items() if name != "type"}
    built = {name: from_config(v) if isinstance(v, dict) else v for name, v in arguments.items()}
    return Description._kinds[kind](**built)
