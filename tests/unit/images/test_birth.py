"""What the Postgres image does about a data directory that is not finished. Runs the image's own programs."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconcilers.resources import patroni_file
from tests.unit.images.gateway import Gateway, serving

IMAGE = Path(__file__).parents[3] / "images" / "postgres"
SUPERUSER = {"username": "pgswarm", "password": "a:b\\c"}
OURS, OTHERS = "7300000000000000001", "7300000000000000002"
PARENT = """
import subprocess, sys
print("code", subprocess.run(sys.argv[1:]).returncode)
"""


@dataclass
class Volume:
    """What lies under /var/lib/pgswarm, and the instance's etcd."""

    home: Path
    gateway: Gateway
    settings: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    """The configuration, word for word, instead of `settings`."""

    @property
    def pgdata(self) -> Path:
        return self.home / "pgdata"

    @property
    def mark(self) -> str | None:
        file = self.home / ".unfinished"
        return file.read_text().strip() if file.exists() else None

    def fill(self, identifier: str = "") -> None:
        """A data directory; without an identifier one that never came as far as pg_control."""
        (self.pgdata / "global").mkdir(parents=True)
        (self.pgdata / "PG_VERSION").write_text("17\n")
        if identifier:
            control = struct.pack("=Q", int(identifier)) + bytes(8184)
            (self.pgdata / "global" / "pg_control").write_bytes(control)

    def write_mark(self, word: str) -> None:
        (self.home / ".unfinished").write_text(word + "\n")

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{self.home / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "PGDATA": str(self.pgdata), "PGSWARM_BIRTH_PATIENCE_S": "0", **more}

    def birth(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """As a child of a process of its own, which stands for Patroni."""
        config = self.home / "patroni.yml"
        config.write_text(self.text or json.dumps(self.settings))
        return subprocess.run(
            ["/usr/bin/python3", "-c", PARENT, str(IMAGE / "birth"), argv[0], str(config), *argv[1:]],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def begin(self) -> str:
        done = self.birth("begin")
        assert "code 0" in done.stdout, done.stderr
        return done.stderr

    def program(self, name: str, text: str) -> Path:
        file = self.home / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return file


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Callable[..., Volume]]:
    with ExitStack() as stack:

        def make(initialize: str | None, *, bootstraps: bool = True) -> Volume:
            gateway = stack.enter_context(serving(initialize))
            replication = {"username": "replicator", "password": "it's"}
            settings: dict[str, Any] = {
                "namespace": "/patroni/",
                "scope": "orders-n1",
                "name": "orders-n1-aaaaaa",
                "etcd3": {"hosts": [f"127.0.0.1:{gateway.port}"], "protocol": "http"},
                "postgresql": {"authentication": {"replication": replication, "superuser": SUPERUSER}},
            }
            if bootstraps:
                settings["bootstrap"] = {"post_bootstrap": "birth"}
            made = Volume(tmp_path, gateway, settings)
            made.program("psql", '#!/bin/sh\ncat >>"$PGDATA/../psql-was-told"\n')
            return made

        yield make


# --- begin ----------------------------------------------------------------------------------------------


def test_an_empty_directory_is_marked(volume: Callable[..., Volume]) -> None:
    one = volume(None)
    one.begin()

    assert one.mark == "unborn"
    assert not one.pgdata.exists()


def test_a_configuration_that_a_person_wrote_is_left_to_that_person(volume: Callable[..., Volume]) -> None:
    one = volume(None)
    one.text = "scope: mine\netcd3: {hosts: [127.0.0.1:1]}\n"
    said = one.begin()

    assert "is not pgswarm's" in said
    assert (one.mark, one.gateway.asked) == (None, [])


def test_data_without_a_mark_is_never_touched_and_etcd_not_asked(volume: Callable[..., Volume]) -> None:
    one = volume("")
    one.fill()
    one.begin()

    assert (one.mark, one.gateway.asked, one.gateway.value) == (None, [], "")
    assert (one.pgdata / "PG_VERSION").exists()


def test_what_initdb_did_not_finish_is_wiped_and_another_may_begin(volume: Callable[..., Volume]) -> None:
    one = volume("")
    one.fill()
    one.write_mark("unborn")
    (one.home / "notes").write_text("not ours")
    said = one.begin()

    assert not one.pgdata.exists()
    assert one.gateway.value is None
    assert (one.mark, (one.home / "notes").read_text()) == ("unborn", "not ours")
    assert "it is wiped and made anew" in said


def test_who_died_before_initdb_began_takes_its_word_back(volume: Callable[..., Volume]) -> None:
    one = volume("")
    one.begin()

    assert one.gateway.value is None


def test_who_may_not_initialise_leaves_the_word_of_who_does(volume: Callable[..., Volume]) -> None:
    one = volume("", bootstraps=False)
    one.write_mark("unborn")
    one.begin()

    assert one.gateway.value == ""


@pytest.mark.parametrize("value", [OURS, OTHERS])
def test_an_identifier_is_never_taken_back(volume: Callable[..., Volume], value: str) -> None:
    one = volume(value)
    one.begin()

    assert one.gateway.value == value


def test_data_that_etcd_calls_the_nodes_is_kept(volume: Callable[..., Volume]) -> None:
    """The container died between the claim and the removal of the mark."""
    one = volume(OURS)
    one.fill(OURS)
    one.write_mark("unborn")
    one.begin()

    assert (one.pgdata / "global" / "pg_control").exists()
    assert (one.mark, one.gateway.value) == (None, OURS)


@pytest.mark.parametrize("value", [OTHERS, "", None])
def test_finished_data_that_did_not_become_the_nodes_is_wiped(
    volume: Callable[..., Volume], value: str | None
) -> None:
    one = volume(value)
    one.fill(OURS)
    one.write_mark("unborn")
    one.begin()

    assert not one.pgdata.exists()
    assert one.gateway.value == (value or None)


def test_a_copy_that_was_not_finished_is_wiped_although_it_has_the_right_identifier(
    volume: Callable[..., Volume],
) -> None:
    one = volume(OURS, bootstraps=False)
    one.fill(OURS)
    one.write_mark("copying")
    one.begin()

    assert not one.pgdata.exists()
    assert one.mark == "unborn"


def test_nothing_is_wiped_before_etcd_has_answered(volume: Callable[..., Volume]) -> None:
    one = volume(OURS)
    one.fill(OURS)
    one.write_mark("unborn")
    one.settings["etcd3"]["hosts"] = ["127.0.0.1:1"]
    done = one.birth("begin")

    assert "code 75" in done.stdout, done.stderr
    assert (one.pgdata / "PG_VERSION").exists()
    assert one.mark == "unborn"


def test_another_endpoint_is_asked_and_a_login_made(volume: Callable[..., Volume]) -> None:
    one = volume("")
    one.gateway.login = ("instance-orders-n1", "s3cret")
    one.settings["etcd3"] |= {"username": "instance-orders-n1", "password": "s3cret"}
    one.settings["etcd3"]["hosts"].insert(0, "127.0.0.1:1")
    one.begin()

    assert one.gateway.value is None


def test_a_file_of_an_older_pgswarm_gets_no_mark_that_nobody_would_remove(
    volume: Callable[..., Volume],
) -> None:
    one = volume(None)
    one.settings["bootstrap"] = {}
    one.begin()

    assert one.mark is None


# --- commit ---------------------------------------------------------------------------------------------


def test_data_becomes_the_nodes_with_its_replication_role(volume: Callable[..., Volume]) -> None:
    one = volume("")
    one.fill(OURS)
    one.write_mark("copying")
    done = one.birth("commit", "host=/run")

    assert "code 0" in done.stdout, done.stderr
    assert (one.mark, one.gateway.value) == (None, OURS)
    told = (one.home / "psql-was-told").read_text()
    assert "CREATE ROLE \"replicator\" WITH LOGIN REPLICATION PASSWORD 'it''s';" in told


def test_replicas_that_wait_find_their_slots(volume: Callable[..., Volume]) -> None:
    one = volume("")
    one.fill(OURS)
    one.gateway.members = ("orders-n1-aaaaaa", "orders-n1-bbbbbb", "orders-n1-C'C;--")
    done = one.birth("commit", "host=/run")
    told = (one.home / "psql-was-told").read_text()

    assert "code 0" in done.stdout, done.stderr
    assert "pg_create_physical_replication_slot('orders_n1_bbbbbb', true);" in told
    assert "aaaaaa" not in told
    assert "C'C" not in told


def test_nothing_hangs_on_the_slots(volume: Callable[..., Volume]) -> None:
    """By then psql goes on whatever fails, and ends well."""
    one = volume("")
    one.fill(OURS)
    one.gateway.members = ("orders-n1-bbbbbb",)
    one.birth("commit", "host=/run")
    told = (one.home / "psql-was-told").read_text()

    assert told.index("CREATE ROLE") < told.index("\\set ON_ERROR_STOP off") < told.index("slot('")


def test_one_login_is_enough_and_one_that_is_refused_is_made_again(volume: Callable[..., Volume]) -> None:
    one = volume("")
    one.fill(OURS)
    one.settings["etcd3"] |= {"username": "instance", "password": "secret"}
    one.gateway.login = ("instance", "secret")
    one.birth("commit", "host=/run")

    assert one.gateway.value == OURS
    assert one.gateway.asked.count("/v3/auth/authenticate") == 1


def test_the_superuser_logs_in_whatever_file_patroni_made_for_it(volume: Callable[..., Volume]) -> None:
    """Patroni 3.0's names the folder of the socket as the host, and libpq asks for localhost."""
    one = volume("")
    one.fill(OURS)
    one.program(
        "psql",
        '#!/bin/sh\nfile=$(echo "$*" | sed "s/.*passfile=\'\\(.*\\)\'/\\1/")\n'
        'cat "$file" >"$PGDATA/../login"; stat -c %a "$file" >>"$PGDATA/../login"; echo "$*" >"$PGDATA/../argv"\n',
    )
    done = one.birth("commit", "host=/run user=pgswarm")

    assert "code 0" in done.stdout, done.stderr
    assert (one.home / "login").read_text() == "*:*:*:pgswarm:a\\:b\\\\c\n600\n"
    argv = (one.home / "argv").read_text()
    assert SUPERUSER["password"] not in argv
    assert not Path(argv.rpartition("passfile='")[2].rstrip("'\n")).exists()


def test_a_lost_answer_is_asked_for_again(volume: Callable[..., Volume]) -> None:
    one = volume("")
    one.fill(OURS)
    one.gateway.lose_answers = 1
    one.settings["etcd3"]["hosts"] *= 2
    done = one.birth("commit", "host=/run")

    assert "code 0" in done.stdout, done.stderr
    assert (one.mark, one.gateway.value) == (None, OURS)


@pytest.mark.parametrize("value", [OTHERS, None])
def test_the_second_of_two_dies_and_changes_nothing(volume: Callable[..., Volume], value: str | None) -> None:
    """Its Patroni must not hear of an error: it would delete the record of the first."""
    one = volume("")
    one.fill(OURS)
    one.gateway.before = lambda: setattr(one.gateway, "value", value)
    done = one.birth("commit", "host=/run")

    assert done.returncode == -signal.SIGKILL
    assert "code" not in done.stdout
    assert (one.mark, one.gateway.value) == ("unborn", value)


def test_a_role_that_cannot_be_made_is_the_end_before_anything_is_claimed(
    volume: Callable[..., Volume],
) -> None:
    one = volume("")
    one.fill(OURS)
    one.program("psql", "#!/bin/sh\nexit 3\n")
    done = one.birth("commit", "host=/run")

    assert done.returncode == -signal.SIGKILL
    assert one.gateway.value == ""


# --- the copy -------------------------------------------------------------------------------------------


def copier(one: Volume, real: str) -> list[str]:
    """The wrapper in a bin folder of its own, as the image has it, before a real program of ours."""
    wrapper = one.home / "bin" / "pg_basebackup"
    one.program("pg_basebackup.real", f"#!/bin/sh\n{real}\n")
    wrapper.symlink_to(IMAGE / "pg_basebackup")
    return [str(wrapper), f"--pgdata={one.pgdata}", "-X", "stream", "--dbname=host=a b"]


def test_a_copy_is_marked_while_it_is_made(volume: Callable[..., Volume]) -> None:
    one = volume(OURS)
    one.write_mark("unborn")
    argv = copier(one, 'cat "$(dirname "$PGDATA")/.unfinished"; printf "%s|" "$@"; mkdir "$PGDATA"')
    done = subprocess.run(argv, env=one.environment(), capture_output=True, text=True, check=True)

    assert done.stdout == f"copying\n--pgdata={one.pgdata}|-X|stream|--dbname=host=a b|"
    assert one.mark is None


def test_a_copy_that_fails_says_so_and_stays_marked(volume: Callable[..., Volume]) -> None:
    one = volume(OURS)
    done = subprocess.run(copier(one, "exit 3"), env=one.environment(), check=False)

    assert (done.returncode, one.mark) == (3, "copying")


def test_a_copy_that_is_told_to_stop_stops_and_stays_marked(volume: Callable[..., Volume]) -> None:
    one = volume(OURS)
    argv = copier(one, "trap 'sleep 0.2; exit 4' TERM; echo on; while :; do sleep 0.05; done")
    with subprocess.Popen(argv, env=one.environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()

        assert process.wait(10) == 4
    assert one.mark == "copying"


def test_a_copy_that_fails_leaves_no_process_behind(volume: Callable[..., Volume]) -> None:
    """The real program's second process, which fetches the WAL, does not end with the first."""
    one = volume(OURS)
    argv = copier(one, "sleep 600 >/dev/null & echo $!; exit 3")
    done = subprocess.run(argv, env=one.environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 3
    _ends(int(done.stdout))


def test_the_wrapper_killed_alone_takes_the_program_with_it(volume: Callable[..., Volume]) -> None:
    one = volume(OURS)
    argv = copier(one, "echo $$; exec sleep 600")
    with subprocess.Popen(argv, env=one.environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        real = int(process.stdout.readline())
        process.kill()
        process.wait(10)

    _ends(real)
    assert one.mark == "copying"


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_persons_copy_marks_nothing(volume: Callable[..., Volume], elsewhere: bool) -> None:
    """To another place; or over data, which the real program refuses."""
    one = volume(OURS)
    one.fill(OURS)
    argv = copier(one, 'test ! -e "$PGDATA/../.unfinished"')
    if elsewhere:
        argv[1] = "--pgdata=/tmp/elsewhere"
    subprocess.run(argv, env=one.environment(), check=True)

    assert one.mark is None


def test_the_files_name_what_the_image_has() -> None:
    program, command, config = _post_bootstrap().split()

    assert (program, command) == ("/usr/local/lib/pgswarm/birth", "commit")
    assert config == patroni_file.TARGET
    assert (IMAGE / "birth").stat().st_mode & 0o111


def _post_bootstrap() -> str:
    golden = IMAGE.parents[1] / "tests" / "golden" / "patroni_yml" / "first-instance.json"
    return str(json.loads(golden.read_text())["bootstrap"]["post_bootstrap"])


def _ends(pid: int) -> None:
    deadline_s = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline_s, "it goes on"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
