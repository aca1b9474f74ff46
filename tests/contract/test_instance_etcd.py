"""
What instances show a real etcd that wants client certificates, on the door that Patroni uses: etcd's JSON gateway.

These are etcd's rules that `controlplane.instance_tls` refuses certificates by.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from controlplane.config import load
from controlplane.instance_tls import instance_tls
from tests.etcd_server import EtcdServer, TlsFiles

StartEtcd = Callable[..., EtcdServer]
USER, PASSWORD, OWN, OTHERS = "instance-x", "its-password", "/patroni/x/leader", "/pgswarm/v1/specs/a"
ADMIN = "admin"


@dataclass(frozen=True)
class Site:
    """An etcd with users and client certificates; `certificate(common_name)` makes a client's files."""

    etcd: EtcdServer
    authority: trustme.CA
    folder: Path

    def certificate(self, common_name: str | None) -> TlsFiles:
        leaf = self.authority.issue_cert("client.test", common_name=common_name)
        stem = self.folder / (common_name or "nobody")
        files = TlsFiles(self.folder / "ca.pem", stem.with_suffix(".pem"), stem.with_suffix(".key"))
        leaf.cert_chain_pems[0].write_to_path(files.cert)
        leaf.private_key_pem.write_to_path(files.key)
        return files

    def given(self, files: TlsFiles, *, etcd_auth: bool = True) -> tuple[Path, Path]:
        """The authority and the client PEM as an instance finds them in its container."""
        config = load(
            None,
            {},
            {
                "etcd_endpoints": self.etcd.url,
                "etcd_ca": str(files.ca),
                "instance_etcd_cert": str(files.cert),
                "instance_etcd_key": str(files.key),
            },
        )
        texts = instance_tls(config, etcd_auth=etcd_auth)
        assert texts.client is not None
        ca, client = self.folder / "etcd-ca.pem", self.folder / "etcd-client.pem"
        ca.write_text(texts.ca)
        client.write_text(texts.client.reveal())
        return ca, client

    def ask(
        self, seen: tuple[Path, Path], path: str, body: dict[str, str], token: str = ""
    ) -> dict[str, Any]:
        ca, client = seen
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(client, client)
        request = urllib.request.Request(
            f"{self.etcd.url}/v3/{path}", json.dumps(body).encode(), {"Authorization": token} if token else {}
        )
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return dict(json.loads(answer.read()))

    def login(self, seen: tuple[Path, Path]) -> str:
        return str(self.ask(seen, "auth/authenticate", {"name": USER, "password": PASSWORD})["token"])

    def put(self, seen: tuple[Path, Path], key: str, token: str = "") -> bool:
        """False: etcd said no."""
        body = {"key": base64.b64encode(key.encode()).decode(), "value": "eA=="}
        try:
            return "header" in self.ask(seen, "kv/put", body, token)
        except urllib.error.HTTPError:
            return False


@pytest.fixture
def site(own_etcd: StartEtcd, tmp_path: Path) -> Site:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "server.key")
    authority.cert_pem.write_to_path(files.ca)
    leaf.cert_chain_pems[0].write_to_path(files.cert)
    leaf.private_key_pem.write_to_path(files.key)
    etcd = own_etcd(tls=files)
    etcd.ctl("user", "add", f"{USER}:{PASSWORD}")
    etcd.ctl("role", "add", USER)
    etcd.ctl("role", "grant-permission", USER, "readwrite", "--prefix=true", "/patroni/x/")
    etcd.ctl("user", "grant-role", USER, USER)
    etcd.ctl("user", "add", f"{ADMIN}:admin-password")
    etcd.ctl("user", "grant-role", ADMIN, "root")
    etcd.switch_auth_on()
    return Site(etcd, authority, tmp_path)


def test_a_certificate_without_a_name_opens_the_door_and_the_login_says_what_for(site: Site) -> None:
    seen = site.given(site.certificate(None))
    token = site.login(seen)

    assert site.put(seen, OWN, token)
    assert not site.put(seen, OTHERS, token)
    assert not site.put(seen, OWN)


@pytest.mark.parametrize("name", [ADMIN, "nobodys-name"])
def test_the_door_is_shut_for_a_certificate_with_a_name_whatever_the_login(site: Site, name: str) -> None:
    token = site.login(site.given(site.certificate(None)))
    # With authentication on, this is what would be refused before etcd sees it.
    named = site.given(site.certificate(name), etcd_auth=False)

    assert not site.put(named, OWN, token)


def test_a_certificate_with_a_users_name_is_that_user_without_a_password(site: Site) -> None:
    """On the other door. It is why pgswarm's own certificate is not for instances."""
    theirs = EtcdServer(
        site.etcd.folder, tls=site.certificate(ADMIN), port=site.etcd.port, peer_port=site.etcd.peer_port
    )

    assert "OK" in theirs.ctl("put", OTHERS, "taken")
