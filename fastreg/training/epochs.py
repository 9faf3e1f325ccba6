"""The loop of a fit over epochs, in slices of about 0.1 s, and what remains if it is cut short."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, Union

import numpy as np

from fastreg.callbacks.base import Callback, Plan
from fastreg.callbacks.history import History
from fastreg.callbacks.training import Training
from fastreg.common.checking import MAX_INT, all_finite
from fastreg.engines.base import Feed, Tally
from fastreg.engines.session import SLICE_SECONDS, Session, refuse_bad_row, uninterrupted
from fastreg.model.model import trained_layers
from fastreg.optimizers import schedules
from fastreg.program import random

if TYPE_CHECKING:
    from fastreg.model.dataset import Data


class DivergenceError(ArithmeticError):
    """The loss or a parameter is no longer finite. The parameters are those of the last finished epoch.

    Attributes
    ----------
    history : History or None
        The finished epochs of the fit.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse", optimizer=fr.SGD(1e30))
    >>> try:
    ...     history = trainer.fit(np.eye(3), np.arange(3.0), epochs=9)
    ... except fr.DivergenceError as error:
    ...     print(str(error)[:17], error.history.epochs)
    training diverged [0]
    """

    history: History | None = None


class Restorable(Protocol):
    """A checkpoint as the loop sees it."""

    def restore(self, training: Training, callbacks: tuple[Callback, ...]) -> None:
        """Puts training and callbacks into the state of the checkpoint. If that fails, both are unchanged."""
        ...


HeldBack = Union["Data", Mapping[str, "Data"], None]


def by_name(held_back: HeldBack) -> Mapping[str, Data]:
    """The held-back sets by name. A single one is "val"."""
    if held_back is None:
        return {}
    return held_back if isinstance(held_back, Mapping) else {"val": held_back}


def make_plan(
    training: Training,
    data: Data,
    validation: HeldBack,
    count: int,
    batch_size: int,
    shuffle: bool,
    callbacks: list[Callback],
    more: dict[str, object] | None = None,
) -> Plan:
    """The plan of a fit of `count` more epochs. `more` are further facts that a resumed fit must repeat."""
    rows = data.size
    names = ("loss", *training._counted_metrics, "penalty", "seconds", "lr")
    for name in by_name(validation):
        names += tuple(f"{name}_{column}" for column in ("loss", *training.metric_names))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"validation_data: got {twice!r} as the name of two columns, expected other names of the sets")
    weighted = data.weighted
    repeat: dict[str, object] = {"rows": rows, "batch_size": batch_size, "shuffle": shuffle, "sample_weight": weighted}
    repeat |= more or {}
    if data.rows is not None:
        repeat["chosen rows"] = f"{zlib.crc32(data.rows.tobytes()):08x}"
    batches = -(-rows // batch_size)
    first = training.epoch
    return Plan(first, first + count, batches, names, History(), None, repeat, tuple(callbacks), data)


def run_epochs(
    training: Training,
    session: Session,
    data: Data,
    validation: HeldBack,
    plan: Plan,
    checkpoint: Restorable | None,
) -> History:
    """Trains until the last epoch of the plan, or until a callback sets `training.stop_training`."""
    rows, shuffle = data.size, plan.data["shuffle"]
    batch_size = min(plan.data["batch_size"], rows)  # buffers hold no more rows than there are
    history, whole, callbacks = plan.history, plan.whole, plan.callbacks
    rates, smallest = _rates(session, plan.batches), _smallest_rate(training)
    decay = training.optimizer.decay
    decays = None if decay is None else np.empty(plan.batches)
    training.stop_training = False
    last_update = min((c.last_update for c in callbacks if c.last_update is not None), default=MAX_INT)
    begun: list[Callback] = []
    try:
        for callback in callbacks:
            callback.trainer, callback.plan = training, plan
            callback.on_train_begin()
            begun.append(callback)
        if checkpoint:
            checkpoint.restore(training, callbacks)
        while training.epoch < plan.last_epoch and training.updates < last_update and not training.stop_training:
            epoch = training.epoch
            for callback in callbacks:
                callback.on_epoch_begin(epoch)
            start, updates = perf_counter(), training.updates
            order = data.ordered(random.permutation(rows, training.seed, epoch)) if shuffle else None
            training._taken = data.taken(order, batch_size * training.accumulate)
            steps = training.updates, training.accumulate, training._taken
            schedules.fill(rates, training.optimizer.lr, epoch, *steps)
            for callback in callbacks:
                callback.on_rates(epoch, rates)
            _check_rates(rates, epoch)
            rates[rates < smallest] = 0
            if decays is not None and decay is not None:
                schedules.fill(decays, decay, epoch, *steps)
                _check_decays(decays, epoch)
            place = {"seed": training.seed, "epoch": epoch, "step": training.batches}
            feed = data.feed(batch_size, order=order, rates=rates, decays=decays, **place)
            logs: dict[str, float] = {}
            measure = partial(_measure, training, plan, feed, validation, start, logs)
            start_of_epoch = {"batches": feed.step, "updates": updates}
            _run_epoch(training, session, feed, callbacks, last_update)
            session.all_or_nothing(
                measure, training, start_of_epoch, partial(_keeps_steps, training, session), appends=True
            )
            for callback in callbacks:
                before = dict(logs)
                callback.on_epoch_end(epoch, logs)
                if logs != before:
                    history.amend(logs)
                    whole.amend(logs)
    except (KeyboardInterrupt, DivergenceError) as error:
        error.history = history  # type: ignore[union-attr]
        raise
    finally:
        try:
            _end(begun)
        finally:
            _let_go(plan)
    return history


def _let_go(plan: Plan) -> None:
    """Leaves the callbacks a plan without callbacks, since through it each of them would hold itself and the trainer
    until Python looks for cycles."""
    alone = replace(plan, callbacks=()) if plan.callbacks else plan
    for callback in plan.callbacks:
        if vars(callback).get("plan") is plan:
            callback.plan = alone


def _measure(
    training: Training, plan: Plan, feed: Feed, validation: HeldBack, start: float, logs: dict[str, float]
) -> tuple:
    """Fills the logs of an epoch whose steps are done. Returns what `_core.append` needs to count it.

    If a held-back set has a bad row in a memory map, or a metric or a function in Python fails, the epoch does not
    count. Ctrl-C leaves the parameters as the last slice has left them."""
    tally = training._tally
    assert tally is not None and feed.rates is not None
    seconds, lr = perf_counter() - start, float(feed.rates[training.batches - feed.step - 1])
    logs |= training._means(tally) | {"penalty": tally.penalty / tally.batches, "seconds": seconds, "lr": lr}
    for name, held_back in by_name(validation).items():
        told = "validation_data" if name == "val" else f"validation_data[{name!r}]"
        measured = training._evaluate_data(held_back, told)
        logs |= {f"{name}_{column}": value for column, value in measured.items()}
    grown = [*plan.history.row(feed.epoch, logs), *plan.whole.row(feed.epoch, logs)]
    return grown, vars(training), {"epoch": training.epoch + 1}


def _run_epoch(
    training: Training, session: Session, feed: Feed, callbacks: tuple[Callback, ...], last_update: int
) -> None:
    """Runs one epoch, at most up to step `last_update` of the optimizer. If it must not count, everything returns to
    its state at the start."""
    before = {"batches": training.batches, "updates": training.updates}
    if session.averages:
        session.averages.begin()
    session.save()
    tally = training._tally = Tally(updates=training.updates)
    slices = partial(_run_slices, training, session, feed, tally, callbacks, last_update)
    reached = session.all_or_nothing(slices, training, before, partial(_is_kept, session))
    settle = partial(_settle, training, session, feed, tally, reached, before["updates"])
    session.all_or_nothing(settle, training, before)


def _keeps_steps(training: Training, session: Session, error: BaseException) -> bool:
    """Whether the steps stay of an epoch that does not count, since something ends its validation: Ctrl-C. A mean over
    epochs then is without it."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    if session.averages and _enters_the_mean(training):
        session.averages.take_back(session.before)
    return True


