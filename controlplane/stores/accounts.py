"""`ports.Accounts` on etcd: one user and one role for each Patroni scope, which open that scope and nothing else."""

from __future__ import annotations

from aetcd.rpc import auth_pb2
from aetcd.rpc import rpc_pb2 as pb

from controlplane.stores.connection import Connection, Message
from controlplane.stores.failures import EtcdRefused
from controlplane.stores.keys import Keys
from controlplane.stores.versions import weakness_of
from reconcilers.ports import Secret

ROOT = "root"
_ABSENT = ("user name not found", "role name not found")


class EtcdAccounts:
    """`ports.Accounts`. Needs etcd's root role. Idempotent; what fits already is not written again."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._names: frozenset[str] | None = None
        self._listed_at = 0

    @property
    def listed_at(self) -> int:
        """etcd revision that `names` is at least as new as; a user made later may be missing there."""
        return self._listed_at

    def names(self) -> frozenset[str] | None:
        """Users that exist, from the last `refresh`; None: not looked yet, or authentication is off."""
        return self._names

    async def refresh(self) -> None:
        """Look which users exist. Raises: Refused, Unavailable."""
        if not await self.enabled():
            self._names = None
            return
        answer = await self._auth("UserList", pb.AuthUserListRequest())
        self._listed_at = int(answer.header.revision)
        self._names = frozenset(str(name) for name in answer.users)

    async def enabled(self) -> bool:
        """Authentication is on. Raises: Refused, Unavailable."""
        try:
            answer = await self._auth("AuthStatus", pb.AuthStatusRequest())
        except EtcdRefused as exc:
            if exc.code != "UNIMPLEMENTED":  # etcd 3.4 does not have the call
                raise
            return await self._connection.logged_in()
        return bool(answer.enabled)

    async def weakness(self) -> str:
        """Why this etcd does not keep its users apart; `""` if it does. Raises: Refused, Unavailable."""
        return weakness_of(await self._connection.version(await self._connection.ready_endpoint()))

    async def ensure(self, user: str, password: Secret, prefix_path: str) -> None:
        """
        Make user and role exist, with this password and read-write below `prefix_path` only.

        Raises:
            ValueError: the prefix would take in a neighbour's keys, or the user is etcd's own.
            Refused, Unavailable: etcd said no, or nothing.
        """
        if not prefix_path.endswith("/") or user in ("", ROOT):
            raise ValueError(f"no account {user!r} for {prefix_path!r}")
        await self._ensure_role(user, prefix_path)
        await self._ensure_user(user, password)
        self._remember(user)

    async def drop(self, user: str) -> None:
        """Remove user and role; absent is fine. Raises: ValueError for etcd's own user; Refused, Unavailable."""
        if user in ("", ROOT):
            raise ValueError(f"no account of ours: {user!r}")
        for method, request in (
            ("UserDelete", pb.AuthUserDeleteRequest(name=user)),
            ("RoleDelete", pb.AuthRoleDeleteRequest(role=user)),
        ):
            await self._unless(_ABSENT, method, request)
        if self._names is not None:
            self._names -= {user}

    async def _ensure_role(self, role: str, prefix_path: str) -> None:
        key, range_end = self._keys.span(prefix_path)
        wanted = auth_pb2.Permission(permType=auth_pb2.Permission.READWRITE, key=key, range_end=range_end)
        await self._unless(("already exists",), "RoleAdd", pb.AuthRoleAddRequest(name=role))
        held = list((await self._auth("RoleGet", pb.AuthRoleGetRequest(role=role))).perm)
        if wanted not in held:
            await self._auth("RoleGrantPermission", pb.AuthRoleGrantPermissionRequest(name=role, perm=wanted))
        for other in held:
            if (other.key, other.range_end) != (key, range_end):
                surplus = pb.AuthRoleRevokePermissionRequest(
                    role=role, key=other.key, range_end=other.range_end
                )
                await self._auth("RoleRevokePermission", surplus)

    async def _ensure_user(self, user: str, password: Secret) -> None:
        text = password.reveal()
        added = await self._unless(
            ("already exists",), "UserAdd", pb.AuthUserAddRequest(name=user, password=text)
        )
        if added is None and not await self._opens(user, text):
            changed = pb.AuthUserChangePasswordRequest(name=user, password=text)
            await self._auth("UserChangePassword", changed)
        roles = [str(role) for role in (await self._auth("UserGet", pb.AuthUserGetRequest(name=user))).roles]
        if user not in roles:
            await self._auth("UserGrantRole", pb.AuthUserGrantRoleRequest(user=user, role=user))
        for role in roles:
            if role != user:
                await self._auth("UserRevokeRole", pb.AuthUserRevokeRoleRequest(name=user, role=role))

    async def _opens(self, user: str, password: str) -> bool:
        """The password fits already; False also while authentication is off and nobody can tell."""
        request = pb.AuthenticateRequest(name=user, password=password)
        refusals = ("authentication failed", "not enabled")
        return await self._unless(refusals, "Authenticate", request) is not None

    async def _unless(self, refusals: tuple[str, ...], method: str, request: Message) -> Message | None:
        """The answer; None if etcd refused with one of these texts, which means that there is nothing to do."""
        try:
            return await self._auth(method, request)
        except EtcdRefused as exc:
            if any(text in exc.detail for text in refusals):
                return None
            raise

    async def _auth(self, method: str, request: Message) -> Message:
        return await self._connection.call("auth", method, request)

    def _remember(self, user: str) -> None:
        if self._names is not None:
            self._names |= {user}
