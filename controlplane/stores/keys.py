"""Paths (relative, as the core says them) to etcd keys and back. Pure; nothing here knows etcd's protocol."""

from __future__ import annotations

from dataclasses import dataclass

PATRONI = "patroni/"
_SHADOWED = "./"


@dataclass(frozen=True, slots=True)
class Keys:
    """
    `specs/x` lies at `<prefix>specs/x`, `patroni/x` at `<patroni>x`.

    The mapping loses nothing: a key that somebody put below our prefix under the name `patroni/...` shows up as
    `./patroni/...`, so it can never be taken for one of Patroni's own, and bytes that are not UTF-8 survive.
    """

    prefix: str = "/pgswarm/v1/"
    patroni: str = "/patroni/"

    def __post_init__(self) -> None:
        for place in (self.prefix, self.patroni):
            if not (place.startswith("/") and place.endswith("/")) or len(place) < 2:
                raise ValueError(f"an etcd prefix starts and ends with a slash: {place!r}")
        if self.prefix.startswith(self.patroni) or self.patroni.startswith(self.prefix):
            raise ValueError(f"the prefixes {self.prefix!r} and {self.patroni!r} overlap")

    def key(self, path: str) -> bytes:
        """Raises: ValueError for a path that starts with a slash: it would be somebody else's key."""
        if path.startswith("/"):
            raise ValueError(f"a path is relative: {path!r}")
        if path.startswith(PATRONI):
            return _encode(self.patroni + path.removeprefix(PATRONI))
        if path.startswith(_SHADOWED):
            path = path.removeprefix(_SHADOWED)
        return _encode(self.prefix + path)

    def path(self, key: bytes) -> str:
        """Raises: ValueError for a key below neither prefix."""
        text = key.decode("utf-8", "surrogateescape")
        if text.startswith(self.patroni):
            return PATRONI + text.removeprefix(self.patroni)
        if not text.startswith(self.prefix):
            raise ValueError(f"not a key of ours: {key!r}")
        path = text.removeprefix(self.prefix)
        return _SHADOWED + path if path.startswith((PATRONI, _SHADOWED, "/")) else path

    def span(self, prefix: str) -> tuple[bytes, bytes]:
        """Key and range_end of everything below a path prefix; `""` is all of ours without Patroni's."""
        start = self.key(prefix)
        return start, end_of(start)


def end_of(prefix: bytes) -> bytes:
    """The first key after everything that starts with `prefix`."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else b"\0"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
