"""
Which controller a database belongs on: rendezvous hashing over the live controllers. Pure.

Each (controller, key) pair has a fixed weight and the heaviest controller gets the key. A controller that
comes or goes moves only the keys that it gets or had: about 1/n of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import Record


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A live controller, as its record `controllers/<identity>` says."""

    identity: str
    boot: str
    """New with each start of the process: tells a restarted controller from its predecessor."""
    kinds: tuple[str, ...]
    """Kinds it can own; during an upgrade not everybody knows every kind."""
    able: bool = True
    """Its Docker answers and is a manager: what it owns it can see and change."""


def member_value(member: Member, facts: Mapping[str, Any]) -> bytes:
    """The record's text: what others need to place keys, and facts for people."""
    text = {**facts, "boot": member.boot, "kinds": list(member.kinds), "able": member.able}
    return json.dumps(text, sort_keys=True).encode()


def read_member(record: Record) -> Member | None:
    """The controller behind a record; None if the text is not one (anybody may write to etcd)."""
    try:
        text = json.loads(record.value)
        boot, kinds, able = text["boot"], text["kinds"], text.get("able", True)
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(boot, str) or not isinstance(kinds, list):
        return None
    identity = record.path.removeprefix(paths.CONTROLLERS)
    return Member(identity, boot, tuple(str(kind) for kind in kinds), able is not False)


def weight(identity: str, key: Key) -> bytes:
    """Compared as bytes. Hashing the pair, not the parts, keeps the weights of one controller independent."""
    # Anybody may write a key that is not UTF-8; the store shows such bytes as surrogates.
    pair = f"{identity}\0{key}".encode("utf-8", "surrogateescape")
    return blake2b(pair, digest_size=16).digest()


def ranking(key: Key, members: Iterable[Member]) -> list[str]:
    """
    Identities that can own the key, the one that should first.

    Those whose Docker is silent come last, and not never: where none answers, somebody must still say so.
    """
    found = [member for member in members if key.kind in member.kinds]
    found.sort(key=lambda one: (one.able, weight(one.identity, key), one.identity), reverse=True)
    return [member.identity for member in found]


def key_of(path: str, root: str) -> Key | None:
    """The key in `<root><kind>/<name>`; None if the path has another form."""
    if not path.startswith(root):
        return None
    kind, slash, name = path.removeprefix(root).partition("/")
    return Key(kind, name) if kind and slash and name and "/" not in name else None
