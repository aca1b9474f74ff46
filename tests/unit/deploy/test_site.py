"""Where `make up` puts things, and what it remembers of what it made."""

from __future__ import annotations

from pathlib import Path

import pytest

from clustertest.lab.errors import LabError
from deploy.site import DEFAULT_SOCKET, Made, site


def test_docker_host_names_the_engine() -> None:
    where = site({"DOCKER_HOST": "unix:///run/other.sock"})

    assert (where.socket, where.named_socket) == (Path("/run/other.sock"), True)


def test_without_docker_host_it_is_the_default_socket() -> None:
    where = site({})

    assert (where.socket, where.named_socket) == (DEFAULT_SOCKET, False)


def test_an_engine_that_is_not_on_this_machine_is_refused() -> None:
    with pytest.raises(LabError, match=r"unix:///"):
        site({"DOCKER_HOST": "tcp://10.0.0.1:2375"})


def test_programs_see_this_sites_settings_and_nobody_elses(tmp_path: Path) -> None:
    outside = {"PGSWARM_ETCD_ENDPOINTS": "http://somewhere:2379", "LANG": "C"}
    environment = site({"PGSWARM_STATE_DIR": str(tmp_path)}).environment(outside)

    assert "PGSWARM_ETCD_ENDPOINTS" not in environment
    assert (environment["PGSWARM_CONFIG"], environment["LANG"]) == (str(tmp_path / "config.yaml"), "C")


def test_what_was_made_is_remembered(tmp_path: Path) -> None:
    made = Made(cluster="up-1", swarm=True, engine="process", forward_policy="ACCEPT")
    made.save(tmp_path)

    assert Made.exists(tmp_path)
    assert Made.load(tmp_path) == made


def test_without_a_record_nothing_was_made(tmp_path: Path) -> None:
    assert not Made.exists(tmp_path)
    assert Made.load(tmp_path) == Made()
