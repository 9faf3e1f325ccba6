"""Engines run programs: the native one in C, the reference one in NumPy. The memory that both work on is here too."""
