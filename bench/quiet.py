"""What a pass with nothing to do costs, as etcd's watch and a door before Docker's socket see it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.figures import Figure
from bench.proxy import CountingProxy
from bench.stage import NAME, PREFIX, Stage
from bench.streams import etcd_changes, etcd_events

POKES, POKE_S = 30, 1.0
POKED = f"/patroni/{NAME}-n1/bench-poke"
"""A record beside Patroni's that means nothing: a change of it wakes the owner and each agent, for nothing."""
NEVER = "24h"
MINUTE_S = 60.0
CALM_S = 15.0
"""After the processes have started, until the last of what starting causes is over."""
HEARTBEAT = ("GET /info", "GET /version", "GET /networks/bridge")
"""What the host's heartbeat asks every ten seconds; no pass does."""
PASSES = re.compile(
    r'^pgswarm_reconciles_total\{controller="(database|instance)",outcome="[^"]*"\} (\S+)', re.M
)


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in some time."""

    passes: int
    writes: tuple[str, ...]
    """Key of each record under pgswarm's prefix that was written or removed."""
    calls: Counter[str]

    @property
    def by_heartbeat(self) -> int:
        return sum(self.calls[name] for name in HEARTBEAT)

    @property
    def by_passes(self) -> Counter[str]:
        return Counter({name: count for name, count in self.calls.items() if name not in HEARTBEAT})


def measure(stage: Stage) -> list[Figure]:
    """Raises: AssertionError, TimeoutError."""
    stage.have_database()
    try:
        with behind_doors(stage, {}) as proxies:
            quiet = window(stage, proxies, lambda: time.sleep(MINUTE_S))
        with behind_doors(stage, {"PGSWARM_RESYNC": NEVER}) as proxies:
            poked = window(stage, proxies, lambda: poke(stage))
    finally:
        for name in stage.hosts:
            stage.stop_pgswarm(name)
            stage.start_pgswarm(name)
    return figures(poked, quiet, len(stage.hosts))


@contextmanager
def behind_doors(stage: Stage, extra: dict[str, str]) -> Iterator[list[CountingProxy]]:
    """Every process talks to its engine through a door that counts."""
    with ExitStack() as stack:
        proxies = []
        for host in stage.lab.hosts:
            door = host.folder / "counted.sock"
            proxies.append(stack.enter_context(CountingProxy(door, host.engine.socket)))
            stage.stop_pgswarm(host.name)
            stage.start_pgswarm(host.name, {"PGSWARM_DOCKER": f"unix://{door}", **extra})
        stage.settle()
        stage.await_ready(NAME)
        time.sleep(CALM_S)
        yield proxies


def window(stage: Stage, proxies: list[CountingProxy], meanwhile: Callable[[], None]) -> Window:
    calls, passes = total(proxies), passed(stage)
    with etcd_events(stage.environment, PREFIX, stage.revision() + 1) as etcd:
        meanwhile()
        writes = tuple(change.key for line in etcd.lines() for change in etcd_changes(line))
    return Window(passed(stage) - passes, writes, total(proxies) - calls)


def poke(stage: Stage) -> None:
    """Cause passes that find nothing to do."""
    for number in range(POKES):
        stage.etcdctl("put", POKED, str(number))
        time.sleep(POKE_S)
    stage.etcdctl("del", POKED)
    time.sleep(POKE_S)


def figures(poked: Window, quiet: Window, processes: int) -> list[Figure]:
    """Pure."""
    assert poked.passes >= POKES, f"only {poked.passes} passes for {POKES} pokes"
    return [
        Figure(
            what=f"etcd writes by {poked.passes} passes with nothing to do",
            ours=len(poked.writes),
            unit="",
            goal=0,
            notes=(
                f"every key under {PREFIX}; Patroni's own are not ours",
                f"in a minute in which nothing happens: {len(quiet.writes)} writes, {quiet.passes} passes",
                *sorted(set(poked.writes))[:8],
            ),
        ),
        Figure(
            what=f"Docker calls by {poked.passes} passes with nothing to do",
            ours=poked.by_passes.total(),
            unit="",
            goal=0,
            notes=(
                "counted at the socket, without what a host's heartbeat asks every ten seconds",
                f"in a minute in which nothing happens: {quiet.calls.total()} calls by {processes} processes, "
                f"{quiet.by_heartbeat} of them the heartbeats', the rest the resync's one reading",
                *(f"{name}: {count}" for name, count in poked.by_passes.most_common(8)),
            ),
        ),
    ]


def total(proxies: list[CountingProxy]) -> Counter[str]:
    return sum((proxy.calls() for proxy in proxies), Counter())


def passed(stage: Stage) -> int:
    """Passes over databases and instances so far, all processes together."""
    pages = (stage.get("/metrics", host) for host in stage.hosts)
    return int(sum(float(value) for page in pages for _, value in PASSES.findall(page)))
