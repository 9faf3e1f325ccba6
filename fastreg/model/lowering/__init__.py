"""Lowering: from a network, losses, penalties and an optimizer to a program.

Only this package decides what rides on what, and in which order ops run. `lower` begins with the forward ops of each
node, which the table `FORWARD` makes (`table.py`), then the losses, then the way back in reverse order. A new layer
gets a function and a row in that table.
"""

from fastreg.model.lowering.lower import GRADIENT, Head, lower

__all__ = ["GRADIENT", "Head", "lower"]
