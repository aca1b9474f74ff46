"""Who may do everything in an etcd of our own: its `root`, and the user that pgswarm itself logs in as."""

from __future__ import annotations

from collections.abc import Mapping

from aetcd.rpc import rpc_pb2 as pb

from controlplane.stores.accounts import ROOT
from controlplane.stores.connection import Connection, Credentials, Message
from controlplane.stores.failures import EtcdRefused
from reconcilers.ports import Secret


async def secure(url: str, passwords: Mapping[str, Secret]) -> None:
    """
    Give these users the role root and switch authentication on. Finishes what an earlier call began.

    Args:
        passwords: User to password; `root` must be among them.

    Raises:
        Refused: etcd said no; above all when root's password is another one.
        Unavailable: it did not answer.
    """
    connection = Connection((url,), credentials=Credentials(ROOT, passwords[ROOT]))
    try:
        secured = await connection.logged_in()
        for user, password in passwords.items():
            await _ensure(connection, user, password, secured=secured)
        if not secured:
            await connection.call("auth", "AuthEnable", pb.AuthEnableRequest())
    finally:
        await connection.close()


async def _ensure(connection: Connection, user: str, password: Secret, *, secured: bool) -> None:
    text = password.reveal()
    if not await _done(
        connection, "UserAdd", pb.AuthUserAddRequest(name=user, password=text), "already exists"
    ):
        # Each change of a user ends every token in force, so what fits is left alone.
        attempt = pb.AuthenticateRequest(name=user, password=text)
        if not secured or not await _done(connection, "Authenticate", attempt, "authentication failed"):
            change = pb.AuthUserChangePasswordRequest(name=user, password=text)
            await connection.call("auth", "UserChangePassword", change)
    found = await connection.call("auth", "UserGet", pb.AuthUserGetRequest(name=user))
    if ROOT not in found.roles:
        await connection.call("auth", "UserGrantRole", pb.AuthUserGrantRoleRequest(user=user, role=ROOT))


async def _done(connection: Connection, method: str, request: Message, refusal: str) -> bool:
    """False if etcd refused with this text."""
    try:
        await connection.call("auth", method, request)
    except EtcdRefused as exc:
        if refusal in exc.detail:
            return False
        raise
    return True
