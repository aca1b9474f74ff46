"""Commands through click, on an etcd in memory: what they write, what they say, how they end."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result

from controlplane import cli
from controlplane.commands.remote import ApiSource, api_source
from controlplane.commands.session import EtcdSource, Session, Source, World
from controlplane.config import Config
from controlplane.stores.keyfile import load_kek
from controlplane.stores.vault import AesVault
from controlplane.version import VERSION
from crds.halted import Halted
from crds.meta import Key
from reconcilers import paths
from reconcilers.errors import Refused, Unavailable
from reconcilers.ports import Secret
from tests.sim.clock import FakeClock
from tests.sim.etcd import Call, FakeEtcd, FakeFeed, FakeStore
from tests.sim.loop import run
from tests.unit.controlplane import shown

PATH = paths.spec(shown.KEY)
ACCEPTED = paths.accepted(shown.KEY)
PROTECTED = shown.SPEC + b"  deletion: {protected: true}\n"
PURGED = shown.SPEC + b"  deletion: {policy: delete}\n"


class Still(FakeClock):
    """The server's clock stands: no test here lets a lease end."""

    def monotonic(self) -> float:
        return 0.0


class Desk:
    """Somebody at a shell, and an etcd."""

    def __init__(self, folder: Path) -> None:
        self.etcd = FakeEtcd(Still())
        self.folder = folder
        self.world = World(session=self._session, remote=self._remote, clock=_Noon(), run=run)

    @asynccontextmanager
    async def _session(self, _: Config) -> AsyncIterator[Session]:
        yield Session(FakeStore(self.etcd), FakeFeed(self.etcd))

    @asynccontextmanager
    async def _remote(self, url: str) -> AsyncIterator[Source]:
        assert url == "http://api:7432"
        yield EtcdSource(Session(FakeStore(self.etcd), FakeFeed(self.etcd)))

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Result:
        env = {"PGSWARM_CONFIG": "/dev/null", "PGSWARM_ETCD_ENDPOINTS": "http://etcd:2379"}
        return CliRunner().invoke(cli.main, arguments, obj=self.world, input=stdin, env=env)

    def file(self, text: bytes, name: str = "spec.yaml") -> str:
        path = self.folder / name
        path.write_bytes(text)
        return str(path)

    def value(self, path: str = PATH) -> bytes | None:
        record = self.etcd.get(path)
        return record.value if record else None

    def before(self, operation: str, effect: Callable[[], Any], *, times: int = 1) -> None:
        """Let something happen just before the next calls of one kind."""
        left = [times]

        async def gate(call: Call) -> None:
            if call.operation == operation and call.moment == "before" and left[0] > 0:
                left[0] -= 1
                effect()

        self.etcd.gate = gate


class _Noon(FakeClock):
    """Virtual time that begins at the moment for which the goldens were made."""

    def epoch_s(self) -> float:
        try:
            return shown.NOW_S + self.monotonic() - self.offset_s
        except RuntimeError:  # asked outside a loop, to show ages
            return shown.NOW_S


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def lose_answer(operation: str) -> Callable[[Call], Awaitable[None]]:
    async def gate(call: Call) -> None:
        if call.operation == operation and call.moment == "after":
            raise Unavailable("etcd", "lost")

    return gate


# --- status ---------------------------------------------------------------------------------------------


def test_status_shows_positions_as_patroni_has_them_in_etcd_now(desk: Desk) -> None:
    shown.fill(desk.etcd)
    desk.etcd.put(paths.patroni("orders-n1", "members/orders-n1-cccccc"), b'{"xlog_location": 67108800}')

    said = desk("status", "orders")
    row = next(line for line in said.output.splitlines() if "orders-n1-cccccc  host-3" in line)

    assert row.split()[7:10] == ["0/3FFFFC0", "64", "B"]


# --- apply ----------------------------------------------------------------------------------------------


def test_apply_creates_leaves_alone_and_configures(desk: Desk) -> None:
    file = desk.file(shown.SPEC)
    first, again = desk("apply", "-f", file), desk("apply", "-f", file)
    desk.file(shown.SPEC.replace(b"6432", b"6433"))
    changed = desk("apply", "-f", file)

    assert (first.output, first.exit_code) == ("database/orders created\n", 0)
    assert (again.output, again.exit_code) == ("database/orders unchanged\n", 0)
    assert (changed.output, changed.exit_code) == ("database/orders configured\n", 0)
    assert b"6433" in (desk.value() or b"")


