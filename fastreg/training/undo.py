"""A trainer as it was before something that may fail half way."""

from __future__ import annotations

from typing import Any

from fastreg.common.pieces import copied
from fastreg.engines.session import Sessions


def before(trainer: Any) -> dict[str, list]:
    """What `_core.all_or_nothing` needs to put the trainer back into its present state: copies of the parameters and of
    the optimizer's state, and all attributes of the trainer, its model and its history."""
    arenas = [trainer.model._arena, *(() if trainer._state is None else (trainer._state,))]
    wholes: list[tuple[dict[str, Any], dict[str, Any]]] = [(vars(trainer.history), vars(trainer.history.copy()))]
    for owner in (trainer, trainer.model):
        wholes.append((vars(owner), vars(owner) | {"_sessions": Sessions()}))  # those bound later are of another state
    return {"pairs": [(arena.flat, copied(arena.flat)) for arena in arenas], "wholes": wholes}
