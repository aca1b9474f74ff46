"""Observers and a logger that remember. They fit every observer Protocol of the machinery."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Seen:
    """Counts what queues, controllers and ownership report."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.depth = 0
        self.held = 0
        self.waited_s: list[float] = []
        self.worked_s: list[float] = []
        self.outcomes: list[str] = []

    def queue_depth(self, queue: str, depth: int) -> None:
        self.depth = depth

    def queue_added(self, queue: str) -> None:
        self.counts["added"] += 1

    def queue_retried(self, queue: str) -> None:
        self.counts["retried"] += 1

    def queue_refused(self, queue: str) -> None:
        self.counts["refused"] += 1

    def queue_waited(self, queue: str, seconds: float) -> None:
        self.waited_s.append(seconds)

    def queue_worked(self, queue: str, seconds: float) -> None:
        self.worked_s.append(seconds)

    def pass_started(self, controller: str) -> None:
        self.counts["started"] += 1

    def pass_ended(self, controller: str, outcome: str, seconds: float, actions: int) -> None:
        self.outcomes.append(outcome)

    def claims_held(self, count: int) -> None:
        self.held = count

    def claim_changed(self, change: str) -> None:
        self.counts[change] += 1


class Lines:
    """A logger whose lines can be read: (level, event, fields)."""

    def __init__(self, lines: list[tuple[str, str, dict[str, Any]]] | None = None, **bound: Any) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = [] if lines is None else lines
        self._bound = bound

    def bind(self, **new_values: Any) -> Lines:
        return Lines(self.lines, **{**self._bound, **new_values})

    def debug(self, event: str, **fields: Any) -> None:
        self._add("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._add("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._add("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._add("error", event, fields)

    def at(self, level: str) -> list[str]:
        return [event for found, event, _ in self.lines if found == level]

    def _add(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.lines.append((level, event, {**self._bound, **fields}))