def test_apply_keeps_the_authors_words_and_reads_stdin(desk: Desk) -> None:
    text = b"# our shop\n" + shown.SPEC

    assert desk("apply", "-f", "-", stdin=text).exit_code == 0
    assert desk.value() == text


def test_apply_takes_several_files_and_documents(desk: Desk) -> None:
    host = b"apiVersion: pgswarm.dev/v1\nkind: Host\nmetadata: {name: host-1}\n"
    other = shown.SPEC.replace(b"name: orders, labels", b"name: shop, labels").replace(b"6432", b"6433")

    said = desk("apply", "-f", desk.file(shown.SPEC + b"---\n" + other), "-f", desk.file(host, "host.yaml"))

    assert said.output == "database/orders created\ndatabase/shop created\nhost/host-1 created\n"


def test_one_invalid_spec_means_that_nothing_is_written_and_all_problems_are_told(desk: Desk) -> None:
    bad = shown.SPEC.replace(b"port: 6432", b"prot: 6432").replace(b"host-2", b"host-1")

    said = desk("apply", "-f", desk.file(shown.SPEC), "-f", desk.file(bad, "bad.yaml"))

    assert said.exit_code == 1
    assert desk.value() is None
    assert "bad.yaml:8:3: spec.prot: there is no such field" in said.stderr
    assert "fix: did you mean port?" in said.stderr
    assert "bad.yaml:7:34: spec.nodes[0].hosts[1]" in said.stderr


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["/nowhere.yaml"], "cannot be read"),
        (["-"], "there is no spec in -"),
        (["-", "-"], "there is no spec"),
    ],
)
def test_apply_without_a_spec_is_an_error(desk: Desk, files: list[str], words: str) -> None:
    said = desk("apply", *(part for file in files for part in ("-f", file)), stdin=b"# nothing\n")

    assert said.exit_code == 1
    assert words in said.stderr


def test_a_spec_that_changes_in_the_same_moment_is_not_overwritten(desk: Desk) -> None:
    desk.etcd.put(PATH, b"old")
    desk.before("commit", lambda: desk.etcd.put(PATH, b"somebody else's"))

    said = desk("apply", "-f", desk.file(shown.SPEC))

    assert said.exit_code == 1
    assert "changed since it was read" in said.stderr
    assert desk.value() == b"somebody else's"


def test_a_lost_answer_is_looked_up(desk: Desk) -> None:
    desk.etcd.gate = lose_answer("commit")

    assert desk("apply", "-f", desk.file(shown.SPEC)).output == "database/orders created\n"


def test_a_dry_run_writes_nothing(desk: Desk) -> None:
    said = desk("apply", "--dry-run", "-f", desk.file(shown.SPEC))

    assert said.output == "database/orders created (dry run)\n"
    assert desk.value() is None


@pytest.mark.parametrize(("state", "words"), [("retained", "adopts the data"), ("deleting", "waits until")])
def test_apply_says_when_an_earlier_database_left_something(desk: Desk, state: str, words: str) -> None:
    desk.etcd.put(ACCEPTED, shown.accepted(state).model_dump_json().encode())

    assert words in desk("apply", "-f", desk.file(shown.SPEC)).output


# --- get and status -------------------------------------------------------------------------------------


def test_get_lists_databases_and_hosts(desk: Desk) -> None:
    shown.fill(desk.etcd)

    databases, hosts, one = desk("get").output, desk("get", "--hosts").output, desk("get", "orders").output
    assert databases.splitlines()[1].split()[:4] == ["orders", "Ready", "True", "3/3"]
    assert one == databases
    assert [line.split()[1] for line in hosts.splitlines()[1:]] == ["Up", "Up", "Down"]


def test_get_of_nothing_says_how_to_begin(desk: Desk) -> None:
    said = desk("get")

    assert (said.exit_code, said.stdout) == (0, "")
    assert "pgswarm apply" in said.stderr


@pytest.mark.parametrize("command", ["get", "status"])
def test_json_and_yaml_say_the_same(desk: Desk, command: str) -> None:
    shown.fill(desk.etcd)
    as_json = json.loads(desk(command, "orders", "-o", "json").stdout)

    assert as_json == yaml.safe_load(desk(command, "orders", "-o", "yaml").stdout)
    assert as_json["status"]["observedRevision"] == 2


