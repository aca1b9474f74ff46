"""What the protocol demands. Each rule is a switch, so that the model can show what it is good for."""

from __future__ import annotations

from enum import Enum


class Rule(Enum):
    """F1..F7 as in ARCHITECTURE.md ("Fencing"). The value says what the rule is."""

    __hash__ = (
        object.__hash__
    )  # by identity: an Enum's own hash is slow, and rules are looked up all the time

    F1 = "every etcd write compares the owner record's create_revision"
    F2 = "the fence carries the epoch; a reading without our epoch on it is not acted upon"
    F3 = "a service update carries the version of the reading that it was planned from"
    F4 = "a new owner relabels every service before it reports Ready"
    F5 = "a service is created with 0 replicas and activated by an update"
    F6 = "a service is marked with a tombstone before it is removed"
    F6_ID = "a service is removed by its ID, never by its name"
    F6_DEAD = "a service with a tombstone is never used again"
    F7 = "an incarnation is never used again"
    DEADLINE = "no effect starts after the deadline of the lease"

    RECORD = "a record is written only while `accepted` is the one that the plan saw"
    DISMISSAL = "a deletion begins only if, in the same transaction, there is no spec"
    CLOSING = (
        "the fence of a dismissed database gets a tombstone first; only a reading with it shows what is left"
    )
    HALT = "the owner by etcd's word that meets a newer epoch writes that down, and nobody goes on"
    UNSEEN = "an update is written again until a reading shows a newer version of the service"


CODE = frozenset(Rule)
"""The protocol as the code has it. A rule that is only planned stays out until the code has it, too."""
