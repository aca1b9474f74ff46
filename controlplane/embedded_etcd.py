"""
A single etcd as a child process, for a host that has no etcd cluster: data, passwords and log in the state directory.

It speaks on loopback and on the address of the Docker bridge, where Patroni's containers reach it, and nowhere
else; nobody gets in without a password. It outlives a crash of this process, and the next one takes it over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from controlplane.child_process import Child, Identity
from controlplane.config import Config
from controlplane.etcd_member import (
    USER,
    EmbeddedEtcdError,
    Layout,
    check_free,
    find_program,
    locked,
    password,
    settled,
    tail,
)
from controlplane.logger import Log
from controlplane.orchestrators.engine import LocalEngine
from controlplane.setting_types import is_loopback
from controlplane.stores.superusers import secure
from reconcilers.errors import PgswarmError, Refused, RetryableError
from reconcilers.ports import Clock, Ids, Secret

START_S = 30.0
"""Seconds in which etcd must answer; a data directory of 2 GiB takes a few."""
ADOPT_S = 5.0
STOP_S = 2.0
"""etcd waits for its clients' open watches, far longer than this; it is made to be killed and loses nothing."""
HEALTH_S = 2.0
POLL_S = 0.05
PAUSE_MIN_S, PAUSE_MAX_S = 0.2, 10.0
STEADY_S = 60.0
"""An etcd that ran this long died of something new: the pause before the next start is short again."""
LOG_BYTES_MAX = 10 * 1024**2


