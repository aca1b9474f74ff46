"""Authentication on a real etcd: our own log-in, and what an instance's user may do (nothing but its own)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from aetcd.rpc import rpc_pb2 as pb

from controlplane.sources.follower import Rhythm
from controlplane.stores.accounts import EtcdAccounts
from controlplane.stores.connection import Connection, Credentials
from controlplane.stores.keys import end_of
from reconcilers.errors import Refused, Unavailable, UnknownFate
from reconcilers.ports import Put, Secret
from tests.contract.etcd_world import LIMIT_S, QUICK, EtcdWorld, connected, mirrored, next_frame, until
from tests.etcd_server import ROOT_PASSWORD, EtcdServer

StartEtcd = Callable[..., EtcdServer]
ROOT = Credentials("root", Secret(ROOT_PASSWORD))
PASSWORD = Secret("instance-password")
CHEAP = ("--auth-token-ttl", "1", "--bcrypt-cost", "4")
OWN, NEIGHBOUR = b"/patroni/orders-n1/", b"/patroni/orders-n10/"


@pytest.fixture(scope="module")
def module_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Authentication on; tokens end after one second. Shared by the tests that leave it as it was."""
    server = EtcdServer(tmp_path_factory.mktemp("etcd-accounts"), CHEAP).start()
    server.switch_auth_on()
    yield server
    server.kill()


@pytest.fixture
def guarded(own_etcd: StartEtcd) -> EtcdServer:
    """The same, for the test that breaks it."""
    server = own_etcd(*CHEAP)
    server.switch_auth_on()
    return server


@asynccontextmanager
async def instance_of(server: EtcdServer, root: EtcdWorld) -> AsyncIterator[Connection]:
    """Logged in as the user of orders-n1; the neighbour has a record with a secret in it."""
    accounts = EtcdAccounts(root.connection, root.keys)
    await accounts.ensure("orders-n1", PASSWORD, "patroni/orders-n1/")
    await root.store().commit([Put("patroni/orders-n10/leader", b"neighbour"), Put("specs/x", b"ours")])
    async with connected(server, credentials=Credentials("orders-n1", PASSWORD)) as world:
        yield world.connection


async def test_a_wrong_password_is_refused_and_does_not_show_in_the_error(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd, credentials=Credentials("root", Secret("hunter2"))) as world:
        with pytest.raises(Refused) as raised:
            await world.store().read("a")
    assert "hunter2" not in repr(raised.value)
    assert "root" in str(raised.value)


async def test_without_credentials_etcd_refuses(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd) as world:
        with pytest.raises(Refused):
            await world.store().read("a")


async def test_credentials_do_no_harm_while_authentication_is_off_and_work_once_it_is_on(
    own_etcd: StartEtcd,
) -> None:
    server = own_etcd()
    async with connected(server, credentials=ROOT) as world:
        await world.store().commit([Put("a", b"1")])
        server.switch_auth_on()
        await world.store().commit([Put("a", b"2")])
        assert await world.store().read("a") is not None


async def test_calls_go_on_when_the_token_has_ended(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd, credentials=ROOT) as world:
        await world.store().commit([Put("a", b"1")])
        lease = await world.leases.grant(30)
        await asyncio.sleep(2.2)
        await world.store().commit([Put("a", b"2")])
        await world.leases.keep_alive(lease.id)
        await world.leases.revoke(lease.id)


async def test_a_watch_that_begins_with_an_ended_token_comes_through(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd, credentials=ROOT) as world, mirrored(world) as mirror:
        await world.store().commit([Put("a", b"1")])
        stale = await world.connection.token(await world.connection.ready_endpoint())
        await asyncio.sleep(2.2)
        # The mirror's next stream is opened with the token that is held then.
        assert await world.connection.token(await world.connection.ready_endpoint()) == stale
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    async with world.feed.watch("", 1) as watch:
                        await next_frame(watch)
                        await next_frame(watch)
                        break
                except (Unavailable, Refused):
                    continue
        assert mirror.last_error == ""


