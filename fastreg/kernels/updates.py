"""The updates in C: the functions of `fastreg.reference.updates`, with the same signatures and docstrings."""

from typing import TYPE_CHECKING

from fastreg.kernels import one_op
from fastreg.reference import updates

if TYPE_CHECKING:
    from fastreg.reference.updates import *  # noqa: F403  its __all__ is static
else:
    for _name, _describe in updates.DESCRIPTIONS.items():
        globals()[_name] = updates.in_place(_describe, one_op.update)
        globals()[_name].__module__ = __name__  # where pickle finds it

__all__: list[str] = []
__all__ += updates.__all__
