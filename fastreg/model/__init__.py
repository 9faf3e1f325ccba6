"""Models: layers in a row, their lowering to a program, their data sets and files."""

from fastreg.model.sequential import Sequential

__all__ = ["Sequential"]
