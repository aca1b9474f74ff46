"""What a build takes over from the machine that it runs on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clustertest.lab.etcd import images_build

STANDS_STILL = 'Acquire::Check-Valid-Until "false";'


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its apt was told that the archive stands still."""
    program = tmp_path / "apt-config"
    program.write_text(
        f"#!/bin/sh\n[ \"$*\" = 'dump Acquire::Check-Valid-Until' ] && echo '{STANDS_STILL}'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("PGSWARM_APT_CONF", raising=False)


def test_lists_are_as_old_as_the_machine_itself_accepts(machine: None) -> None:
    assert images_build().apt_conf() == STANDS_STILL


def test_what_was_asked_for_comes_before_what_the_machine_has(
    machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSWARM_APT_CONF", "")
    assert images_build().apt_conf() == ""


def test_without_apt_a_build_asks_for_nothing_special(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PGSWARM_APT_CONF", raising=False)
    assert images_build().apt_conf() == ""
