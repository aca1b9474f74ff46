"""
A program that runs beside this process: started, found again after a crash of ours, watched, ended.

A process is known by its id and the moment it began, because ids are used again; never by its name.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KILL_S = 5.0
"""Seconds in which the kernel takes a process away after SIGKILL."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`began` is in clock ticks since the machine booted."""

    pid: int
    began: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process that has this id; None when there is none, or only what its parent has not collected."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def load(cls, file: Path) -> Identity | None:
        """The process written down in `file`, if it still lives."""
        try:
            pid, began = (int(word) for word in file.read_text(encoding="ascii").split())
        except (OSError, ValueError):
            return None
        found = cls(pid, began)
        return found if cls.of(pid) == found else None

    def save(self, file: Path) -> None:
        draft = file.with_name(f".{file.name}.new")
        draft.write_text(f"{self.pid} {self.began}\n", encoding="ascii")
        draft.replace(file)

    def command_line(self) -> list[str]:
        try:
            text = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return []
        return text.rstrip("\0").split("\0")


class Child:
    """One process, ours by birth or by adoption. Holds a descriptor of it: a signal can never hit another one."""

    def __init__(self, identity: Identity, pidfd: int, process: Process | None = None) -> None:
        self.identity = identity
        self._pidfd = pidfd
        self._process = process

    @classmethod
    async def start(cls, argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> Child:
        """
        Start `argv` in a session of its own, so that an interrupt at the terminal reaches only us.

        Raises:
            OSError: the program cannot be started.
        """
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        # Until it is waited for its id stays its own, even if it has ended already.
        identity = Identity.of(process.pid) or Identity(process.pid, 0)
        try:
            return cls(identity, os.pidfd_open(process.pid), process)
        except ProcessLookupError:
            return cls(identity, -1, process)

    @classmethod
    def adopt(cls, identity: Identity) -> Child | None:
        """Take over a process that an earlier one of us has started; None if it is gone."""
        try:
            pidfd = os.pidfd_open(identity.pid)
        except OSError:
            return None
        if Identity.of(identity.pid) != identity:
            os.close(pidfd)
            return None
        return cls(identity, pidfd)

    @property
    def adopted(self) -> bool:
        return self._process is None

    def alive(self) -> bool:
        return Identity.of(self.identity.pid) == self.identity

    async def ended(self) -> int | None:
        """Wait for its end. Returns the exit code, negative for a signal; None when only its parent knows."""
        if self._process is not None:
            return await self._process.wait()
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pidfd, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._pidfd)
        return None

    async def stop(self, grace_s: float) -> None:
        """SIGTERM; after `grace_s` seconds SIGKILL. Returns when it is gone, and may be called again."""
        try:
            for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_S)):
                self._send(number)
                try:
                    async with asyncio.timeout(limit_s):
                        await self.ended()
                        return
                except TimeoutError:
                    continue
        finally:
            self.close()

    def _send(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Give the descriptor back; the process lives on."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