def _enters_the_mean(training: Training) -> bool:
    """Whether the weights at the end of the epoch at hand enter a mean over epochs."""
    return training.averaging is not None and training.averaging.due(training.epoch)


def _is_kept(session: Session, error: BaseException) -> bool:
    """Whether the steps stay of an epoch that ends between two slices."""
    if session.averages:
        session.averages.leave()
    return _is_finite(session)


def _settle(training: Training, session: Session, feed: Feed, tally: Tally, reached: int, updates: int) -> None:
    """The end of the steps of an epoch, which began after so many updates. Raises if the epoch must not count."""
    failure = None
    if tally.diverged:
        failure = f"the loss of batch {reached + 1} of {feed.batches} is not finite"
    elif tally.bad_row < 0 and not _is_finite(session):
        failure = "parameters are not finite at its end"
    restored = "; the parameters are those of the start of the epoch"
    refuse_bad_row(tally, session.engine, feed, dtype=training.dtype, advice=restored)
    if failure:
        advice = "A lower learning rate, scaled inputs or a smaller penalty may help."
        if tally.diverged and updates == 0 and reached < training.accumulate:
            # this is the very first step, so the learning rate is not the cause
            advice = f"No step was taken before: data or parameters are too large for {training.dtype}; scale them."
        raise DivergenceError(
            f"training diverged in epoch {training.epoch + 1}: {failure}. The parameters are those of the start of "
            f"the epoch. {advice}"
        )
    if session.averages and _enters_the_mean(training):
        session.averages.add()


