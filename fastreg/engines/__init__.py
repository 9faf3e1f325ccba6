"""Engines run programs: the native one in C, the reference in NumPy, and the memory both work on."""
