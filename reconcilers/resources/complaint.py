"""Why an instance does not run, from its log, where it is something that only a person can mend. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from crds.instance import Problem

LINES = 60
"""Of the log; Patroni says a dozen about each start that fails."""
SINCE_S = 120.0
LINE_MAX = 160
DISK_FULL = "DiskFull"
FULL = Problem(reason=DISK_FULL, message="the disk of its volume is full")
KNOWN = (
    ("No space left on device", DISK_FULL, FULL.message),
    ("Disk quota exceeded", DISK_FULL, "the quota of its volume is used up"),
    ("Read-only file system", "DiskReadOnly", "the disk of its volume is read-only"),
    ("Input/output error", "DiskBroken", "the disk of its volume cannot be read or written"),
    ("another instance runs on this data directory", "VolumeInUse", "something else runs on its volume"),
    ("is not writable for uid", "VolumeNotWritable", "its volume cannot be written by the user of the image"),
    ("database files are incompatible with server", "DataIncompatible", "its data is of another version"),
)
"""Words of the kernel, of Postgres or of the image's entrypoint -> reason, and what it means."""


def heard(log: Sequence[str]) -> Problem | None:
    """The newest reason that the log names, or None."""
    for line in reversed(log):
        for words, reason, meaning in KNOWN:
            if words in line:
                return Problem(reason=reason, message=f"{meaning}: {_plain(line)}")
    return None


def _plain(line: str) -> str:
    """Without what a terminal or a table would take for commands."""
    return "".join(sign if sign.isprintable() else " " for sign in line).strip()[-LINE_MAX:]
