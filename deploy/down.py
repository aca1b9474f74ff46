"""
`make down`: takes away what `make up` made and keeps the data; PURGE=1 takes the data too.

Specs stay in etcd and Postgres stays in its volumes, so that the next `make up` goes on where this one stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from clustertest.lab.engine import Engine
from clustertest.lab.errors import LabError
from clustertest.lab.process import wait_until
from deploy import engine, program
from deploy.site import Made, Site, site
from deploy.steps import Step, Steps
from deploy.up import alone

# A Postgres that writes its shutdown checkpoint takes its time.
CONTAINERS_LIMIT_S = 90.0
NETWORKS_LIMIT_S = 20.0
LABEL = "pgswarm.cluster"
IMAGES = ("pgswarm/postgres", "pgswarm/base")


class Down:
    """The steps. Each does nothing where there is nothing."""

    def __init__(self, where: Site, *, purge: bool) -> None:
        self.site, self.purge = where, purge
        self.made = Made.load(where.state)
        self.engine = Engine(where.socket)

    def steps(self) -> list[Step]:
        steps: list[Step] = [("pgswarm", lambda _: program.stop(self.site))]
        if self.purge and self.made.cluster:
            steps.append(("Docker engine for the purge", self._wake))
        steps += [("services", self._services), ("networks, secrets, configs", self._objects)]
        if self.purge:
            steps += [("volumes", self._volumes), ("images", self._images)]
        steps += [
            ("Docker Swarm", self._swarm),
            ("Docker engine", lambda _: engine.stop(self.site, self.made)),
        ]
        if self.purge:
            steps.append(("files", self._files))
        return steps

    def _wake(self, steps: Steps) -> str:
        """The data of an engine that an earlier `make down` stopped can only be removed through it."""
        return "answers" if self.engine.answers() else engine.ensure(self.site, self.made, steps)

    def _ours(self, path: str) -> list[dict[str, Any]]:
        """What carries this cluster's label; nothing without an engine or outside a Swarm."""
        if not self.made.cluster or not self.engine.answers():
            return []
        if path in ("services", "secrets", "configs") and not self._in_swarm():
            return []
        filters = quote(json.dumps({"label": [f"{LABEL}={self.made.cluster}"]}))
        found = self.engine.call("GET", f"/{path}{'&' if '?' in path else '?'}filters={filters}")
        return list((found.get("Volumes") or []) if path == "volumes" else found or [])

    def _in_swarm(self) -> bool:
        return bool(self.engine.call("GET", "/info")["Swarm"].get("ControlAvailable"))

    def _services(self, _: Steps) -> str:
        found = self._ours("services")
        for one in found:
            self.engine.call("DELETE", f"/services/{one['ID']}")
        wait_until(lambda: not self._ours("containers/json"), CONTAINERS_LIMIT_S, "the containers to end")
        # Swarm keeps what has ended for its history; outside a Swarm nobody would ever collect it.
        for one in self._ours("containers/json?all=true"):
            wait_until(self._removal("containers", one), NETWORKS_LIMIT_S, "a container to go")
        return f"{len(found)} removed"

    def _objects(self, _: Steps) -> str:
        count = 0
        for path in ("networks", "secrets", "configs"):
            for one in self._ours(path):
                count += 1
                wait_until(self._removal(path, one), NETWORKS_LIMIT_S, f"{path[:-1]} to be free", every_s=0.5)
        return f"{count} removed"

    def _removal(self, path: str, one: dict[str, Any]) -> Callable[[], bool]:
        """Docker refuses while something holds it; an overlay network for as long as a task is remembered."""

        def remove() -> bool:
            try:
                self.engine.call("DELETE", f"/{path}/{one.get('ID') or one.get('Id') or one['Name']}")
            except LabError as exc:
                return "404" in str(exc)
            return True

        return remove

    def _volumes(self, _: Steps) -> str:
        found = self._ours("volumes")
        for one in found:
            wait_until(self._removal("volumes", one), NETWORKS_LIMIT_S, f"volume {one['Name']} to be free")
        return f"{len(found)} removed, with their data"

    def _images(self, _: Steps) -> str:
        if not self.engine.answers():
            return "none"
        tags = [
            tag
            for one in self.engine.call("GET", "/images/json") or []
            for tag in one.get("RepoTags") or []
            if tag.partition(":")[0] in IMAGES
        ]
        for tag in tags:
            self.engine.call("DELETE", f"/images/{tag}?force=true")
        return f"{', '.join(tags) or 'none'} removed"

    def _swarm(self, _: Steps) -> str:
        return engine.leave_swarm(self.site, self.made) if self.engine.answers() else "no engine runs"

    def _files(self, _: Steps) -> str:
        program.remove_launcher(self.site)
        for entry in self.site.state.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        with contextlib.suppress(OSError):  # a mount point stays, empty
            self.site.state.rmdir()
        return f"{self.site.state} removed; {self.site.cache} holds what a next build reuses"


def main() -> int:
    """Exit 0: it is down, 1: a step failed."""
    purge = os.environ.get("PURGE", "") not in ("", "0")
    steps = Steps("make down" + (" PURGE=1" if purge else ""))
    try:
        if os.geteuid():
            raise LabError("run it as root")
        where = site()
        if not Made.exists(where.state):
            print("make down: nothing is up")
            return 0
        with alone(where):
            steps.run(Down(where, purge=purge).steps())
    except (LabError, OSError, subprocess.SubprocessError) as exc:
        print(f"make down: {exc}", file=sys.stderr)
        return 1
    kept = "" if purge else "; the data is kept (PURGE=1 make down removes it)"
    print(f"\ndown after {steps.elapsed_s():.0f} s{kept}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
