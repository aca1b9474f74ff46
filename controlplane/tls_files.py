"""PEM files that the settings name: read, and tried before anybody depends on them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.config import ConfigError, ConfigProblem


def read_pem(file: Path) -> bytes:
    """Raises: ConfigError when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as exc:
        problem = ConfigProblem(f"TLS file {file}", f"cannot be read: {exc.strerror}", "check path and mode")
        raise ConfigError((problem,)) from exc


def try_authorities(file: Path) -> None:
    """Raises: ConfigError when it holds no certificate."""
    with _usable(f"TLS file {file}", "give the authority's certificate as PEM"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)


def load_pair(context: ssl.SSLContext, cert_name: str, cert: Path, key_name: str, key: Path) -> None:
    """Raises: ConfigError when the two files do not make a certificate with its key."""
    with _usable(f"{cert_name} {cert}, {key_name} {key}", "give a matching PEM pair, the key not encrypted"):
        # Without a password given here, an encrypted key would make OpenSSL ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")


@contextmanager
def _usable(source: str, fix: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        why = exc.reason if isinstance(exc, ssl.SSLError) and exc.reason else exc.strerror
        raise ConfigError((ConfigProblem(source, f"cannot be used: {why}", fix),)) from exc
