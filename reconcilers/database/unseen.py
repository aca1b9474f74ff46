"""
Updates that this owner has sent and no list has shown yet.

A list may be older than an update of our own, and an update may arrive after its answer was given up. In both cases
nothing differs between what the list shows and what is wanted, and still it is not what stands, or not for long. So the
service is written once more, with the version that the list shows: either that is refused, as the list was old, or
whatever was under way with that version has become worthless.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crds.meta import Key
from reconcilers.actions import Action, UpdateService, Why
from reconcilers.observed import Observed
from reconcilers.ports import ServiceView

SERVICES_MAX = 1000
"""Of one database; the one that was updated longest ago is forgotten first."""


class Unseen:
    """The newest version that an update was sent for, by service; of the present epoch."""

    def __init__(self) -> None:
        self._sent: dict[Key, tuple[int, dict[str, int]]] = {}

    def among(self, key: Key, epoch: int, services: Mapping[str, ServiceView]) -> frozenset[str]:
        """IDs of the services that the list shows as they were before our update, or that it may."""
        sent = self._of(key, epoch)
        return frozenset(one.id for one in services.values() if one.version <= sent.get(one.id, -1))

    def sending(self, key: Key, epoch: int, actions: Iterable[Action]) -> None:
        """To be told before they are sent: nobody may be left to tell it afterwards."""
        sent = self._of(key, epoch)
        for action in _updates(actions):
            newest = max(action.version, sent.pop(action.service_id, action.version))
            sent[action.service_id] = newest
        while len(sent) > SERVICES_MAX:
            del sent[next(iter(sent))]
        if sent:
            self._sent[key] = (epoch, sent)

    def forget(self, key: Key) -> None:
        self._sent.pop(key, None)

    def _of(self, key: Key, epoch: int) -> dict[str, int]:
        known, sent = self._sent.get(key, (epoch, {}))
        return sent if known == epoch else {}


def again(observed: Observed) -> tuple[Action, ...]:
    """Write what the list shows once more where it may not be what stands."""
    return tuple(
        UpdateService(
            kind="service",
            name=name,
            why=Why.UNSEEN,
            detail=f"an update of version {view.version} has not been seen",
            service_id=view.id,
            version=view.version,
            spec=view.spec,
        )
        for name, view in sorted(observed.services.items())
        if view.id in observed.unseen
    )


def _updates(actions: Iterable[Action]) -> list[UpdateService]:
    return [action for action in actions if isinstance(action, UpdateService)]
