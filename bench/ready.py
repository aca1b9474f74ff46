"""Spec written -> three instances Ready, beside the same by hand. One probe, in each container, judges both sides."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bench.figures import Figure
from bench.stage import CPUS, MEMORY_MIB, NAME, PREFIX, Stage
from bench.streams import Stream, docker_event, docker_events, etcd_changes, etcd_events
from clustertest.lab.settings import REPO

GOAL_RATIO = 1.25
BYHAND, BYHAND_SH = "byhand", str(REPO / "clustertest/byhand.sh")
LIMIT_S = 180.0
POLL_S = 0.05

# One process a container and one session: asking costs next to nothing, so it slows neither side down.
PROBE = """
import json, select, sys, time, psycopg2, yaml
with open("/run/secrets/patroni.yml") as file:
    user = yaml.safe_load(file)["postgresql"]["authentication"]["superuser"]
def say(what):
    print(json.dumps({what: time.time_ns()}), flush=True)
link = written = None
while not select.select([sys.stdin], [], [], 0.1)[0]:
    try:
        if link is None:
            link = psycopg2.connect(
                host="/var/run/postgresql", dbname="postgres", user=user["username"], password=user["password"])
            link.autocommit = True
        ask = link.cursor()
        if written is None:
            ask.execute("select pg_is_in_recovery()")
            if ask.fetchone()[0]:
                continue
            ask.execute("create table if not exists bench_probe (at timestamptz)")
            ask.execute("insert into bench_probe values (now())")
            written = True
            say("writable")
        ask.execute(
            "select count(*) from pg_stat_replication where state = 'streaming' and application_name like %s",
            (sys.argv[1] + "%",))
        if ask.fetchone()[0] == int(sys.argv[2]):
            say("streaming")
            break
    except psycopg2.Error:
        link = None
"""


class Arrival:
    """Watches the containers of one database come up on every host, and asks inside each."""

    def __init__(self, stage: Stage, prefix: str, replicas: int) -> None:
        self._stage, self._prefix, self._replicas = stage, prefix, replicas
        self._probes: list[Stream] = []
        self._read: dict[str, int] = dict.fromkeys(stage.hosts, 0)

    def __enter__(self) -> Arrival:
        self._stack = ExitStack()
        now_ns = time.time_ns()
        self._starts = {
            host: self._stack.enter_context(
                docker_events(self._url(host), now_ns, "type=container", "event=start")
            )
            for host in self._stage.hosts
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _url(self, host: str) -> str:
        return self._stage.lab.host(host).docker_url

    def look(self) -> None:
        """Put a probe into every container that has started since the last look."""
        for host, stream in self._starts.items():
            lines = stream.lines(self._read[host])
            self._read[host] += len(lines)
            for event in map(docker_event, lines):
                if event.service.startswith(self._prefix):
                    argv = ["docker", "-H", self._url(host), "exec", "-i", event.id, "python3", "-c", PROBE]
                    argv += [self._prefix, str(self._replicas)]
                    self._probes.append(self._stack.enter_context(Stream(argv)))

    def at_ns(self, what: str) -> int:
        """When `writable` or `streaming` was first true; 0: not yet."""
        said = [json.loads(line.text) for probe in self._probes for line in probe.lines()]
        return min((int(one[what]) for one in said if what in one), default=0)


def measure(stage: Stage, rounds: int) -> Figure:
    """By turns, so that whatever the machine does meanwhile does it to both. Raises: AssertionError, TimeoutError."""
    hand: list[dict[str, float]] = []
    ours: list[dict[str, float]] = []
    stage.remove(NAME)
    byhand("down")
    for number in range(1, rounds + 1):
        hand.append(by_hand(stage))
        byhand("down")
        stage.say(f"round {number}: by hand {hand[-1]['ready']:.1f} s")
        if number > 1:
            stage.remove(NAME)
        ours.append(with_pgswarm(stage))
        stage.say(f"round {number}: pgswarm {ours[-1]['ready']:.1f} s")
    return figure(hand, ours)


def figure(hand: Sequence[Mapping[str, float]], ours: Sequence[Mapping[str, float]]) -> Figure:
    """Pure."""

    def middle(side: Sequence[Mapping[str, float]], what: str) -> float:
        return statistics.median(one[what] for one in side)

    early = sum(one["said"] < one["streaming"] for one in ours)
    return Figure(
        what=f"spec written -> 3 instances on 3 hosts Ready (median of {len(ours)})",
        ours=middle(ours, "ready"),
        unit="s",
        reference=middle(hand, "ready"),
        goal=GOAL_RATIO,
        goal_is_ratio=True,
        samples={
            **{f"pgswarm {what}": [one[what] for one in ours] for what in ours[0]},
            **{f"by hand {what}": [one[what] for one in hand] for what in hand[0]},
        },
        notes=(
            f"reference: clustertest/byhand.sh, a shell script that does the same: TLS, an etcd user an instance, a "
            f"published port, one role, one database; same image, {CPUS} cpu and {MEMORY_MIB} MiB, same Patroni timing",
            f"writable primary: {middle(ours, 'writable'):.1f} s, by hand {middle(hand, 'writable'):.1f} s; "
            f"both replicas stream: {middle(ours, 'streaming'):.1f} s, by hand {middle(hand, 'streaming'):.1f} s",
            f"ours ends when status says so too; before it are {middle(ours, 'written'):.1f} s from the start of "
            "`pgswarm apply` until the spec is in etcd",
            f"the three pgswarm processes used {middle(ours, 'cpu'):.1f} s of processor meanwhile",
            f"status said Ready before SQL agreed in {early} of {len(ours)} rounds",
        ),
    )


def by_hand(stage: Stage) -> dict[str, float]:
    """Seconds from the script's first command."""
    with Arrival(stage, f"{BYHAND}-", 2) as arrival:
        argv = [BYHAND_SH, "create"]
        with Stream(argv, byhand_environment()) as script:
            began_ns = script.first(began, 30)
            wait(arrival, lambda: bool(arrival.at_ns("streaming")), "replicas that stream")
        seen = {what: (arrival.at_ns(what) - began_ns) / 1e9 for what in ("writable", "streaming")}
    return {**seen, "ready": seen["streaming"]}


