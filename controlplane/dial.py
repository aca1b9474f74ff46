"""From settings to a connection to etcd, its files read."""

from __future__ import annotations

from pathlib import Path

from controlplane.config import Config, ConfigError, ConfigProblem
from controlplane.stores.connection import Connection, Credentials, Tls
from controlplane.stores.keys import Keys


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
    """Raises: ConfigError when a PEM file cannot be read."""
    files = (config.etcd_ca, config.etcd_cert, config.etcd_key)
    if not any(files):
        return None
    ca, cert, key = (read_pem(file) if file is not None else None for file in files)
    return Tls(ca=ca, cert=cert, key=key)


def read_pem(file: Path) -> bytes:
    """Raises: ConfigError when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as exc:
        problem = ConfigProblem(f"TLS file {file}", f"cannot be read: {exc.strerror}", "check path and mode")
        raise ConfigError((problem,)) from exc
