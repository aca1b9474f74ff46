"""Which Debian package brings which program."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.packages import docker_programs, missing


@pytest.mark.parametrize(
    ("text", "client"),
    [
        pytest.param('VERSION_ID="12"\n', "docker.io", id="Debian 12"),
        pytest.param('ID=debian\nVERSION_ID="13"\n', "docker-cli", id="Debian 13"),
        pytest.param("ID=debian\n", "docker-cli", id="unstable has no number"),
    ],
)
def test_dockers_client_is_in_a_package_of_its_own_from_13_on(tmp_path: Path, text: str, client: str) -> None:
    (tmp_path / "os-release").write_text(text)

    assert docker_programs(tmp_path / "os-release") == {"dockerd": "docker.io", "docker": client}


def test_only_what_is_not_there_is_missing_and_each_once() -> None:
    assert missing({"sh": "dash", "no-such-program": "b", "nor-this-one": "b"}) == ["b"]
