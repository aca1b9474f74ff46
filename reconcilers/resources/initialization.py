"""
Bootstrap happens once in a database's life (S10), and on one host only.

The system identifier of each node is kept in the accepted record. Should Patroni's `initialize` record get lost
later, it is put back *before* any instance starts, so that an empty volume waits for a primary and is not initdb-ed.
Which host may initialise a node is decided once (its birth): a spec that names the hosts in another order later
changes no file of an instance that runs.

Patroni says with an empty `initialize` that it has begun, and that record stays when it is killed at it. On a host
that is up its next container takes the record back itself, exactly when nobody can be at it (images/postgres/birth).
For a host that is down the owner does, and then another host may begin. Whether the first one really is dead need
not be known: whoever has finished must change `initialize` from empty to its system identifier before its data
counts, only one can, and what could not is wiped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from crds.accepted import Accepted
from crds.database import DatabaseSpec
from reconcilers import paths
from reconcilers.actions import Action, Waiting, Why, WriteRecords
from reconcilers.observed import Observed, PatroniCluster
from reconcilers.ports import Put, Remove, Write
from reconcilers.resources import naming

KIND = "initialization"


def diff(observed: Observed, accepted: Accepted) -> list[Action]:
    actions: list[Action] = []
    learnt, abandoned = dict(accepted.initialized), set()
    for node in accepted.spec.nodes:
        scope = naming.scope(observed.key.name, node.name)
        found = observed.patroni.get(scope, PatroniCluster())
        known = accepted.initialized.get(node.name)
        where, seen = paths.patroni(scope, "initialize"), found.initialize_revision
        if known is not None and not found.initialize:
            # Empty: an empty volume was faster than us. It may not finish what it has begun.
            put = Put(where, known.encode(), expected=seen)
            actions.append(_record(scope, Why.DRIFTED, "record was lost", put))
        elif _begun(accepted, node.name, found) and not _stands(observed, accepted.births.get(node.name, "")):
            detail = f"{accepted.births.get(node.name)} had begun to initialise it and is down"
            actions.append(_record(scope, Why.OBSERVED, detail, Remove(where, expected=seen)))
            abandoned.add(scope)
        elif known is None and found.initialize and found.leader is not None:
            learnt[node.name] = found.initialize
    chosen = births(_freed(observed, abandoned), accepted, accepted.spec)
    if learnt != accepted.initialized or chosen != accepted.births:
        new = accepted.model_copy(update={"initialized": learnt, "births": chosen})
        put = Put(
            paths.accepted(observed.key), new.model_dump_json().encode(), expected=observed.accepted_revision
        )
        actions.append(
            WriteRecords(
                kind=KIND,
                name=observed.key.name,
                why=Why.OBSERVED,
                detail=_said(accepted, learnt, chosen),
                writes=(put,),
            )
        )
    return actions


def waits(observed: Observed, accepted: Accepted) -> list[Waiting]:
    """Nodes that somebody is initialising."""
    found = []
    for node in accepted.spec.nodes:
        scope = naming.scope(observed.key.name, node.name)
        if _begun(accepted, node.name, observed.patroni.get(scope, PatroniCluster())):
            message = (
                f"{accepted.births.get(node.name)} makes the first data of {node.name}; "
                "another host may begin only when that one is down"
            )
            found.append(Waiting(KIND, scope, "Initialising", message))
    return found


def _begun(accepted: Accepted, node: str, found: PatroniCluster) -> bool:
    """Somebody has begun, and nothing has come of it yet."""
    return node not in accepted.initialized and found.initialize == "" and found.leader is None


def _record(scope: str, why: Why, detail: str, write: Write) -> Action:
    return WriteRecords(kind=KIND, name=scope, why=why, detail=detail, writes=(write,))


def _freed(observed: Observed, scopes: Collection[str]) -> Observed:
    """As if nobody had begun in these."""
    if not scopes:
        return observed
    patroni = {
        scope: replace(found, initialize=None) if scope in scopes else found
        for scope, found in observed.patroni.items()
    }
    return replace(observed, patroni=patroni)


def births(observed: Observed, old: Accepted | None, spec: DatabaseSpec) -> dict[str, str]:
    """
    The host of each node that may initialise it: the first one in the spec that is up.

    Another is chosen only when that one goes down or leaves the spec, so that no file changes without need; and none
    once somebody has begun: nobody initialises a node that has data.
    """
    found = {}
    for node in spec.nodes:
        seen = observed.patroni.get(naming.scope(observed.key.name, node.name), PatroniCluster())
        host = old.births.get(node.name) if old is not None else None
        begun = seen.initialize is not None or seen.leader is not None
        fixed = old is not None and (node.name in old.initialized or begun)
        if host is None or not (fixed or (host in node.hosts and _stands(observed, host))):
            host = next((h for h in node.hosts if _lives(observed, h)), node.hosts[0])
        found[node.name] = host
    return found


def _stands(observed: Observed, host: str) -> bool:
    view = observed.hosts.get(host)
    return view is not None and view.node is not None and view.node.ready


def _lives(observed: Observed, host: str) -> bool:
    """Its engine is in the Swarm and a pgswarm reports from there."""
    return _stands(observed, host) and observed.hosts[host].record is not None


def _said(accepted: Accepted, learnt: Mapping[str, str], chosen: Mapping[str, str]) -> str:
    said = [f"{node} has data now" for node in sorted(set(learnt) - set(accepted.initialized))]
    moved = (node for node in sorted(chosen) if chosen[node] != accepted.births.get(node))
    return ", ".join([*said, *(f"{node} is to be initialised on {chosen[node]}" for node in moved)])