def test_status_is_the_golden_one(desk: Desk) -> None:
    shown.fill(desk.etcd)
    golden = (Path(__file__).parents[2] / "golden" / "cli" / "status-ready.txt").read_text()

    said = desk("status", "orders")

    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.split("\nEvents\n")[0] == golden.split("\nEvents\n")[0]
    assert "2m00s   Warning" in said.stdout or "2m00s  Warning" in said.stdout


def test_status_can_be_a_check(desk: Desk) -> None:
    shown.fill(desk.etcd)
    assert desk("status", "orders", "--check").exit_code == 0

    desk.etcd.put(paths.status(shown.KEY), shown.status(ready=False).model_dump_json().encode())
    assert desk("status", "orders").exit_code == 0
    assert desk("status", "orders", "--check").exit_code == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "nobody"),
        ("get", "--hosts", "nobody"),
        ("status", "nobody"),
        ("wait", "nobody"),
        ("delete", "nobody"),
        ("delete", "host/nobody"),
        ("confirm-deletion", "nobody"),
        ("resume", "nobody"),
        ("credentials", "nobody", "--role", "app"),
        ("schema", "nobody"),
    ],
)
def test_what_is_not_there_is_3(desk: Desk, arguments: tuple[str, ...]) -> None:
    said = desk(*arguments)

    assert said.exit_code == 3
    assert said.stderr.startswith("pgswarm: there is no ")


@pytest.mark.parametrize("command", [("get",), ("get", "orders"), ("status", "orders"), ("wait", "orders")])
def test_the_api_can_be_asked_instead_of_etcd(desk: Desk, command: tuple[str, ...]) -> None:
    shown.fill(desk.etcd)

    assert desk(*command, "--api", "http://api:7432").stdout == desk(*command).stdout


# --- wait -----------------------------------------------------------------------------------------------


def test_wait_ends_at_once_when_the_condition_is_met(desk: Desk) -> None:
    shown.fill(desk.etcd)
    said = desk("wait", "orders", "--for", "condition=Ready")

    assert (said.exit_code, said.stdout, said.stderr) == (0, "database/orders Ready met\n", "")


def test_wait_says_for_what_and_ends_when_it_comes(desk: Desk) -> None:
    shown.fill(desk.etcd, ready=False)
    ready = shown.status().model_dump_json().encode()
    looks = [0]

    async def gate(call: Call) -> None:
        looks[0] += call.operation == "list" and call.moment == "before"
        if looks[0] == 20 and call.moment == "before" and call.operation == "list":
            desk.etcd.put(paths.status(shown.KEY), ready)

    desk.etcd.gate = gate
    said = desk("wait", "orders")

    assert said.exit_code == 0
    assert said.stderr == "orders waits for InstancesDown: orders-n1-cccccc: Postgres is starting (0s)\n"


def test_ready_of_an_older_spec_is_not_waited_for(desk: Desk) -> None:
    shown.fill(desk.etcd)
    desk.etcd.put(PATH, shown.SPEC + b"# edited\n")

    said = desk("wait", "orders", "--timeout", "3s")

    assert said.exit_code == 4
    assert "waits for a controller to look at the spec" in said.stderr


def test_wait_gives_up_at_its_deadline(desk: Desk) -> None:
    shown.fill(desk.etcd, ready=False)

    said = desk("wait", "orders", "--timeout", "90s")

    assert said.exit_code == 4
    assert "gave up after 1m30s: orders waits for InstancesDown" in said.stderr


def test_wait_does_not_wait_for_an_invalid_spec(desk: Desk) -> None:
    shown.fill(desk.etcd)
    refused = shown.condition(
        "SpecValid", "False", "InvalidSpec", "line 3, spec.port: port 1 is out of range"
    )
    # Ready of the spec before it, which stays in force.
    status = shown.status()
    rest = [one for one in status.conditions if one.type != "SpecValid"]
    desk.etcd.put(
        paths.status(shown.KEY),
        status.model_copy(update={"conditions": (*rest, refused)}).model_dump_json().encode(),
    )

    said = desk("wait", "orders")

    assert said.exit_code == 1
    assert "port 1 is out of range" in said.stderr
    assert desk("wait", "orders", "--for", "condition=SpecValid=False").exit_code == 0


