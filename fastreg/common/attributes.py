"""Attributes of objects: an error about one that does not exist says which name is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg.common import names


class UnknownAttribute(AttributeError):
    """An attribute that does not exist. The nearest name is looked for when the message is read: `hasattr`, `copy` and
    `pickle` ask for many attributes, and read none."""

    def __init__(self, text: str, owner: Any, name: str):
        super().__init__(text, name=name)
        self._owner = owner

    def __str__(self) -> str:
        owner = self._owner  # its class has also what the owner does not show yet, as scikit-learn's estimators do
        every = dict.fromkeys((*dir(owner), *dir(type(owner)), *owner._later))
        known = [known for known in every if not known.startswith("_")]
        return f"{self.args[0]}{names.advice(type(owner).__name__, str(self.name), known)}"

    def __reduce__(self):
        return AttributeError, (str(self),)


class Suggesting:
    """Base of classes whose objects know, of an attribute that does not exist, which one is meant."""

    __slots__ = ()
    _later: tuple[str, ...] = ()  # attributes that come later, such as by a fit

    def _unknown(self, name: str) -> AttributeError:
        """The error about an attribute that does not exist."""
        return UnknownAttribute(f"{type(self).__name__}.{name}: there is no such attribute", self, name)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # only for what does not exist, or raises
            if hasattr(type(self), name):
                return object.__getattribute__(self, name)  # its own error tells more
            if name.startswith("_"):  # of Python's protocols; also of an object that is not complete
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise self._unknown(name)


class Settable(Suggesting):
    """Base of `Trainer` and `Sequential`: attributes that exist can be set, all others are refused with the right name.
    Classes that derive from these may have attributes of their own."""

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
            raise self._unknown(name)

    _complete = False  # whether the constructor has ended
