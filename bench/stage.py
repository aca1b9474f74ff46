"""The lab that is measured on, and what every measurement asks of it, at little cost to the machine."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from bench.usage import Usage
from clustertest.cluster import Cluster, database
from clustertest.lab import Lab
from clustertest.lab.host import Service

PREFIX = "/pgswarm/v1/"
NAME = "bench"
PORT = 6449
CPUS, MEMORY_MIB = 1, 512
"""Of each instance, on both sides."""
LIMIT_S = 180.0


class Stage(Cluster):
    """A lab with pgswarm on each host. Status is asked by HTTP: starting the CLI costs more than what is measured."""

    def __init__(self, lab: Lab, say: Callable[[str], None]) -> None:
        super().__init__(lab)
        self.say = say

    # --- the one database that most measurements share ---

    def spec(self) -> dict[str, Any]:
        resources = {"cpus": str(CPUS), "memory": f"{MEMORY_MIB}MiB"}
        deletion = {"policy": "delete"}
        return database(NAME, self.hosts, port=PORT, resources=resources, deletion=deletion)

    def have_database(self) -> None:
        """Three instances, Ready."""
        if not self.view(NAME):
            self.apply(self.spec())
        self.await_ready(NAME)

    def remove(self, *names: str, limit_s: float = LIMIT_S) -> None:
        """Delete databases and wait until no trace is left."""
        for name in names:
            if self.etcd_keys(f"{PREFIX}specs/database/{name}"):
                self.pgswarm("delete", name, "--yes")
        for name in names:
            self.gone(name, limit_s)
            self.eventually(f"no container of {name}", lambda name=name: not self._left(name), limit_s)  # type: ignore[misc]

    def _left(self, name: str) -> list[str]:
        label = f"label=pgswarm.database={name}"
        return [
            one for host in self.hosts for one in self.docker(host, "ps", "-aq", "--filter", label).split()
        ]

    # --- status ---

    def get(self, path: str, host: str = "") -> str:
        """A page of a live process; "" when there is none, or it is not found."""
        for one in self.lab.hosts:
            if host in ("", one.name) and one.service("pgswarm"):
                try:
                    with urllib.request.urlopen(one.api_url + path, timeout=3) as answer:
                        return str(answer.read().decode())
                except (urllib.error.URLError, OSError):
                    continue
        return ""

    def view(self, name: str) -> dict[str, Any]:
        """What `pgswarm status -o json` shows; {} while the database is unknown."""
        text = self.get(f"/v1/databases/{name}")
        return dict(json.loads(text)) if text else {}

    def says_ready(self, name: str) -> bool:
        found = self.view(name)
        if not found:
            return False
        said = found["status"]
        return bool(said["observedRevision"] == found["metadata"]["revision"] and said["phase"] == "Ready")

    def await_ready(self, name: str, limit_s: float = LIMIT_S) -> None:
        self.eventually(f"{name} is Ready", lambda: self.says_ready(name), limit_s)

    def replica_names(self, name: str) -> list[str]:
        nodes = self.view(name)["status"]["nodes"]
        return [one["name"] for node in nodes for one in node["instances"] if one["role"] == "replica"]

    def owner(self, name: str) -> str:
        return self.etcdctl("get", "--print-value-only", f"{PREFIX}owners/database/{name}").strip()

    def revision(self) -> int:
        """etcd's."""
        return int(json.loads(self.etcdctl("get", "-w", "json", "nothing"))["header"]["revision"])

    # --- processes ---

    def start_pgswarm(self, host: str, extra: Mapping[str, str] | None = None) -> None:
        """As the lab does, with more environment."""
        where = self.lab.host(host)
        env = {**self.lab.pgswarm_environment(where), **(extra or {})}
        where.start(Service("pgswarm", (str(self.lab.settings.pgswarm), "run"), env))

    def stop_pgswarm(self, host: str) -> None:
        """SIGTERM, and wait for its end."""
        if self.lab.host(host).service("pgswarm"):
            self.lab.kill(host, only="pgswarm", number=signal.SIGTERM)
            ended = self.lab.host(host)
            self.eventually(f"pgswarm on {host} ends", lambda: ended.service("pgswarm") is None, 20)

    def settle(self) -> None:
        """Every controller is known, and for longer than ownership takes to move, none has moved."""
        want = sum(one.service("pgswarm") is not None for one in self.lab.hosts)
        self.eventually(
            f"{want} controllers", lambda: len(self.etcd_keys(f"{PREFIX}controllers/")) == want, 60
        )
        still_since_s, before = time.monotonic(), ""
        deadline_s = still_since_s + LIMIT_S
        while time.monotonic() < min(deadline_s, still_since_s + 8):
            now = self.etcdctl("get", "--prefix", f"{PREFIX}owners/")
            if now != before:
                before, still_since_s = now, time.monotonic()
            time.sleep(0.5)

    def cpu_s(self) -> float:
        """Processor seconds that all processes have used so far."""
        found = (host.service("pgswarm") for host in self.lab.hosts)
        return sum(Usage.of(one.pid).cpu_s for one in found if one is not None)

    # --- where it ran ---

    def circumstances(self) -> dict[str, Any]:
        """What a reader must know to compare the figures with others."""
        with open("/proc/meminfo") as file:
            memory_kib = int(file.readline().split()[1])
        with open("/proc/loadavg") as file:
            load = file.readline().split()[:3]
        with open("/proc/cpuinfo") as file:
            cores = file.read().count("processor\t")
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        )
        own = (NAME, "byhand")
        others = [one.rpartition("/")[2] for one in self.etcd_keys(f"{PREFIX}accepted/database/")]
        return {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": commit.stdout.strip(),
            "cores": cores,
            "memory_gib": round(memory_kib / 2**20, 1),
            "load_before": " ".join(load),
            "hosts": len(self.hosts),
            "engine": self.docker(self.hosts[0], "version", "-f", "{{.Server.Version}}"),
            "etcd": self.lab.state.etcd,
            "other_databases": sorted(set(others) - set(own)),
        }


def manifests(specs: list[dict[str, Any]]) -> str:
    """Several specs in one text."""
    return "---\n".join(yaml.safe_dump(spec) for spec in specs)
