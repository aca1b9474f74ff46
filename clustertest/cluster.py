"""What the cluster tests do and ask, in their own words: through the CLI, etcd, Docker and psql, as a person would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from clustertest.lab import Lab
from clustertest.lab.host import SERVICES

PGSWARM = Path(sys.executable).parent / "pgswarm"
READY_S = 120.0
"""Longest that three instances may take here, two cores for everything; usually 20 s."""


class Failed(AssertionError):
    """A command said no; while something is waited for, that may pass."""


class Cluster:
    """One lab with pgswarm on each host."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.hosts = [host.name for host in lab.hosts]
        self.environment = {**os.environ, **lab.environment()}

    def mend(self) -> None:
        """Heal the network, boot what is off, start what does not run."""
        self.lab.heal()
        for row in self.lab.status():
            name = str(row["host"])
            if not row["up"]:
                self.lab.start(name)
                continue
            for service in SERVICES:
                if not row[service]:
                    self.lab.start(name, only=service)

    def evidence(self) -> str:
        """What runs on each host, and the last words of what does not; for people, never raises."""
        lines: list[str] = []
        for host, row in zip(self.lab.hosts, self.lab.status(), strict=True):
            down = [name for name in SERVICES if not row[name]]
            lines.append(f"{host.name}: {'up' if row['up'] else 'off'}; down: {', '.join(down) or 'nothing'}")
            lines += [f"  {name}: {line}" for name in down for line in last_words(host.log(name))]
            if "pgswarm" not in down:
                lines += [f"  pgswarm: {line}" for line in last_words(host.log("pgswarm"), 12)]
        return "\n".join(lines)

    def stop(self, host: str) -> float:
        """SIGTERM to pgswarm on `host`; return when it was sent (monotonic seconds)."""
        sent_s = time.monotonic()
        self.lab.kill(host, only="pgswarm", number=signal.SIGTERM)
        return sent_s

    def stopped(self, host: str) -> bool:
        return all(not row["pgswarm"] for row in self.lab.status() if row["host"] == host)

    # --- the CLI ---

    def pgswarm(
        self, *argv: str, text: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(PGSWARM), *argv],
            input=text,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode != 0:
            raise Failed(f"pgswarm {' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def apply(self, spec: dict[str, Any]) -> None:
        self.pgswarm("apply", "-f", "-", text=json.dumps(spec))

    def status(self, name: str) -> dict[str, Any]:
        """`pgswarm status -o json`; {} while the database is unknown."""
        done = self.pgswarm("status", name, "-o", "json", check=False)
        return dict(json.loads(done.stdout)) if done.stdout.strip().startswith("{") else {}

    def condition(self, name: str, type_: str) -> dict[str, Any]:
        conditions = self.status(name).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == type_), {})

    def instances(self, name: str) -> list[dict[str, Any]]:
        return [
            one for node in self.status(name).get("status", {}).get("nodes", []) for one in node["instances"]
        ]

    def primary(self, name: str) -> dict[str, Any]:
        return next(one for one in self.instances(name) if one["role"] == "primary")

    def replicas(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.instances(name) if one["role"] == "replica"]

    # --- waiting ---

    def eventually(self, what: str, ask: Callable[[], Any], limit_s: float = READY_S) -> Any:
        """Ask until the answer is true; return it. Raises AssertionError with the last answer."""
        deadline = time.monotonic() + limit_s
        last: Any = None
        while time.monotonic() < deadline:
            try:
                last = ask()
            except (Failed, psycopg.Error, subprocess.SubprocessError, StopIteration, KeyError) as error:
                last = error
            else:
                if last:
                    return last
            time.sleep(0.3)
        raise AssertionError(f"not within {limit_s:.0f} s: {what}; last answer {last!r}")

    def ready(self, name: str, limit_s: float = READY_S) -> dict[str, Any]:
        def settled() -> dict[str, Any] | None:
            found = self.status(name)
            spec = found.get("metadata", {}).get("revision", 0)
            said = found.get("status", {})
            fresh = said.get("observedRevision") == spec
            return found if fresh and said.get("phase") == "Ready" else None

        try:
            return dict(self.eventually(f"{name} is Ready", settled, limit_s))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.pgswarm('status', name, check=False).stdout}") from None

    def gone(self, name: str, limit_s: float = READY_S) -> None:
        self.eventually(
            f"{name} is gone", lambda: not self.etcd_keys(f"/pgswarm/v1/accepted/database/{name}"), limit_s
        )

    # --- Docker ---

    def docker(self, host: str, *argv: str, check: bool = True) -> str:
        url = self.lab.host(host).docker_url
        done = subprocess.run(
            ["docker", "-H", url, *argv], capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode != 0:
            raise Failed(f"docker {' '.join(argv)}: {done.stderr}")
        return done.stdout.strip()

    def logs(self, host: str, container: str) -> str:
        """Both streams of a container's log: Patroni and Postgres write to the second."""
        argv = ["docker", "-H", self.lab.host(host).docker_url, "logs", container]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout + done.stderr

    def service(self, name: str, via: str = "") -> dict[str, Any]:
        text = self.docker(via or self.live_host(), "service", "inspect", name, check=False)
        found = json.loads(text) if text else []
        return dict(found[0]) if found else {}

    def services(self, database: str) -> list[str]:
        label = f"label=pgswarm.database={database}"
        return self.docker(
            self.live_host(), "service", "ls", "--filter", label, "--format", "{{.Name}}"
        ).split()

    def container(self, host: str, instance: str) -> str:
        label = f"label=pgswarm.instance={instance}"
        return self.docker(host, "ps", "-q", "--filter", label).partition("\n")[0]

    def containers(self, host: str) -> list[str]:
        """IDs of the containers that run on `host`."""
        return self.docker(host, "ps", "-q").split()

    def live_host(self) -> str:
        return next(
            one
            for one in self.hosts
            if self.docker(one, "info", "-f", "{{.Swarm.ControlAvailable}}", check=False) == "true"
        )

    # --- etcd ---

    def etcdctl(self, *argv: str) -> str:
        done = subprocess.run(
            ["etcdctl", *argv], env=self.environment, capture_output=True, timeout=30, check=True
        )
        return done.stdout.decode(errors="replace")  # sealed secrets are no text

    def etcd_keys(self, prefix: str) -> list[str]:
        return [line for line in self.etcdctl("get", "--prefix", "--keys-only", prefix).splitlines() if line]

    def put_spec(self, name: str, text: str) -> None:
        """As a person with etcdctl would, without any check on the way."""
        done = subprocess.run(
            ["etcdctl", "put", f"/pgswarm/v1/specs/database/{name}"],
            input=text,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    # --- Postgres ---

    def password(self, name: str, role: str = "app") -> str:
        return self.pgswarm("credentials", name, "--role", role).stdout.strip()

    def sql(
        self, name: str, query: str, *, host: str | None = None, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Run as role app on `host` (default: wherever the primary is)."""
        status = self.status(name)
        port = status["status"]["endpoints"][0]["port"]
        addresses = (
            [self.lab.host(host).address] if host else [one["host"] for one in status["status"]["endpoints"]]
        )
        with psycopg.connect(
            host=",".join(addresses),
            port=",".join([str(port)] * len(addresses)),
            user="app",
            password=self.password(name),
            dbname=database or name,
            sslmode="require",
            target_session_attrs="any" if host else "read-write",
            connect_timeout=3,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def replicas_by_docker(self, name: str) -> list[str]:
        """Services of the instances that etcd's Patroni records do not call leader."""
        leader = self.etcdctl("get", "--print-value-only", f"/patroni/{name}-n1/leader").strip()
        return [one for one in self.services(name) if one not in (leader, f"{name}-fence")]

    def superuser_sql(
        self, name: str, query: str, *, instance: dict[str, Any] | None = None, database: str = "postgres"
    ) -> str:
        """As pgswarm's own superuser inside the container: what somebody with root on the host can do."""
        where = instance or self.primary(name)
        container = self.container(where["host"], where["name"])
        code = (
            "import json,subprocess,os,sys;"
            "c=json.load(open('/run/secrets/patroni.yml'))['postgresql']['authentication']['superuser'];"
            "os.environ['PGPASSWORD']=c['password'];"
            "sys.exit(subprocess.call(['psql','-XAtq','-v','ON_ERROR_STOP=1','-h','/var/run/postgresql',"
            "'-U',c['username'],'-d',sys.argv[1],'-c',sys.argv[2]]))"
        )
        return self.docker(where["host"], "exec", container, "python3", "-c", code, database, query)


def last_words(log: Path, lines: int = 40) -> list[str]:
    """
    The end of a log. A Go program that dies of itself prints all its goroutines after the reason: from there.
    """
    try:
        found = log.read_text(errors="replace").splitlines()
    except OSError as error:
        return [str(error)]
    reasons = [n for n, line in enumerate(found) if line.startswith(("panic:", "fatal error:", "SIG"))]
    begin = max(reasons[-1] - 5, 0) if reasons else max(len(found) - lines, 0)
    return [line[:400] for line in found[begin : begin + lines]]


def database(name: str, hosts: Sequence[str], *, port: int, **spec: Any) -> dict[str, Any]:
    """A small spec with role app and a database of the same name."""
    return {
        "apiVersion": "pgswarm.dev/v1",
        "kind": "Database",
        "metadata": {"name": name},
        "spec": {
            "postgres": {"version": "17", **spec.pop("postgres", {})},
            "nodes": [{"name": "n1", "hosts": list(hosts)}],
            "port": port,
            "resources": {"cpus": "1", "memory": "256MiB"},
            "databases": [{"name": name, "owner": "app"}],
            "roles": [{"name": "app", "login": True}],
            **spec,
        },
    }
