"""
Compare what is wanted with what is observed. Pure: no await, no clock, no randomness, no logging.

The order of the gates is the order of safety: fence, sweep, spec, then what instances need, then instances,
then what nobody needs any more.
"""

from __future__ import annotations

from crds.accepted import Accepted
from reconcilers.actions import Action, Plan, Waiting
from reconcilers.database import acceptance, halt, health, removal, rollout, unseen
from reconcilers.observed import Observed
from reconcilers.resources import (
    account,
    blob,
    credential,
    dcs,
    fence,
    initialization,
    instance_record,
    network,
    port,
    service,
    subnet,
    topology,
)
from reconcilers.resources.topology import Instance


def plan(observed: Observed) -> Plan:
    """The frontier: every action whose prerequisites the snapshot shows, and what waits for what."""
    halted = halt.decide(observed)
    if halted is not None:
        return halted
    if observed.accepted_unreadable:
        message = "the accepted spec was written by another version, or spoilt: everything stays as it is"
        return Plan(waiting=(Waiting("spec", observed.key.name, "AcceptedUnreadable", message),))
    step = acceptance.decide(observed)
    if isinstance(step, Action):
        return Plan((step,))
    waiting = (step,) if isinstance(step, Waiting) else ()
    accepted = observed.accepted
    if accepted is None:
        return Plan(waiting=waiting) if observed.spec.present else removal.orphans(observed)
    closing = accepted.state != "active"
    torn_down = closing and removal.torn_down(observed, accepted)
    fencing = [] if torn_down else [*fence.raise_fence(observed, closing=closing), *fence.sweep(observed)]
    if fencing:
        return Plan.of(*fencing, *waiting)
    if closing:
        rest = removal.plan(observed, accepted)
        return Plan(rest.actions, (*waiting, *rest.waiting))
    if accepted.spec.paused:
        return Plan(
            waiting=(*waiting, Waiting("database", observed.key.name, "Paused", "spec.paused is true"))
        )
    rest = _active(observed, accepted)
    return Plan(rest.actions or unseen.again(observed), (*waiting, *rest.waiting))


def _active(observed: Observed, accepted: Accepted) -> Plan:
    actions: list[Action] = credential.missing(observed, accepted)
    waiting: list[Waiting] = []
    for allocation in (
        subnet.allocate(observed, observed.subnet_pool),
        port.allocate(observed, accepted),
    ):
        if isinstance(allocation, Waiting):
            waiting.append(allocation)
        else:
            actions += allocation
    held = subnet.held(observed)
    if held is not None:
        actions += network.diff(observed, held)
        actions += dcs.diff(observed, accepted, held)
    actions += initialization.diff(observed, accepted)
    waiting += initialization.waits(observed, accepted)
    wanted = topology.instances(observed.key.name, accepted)
    actions += account.diff(observed, wanted)
    if not credential.complete(observed, accepted):
        return Plan(tuple(actions), tuple(waiting))
    actions += _records(observed, accepted, wanted)
    files = {one.name: blob.files(observed, one, str(accepted.spec.postgres.major)) for one in wanted}
    every_file = [file for name in sorted(files) for file in files[name]]
    actions += blob.diff(observed, every_file)
    steps = rollout.plan(
        observed, accepted, [_want(observed, accepted, one, files[one.name]) for one in wanted]
    )
    actions += steps.actions
    waiting += steps.waiting
    surplus = _surplus(observed, accepted, wanted, every_file)
    return Plan((*actions, *surplus.actions), (*waiting, *surplus.waiting))


def _records(observed: Observed, accepted: Accepted, wanted: tuple[Instance, ...]) -> list[Action]:
    target = rollout.restart_target(observed, accepted, wanted)
    return instance_record.diff(
        observed,
        [
            instance_record.desired(observed, accepted, one, restart_pending=one.name == target)
            for one in wanted
        ],
    )


def _want(
    observed: Observed, accepted: Accepted, one: Instance, files: tuple[blob.File, ...]
) -> rollout.Want:
    held, host = subnet.held(observed), observed.hosts.get(one.host)
    found = network.current(observed, held) if held is not None else None
    number = port.held(observed, accepted)
    missing = [
        word
        for word, there in (
            (f"the Swarm does not know host {one.host}", host is not None and host.node is not None),
            ("the overlay network does not exist yet", found is not None),
            ("its port is not allocated yet", accepted.spec.port is None or number is not None),
        )
        if not there
    ]
    if missing or found is None or host is None or host.node is None:
        return rollout.Want(one, None, "; ".join(missing))
    spec = service.desired(
        observed, accepted, one, node_id=host.node.id, network_id=found.id, files=files, port=number
    )
    return rollout.Want(one, spec, _blocked(observed, accepted, one))


def _blocked(observed: Observed, accepted: Accepted, one: Instance) -> str:
    """Why an inert service must not be started yet."""
    seen = observed.instances.get(one.name)
    if one.node in accepted.initialized and health.cluster(observed, one).initialize is None:
        return "Patroni's record that the node has data is being put back"
    if seen is None:
        return f"the agent on {one.host} has not reported"
    if not seen.volume:
        return f"{one.host} has not made the volume"
    if health.cluster(observed, one).config is None:
        return "Patroni's configuration is not written yet"
    if not account.ready(observed, one):
        return "its etcd account does not exist yet"
    return ""


def _surplus(
    observed: Observed, accepted: Accepted, wanted: tuple[Instance, ...], files: list[blob.File]
) -> Plan:
    """
    What nobody wants any more. Nothing is taken away before everything wanted serves, and no primary before it
    has handed over.
    """
    keep = frozenset(one.name for one in wanted)
    extra = [name for name in observed.services if name not in keep and name != fence.desired(observed).name]
    if not health.all_serve(observed, accepted):
        late = [
            Waiting(service.KIND, name, "RemovedLater", "until every wanted instance serves")
            for name in sorted(extra)
        ]
        return Plan(waiting=tuple(late))
    for name in sorted(extra):
        leader = _as_leader(observed, accepted, name)
        if leader is not None:
            moved = rollout.switchover(observed, accepted, leader)
            if isinstance(moved, Action):
                return Plan((moved,))
            if isinstance(moved, Waiting):
                return Plan(waiting=(moved,))
    if extra:
        return removal.surplus_services(observed, keep)
    records = {(one.host, one.name) for one in wanted}
    return Plan(
        (
            *blob.surplus(observed, files),
            *account.surplus(observed, wanted),
            *instance_record.surplus(observed, records),
            *port.surplus(observed, accepted),
        )
    )


def _as_leader(observed: Observed, accepted: Accepted, name: str) -> Instance | None:
    """The surplus instance as a value if it leads its node, else None."""
    view = observed.services[name]
    for scope in topology.scopes(observed.key.name, accepted):
        if observed.patroni.get(scope) is not None and observed.patroni[scope].leader == name:
            node = scope.removeprefix(f"{observed.key.name}-")
            return Instance(name, observed.key.name, node, "", scope, "", view.spec.image, bootstraps=False)
    return None
