"""
The world around one `pgswarm run`, in a process of its own: a Swarm, and agents on a hundred hosts that just say yes.

`python -m tests.scale.outside --socket PATH --etcd URL --databases N` writes the fleet into an empty etcd, prints
`ready`, and serves until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from controlplane.clock import SystemClock
from controlplane.stores.connection import Connection
from controlplane.stores.feed import Batch, Change
from controlplane.stores.keys import Keys
from controlplane.stores.store import EtcdStore
from controlplane.stores.watches import EtcdFeed
from crds.instance import InstanceObserved
from reconcilers import paths
from reconcilers.ports import Put, Record
from tests.scale.dockerd import FakeDockerd
from tests.scale.fleet import Holdings, Maker, Terms
from tests.scale.store import FIRST_REVISION, holdings
from tests.sim.swarm_world import SwarmWorld

HOST = "scale"
"""Whose engine this is, and where the process under test lives."""
BATCH_MAX = 100


class Outside:
    def __init__(self, etcd: str, socket: Path) -> None:
        self._connection, keys = Connection([etcd]), Keys()
        self._store = EtcdStore(self._connection, keys, SystemClock())
        self._feed = EtcdFeed(self._connection, keys)
        self._socket = socket
        self.world = SwarmWorld((*Terms().hosts, HOST), SystemClock().now)
        self.dockerd = FakeDockerd(self.world, HOST)
        self.dockerd.control = self.control
        self._owned: set[str] = set()
        self._said: dict[str, tuple[str, str]] = {}
        """Database -> owner and phase in its status."""
        self._writes: Counter[str] = Counter()
        """By the first part of the path, without those of our agents."""
        self._instances: dict[str, InstanceObserved] = {}

    async def run(self, count: int) -> None:
        revision = await self._write(holdings(count))
        self.dockerd.index.rebuild()
        async with self.dockerd.serving(self._socket):
            print("ready", flush=True)
            await self._follow(revision + 1)

    async def _write(self, fleet: list[Holdings]) -> int:
        hosts = [Put(path, value) for path, value in Maker(Terms()).host_records()]
        revision = await self._store.commit(hosts)
        assert revision == FIRST_REVISION - 1, f"etcd was not empty: {revision}"
        for number, one in enumerate(fleet):
            one.put_into(self.world)
            self._instances.update(
                (path, InstanceObserved.model_validate_json(value))
                for path, value in one.records
                if path.startswith(paths.OBSERVED)
            )
            revision = await self._store.commit([Put(path, value) for path, value in one.records])
            assert revision == FIRST_REVISION + number
        return revision

    async def _follow(self, revision: int) -> None:
        async with self._feed.watch("", revision) as watch:
            while True:
                frame = await watch.next()
                if isinstance(frame, Batch):
                    answers = [answer for change in frame.changes if (answer := self._take(change))]
                    for first in range(0, len(answers), BATCH_MAX):
                        await self._store.commit(answers[first : first + BATCH_MAX])

    def _take(self, change: Change) -> Put | None:
        root, _, rest = change.path.partition("/")
        name = change.path.rpartition("/")[2]
        if root != "observed":
            self._writes[root] += 1
        if root == "owners":
            (self._owned.add if isinstance(change, Record) else self._owned.discard)(name)
        elif root == "status" and isinstance(change, Record):
            status = json.loads(change.value)
            self._said[name] = (status["owner"], status["phase"])
        elif root == "desired" and isinstance(change, Record):
            return self._agree(f"{paths.OBSERVED}{rest}", change.mod_revision)
        return None

    def _agree(self, path: str, revision: int) -> Put:
        """The agent has done what is desired."""
        self._instances[path] = self._instances[path].model_copy(update={"desired_revision": revision})
        return Put(path, self._instances[path].model_dump_json().encode())

    def control(self, method: str, parts: list[str], body: Any) -> Any:
        """What the measurement asks, which no engine knows."""
        match method, parts:
            case "GET", ["control", "calls"]:
                return dict(self.dockerd.calls)
            case "GET", ["control", "created"]:
                return self.dockerd.created
            case "GET", ["control", "writes"]:
                return dict(self._writes)
            case "GET", ["control", "progress"]:
                said = [phase for owner, phase in self._said.values() if owner == HOST]
                return {"owned": len(self._owned), "reported": len(said), "ready": said.count("Ready")}
            case "POST", ["control", "drop"]:
                return self.dockerd.drop(body["name"])
        return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.outside")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--etcd", required=True)
    parser.add_argument("--databases", type=int, required=True)
    args = parser.parse_args()

    async def run() -> None:
        await Outside(args.etcd, args.socket).run(args.databases)

    asyncio.run(run())


if __name__ == "__main__":
    main()