async def test_a_mirror_goes_on_through_restarts_that_forget_every_token(guarded: EtcdServer) -> None:
    rhythm = Rhythm(heartbeat_s=0.3, audit_s=0.5)
    async with (
        connected(guarded, credentials=ROOT, timeouts=QUICK) as world,
        mirrored(world, rhythm=rhythm) as mirror,
    ):
        for number in range(2):
            guarded.kill()
            guarded.start()
            async with asyncio.timeout(LIMIT_S):
                while True:
                    try:
                        revision = await world.store().commit([Put("a", b"%d" % number)])
                    except (Unavailable, UnknownFate):
                        await asyncio.sleep(0.05)
                    else:
                        break
                await mirror.reached(revision)
        await until(lambda: mirror.last_error == "")
        read = mirror.get("a")
        assert read is not None
        assert read.value == b"1"


async def test_calls_go_on_while_users_are_changed_under_them(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd, credentials=ROOT) as world:
        accounts = EtcdAccounts(world.connection, world.keys)

        async def write() -> None:
            for number in range(40):
                await world.store().commit([Put("a", b"%d" % number)])
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for number in range(3):
                await accounts.ensure(f"db-{number}-n1", PASSWORD, f"patroni/db-{number}-n1/")


async def test_a_forbidden_mirror_says_why_and_does_not_pretend_to_be_ready(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd, credentials=ROOT) as root, instance_of(module_etcd, root) as connection:
        world = EtcdWorld(connection, root.keys)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), mirrored(world):
                pass
        with pytest.raises(Refused, match="permission denied"):
            async with world.feed.watch("", 1) as watch:
                await next_frame(watch)


async def test_accounts_are_made_changed_and_dropped_idempotently(guarded: EtcdServer) -> None:
    async with connected(guarded, credentials=ROOT) as world:
        accounts = EtcdAccounts(world.connection, world.keys)
        assert accounts.names() is None
        await accounts.refresh()
        assert accounts.names() == frozenset({"root"})
        for _ in range(2):
            await accounts.ensure("orders-n1", PASSWORD, "patroni/orders-n1/")
        assert accounts.names() == frozenset({"root", "orders-n1"})

        await accounts.ensure("orders-n1", Secret("second"), "patroni/orders-n1/")
        async with connected(guarded, credentials=Credentials("orders-n1", Secret("second"))) as instance:
            await instance.store().commit([Put("patroni/orders-n1/leader", b"")])
        async with connected(guarded, credentials=Credentials("orders-n1", PASSWORD)) as instance:
            with pytest.raises(Refused):
                await instance.store().read("patroni/orders-n1/leader")

        for _ in range(2):
            await accounts.drop("orders-n1")
        await accounts.refresh()
        assert accounts.names() == frozenset({"root"})
        assert "orders-n1" not in guarded.ctl("role", "list", user=f"root:{ROOT_PASSWORD}")


async def test_what_fits_already_is_not_written_again(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd, credentials=ROOT) as world:
        accounts = EtcdAccounts(world.connection, world.keys)
        await accounts.ensure("orders-n1", PASSWORD, "patroni/orders-n1/")
        before = await auth_revision(world)
        await accounts.ensure("orders-n1", PASSWORD, "patroni/orders-n1/")
        assert await auth_revision(world) == before


async def test_surplus_grants_and_roles_are_taken_away(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd, credentials=ROOT) as world:
        accounts = EtcdAccounts(world.connection, world.keys)
        await accounts.ensure("orders-n1", PASSWORD, "patroni/orders-n1/")
        root = f"root:{ROOT_PASSWORD}"
        module_etcd.ctl("role", "grant-permission", "orders-n1", "readwrite", "/", "0", user=root)
        module_etcd.ctl("user", "grant-role", "orders-n1", "root", user=root)

        await accounts.ensure("orders-n1", PASSWORD, "patroni/orders-n1/")
        assert module_etcd.ctl("user", "get", "orders-n1", user=root).split() == [
            "User:",
            "orders-n1",
            "Roles:",
            "orders-n1",
        ]
        async with connected(module_etcd, credentials=Credentials("orders-n1", PASSWORD)) as instance:
            with pytest.raises(Refused):
                await instance.store().read("specs/x")