def test_wait_for_the_end(desk: Desk) -> None:
    shown.fill(desk.etcd)
    assert desk("wait", "orders", "--for", "delete", "--timeout", "1s").exit_code == 4

    retained = shown.status().model_copy(update={"phase": "Retained"})
    desk.etcd.put(paths.status(shown.KEY), retained.model_dump_json().encode())
    desk.etcd.remove(PATH)
    assert desk("wait", "orders", "--for", "delete").stdout == "database/orders is gone\n"

    desk.etcd.remove("", prefix=True)
    assert desk("wait", "orders", "--for", "delete").exit_code == 0


def test_wait_survives_an_etcd_that_is_away_for_a_while(desk: Desk) -> None:
    shown.fill(desk.etcd)

    def away() -> None:
        raise Unavailable("etcd", "away")

    desk.before("list", away, times=5)
    said = desk("wait", "orders")

    assert said.exit_code == 0
    assert "etcd did not answer" in said.stderr


@pytest.mark.parametrize(
    "arguments", [("--for", "Ready"), ("--for", "condition=Ready=Maybe"), ("--timeout", "10")]
)
def test_a_goal_that_makes_no_sense_is_a_usage_error(desk: Desk, arguments: tuple[str, ...]) -> None:
    assert desk("wait", "orders", *arguments).exit_code == 2


# --- delete and confirm ---------------------------------------------------------------------------------


def test_delete_removes_the_spec_and_says_what_stays(desk: Desk) -> None:
    shown.fill(desk.etcd)
    said = desk("delete", "orders")

    assert said.exit_code == 0
    assert "volumes and secrets stay" in said.stderr
    assert desk.value() is None
    assert desk.value(ACCEPTED) is not None


def test_a_protected_database_is_not_deleted(desk: Desk) -> None:
    desk.etcd.put(PATH, PROTECTED)
    said = desk("delete", "orders", "--yes")

    assert said.exit_code == 1
    assert "deletion.protected: false" in said.stderr
    assert desk.value() == PROTECTED


def test_the_accepted_rule_counts_not_an_edit_that_nobody_has_accepted(desk: Desk) -> None:
    desk.etcd.put(PATH, b"nonsense")
    desk.etcd.put(ACCEPTED, shown.accepted(spec=PROTECTED).model_dump_json().encode())

    assert desk("delete", "orders", "--yes").exit_code == 1
    assert desk.value() == b"nonsense"


def test_data_is_not_destroyed_without_a_word(desk: Desk) -> None:
    desk.etcd.put(PATH, PURGED)
    silent = desk("delete", "orders")

    assert silent.exit_code == 1
    assert "--yes" in silent.stderr
    assert desk.value() == PURGED

    said = desk("delete", "orders", "--yes")
    assert said.exit_code == 0
    assert "ALL DATA of orders" in said.stderr
    assert desk.value() is None


def test_a_spec_that_changed_after_it_was_shown_is_not_deleted(desk: Desk) -> None:
    desk.etcd.put(PATH, shown.SPEC)
    desk.before("commit", lambda: desk.etcd.put(PATH, PURGED))

    assert desk("delete", "orders", "--yes").exit_code == 1
    assert desk.value() == PURGED


def test_a_dry_deletion_only_talks(desk: Desk) -> None:
    desk.etcd.put(PATH, PURGED)

    assert desk("delete", "orders", "--dry-run").exit_code == 0
    assert desk.value() == PURGED


def test_a_hosts_spec_is_deleted_without_ado(desk: Desk) -> None:
    desk.etcd.put(paths.spec(Key("host", "host-1")), b"x")

    assert desk("delete", "host/host-1").output == "host/host-1 removed\n"
    assert desk("delete", "queue/host-1").exit_code == 2


def test_a_confirmation_is_for_the_incarnation_that_is_there(desk: Desk) -> None:
    desk.etcd.put(ACCEPTED, shown.accepted().model_dump_json().encode())
    asked = desk("confirm-deletion", "orders")
    said = desk("confirm-deletion", "orders", "--yes")

    assert asked.exit_code == 1
    assert (said.exit_code, said.stdout) == (0, "deletion of database/orders confirmed\n")
    assert desk.value(paths.confirmation(shown.KEY)) == shown.accepted().incarnation.encode()
    assert desk("confirm-deletion", "orders", "--yes").exit_code == 0


def test_nothing_is_confirmed_while_the_spec_is_there(desk: Desk) -> None:
    shown.fill(desk.etcd)

    assert desk("confirm-deletion", "orders", "--yes").exit_code == 1
    assert desk.value(paths.confirmation(shown.KEY)) is None


