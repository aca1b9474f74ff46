"""What many databases may rely on, played with a `Fleet` in virtual time: what is measured, and what it may be."""

from __future__ import annotations

import asyncio
from statistics import median

from crds.meta import Key
from reconcilers import paths
from tests.scale.virtual import Fleet

HOUR_S, MINUTE_S = 3600.0, 60.0
TTL_S, GRACE_S = 10.0, 2.0
"""Of a session's lease, and what everything else may take until all that it held is owned again."""
UNFAIR_MAX = 5.0
DELAY_MAX_S = 2.0
"""How much longer others may wait, at p99, when one among them is in trouble."""
NONE, POISON, DEAF = "none", "a poisoned spec", "a host that does not answer"
TROUBLES = (NONE, POISON, DEAF)
LATE_S, LATE_EACH_S = 120.0, 0.1
"""Virtual seconds after which a wait is given up, and what is added for each database."""
SETTLED_S = 180.0


async def steady_hour(one: Fleet) -> int:
    """Records written and calls that change something, in an hour in which nothing happens."""
    await one.world.quiet(within_s=SETTLED_S)
    effects, revision = len(one.world.effects), one.world.etcd.revision
    for minute in range(int(HOUR_S / MINUTE_S)):
        one.say(f"steady hour: minute {minute}")
        await asyncio.sleep(MINUTE_S)
    return max(len(one.world.effects) - effects, one.world.etcd.revision - revision)


async def death(one: Fleet) -> list[float]:
    """A controller dies whose lease has just been renewed: seconds until each of its databases is owned by another."""
    victim = one.owner(one.names[0])
    lost = [name for name in one.names if one.owner(name) == victim]
    assert len(lost) > len(one.names) / 6, f"only {len(lost)} databases belong to {victim}"
    (client,) = one.world.alive(victim)
    one.world.etcd.renew_all()
    one.world.kill(client)
    await asyncio.sleep(0.01)
    return await one.times_s("owned again", one.owned, lost, LATE_S)


async def rebirth(one: Fleet) -> None:
    """It comes back and has its databases again."""
    (gone,) = {client.partition("#")[0] for client in one.world.running} - {
        client.partition("#")[0] for client in one.world.alive()
    }
    one.world.start(gone)
    await one.times_s("taken over", one.reported, one.names, _late_s(one))
    await one.world.quiet(within_s=_late_s(one))


async def edits(one: Fleet, trouble: str) -> list[float]:
    """Every spec is edited at the same moment: seconds until each is Ready, without those in trouble."""
    troubled = one.names[7]
    names = [name for name in one.names if name != troubled]
    if trouble == DEAF:
        deaf = one.host(troubled)
        names = [name for name in names if one.host(name) != deaf]
        one.deafen(deaf)
    for name in one.names:
        _edit(one, name, f"{TROUBLES.index(trouble) + 8}MB")
    whole = one.world.etcd.get(_spec(troubled))
    assert whole is not None
    if trouble == POISON:
        one.world.etcd.put(whole.path, b"\x00: [")
    took_s = await one.times_s(f"edited, trouble: {trouble}", one.reported, names, _late_s(one))
    if trouble == POISON:
        one.world.etcd.put(whole.path, whole.value)
    one.deafen("")
    await one.times_s("out of trouble", one.reported, one.names, _late_s(one))
    await one.world.quiet(within_s=SETTLED_S)
    return took_s


def unfairness(took_s: list[float]) -> float:
    return max(took_s) / median(took_s)


def _late_s(one: Fleet) -> float:
    return LATE_S + LATE_EACH_S * len(one.names)


def _spec(name: str) -> str:
    return paths.spec(Key("database", name))


def _edit(one: Fleet, name: str, work_mem: str) -> None:
    record = one.world.etcd.get(_spec(name))
    assert record is not None
    version, line = b'    version: "17"\n', b"    parameters: {work_mem: %s}\n"
    before, _, after = record.value.partition(version)
    kept = b"".join(line for line in after.splitlines(keepends=True) if b"work_mem" not in line)
    one.world.etcd.put(record.path, before + version + line % work_mem.encode() + kept)
