# For type checkers, which cannot see the names in the built extension.
from typing import Any

def __getattr__(name: str) -> Any: ...
