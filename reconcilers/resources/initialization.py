"""
Bootstrap happens once in a database's life (S10).

The system identifier of each node is kept in the accepted record. Should Patroni's `initialize` record get lost
later, it is put back *before* any instance starts, so that an empty volume waits for a primary and is not initdb-ed.
"""

from __future__ import annotations

from crds.accepted import Accepted
from reconcilers import paths
from reconcilers.actions import Action, Why, WriteRecords
from reconcilers.observed import Observed, PatroniCluster
from reconcilers.ports import Put
from reconcilers.resources import naming

KIND = "initialization"


def diff(observed: Observed, accepted: Accepted) -> list[Action]:
    actions: list[Action] = []
    learnt = dict(accepted.initialized)
    for node in accepted.spec.nodes:
        scope = naming.scope(observed.key.name, node.name)
        found = observed.patroni.get(scope, PatroniCluster())
        known = accepted.initialized.get(node.name)
        if known is not None and found.initialize is None:
            put = Put(paths.patroni(scope, "initialize"), known.encode(), expected=0)
            actions.append(
                WriteRecords(kind=KIND, name=scope, why=Why.DRIFTED, detail="record was lost", writes=(put,))
            )
        elif known is None and found.initialize and found.leader is not None:
            learnt[node.name] = found.initialize
    if learnt != accepted.initialized:
        new = accepted.model_copy(update={"initialized": learnt})
        put = Put(
            paths.accepted(observed.key), new.model_dump_json().encode(), expected=observed.accepted_revision
        )
        nodes = ", ".join(sorted(set(learnt) - set(accepted.initialized)))
        actions.append(
            WriteRecords(
                kind=KIND,
                name=observed.key.name,
                why=Why.OBSERVED,
                detail=f"{nodes} has data now",
                writes=(put,),
            )
        )
    return actions
