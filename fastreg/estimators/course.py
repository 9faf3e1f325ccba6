"""The course of a training by scikit-learn's rules: when it stops, how the rate goes, which weights are the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fastreg.callbacks.base import Callback
from fastreg.estimators.arguments import Arguments

SMALLEST_RATE = 1e-6  # "adaptive" stops where it would go below


@dataclass
class Course:
    """What a training has come to, over all fits that continue it.

    losses       the loss and the penalty of each epoch
    scores       the validation score of each epoch, if there are data for it
    worse        epochs since the last improvement by `tol`
    rate, last   the rates of the next epoch and of the last one, under "invscaling" and "adaptive"
    first        `learning_rate_init`
    samples      rows seen
    epochs       epochs of the last fit
    stopped      whether the last fit ended by the rules
    best         the weights of the best score
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_score: float = -math.inf
    worse: int = 0
    rate: float = 0.0
    last: float = 0.0
    first: float = 0.0
    samples: int = 0
    epochs: int = 0
    stopped: bool = False
    best: np.ndarray | None = None

    def copy(self) -> Course:
        """Another course that goes on alike."""
        return replace(self, losses=self.losses[:], scores=self.scores[:])


class Rules(Callback):
    """scikit-learn's rules, in its words where they are printed.

    rows    of an epoch
    loss    from the mean loss of an epoch to the value that scikit-learn reports, without the penalty
    score   the name of the validation score in the logs. None if there is none
    """

    def __init__(self, course: Course, given: Arguments, rows: int, loss: Callable[[float], float], score: str | None):
        self.course, self.given, self.rows, self.loss, self.score = course, given, rows, loss, score

    def on_train_begin(self) -> None:
        course, given = self.course, self.given
        course.epochs, course.stopped = 0, False
        if course.first != given.rate:
            course.rate = course.first = given.rate
        if self.given.early and self.course.best is None:
            self._keep()

    def on_rates(self, epoch: int, rates: np.ndarray) -> None:
        course = self.course
        if self.given.schedule not in ("invscaling", "adaptive"):
            return
        rates[...] = course.rate
        if course.last and course.last != course.rate:
            # scikit-learn's velocity has the rate of its step in it, ours has not: with this factor both move alike
            for velocity in self.trainer.optimizer_state.values():
                velocity[...] *= course.last / course.rate
        course.last = course.rate

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        course, given = self.course, self.given
        course.epochs += 1
        course.samples += self.rows
        tally = self.trainer._tally
        assert tally is not None
        # As scikit-learn reports it: the mean over the batches of loss and penalty, each as often as it has rows.
        course.losses.append(self.loss(tally.row_loss / tally.rows) + tally.row_penalty / tally.rows)
        self._say(f"Iteration {course.epochs}, loss = {course.losses[-1]:.8f}")
        if self.score is not None:
            course.scores.append(logs[self.score])
            self._say(f"Validation score: {course.scores[-1]:f}")
        self._judge()
        if given.schedule == "invscaling":
            course.rate = given.rate / (course.samples + 1) ** given.power
        if course.worse > given.patience:
            self._end()

    def on_train_end(self) -> None:
        """Restores the best weights, however training has ended."""
        if self.given.early and self.course.best is not None:
            np.copyto(self.model._arena.flat, self.course.best)

    def _judge(self) -> None:
        """Counts the epochs without an improvement, and keeps the best weights."""
        course, tol = self.course, self.given.tol
        loss = course.losses[-1]
        improves = not loss > course.best_loss - tol
        course.best_loss = min(course.best_loss, loss)
        if self.score is not None:
            score = course.scores[-1]
            if self.given.early:
                improves = score >= course.best_score + tol  # NaN is no improvement
            if score > course.best_score:
                if self.given.early:
                    self._keep()
                course.best_score = score
        course.worse = 0 if improves else course.worse + 1

    def _keep(self) -> None:
        self.course.best = self.model._arena.flat.copy()

    def _end(self) -> None:
        """Ends training, or goes on with a smaller rate."""
        course, given = self.course, self.given
        what = "Validation score" if given.early else "Training loss"
        told = f"{what} did not improve more than tol={given.tol:f} for {given.patience} consecutive epochs."
        if given.schedule == "adaptive" and course.rate > SMALLEST_RATE:
            course.rate /= 5
            course.worse = 0
            self._say(f"{told} Setting learning rate to {course.rate:f}")
            return
        small = " Learning rate too small." if given.schedule == "adaptive" else ""
        self._say(f"{told}{small} Stopping.")
        course.stopped = self.trainer.stop_training = True

    def _say(self, text: str) -> None:
        if self.given.verbose:
            print(text)
