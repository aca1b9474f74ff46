"""Lines of programs that run in the background, each with the moment at which it came."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

LINES_MAX = 100_000
END_S = 5.0
COMPLAINTS_MAX = 400


@dataclass(frozen=True, slots=True)
class Line:
    at_ns: int
    """Nanoseconds since 1970 when it was read here."""
    text: str


class Stream:
    """One program and what it has said. Ends with the block that it is the context of."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._argv, self._env = list(argv), env
        self._lines: list[Line] = []
        self._news = threading.Condition()

    def __enter__(self) -> Stream:
        self._complaints = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._argv,
            env=None if self._env is None else dict(self._env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # a program that runs inside a container notices only that
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)  # what a shell started, too
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_S)
        self._reader.join(END_S)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()
        self._complaints.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            with self._news:
                assert len(self._lines) < LINES_MAX, self._argv
                self._lines.append(Line(time.time_ns(), text.rstrip("\n")))
                self._news.notify_all()

    def lines(self, start: int = 0) -> list[Line]:
        """Everything said so far, from line `start` on."""
        with self._news:
            return self._lines[start:]

    def complaints(self) -> str:
        """The end of what the program wrote to standard error, and its exit code if it has ended."""
        end = self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, end - COMPLAINTS_MAX))
        text = self._complaints.read().decode(errors="replace").strip()
        self._complaints.seek(0, os.SEEK_END)
        code = self._process.poll()
        return text + ("" if code is None else f" (it ended with {code})")

    def first(self, wanted: Callable[[Line], T | None], limit_s: float, *, start: int = 0) -> T:
        """
        The first answer of `wanted` that is not None, about lines from `start` on, said or still to come.

        Raises: TimeoutError after `limit_s`.
        """
        deadline_s = time.monotonic() + limit_s
        seen = start
        while True:
            with self._news:
                while len(self._lines) == seen:
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0 or not self._news.wait(left_s):
                        raise TimeoutError(
                            f"nothing of the kind within {limit_s:.0f} s: {self._argv} {self.complaints()}"
                        )
                line = self._lines[seen]
            seen += 1
            found = wanted(line)
            if found is not None:
                return found


# --- what the lines mean ---


@dataclass(frozen=True, slots=True)
class DockerEvent:
    at_ns: int
    """When the engine says that it happened."""
    action: str
    name: str
    service: str
    """The Swarm service that a container belongs to; "" for anything else."""
    id: str


def docker_events(url: str, since_ns: int, *filters: str) -> Stream:
    """`docker events` of one engine from a moment on; each filter like `type=service`."""
    since = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
    words = [word for one in filters for word in ("--filter", one)]
    return Stream(["docker", "-H", url, "events", "--since", since, "--format", "{{json .}}", *words])


def docker_event(line: Line) -> DockerEvent:
    raw = json.loads(line.text)
    attributes: dict[str, str] = raw["Actor"].get("Attributes") or {}
    return DockerEvent(
        at_ns=int(raw["timeNano"]),
        action=str(raw["Action"]),
        name=attributes.get("name", ""),
        service=attributes.get("com.docker.swarm.service.name", ""),
        id=str(raw["Actor"]["ID"]),
    )


@dataclass(frozen=True, slots=True)
class EtcdEvent:
    at_ns: int
    """When it arrived here."""
    key: str
    value: str
    """"" for a key that was deleted."""
    deleted: bool


def etcd_events(env: Mapping[str, str], prefix: str, revision: int) -> Stream:
    """
    `etcdctl watch` of a prefix, from a revision on.

    It asks one member only: another may lag behind and not know the session yet.
    """
    one = {"ETCDCTL_ENDPOINTS": env["ETCDCTL_ENDPOINTS"].split(",")[0]}
    argv = ["etcdctl", "watch", "--prefix", prefix, f"--rev={revision}", "-w", "json"]
    return Stream(argv, {**env, **one})


def etcd_changes(line: Line) -> Iterator[EtcdEvent]:
    """The events of one answer of `etcdctl watch -w json`."""
    raw: dict[str, Any] = json.loads(line.text)
    for event in raw.get("Events") or ():
        pair = event["kv"]
        yield EtcdEvent(
            at_ns=line.at_ns,
            key=base64.b64decode(pair["key"]).decode(errors="replace"),
            value=base64.b64decode(pair.get("value", "")).decode(errors="replace"),
            deleted=event.get("type") == 1,
        )
