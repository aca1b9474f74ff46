"""
Patroni's own configuration file, one an instance. It holds passwords, so it reaches the container as a Swarm secret.

Only what may not change while Postgres runs stands here. Everything else is dynamic configuration (`dcs.py`),
so that a new parameter does not restart a container.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from reconcilers.ports import Secret
from reconcilers.resources import credential, naming, topology

TARGET = "/run/secrets/patroni.yml"
SERVER_PEM = "/run/secrets/server.pem"
CA_PEM = "/etc/pgswarm/ca.pem"
ETCD_CA_PEM = "/etc/pgswarm/etcd-ca.pem"
ETCD_CLIENT_PEM = "/run/secrets/etcd-client.pem"
"""Certificate and key in one file, so that they can only change together."""
DATA = "/var/lib/pgswarm"
PGDATA = f"{DATA}/pgdata"
POSTGRES_PORT = 5432
REST_PORT = 8008


def render(
    one: topology.Instance,
    major: str,
    vault: Mapping[str, Secret],
    etcd_endpoints: Sequence[str],
    *,
    etcd_auth: bool,
    etcd_ca: bool = False,
    etcd_client: bool = False,
) -> Secret:
    """
    The file's text. JSON is YAML, and a JSON writer quotes every string right.

    Args:
        etcd_auth: Each instance logs in to etcd as a user of its own.
        etcd_ca: The instance has ETCD_CA_PEM; without it etcd is checked against the image's own roots.
        etcd_client: The instance has ETCD_CLIENT_PEM.
    """
    document: dict[str, Any] = {
        "scope": one.scope,
        "namespace": "/patroni/",
        "name": one.name,
        "log": {"level": "INFO"},
        "restapi": _rest(one, vault),
        "ctl": {"cacert": CA_PEM},
        "etcd3": _etcd(etcd_endpoints, ca=etcd_ca, client=etcd_client)
        | (_login(one, vault) if etcd_auth else {}),
        "postgresql": _postgres(one, major, vault),
        "watchdog": {"mode": "off"},
    }
    if one.bootstraps:
        # A member without this section never races to initialise: it waits for a primary and copies it. So all
        # instances of a node start at once, and which of them becomes the first primary is certain.
        document["bootstrap"] = {
            "initdb": ["data-checksums", {"encoding": "UTF8"}, {"locale": "C.UTF-8"}],
            # The moment from which it is the node's data: see images/postgres/birth.
            "post_bootstrap": f"/usr/local/lib/pgswarm/birth commit {TARGET}",
        }
    # Not indented: it is rendered in every pass, and Python's indenting writer costs five times as much.
    return Secret(json.dumps(document, sort_keys=True))


def _rest(one: topology.Instance, vault: Mapping[str, Secret]) -> dict[str, Any]:
    return {
        "listen": f"0.0.0.0:{REST_PORT}",
        "connect_address": f"{one.name}:{REST_PORT}",
        "certfile": SERVER_PEM,
        "keyfile": SERVER_PEM,
        "authentication": {"username": naming.REST_USER, "password": vault["rest"].reveal()},
    }


def _etcd(endpoints: Sequence[str], *, ca: bool, client: bool) -> dict[str, Any]:
    parts = [urlsplit(endpoint) for endpoint in endpoints]
    section: dict[str, Any] = {
        "hosts": [part.netloc for part in parts],
        "protocol": parts[0].scheme if parts else "http",
    }
    if ca:
        section["cacert"] = ETCD_CA_PEM
    if client:
        # It opens the connection and says nothing about who is there: that is the login below.
        section |= {"cert": ETCD_CLIENT_PEM, "key": ETCD_CLIENT_PEM}
    return section


def _login(one: topology.Instance, vault: Mapping[str, Secret]) -> dict[str, str]:
    return {
        "username": naming.etcd_user(one.name),
        "password": vault[credential.etcd(one.name)].reveal(),
    }


def _postgres(one: topology.Instance, major: str, vault: Mapping[str, Secret]) -> dict[str, Any]:
    tls = {"sslmode": "verify-full", "sslrootcert": CA_PEM}
    return {
        "listen": f"0.0.0.0:{POSTGRES_PORT}",
        "connect_address": f"{one.name}:{POSTGRES_PORT}",
        "use_unix_socket": True,
        "data_dir": PGDATA,
        "bin_dir": f"/usr/lib/postgresql/{major}/bin",
        "pgpass": "/tmp/pgpass",  # noqa: S108 - the container's own tmp, one user
        "authentication": {
            "superuser": {"username": naming.SUPERUSER, "password": vault["superuser"].reveal(), **tls},
            "replication": {
                "username": naming.REPLICATION_USER,
                "password": vault["replication"].reveal(),
                **tls,
            },
        },
        "parameters": {"unix_socket_directories": "/var/run/postgresql"},
        "basebackup": [{"checkpoint": "fast"}],
        "remove_data_directory_on_rewind_failure": True,
        "remove_data_directory_on_diverged_timelines": True,
    }
