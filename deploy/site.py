"""Where everything of one `make up` is. Read once from the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from clustertest.lab.errors import LabError

REPO = Path(__file__).resolve().parent.parent
DEFAULT_SOCKET = Path("/var/run/docker.sock")
DATABASE, ROLE = "hello", "hello"
HOST = "host-1"
"""The name that examples/hello.yaml gives to its host."""


@dataclass(frozen=True, slots=True)
class Site:
    """Files and addresses. `state` is what `make down` keeps and `PURGE=1` removes."""

    venv: Path
    state: Path
    cache: Path
    socket: Path
    named_socket: bool
    """DOCKER_HOST names the engine, so another one would not do."""
    launcher: Path = Path("/usr/local/bin/pgswarm")

    @property
    def config(self) -> Path:
        return self.state / "config.yaml"

    @property
    def log(self) -> Path:
        return self.state / "pgswarm.log"

    @property
    def pid_file(self) -> Path:
        return self.state / "pgswarm.pid"

    @property
    def pgswarm(self) -> Path:
        return self.venv / "bin/pgswarm"

    def environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """For programs that speak to this site's engine and etcd: nothing else of ours leaks in from outside."""
        kept = {name: value for name, value in environ.items() if not name.startswith("PGSWARM_")}
        return {
            **kept,
            "PGSWARM_CONFIG": str(self.config),
            "PGSWARM_CACHE": str(self.cache),
            "DOCKER_HOST": f"unix://{self.socket}",
        }


def site(environ: Mapping[str, str] = os.environ) -> Site:
    """Raises: LabError when DOCKER_HOST is no socket of this machine."""
    named = environ.get("DOCKER_HOST", "")
    if named and not named.startswith("unix:///"):
        raise LabError(
            f"DOCKER_HOST is {named}: pgswarm runs beside its engine, so give a unix:///... socket"
        )
    return Site(
        venv=Path(environ.get("PGSWARM_VENV", REPO / ".venv")),
        state=Path(environ.get("PGSWARM_STATE_DIR", "/var/lib/pgswarm")),
        cache=Path(environ.get("PGSWARM_CACHE", "/var/cache/pgswarm")),
        socket=Path(named.removeprefix("unix://")) if named else DEFAULT_SOCKET,
        named_socket=bool(named),
    )


@dataclass(slots=True)
class Made:
    """What `make up` has made on this machine, so that `make down` takes away that and nothing else."""

    cluster: str = ""
    """Cluster id on the labels of our Swarm objects."""
    swarm: bool = False
    engine: str = ""
    """"systemd" or "process": how we started Docker; "": it ran already."""
    forward_policy: str = ""
    """Of iptables, before an engine that we started changed it."""

    def save(self, folder: Path) -> None:
        partial = folder / ".made.json.new"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(folder / "made.json")

    @staticmethod
    def exists(folder: Path) -> bool:
        """False if `make up` has made nothing here that would have to be taken away."""
        return (folder / "made.json").exists()

    @classmethod
    def load(cls, folder: Path) -> Made:
        """What an earlier run wrote; nothing if there was none."""
        try:
            return cls(**json.loads((folder / "made.json").read_text()))
        except FileNotFoundError:
            return cls()