class EmbeddedEtcd:
    """Starts it, keeps it running, ends it."""

    def __init__(self, layout: Layout, program: Path, clock: Clock, ids: Ids, log: Log) -> None:
        self._layout, self._program = layout, program
        self._argv = layout.argv(program)
        self._clock, self._ids, self._log = clock, ids, log
        self._child: Child | None = None
        self._since_s = 0.0

    async def start(self) -> None:
        """Raises: EmbeddedEtcdError. Nothing of it runs on after that."""
        passwords = {
            "root": password(self._layout.root_password_file, self._ids),
            self._layout.user: password(self._layout.password_file, self._ids),
        }
        try:
            if not (await self._take_over() and await self._lets_us_in(passwords)):
                await self.stop()
                await self._launch()
                await self._secure(passwords, START_S)
        except BaseException:
            await self.stop()
            raise

    async def keep(self) -> None:
        """Start it again whenever it ends. Runs until it is cancelled."""
        pause_s = PAUSE_MIN_S
        while True:
            if self._child is not None:
                code = await self._child.ended()
                self._child.close()
                self._child = None
                self._log.error(
                    "etcd has ended; starting it again", exit_code=code, log=str(self._layout.log)
                )
                if self._clock.monotonic() - self._since_s >= STEADY_S:
                    pause_s = PAUSE_MIN_S
            await self._clock.sleep(pause_s + self._ids.jitter(pause_s / 4))
            pause_s = min(PAUSE_MAX_S, pause_s * 2)
            try:
                await self._launch()
            except EmbeddedEtcdError as error:
                await self.stop()
                self._log.error("etcd does not start", error=str(error))

    async def stop(self) -> None:
        """SIGTERM, a moment, SIGKILL."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop(STOP_S)
            self._layout.pid_file.unlink(missing_ok=True)

    def _alive(self) -> bool:
        return self._child is not None and self._child.alive()

    async def _take_over(self) -> bool:
        """Go on with what an earlier process left, if it is as this one would start it, else end that."""
        identity = Identity.load(self._layout.pid_file)
        child = Child.adopt(identity) if identity is not None else None
        if child is None:
            return False
        if child.identity.command_line() == self._argv and await healthy(self._layout.url):
            self._child, self._since_s = child, self._clock.monotonic()
            self._log.info("took over the etcd that an earlier process left", pid=child.identity.pid)
            return True
        self._log.warning("ending an etcd that an earlier process left", pid=child.identity.pid)
        await child.stop(STOP_S)
        return False

    async def _launch(self) -> None:
        try:
            child = await self._start_program()
        except OSError as exc:
            raise EmbeddedEtcdError(f"{self._program} cannot be started: {exc}") from exc
        await self._answering(child)
        self._log.info("etcd runs", pid=child.identity.pid, endpoints=self._layout.urls())

    async def _start_program(self) -> Child:
        layout = self._layout
        for url in layout.urls():
            check_free(urlsplit(url).hostname or "", layout.port)
        if layout.log.exists() and layout.log.stat().st_size > LOG_BYTES_MAX:
            layout.log.unlink()
        self._since_s = self._clock.monotonic()
        self._child = child = await Child.start(self._argv, layout.log, {"PATH": os.defpath})
        child.identity.save(layout.pid_file)
        return child

    async def _answering(self, child: Child) -> None:
        while True:
            answers = await healthy(self._layout.url)
            late = self._clock.monotonic() - self._since_s >= START_S
            if child.alive() and answers:
                return
            if late or not child.alive():
                what = f"does not answer after {START_S:.0f} s" if late else "ended at once"
                raise EmbeddedEtcdError(
                    f"etcd {what}; the end of {self._layout.log}:\n{tail(self._layout.log)}"
                )
            await self._clock.sleep(POLL_S)

    async def _lets_us_in(self, passwords: dict[str, Secret]) -> bool:
        """What answers one question may still be stuck on the next: then it is not taken over after all."""
        try:
            await self._secure(passwords, ADOPT_S)
        except EmbeddedEtcdError as error:
            self._log.warning("the etcd that was there does not let us in; replacing it", error=str(error))
            return False
        return True

    async def _secure(self, passwords: dict[str, Secret], limit_s: float) -> None:
        """A first answer may come before the member has elected itself, so what may pass is tried again."""
        deadline_s = self._clock.monotonic() + limit_s
        while True:
            try:
                return await secure(self._layout.url, passwords)
            except PgswarmError as error:
                refused = isinstance(error, Refused) and "log-in" in error.detail
                if refused:
                    file = self._layout.root_password_file
                    raise EmbeddedEtcdError(
                        f"{error}: {file} is not the password of the data in {self._layout.data}; put the file "
                        "that belongs to it back"
                    ) from error
                late = self._clock.monotonic() >= deadline_s
                if late or not isinstance(error, RetryableError) or not self._alive():
                    raise EmbeddedEtcdError(
                        f"authentication cannot be switched on: {error}; "
                        f"the end of {self._layout.log}:\n{tail(self._layout.log)}"
                    ) from error
            await self._clock.sleep(POLL_S)


@asynccontextmanager
async def embedded(config: Config, clock: Clock, ids: Ids, log: Log) -> AsyncIterator[Config]:
    """
    Run etcd for as long as the block; yields the settings with its addresses and credentials filled in.

    Raises:
        EmbeddedEtcdError: it cannot run here.
    """
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = find_program(config.state_dir)
    with locked(config.state_dir / "etcd.lock"):
        layout = await _layout(config, clock, log)
        etcd = EmbeddedEtcd(layout, program, clock, ids, log)
        await etcd.start()
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(etcd.keep(), name="embedded etcd")
                try:
                    yield settled(config, layout)
                except Exception as exc:  # the group would wrap it, and the caller knows it unwrapped
                    failure = exc
                finally:
                    keeper.cancel()
        finally:
            await etcd.stop()
        if failure is not None:
            raise failure


async def _layout(config: Config, clock: Clock, log: Log) -> Layout:
    own = urlsplit(config.etcd_endpoints[0])
    if len(config.etcd_endpoints) > 1 or own.scheme != "http" or not is_loopback(own.hostname or ""):
        raise EmbeddedEtcdError(
            f"embeddedEtcd runs etcd on this host, and etcdEndpoints is {', '.join(config.etcd_endpoints)}: "
            "give it as http://127.0.0.1:PORT, or leave it out"
        )
    return Layout(
        folder=config.state_dir,
        port=own.port or 0,
        gateway=await _gateway(config, clock, log),
        user=config.etcd_user or USER,
        password_file=config.etcd_password_file or config.state_dir / "etcd-pgswarm",
    )


async def _gateway(config: Config, clock: Clock, log: Log) -> str:
    """As the settings say; otherwise the engine is asked, and waited for."""
    if "instance_etcd_endpoints" in config.model_fields_set:
        return urlsplit(config.instance_etcd_endpoints[0]).hostname or ""
    engine, pause_s = LocalEngine(config.docker, config.cluster, clock), POLL_S
    try:
        while True:
            try:
                facts = await engine.facts()
                break
            except RetryableError as error:
                log.warning("waiting for a dependency", dependency="Docker", error=str(error))
            await clock.sleep(pause_s)
            pause_s = min(2.0, pause_s * 2)
    finally:
        await engine.close()
    if not facts.bridge_gateway:
        log.warning("Docker has no bridge network here: containers will not reach the embedded etcd")
    return facts.bridge_gateway


async def healthy(url: str) -> bool:
    """It answers, and sees itself as the leader."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HEALTH_S)) as session,
            session.get(f"{url}/health") as answer,
        ):
            return str((await answer.json(content_type=None)).get("health")) == "true"
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False
