"""A model: layers in a row, and how they become a program."""
