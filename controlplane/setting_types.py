"""What a setting may look like: text from file, environment or flag in, a checked value out. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

_DURATION = re.compile(r"\A(\d+(?:\.\d+)?)(ms|s|m|h)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
CLUSTER = re.compile(r"\A[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")


def parse_duration(text: str) -> float:
    """Seconds of `10s`, `500ms`, `2m` or `1h`. Raises: ValueError."""
    match = _DURATION.match(text.strip())
    if match is None:
        raise ValueError("not a duration: a number and a unit, ms, s, m or h")
    return float(match[1]) * _SECONDS[match[2]]


def _seconds(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    found = _seconds(value)
    if isinstance(found, float) and not found.is_integer():
        raise ValueError("not whole seconds")
    return found


def between(least_s: float, most_s: float) -> AfterValidator:
    """Seconds within bounds, both included; the error says them with their unit."""

    def check(value: float) -> float:
        if not least_s <= value <= most_s:
            raise ValueError(f"not between {least_s:g}s and {most_s:g}s")
        return value

    return AfterValidator(check)


def _parts(value: Any) -> Any:
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if isinstance(parts, list) and not parts:
        raise ValueError("at least 1 URL is needed")
    return parts


def _url(value: str) -> str:
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise ValueError("not a URL with a port") from None
    if url.username or url.password:
        raise ValueError("a user or password does not belong in a URL, use etcdUser and etcdPasswordFile")
    if (
        url.scheme not in ("http", "https")
        or not url.hostname
        or port is None
        or url.path.strip("/")
        or url.query
    ):
        raise ValueError("not of the form http(s)://host:port")
    return f"{url.scheme}://{url.netloc}"


def check_prefix(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+/?", value) or f"{value}/".startswith("/patroni/"):
        raise ValueError("not an etcd prefix: /words/between/slashes, and not below /patroni")
    return value.rstrip("/") + "/"


def check_docker(value: str) -> str:
    if not value.startswith("unix:///"):
        raise ValueError(
            "not a local socket: pgswarm runs on the same host as the Docker engine it looks after"
        )
    return value


def check_listen(value: str) -> str:
    split_listen(value)
    return value


def check_address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        # It becomes part of lines that people paste into a shell.
        if len(value) > 253 or not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", value, re.ASCII):
            raise ValueError("not an IP address or a host's name, without port") from None
        return value


def check_subnet(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise ValueError("not an IPv4 network in CIDR form without host bits") from None
    if network.prefixlen > 20:
        raise ValueError("too small: each database takes a subnet of it, so give at least a /20")
    return str(network)


def matching(pattern: re.Pattern[str], words: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(words)
        return value

    return AfterValidator(check)


def split_listen(value: str) -> tuple[str, int]:
    """
    Split `host:port` or `[v6]:port`.

    Raises:
        ValueError: it is neither, or the port is not 0..65535.
    """
    host, colon, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("not of the form address:port")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """True when nothing outside this host can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Seconds = Annotated[float, BeforeValidator(_seconds)]
WholeSeconds = Annotated[int, BeforeValidator(_whole)]
Urls = Annotated[
    tuple[Annotated[str, AfterValidator(_url)], ...], BeforeValidator(_parts), Field(min_length=1)
]
