from __future__ import annotations

import pytest

from reconcilers.resources.complaint import LINE_MAX, heard

FULL = 'PANIC:  could not write to file "pg_wal/xlogtemp.71": No space left on device'


def test_the_newest_reason_counts() -> None:
    problem = heard(["mkdir: Read-only file system", "something", FULL, "LOG:  database system is shut down"])

    assert problem is not None
    assert problem.reason == "DiskFull"
    assert problem.message == f"the disk of its volume is full: {FULL}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("FATAL:  could not extend file: Disk quota exceeded", "DiskFull"),
        ("PANIC:  could not fsync file: Input/output error", "DiskBroken"),
        ("pgswarm: another instance runs on this data directory (/x/.lock is held)", "VolumeInUse"),
        ("pgswarm: /x is not writable for uid 999: it must belong to 999:999", "VolumeNotWritable"),
        ("FATAL:  database files are incompatible with server", "DataIncompatible"),
    ],
)
def test_reasons_that_only_a_person_can_mend_are_named(line: str, reason: str) -> None:
    problem = heard([line])

    assert problem is not None
    assert problem.reason == reason


def test_a_log_that_names_none_says_nothing() -> None:
    assert heard([]) is None
    assert heard(["LOG:  starting PostgreSQL 17", "FATAL:  the database system is starting up"]) is None


def test_what_is_shown_is_short_and_plain() -> None:
    problem = heard(["x" * 5000 + "\x1b[2J\tNo space left on device"])

    assert problem is not None
    assert problem.message.isprintable()
    assert len(problem.message) < LINE_MAX + 60
