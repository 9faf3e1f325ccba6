"""Averages of parameters: where they live, and when the raw parameters take over what somebody has set.

A program with averages trains the raw parameters, which are arrays of the state. The model's own arrays hold the
averages at all times. `Averages.known` is a mark of the model's arrays as training has left them. If they are not so
when the next steps begin, somebody has changed them, and training goes on from them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fastreg.common import pieces
from fastreg.engines.arena import Arena
from fastreg.program.program import Program
from fastreg.reference.small import small_to_zero

KNOWN = "averaging/known"  # the mark: a checksum, in two numbers that a float32 can hold; 0 for none


def raw(name: str) -> str:
    """The name of the raw values of a parameter in the state."""
    return f"{name}/raw"


def belongs(name: str) -> bool:
    """Whether an array of the state is there for averages."""
    return name == KNOWN or name.endswith(("/raw", "/count"))


def shapes(program: Program, parameters: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The arrays of the state that the averages of a program need."""
    if not program.averaged:
        return {}
    return {raw(name): parameters[name].shape for name in program.averaged} | {program.count: (1,), KNOWN: (2,)}


@dataclass
class Averages:
    """The averages of a session."""

    names: tuple[str, ...]
    parameters: Arena
    state: Arena
    count: np.ndarray

    @property
    def raw(self) -> list[np.ndarray]:
        """The raw values of the averaged parameters."""
        return [self.state[raw(name)] for name in self.names]

    def arrays(self) -> dict[str, np.ndarray]:
        """What the engine works on, by the names of the program: "<parameter>/average" is the model's."""
        own = dict(zip(self.names, self.raw, strict=True))
        averages = {f"{name}/average": self.parameters[name] for name in self.names}
        return {**self.parameters.arrays, **own, **averages}

    def begin(self) -> None:
        """Before the steps of an epoch: takes over parameters that are not as `leave` left them."""
        if not is_known(self.parameters, self.state):
            self._copy(self.raw, [self.parameters[name] for name in self.names])
            self.count[...] = 0

    def leave(self) -> None:
        """After the steps of an epoch. Without any average so far, the model has the raw values."""
        if not self.count[0]:
            self._copy([self.parameters[name] for name in self.names], self.raw)
        note(self.parameters, self.state)

    def add(self) -> None:
        """The raw values enter the plain mean of those at the ends of epochs: a <- a + (w - a) / n."""
        self.count += 1
        rate = (1 / self.count).astype(self.count.dtype)
        for name, values in zip(self.names, self.raw, strict=True):
            mean = self.parameters[name]
            mean[...] = values if self.count[0] == 1 else small_to_zero(mean + rate * (values - mean))
        note(self.parameters, self.state)

    def take_back(self, before: np.ndarray) -> None:
        """Undoes the `add` of an epoch that does not count after all, which began with the model's parameters
        `before`. The raw values stay."""
        pieces.copy(self.parameters.flat, before)
        self.count -= 1
        self.leave()

    @staticmethod
    def _copy(into: list[np.ndarray], values: list[np.ndarray]) -> None:
        for own, other in zip(into, values, strict=True):
            np.copyto(own, other)


def averages_of(program: Program, parameters: Arena, state: Arena) -> Averages | None:
    """The averages of a program that is bound to these arrays, if it has any."""
    if not program.averaged:
        return None
    return Averages(program.averaged, parameters, state, state[program.count])


def note(parameters: Arena, state: Arena) -> None:
    """Marks the parameters as those that training has left."""
    state[KNOWN][...] = _mark(parameters)


def is_known(parameters: Arena, state: Mapping[str, np.ndarray]) -> bool:
    """Whether the parameters are those that training has left. False without averages."""
    return KNOWN in state and bool((state[KNOWN] == _mark(parameters)).all())


def _mark(parameters: Arena) -> list[int]:
    value = 0
    for part in pieces.pieces(parameters.flat.size, 1 << 24):
        value = zlib.crc32(parameters.flat[part].data, value)
    return [value >> 16, (value & 0xFFFF) + 1]
