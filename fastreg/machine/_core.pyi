# For type checkers: the extension has names that only a build knows.
from typing import Any

def __getattr__(name: str) -> Any: ...