# --- resume ---------------------------------------------------------------------------------------------

HALTED = Halted(epoch=3, newest=90, since="2026-01-01T00:00:00Z").model_dump_json().encode()


def test_a_halted_database_goes_on_when_a_person_says_so(desk: Desk) -> None:
    shown.fill(desk.etcd)
    desk.etcd.put(paths.halted(shown.KEY), HALTED)
    asked = desk("resume", "orders")
    assert (asked.exit_code, desk.value(paths.halted(shown.KEY))) == (1, HALTED)

    desk.etcd.remove(paths.owner(shown.KEY))
    said = desk("resume", "orders", "--yes")
    assert (said.exit_code, said.stdout) == (0, "database/orders goes on\n")
    assert "epoch was 3" in said.stderr
    assert "labelled with 90" in said.stderr
    assert desk.value(paths.halted(shown.KEY)) is None


def test_while_its_owner_is_behind_the_services_a_database_stays_halted(desk: Desk) -> None:
    shown.fill(desk.etcd)
    desk.etcd.put(paths.halted(shown.KEY), HALTED)
    desk.etcd.put(paths.owner(shown.KEY), b"host-1")
    said = desk("resume", "orders", "--yes")

    assert said.exit_code == 1
    assert "--bump-revision" in said.stderr
    assert desk.value(paths.halted(shown.KEY)) == HALTED


def test_what_is_not_halted_is_not_resumed(desk: Desk) -> None:
    shown.fill(desk.etcd)

    assert desk("resume", "orders", "--yes").exit_code == 1


# --- credentials ----------------------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_bytes(base64.b64encode(bytes(range(32))) + b"\n")
    file.chmod(0o600)
    return file


def seal(desk: Desk, key_file: Path, path: str, password: str) -> None:
    desk.etcd.put(path, AesVault(load_kek(key_file)).seal(path, Secret(password)))


def test_credentials_prints_the_password_or_a_uri(desk: Desk, key_file: Path) -> None:
    shown.fill(desk.etcd)
    seal(desk, key_file, paths.secret(shown.KEY, "role-app"), "p/w@1")

    said = desk("credentials", "orders", "--role", "app", "--key-file", str(key_file))
    uri = desk("credentials", "orders", "--role", "app", "-o", "uri", "--key-file", str(key_file))

    assert said.stdout == "p/w@1\n"
    assert uri.stdout == (
        "postgresql://app:p%2Fw%401@10.0.0.1:6432,10.0.0.2:6432/orders?target_session_attrs=read-write\n"
    )


@pytest.mark.parametrize(
    ("role", "code", "words"),
    [
        ("nobody", 1, "roles that may log in: app"),
        ("reports", 1, "may not log in"),
        ("app", 4, "no password yet"),
    ],
)
def test_credentials_that_cannot_be_given_say_why(
    desk: Desk, key_file: Path, role: str, code: int, words: str
) -> None:
    shown.fill(desk.etcd)
    said = desk("credentials", "orders", "--role", role, "--key-file", str(key_file))

    assert said.exit_code == code
    assert words in said.stderr


def test_a_key_file_that_does_not_fit_is_an_error(desk: Desk, key_file: Path) -> None:
    shown.fill(desk.etcd)
    seal(desk, key_file, paths.secret(shown.KEY, "role-app"), "hunter2")
    key_file.write_bytes(base64.b64encode(bytes(32)))

    said = desk("credentials", "orders", "--role", "app", "--key-file", str(key_file))
    absent = desk("credentials", "orders", "--role", "app", "--key-file", "/nowhere")

    assert (said.exit_code, absent.exit_code) == (1, 1)
    assert "hunter2" not in said.output
    assert "/nowhere" in absent.stderr


def test_secret_is_sealed_and_never_shown(desk: Desk, key_file: Path) -> None:
    said = desk("secret", "shop-app", "--key-file", str(key_file), stdin=b"p/w@1\n")
    path = paths.secret(Key("shared", "shop-app"), "password")
    sealed = desk.value(path)

    assert (said.output, said.exit_code) == ("secret/shop-app stored\n", 0)
    assert sealed is not None
    assert b"p/w@1" not in sealed
    assert AesVault(load_kek(key_file)).open(path, sealed).reveal() == "p/w@1"


