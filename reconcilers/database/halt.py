"""
An owner that meets an epoch newer than its own.

Epochs are revisions of etcd, and they only grow; so either the owner is none any more, or etcd's revision went back: it
was restored from a snapshot, without moving its revision on. Etcd itself tells which: it refuses whatever a deposed
owner writes (F1). If the write below succeeds, etcd went back. Then no epoch and no revision means what it meant, and
nobody goes on by himself, also not once the revisions have caught up.
"""

from __future__ import annotations

from crds.halted import Halted
from reconcilers import paths
from reconcilers.actions import Plan, Waiting, Why, WriteRecords
from reconcilers.observed import Observed
from reconcilers.ports import Put
from reconcilers.resources import fence

KIND = "halt"
REASON = "EtcdWentBack"


def decide(observed: Observed) -> Plan | None:
    """The whole plan of a database that is halted, or is to be; None: go on."""
    if observed.halted is not None:
        return Plan(waiting=(_waiting(observed, observed.halted),))
    newest = fence.newest_epoch(observed)
    if newest <= observed.epoch:
        return None
    found = Halted(epoch=observed.epoch, newest=newest, since=observed.at)
    write = WriteRecords(
        kind=KIND,
        name=observed.key.name,
        why=Why.OBSERVED,
        detail=f"epoch {found.epoch}, and a service has {found.newest}",
        writes=(Put(paths.halted(observed.key), found.model_dump_json().encode(), expected=0),),
    )
    return Plan((write,), (_waiting(observed, found),))


def _waiting(observed: Observed, found: Halted) -> Waiting:
    name = observed.key.name
    message = (
        f"etcd was restored without moving its revision on: the owner's epoch was {found.epoch}, and services of "
        f"{name} were labelled with {found.newest} before ({found.since}); nothing of it is touched. Restore etcd with "
        f"`etcdutl snapshot restore --bump-revision 1000000000 --mark-compacted`, then `pgswarm resume {name}`"
    )
    return Waiting(KIND, name, REASON, message)
