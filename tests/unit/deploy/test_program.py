"""The settings that `make up` writes, and the launcher it puts on the path."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.config import load
from deploy import program
from deploy.site import Made, Site, site
from deploy.up import psql_line


@pytest.fixture
def where(tmp_path: Path) -> Site:
    return replace(site({}), state=tmp_path / "state", venv=tmp_path / "venv", launcher=tmp_path / "pgswarm")


def test_pgswarm_reads_the_settings_as_they_were_meant(where: Site) -> None:
    where.state.mkdir()
    program.write_config(where, Made(cluster="up-abc"))

    config = load(where.config, {}, {})
    assert config.embedded_etcd
    assert (config.host, config.cluster, config.state_dir) == ("host-1", "up-abc", where.state)
    assert (config.etcd_user, config.etcd_password_file) == ("pgswarm", where.state / "etcd-pgswarm")
    assert config.docker == f"unix://{where.socket}"


def test_settings_that_a_person_changed_stay(where: Site) -> None:
    where.state.mkdir()
    where.config.write_text("host: mine\n")
    program.write_config(where, Made(cluster="up-abc"))

    assert where.config.read_text() == "host: mine\n"


def test_the_process_is_started_again_when_its_settings_change(where: Site) -> None:
    where.state.mkdir()
    where.config.write_text("host: a\n")
    before = program.fingerprint(where)
    same = program.fingerprint(where)
    where.config.write_text("host: b\n")

    assert (before == same, before == program.fingerprint(where)) == (True, False)


def test_the_launcher_hands_settings_and_words_on(where: Site) -> None:
    where.pgswarm.parent.mkdir(parents=True)
    where.pgswarm.write_text('#!/bin/sh\necho "$PGSWARM_CONFIG" "$@"\n')
    where.pgswarm.chmod(0o755)

    assert program.write_launcher(where, str(where.launcher.parent)) == "pgswarm"
    said = subprocess.run(
        [where.launcher, "get", "a b"], capture_output=True, text=True, check=True, env={}
    ).stdout
    assert said == f"{where.config} get a b\n"


def test_where_another_pgswarm_comes_first_on_the_path_ours_is_called_by_its_place(where: Site) -> None:
    where.pgswarm.parent.mkdir(parents=True)
    where.pgswarm.write_text("#!/bin/sh\n")
    where.pgswarm.chmod(0o755)
    path = f"{where.pgswarm.parent}:{where.launcher.parent}"

    assert program.write_launcher(where, path) == str(where.launcher)


def test_a_launcher_of_somebody_else_stays_and_the_way_round_it_is_told(where: Site) -> None:
    where.launcher.write_text("#!/bin/sh\n# installed by a package\n")

    assert program.write_launcher(where) == f"PGSWARM_CONFIG={where.config} {where.pgswarm}"
    program.remove_launcher(where)
    assert where.launcher.read_text() == "#!/bin/sh\n# installed by a package\n"


def test_the_launcher_goes_with_make_down(where: Site) -> None:
    program.write_launcher(where)
    program.remove_launcher(where)

    assert not where.launcher.exists()


def test_the_line_to_paste_leads_to_the_primary_and_shows_no_password() -> None:
    endpoints = [
        {"role": "replica", "host": "10.0.0.2", "port": 1},
        {"role": "primary", "host": "10.0.0.1", "port": 6432},
    ]

    assert psql_line("pgswarm", endpoints) == (
        'PGPASSWORD="$(pgswarm credentials hello --role hello)" '
        'psql "host=10.0.0.1 port=6432 user=hello dbname=hello sslmode=require"'
    )
