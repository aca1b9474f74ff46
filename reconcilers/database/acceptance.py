"""From the spec that somebody wrote to the spec in force: accept, keep the last good one, retain, delete."""

from __future__ import annotations

from crds.accepted import Accepted
from crds.catalogue import NoImage, resolve
from crds.database import Database, DatabaseSpec, NodeSpec, check_against_hosts
from crds.problems import SpecProblem
from crds.text import placed
from reconcilers import paths
from reconcilers.actions import Action, ChangeClass, Waiting, Why, WriteRecords
from reconcilers.observed import Observed
from reconcilers.ports import Fence, Put
from reconcilers.resources import initialization

KIND = "spec"
MASS_DELETION_MIN = 3
"""Below this many at once it is a person tidying up, not an etcd that was emptied."""


def decide(observed: Observed) -> Action | Waiting | None:
    """The one step from spec to accepted that is due, why it waits, or None when accepted is as it should be."""
    accepted = observed.accepted
    if observed.spec.database is not None:
        return _accept(observed, observed.spec.database)
    if observed.spec.present or accepted is None or accepted.state != "active":
        return None
    return _dismiss(observed, accepted)


def problems(observed: Observed) -> tuple[SpecProblem, ...]:
    """Why the spec as written cannot be accepted; empty when it can or already is."""
    reading, accepted = observed.spec, observed.accepted
    if reading.database is None:
        return reading.problems
    if accepted is not None and accepted.spec_hash == reading.hash and accepted.state == "active":
        return ()
    spec = reading.database.spec
    # A host that is down is known (the Swarm still lists it); one that nobody ever saw is a mistake.
    # One that stands in the accepted spec may be gone for good: that is no reason to refuse another change.
    known = {
        *observed.hosts,
        *(_hosts(accepted) if accepted is not None and accepted.state == "active" else ()),
    }
    found = (
        *check_against_hosts(spec, observed.key.name, known, observed.ports),
        *_closed_hosts(observed, spec),
        *_forbidden_changes(accepted, spec),
        *_left_behind(accepted, spec),
        *_no_image(observed, spec),
    )
    return placed(reading.text, found) if found and reading.text else found


def _accept(observed: Observed, database: Database) -> Action | Waiting | None:
    old, reading = observed.accepted, observed.spec
    if old is not None and old.state == "active" and old.spec_hash == reading.hash:
        if old.stopped_at:
            back = old.model_copy(update={"stopped_at": ""})
            return _write(observed, back, Why.OBSERVED, "the spec is back")
        return None
    if old is not None and old.state == "deleting":
        return Waiting(
            KIND,
            observed.key.name,
            "DeletionInProgress",
            "the earlier database of this name is being removed",
        )
    if problems(observed):
        return None
    new = Accepted(
        spec=database.spec,
        spec_hash=reading.hash,
        revision=reading.revision,
        incarnation=old.incarnation if old is not None else observed.fresh_id,
        since=observed.at if old is None or old.state != "active" else old.since,
        images=_images(observed, old, database.spec),
        births=initialization.births(observed, old, database.spec),
        departed=_departed(old, database.spec),
        initialized=old.initialized if old is not None else {},
    )
    detail = f"revision {reading.revision}"
    if old is not None and old.state == "retained":
        detail += f", adopting the data of {old.incarnation}"
    why = Why.ABSENT if old is None else Why.SPEC_CHANGED
    return _write(observed, new, why, detail)


def _departed(old: Accepted | None, spec: DatabaseSpec) -> dict[str, tuple[str, ...]]:
    """Where data lies that the spec names no more."""
    if old is None:
        return {}
    wanted = {node.name: set(node.hosts) for node in spec.nodes}
    had = {node.name: node.hosts for node in old.spec.nodes}
    found = {
        node: tuple(sorted({*had.get(node, ()), *old.departed.get(node, ())} - wanted.get(node, set())))
        for node in sorted({*had, *old.departed})
    }
    return {node: hosts for node, hosts in found.items() if hosts}


def _images(observed: Observed, old: Accepted | None, spec: DatabaseSpec) -> dict[str, str]:
    """Image per node. Raises NoImage."""
    return {node.name: _image(observed, old, spec, node) for node in spec.nodes}


def _image(observed: Observed, old: Accepted | None, spec: DatabaseSpec, node: NodeSpec) -> str:
    """The image stays pinned until version, flavour or override change, whatever the catalogue says by then."""
    asked = (spec.postgres.version, spec.postgres.flavour, spec.postgres.image)
    before = old.spec.postgres if old is not None else None
    if old is not None and before is not None and node.name in old.images:
        unchanged = asked == (before.version, before.flavour, before.image)
        if unchanged:
            return old.images[node.name]
    return spec.postgres.image or resolve(spec.postgres.version, spec.postgres.flavour, observed.catalogue)


