"""Service removed -> create issued, by the engine's own event times; beside it a shell loop that does only that."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from bench.figures import Figure, percentile
from bench.stage import NAME, Stage
from bench.streams import DockerEvent, Line, Stream, docker_event, docker_events

GOAL_S = 1.0
BACK_S = 60.0
SHELL_NAME = "bench-shell"
SHELL_IMAGE = "pgswarm/postgres:17"
SHELL_LOOP = """
docker -H "$1" events --filter type=service --filter event=remove --format '{{.Actor.Attributes.name}}' |
while read -r name; do
    [ "$name" = "$2" ] && docker -H "$1" service create --quiet --detach --no-resolve-image --replicas 0 \
        --name "$2" "$3"
done
"""


def measure(stage: Stage, rounds: int) -> Figure:
    """Removes one replica's service at a time: nothing fails over. Raises: AssertionError, TimeoutError."""
    stage.have_database()
    stage.settle()
    host = stage.hosts[0]
    ours: list[float] = []
    with docker_events(stage.lab.host(host).docker_url, time.time_ns(), "type=service") as events:
        for number in range(rounds):
            names = sorted(stage.replica_names(NAME))
            ours.append(removed_and_back(stage, events, names[number % len(names)]))
            time.sleep(0.5)  # until status has noticed
            stage.await_ready(NAME)
        stage.say(f"{rounds} services removed and back")
        shell = by_shell(stage, events, rounds)
    return Figure(
        what=f"service removed -> create issued, p95 of {rounds}",
        ours=percentile(ours, 95),
        unit="s",
        reference=percentile(shell, 95),
        goal=GOAL_S,
        samples={"pgswarm": ours, "shell": shell},
        notes=(
            f"p50 {percentile(ours, 50):.3f} s, worst {max(ours):.3f} s; times are those of Docker's events",
            f"reference: a shell loop over `docker events` that creates a bare service again, "
            f"p50 {percentile(shell, 50):.3f} s",
        ),
    )


def removed_and_back(stage: Stage, events: Stream, name: str) -> float:
    """Seconds between the two events."""
    start = len(events.lines())
    stage.docker(stage.hosts[0], "service", "rm", name)
    removed = events.first(matching(name, "remove"), BACK_S, start=start)
    created = events.first(matching(name, "create"), BACK_S, start=start)
    return (created.at_ns - removed.at_ns) / 1e9


def by_shell(stage: Stage, events: Stream, rounds: int) -> list[float]:
    """The same of a bare service and a shell loop."""
    url = stage.lab.host(stage.hosts[0]).docker_url
    create = ["service", "create", "--quiet", "--detach", "--no-resolve-image", "--replicas", "0"]
    stage.docker(stage.hosts[0], *create, "--name", SHELL_NAME, SHELL_IMAGE)
    took: list[float] = []
    with Stream(["sh", "-c", SHELL_LOOP, "sh", url, SHELL_NAME, SHELL_IMAGE]):
        time.sleep(1.0)  # until it listens
        for _ in range(rounds):
            took.append(removed_and_back(stage, events, SHELL_NAME))
            time.sleep(0.3)
    subprocess.run(
        ["docker", "-H", url, "service", "rm", SHELL_NAME], capture_output=True, timeout=30, check=False
    )
    return took


def matching(name: str, action: str) -> Callable[[Line], DockerEvent | None]:
    """A question for `Stream.first`."""

    def wanted(line: Line) -> DockerEvent | None:
        event = docker_event(line)
        return event if (event.name, event.action) == (name, action) else None

    return wanted
