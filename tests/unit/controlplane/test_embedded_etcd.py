"""The embedded etcd, with the real program: what comes up, who gets in, what survives which death."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.child_process import Child, Identity
from controlplane.clock import SystemClock, SystemIds
from controlplane.config import Config
from controlplane.dial import dial
from controlplane.embedded_etcd import embedded
from controlplane.etcd_member import EmbeddedEtcdError
from controlplane.stores.connection import Connection
from controlplane.stores.store import EtcdStore
from reconcilers.errors import PgswarmError, Refused
from reconcilers.ports import Put
from tests.etcd_server import REPO, programs
from tests.unit.controlplane.observers import Lines

GATEWAY = "127.0.0.2"


def events(log: Lines) -> list[str]:
    return [event for _, event, _ in log.lines]


def port_pair() -> int:
    """A port that is free, as the next one is: etcd takes both."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@pytest.fixture
def config(tmp_path: Path) -> Config:
    port = port_pair()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/etcd").symlink_to(programs() / "etcd")
    return Config(
        host="host-1",
        embedded_etcd=True,
        state_dir=tmp_path,
        etcd_endpoints=(f"http://127.0.0.1:{port}",),
        instance_etcd_endpoints=(f"http://{GATEWAY}:{port}",),
    )


def running(config: Config, log: Lines | None = None) -> Any:
    return embedded(config, SystemClock(), SystemIds(), log or Lines())


def pid(config: Config) -> int:
    found = Identity.load(config.state_dir / "etcd.pid")
    assert found is not None
    return found.pid


async def with_store(config: Config, use: Callable[[EtcdStore], Awaitable[Any]]) -> Any:
    connection, keys = dial(config)
    try:
        return await use(EtcdStore(connection, keys, SystemClock()))
    finally:
        await connection.close()


async def write(config: Config, text: str) -> None:
    await with_store(config, lambda store: store.commit([Put("specs/database/orders", text.encode())]))


async def text(config: Config) -> str | None:
    record = await with_store(config, lambda store: store.read("specs/database/orders"))
    return None if record is None else str(record.value.decode())


async def until(true: Callable[[], bool], limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not true():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.02)


