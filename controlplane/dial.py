"""From settings to a connection to etcd, its files read."""

from __future__ import annotations

import ssl

from controlplane.config import Config
from controlplane.stores.connection import Connection, Credentials, Tls
from controlplane.stores.keys import Keys
from controlplane.tls_files import load_pair, read_pem, try_authorities


def dial(config: Config) -> tuple[Connection, Keys]:
    """
    Make the connection (nothing is sent yet) and the key layout. Must run inside the event loop that uses it.

    Raises:
        ConfigError: a file cannot be read.
    """
    password = config.etcd_password()
    credentials = Credentials(config.etcd_user, password) if config.etcd_user and password else None
    return Connection(config.etcd_endpoints, credentials=credentials, tls=tls(config)), Keys(config.prefix)


def tls(config: Config) -> Tls | None:
    """Raises: ConfigError when a PEM file cannot be read, or is not what it should be."""
    files = (config.etcd_ca, config.etcd_cert, config.etcd_key)
    if not any(files):
        return None
    ca, cert, key = (read_pem(file) if file is not None else None for file in files)
    # The client itself would say no more than that nobody answers.
    if config.etcd_ca is not None:
        try_authorities(config.etcd_ca)
    if config.etcd_cert is not None and config.etcd_key is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        load_pair(context, "etcdCert", config.etcd_cert, "etcdKey", config.etcd_key)
    return Tls(ca=ca, cert=cert, key=key)
