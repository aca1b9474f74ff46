"""
Faults at random moments on the lab, while a client writes numbered rows.

Nothing acknowledged may be lost, and everything must come to what the specs say without a hand.

    python -m clustertest.chaos --rounds 100 --seed 1     on a lab of its own; PGSWARM_LAB=attach: on the one that is up
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg

from clustertest.cluster import Cluster, database
from clustertest.lab import Lab
from clustertest.lab.errors import LabError
from tests.record import FLAG, Entry, command, recording

LEDGER, VICTIM = "ledger", "victim"
PORTS = {LEDGER: 6500, VICTIM: 6501}
CONVERGE_S = 300.0
"""Longest that a round may take to be as specified again; two cores for three hosts."""
WHOLE = "host"
TARGETS = ("pgswarm", "dockerd", "etcd", WHOLE)
WRITE_EVERY_S = 0.02
ROUNDS = 100
"""Fewer are a sample."""
BEFORE_S, DOWN_S = (0.0, 4.0), (0.5, 8.0)
"""Between what people change and the fault; how long it lasts."""


class Client:
    """Writes numbered rows to whoever is the primary, and remembers which were acknowledged."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        status = cluster.status(name)["status"]
        hosts = [host.address for host in cluster.lab.hosts]
        self._where: dict[str, Any] = {
            "host": ",".join(hosts),
            "port": ",".join([str(status["endpoints"][0]["port"])] * len(hosts)),
            "user": "app",
            "password": cluster.password(name),
            "dbname": name,
            "sslmode": "require",
            "connect_timeout": 3,
            # A host without power says nothing: the connection to it must end by itself.
            "keepalives_idle": 2,
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "tcp_user_timeout": 5000,
        }
        self.acknowledged: set[int] = set()
        self.refused = 0
        self._next = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Client:
        with self.connect() as connection:
            connection.execute("create table if not exists rows (n bigint primary key)")
            found = connection.execute("select coalesce(max(n), 0) from rows").fetchone()
            self._next = int(found[0]) + 1 if found else 1
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def connect(self, host: str = "", attrs: str = "read-write") -> psycopg.Connection[tuple[Any, ...]]:
        where = dict(self._where)
        if host:
            where |= {"host": host, "port": where["port"].partition(",")[0]}
        return psycopg.connect(**where, target_session_attrs=attrs, autocommit=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self.connect() as connection:
                    doubts: list[str] = []
                    # A commit that stops waiting for its replica is answered with success, and a warning.
                    connection.add_notice_handler(lambda notice: doubts.append(str(notice.message_primary)))  # noqa: B023
                    while not self._stop.wait(WRITE_EVERY_S):
                        number, self._next = self._next, self._next + 1
                        connection.execute("insert into rows values (%s)", (number,))
                        if not doubts:
                            self.acknowledged.add(number)
                        doubts.clear()
            except psycopg.Error:
                self.refused += 1
                self._stop.wait(0.2)

    def lost(self, host: str = "") -> set[int]:
        """Acknowledged rows that are not there; of one host, or of the primary."""
        known = set(self.acknowledged)
        with self.connect(host, "any" if host else "read-write") as connection:
            return known - {n for (n,) in connection.execute("select n from rows")}


@dataclass
class Chaos:
    cluster: Cluster
    client: Client
    choice: random.Random
    say: Callable[[str], None] = print
    took_s: list[float] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    victim: int = 0
    """How many instances it is to have; 0: it is not to be there."""
    memory: int = 256

    def round(self, number: int, of: int) -> None:
        """Raises: AssertionError when a row is lost or something does not come to what is specified."""
        verb = self._change()
        self.changed[verb.partition(" ")[0]] += 1
        time.sleep(self.choice.uniform(*BEFORE_S))
        host, target = self.choice.choice(self.cluster.hosts), self.choice.choice(TARGETS)
        down_s = self.choice.uniform(*DOWN_S)
        self.killed[target] += 1
        self.cluster.lab.kill(host, only=None if target == WHOLE else target)
        time.sleep(down_s)
        self._back(host, target)
        began_s = time.monotonic()
        what = f"round {number}/{of}: {verb}; kill {target} on {host}, back after {down_s:.1f} s"
        self.converge(what)
        self.took_s.append(time.monotonic() - began_s)
        lost = self.client.lost()
        self.lost = len(lost)
        assert not lost, f"{what}: {len(lost)} acknowledged rows are lost: {sorted(lost)[:10]}"
        rows = len(self.client.acknowledged)
        self.say(f"{what}: as specified after {self.took_s[-1]:.1f} s; {rows} rows acknowledged, 0 lost")

    def _back(self, host: str, target: str) -> None:
        """As its supervisor does on a machine: started, and once more if it ended in the meantime."""
        try:
            self.cluster.lab.start(host, only=None if target == WHOLE else target)
        except LabError as error:
            if "runs already" not in str(error):
                raise

    def _change(self) -> str:
        if not self.victim:
            self.victim = self.choice.choice((1, 2, 3))
            self._apply()
            return f"create {self.victim}"
        verb = self.choice.choice(("edit", "scale", "delete", "none"))
        if verb == "edit":
            self.memory = self.choice.choice([size for size in (256, 320, 384) if size != self.memory])
            self._apply()
        elif verb == "scale":
            before, self.victim = self.victim, self.victim % 3 + 1
            self._apply()
            return f"scale {before} to {self.victim}"
        elif verb == "delete":
            self.victim = 0
            self.cluster.pgswarm("delete", VICTIM, "--yes")
        return verb

    def _apply(self) -> None:
        spec = database(
            VICTIM,
            self.cluster.hosts[: self.victim],
            port=PORTS[VICTIM],
            deletion={"policy": "delete"},
            resources={"cpus": "1", "memory": f"{self.memory}MiB"},
        )
        self.cluster.apply(spec)

    def converge(self, what: str, limit_s: float = CONVERGE_S) -> None:
        deadline_s = time.monotonic() + limit_s
        try:
            self.cluster.ready(LEDGER, limit_s)
            left_s = max(1.0, deadline_s - time.monotonic())
            if self.victim:
                self.cluster.ready(VICTIM, left_s)
            else:
                self.cluster.gone(VICTIM, left_s)
                assert self.cluster.services(VICTIM) == []
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}\n{self.cluster.evidence()}") from None

    def counted(self) -> dict[str, Any]:
        """What is kept of the rounds until now; times in seconds, of the rounds that came to what was specified."""
        took = sorted(self.took_s)
        times = {}
        if took:
            p95_s = took[min(len(took) - 1, round(0.95 * len(took)))]
            times = {"p50_s": statistics.median(took), "p95_s": p95_s, "worst_s": took[-1]}
        return {
            "rounds": len(took),
            "rows_acknowledged": len(self.client.acknowledged),
            "rows_lost": self.lost,
            "not_connected": self.client.refused,
            "changed": dict(self.changed),
            "killed": dict(self.killed),
            **{name: round(seconds, 1) for name, seconds in times.items()},
        }

    def summary(self) -> str:
        said = self.counted()
        return (
            f"{said['rounds']} rounds: as specified after p50 {said['p50_s']} s, p95 {said['p95_s']} s, worst "
            f"{said['worst_s']} s; {said['rows_acknowledged']} rows acknowledged, {said['rows_lost']} lost, "
            f"{said['not_connected']} times not connected"
        )


