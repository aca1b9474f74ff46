"""What one process costs that owns, and looks after, many databases while nothing happens to them."""

from __future__ import annotations

import time
from typing import Any

from bench.figures import Figure
from bench.stage import NAME, Stage, manifests
from bench.usage import Usage

WANTED = 20
PORTION = 3
"""Databases made at a time: a small machine that makes all at once does nothing else for minutes."""
CREATE_S = 240.0
SETTLE_S = 30.0
MEASURE_S = 60.0
CPU_GOAL_PERCENT = 2.0
RSS_GOAL_MB = 120.0


def measure(stage: Stage, count: int) -> list[Figure]:
    """
    One pgswarm runs, on the first host; every database is there, with one instance.

    Raises: AssertionError, TimeoutError.
    """
    stage.remove(NAME)
    host, *others = stage.hosts
    names = [f"idle-{number:02}" for number in range(1, count + 1)]
    try:
        for other in others:
            stage.stop_pgswarm(other)
        have = create(stage, host, names)
        stage.say(f"{len(have)} databases Ready")
        stage.settle()
        time.sleep(SETTLE_S)
        found = stage.lab.host(host).service("pgswarm")
        assert found is not None, f"pgswarm on {host} has ended"
        before = Usage.of(found.pid)
        time.sleep(MEASURE_S)
        return figures(before, Usage.of(found.pid), len(have), count, len(others))
    finally:
        for other in others:
            if stage.lab.host(other).service("pgswarm") is None:
                stage.start_pgswarm(other)
        stage.remove(*names, limit_s=CREATE_S)


def create(stage: Stage, host: str, names: list[str]) -> list[str]:
    """The databases that became Ready; those that did not, for want of machine, are removed."""
    have: list[str] = []
    for first in range(0, len(names), PORTION):
        portion = names[first : first + PORTION]
        stage.pgswarm("apply", "-f", "-", text=manifests([spec(name, host) for name in portion]))
        try:
            for name in portion:
                stage.await_ready(name, CREATE_S)
        except AssertionError:
            late = [name for name in portion if not stage.says_ready(name)]
            stage.remove(*late, limit_s=CREATE_S)
            return have + [name for name in portion if name not in late]
        have += portion
    return have


def spec(name: str, host: str) -> dict[str, Any]:
    """As small as a database may be."""
    return {
        "apiVersion": "pgswarm.dev/v1",
        "kind": "Database",
        "metadata": {"name": name},
        "spec": {
            "postgres": {"version": "17"},
            "nodes": [{"name": "n1", "hosts": [host]}],
            "resources": {"cpus": "0.5", "memory": "128MiB"},
            "databases": [{"name": "app", "owner": "app"}],
            "roles": [{"name": "app", "login": True}],
            "deletion": {"policy": "delete"},
        },
    }


def figures(before: Usage, after: Usage, have: int, wanted: int, stopped: int) -> list[Figure]:
    """Pure."""
    title = f"idle process that owns {have} databases and runs their instances"
    short = (
        () if have == wanted else (f"this machine could not carry {wanted} databases; {have} became Ready",)
    )
    how = f"over {MEASURE_S:.0f} s; one instance a database, on its own host; the other {stopped} processes are off"
    return [
        Figure(
            what=f"{title}: processor",
            ours=(after.cpu_s - before.cpu_s) / MEASURE_S * 100,
            unit="% of a core",
            goal=CPU_GOAL_PERCENT,
            strict=True,
            notes=(how, *short),
        ),
        Figure(
            what=f"{title}: memory",
            ours=max(before.rss_mb, after.rss_mb),
            unit="MB RSS",
            goal=RSS_GOAL_MB,
            strict=True,
            notes=short,
        ),
    ]
