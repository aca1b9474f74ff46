"""What the API needs of the process, in four words. The composition root provides it; tests provide their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from controlplane.api.schemas import Check, VersionView
from reconcilers.ports import Records


class Facade(Protocol):
    @property
    def records(self) -> Records:
        """The mirror. Routes read it and nothing else, so a request costs etcd nothing."""

    def readiness(self) -> Sequence[Check]:
        """May traffic come here: mirror synced, lease valid, Docker answered. Must not block."""
        ...

    def version(self) -> VersionView: ...

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Exposition text in the format that the Accept header asks for, and its content type."""
        ...