@pytest.mark.parametrize(
    ("user", "prefix"), [("orders-n1", "patroni/orders-n1"), ("root", "patroni/root/"), ("", "x/")]
)
async def test_an_account_that_would_open_too_much_is_not_made(
    own_etcd: StartEtcd, user: str, prefix: str
) -> None:
    async with connected(own_etcd()) as world:
        with pytest.raises(ValueError, match="account"):
            await EtcdAccounts(world.connection, world.keys).ensure(user, PASSWORD, prefix)


async def test_accounts_can_be_made_before_authentication_is_on(own_etcd: StartEtcd) -> None:
    server = own_etcd()
    async with connected(server) as world:
        accounts = EtcdAccounts(world.connection, world.keys)
        await accounts.ensure("orders-n1", PASSWORD, "patroni/orders-n1/")
        await accounts.refresh()
        assert accounts.names() is None
        assert not await accounts.enabled()
        server.switch_auth_on()
    async with connected(server, credentials=Credentials("orders-n1", PASSWORD)) as instance:
        await instance.store().commit([Put("patroni/orders-n1/leader", b"")])


async def auth_revision(world: EtcdWorld) -> int:
    answer = await world.connection.call("auth", "AuthStatus", pb.AuthStatusRequest())
    return int(answer.authRevision)


# --- what an instance's user may do ---


async def test_an_instance_user_has_the_run_of_its_own_prefix(module_etcd: EtcdServer) -> None:
    async with connected(module_etcd, credentials=ROOT) as root, instance_of(module_etcd, root) as mine:
        lease = await mine.call("lease", "LeaseGrant", pb.LeaseGrantRequest(TTL=30))
        put = pb.PutRequest(key=OWN + b"leader", value=b"me", lease=lease.ID)
        await mine.call("kv", "Put", put)
        found = await mine.call("kv", "Range", pb.RangeRequest(key=OWN, range_end=end_of(OWN)))
        assert [kv.value for kv in found.kvs] == [b"me"]
        async with EtcdWorld(mine, root.keys).feed.watch("patroni/orders-n1/", 1) as watch:
            await next_frame(watch)
            assert (await next_frame(watch)).revision > 0
        gone = await mine.call("kv", "DeleteRange", pb.DeleteRangeRequest(key=OWN, range_end=end_of(OWN)))
        assert gone.deleted == 1


def txn(*operations: pb.RequestOp, compare: bytes | None = None) -> pb.TxnRequest:
    compares = [pb.Compare(key=compare, target=pb.Compare.VERSION, version=0)] if compare else []
    return pb.TxnRequest(compare=compares, success=operations, failure=operations)


READ = pb.RequestOp(request_range=pb.RangeRequest(key=NEIGHBOUR + b"leader"))
WRITE = pb.RequestOp(request_put=pb.PutRequest(key=NEIGHBOUR + b"leader", value=b"stolen"))
ERASE = pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=NEIGHBOUR + b"leader"))
OWN_PUT = pb.PutRequest(key=OWN + b"x", value=b"")

