"""A model: layers in a row, and how they become a program."""

from fastreg.model.sequential import Sequential

__all__ = ["Sequential"]
