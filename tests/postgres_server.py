"""
A real Postgres for the contract suites: a throw-away cluster on loopback, TLS from our own certificates, SCRAM.

Uses the newest Postgres on the machine; a machine without one gets the distribution's (as root only).
`Person` is what somebody with psql can do to it, in words that a fake can offer as well.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from controlplane.clients.certificates import issue_ca, issue_server
from reconcilers.ports import InstanceAccess, Secret
from reconcilers.resources import pem

NAME = "orders-n1-abc234"
PASSWORD = "s3cret-of-the-superuser"
START_S = 30.0
_ROOTS = (Path("/usr/lib/postgresql"), Path("/usr/local/pgsql"))
_CONFIG = """
listen_addresses = '127.0.0.1'
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
fsync = off
full_page_writes = off
max_connections = 50
max_wal_size = 64MB
shared_buffers = 16MB
wal_level = logical
hot_standby = on
log_statement = all
logging_collector = off
"""
_HBA = "local all,replication all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"


def binaries() -> Path:
    """Directory of the newest Postgres; installed first if there is none."""
    found = _binaries()
    if found is None:
        _install()
        found = _binaries()
    assert found is not None, "the distribution's Postgres is not where it is expected"
    return found


def _binaries() -> Path | None:
    dirs = [path.parent for root in _ROOTS for path in root.glob("**/bin/initdb")]
    return max(dirs, key=lambda one: (len(one.parent.name), one.parent.name), default=None)


def _install() -> None:
    # Without this Debian would start a cluster of its own on port 5432.
    folder = Path("/etc/postgresql-common")
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / "createcluster.conf").write_text("create_main_cluster = false\n")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = ["-qq", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0"]
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=env)
    subprocess.run(
        ["apt-get", "install", "-y", "--no-install-recommends", *quiet, "postgresql"], check=True, env=env
    )


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user that Postgres insists on; nobody in particular when the tests run as one."""

    uid: int
    gid: int

    @classmethod
    def find(cls) -> Account:
        if os.getuid() != 0:
            return cls(os.getuid(), os.getgid())
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise AssertionError("there is no unprivileged user on this machine")


