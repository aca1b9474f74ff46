"""
`make up`: from a bare Debian 12 or 13 to a Postgres that answers. Idempotent; what is there is used.

Environment: DOCKER_HOST (a unix:// socket), SWARM_ADDR (address on which a Swarm is begun), PGSWARM_STATE_DIR,
PGSWARM_CACHE, PGSWARM_VENV.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clustertest.lab.errors import LabError
from clustertest.lab.process import run, wait_until
from deploy import engine, program, venv
from deploy.packages import install, missing
from deploy.site import DATABASE, REPO, ROLE, Made, Site, site
from deploy.steps import Step, Steps

IMAGES_LIMIT_S = 2400.0
WAIT = "5m"
CONNECT_LIMIT_S = 90.0
PSQL = {"psql": "postgresql-client"}


class Up:
    """The steps, in the order in which each finds what it needs."""

    def __init__(self, where: Site) -> None:
        self.site = where
        self.made = Made.load(where.state)
        self.psql_line = self.command = self.said = self.refused = ""

    def steps(self) -> list[Step]:
        return [
            ("Python packages", lambda steps: venv.ensure(self.site.venv, steps)),
            ("Docker engine", lambda steps: engine.ensure(self.site, self.made, steps)),
            ("Docker Swarm", lambda _: engine.ensure_swarm(self.site, self.made)),
            ("etcd program", lambda _: program.ensure_etcd(self.site)),
            ("Postgres image", self._image),
            ("settings", self._settings),
            ("pgswarm", lambda _: program.ensure_running(self.site)),
            (f"database {DATABASE}", self._database),
            ("connection", self._connect),
        ]

    def _image(self, _: Steps) -> str:
        argv = [sys.executable, str(REPO / "images/build.py"), "postgres"]
        done = subprocess.run(argv, env=self.site.environment(), timeout=IMAGES_LIMIT_S, check=False)
        if done.returncode:
            raise LabError("the image could not be built (above)")
        return "is on the engine"

    def _settings(self, _: Steps) -> str:
        if not self.made.cluster:
            # On labels: two `make up` on one Swarm must not take each other's services for their own.
            self.made.cluster = f"up-{secrets.token_hex(3)}"
            self.made.save(self.site.state)
        program.write_config(self.site, self.made)
        self.command = program.write_launcher(self.site)
        return f"{self.site.config}; call it as {self.command}"

    def _pgswarm(self, *argv: str) -> None:
        """A command as a person would give it, shown; its output goes to the terminal."""
        print(f"      $ pgswarm {' '.join(argv)}", flush=True)
        done = subprocess.run(
            [str(self.site.pgswarm), *argv], env=self.site.environment(), cwd=REPO, check=False
        )
        if done.returncode:
            raise LabError(
                f"pgswarm {argv[0]}: exit {done.returncode} (above); pgswarm's own log is {self.site.log}"
            )

    def _database(self, _: Steps) -> str:
        self._pgswarm("apply", "-f", "examples/hello.yaml")
        self._pgswarm("wait", DATABASE, "--for", "condition=Ready", "--timeout", WAIT)
        return "Ready"

    def _connect(self, steps: Steps) -> str:
        install(missing(PSQL), steps)
        view = json.loads(
            run([str(self.site.pgswarm), "status", DATABASE, "-o", "json"], env=self.site.environment())
        )
        self.psql_line = psql_line(self.command, view["status"]["endpoints"])
        # The line itself, as a shell takes it, and not something that resembles it. Again, because right after a
        # `make down` the status is that of before, until pgswarm has looked.
        try:
            wait_until(
                self._answers, CONNECT_LIMIT_S, f"{DATABASE} to answer to:\n  {self.psql_line}\n", every_s=1.0
            )
        except LabError as exc:
            raise LabError(f"{exc}the last answer was: {self.refused or 'none'}") from exc
        return f"SELECT answered: {self.said}"

    def _answers(self) -> bool:
        line = f"PGCONNECT_TIMEOUT=3 {self.psql_line} -XAtc 'SELECT version()'"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30.0, check=False)
        self.said = " ".join(done.stdout.split()[:2])
        self.refused = done.stderr.strip()
        return done.returncode == 0


def psql_line(command: str, endpoints: Sequence[dict[str, Any]]) -> str:
    """What to paste to get in. The password is in no argument and in no history."""
    primary = next((one for one in endpoints if one["role"] == "primary"), None)
    if primary is None:
        raise LabError(f"{DATABASE} publishes no address")
    where = f"host={primary['host']} port={primary['port']} user={ROLE} dbname={DATABASE} sslmode=require"
    return f'PGPASSWORD="$({command} credentials {DATABASE} --role {ROLE})" psql "{where}"'


@contextmanager
def alone(where: Site) -> Iterator[None]:
    """One `make up` or `make down` at a time. Raises: LabError."""
    where.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (where.state / "make.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise LabError("another `make up` or `make down` is at work") from exc
        yield


def main() -> int:
    """Exit 0: the database answers, 1: a step failed."""
    steps = Steps("make up")
    try:
        if os.geteuid():
            raise LabError("run it as root: it installs packages and starts Docker")
        if shutil.which("apt-get") is None:
            raise LabError("this machine has no apt-get: Debian 12 or 13 is needed")
        where = site()
        with alone(where):
            up = Up(where)
            steps.run(up.steps())
    except (LabError, OSError, subprocess.SubprocessError) as exc:
        print(f"make up: {exc}", file=sys.stderr)
        return 1
    print(f"\nup after {steps.elapsed_s():.0f} s\n", flush=True)
    subprocess.run([str(where.pgswarm), "status", DATABASE], env=where.environment(), check=False)
    print(f"\nConnect with:\n\n  {up.psql_line}\n\n`make down` ends it and keeps the data.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
