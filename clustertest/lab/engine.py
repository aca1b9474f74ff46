"""A Docker engine of a host: how it is started, and the few calls the lab makes to it."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from clustertest.lab.errors import LabError
from clustertest.lab.settings import SWARM_PORT

CALL_LIMIT_S = 30.0
# What every engine since 20.10 speaks.
API = "v1.41"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__("localhost", timeout=limit_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Engine:
    """The engine that listens on one socket."""

    def __init__(self, socket_path: Path) -> None:
        self.socket = socket_path

    @property
    def url(self) -> str:
        """What DOCKER_HOST takes."""
        return f"unix://{self.socket}"

    def call(self, method: str, path: str, body: object = None, *, limit_s: float = CALL_LIMIT_S) -> Any:
        """One API call; the decoded answer, or LabError with the engine's own words."""
        connection = UnixConnection(self.socket, limit_s)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/{API}{path}", data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as exc:
            raise LabError(f"{self.socket}: {method} {path}: {exc or type(exc).__name__}") from exc
        finally:
            connection.close()
        if answer.status >= 400:
            raise LabError(f"{self.socket}: {method} {path}: {answer.status} {text.strip()}")
        try:
            return json.loads(text) if text.strip() else None
        except ValueError:
            return text

    def answers(self) -> bool:
        """True when the engine is up."""
        try:
            self.call("GET", "/_ping", limit_s=5.0)
        except LabError:
            return False
        return True

    # --- swarm ---

    def swarm_init(self, address: str) -> str:
        """Begin a Swarm; the token with which further managers join."""
        own = f"{address}:{SWARM_PORT}"
        self.call("POST", "/swarm/init", {"AdvertiseAddr": own, "ListenAddr": own, "DataPathAddr": address})
        return str(self.call("GET", "/swarm")["JoinTokens"]["Manager"])

    def swarm_join(self, address: str, manager: str, token: str) -> None:
        """Join a Swarm as a manager."""
        own = f"{address}:{SWARM_PORT}"
        body = {
            "AdvertiseAddr": own,
            "ListenAddr": own,
            "DataPathAddr": address,
            "RemoteAddrs": [f"{manager}:{SWARM_PORT}"],
            "JoinToken": token,
        }
        self.call("POST", "/swarm/join", body)

    def ready_managers(self) -> int:
        """How many managers this engine sees ready and reachable; 0 while it cannot tell."""
        try:
            nodes = self.call("GET", "/nodes", limit_s=5.0)
        except LabError:
            return 0
        return sum(
            node["Status"]["State"] == "ready"
            and node.get("ManagerStatus", {}).get("Reachability") == "reachable"
            for node in nodes
        )


def dockerd(folder: Path, socket_path: Path, cgroup: str) -> list[str]:
    """
    The command that starts a host's engine.

    Its exec root, pid file and second socket are under the host's own /run: they end with the host.
    The second socket is where containers expect it to be mounted from.
    """
    config = folder / "daemon.json"
    # The machine's own /etc/docker/daemon.json is for another engine.
    config.write_text("{}\n")
    return [
        "dockerd",
        f"--config-file={config}",
        f"--data-root={folder / 'docker'}",
        f"--host=unix://{socket_path}",
        "--host=unix:///run/docker.sock",
        f"--cgroup-parent=/{cgroup}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--storage-driver=overlay2",
        # Swarm services cannot ask for it before API 1.44, so the engine gives it to every container.
        "--no-new-privileges",
        "--shutdown-timeout=20",
    ]
