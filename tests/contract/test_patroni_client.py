"""The Patroni port: one set of promises for the fake and for the client against a REST server with TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import BasicAuth, web

from controlplane.clients.certificates import expires_s, issue_ca, issue_server
from controlplane.clients.patroni import BODY_BYTES_MAX, PatroniRest
from reconcilers.errors import Refused, Unavailable, UnknownFate
from reconcilers.ports import InstanceAccess, Patroni, PatroniView, Secret
from reconcilers.resources import pem
from tests.sim.patroni import PRIMARY, REPLICA, FakePatroni

NAME = "orders-n1-abc234"
BUNDLE = issue_ca("orders", time.time())


def said(view: PatroniView) -> dict[str, Any]:
    """How Patroni 4 puts a view into words."""
    location = "location" if view.role == "primary" else "replayed_location"
    words: dict[str, Any] = {
        "state": view.state,
        "postmaster_start_time": "2026-01-01 00:00:00.000000+00:00",
        "role": view.role,
        "server_version": view.server_version,
        "xlog": {location: view.lsn, "paused": False},
        "timeline": view.timeline,
        "dcs_last_seen": 1767225600,
        "database_system_identifier": view.sysid,
        "patroni": {"version": "4.0.4", "scope": "orders-n1", "name": NAME},
    }
    flags = {"pending_restart": view.pending_restart, "pause": view.paused}
    return words | {flag: True for flag, on in flags.items() if on}


class RestServer:
    """Patroni's REST API as far as pgswarm uses it, over TLS, in front of a FakePatroni."""

    def __init__(self, fake: FakePatroni) -> None:
        self.fake = fake
        self.answer: web.StreamResponse | None = None
        """Given instead of everything else."""
        self.delay_s = 0.0
        self.hang_up = False
        self.status = 200
        self.port = 0
        self.expires = ""
        """RFC 3339: end of the certificate that it presents."""
        self._runner: web.AppRunner | None = None

    async def start(self, folder: Path, port: int = 0) -> None:
        bundle = folder / "server.pem"
        issued = issue_server(BUNDLE, NAME, (), time.time())
        bundle.write_text(issued.reveal())
        self.expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_s(issued)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(bundle)
        app = web.Application()
        app.router.add_route("*", "/{verb}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.delay_s)
        if self.hang_up:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.answer is not None:
            return self.answer
        access = replace(ACCESS, rest_password=Secret(""))
        if request.method == "GET":
            return web.json_response(said(await self.fake.view(access)), status=self.status)
        if "Authorization" in request.headers:
            auth = BasicAuth.decode(request.headers["Authorization"])
            access = replace(access, rest_password=Secret(auth.password if auth.login == "pgswarm" else ""))
        body = await request.json()
        try:
            match request.match_info["verb"]:
                case "restart":
                    await self.fake.restart(access, only_if_pending=body.get("restart_pending", False))
                case "reload":
                    await self.fake.reload(access)
                    return web.Response(status=202, text="reload scheduled")
                case "reinitialize":
                    await self.fake.reinitialize(access)
        except Refused as exc:
            return web.Response(status=401 if "401" in exc.detail else 503, text=exc.detail)
        return web.Response(text="restarted successfully")


ACCESS = InstanceAccess(
    "127.0.0.1", "pgswarm", Secret("pw"), "pgswarm", Secret("rest"), pem.certificates(BUNDLE), NAME
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RestServer]:
    server = RestServer(FakePatroni({"127.0.0.1": PRIMARY}))
    await server.start(tmp_path)
    yield server
    await server.stop()


@pytest.fixture
async def rest(server: RestServer) -> AsyncIterator[PatroniRest]:
    client = PatroniRest(port=server.port, view_timeout_s=0.5, command_timeout_s=0.5)
    yield client
    await client.close()


@pytest.fixture(params=["fake", "rest"])
def both(request: pytest.FixtureRequest) -> tuple[Patroni, FakePatroni]:
    if request.param == "fake":
        fake = FakePatroni({"127.0.0.1": PRIMARY})
        return fake, fake
    return request.getfixturevalue("rest"), request.getfixturevalue("server").fake


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(PRIMARY, id="a primary"),
        pytest.param(REPLICA, id="a replica"),
        pytest.param(replace(PRIMARY, pending_restart=True, paused=True), id="pending restart, paused"),
        pytest.param(replace(REPLICA, state="starting", role="replica", timeline=0, lsn=0), id="starting"),
    ],
)
async def test_a_view_arrives_as_it_is(both: tuple[Patroni, FakePatroni], view: PatroniView) -> None:
    patroni, fake = both
    fake.views["127.0.0.1"] = view

    assert replace(await patroni.view(ACCESS), certificate_expires="") == view


