"""PyTorch, where it is installed. Elsewhere a test that uses it is skipped, and the rest of its file still runs."""

import pytest


class Module:
    """A module that is imported when a test first uses it."""

    def __init__(self, name):
        self.name = name

    def __getattr__(self, name):
        if name.startswith(("_", "pytest")):  # what pytest looks for in everything that it collects
            raise AttributeError(name)
        return getattr(pytest.importorskip(self.name), name)


torch, F = Module("torch"), Module("torch.nn.functional")
