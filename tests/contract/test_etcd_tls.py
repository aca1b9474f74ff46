"""TLS on a real etcd: both sides show a certificate, and each checks the other's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from controlplane.clock import SystemClock
from controlplane.stores.connection import Connection, Tls
from controlplane.stores.keys import Keys
from controlplane.stores.store import EtcdStore
from reconcilers.errors import Unavailable
from reconcilers.ports import Put
from tests.contract.etcd_world import QUICK
from tests.etcd_server import EtcdServer, TlsFiles

StartEtcd = Callable[..., EtcdServer]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def files_for(authority: trustme.CA, folder: Path, *names: str) -> TlsFiles:
    leaf = authority.issue_cert(*names)
    files = TlsFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(files.ca)
    leaf.cert_chain_pems[0].write_to_path(files.cert)
    leaf.private_key_pem.write_to_path(files.key)
    return files


def tls_of(files: TlsFiles, **changes: bytes | str | None) -> Tls:
    given = {"ca": files.ca.read_bytes(), "cert": files.cert.read_bytes(), "key": files.key.read_bytes()}
    return Tls(**{**given, **changes})  # type: ignore[arg-type]


async def write(url: str, tls: Tls | None) -> None:
    connection = Connection([url], tls=tls, timeouts=QUICK)
    try:
        await EtcdStore(connection, Keys(), SystemClock()).commit([Put("a", b"1")])
    finally:
        await connection.close()


async def test_mutual_tls_works_by_address(
    own_etcd: StartEtcd, authority: trustme.CA, tmp_path: Path
) -> None:
    files = files_for(authority, tmp_path, "127.0.0.1")
    await write(own_etcd(tls=files).url, tls_of(files))


async def test_without_a_client_certificate_nothing_goes_through(
    own_etcd: StartEtcd, authority: trustme.CA, tmp_path: Path
) -> None:
    files = files_for(authority, tmp_path, "127.0.0.1")
    with pytest.raises(Unavailable):
        await write(own_etcd(tls=files).url, tls_of(files, cert=None, key=None))


async def test_a_server_of_another_authority_is_not_talked_to(
    own_etcd: StartEtcd, authority: trustme.CA, tmp_path: Path
) -> None:
    files = files_for(authority, tmp_path, "127.0.0.1")
    with pytest.raises(Unavailable):
        await write(own_etcd(tls=files).url, tls_of(files, ca=trustme.CA().cert_pem.bytes()))


async def test_a_certificate_for_another_name_is_refused_unless_that_name_is_expected(
    own_etcd: StartEtcd, authority: trustme.CA, tmp_path: Path
) -> None:
    files = files_for(authority, tmp_path, "etcd.internal")
    server = own_etcd(tls=files)
    with pytest.raises(Unavailable):
        await write(server.url, tls_of(files))
    await write(server.url, tls_of(files, server_name="etcd.internal"))


async def test_tls_material_for_an_endpoint_in_clear_is_refused(
    authority: trustme.CA, tmp_path: Path
) -> None:
    files = files_for(authority, tmp_path, "127.0.0.1")
    with pytest.raises(ValueError, match="clear"):
        Connection(["http://127.0.0.1:2379"], tls=tls_of(files))


def test_a_private_key_does_not_show_itself() -> None:
    assert "PRIVATE" not in repr(Tls(ca=b"", cert=b"", key=b"-----BEGIN PRIVATE KEY-----"))
