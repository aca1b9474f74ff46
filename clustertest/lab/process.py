"""Running commands, and knowing a process again later: it is ended by its identity, never by its name."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clustertest.lab.errors import LabError

COMMAND_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its id, and when it began (clock ticks since boot), because ids are used again."""

    pid: int
    began: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process that has this id, or None."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def load(cls, path: Path) -> Identity | None:
        """The identity written to `path` if that process still lives."""
        try:
            pid, began = path.read_text().split()
        except (OSError, ValueError):
            return None
        found = cls(int(pid), int(began))
        return found if found.alive() else None

    def save(self, path: Path) -> None:
        """Write it down for a later command."""
        path.write_text(f"{self.pid} {self.began}\n")

    def alive(self) -> bool:
        """True while this very process runs."""
        return Identity.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal it; a process that is gone is no error."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def end(self, limit_s: float = 10.0) -> None:
        """SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        wait_until(lambda: not self.alive(), limit_s, f"process {self.pid} to end", every_s=0.02)


def run(
    argv: Sequence[str],
    *,
    limit_s: float = COMMAND_LIMIT_S,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Standard output of a command; LabError with its last words if it fails."""
    try:
        done = subprocess.run(
            argv,
            text=True,
            errors="replace",
            capture_output=True,
            timeout=limit_s,
            check=False,
            env=env,
            input=stdin if stdin is not None else "",
        )
    except subprocess.TimeoutExpired as exc:
        raise LabError(f"{' '.join(argv[:6])}: no end after {limit_s:.0f} s") from exc
    except FileNotFoundError as exc:
        raise LabError(f"{argv[0]} is not installed") from exc
    if check and done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise LabError(f"{' '.join(argv[:8])}: exit {done.returncode}: {' / '.join(words)}")
    return done.stdout


def attempt(argv: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> bool:
    """Whether a command succeeds; for clean-up, where there may be nothing to clean."""
    try:
        run(argv, limit_s=limit_s)
    except LabError:
        return False
    return True


def wait_until(
    ready: Callable[[], bool], limit_s: float, what: str, *, every_s: float = 0.1, log: Path | None = None
) -> None:
    """Ask again and again until `ready` says yes; LabError after `limit_s` seconds, with the end of `log`."""
    deadline_s = time.monotonic() + limit_s
    while not ready():
        if time.monotonic() > deadline_s:
            raise LabError(f"waited {limit_s:.0f} s for {what}{tail(log)}")
        time.sleep(every_s)


def tail(log: Path | None) -> str:
    """The last lines of a log, for the end of a message."""
    if log is None or not log.exists():
        return ""
    return f"; the end of {log}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:])


def children(pid: int) -> list[int]:
    """Ids of the direct children of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def outer_pid(namespace_pid: int, init_pid: int) -> int | None:
    """The id, as seen here, of a process known by its id inside the process namespace of `init_pid`."""
    namespace = os.readlink(f"/proc/{init_pid}/ns/pid")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "ns/pid") != namespace:
                continue
            status = (folder / "status").read_text()
        except OSError:
            continue
        line = next((row for row in status.splitlines() if row.startswith("NSpid:")), "")
        if line.split()[-1:] == [str(namespace_pid)]:
            return int(folder.name)
    return None
