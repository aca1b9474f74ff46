"""
Many ends of one story for the price of its beginning: where a run may go two ways, the process that plays it forks.

The child takes the other way and plays to its end; the parent goes on as if nothing had happened. Nothing is played
twice up to the point where two runs differ, and no run can see another.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import selectors
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from tests.sim.loop import run

T = TypeVar("T")
LIMIT_S = 120
"""Real seconds after which a child is given up."""


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """How one run ended: with a value, or with what went wrong."""

    label: str
    value: T | None
    error: str = ""


class Forks(Generic[T]):
    """
    `branch` inside a run; `play` around it, once. `workers` children run at a time, beside the parent.

    A child may branch again; its children run one after the other, for its parent's sake.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.ended: list[Ended[T]] = []
        """Children that have ended, and theirs."""
        self.label = ""
        """The ways that this process has taken; "" in the first one."""
        self._children: dict[int, tuple[int, str, list[bytes]]] = {}
        """By the pipe they answer through: process, label, what it has said so far."""
        self._answer = -1
        self._selector = selectors.DefaultSelector()

    def branch(self, label: str) -> bool:
        """True in the child, which takes the way that `label` names; False in the parent. Inside a run only."""
        while len(self._children) >= self.workers:
            self._hear()
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        child = os.fork()
        if child:
            os.close(writer)
            self._children[reader] = (child, label, [])
            self._selector.register(reader, selectors.EVENT_READ)
            return False
        os.close(reader)
        signal.alarm(LIMIT_S)
        # A forked loop is nobody's running loop until it is told so.
        asyncio._set_running_loop(loop)
        self.label, self._answer, self.workers = f"{self.label}; {label}".lstrip("; "), writer, 1
        self._children, self._selector, self.ended = {}, selectors.DefaultSelector(), []
        return True

    def play(self, story: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `story`; in the parent return what it returns, after every child has ended."""
        gc.collect()
        # What stands now is shared by all and need not be copied for the sake of a look at it; and no run is so long
        # that its garbage would matter.
        gc.freeze()
        gc.disable()
        try:
            value = run(story())
        except BaseException as error:
            if self._answer < 0:
                raise
            self._leave(Ended(self.label, None, f"{type(error).__name__}: {error}"))
        finally:
            gc.enable()
            gc.unfreeze()
            self._await_children()
        if self._answer >= 0:
            self._leave(Ended(self.label, value))
        return value

    def _leave(self, own: Ended[T]) -> NoReturn:
        self._await_children()
        with os.fdopen(self._answer, "wb") as out:
            pickle.dump([own, *self.ended], out)
        sys.stdout.flush()
        os._exit(0)

    def _await_children(self) -> None:
        while self._children:
            self._hear()

    def _hear(self) -> None:
        for key, _ in self._selector.select():
            reader = key.fd
            child, label, said = self._children[reader]
            if block := os.read(reader, 1 << 20):
                said.append(block)
                continue
            self._selector.unregister(reader)
            os.close(reader)
            del self._children[reader]
            _, code = os.waitpid(child, 0)
            died: Ended[T] = Ended(label, None, f"it died: {code}")
            self.ended += pickle.loads(b"".join(said)) if said else [died]
