"""A Patroni that lives in memory: what each instance would answer, and what it was asked to do."""

from __future__ import annotations

from dataclasses import replace

from reconcilers.errors import Refused, Unavailable
from reconcilers.ports import InstanceAccess, PatroniView

PRIMARY = PatroniView(
    state="running",
    role="primary",
    timeline=1,
    server_version=170002,
    pending_restart=False,
    paused=False,
    sysid="7300000000000000001",
    lsn=50331648,
)
REPLICA = replace(PRIMARY, role="replica")


class FakePatroni:
    """`ports.Patroni` over the instances of a world, by address. One without a view does not answer."""

    def __init__(self, views: dict[str, PatroniView] | None = None, rest_password: str = "rest") -> None:
        self.views = dict(views or {})
        self.rest_password = rest_password
        self.restarts: list[str] = []
        self.reloads: list[str] = []
        self.reinitialized: list[str] = []
        self.looks = 0

    async def close(self) -> None:
        """Nothing to close."""

    async def view(self, access: InstanceAccess) -> PatroniView:
        self.looks += 1
        if access.address not in self.views:
            raise Unavailable("patroni", "connection refused")
        return self.views[access.address]

    async def _asked(self, access: InstanceAccess) -> PatroniView:
        view = await self.view(access)
        if access.rest_password.reveal() != self.rest_password:
            raise Refused("patroni", "401 wrong password")
        return view

    async def restart(self, access: InstanceAccess, *, only_if_pending: bool = True) -> None:
        view = await self._asked(access)
        if only_if_pending and not view.pending_restart:
            raise Refused("patroni", "restart: 503 nothing is pending")
        self.restarts.append(access.address)
        self.views[access.address] = replace(view, pending_restart=False)

    async def reload(self, access: InstanceAccess) -> None:
        await self._asked(access)
        self.reloads.append(access.address)

    async def reinitialize(self, access: InstanceAccess) -> None:
        view = await self._asked(access)
        if view.role == "primary":
            raise Refused("patroni", "reinitialize: 503 I am the leader")
        self.reinitialized.append(access.address)