@pytest.mark.parametrize(
    ("name", "text"),
    [("../x", b"p\n"), ("Shop", b"p\n"), ("shop", b""), ("shop", b"a\nb\n"), ("shop", b"x" * 2000)],
)
def test_a_secret_that_is_none_is_refused(desk: Desk, key_file: Path, name: str, text: bytes) -> None:
    said = desk("secret", name, "--key-file", str(key_file), stdin=text)

    assert said.exit_code == 1
    assert not desk.etcd.under(paths.SECRETS)


# --- the rest -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("get",),
        ("status", "orders"),
        ("apply", "-f", "-"),
        ("delete", "orders"),
        ("confirm-deletion", "orders"),
        ("resume", "orders"),
        ("credentials", "orders", "--role", "app"),
    ],
)
def test_an_etcd_out_of_reach_is_5_with_what_was_tried_and_what_to_do(
    desk: Desk, arguments: tuple[str, ...]
) -> None:
    desk.etcd.down = True
    said = desk(*arguments, stdin=shown.SPEC)

    assert said.exit_code == 5
    assert "tried: http://etcd:2379" in said.stderr
    assert "to do: " in said.stderr


def test_wait_for_an_etcd_out_of_reach_ends_with_5_at_its_deadline(desk: Desk) -> None:
    desk.etcd.down = True

    assert desk("wait", "orders", "--timeout", "2s").exit_code == 5


def test_an_etcd_that_hangs_is_mentioned_after_two_seconds_and_given_up(desk: Desk) -> None:
    async def gate(_: Call) -> None:
        await FakeClock().sleep(3600)

    desk.etcd.gate = gate
    said = desk("status", "orders")

    assert said.exit_code == 5
    assert said.stderr.startswith("pgswarm: still waiting for etcd at http://etcd:2379 ...\n")


def test_a_bad_setting_is_1_with_its_flag(desk: Desk) -> None:
    said = desk("get", "--etcd-endpoints", "etcd")

    assert said.exit_code == 1
    assert "flag --etcd-endpoints" in said.stderr


def test_an_api_out_of_reach_is_5() -> None:
    said = CliRunner().invoke(
        cli.main, ["get", "--api", "http://127.0.0.1:1"], env={"PGSWARM_CONFIG": "/dev/null"}
    )

    assert said.exit_code == 5
    assert "http://127.0.0.1:1" in said.stderr
    assert "etcd" not in said.stderr


def test_schema_lists_kinds_and_prints_one(desk: Desk) -> None:
    assert desk("schema").stdout == "Database\nHost\n"
    assert json.loads(desk("schema", "database").stdout)["title"] == "Database"


def test_every_command_is_there_with_the_help_that_the_list_promises() -> None:
    context = cli.main.make_context("pgswarm", ["version"])
    for name, (_, words) in cli.COMMANDS.items():
        command = cli.main.get_command(context, name)

        assert command is not None
        assert (command.help or "").split("\n")[0] == words
        assert command.name in (name, "command")


def test_version_loads_nothing_that_is_slow() -> None:
    code = (
        "import sys; from controlplane.cli import main; main(['version'], standalone_mode=False);"
        "print([m for m in ('pydantic', 'yaml', 'grpc', 'rich', 'aiohttp', 'structlog', 'cryptography')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[1:] == ["[]"]


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]

    assert project["version"] == VERSION


def test_the_remote_source_fits_the_port() -> None:
    source: type[Source] = ApiSource

    assert source is ApiSource


# --- what is wrong is said in a sentence ----------------------------------------------------------------


NO_SPEC = b"apiVersion: pgswarm.dev/v1\nkind: Host\nmetadata: {name: host-1}\n---\nhello\n"


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_a_file_with_a_document_that_is_no_spec_writes_nothing(desk: Desk, dry_run: tuple[str, ...]) -> None:
    said = desk("apply", "-f", desk.file(NO_SPEC), *dry_run)

    assert said.exit_code == 1
    assert "spec.yaml:5:1: the text is not a map" in said.stderr
    assert not desk.etcd.under(paths.SPECS)