def abandon(config: Config) -> int:
    """Start an etcd from a process that dies without a word; return etcd's id."""
    script = f"""
        import asyncio, os
        from pathlib import Path
        from controlplane.clock import SystemClock, SystemIds
        from controlplane.config import Config
        from controlplane.embedded_etcd import embedded
        from tests.unit.controlplane.observers import Lines

        async def main():
            config = Config(host="host-1", embedded_etcd=True, state_dir=Path({str(config.state_dir)!r}),
                etcd_endpoints={config.etcd_endpoints!r},
                instance_etcd_endpoints={config.instance_etcd_endpoints!r})
            async with embedded(config, SystemClock(), SystemIds(), Lines()):
                os._exit(9)

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=REPO, check=False, timeout=60)
    assert done.returncode == 9
    return pid(config)


async def test_it_speaks_on_loopback_and_on_the_bridge_and_stores_what_is_written(config: Config) -> None:
    async with running(config) as settled:
        await write(settled, "yaml")
        through_bridge = settled.model_copy(update={"etcd_endpoints": settled.instance_etcd_endpoints})

        assert await text(through_bridge) == "yaml"
        assert settled.instance_etcd_endpoints[0].startswith(f"http://{GATEWAY}:")


async def test_nobody_gets_in_without_a_password(config: Config) -> None:
    async with running(config) as settled:
        anonymous = settled.model_copy(update={"etcd_user": None, "etcd_password_file": None})

        with pytest.raises(Refused):
            await text(anonymous)


async def test_passwords_lie_in_files_that_only_their_owner_reads(config: Config) -> None:
    async with running(config):
        modes = {
            name: (config.state_dir / name).stat().st_mode & 0o777 for name in ("etcd-root", "etcd-pgswarm")
        }

        assert modes == {"etcd-root": 0o600, "etcd-pgswarm": 0o600}
        identity = Identity.of(pid(config))
        assert identity is not None
        assert (config.state_dir / "etcd-root").read_text().strip() not in str(identity.command_line())


async def test_data_and_passwords_are_there_again_after_a_stop(config: Config) -> None:
    async with running(config) as settled:
        await write(settled, "kept")
    async with running(config) as settled:
        assert await text(settled) == "kept"


async def test_it_ends_with_the_block(config: Config) -> None:
    async with running(config):
        number = pid(config)

    assert Identity.of(number) is None
    assert not (config.state_dir / "etcd.pid").exists()


async def test_an_etcd_that_dies_comes_back_with_its_data(config: Config) -> None:
    log = Lines()
    async with running(config, log) as settled:
        await write(settled, "kept")
        first = pid(config)
        os.kill(first, signal.SIGKILL)
        await until(lambda: events(log).count("etcd runs") == 2)

        assert pid(config) != first
        assert await text(settled) == "kept"


async def test_an_etcd_left_by_a_crash_is_taken_over_and_ends_with_the_new_block(config: Config) -> None:
    left = abandon(config)
    log = Lines()
    async with running(config, log) as settled:
        await write(settled, "x")

        assert pid(config) == left
        assert "took over the etcd that an earlier process left" in events(log)

    await until(lambda: Identity.of(left) is None)


async def test_an_adopted_etcd_that_dies_is_started_again(config: Config) -> None:
    left = abandon(config)
    log = Lines()
    async with running(config, log) as settled:
        os.kill(left, signal.SIGKILL)
        await until(lambda: "etcd runs" in events(log))

        await write(settled, "x")
        assert pid(config) != left


async def test_an_etcd_left_with_other_flags_is_replaced(config: Config) -> None:
    left = abandon(config)
    port = config.etcd_endpoints[0].rpartition(":")[2]
    moved = config.model_copy(update={"instance_etcd_endpoints": (f"http://127.0.0.3:{port}",)})
    async with running(moved) as settled:
        assert pid(config) != left
        assert Identity.of(left) is None
        assert await text(settled) is None


async def test_a_frozen_etcd_is_replaced(config: Config) -> None:
    left = abandon(config)
    os.kill(left, signal.SIGSTOP)
    # The signal stops thread by thread: one that still runs could answer once more and be believed.
    await until(
        lambda: all("\nState:\tT" in file.read_text() for file in Path(f"/proc/{left}/task").glob("*/status"))
    )
    async with running(config):
        assert pid(config) != left
        assert Identity.of(left) is None


async def test_a_stranger_that_has_the_old_id_is_left_alone(config: Config, tmp_path: Path) -> None:
    stranger = await Child.start(["sleep", "60"], tmp_path / "log", {"PATH": os.defpath})
    try:
        Identity(stranger.identity.pid, stranger.identity.began - 1).save(config.state_dir / "etcd.pid")
        async with running(config):
            assert stranger.alive()
    finally:
        await stranger.stop(0)


async def test_switching_authentication_on_is_finished_when_it_was_interrupted(config: Config) -> None:
    from aetcd.rpc import rpc_pb2 as pb

    async with running(config) as settled:
        connection, _ = dial(settled)
        await connection.call("auth", "AuthDisable", pb.AuthDisableRequest())
        await connection.call("auth", "UserDelete", pb.AuthUserDeleteRequest(name="pgswarm"))
        changed = pb.AuthUserChangePasswordRequest(name="root", password="half-way")
        await connection.call("auth", "UserChangePassword", changed)
        await connection.close()
    async with running(config) as settled:
        root_file = config.state_dir / "etcd-root"
        await write(
            settled.model_copy(update={"etcd_user": "root", "etcd_password_file": root_file}), "by root"
        )
        await write(settled, "by pgswarm")
        nobody = Connection(settled.etcd_endpoints)
        with pytest.raises(Refused):
            await nobody.call("kv", "Range", pb.RangeRequest(key=b"a"))
        await nobody.close()


async def test_a_wrong_root_password_is_told_with_the_file_that_holds_it(config: Config) -> None:
    async with running(config):
        pass
    (config.state_dir / "etcd-root").write_text("something else\n")

    with pytest.raises(EmbeddedEtcdError, match="etcd-root is not the password"):
        async with running(config):
            pass
    assert not (config.state_dir / "etcd.pid").exists()


async def test_a_port_that_is_taken_is_told_and_its_owner_is_not_spoken_to(config: Config) -> None:
    with socket.socket() as other:
        other.bind((GATEWAY, int(config.etcd_endpoints[0].rpartition(":")[2])))
        other.listen()
        with pytest.raises(
            EmbeddedEtcdError, match=rf"cannot listen on {GATEWAY}:\d+: Address already in use"
        ):
            async with running(config):
                pass


async def test_an_etcd_that_cannot_start_is_told_with_the_end_of_its_log(config: Config) -> None:
    (config.state_dir / "etcd").write_text("a file where the data should be")

    with pytest.raises(EmbeddedEtcdError, match=r"(?s)ended at once.*not a directory"):
        async with running(config):
            pass


async def test_a_second_process_on_the_same_state_is_refused(config: Config) -> None:
    async with running(config) as settled:
        with pytest.raises(EmbeddedEtcdError, match="another pgswarm runs"):
            async with running(config):
                pass
        assert await text(settled) is None


async def test_without_the_program_the_sentence_says_where_it_goes(config: Config) -> None:
    (config.state_dir / "bin/etcd").unlink()
    path = os.environ["PATH"]
    os.environ["PATH"] = "/nonexistent"
    try:
        with pytest.raises(EmbeddedEtcdError, match="install etcd-server, or put it at"):
            async with running(config):
                pass
    finally:
        os.environ["PATH"] = path


async def test_endpoints_elsewhere_and_an_etcd_of_our_own_do_not_go_together(config: Config) -> None:
    elsewhere = config.model_copy(update={"etcd_endpoints": ("http://10.0.0.1:2379",)})

    with pytest.raises(EmbeddedEtcdError, match=r"give it as http://127\.0\.0\.1:PORT"):
        async with running(elsewhere):
            pass


async def test_what_the_block_raises_comes_out_as_it_is_and_etcd_ends(config: Config) -> None:
    numbers: list[int] = []

    async def block() -> None:
        async with running(config):
            numbers.append(pid(config))
            raise PgswarmError("mine")

    with pytest.raises(PgswarmError, match="mine"):
        await block()
    assert [Identity.of(number) for number in numbers] == [None]


async def test_cancelling_the_block_ends_etcd_and_stays_a_cancellation(config: Config) -> None:
    inside = asyncio.Event()

    async def block() -> None:
        async with running(config):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(block())
    await inside.wait()
    number = pid(config)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert Identity.of(number) is None


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    argv = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
    child = await Child.start(argv, tmp_path / "log", {"PATH": os.defpath})
    await until(lambda: (tmp_path / "log").read_text() == "ready\n")

    await child.stop(0.2)

    assert not child.alive()
