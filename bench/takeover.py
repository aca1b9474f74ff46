"""The owner ends -> another controller has the claim, and has raised the fence in Docker: its first effect."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from bench.figures import Figure
from bench.stage import NAME, PREFIX, Stage
from bench.streams import DockerEvent, EtcdEvent, Line, docker_event, docker_events, etcd_changes, etcd_events
from clustertest.lab.lab import LEASE_TTL

LEASE_TTL_S = float(LEASE_TTL.removesuffix("s"))
KILL_GOAL_S = LEASE_TTL_S + 2
TERM_GOAL_S = 1.0
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Takeover:
    """Seconds from just before the signal."""

    claimed_s: float
    fenced_s: float


def measure(stage: Stage, rounds: int) -> list[Figure]:
    """Raises: AssertionError, TimeoutError."""
    stage.have_database()
    killed = [takeover(stage, signal.SIGKILL) for _ in range(rounds)]
    stage.say(f"owner killed {rounds} times")
    asked = [takeover(stage, signal.SIGTERM) for _ in range(rounds)]
    stage.say(f"owner asked to stop {rounds} times")
    return [
        figure("owner killed (SIGKILL)", killed, KILL_GOAL_S, LEASE_TTL_S, strict=False),
        figure("owner asked to stop (SIGTERM)", asked, TERM_GOAL_S, None, strict=True),
    ]


def figure(
    what: str, seen: list[Takeover], goal_s: float, reference_s: float | None, *, strict: bool
) -> Figure:
    """Pure."""
    claimed, fenced = [one.claimed_s for one in seen], [one.fenced_s for one in seen]
    lease = (
        () if reference_s is None else (f"reference: the lease's TTL of {reference_s:g} s (default 10 s)",)
    )
    return Figure(
        what=f"{what} -> another has acted, worst of {len(seen)}",
        ours=max(fenced),
        unit="s",
        reference=reference_s,
        goal=goal_s,
        strict=strict,
        samples={"claim": claimed, "fence": fenced},
        notes=(
            f"acted: the fence service carries the new epoch; the claim in etcd: {max(claimed):.2f} s",
            *lease,
        ),
    )


def takeover(stage: Stage, number: signal.Signals) -> Takeover:
    stage.settle()
    stage.await_ready(NAME)
    owner = stage.owner(NAME)
    witness = next(host for host in stage.hosts if host != owner)
    key = f"{PREFIX}owners/database/{NAME}"
    engine = stage.lab.host(witness).docker_url
    with (
        etcd_events(stage.environment, key, stage.revision() + 1) as etcd,
        docker_events(engine, time.time_ns(), "type=service", "event=update") as docker,
    ):
        time.sleep(0.5)  # both listen: etcd's times are those of arrival
        epoch = fence_epoch(stage)
        began_ns = time.time_ns()
        stage.lab.kill(owner, only="pgswarm", number=number)
        claim = etcd.first(lambda line: claimed(line, owner), LIMIT_S)
        fence = docker.first(fenced, LIMIT_S)
    assert fence_epoch(stage) > epoch, "the fence was touched but not raised"
    stage.eventually("the old owner ends", lambda: stage.lab.host(owner).service("pgswarm") is None, 20)
    stage.start_pgswarm(owner)
    return Takeover((claim.at_ns - began_ns) / 1e9, (fence.at_ns - began_ns) / 1e9)


def fence_epoch(stage: Stage) -> int:
    return int(stage.service(f"{NAME}-fence")["Spec"]["Labels"]["pgswarm.epoch"])


def claimed(line: Line, before: str) -> EtcdEvent | None:
    return next((one for one in etcd_changes(line) if not one.deleted and one.value != before), None)


def fenced(line: Line) -> DockerEvent | None:
    event = docker_event(line)
    return event if event.name == f"{NAME}-fence" else None