def test_a_file_that_never_ends_is_not_read_to_its_end(desk: Desk) -> None:
    said = desk("apply", "-f", "/dev/zero")

    assert said.exit_code == 1
    assert said.stderr == "pgswarm: /dev/zero is larger than 64 MiB; is it the right one?\n"


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        (ACCEPTED, ("delete", "orders", "--yes")),
        (ACCEPTED, ("confirm-deletion", "orders", "--yes")),
        (ACCEPTED, ("apply", "-f", "-")),
        (paths.halted(shown.KEY), ("resume", "orders", "--yes")),
    ],
)
def test_a_record_of_another_version_ends_a_command_with_a_sentence_and_changes_nothing(
    desk: Desk, path: str, arguments: tuple[str, ...]
) -> None:
    desk.etcd.put(path, b"from the future")
    if arguments[0] == "delete":
        desk.etcd.put(PATH, shown.SPEC)
    before = desk.etcd.revision

    said = desk(*arguments, stdin=shown.SPEC)

    assert (said.exit_code, desk.etcd.revision) == (1, before)
    assert said.stderr.startswith(f"pgswarm: the record {path} cannot be read by pgswarm {VERSION}")
    assert "future" not in said.output


@pytest.mark.parametrize(
    ("mode", "text", "words"),
    [
        (0o644, b"", "chmod 0600"),
        (0o600, b"garbage\n", "not 32 bytes in base64"),
        (0o600, None, "No such file"),
    ],
)
def test_a_key_file_that_is_none_ends_secret_with_a_sentence(
    desk: Desk, tmp_path: Path, mode: int, text: bytes | None, words: str
) -> None:
    file = tmp_path / "bad-key"
    if text is not None:
        file.write_bytes(text)
        file.chmod(mode)

    said = desk("secret", "shop", "--key-file", str(file), stdin=b"p\n")

    assert (said.exit_code, said.stderr.count("\n")) == (1, 1)
    assert words in said.stderr
    assert "garbage" not in said.output


def test_a_secret_may_have_every_key_that_a_spec_may_name(desk: Desk, key_file: Path) -> None:
    said = desk("secret", "shop", "--key", "db_1.password", "--key-file", str(key_file), stdin=b"p\n")

    assert said.exit_code == 0
    assert desk.value(paths.secret(Key("shared", "shop"), "db_1.password")) is not None


@pytest.mark.parametrize(
    "command", ["status", "wait", "credentials", "confirm-deletion", "resume", "get", "delete"]
)
def test_every_command_takes_the_name_that_apply_prints(desk: Desk, command: str) -> None:
    more = ("--role", "app") if command == "credentials" else ()
    plain, full = desk(command, "nope", *more), desk(command, "database/nope", *more)

    assert (plain.exit_code, full.exit_code) == (3, 3)
    assert (
        plain.output
        == full.output
        == "pgswarm: there is no database nope; `pgswarm get` lists what is there\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", ""),
        ("status", "../orders"),
        ("wait", "\x1b[31mred"),
        ("wait", "orders", "--for", "condition=Redy"),
        ("get", "--api", "api:7432"),
        ("get", "--api", "ftp://api"),
    ],
)
def test_an_argument_that_can_mean_nothing_is_2_and_reaches_nobody(
    desk: Desk, arguments: tuple[str, ...]
) -> None:
    desk.before("read", lambda: pytest.fail("etcd was asked"))
    said = desk(*arguments)

    assert said.exit_code == 2
    assert "\x1b" not in said.output


def test_wait_takes_a_condition_that_is_not_told_for_one_that_is_not_so(desk: Desk) -> None:
    shown.fill(desk.etcd)

    assert desk("wait", "orders", "--for", "condition=Paused=False").exit_code == 0
    assert desk("wait", "orders", "--for", "condition=Paused", "--timeout", "1s").exit_code == 4


def test_credentials_of_a_spec_that_nobody_has_accepted_are_not_ready(desk: Desk) -> None:
    desk("apply", "-f", desk.file(shown.SPEC))
    said = desk("credentials", "orders", "--role", "app")

    assert said.exit_code == 4
    assert "no spec of orders was accepted yet" in said.stderr


def test_a_misspelt_variable_is_told_by_every_command(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSWARM_ETCD_ENDPOINT", "http://etcd:2379")
    said = desk("get")

    assert "PGSWARM_ETCD_ENDPOINT (did you mean PGSWARM_ETCD_ENDPOINTS?)" in said.stderr


async def test_a_404_of_something_else_is_not_taken_for_pgswarms() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=404, text="no such page")

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    async with TestServer(app) as server, api_source(str(server.make_url(""))) as source:
        with pytest.raises(Refused, match="is it pgswarm's API"):
            await source.database("orders")