def begin(cluster: Cluster) -> None:
    """The database that is written to. No commit without a second copy: what is acknowledged is in two places."""
    cluster.apply(
        database(
            LEDGER,
            cluster.hosts,
            port=PORTS[LEDGER],
            patroni={"synchronous": "strict"},
            deletion={"policy": "delete"},
        )
    )
    cluster.ready(LEDGER)


def end(cluster: Cluster, client: Client) -> None:
    """Each copy has every row, and nothing of either database is left."""
    for host in cluster.lab.hosts:
        cluster.eventually(f"{host.name} has every row", lambda at=host.address: not client.lost(at), 60)  # type: ignore[misc]
    for name in (LEDGER, VICTIM):
        cluster.pgswarm("delete", name, "--yes", check=False)
    for name in (LEDGER, VICTIM):
        cluster.gone(name, CONVERGE_S)


def run(
    cluster: Cluster,
    rounds: int,
    seed: int,
    *,
    minutes: float,
    say: Callable[[str], None],
    entry: Entry | None = None,
) -> str:
    """
    Args:
        entry: Is told of every round.

    Raises: AssertionError with the round that failed.
    """
    deadline_s = time.monotonic() + minutes * 60
    entry = entry or Entry()
    entry.counts.update(rounds=0, rounds_of=rounds, seed=seed)
    if rounds < ROUNDS:
        entry.sampled.append(f"{rounds} of {ROUNDS} rounds")
    begin(cluster)
    with Client(cluster, LEDGER) as client:
        chaos = Chaos(cluster, client, random.Random(seed), say)
        for number in range(1, rounds + 1):
            if time.monotonic() > deadline_s:
                say(f"{minutes:.0f} minutes are over after {number - 1} of {rounds} rounds")
                entry.cut_short = True
                break
            try:
                chaos.round(number, rounds)
            finally:
                entry.counts.update(chaos.counted())
    end(cluster, client)
    entry.passed = True
    return chaos.summary()


def main(argv: Sequence[str]) -> int:
    """Exit 0: nothing was lost and everything came to what was specified."""
    parser = argparse.ArgumentParser(
        prog="python -m clustertest.chaos", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=120.0, help="begin no round after this long")
    parser.add_argument(FLAG, action="store_true", help="keep what it came to in docs/reliability.json")
    args = parser.parse_args(argv)
    with ExitStack() as stack:
        attach = os.environ.get("PGSWARM_LAB") == "attach"
        cluster = Cluster(Lab.attach() if attach else stack.enter_context(Lab.up(hosts=3)))
        entry = stack.enter_context(
            recording("chaos", command("clustertest.chaos", argv), wanted=args.record)
        )
        try:
            print(
                run(
                    cluster,
                    args.rounds,
                    args.seed,
                    minutes=args.minutes,
                    say=lambda text: print(text, flush=True),
                    entry=entry,
                )
            )
        except AssertionError as error:
            print(f"FAILED, seed {args.seed}: {error}", flush=True)
            entry.cut_short = entry.counts["rounds"] < args.rounds
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
