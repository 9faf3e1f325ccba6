"""Attributes of objects that people set: those that exist are obeyed, all others are refused with the right name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg.common import names


class Settable:
    """Base of `Trainer` and `Sequential`. Classes that derive from these may have attributes of their own."""

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_attribute(name)
        super().__setattr__(name, value)

    def _check_attribute(self, name: str) -> None:
        """Refuses to set what does not exist or only follows from something else."""
        kind = type(self)
        found = getattr(kind, name, None)
        if isinstance(found, property) and found.fset is None:
            raise AttributeError(f"{kind.__name__}.{name}: cannot be set{names.advice(kind.__name__, name)}")
        known = hasattr(kind, name) or name in self.__dict__ or not self._complete
        if not known and kind.__module__.startswith("fastreg."):
            raise AttributeError(self._unknown(name))

    _complete = False  # whether the constructor has ended

    def _unknown(self, name: str) -> str:
        kind = type(self).__name__
        own = [known for known in dir(self) if not known.startswith("_")]
        return f"{kind}.{name}: there is no such attribute{names.advice(kind, name, own)}"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # only for what does not exist
            if name.startswith("_"):  # of Python's protocols; also of an object that is not complete
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(self._unknown(name))
