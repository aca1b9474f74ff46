"""What pgswarm does in a minute in which nothing happens, as etcd's watch and a door before Docker's socket see it."""

from __future__ import annotations

import re
import time
from collections import Counter
from contextlib import ExitStack

from bench.figures import Figure
from bench.proxy import CountingProxy
from bench.stage import NAME, PREFIX, Stage
from bench.streams import etcd_changes, etcd_events

MINUTE_S = 60.0
RESYNC = "10s"
"""Of the processes that are measured: six times the passes of the default, so six times the chance to see one act."""
HEARTBEAT = ("GET /info", "GET /version", "GET /networks/bridge")
"""What the host's heartbeat asks twice a minute; no pass does."""
PASSES = re.compile(
    r'^pgswarm_reconciles_total\{controller="(database|instance)",outcome="[^"]*"\} (\S+)', re.M
)


def measure(stage: Stage) -> list[Figure]:
    """Raises: AssertionError, TimeoutError."""
    stage.have_database()
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(CountingProxy(host.folder / "counted.sock", host.engine.socket))
            for host in stage.lab.hosts
        ]
        for host in stage.lab.hosts:
            stage.stop_pgswarm(host.name)
            url = f"unix://{host.folder / 'counted.sock'}"
            stage.start_pgswarm(host.name, {"PGSWARM_DOCKER": url, "PGSWARM_RESYNC": RESYNC})
        try:
            stage.settle()
            stage.await_ready(NAME)
            time.sleep(15)
            return window(stage, proxies)
        finally:
            for name in stage.hosts:
                stage.stop_pgswarm(name)
                stage.start_pgswarm(name)


def window(stage: Stage, proxies: list[CountingProxy]) -> list[Figure]:
    """One minute."""
    calls, passes = total(proxies), passed(stage)
    with etcd_events(stage.environment, PREFIX, stage.revision() + 1) as etcd:
        time.sleep(MINUTE_S)
        writes = [change.key for line in etcd.lines() for change in etcd_changes(line)]
    calls, passes = total(proxies) - calls, passed(stage) - passes
    heartbeat = sum(calls[name] for name in HEARTBEAT)
    by_passes = Counter({name: count for name, count in calls.items() if name not in HEARTBEAT})
    seen = f"{passes} passes in that minute (resync {RESYNC}), {len(proxies)} processes"
    return [
        Figure(
            what="etcd writes in a quiet minute",
            ours=len(writes),
            unit="",
            goal=0,
            notes=(f"{seen}; keys under {PREFIX}, Patroni's own not counted", *sorted(set(writes))[:8]),
        ),
        Figure(
            what="Docker calls by passes in a quiet minute",
            ours=by_passes.total(),
            unit="",
            goal=0,
            notes=(
                f"counted at the socket; the heartbeat's {heartbeat} calls for the host's facts come on top",
                *(f"{name}: {count}" for name, count in by_passes.most_common(8)),
            ),
        ),
    ]


def total(proxies: list[CountingProxy]) -> Counter[str]:
    return sum((proxy.calls() for proxy in proxies), Counter())


def passed(stage: Stage) -> int:
    """Passes over databases and instances so far, all processes together."""
    pages = (stage.get("/metrics", host) for host in stage.hosts)
    return int(sum(float(value) for page in pages for _, value in PASSES.findall(page)))
