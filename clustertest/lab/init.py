"""
PID 1 of a lab host: makes the host's own view of the machine, then reaps until it is killed.

When this process dies, the kernel kills every other one of the namespace, containers included.
Started by host.py under `unshare --mount --uts --ipc --pid`, as a script: it imports nothing of the lab.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def mount(*args: str) -> None:
    """mount(8)."""
    subprocess.run(["mount", *args], check=True)


def own_run() -> None:
    """A fresh /run: no other engine's socket is in sight, and those made here end with the host."""
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/lock").mkdir()


def own_sys() -> None:
    """A /sys of this network namespace, with the cgroup mounts kept: without them no container starts."""
    kept = "/run/cgroup"
    Path(kept).mkdir()
    mount("--rbind", "/sys/fs/cgroup", kept)
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("--rbind", kept, "/sys/fs/cgroup")
    subprocess.run(["umount", "-l", kept], check=True)


def own_files(folder: Path, files: dict[str, str]) -> None:
    """Bind this host's version over some files of /etc."""
    for name, text in files.items():
        source = folder / name
        source.write_text(text)
        target = Path(os.path.realpath(f"/etc/{name}"))
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        mount("--bind", str(source), str(target))


def reap() -> None:
    """Collect every orphan of the host, for ever."""
    while True:
        with contextlib.suppress(ChildProcessError):
            os.wait()
            continue
        time.sleep(0.2)


def main() -> None:
    """Arguments: the host's folder for these files, the host's name, and the files as JSON."""
    folder, name, files = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    subprocess.run(["hostname", name], check=True)
    own_run()
    own_sys()
    mount("-t", "proc", "proc", "/proc")
    own_files(folder, files)
    (folder / "booted").touch()
    reap()


if __name__ == "__main__":
    main()