def with_pgswarm(stage: Stage) -> dict[str, float]:
    """Seconds from the moment at which the spec was in etcd; `written`: those before it."""
    path = f"{PREFIX}specs/database/{NAME}"
    with (
        Arrival(stage, f"{NAME}-n1-", 2) as arrival,
        etcd_events(stage.environment, path, stage.revision() + 1) as etcd,
    ):
        began_ns, used_s = time.time_ns(), stage.cpu_s()
        stage.apply(stage.spec())
        written_ns = etcd.first(lambda line: next((e.at_ns for e in etcd_changes(line)), None), 10)
        said_ns = 0

        def ready() -> bool:
            nonlocal said_ns
            if not said_ns and stage.says_ready(NAME):
                said_ns = time.time_ns()
            return bool(said_ns and arrival.at_ns("streaming"))

        wait(arrival, ready, "Ready")
        seen = {what: (arrival.at_ns(what) - written_ns) / 1e9 for what in ("writable", "streaming")}
    said_s = (said_ns - written_ns) / 1e9
    return {
        **seen,
        "written": (written_ns - began_ns) / 1e9,
        "said": said_s,
        "ready": max(said_s, seen["streaming"]),
        "cpu": stage.cpu_s() - used_s,
    }


def wait(arrival: Arrival, done: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    asked_s = 0.0
    while True:
        arrival.look()
        # Ten times a second is enough for asking; new containers are to be met sooner.
        if time.monotonic() - asked_s >= 0.1:
            asked_s = time.monotonic()
            if done():
                return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no {what} within {LIMIT_S:.0f} s")
        time.sleep(POLL_S)


def began(line: Any) -> int | None:
    found = re.match(r"began (\d+)$", line.text)
    return int(found[1]) if found else None


def byhand_environment() -> dict[str, str]:
    return {**os.environ, "NAME": BYHAND, "CPUS": str(CPUS), "MEMORY": f"{MEMORY_MIB}M"}


def byhand(verb: str) -> None:
    subprocess.run(
        [BYHAND_SH, verb], env=byhand_environment(), stdout=subprocess.DEVNULL, timeout=120, check=True
    )
