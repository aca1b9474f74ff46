"""
Positions and lag, read from Patroni's own records when somebody asks. Pure.

They move all the time, so nobody writes them into status: that would be an etcd write a pass. Patroni tells them
each `loopWait` on a lease of `ttl`, so a value is that old at most; each member tells its own at its own moment.
"""

from __future__ import annotations

from crds.status import DatabaseStatus, InstanceStatus, NodeStatus
from reconcilers import paths, reading
from reconcilers.observed import MemberView, PatroniCluster
from reconcilers.ports import Records
from reconcilers.resources import naming


def positioned(status: DatabaseStatus, records: Records, database: str) -> DatabaseStatus:
    """The status with what Patroni says now of each instance's position."""
    nodes = tuple(_node(node, records, naming.scope(database, node.name)) for node in status.nodes)
    return status.model_copy(update={"nodes": nodes})


def _node(node: NodeStatus, records: Records, scope: str) -> NodeStatus:
    cluster = reading.patroni_cluster(prefix := paths.patroni(scope), records.under(prefix))
    instances = tuple(_instance(one, cluster) for one in node.instances)
    return node.model_copy(update={"instances": instances})


def _instance(one: InstanceStatus, cluster: PatroniCluster) -> InstanceStatus:
    mine, leader = cluster.members.get(one.name), cluster.members.get(cluster.leader or "")
    lsn = written(mine.lsn) if mine is not None and mine.lsn else None
    return one.model_copy(update={"lsn": lsn, "lag_bytes": _lag_bytes(mine, leader)})


def _lag_bytes(mine: MemberView | None, leader: MemberView | None) -> int | None:
    """None on the primary itself, and while either position is unknown."""
    if mine is None or leader is None or mine.name == leader.name or not mine.lsn or not leader.lsn:
        return None
    # The replica may have told its position later than the primary: that is no lag, and none below zero.
    return max(0, leader.lsn - mine.lsn)


def written(lsn: int) -> str:
    """A position as Postgres writes it: 50331648 is 0/3000000."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