class PostgresServer:
    """One running server. `stop` ends it and removes its files."""

    def __init__(self) -> None:
        self.bin = binaries()
        self.account = Account.find()
        self.home = Path(tempfile.mkdtemp(prefix="pgswarm-pg-"))
        self.home.chmod(0o755)
        self.data = self.home / "data"
        self.ca = issue_ca("orders", time.time())
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._own(self.home)

    @classmethod
    def primary(cls) -> PostgresServer:
        server = cls()
        word = server.home / "password"
        word.write_text(PASSWORD)
        server._own(word)
        server._run("initdb", "-D", str(server.data), "-U", "pgswarm", "--pwfile", str(word), "-E", "UTF8",
                    "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync", "--no-instructions")  # fmt: skip
        bundle = issue_server(server.ca, NAME, (), time.time())
        server._write("server.key", bundle.reveal(), 0o600)
        server._write("server.pem", pem.certificates(bundle), 0o600)
        server._write("pg_hba.conf", _HBA, 0o600)
        with (server.data / "postgresql.conf").open("a") as config:
            config.write(_CONFIG)
        server.start()
        return server

    def standby(self) -> PostgresServer:
        """A streaming replica of this server, with the same certificates."""
        copy = PostgresServer()
        copy.ca = self.ca
        copy._run("pg_basebackup", "-D", str(copy.data), "-h", str(self.home), "-p", str(self.port),
                  "-U", "pgswarm", "-c", "fast", "-X", "stream", "--no-sync")  # fmt: skip
        # As Patroni does it: not in postgresql.auto.conf, where pg_basebackup -R would write.
        with (copy.data / "postgresql.conf").open("a") as config:
            config.write(f"primary_conninfo = 'host={self.home} port={self.port} user=pgswarm'\n")
        (copy.data / "standby.signal").touch()
        copy._own(copy.data / "standby.signal")
        copy.start()
        return copy

    def access(self, password: str = PASSWORD, server_name: str = NAME) -> InstanceAccess:
        ca_pem = pem.certificates(self.ca)
        return InstanceAccess(
            "127.0.0.1", "pgswarm", Secret(password), "pgswarm", Secret("rest"), ca_pem, server_name
        )

    def start(self) -> None:
        options = ["-c", f"port={self.port}", "-c", f"unix_socket_directories={self.home}"]
        log = (self.home / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [str(self.bin / "postgres"), "-D", str(self.data), *options],
                stdout=log, stderr=log, user=self.account.uid, group=self.account.gid, extra_groups=[],
            )  # fmt: skip
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < deadline_s, self.log()
                time.sleep(0.05)
            else:
                return

    def halt(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server, keep its data."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=START_S)
            self._process = None

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.home, ignore_errors=True)

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def run(
        self, text: str, *values: object, database: str = "postgres", **names: str
    ) -> list[tuple[object, ...]]:
        """One statement as the superuser over the socket; `{name}` places are identifiers, `%s` literals."""
        with psycopg.connect(
            host=str(self.home), port=self.port, user="pgswarm", dbname=database, autocommit=True
        ) as connection:
            parts = {key: sql.Identifier(name) for key, name in names.items()}
            query = sql.SQL(text).format(*(sql.Literal(value) for value in values), **parts)
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def login(self, role: str, password: str) -> bool:
        """True if the role gets in over TLS with this password."""
        try:
            psycopg.connect(
                host="127.0.0.1", port=self.port, user=role, password=password, dbname="postgres"
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [str(self.bin / program), *args], capture_output=True, check=False, cwd=self.home,
            user=self.account.uid, group=self.account.gid, extra_groups=[],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def _write(self, name: str, text: str, mode: int) -> None:
        path = self.data / name
        path.write_text(text)
        path.chmod(mode)
        self._own(path)

    def _own(self, path: Path) -> None:
        if os.getuid() == 0:
            os.chown(path, self.account.uid, self.account.gid)


class Person:
    """Somebody with psql, who does to a real server what `tests.sim.postgres.FakePostgres` also offers."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server

    def make_role(self, name: str) -> None:
        self.server.run("CREATE ROLE {name}", name=name)

    def alter_role(self, name: str, flag: str, on: bool) -> None:
        self.server.run(f"ALTER ROLE {{name}} {'' if on else 'NO'}{flag.upper()}", name=name)

    def set_password(self, name: str, password: str) -> None:
        self.server.run("ALTER ROLE {name} PASSWORD {}", password, name=name)

    def limit_role(self, name: str, connections: int, until: str) -> None:
        self.server.run("ALTER ROLE {name} CONNECTION LIMIT {} VALID UNTIL {}", connections, until, name=name)

    def comment_role(self, name: str, text: str) -> None:
        self.server.run("COMMENT ON ROLE {name} IS {}", text, name=name)

    def grant(self, parent: str, role: str, *, admin: bool = False) -> None:
        option = " WITH ADMIN OPTION" if admin else ""
        self.server.run(f"GRANT {{parent}} TO {{role}}{option}", parent=parent, role=role)

    def revoke(self, parent: str, role: str) -> None:
        self.server.run("REVOKE {parent} FROM {role}", parent=parent, role=role)

    def drop_role(self, name: str) -> None:
        self.server.run("DROP ROLE {name}", name=name)

    def make_database(self, name: str, owner: str = "pgswarm") -> None:
        self.server.run("CREATE DATABASE {name} OWNER {owner}", name=name, owner=owner)

    def own_database(self, name: str, owner: str) -> None:
        self.server.run("ALTER DATABASE {name} OWNER TO {owner}", name=name, owner=owner)

    def drop_database(self, name: str) -> None:
        self.server.run("DROP DATABASE {name}", name=name)

    def drop_extension(self, database: str, name: str) -> None:
        self.server.run("DROP EXTENSION {name}", database=database, name=name)

    def alter_system(self, setting: str, value: str) -> None:
        self.server.run("ALTER SYSTEM SET {setting} = {}", value, setting=setting)

    def clean(self) -> None:
        """Take away everything that a test has left: databases, roles, settings, pgswarm's own schema."""
        for (name,) in self.server.run("SELECT datname FROM pg_database WHERE oid >= 16384"):
            self.server.run("DROP DATABASE {name} WITH (FORCE)", name=str(name))
        self.server.run("DROP SCHEMA IF EXISTS pgswarm CASCADE")
        for (name,) in self.server.run("SELECT rolname FROM pg_roles WHERE oid >= 16384"):
            self.server.run("DROP OWNED BY {name} CASCADE", name=str(name))
            self.server.run("DROP ROLE {name}", name=str(name))
        self.server.run("ALTER SYSTEM RESET ALL")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
