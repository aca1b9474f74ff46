"""
A machine for `make up`: as bare as namespaces make it. No network but loopback, no engine, no state, no systemd.

Programs, this clone and the cache are the real ones. Everything else (processes, mounts, interfaces, containers)
goes away with its first process; what it wrote is below one folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from clustertest.lab.process import children, wait_until

REPO = Path(__file__).resolve().parent.parent
START_S = 15.0
MAKE_LIMIT_S = 300.0
# What `make up` writes to, each a folder of this machine's own.
OWN = ("/run", "/var/lib/docker", "/var/lib/pgswarm", "/usr/local/bin")
INSIDE = r"""
set -e
mount --make-rprivate /
mkdir -p "$FOLDER/cgroup"
mount --rbind /sys/fs/cgroup "$FOLDER/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$FOLDER/cgroup" /sys/fs/cgroup
for path in $OWN; do
    mkdir -p "$FOLDER$path" "$path"
    mount --bind "$FOLDER$path" "$path"
done
mkdir -p /run/lock
echo 'nameserver 127.0.0.1' > "$FOLDER/resolv.conf"
mount --bind "$FOLDER/resolv.conf" "$(readlink -f /etc/resolv.conf)"
hostname bare
ip link set lo up
touch "$FOLDER/up"
# A shell that waits for ever reaps whatever is left to it.
while :; do sleep 3600 & wait $!; done
"""


class Machine:
    """`start` it, run commands in it, `stop` it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = [path for path in map(Path, OWN) if not path.exists()]
        """Only places to mount on; they go with the machine, and not earlier: that would unmount."""
        self._outer: subprocess.Popen[bytes] | None = None

    def start(self) -> Machine:
        argv = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL"]
        with (self.folder / "log").open("ab") as log:
            self._outer = subprocess.Popen(
                [*argv, "--mount-proc", "sh", "-c", INSIDE],
                env={**os.environ, "FOLDER": str(self.folder), "OWN": " ".join(OWN)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until((self.folder / "up").exists, START_S, "the machine", log=self.folder / "log")
        return self

    def stop(self) -> None:
        """End everything that runs in it, and remove what it wrote."""
        if self._outer is not None:
            self._outer.kill()
            self._outer.wait(10)
        deadline_s = time.monotonic() + 10
        while self.folder.exists() and time.monotonic() < deadline_s:
            shutil.rmtree(self.folder, ignore_errors=True)
        for path in self._made:
            path.rmdir()

    def run(self, *argv: str, check: bool = True, environment: Mapping[str, str] | None = None) -> str:
        """What a command in it prints, errors too. Raises: AssertionError when it fails."""
        assert self._outer is not None
        inner = children(self._outer.pid)[0]
        enter = ["nsenter", "-t", str(inner), "-m", "-u", "-i", "-n", "-p", "--"]
        kept = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "PURGE")}
        done = subprocess.run(
            [*enter, "sh", "-c", f'cd {REPO} && exec "$@"', "sh", *argv],
            env={**kept, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MAKE_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def make(self, target: str, **environment: str) -> str:
        return self.run("make", target, environment=environment)

    def processes(self) -> list[str]:
        """Names of what runs in it, the machine's own shell and this look apart."""
        found = self.run("ps", "-e", "-o", "comm=").split("\n")
        return sorted(name.strip() for name in found if name.strip() not in ("", "sh", "sleep", "ps"))