def _is_finite(session: Session) -> bool:
    """Whether all parameters are finite, also those that are averaged."""
    averages = session.averages
    return all(map(all_finite, (session.parameters.flat, *(averages.raw if averages else ()))))


def _run_slices(
    training: Training, session: Session, feed: Feed, tally: Tally, callbacks: tuple[Callback, ...], last_update: int
) -> int:
    """Runs the batches in slices, and updates the counters with each. Returns how many batches were run."""
    single = any(callback.wants_batches for callback in callbacks)
    first, accumulate = 0, training.accumulate
    before = {"batches": feed.step, "updates": tally.updates}

    def run(first: int, stop: int, look: Callable[[], None]) -> int:
        reached = session.engine.run(feed, tally, first, stop, SLICE_SECONDS, look)
        training.batches, training.updates = feed.step + reached, tally.updates
        return reached

    while not tally.ended:
        # Up to the last update, if all coming steps are taken. Steps of zero weight are not: then the loop runs again.
        stop = min(feed.batches, (first // accumulate + last_update - tally.updates) * accumulate)
        if first >= stop:
            break
        batch, totals = first, list(tally.totals)
        if single:
            for callback in callbacks:
                callback.on_batch_begin(batch)
        # It raises if a layer or a loss in Python does, or by a signal, maybe in the middle of a step.
        slice_ = partial(run, first, first + 1 if single else stop)
        first = uninterrupted(lambda look: session.all_or_nothing(partial(slice_, look), training, before))  # noqa: B023
        if not callbacks or tally.ended:
            continue
        if single:
            logs = {"loss": training._loss_since(tally, totals)}
            for callback in callbacks:
                callback.on_batch_end(batch, logs)
        logs = {"loss": training._loss_since(tally)}
        for callback in callbacks:
            callback.on_slice_end(first, logs)
    if session.averages:
        session.averages.leave()  # here, so that a signal cannot come between the last step and this
    return first


def _rates(session: Session, batches: int) -> np.ndarray:
    """An array for the learning rate of each batch of an epoch. Callbacks get it, and cannot give it another size."""
    if session.rates is None or session.rates.shape != (batches,):
        session.rates = np.frombuffer(bytearray(8 * batches))
    return session.rates


def _end(callbacks: list[Callback]) -> None:
    """Calls on_train_end of all callbacks in order, even if one fails. Its error does not hide what ended the fit."""
    if callbacks:
        try:
            callbacks[0].on_train_end()
        finally:
            _end(callbacks[1:])


def _check_rates(rates: np.ndarray, epoch: int) -> None:
    """Refuses bad rates from a schedule or from a callback of the user's."""
    bad = ~((rates >= 0) & (rates < np.inf))
    if bad.any():
        batch = int(np.argmax(bad))
        got = f"got {rates[batch]} for batch {batch + 1} of epoch {epoch + 1}"
        raise ValueError(f"learning rate: {got}, expected a finite number of at least 0 from schedule and callbacks")


def _check_decays(decays: np.ndarray, epoch: int) -> None:
    """Refuses bad decays from a schedule."""
    bad = ~((decays >= 0) & (decays <= 1))
    if bad.any():
        batch = int(np.argmax(bad))
        got = f"got {decays[batch]} for batch {batch + 1} of epoch {epoch + 1}"
        raise ValueError(f"weight_decay: {got}, expected a number from 0 to 1 from its schedule: w <- w - d w")


def _smallest_rate(training: Training) -> float:
    """The smallest rate that is used; smaller ones count as 0, and no parameter would move with them anyway.

    After a step of L1 the velocity is multiplied by 1 / rate, which must be finite in each layer. Layers with an
    lr_scale below 1e-6 do not count here, so that they do not raise the limit for the others."""
    scales = [scale for layer in trained_layers(training.model) if (scale := layer.option("lr_scale", 1.0)) > 0]
    return float(np.finfo(training.dtype).tiny) / max(min(scales, default=1.0), 1e-6)
