"""The API over real sockets: routes, problems, health, TLS, and the document that describes it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.test_utils import TestClient, TestServer

from controlplane.api import openapi
from controlplane.api.app import build
from controlplane.api.routes import ROUTES
from controlplane.api.schemas import Check, VersionView
from controlplane.api.server import serving
from controlplane.config import ConfigError, load
from reconcilers.ports import Records
from tests.unit.controlplane.observers import Lines
from tests.unit.controlplane.test_views import filled


@dataclass
class Process:
    """A facade without a process behind it."""

    records: Records = field(default_factory=filled)
    checks: list[Check] = field(default_factory=lambda: [Check(name="mirror", ok=True)])

    def readiness(self) -> list[Check]:
        return self.checks

    def version(self) -> VersionView:
        return VersionView(version="0.1.0", host="host-1")

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return f"# accept {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"


class Broken(Process):
    def readiness(self) -> list[Check]:
        raise RuntimeError("hunter2")


Client = TestClient[Any, Any]


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
async def client(process: Process) -> AsyncIterator[Client]:
    async with TestClient(TestServer(build(process, Lines()))) as found:
        yield found


async def test_databases_and_hosts_are_listed(client: Client) -> None:
    databases = await (await client.get("/v1/databases")).json()
    hosts = await (await client.get("/v1/hosts")).json()

    assert [item["metadata"]["name"] for item in databases["items"]] == ["orders"]
    assert databases["revision"] == 12
    assert [item["status"]["phase"] for item in hosts["items"]] == ["Up", "Down"]


async def test_one_database_is_shown_in_camel_case(client: Client) -> None:
    answer = await client.get("/v1/databases/orders")
    body = await answer.json()

    assert answer.status == 200
    assert (body["apiVersion"], body["kind"], body["status"]["phase"]) == (
        "pgswarm.dev/v1",
        "Database",
        "Ready",
    )
    assert body["status"]["nodes"][0]["instances"][1]["lagBytes"] == 0
    assert len(body["events"]) == 2


@pytest.mark.parametrize(
    "path", ["/v1/databases/nobody", "/v1/hosts/nobody", "/v1/nothing", "/", "/v1/databases/%00"]
)
async def test_what_is_not_there_is_a_404_problem(client: Client, path: str) -> None:
    answer = await client.get(path)
    body = await answer.json()

    assert (answer.status, answer.content_type) == (404, "application/problem+json")
    assert (body["status"], body["title"]) == (404, "Not Found")


async def test_writing_is_refused_with_what_is_allowed(client: Client) -> None:
    answer = await client.post("/v1/databases", json={})

    assert (answer.status, answer.content_type) == (405, "application/problem+json")
    assert "GET" in answer.headers["Allow"]


async def test_live_while_the_loop_turns_and_ready_while_all_checks_pass(
    client: Client, process: Process
) -> None:
    assert (await client.get("/livez")).status == 200
    assert (await client.get("/readyz")).status == 200

    process.checks.append(Check(name="lease", ok=False, detail="etcd did not answer"))
    answer = await client.get("/readyz")

    assert (await client.get("/livez")).status == 200
    assert answer.status == 503
    assert (await answer.json())["checks"][1] == {
        "name": "lease",
        "ok": False,
        "detail": "etcd did not answer",
    }


async def test_metrics_are_served_in_the_format_asked_for(client: Client) -> None:
    answer = await client.get("/metrics", headers={"Accept": "x/y"})

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert await answer.text() == "# accept x/y\n"


async def test_version(client: Client) -> None:
    assert await (await client.get("/v1/version")).json() == {
        "version": "0.1.0",
        "apiVersion": "pgswarm.dev/v1",
        "host": "host-1",
    }


async def test_an_error_inside_is_logged_and_its_words_are_not_sent() -> None:
    log = Lines()
    async with TestClient(TestServer(build(Broken(), log))) as client:
        answer = await client.get("/readyz")
        body = await answer.text()

    assert (answer.status, answer.content_type) == (500, "application/problem+json")
    assert "hunter2" not in body
    assert log.at("error") == ["a request failed on a bug"]


async def test_nothing_is_cached(client: Client) -> None:
    for path in ("/v1/databases", "/readyz", "/nothing"):
        assert (await client.get(path)).headers["Cache-Control"] == "no-store"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_the_document_describes_every_route_and_every_reference_in_it_leads_somewhere(
    client: Client,
) -> None:
    document = await (await client.get("/openapi.json")).json()
    registered = {resource.canonical for resource in build(Process(), Lines()).router.resources()}

    assert document["openapi"] == "3.1.0"
    assert document["paths"].keys() == registered
    for reference in references(document):
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


async def test_every_answer_has_the_fields_that_the_document_promises(client: Client) -> None:
    schemas = openapi.document("0.1.0")["components"]["schemas"]
    for route in ROUTES:
        name = "host-1" if "hosts" in route.path else "orders"
        body = await (await client.get(route.path.replace("{name}", name))).json()

        assert body.keys() == schemas[route.answer.__name__]["properties"].keys()


async def test_it_listens_where_the_settings_say_until_the_block_ends() -> None:
    config = load(None, {"PGSWARM_API_LISTEN": "127.0.0.1:0"}, {})
    async with aiohttp.ClientSession() as http:
        async with serving(config, Process(), Lines()) as port:
            answer = await http.get(f"http://127.0.0.1:{port}/livez")
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"http://127.0.0.1:{port}/livez")


async def test_a_port_in_use_is_an_error_that_says_what_to_do() -> None:
    async with serving(load(None, {"PGSWARM_API_LISTEN": "127.0.0.1:0"}, {}), Process(), Lines()) as port:
        taken = load(None, {"PGSWARM_API_LISTEN": f"127.0.0.1:{port}"}, {})
        with pytest.raises(ConfigError, match="--api-listen"):
            async with serving(taken, Process(), Lines()):
                pass


async def test_with_a_certificate_it_speaks_tls_and_nothing_else(tmp_path: Path) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "api.pem", tmp_path / "api-key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    pair.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    given: dict[str, str | None] = {"api_listen": "0.0.0.0:0", "api_cert": str(cert), "api_key": str(key)}

    async with serving(load(None, {}, given), Process(), Lines()) as port, aiohttp.ClientSession() as http:
        async with http.get(f"https://127.0.0.1:{port}/livez", ssl=context) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http://127.0.0.1:{port}/livez")


async def test_a_certificate_that_cannot_be_used_is_an_error_that_names_its_files(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("nonsense")
    given: dict[str, str | None] = {"api_cert": str(tmp_path / "c"), "api_key": str(tmp_path / "absent")}

    with pytest.raises(ConfigError, match="apiCert"):
        async with serving(load(None, {}, given), Process(), Lines()):
            pass
