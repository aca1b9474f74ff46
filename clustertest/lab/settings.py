"""Where a lab lives and what it is called. Read once from the environment; nothing here changes later."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
SWARM_PORT = 2377
API_PORT = 7432
HOSTS_MAX = 9


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths and names of one lab. Every name it gives to the kernel starts with `prefix`."""

    folder: Path
    cache: Path
    prefix: str
    network: str
    pgswarm: Path

    @property
    def bridge(self) -> str:
        """The bridge in the root namespace to which every host is wired."""
        return f"{self.prefix}0"

    @property
    def gateway(self) -> str:
        """This machine's own address on the bridge."""
        return f"{self.network}.1"

    def netns(self, number: int) -> str:
        """Name of a host's network namespace; also of its cgroup."""
        return f"{self.prefix}-h{number}"

    def address(self, number: int) -> str:
        """Address of a host on the bridge."""
        return f"{self.network}.{10 + number}"

    def host_folder(self, number: int) -> Path:
        """Everything a host keeps on disk."""
        return self.folder / f"host-{number}"


def settings() -> Settings:
    """The lab that the environment names."""
    env = os.environ
    name = env.get("PGSWARM_LAB_NAME", "lab")
    folder = env.get("PGSWARM_LAB_DIR", "/var/lib/pgswarm-lab" + ("" if name == "lab" else f"-{name}"))
    return Settings(
        folder=Path(folder),
        cache=Path(env.get("PGSWARM_CACHE", "/var/cache/pgswarm")),
        # Interface names hold 15 characters, and the longest here is <prefix>-h9p.
        prefix="pgsl" if name == "lab" else f"pgsl{name}"[:10],
        network=env.get("PGSWARM_LAB_NETWORK", "10.99.0"),
        pgswarm=Path(env.get("PGSWARM_BIN", REPO / ".venv/bin/pgswarm")),
    )
