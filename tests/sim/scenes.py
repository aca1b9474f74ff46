"""What the stories of a simulated cluster are told with: specs, a database that is up, what is left of one."""

from __future__ import annotations

import json
from typing import Any

from reconcilers import paths
from reconcilers.resources import naming
from tests.sim.oracles import FOREIGN
from tests.sim.swarm_world import Service
from tests.sim.world import HOSTS, World

FIRST, SECOND, THIRD = (naming.instance("orders", "n1", host) for host in HOSTS)
SCOPE = "orders-n1"


def spec(hosts: tuple[str, ...] = HOSTS, name: str = "orders", **fields: Any) -> str:
    """A Database; `fields` are those of its spec."""
    body = {
        "postgres": {"version": "17"},
        "nodes": [{"name": "n1", "hosts": list(hosts)}],
        "databases": [{"name": "orders", "owner": "app"}],
        "roles": [{"name": "app", "login": True}],
        **fields,
    }
    return json.dumps(
        {"apiVersion": "pgswarm.dev/v1", "kind": "Database", "metadata": {"name": name}, "spec": body}
    )


async def up(world: World, text: str = "", *, settled: bool = True) -> None:
    """Write the spec and wait until it is Ready; `settled`: and nothing happens any more."""
    revision = world.apply(text or spec())
    await world.until(lambda: world.ready(revision), what="Ready")
    if settled:
        await world.quiet()


def memory_of(service: Service) -> int:
    return int(service.payload["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"])


def left_of(world: World, name: str = "orders") -> list[str]:
    """Whatever there is of a database, events apart."""
    objects = [
        *(s.payload["Name"] for s in world.swarm.services.values()),
        *(n.name for n in world.swarm.networks.values()),
        *(b.name for b in (*world.swarm.secrets.values(), *world.swarm.configs.values())),
        *(volume for engine in world.swarm.engines.values() for volume in engine.volumes),
        *world.etcd.accounts,
    ]
    records = (r.path for r in world.etcd.under("") if name in r.path or r.value.decode() == name)
    ours = (one for one in objects if name in one and not one.startswith(FOREIGN))
    return [*ours, *(p for p in records if not p.startswith(paths.EVENTS))]
