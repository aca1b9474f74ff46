"""
Taking a database down: services first, then what they used, then (policy delete) data and records.

Each step's precondition is seen in the snapshot, so a crash between any two leaves a state that is simply gone on with.
"""

from __future__ import annotations

from crds.accepted import Accepted
from reconcilers import paths
from reconcilers.actions import (
    Action,
    ChangeClass,
    Plan,
    Waiting,
    Why,
    WriteRecords,
)
from reconcilers.observed import Observed
from reconcilers.ports import Put, Remove, ServiceView, Write
from reconcilers.resources import (
    account,
    blob,
    fence,
    instance_record,
    naming,
    network,
    orphan,
    port,
    service,
    topology,
)

KIND = "database"


def torn_down(observed: Observed, accepted: Accepted) -> bool:
    """Nothing is left in the Swarm, and not only because this list is an old one: it has been written down."""
    return accepted.cleared and not observed.services


def plan(observed: Observed, accepted: Accepted) -> Plan:
    """
    The frontier of tearing down an accepted database that is retained or being deleted.

    The caller has seen to it that the list shows the fence's tombstone with our epoch, or that this is over
    (`torn_down`). So the list is younger than the dismissal, and whatever an older owner had sent to the services that
    it does not show has missed them.
    """
    if _others(observed, frozenset()):
        return surplus_services(observed, keep=frozenset())
    if not accepted.cleared:
        return Plan((_cleared(observed, accepted),))
    attachments = [*network.removal(observed), *blob.surplus(observed, ()), *account.surplus(observed, ())]
    if accepted.state == "retained":
        rest = [
            *port.surplus(observed, accepted),
            *instance_record.surplus(observed, set()),
            *fence.drop(observed),
        ]
        return Plan.of(*attachments, *rest)
    return _delete(observed, accepted, attachments)


def orphans(observed: Observed) -> Plan:
    """
    The frontier of collecting what arrived after a database was deleted for good.

    Why this cannot hit a new database of the same name, whose spec may be written at any moment:

    - Only the owner accepts a spec, only after that it makes anything, and a key has one pass at a time. The pass has
      seen every record up to its own epoch, and an older owner's record is refused since (F1). So while the claim
      stands, nothing in the snapshot belongs to a new database, however old the snapshot is.
    - What is still under way when the claim is lost names an ID in this snapshot, which no new object has. The next
      owner may have adopted such an object by its name. A service: then its version has moved on and the tombstone is
      refused; one with a tombstone is never adopted (F3, F6). A network, secret or config: Swarm removes none that a
      service names. So it goes before the new service is made or not at all; a service that names one which is gone is
      refused, or drift, and either way planned again.
    """
    if not orphan.collectable(observed.services.values()):
        return Plan()
    if _others(observed, frozenset()):
        return surplus_services(observed, keep=frozenset())
    return Plan.of(*(fence.drop(observed) or [*network.removal(observed), *blob.surplus(observed, ())]))


def surplus_services(observed: Observed, keep: frozenset[str]) -> Plan:
    """Tombstone first, remove by ID when its tasks are over (rule F6)."""
    return Plan.of(*(service.leave(observed, view) for view in _others(observed, keep)))


def _others(observed: Observed, keep: frozenset[str]) -> list[ServiceView]:
    """Services that are not kept, by name. The fence is not an instance."""
    fence_name = naming.fence(observed.key.name)
    return [
        view for name, view in sorted(observed.services.items()) if name not in keep and name != fence_name
    ]


def _delete(observed: Observed, accepted: Accepted, attachments: list[Action]) -> Plan:
    name = observed.key.name
    # A host that was taken out of the spec and that nobody knows any more took its data with it.
    gone = (one for one in topology.departed(name, accepted) if one.host in observed.hosts)
    wanted = (*topology.instances(name, accepted), *gone)
    records = instance_record.diff(
        observed, [instance_record.desired(observed, accepted, one, restart_pending=False) for one in wanted]
    )
    if attachments or records:
        return Plan((*attachments, *records))
    waiting = tuple(wait for one in wanted if (wait := _volume(observed, one)) is not None)
    if waiting:
        return Plan(waiting=waiting)
    return Plan.of(*(fence.drop(observed) or [_forget(observed, accepted)]))


def _volume(observed: Observed, one: topology.Instance) -> Waiting | None:
    """Why the instance's data is not yet known to be gone; None when it is."""
    seen = observed.instances.get(one.name)
    desired = observed.desired.get((one.host, one.name))
    if (
        seen is not None
        and desired is not None
        and seen.desired_revision >= desired.revision
        and not seen.volume
    ):
        return None
    known = observed.hosts.get(one.host)
    alive = known is not None and known.record is not None
    message = (
        f"{one.host} removes {one.volume}"
        if alive
        else f"{one.host} is down; {one.volume} goes when it is back"
    )
    return Waiting(
        "volume", one.volume, "VolumeRemoval" if alive else "HostDown", message, ChangeClass.DATA_RISK
    )


def _cleared(observed: Observed, accepted: Accepted) -> Action:
    """Write down that no service is left, before the fence goes that tells a new list from an old one."""
    new = accepted.model_copy(update={"cleared": True})
    put = Put(
        paths.accepted(observed.key), new.model_dump_json().encode(), expected=observed.accepted_revision
    )
    return WriteRecords(
        kind=KIND, name=observed.key.name, why=Why.OBSERVED, detail="no service is left", writes=(put,)
    )


def _forget(observed: Observed, accepted: Accepted) -> Action:
    """The last transaction: every record of the database at once, so that no half of it can be adopted."""
    key = observed.key
    scopes = {*topology.scopes(key.name, accepted), *observed.patroni}
    writes: list[Write] = [Remove(paths.patroni(scope), prefix=True) for scope in sorted(scopes)]
    writes += [Remove(paths.secret(key, ""), prefix=True)]
    writes += [Remove(paths.desired(host, instance)) for host, instance in sorted(observed.desired)]
    writes += [Remove(paths.subnet(cidr)) for cidr in sorted(observed.subnets)]
    writes += [
        Remove(paths.port(*place)) for place, holder in sorted(observed.ports.items()) if holder == key.name
    ]
    writes += [Remove(paths.confirmation(key)), Remove(paths.status(key))]
    writes += [Remove(paths.accepted(key), expected=observed.accepted_revision)]
    return WriteRecords(
        kind=KIND,
        name=key.name,
        why=Why.DELETED,
        change=ChangeClass.DATA_RISK,
        detail=f"incarnation {accepted.incarnation} is gone",
        writes=tuple(writes),
    )