FORBIDDEN = [
    pytest.param("kv", "Range", pb.RangeRequest(key=NEIGHBOUR + b"leader"), id="read a neighbour's record"),
    pytest.param("kv", "Range", pb.RangeRequest(key=b"/pgswarm/v1/specs/x"), id="read a spec"),
    pytest.param(
        "kv", "Range", pb.RangeRequest(key=OWN, range_end=end_of(b"/patroni/")), id="read past its end"
    ),
    pytest.param("kv", "Range", pb.RangeRequest(key=b"\0", range_end=b"\0"), id="read everything"),
    pytest.param(
        "kv", "Range", pb.RangeRequest(key=b"/patroni/", range_end=end_of(OWN)), id="read before its start"
    ),
    pytest.param(
        "kv", "Range", pb.RangeRequest(key=b"\0", range_end=b"\0", count_only=True), id="count everything"
    ),
    pytest.param(
        "kv", "Put", pb.PutRequest(key=NEIGHBOUR + b"leader", value=b""), id="write a neighbour's record"
    ),
    pytest.param("kv", "Put", pb.PutRequest(key=b"/pgswarm/v1/specs/x", value=b""), id="write a spec"),
    pytest.param(
        "kv",
        "Put",
        pb.PutRequest(key=NEIGHBOUR + b"leader", value=b"", prev_kv=True),
        id="read by the previous value of a put",
    ),
    pytest.param(
        "kv", "DeleteRange", pb.DeleteRangeRequest(key=NEIGHBOUR + b"leader"), id="delete a neighbour's"
    ),
    pytest.param(
        "kv",
        "DeleteRange",
        pb.DeleteRangeRequest(key=OWN, range_end=end_of(b"/patroni/")),
        id="delete past its end",
    ),
    pytest.param("kv", "Txn", txn(READ), id="read in a transaction"),
    pytest.param("kv", "Txn", txn(WRITE), id="write in a transaction"),
    pytest.param("kv", "Txn", txn(ERASE), id="delete in a transaction"),
    pytest.param("kv", "Txn", txn(compare=NEIGHBOUR + b"leader"), id="compare in a transaction"),
    pytest.param("auth", "UserAdd", pb.AuthUserAddRequest(name="evil", password="x"), id="make a user"),
    pytest.param(
        "auth", "UserGrantRole", pb.AuthUserGrantRoleRequest(user="orders-n1", role="root"), id="become root"
    ),
    pytest.param("auth", "AuthDisable", pb.AuthDisableRequest(), id="switch authentication off"),
    pytest.param("auth", "UserGet", pb.AuthUserGetRequest(name="root"), id="look at another user"),
    pytest.param("auth", "UserList", pb.AuthUserListRequest(), id="list the users"),
]


@pytest.mark.parametrize(("service", "method", "request_"), FORBIDDEN)
async def test_an_instance_user_may_not(
    guarded_instance: Connection, service: str, method: str, request_: object
) -> None:
    with pytest.raises(Refused, match="permission denied"):
        await guarded_instance.call(service, method, request_)


@pytest.mark.parametrize("operation", [READ, WRITE, ERASE], ids=["read", "write", "delete"])
async def test_an_instance_user_gets_nowhere_by_nesting_unless_we_warn_of_this_etcd(
    guarded_instance: Connection, module_etcd: EtcdServer, operation: pb.RequestOp
) -> None:
    nested = txn(pb.RequestOp(request_txn=txn(operation)))
    try:
        await guarded_instance.call("kv", "Txn", nested)
        went_through = True
    except Refused:
        went_through = False
    async with connected(module_etcd, credentials=ROOT) as root:
        warning = await EtcdAccounts(root.connection, root.keys).weakness()
    assert not went_through or "every key" in warning


@pytest.fixture
async def guarded_instance(module_etcd: EtcdServer) -> AsyncIterator[Connection]:
    async with connected(module_etcd, credentials=ROOT) as root, instance_of(module_etcd, root) as connection:
        yield connection


async def test_an_instance_user_cannot_end_or_join_a_lease_that_holds_others_records(
    guarded_instance: Connection, module_etcd: EtcdServer
) -> None:
    async with connected(module_etcd, credentials=ROOT) as root:
        lease = await root.leases.grant(30)
        await root.store(lambda: lease.id).commit([Put("observed/h1/x", b"", leased=True)])
        with pytest.raises(Refused, match="permission denied"):
            await guarded_instance.call("lease", "LeaseRevoke", pb.LeaseRevokeRequest(ID=lease.id))
        own = pb.PutRequest(key=OWN + b"x", value=b"", lease=lease.id)
        with pytest.raises(Refused, match="permission denied"):
            await guarded_instance.call("kv", "Put", own)
        assert await root.store().read("observed/h1/x") is not None


@pytest.mark.parametrize("prefix", ["", "patroni/", "patroni/orders-n10/"])
async def test_an_instance_user_cannot_watch(
    guarded_instance: Connection, prefix: str, module_etcd: EtcdServer
) -> None:
    async with connected(module_etcd, credentials=ROOT) as root:
        feed = EtcdWorld(guarded_instance, root.keys).feed
        with pytest.raises(Refused, match="permission denied"):
            async with feed.watch(prefix, 1) as watch:
                await next_frame(watch)
