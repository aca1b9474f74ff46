"""One line a step, with the seconds since the start."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO


class Progress:
    """Prints what happens. Safe to share between threads: a line is never torn."""

    def __init__(self, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self._out = out or sys.stderr
        self._quiet = quiet
        self._lock = threading.Lock()
        self._start_s = time.monotonic()

    def elapsed_s(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._start_s

    def say(self, text: str) -> None:
        """Print one step."""
        if self._quiet:
            return
        with self._lock:
            print(f"lab {self.elapsed_s():6.1f}s  {text}", file=self._out, flush=True)
