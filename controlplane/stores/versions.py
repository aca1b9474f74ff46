"""What is known of etcd's releases, and matters here. Pure."""

from __future__ import annotations

import re

_SOUND_FROM = {(3, 5): 33, (3, 6): 14, (3, 7): 1}
"""Patch level of each line with the fixes of 2026: nested transactions, prevKv, leases and watches obey the roles."""
_NUMBERS = re.compile(r"(\d+)\.(\d+)\.(\d+)")


_PROGRESS_FROM = {(3, 4): 25, (3, 5): 8}
"""Before these, an answer about progress could overtake the events before it."""


def progress_is_true(version: str) -> bool:
    """What this etcd says of a watch's progress holds for the events it has sent."""
    found = _NUMBERS.match(version)
    if found is None:
        return False
    major, minor, patch = (int(number) for number in found.groups())
    return (major, minor) > max(_PROGRESS_FROM) or patch >= _PROGRESS_FROM.get((major, minor), patch + 1)


def weakness_of(version: str) -> str:
    """Why this etcd does not keep its users apart; `""` if it does, as far as is known."""
    found = _NUMBERS.match(version)
    if found is None:
        return f"etcd {version!r} is of no known version"
    major, minor, patch = (int(number) for number in found.groups())
    newest = max(_SOUND_FROM)
    if (major, minor) > newest or patch >= _SOUND_FROM.get((major, minor), patch + 1):
        return ""
    wanted = ", ".join(f"{major}.{minor}.{patch}" for (major, minor), patch in sorted(_SOUND_FROM.items()))
    return (
        f"etcd {version} lets any of its users read and write every key (nested transactions are not "
        f"checked against roles): an instance that is broken into reaches the whole cluster; use {wanted} or later"
    )
