"""Progress for people: which step of how many, what it found or did, what it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

Step = tuple[str, Callable[["Steps"], str]]
"""A title, and what is done: it returns a few words on the outcome."""


class Steps:
    """Runs steps in order and says where it is. The first that raises ends the run."""

    def __init__(self, name: str, out: TextIO | None = None) -> None:
        self._name = name
        self._out = out or sys.stdout
        self._started_s = time.monotonic()

    def run(self, steps: Sequence[Step]) -> None:
        """Do them all."""
        self._say(f"{self._name}: {len(steps)} steps: {', '.join(title for title, _ in steps)}")
        for number, (title, action) in enumerate(steps, start=1):
            self._say(f"[{number}/{len(steps)}] {title} ...")
            began_s = time.monotonic()
            outcome = action(self)
            self._say(f"[{number}/{len(steps)}] {title}: {outcome} ... {time.monotonic() - began_s:.1f} s")

    def note(self, text: str) -> None:
        """A line about the step that runs."""
        self._say(f"      {text}")

    def elapsed_s(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._started_s

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)