async def test_the_end_of_the_certificate_that_was_presented_is_told_every_time(
    tmp_path: Path, server: RestServer, rest: PatroniRest
) -> None:
    """Also over a connection that was kept, and anew after a restart with another certificate."""
    assert server.expires
    for access in (ACCESS, ACCESS, replace(ACCESS, server_name="")):
        assert (await rest.view(access)).certificate_expires == server.expires
    another, port = RestServer(server.fake), server.port
    await server.stop()
    await asyncio.sleep(1.1)
    await another.start(tmp_path, port)

    assert (await rest.view(ACCESS)).certificate_expires == another.expires > server.expires
    await another.stop()


async def test_a_pending_restart_is_carried_out_once(both: tuple[Patroni, FakePatroni]) -> None:
    patroni, fake = both
    fake.views["127.0.0.1"] = replace(PRIMARY, pending_restart=True)
    await patroni.restart(ACCESS)

    with pytest.raises(Refused):
        await patroni.restart(ACCESS)

    assert fake.restarts == ["127.0.0.1"]
    await patroni.restart(ACCESS, only_if_pending=False)
    assert len(fake.restarts) == 2


async def test_reload_and_reinitialize_reach_patroni(both: tuple[Patroni, FakePatroni]) -> None:
    patroni, fake = both
    await patroni.reload(ACCESS)
    with pytest.raises(Refused, match="leader"):
        await patroni.reinitialize(ACCESS)
    fake.views["127.0.0.1"] = REPLICA

    await patroni.reinitialize(ACCESS)

    assert (fake.reloads, fake.reinitialized) == (["127.0.0.1"], ["127.0.0.1"])


async def test_a_wrong_rest_password_is_refused(both: tuple[Patroni, FakePatroni]) -> None:
    patroni, fake = both

    with pytest.raises(Refused, match="401") as caught:
        await patroni.reload(replace(ACCESS, rest_password=Secret("canary")))

    assert fake.reloads == []
    assert "canary" not in str(caught.value)


async def test_503_with_a_body_is_an_answer(server: RestServer, rest: PatroniRest) -> None:
    server.fake.views["127.0.0.1"] = replace(REPLICA, state="creating replica")
    server.status = 503

    assert (await rest.view(ACCESS)).state == "creating replica"


async def test_old_words_mean_the_same(server: RestServer, rest: PatroniRest) -> None:
    server.answer = web.json_response(said(PRIMARY) | {"role": "master"})

    assert (await rest.view(ACCESS)).role == "primary"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>502 Bad Gateway</html>", id="html"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"state": 5}', id="no state"),
        pytest.param(b'{"state": "running"', id="cut off"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b" " * (BODY_BYTES_MAX + 1), id="too long"),
    ],
)
async def test_garbage_is_unavailable(server: RestServer, rest: PatroniRest, body: bytes) -> None:
    server.answer = web.Response(body=body)

    with pytest.raises(Unavailable):
        await rest.view(ACCESS)


async def test_odd_values_do_not_break_a_view(server: RestServer, rest: PatroniRest) -> None:
    odd = {
        "state": "running",
        "timeline": "x",
        "xlog": None,
        "server_version": None,
        "database_system_identifier": None,
    }
    server.answer = web.Response(text=json.dumps(odd))

    seen = replace(await rest.view(ACCESS), certificate_expires="")
    assert seen == PatroniView("running", "", 0, 0, False, False, "", 0)


async def test_silence_is_unavailable_for_reads_and_unknown_for_writes(
    server: RestServer, rest: PatroniRest
) -> None:
    server.delay_s = 2

    with pytest.raises(Unavailable):
        await rest.view(ACCESS)
    with pytest.raises(UnknownFate):
        await rest.restart(ACCESS)


async def test_hanging_up_is_unavailable_for_reads_and_unknown_for_writes(
    server: RestServer, rest: PatroniRest
) -> None:
    server.hang_up = True

    with pytest.raises(Unavailable):
        await rest.view(ACCESS)
    with pytest.raises(UnknownFate):
        await rest.restart(ACCESS)


async def test_nobody_there_is_unavailable_also_for_writes(server: RestServer, rest: PatroniRest) -> None:
    await server.stop()

    with pytest.raises(Unavailable):
        await rest.view(ACCESS)
    with pytest.raises(Unavailable):
        await rest.restart(ACCESS)


@pytest.mark.parametrize(
    "access",
    [
        pytest.param(
            replace(ACCESS, ca_pem=pem.certificates(issue_ca("orders", time.time()))), id="another CA"
        ),
        pytest.param(replace(ACCESS, server_name="orders-n1-other"), id="another instance at the address"),
        pytest.param(replace(ACCESS, ca_pem="not a certificate"), id="no CA"),
        pytest.param(replace(ACCESS, ca_pem=""), id="an empty CA"),
    ],
)
async def test_who_cannot_prove_its_name_gets_no_password(
    server: RestServer, rest: PatroniRest, access: InstanceAccess
) -> None:
    with pytest.raises(Unavailable):
        await rest.view(access)
    with pytest.raises(Unavailable):
        await rest.reload(access)

    assert server.fake.reloads == []


async def test_without_a_name_the_chain_alone_is_checked(rest: PatroniRest) -> None:
    assert (await rest.view(replace(ACCESS, server_name=""))).sysid == PRIMARY.sysid
