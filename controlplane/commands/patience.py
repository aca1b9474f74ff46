"""Nothing stays silent for more than two seconds, and nothing waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TextIO, TypeVar

import click

T = TypeVar("T")
QUIET_S = 2.0
ANSWER_MAX_S = 15.0
"""Seconds after which a single question to etcd is given up."""


async def patient(work: Coroutine[Any, Any, T], endpoints: Sequence[str]) -> T:
    """
    Run `work`; after two seconds say on stderr what it waits for.

    Raises:
        TimeoutError: it took longer than ANSWER_MAX_S.
    """
    loop = asyncio.get_running_loop()
    words = f"pgswarm: still waiting for etcd at {', '.join(endpoints)} ..."
    notice = loop.call_later(QUIET_S, lambda: click.echo(words, err=True))
    try:
        async with asyncio.timeout(ANSWER_MAX_S):
            return await work
    finally:
        notice.cancel()


class Progress:
    """One line that says what is waited for: rewritten on a terminal, else printed when it changes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last = ""
        self._terminal = out.isatty()

    def say(self, words: str, elapsed: str) -> None:
        """`words` change seldom, `elapsed` always."""
        if self._terminal:
            text = f"{words} ({elapsed})"
            # Cut to a width that every terminal has, so that the line can be rewritten.
            self._out.write(f"\r\x1b[K{text if len(text) < 110 else text[:107] + '...'}")
            self._out.flush()
        elif words != self._last:
            self._out.write(f"{words} ({elapsed})\n")
            self._out.flush()
        self._last = words

    def end(self) -> None:
        if self._terminal and self._last:
            self._out.write("\r\x1b[K")
            self._out.flush()
