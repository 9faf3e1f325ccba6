"""An estimator as it was before a fit, so that a fit that fails changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.training.trainer import Trainer


class Before:
    """The attributes of an estimator, and what the fit of a trainer that goes on may change."""

    def __init__(self, estimator: Any):
        self.estimator, self.attributes = estimator, dict(vars(estimator))
        self.trainer: Trainer | None = self.attributes.get("_trainer")
        if (trainer := self.trainer) is not None:
            self.arguments, self.layers = trainer.arguments, trainer.model.layers
            self.counters = trainer.epoch, trainer.batches, trainer.updates
            self.history = trainer.history.copy()
            self.parameters = trainer.model._arena.flat.copy()
            self.memory = trainer._state, trainer._trained, trainer._state_of
            self.state = None if trainer._state is None else trainer._state.flat.copy()

    def put_back(self) -> None:
        """The estimator is as it was."""
        attributes = vars(self.estimator)
        attributes.clear()
        attributes.update(self.attributes)
        if (trainer := self.trainer) is None:
            return
        if trainer.model.layers != self.layers:
            trainer.model.layers = self.layers
        trainer.arguments = self.arguments
        trainer.epoch, trainer.batches, trainer.updates = self.counters
        trainer.history = attributes["history_"] = self.history
        np.copyto(trainer.model._arena.flat, self.parameters)
        trainer._state, trainer._trained, trainer._state_of = self.memory
        if trainer._state is not None and self.state is not None:
            np.copyto(trainer._state.flat, self.state)