def _dismiss(observed: Observed, old: Accepted) -> Action | Waiting:
    deletion = old.spec.deletion
    confirmed = observed.confirmation == old.incarnation
    if deletion.protected:
        message = (
            "the spec is gone but deletion.protected is true: write the spec again, without it to delete"
        )
        return Waiting(KIND, observed.key.name, "Protected", message, ChangeClass.DATA_RISK)
    if not confirmed and old.stopped_at:
        message = (
            f"most specs were gone at once ({old.stopped_at}); it is not removed until "
            f"`pgswarm confirm-deletion {observed.key.name}`, and goes on when its spec is back"
        )
        return Waiting(KIND, observed.key.name, "MassDeletionStopped", message, ChangeClass.DATA_RISK)
    if not confirmed and mass_deletion(observed):
        # Written down: what happens to the others from now on, confirmed or back again, must not release this one.
        fleet = observed.fleet
        stopped = old.model_copy(update={"stopped_at": observed.at})
        return _write(
            observed, stopped, Why.OBSERVED, f"{fleet.vanished} of {fleet.active} specs are gone at once"
        )
    state = "deleting" if deletion.policy == "delete" else "retained"
    new = old.model_copy(update={"state": state, "since": observed.at, "stopped_at": ""})
    # The mirror may be late: a spec that somebody has written again meanwhile must not lose its data.
    gone = Fence(paths.spec(observed.key), 0, owner=False)
    return _write(observed, new, Why.DELETED, f"the spec is gone, policy {deletion.policy}", gone)


def mass_deletion(observed: Observed) -> bool:
    """More than half of all databases lost their spec: an emptied or restored etcd looks like this (S15)."""
    fleet = observed.fleet
    return fleet.vanished >= MASS_DELETION_MIN and 2 * fleet.vanished > fleet.active


def _write(observed: Observed, new: Accepted, why: Why, detail: str, *fences: Fence) -> Action:
    put = Put(
        paths.accepted(observed.key), new.model_dump_json().encode(), expected=observed.accepted_revision
    )
    risk = ChangeClass.DATA_RISK if new.state == "deleting" else ChangeClass.NONE
    return WriteRecords(
        kind=KIND, name=observed.key.name, why=why, detail=detail, change=risk, writes=(put,), fences=fences
    )


def _closed_hosts(observed: Observed, spec: DatabaseSpec) -> tuple[SpecProblem, ...]:
    """Hosts that take no new instance; what is on them already stays."""
    had = _hosts(observed.accepted) if observed.accepted is not None else set()
    return tuple(
        SpecProblem(
            line=0,
            column=0,
            path=f"spec.nodes[{n}].hosts[{h}]",
            message=f"host {host} is unschedulable, or its Host spec is invalid: it takes no new instance",
            fix="use another host, or mend its Host spec (`pgswarm get --hosts`)",
        )
        for n, node in enumerate(spec.nodes)
        for h, host in enumerate(node.hosts)
        if host not in had and host in observed.hosts and not observed.hosts[host].schedulable
    )


def _no_image(observed: Observed, spec: DatabaseSpec) -> tuple[SpecProblem, ...]:
    try:
        _images(observed, observed.accepted, spec)
    except NoImage as exc:
        return exc.problems
    return ()


def _hosts(accepted: Accepted) -> set[str]:
    return {host for node in accepted.spec.nodes for host in node.hosts}


def _left_behind(old: Accepted | None, spec: DatabaseSpec) -> tuple[SpecProblem, ...]:
    """Retained data lies on its hosts' disks and nothing runs that it could be copied from."""
    if old is None or old.state != "retained":
        return ()
    had = {node.name: node.hosts for node in old.spec.nodes if node.name in old.initialized}
    return tuple(
        SpecProblem(
            line=0,
            column=0,
            path=f"spec.nodes[{number}].hosts",
            message=f"the retained data of {node.name} is on none of these hosts",
            fix=f"name one of {', '.join(had[node.name])} as well; take it out again once the others serve",
        )
        for number, node in enumerate(spec.nodes)
        if node.name in had and not set(had[node.name]) & set(node.hosts)
    )


def _forbidden_changes(old: Accepted | None, spec: DatabaseSpec) -> tuple[SpecProblem, ...]:
    if old is None:
        return ()
    before, after = old.spec.postgres.major, spec.postgres.major
    if before == after:
        return ()
    return (
        SpecProblem(
            line=0,
            column=0,
            path="spec.postgres.version",
            message=f"Postgres {before} cannot become {after}: a major upgrade of existing data is not available",
            fix=f"keep version {before}, or create another database",
        ),
    )
