"""The output of --json."""

from __future__ import annotations

import json
import math
from typing import Any


def print_json(value: dict[str, Any], indent: int | None = 2) -> None:
    """Prints one object. Numbers that are not finite become null, since JSON cannot say them."""
    print(json.dumps(_finite(value), indent=indent, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
